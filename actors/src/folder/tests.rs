mod attacks;
mod changes;
mod names;

use super::*;
use std::{fs, io::Read, os::unix::fs::symlink};
use tempfile::TempDir;

/// Runs a test with each kind of path lookup.
fn with_each_lookup(test: impl Fn(&Path, Folder)) {
    for open in [Folder::open, Folder::open_walking] {
        let outer = TempDir::new().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(outer.path().join("outside")).unwrap();
        fs::write(outer.path().join("outside/secret"), "secret").unwrap();
        test(&root, open(&root).unwrap());
        let secret = fs::read_to_string(outer.path().join("outside/secret")).unwrap();
        assert_eq!(secret, "secret", "nothing outside is touched");
        assert_eq!(fs::read_dir(outer.path().join("outside")).unwrap().count(), 1);
    }
}

fn text(mut file: fs::File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

fn names(folder: &Folder) -> Vec<OsString> {
    let mut names: Vec<_> = folder.entries().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(CWD, path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
}

/// Runs every operation with one path; returns whether each succeeded.
fn every_operation(folder: &Folder, path: &str, spare: &Folder) -> Vec<(&'static str, bool)> {
    vec![
        ("folder", folder.folder(path).is_ok()),
        ("facts", folder.facts(path).is_ok()),
        ("is_readable", folder.is_readable(path)),
        ("open_file", folder.open_file(path).is_ok()),
        ("read", folder.read(path, 10).is_ok()),
        ("look", folder.look(path).is_ok()),
        ("tree", folder.tree(path).is_ok()),
        ("create_folder", folder.create_folder(path, 0o700).is_ok()),
        ("create_folders", folder.create_folders(path, 0o700).is_ok()),
        ("create_file", folder.create_file(path, 0o600).is_ok()),
        ("write_new", folder.write_new(path, b"new", 0o600).is_ok()),
        ("copy", folder.copy(path, spare, "copied").is_ok()),
        ("copy to", spare.copy("spare", folder, path).is_ok()),
        ("rename_new", folder.rename_new(path, spare, "renamed").is_ok()),
        ("rename_new to", spare.rename_new("spare", folder, path).is_ok()),
        ("exchange", folder.exchange(path, spare, "spare").is_ok()),
        ("remove_file", folder.remove_file(path).is_ok()),
        ("remove_empty_folder", folder.remove_empty_folder(path).is_ok()),
        ("remove", folder.remove(path).is_ok_and(|removed| removed)),
    ]
}

#[test]
fn no_operation_leaves_the_folder() {
    with_each_lookup(|root, folder| {
        let outside = root.parent().unwrap().join("outside");
        symlink(&outside, root.join("away")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        symlink(".", root.join("round")).unwrap();
        fs::create_dir(root.join("spare")).unwrap();
        fs::write(root.join("spare/spare"), "spare").unwrap();
        let spare = folder.folder("spare").unwrap();
        for path in [
            "away/secret",
            "away/new",
            "up/secret",
            "round/away/secret",
            "round/spare/spare",
            "../outside/secret",
            "spare/../../outside/secret",
            "spare/..",
            "..",
            ".",
            "/etc/hostname",
            "/",
            "spare//spare",
            "spare/",
            outside.to_str().unwrap(),
        ] {
            let done = every_operation(&folder, path, &spare);
            let done: Vec<_> = done.iter().filter(|(_, succeeded)| *succeeded).collect();
            assert_eq!(done, [&("", true); 0], "{path}");
        }
        assert_eq!(names(&spare), ["spare"]);
    });
}

#[test]
fn a_link_at_the_end_of_a_path_is_an_entry_and_never_followed() {
    with_each_lookup(|root, folder| {
        let secret = root.parent().unwrap().join("outside/secret");
        symlink(&secret, root.join("link")).unwrap();
        fs::create_dir(root.join("spare")).unwrap();
        let spare = folder.folder("spare").unwrap();
        assert_eq!(folder.facts("link").unwrap().kind, Kind::Link);
        let refused = folder.open_file("link").unwrap_err();
        let expected =
            format!("cannot open {:?}: it is a symbolic link, not a regular file", root.join("link"));
        assert_eq!(refused.to_string(), expected);
        assert!(folder.folder("link").is_err());
        symlink("nowhere", root.join("dangling")).unwrap();
        assert!(folder.holds("dangling"));
        assert!(folder.is_readable("dangling"), "the answer is about the link");
        assert!(folder.read("link", 10).is_err());
        assert!(folder.look("link").is_err());
        assert!(folder.copy("link", &spare, "copy").is_err());
        assert!(folder.create_file("link", 0o600).is_err());
        assert!(folder.create_folders("link", 0o700).is_err());
        folder.rename_new("link", &spare, "moved").unwrap();
        assert_eq!(spare.facts("moved").unwrap().kind, Kind::Link, "moved as a link");
        assert!(spare.remove("moved").unwrap());
        assert!(names(&spare).is_empty());
    });
}

#[test]
fn the_configured_path_may_lead_through_links() {
    let outer = TempDir::new().unwrap();
    fs::create_dir_all(outer.path().join("data/drop")).unwrap();
    fs::write(outer.path().join("data/drop/a"), "a").unwrap();
    symlink("data", outer.path().join("srv")).unwrap();
    symlink("srv/drop", outer.path().join("here")).unwrap();
    for path in ["srv/drop", "here"] {
        let folder = Folder::open(&outer.path().join(path)).unwrap();
        assert_eq!(text(folder.open_file("a").unwrap().0), "a");
    }
    let error = Folder::open(&outer.path().join("none")).unwrap_err();
    assert!(error.is_not_found());
    assert!(Folder::open(&outer.path().join("here/a")).is_err(), "a file is no folder");
}

#[test]
fn a_handle_continues_in_the_folder_that_was_moved() {
    with_each_lookup(|root, folder| {
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/x"), "x").unwrap();
        let inner = folder.folder("a").unwrap();
        let identity = inner.identity().unwrap();
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::create_dir(root.join("a")).unwrap();
        assert_eq!(text(inner.open_file("x").unwrap().0), "x");
        assert_eq!(folder.folder("b").unwrap().identity().unwrap(), identity);
        assert_ne!(folder.folder("a").unwrap().identity().unwrap(), identity);
        inner.write_new("y", b"y", 0o600).unwrap();
        assert_eq!(fs::read_to_string(root.join("b/y")).unwrap(), "y");
    });
}

#[test]
fn a_folder_is_listed_with_the_kind_of_each_entry() {
    with_each_lookup(|root, folder| {
        fs::write(root.join("file"), "12345").unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        symlink("file", root.join("link")).unwrap();
        fifo(&root.join("pipe"));
        let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let mut found: Vec<_> =
            folder.entries().unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [
            ("file", Kind::File),
            ("folder", Kind::Folder),
            ("link", Kind::Link),
            ("pipe", Kind::Fifo),
            ("socket", Kind::Socket),
        ];
        assert_eq!(found, expected.map(|(name, kind)| (OsString::from(name), kind)));
        for (name, kind) in expected {
            assert_eq!(folder.facts(name).unwrap().kind, kind);
        }
        assert_eq!(folder.facts("file").unwrap().size_bytes, 5);
        assert_eq!(names(&folder).len(), 5, "a folder can be listed again");
        drop(socket);
    });
}

#[test]
fn free_space_and_syncing_concern_the_folder() {
    with_each_lookup(|root, folder| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        assert!(folder.free_bytes().unwrap() > 0);
        folder.sync().unwrap();
        folder.sync_parent_of("a").unwrap();
        folder.sync_parent_of("a/b").unwrap();
        assert!(folder.sync_parent_of("none/b").unwrap_err().is_not_found());
    });
}
