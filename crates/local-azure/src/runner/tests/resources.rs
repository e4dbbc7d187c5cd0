//! Tests resource files: their paths and modes, and the failures of downloads.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn files_are_downloaded_before_the_command_starts() {
    let mut rig = Rig::new();
    rig.door.put("a b", b"one");
    rig.door.put("run.sh", b"#!/bin/sh\ncat 'in put' sub/deep/two; ls -l");
    let mut launch = rig.launch(&["./run.sh"]);
    launch.resource_files = vec![
        resource("a%20b", "in put"),
        resource("a%20b", "./sub//deep/two"),
        ResourceFileOrder { file_mode: Some("0755".into()), ..resource("run.sh", "run.sh") },
        ResourceFileOrder { file_mode: Some("0400".into()), ..resource("a%20b", "secret") },
    ];
    assert_eq!(rig.run(&launch).exit_code, Some(0), "{}", rig.error(&launch));
    assert!(rig.output(&launch).starts_with("oneone"));
    for (name, mode) in [("in put", 0o770), ("run.sh", 0o755), ("secret", 0o400)] {
        assert_eq!(
            fs::metadata(rig.path(&launch, "wd").join(name)).unwrap().permissions().mode() & 0o7777,
            mode
        );
    }
    // A retry downloads them again and replaces them.
    rig.door.put("a b", b"two");
    rig.again(&launch);
    assert!(rig.output(&launch).starts_with("twotwo"));
}

#[test]
fn a_container_is_downloaded_with_its_folders() {
    let mut rig = Rig::new();
    for name in ["app/x", "app/sub/y?#%", "app/folder/", "apple", "other"] {
        rig.door.put(name, name.as_bytes());
    }
    let mut launch = rig.shell("find . -type f | sort; cat 'to/app/sub/y?#%'");
    launch.resource_files = vec![ResourceFileOrder {
        source: ResourceSource::Container { url: "http://blob/in?sig=secret".into(), prefix: "app/".into() },
        file_path: "to".into(),
        file_mode: None,
    }];
    assert_eq!(rig.run(&launch).exit_code, Some(0), "{}", rig.error(&launch));
    assert_eq!(rig.output(&launch), "./to/app/sub/y?#%\n./to/app/x\napp/sub/y?#%");
}

#[test]
fn no_path_leaves_the_working_folder() {
    let mut rig = Rig::new();
    rig.door.put("a", b"1");
    for path in ["../a", "/tmp/a", "x/../../a", "", ".", "a\0b"] {
        let mut launch = rig.shell("true");
        launch.resource_files = vec![resource("a", path)];
        let failure = rig.run(&launch).failure.unwrap();
        assert_eq!((&*failure.code, failure.user_error), ("ResourceFileCreateFailed", true), "{path:?}");
    }
    rig.door.put("up/../../x", b"1");
    let mut launch = rig.shell("true");
    launch.resource_files = vec![ResourceFileOrder {
        source: ResourceSource::Container { url: "http://blob/in?sig=secret".into(), prefix: "up".into() },
        file_path: String::new(),
        file_mode: None,
    }];
    assert_eq!(rig.run(&launch).failure.unwrap().code, "ResourceFileCreateFailed");
}

#[test]
fn links_of_an_earlier_attempt_are_not_followed() {
    let mut rig = Rig::new();
    rig.door.put("a", b"new");
    let outside = rig.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "old").unwrap();
    let first = rig.shell(&format!("ln -s {0} d; ln -s {0}/f f", outside.display()));
    rig.run(&first);
    let mut second = rig.shell("cat f");
    second.directory = first.directory.clone();
    second.resource_files = vec![resource("a", "f")];
    assert_eq!(rig.run(&second).exit_code, Some(0));
    assert_eq!(
        (rig.output(&second), fs::read_to_string(outside.join("f")).unwrap()),
        ("new".into(), "old".into())
    );
    second.resource_files = vec![resource("a", "d/f")];
    assert_eq!(rig.again(&second).failure.unwrap().code, "ResourceFileCreateFailed");
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "old");
}

#[test]
fn a_failed_download_is_reported_without_its_signature() {
    let mut rig = Rig::new();
    rig.door.put("a", b"1");
    let url = |url: &str| ResourceSource::Url(url.into());
    let container = |url: &str| ResourceSource::Container { url: url.into(), prefix: String::new() };
    let table = [
        (url("http://blob/in/missing?sig=secret"), None, "BlobNotFound"),
        (url("http://blob/in/a?sig=wrong-secret"), None, "BlobAccessDenied"),
        (container("http://blob/none?sig=secret"), None, "ResourceContainerNotFound"),
        (container("http://blob/in?sig=wrong-secret"), None, "ResourceContainerAccessDenied"),
        (url("http://blob/in/a?sig=secret"), Some("rwx"), "ResourceFileCreateFailed"),
    ];
    for (source, mode, code) in table {
        let mut launch = rig.shell("true");
        let file = ResourceFileOrder { source, file_path: "f".into(), file_mode: mode.map(str::to_owned) };
        launch.resource_files = vec![file];
        launch.output_files = vec![output("**", "x")];
        rig.order(&launch);
        let NodeEvent::Ended { ending, .. } = rig.event() else { panic!("{code}: it was started") };
        let failure = ending.failure.unwrap();
        assert_eq!((&*failure.code, failure.user_error, ending.exit_code), (code, true, None));
        assert!(failure.details.iter().any(|detail| *detail == ("FilePath".into(), "f".into())));
        assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
    }
    assert_eq!(rig.door.stored(), [""; 0]);
}

#[test]
fn ending_a_task_does_not_wait_for_a_download() {
    let mut rig = Rig::new();
    let (comes, open) = rig.door.close();
    let mut launch = rig.shell("true");
    launch.resource_files = vec![resource("endless", "f")];
    rig.order(&launch);
    comes.recv_timeout(SOON).unwrap();
    drop(open);
    rig.kill(&launch);
    let ending = rig.ended(&launch);
    assert_eq!((ending.exit_code, ending.failure.unwrap().code.as_str()), (None, "TaskEnded"));
}

#[test]
fn a_file_waits_for_disk_space_and_earlier_ones_are_not_downloaded_again() {
    let mut rig = Rig::new();
    rig.door.put("in/a", b"a");
    rig.door.put("in/wide", b"wide");
    *rig.door.full.lock().unwrap() = 1;
    let mut launch = rig.shell("cat in/a in/wide");
    launch.resource_files = vec![ResourceFileOrder {
        source: ResourceSource::Container { url: "http://blob/in?sig=secret".into(), prefix: "in/".into() },
        file_path: String::new(),
        file_mode: None,
    }];
    assert_eq!(rig.run(&launch).exit_code, Some(0), "{}", rig.error(&launch));
    assert_eq!(rig.output(&launch), "awide");
    assert_eq!(*rig.door.calls.lock().unwrap(), 4, "a list, one file, and another one twice");
}
