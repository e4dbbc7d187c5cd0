//! Tests changes of entries: creating, renaming, copying, removing; and the detection of changes.

use super::*;
use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::{Duration, SystemTime},
};

#[test]
fn folders_are_created_with_their_mode_and_replace_nothing() {
    with_each_lookup(|root, folder| {
        folder.create_folder("a", 0o700).unwrap();
        assert_eq!(fs::metadata(root.join("a")).unwrap().mode() & 0o777, 0o700);
        assert!(folder.create_folder("a", 0o700).unwrap_err().is_taken());
        assert!(folder.create_folder("none/b", 0o700).unwrap_err().is_not_found());
        let deep = folder.create_folders("a/b/c", 0o700).unwrap();
        deep.write_new("x", b"x", 0o600).unwrap();
        assert_eq!(fs::metadata(root.join("a/b/c/x")).unwrap().mode() & 0o777, 0o600);
        folder.create_folders("a/b/c", 0o700).unwrap();
        assert_eq!(folder.create_folders("", 0o700).unwrap().identity().unwrap(), folder.identity().unwrap());
        assert!(folder.create_folders("a/b/c/x", 0o700).is_err(), "a file is in the way");
        assert!(folder.create_folders("a/b/c/x/y", 0o700).is_err());
        assert!(folder.write_new("a/b/c/x", b"y", 0o600).unwrap_err().is_taken());
        assert_eq!(folder.read("a/b/c/x", 10).unwrap(), b"x");
    });
}

#[test]
fn a_file_is_read_up_to_the_requested_length() {
    with_each_lookup(|root, folder| {
        fs::write(root.join("a"), "12345").unwrap();
        assert_eq!(folder.read("a", 5).unwrap(), b"12345");
        assert_eq!(folder.read("a", 3).unwrap(), b"123");
        assert!(folder.read("b", 3).unwrap_err().is_not_found());
    });
}

#[test]
fn a_rename_replaces_nothing_and_an_exchange_loses_nothing() {
    with_each_lookup(|root, folder| {
        let inner = folder.create_folder("inner", 0o700).unwrap();
        for name in ["a", "b", "inner/c"] {
            fs::write(root.join(name), name).unwrap();
        }
        assert!(folder.rename_new("a", &folder, "b").unwrap_err().is_taken());
        assert!(folder.rename_new("a", &folder, "inner").unwrap_err().is_taken());
        assert!(folder.rename_new("none", &folder, "d").unwrap_err().is_not_found());
        assert!(folder.rename_new("a", &folder, "none/d").is_err());
        assert!(folder.rename_new("inner", &folder, "inner/within").is_err());
        folder.rename_new("a", &inner, "a").unwrap();
        folder.exchange("b", &inner, "c").unwrap();
        assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "inner/c");
        assert_eq!(fs::read_to_string(root.join("inner/c")).unwrap(), "b");
        folder.rename_new("inner", &folder, "other").unwrap();
        assert_eq!(names(&folder), ["b", "other"]);
    });
}

#[test]
fn a_copy_has_content_permissions_and_time_of_its_original() {
    with_each_lookup(|root, folder| {
        fs::create_dir_all(root.join("a/deep")).unwrap();
        fs::write(root.join("a/deep/x"), "content").unwrap();
        fs::write(root.join("a/empty"), "").unwrap();
        let moment = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_007, 5);
        for (path, mode) in [("a/deep/x", 0o4751), ("a/empty", 0o400), ("a/deep", 0o550), ("a", 0o755)] {
            let file = fs::File::open(root.join(path)).unwrap();
            file.set_permissions(PermissionsExt::from_mode(mode)).unwrap();
            file.set_modified(moment).unwrap();
        }
        let to = folder.create_folder("to", 0o700).unwrap();
        folder.copy("a", &to, "copy").unwrap();
        for (path, mode) in [("deep/x", 0o751), ("empty", 0o400), ("deep", 0o750), ("", 0o755)] {
            let facts = fs::metadata(root.join("to/copy").join(path)).unwrap();
            assert_eq!((facts.mode() & 0o7777, facts.modified().unwrap()), (mode, moment), "{path:?}");
        }
        assert_eq!(fs::read_to_string(root.join("to/copy/deep/x")).unwrap(), "content");
        folder.copy("a/deep/x", &to, "file").unwrap();
        assert_eq!(to.read("file", 10).unwrap(), b"content");
        assert!(folder.copy("a/deep/x", &to, "file").unwrap_err().is_taken());
        assert!(folder.copy("a", &to, "copy").unwrap_err().is_taken());
        assert!(folder.copy("none", &to, "none").unwrap_err().is_not_found());
    });
}

#[test]
fn entries_that_are_not_regular_files_are_neither_copied_nor_read() {
    with_each_lookup(|root, folder| {
        fs::create_dir(root.join("a")).unwrap();
        fifo(&root.join("a/entry"));
        let to = folder.create_folder("to", 0o700).unwrap();
        let refuses = |what: &str| {
            for error in
                [folder.open_file("a/entry").map(|_| ()), folder.copy("a/entry", &to, "file").map(|_| ())]
            {
                assert!(error.unwrap_err().to_string().ends_with(what), "{what}");
            }
            assert!(folder.copy("a", &to, "copy").unwrap_err().to_string().ends_with(what), "{what}");
            assert!(to.remove("copy").unwrap());
            assert!(folder.tree("a").unwrap_err().to_string().contains("it contains entry, "), "{what}");
            assert!(folder.remove("a/entry").unwrap());
        };
        refuses("it is a FIFO, not a regular file");
        let socket = std::os::unix::net::UnixListener::bind(root.join("a/entry")).unwrap();
        refuses("it is a socket, not a regular file");
        drop(socket);
        // The numbers of /dev/null. Only some users may create a device.
        let (kind, number) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        match rustix::fs::mknodat(CWD, root.join("a/entry"), kind, Mode::RWXU, number) {
            Ok(()) => refuses("it is a device, not a regular file"),
            Err(error) => eprintln!("not tested with a device: {error}"),
        }
        symlink("to", root.join("a/entry")).unwrap();
        refuses("it is a symbolic link, not a regular file");
    });
}

#[test]
fn a_tree_is_removed_with_everything_in_it_and_nothing_else() {
    with_each_lookup(|root, folder| {
        let outside = root.parent().unwrap().join("outside");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("a/empty")).unwrap();
        fs::write(root.join("a/b/c/x"), "x").unwrap();
        symlink(&outside, root.join("a/b/away")).unwrap();
        symlink(outside.join("secret"), root.join("a/secret")).unwrap();
        fifo(&root.join("a/pipe"));
        fs::write(root.join("beside"), "").unwrap();
        fs::set_permissions(root.join("a/b"), PermissionsExt::from_mode(0o500)).unwrap();
        assert!(folder.remove_empty_folder("a").unwrap_err().is_taken());
        assert!(folder.remove_file("a").is_err());
        assert!(folder.remove("a").unwrap());
        assert!(!folder.remove("a").unwrap(), "nothing is there any more");
        assert_eq!(names(&folder), ["beside"]);
        assert!(folder.remove_empty_folder("beside").is_err());
        folder.remove_file("beside").unwrap();
    });
}

#[test]
fn a_snapshot_shows_every_change() {
    with_each_lookup(|root, folder| {
        let path = |below: &str| root.join("in").join(below);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::write(path("a/b/one"), "1").unwrap();
        fs::write(path("two"), "22").unwrap();
        let first = folder.look("in").unwrap();
        assert_eq!(folder.look("in").unwrap(), first);
        assert_eq!(folder.folder("in").unwrap().tree("").unwrap().look(), first);
        assert_eq!((first.size_bytes, folder.look("in/two").unwrap().size_bytes), (3, 2));
        let mut looks = vec![first];
        let mut changed = |what: &str| {
            let look = folder.look("in").unwrap();
            assert!(!looks.contains(&look), "{what}");
            looks.push(look);
        };
        fs::write(path("a/b/one"), "2").unwrap();
        changed("written to");
        fs::rename(path("two"), path("three")).unwrap();
        changed("another name");
        fs::write(path("two"), "22").unwrap();
        fs::rename(path("two"), path("three")).unwrap();
        changed("replaced");
        fs::create_dir(path("empty")).unwrap();
        changed("one more folder");
    });
}
