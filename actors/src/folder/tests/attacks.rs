//! Tests other processes that change the folder during its use: between the steps of a check, and after it.

use super::*;
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

#[test]
fn a_parent_that_became_a_link_is_not_followed() {
    with_each_lookup(|root, folder| {
        let outside = root.parent().unwrap().join("outside");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/secret"), "ours").unwrap();
        let spare = folder.create_folder("spare", 0o700).unwrap();
        let checked = folder.facts("a/b/secret").unwrap();
        fs::rename(root.join("a/b"), root.join("a/moved")).unwrap();
        symlink(&outside, root.join("a/b")).unwrap();
        for error in [
            folder.open_same("a/b/secret", checked.identity).map(|_| ()).unwrap_err(),
            folder.rename_new("a/b/secret", &spare, "taken").unwrap_err(),
            folder.remove_file("a/b/secret").unwrap_err(),
            folder.copy("a/b/secret", &spare, "taken").unwrap_err(),
            spare
                .create_folders("x/y", 0o700)
                .and_then(|_| folder.create_folders("a/b/new", 0o700))
                .unwrap_err(),
        ] {
            assert!(error.is_gone(), "{error}");
            let cause = "a part of the path is a symbolic link or not a folder";
            assert!(error.to_string().ends_with(cause), "{error}");
        }
    });
}

#[test]
fn another_file_in_the_place_of_the_checked_one_is_not_opened() {
    with_each_lookup(|root, folder| {
        fs::create_dir(root.join("in")).unwrap();
        fs::write(root.join("in/a"), "a").unwrap();
        fs::write(root.join("in/b"), "b").unwrap();
        let tree = folder.tree("in").unwrap();
        let checked = folder.facts("in/a").unwrap();
        fs::write(root.join("in/new"), "new").unwrap();
        fs::rename(root.join("in/new"), root.join("in/a")).unwrap();
        let refused = folder.open_same("in/a", checked.identity).unwrap_err();
        assert!(matches!(refused.cause(), Cause::Replaced));
        let read: Vec<_> = tree.read().map(|read| read.map(|(_, file)| text(file)).ok()).collect();
        assert_eq!(read, [None, Some("b".into())]);
        fs::remove_file(root.join("in/b")).unwrap();
        symlink("../../outside/secret", root.join("in/b")).unwrap();
        assert!(tree.open(&tree.files()[1]).is_err());
    });
}

#[test]
fn a_file_that_is_replaced_between_its_check_and_its_opening_is_not_read() {
    with_each_lookup(|root, folder| {
        fs::write(root.join("file"), "ours").unwrap();
        fs::write(root.join("other"), "other").unwrap();
        symlink("../outside/secret", root.join("link")).unwrap();
        fifo(&root.join("pipe"));
        fs::create_dir(root.join("folder")).unwrap();
        for other in ["other", "link", "pipe", "folder"] {
            let swap = |_: &Facts| folder.exchange("file", &folder, other).is_ok();
            assert!(folder.open_if(Path::new("file"), swap).is_err(), "{other}");
            swap(&folder.own_facts().unwrap());
        }
        assert_eq!(text(folder.open_file("file").unwrap().0), "ours");
    });
}

/// Repeats an operation while another thread swaps two entries continuously.
fn while_swapped(root: &Path, (one, other): (&str, &str), attempts: u32, mut attempt: impl FnMut()) {
    let over = AtomicBool::new(false);
    let (one, other) = (root.join(one), root.join(other));
    thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            while !over.load(Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(CWD, &one, CWD, &other, exchange).unwrap();
            }
        });
        for _ in 0..attempts {
            attempt();
        }
        over.store(true, Relaxed);
        attacker.join().unwrap();
    });
}

#[test]
fn no_file_outside_is_opened_while_a_parent_and_a_link_are_swapped() {
    with_each_lookup(|root, folder| {
        fs::create_dir(root.join("parent")).unwrap();
        fs::write(root.join("parent/secret"), "ours").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        let (mut opened, mut refused) = (0, 0);
        while_swapped(root, ("parent", "link"), 2000, || match folder.open_file("parent/secret") {
            Ok((file, _)) => {
                assert_eq!(text(file), "ours");
                opened += 1;
            }
            Err(error) => {
                assert!(error.is_gone(), "{error}");
                refused += 1;
            }
        });
        assert_eq!(opened + refused, 2000);
    });
}

#[test]
fn only_regular_files_are_opened_while_a_file_is_swapped_with_a_link_or_a_fifo() {
    with_each_lookup(|root, folder| {
        fs::create_dir(root.join("in")).unwrap();
        fs::write(root.join("in/file"), "ours").unwrap();
        symlink("../outside/secret", root.join("link")).unwrap();
        fifo(&root.join("pipe"));
        let to = folder.create_folder("to", 0o700).unwrap();
        for other in ["link", "pipe"] {
            while_swapped(root, ("in/file", other), 40, || {
                if let Ok((file, _)) = folder.open_file("in/file") {
                    assert_eq!(text(file), "ours");
                }
                if let Ok(tree) = folder.tree("in") {
                    for file in tree.read().filter_map(|read| Some(read.ok()?.1)) {
                        assert_eq!(text(file), "ours");
                    }
                }
                if folder.copy("in", &to, "copy").is_ok() {
                    assert_eq!(fs::read_to_string(root.join("to/copy/file")).unwrap(), "ours");
                }
                to.remove("copy").unwrap();
            });
            // Restore the state before the last swap.
            if folder.facts("in/file").unwrap().kind != Kind::File {
                folder.exchange("in/file", &folder, other).unwrap();
            }
        }
    });
}

#[test]
fn an_entry_moved_during_a_swap_is_recognised_afterwards() {
    with_each_lookup(|root, folder| {
        fs::write(root.join("file"), "ours").unwrap();
        symlink("../outside/secret", root.join("link")).unwrap();
        let ours = folder.create_folder("ours", 0o700).unwrap();
        let checked = folder.facts("file").unwrap();
        for _ in 0..200 {
            folder.exchange("file", &folder, "link").unwrap();
            folder.rename_new("file", &ours, "taken").unwrap();
            let taken = ours.facts("taken").unwrap();
            assert!(taken.kind == Kind::Link || taken.identity == checked.identity);
            ours.rename_new("taken", &folder, "file").unwrap();
        }
    });
}

#[test]
fn a_tree_is_removed_while_another_process_writes_to_it_and_swaps_folders() {
    with_each_lookup(|root, folder| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let _ = fs::create_dir_all(root.join("in/a/b"));
                    let _ = fs::write(root.join("in/a/b/x"), "x");
                    let _ = fs::rename(root.join("in/a/b"), root.join("in/c"));
                    let _ = symlink("../../outside", root.join("in/a/b"));
                }
            });
            for _ in 0..500 {
                match folder.remove("in") {
                    Ok(_) => {}
                    Err(error) => assert!(matches!(error.cause(), Cause::KeepsFilling), "{error}"),
                }
            }
            over.store(true, Relaxed);
        });
        folder.remove("in").unwrap();
        assert!(names(&folder).is_empty());
    });
}
