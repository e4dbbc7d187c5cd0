//! Tests the files of a node as the protocol shows them.

use super::*;
use crate::orders::FileEntry;

/// Returns a node with some files and some traps.
fn rig() -> Rig {
    let mut rig = Rig::new();
    fs::write(rig.folder.path().join("outside"), "secret").unwrap();
    rig.prints(
        "cd $AZ_BATCH_NODE_ROOT_DIR; mkdir -p a/b; printf 0123456789 > a/f; : > a/b/g; : > a.txt; chmod 640 a/f
        ln -s f a/same; ln -s ../../../../../outside a/b/up; ln -s $PWD/../../../outside a/absolute
        ln -s ../../../../.. a/b/way; mkfifo a/pipe; ln -s . a/loop",
    );
    rig
}

fn names(entries: &[FileEntry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.name).collect()
}

#[test]
fn a_list_is_sorted_and_shows_only_files_and_folders() {
    let rig = rig();
    let files = rig.runner.files();
    let list = |directory: &str, recursive| files.list(&node(), directory, recursive);
    assert_eq!(names(&list("", false).unwrap()), ["a", "a.txt", "workitems"]);
    assert_eq!(names(&list("a", false).unwrap()), ["b", "f"]);
    assert_eq!(names(&list("a", true).unwrap()), ["b", "b/g", "f"]);
    assert_eq!(names(&list("", true).unwrap())[..5], ["a", "a.txt", "a/b", "a/b/g", "a/f"]);
    let file = &list("a", false).unwrap()[1];
    assert_eq!((file.is_directory, file.size_bytes, file.mode), (false, 10, 0o100_640));
    let since = dropmill_azure_wire::time::Timestamp::now().duration_since(file.modified);
    assert!(since.as_secs().abs() < 3600, "{since:?}");
    for directory in ["nothing", "a/f", "..", "a/../..", "/etc", "a/b/way", "a/b/way/x", "a\0"] {
        assert!(list(directory, true).is_err(), "{directory:?}");
    }
    assert!(files.list(&NodeRef { pool: "p".into(), node: "other".into() }, "", false).is_err());
}

#[test]
fn there_is_no_entry_outside_the_root() {
    let rig = rig();
    let entry = |path: &str| rig.runner.files().entry(&node(), path).unwrap();
    assert_eq!(entry("a/f").map(|entry| (entry.name, entry.size_bytes)), Some(("a/f".into(), 10)));
    assert!(entry("a").unwrap().is_directory);
    assert_eq!(entry("a/same").unwrap().size_bytes, 10, "a link within the node may be read");
    for path in [
        "nothing",
        "a/f/x",
        "a/b/up",
        "a/absolute",
        "a/b/way/outside",
        "../../outside",
        "/etc/passwd",
        "a/pipe",
        "\0",
    ] {
        assert_eq!(entry(path), None, "{path:?}");
    }
    let long = "x/".repeat(3000);
    assert_eq!(entry(&long), None);
}

#[test]
fn ranges_are_read() {
    let rig = rig();
    let read = |path: &str, offset, length| rig.runner.files().read(&node(), path, offset, length);
    assert_eq!(read("a/f", 0, 100).unwrap(), b"0123456789");
    assert_eq!(read("a/f", 3, 4).unwrap(), b"3456");
    assert_eq!(read("a/f", 8, usize::MAX).unwrap(), b"89");
    assert_eq!(read("a/f", 10, 5).unwrap(), b"");
    assert_eq!(read("a/f", u64::MAX, 5).unwrap(), b"");
    for path in ["nothing", "a", "a/pipe", "a/b/up", "a/absolute", "a/b/way/outside", "../../outside"] {
        let error = read(path, 0, 10).expect_err(path);
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn a_deletion_stays_within_the_node() {
    let rig = rig();
    let files = rig.runner.files();
    for path in ["", ".", "..", "a/b/way/outside", "../../outside", "nothing", "a/f/x"] {
        assert!(files.delete(&node(), path, true).is_err(), "{path:?}");
    }
    assert!(files.delete(&node(), "a", false).is_err(), "it is not empty");
    files.delete(&node(), "a/b/up", false).unwrap();
    files.delete(&node(), "a/f", false).unwrap();
    files.delete(&node(), "a", true).unwrap();
    assert_eq!(names(&files.list(&node(), "", false).unwrap()), ["a.txt", "workitems"]);
    assert_eq!(fs::read_to_string(rig.folder.path().join("outside")).unwrap(), "secret");
}
