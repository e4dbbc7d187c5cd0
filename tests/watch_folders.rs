//! What happens to the folders of a daemon while it works: taken away, replaced, on other file systems, with files in
//! them that nobody wants.

mod common;

use common::mill::{COUNT, Mill, desk, names, put};
use rustix::process::Signal;
use std::{fs, path::Path};

#[test]
fn a_state_folder_that_is_taken_away_ends_it_and_nothing_is_begun_anew() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "one", "1");
    assert_eq!(mill.finished(1)["one"], "done");
    // Moved, so that whatever is written to files that are open still finds its place.
    fs::rename(desk.path("state"), desk.path("moved")).unwrap();
    while mill.until(|_| true).is_some() {}
    assert_eq!(mill.child.wait().unwrap().code(), Some(3));
    let told = mill.stderr();
    assert!(told.contains("was removed or replaced"), "{told}");
    assert!(!desk.path("state").exists(), "no empty state in the place of the one that is lost");
    assert!(desk.processes().is_empty());
    // Put back, everything goes on.
    fs::rename(desk.path("moved"), desk.path("state")).unwrap();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "two", "2");
    assert_eq!(mill.finished(1)["two"], "done");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn another_folder_in_the_place_of_the_drop_folder_is_told_and_taken_from() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &["--set", "watch.rescan=50ms"]);
    put(&desk, "one", "1");
    assert_eq!(mill.finished(1)["one"], "done");
    // As an unmount and a mount do; for a while there is none at all.
    fs::rename(desk.path("drop"), desk.path("away")).unwrap();
    desk.write("away/kept", "of the folder that went");
    desk.write("coming/two", "22");
    fs::rename(desk.path("coming"), desk.path("drop")).unwrap();
    assert_eq!(mill.finished(1)["two"], "done");
    assert_eq!(names(&desk.path("away")), ["kept"]);
    mill.signal(Signal::TERM);
    while mill.until(|_| true).is_some() {}
    let told = mill.stderr();
    assert!(told.contains("another folder is in its place"), "{told}");
}

#[test]
fn work_and_results_on_another_file_system_come_out_alike() {
    let desk = desk();
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if !Path::new("/dev/shm").is_dir() || device(Path::new("/dev/shm")) == device(&desk.path("drop")) {
        eprintln!("not tested: /dev/shm and the temporary folder are on one file system");
        return;
    }
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let set = |name: &str| format!("watch.{name}={}", other.path().join(name).display());
    let moved = ["work", "done", "failed"].map(set);
    // Taken to the other file system; and then, from there, back to this one.
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
fn files_that_are_too_large_or_linked_elsewhere_stay_and_are_named_if_that_is_asked_for() {
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
    let told = mill.stderr();
    assert!(told.contains("left in the drop folder: sparse: larger than watch.max_file_bytes"), "{told}");
    assert!(told.contains("left in the drop folder: linked: a hard link"), "{told}");
    assert_eq!(names(&desk.path("drop")), ["linked", "sparse"]);
}

#[test]
fn told_to_stop_twice_it_ends_at_once_whatever_goes_on() {
    let desk = desk();
    desk.write("run.toml", COUNT.replace("case ", "trap '' TERM; sleep 600; case "));
    let mut mill = Mill::start(&desk, &["--set", "watch.drain=1h"]);
    put(&desk, "held", "1");
    mill.until(|said| said["kind"] == "task_running").unwrap();
    // Two of one kind may arrive as one.
    mill.signal(Signal::TERM);
    mill.signal(Signal::INT);
    while mill.until(|_| true).is_some() {}
    assert_eq!(mill.child.wait().unwrap().code(), Some(0));
    assert!(desk.processes().is_empty(), "no task outlives it");
}
