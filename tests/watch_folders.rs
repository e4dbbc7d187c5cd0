//! Folders of a daemon that change while it works: removed, replaced, on other file systems, with
//! unwanted files in them.

mod common;

use common::mill::{COUNT, Mill, desk, names, put};
use rustix::process::Signal;
use std::{fs, path::Path};

#[test]
fn a_removed_state_folder_ends_the_daemon_and_no_new_state_is_created() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "one", "1");
    assert_eq!(mill.finished(1)["one"], "done");
    // It is moved, so that writing to open files still succeeds.
    fs::rename(desk.path("state"), desk.path("moved")).unwrap();
    while mill.until(|_| true).is_some() {}
    assert_eq!(mill.child.wait().unwrap().code(), Some(3));
    let printed = mill.stderr();
    assert!(printed.contains("was removed or replaced"), "{printed}");
    assert!(!desk.path("state").exists(), "no empty state in the place of the one that is lost");
    assert!(desk.processes().is_empty());
    // After the folder is restored, everything resumes.
    fs::rename(desk.path("moved"), desk.path("state")).unwrap();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "two", "2");
    assert_eq!(mill.finished(1)["two"], "done");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn a_replaced_drop_folder_is_reported_and_used() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &["--set", "watch.rescan=50ms"]);
    put(&desk, "one", "1");
    assert_eq!(mill.finished(1)["one"], "done");
    // This is how an unmount and a mount look; for a while there is no folder.
    fs::rename(desk.path("drop"), desk.path("away")).unwrap();
    desk.write("away/kept", "of the folder that went");
    desk.write("coming/two", "22");
    fs::rename(desk.path("coming"), desk.path("drop")).unwrap();
    assert_eq!(mill.finished(1)["two"], "done");
    assert_eq!(names(&desk.path("away")), ["kept"]);
    mill.signal(Signal::TERM);
    while mill.until(|_| true).is_some() {}
    let printed = mill.stderr();
    assert!(printed.contains("another folder is in its place"), "{printed}");
}

#[test]
fn work_and_results_on_another_file_system_give_the_same_results() {
    let desk = desk();
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if !Path::new("/dev/shm").is_dir() || device(Path::new("/dev/shm")) == device(&desk.path("drop")) {
        eprintln!("not tested: /dev/shm and the temporary folder are on one file system");
        return;
    }
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let set = |name: &str| format!("watch.{name}={}", other.path().join(name).display());
    let moved = ["work", "done", "failed"].map(set);
    // Files are moved to the other file system; then from there back to this one.
    let all: Vec<&str> = moved.iter().flat_map(|set| ["--set", set.as_str()]).collect();
    for (arguments, root) in [(&all[..], other.path().to_owned()), (&all[..2], desk.path("."))] {
        let mut mill = Mill::start(&desk, arguments);
        put(&desk, "good", "12345");
        put(&desk, "bad", "1");
        let finished = mill.finished(2);
        assert_eq!((finished["good"].as_str(), finished["bad"].as_str()), ("done", "failed"));
        assert_eq!(mill.end(), Some(0));
        assert_eq!(fs::read_to_string(root.join("done/good/good")).unwrap(), "12345");
        assert_eq!(fs::read_to_string(root.join("done/good/bytes.txt")).unwrap().trim(), "5");
        assert_eq!(fs::read_to_string(root.join("failed/bad/bad")).unwrap(), "1");
        assert_eq!(
            (names(&root.join("done")), names(&root.join("failed"))),
            (vec!["good".into()], vec!["bad".into()])
        );
        assert!(names(&desk.path("drop")).is_empty());
    }
}

#[test]
fn files_that_are_too_large_or_hard_linked_can_be_left_and_reported() {
    let desk = desk();
    fs::File::create(desk.path("drop/sparse")).unwrap().set_len(1 << 40).unwrap();
    desk.write("outside", "also somewhere else");
    fs::hard_link(desk.path("outside"), desk.path("drop/linked")).unwrap();
    let sets = ["--set", "watch.max_file_bytes=1GiB", "--set", "watch.take_foreign=false"];
    let mut mill = Mill::start(&desk, &sets);
    put(&desk, "plain", "1");
    assert_eq!(mill.finished(1)["plain"], "done");
    mill.signal(Signal::TERM);
    while mill.until(|_| true).is_some() {}
    let printed = mill.stderr();
    assert!(
        printed.contains("left in the drop folder: sparse: larger than watch.max_file_bytes"),
        "{printed}"
    );
    assert!(printed.contains("left in the drop folder: linked: a hard link"), "{printed}");
    assert_eq!(names(&desk.path("drop")), ["linked", "sparse"]);
}

#[test]
fn a_second_stop_signal_ends_the_daemon_at_once() {
    let desk = desk();
    desk.write("run.toml", COUNT.replace("case ", "trap '' TERM; sleep 600; case "));
    let mut mill = Mill::start(&desk, &["--set", "watch.drain=1h"]);
    put(&desk, "held", "1");
    mill.until(|said| said["kind"] == "task_running").unwrap();
    // Two signals of one kind may arrive as one.
    mill.signal(Signal::TERM);
    mill.signal(Signal::INT);
    while mill.until(|_| true).is_some() {}
    assert_eq!(mill.child.wait().unwrap().code(), Some(0));
    assert!(desk.processes().is_empty(), "no task outlives it");
}
