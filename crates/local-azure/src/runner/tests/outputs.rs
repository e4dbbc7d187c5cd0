//! Tests output files: which are stored, when, and with which names.

use super::*;

/// Runs a script and stores outputs according to the orders.
fn stores(script: &str, orders: Vec<OutputFileOrder>) -> (Rig, Launch, LaunchEnding) {
    let mut rig = Rig::new();
    let mut launch = rig.shell(script);
    launch.environment = vec![("SUB".into(), "d".into())];
    launch.output_files = orders;
    let ending = rig.run(&launch);
    (rig, launch, ending)
}

const FILES: &str =
    "mkdir -p d/e; echo 1 > a.txt; echo 2 > d/b.txt; echo 3 > d/e/c.csv; : > .hidden; echo out";

#[test]
fn names_follow_pattern_and_path() {
    let table: &[(&str, &str, &[&str])] = &[
        ("a.txt", "", &["a.txt"]),
        ("a.txt", "t1/result", &["t1/result"]),
        ("d/b.txt", "", &["b.txt"]),
        ("*.txt", "t1", &["t1/a.txt"]),
        ("*.txt", "", &["a.txt"]),
        ("**/*", "t1/", &["t1/a.txt", "t1/d/b.txt", "t1/d/e/c.csv"]),
        ("d/**", "/t1", &["t1/d/b.txt", "t1/d/e/c.csv"]),
        ("../std*.txt", "t1", &["t1/stderr.txt", "t1/stdout.txt"]),
        ("../stdout.txt", "log", &["log"]),
        ("./d/../*.txt", "", &["a.txt"]),
        ("$SUB/*.txt", "x", &["x/d/b.txt"]),
        ("$AZ_BATCH_TASK_DIR/std*.txt", "x", &["x/stderr.txt", "x/stdout.txt"]),
        ("${AZ_BATCH_TASK_WORKING_DIR}/*.txt", "x", &["x/a.txt"]),
        ("../**", "x", &["x/stderr.txt", "x/stdout.txt", "x/wd/a.txt", "x/wd/d/b.txt", "x/wd/d/e/c.csv"]),
        (".hid*", "x", &["x/.hidden"]),
        ("[!a]*/[a-c].txt", "x", &["x/d/b.txt"]),
        ("nothing*", "x", &[]),
        ("nothing.txt", "x", &[]),
    ];
    for (pattern, path, expected) in table {
        let (rig, _, ending) = stores(FILES, vec![output(pattern, path)]);
        assert_eq!((ending.exit_code, ending.failure), (Some(0), None), "{pattern}");
        assert_eq!(rig.door.stored(), *expected, "{pattern} -> {path}");
    }
}

#[test]
fn conditions_depend_on_the_exit_code_and_on_further_attempts() {
    use UploadCondition::{TaskCompletion, TaskFailure, TaskSuccess};
    for (script, last_try, expected) in [
        ("true", false, vec!["TaskCompletion", "TaskSuccess"]),
        ("true", true, vec!["TaskCompletion", "TaskSuccess"]),
        ("false", true, vec!["TaskCompletion", "TaskFailure"]),
        ("false", false, vec![]),
    ] {
        let mut rig = Rig::new();
        let mut launch = rig.shell(script);
        launch.last_try = last_try;
        launch.output_files = [TaskCompletion, TaskFailure, TaskSuccess]
            .map(|condition| OutputFileOrder {
                condition,
                ..output("../stdout.txt", &format!("{condition:?}"))
            })
            .into();
        rig.run(&launch);
        assert_eq!(rig.door.stored(), expected, "{script} {last_try}");
    }
}

#[test]
fn a_failed_upload_is_a_failure_beside_the_exit_code() {
    let container = |url: &str| OutputFileOrder { container_url: url.into(), ..output("../stdout.txt", "x") };
    for (order, code) in [
        (container("http://blob/none?sig=secret"), "FileUploadContainerNotFound"),
        (container("http://blob/out?sig=wrong-secret"), "FileUploadAccessDenied"),
        (output("../../../../../../*", "x"), "FileUploadMiscError"),
        (output("/etc/passwd", "x"), "FileUploadMiscError"),
    ] {
        let (rig, launch, ending) = stores("exit 3", vec![order, output("../stderr.txt", "good")]);
        let failure = ending.failure.unwrap();
        assert_eq!((ending.exit_code, &*failure.code, failure.user_error), (Some(3), code, true));
        assert_eq!(rig.door.stored(), ["good"], "the others are stored all the same");
        let log = fs::read_to_string(rig.path(&launch, "fileuploaderr.txt")).unwrap();
        assert!(!log.is_empty() && !format!("{failure:?}{log}").contains("secret"), "{log}");
    }
}

#[test]
fn logs_are_written_only_after_a_problem() {
    let (rig, launch, _) = stores("true", vec![output("../stdout.txt", "x")]);
    assert!(!rig.path(&launch, "fileuploadout.txt").exists());
    let (rig, launch, ending) = stores("true", vec![output("*.csv", "x")]);
    assert_eq!(ending.failure, None);
    assert_eq!(
        fs::read_to_string(rig.path(&launch, "fileuploadout.txt")).unwrap(),
        "*.csv: no files found\n"
    );
    assert_eq!(fs::read_to_string(rig.path(&launch, "fileuploaderr.txt")).unwrap(), "");
}

#[test]
fn links_are_followed_only_within_the_task() {
    let script = "echo in > a; ln -s a link; ln -s ../stdout.txt up; ln -s /etc/passwd out; ln -s /etc dir; ln -s no no;
        mkfifo pipe; mkdir sub; ln -s .. sub/loop";
    let (rig, launch, ending) = stores(script, vec![output("**", "")]);
    assert_eq!(ending.failure, None);
    assert_eq!(rig.door.stored(), ["a", "link", "up"]);
    assert_eq!(rig.door.content("link"), b"in\n");
    let log = fs::read_to_string(rig.path(&launch, "fileuploaderr.txt")).unwrap();
    assert_eq!(log.lines().count(), 5, "{log}");
}

#[test]
fn unusual_names_are_stored_unchanged_and_invalid_ones_reported() {
    let script =
        "echo > 'a b'; echo > -n; echo > '$(id)'; echo > \"$(printf 'x\\ny')\"; echo > 'é;*?'; echo > a\\\\b";
    let (rig, _, ending) = stores(script, vec![output("*", "")]);
    assert_eq!(ending.failure, None);
    assert_eq!(rig.door.stored(), ["$(id)", "-n", "a b", "a\\b", "x\ny", "é;*?"]);
    let (rig, _, ending) = stores("echo > \"$(printf '\\377')\"; echo > good", vec![output("*", "")]);
    let failure = ending.failure.unwrap();
    assert_eq!(failure.code, "FileUploadMiscError");
    assert!(format!("{failure:?}").contains("not UTF-8"), "{failure:?}");
    assert_eq!(rig.door.stored(), ["good"]);
}

#[test]
fn two_files_with_one_name_are_reported_and_a_duplicate_is_stored_once() {
    let (rig, _, ending) = stores(FILES, vec![output("a.txt", "same"), output("d/b.txt", "same")]);
    assert_eq!(ending.failure.unwrap().code, "FileUploadMiscError");
    assert_eq!(rig.door.content("same"), b"1\n");
    let (rig, _, ending) = stores(FILES, vec![output("a.txt", ""), output("*.txt", "")]);
    assert_eq!((ending.failure, rig.door.stored()), (None, vec!["a.txt".into()]));
}

#[test]
fn many_files_are_stored_in_few_calls() {
    let (rig, _, ending) =
        stores("for i in $(seq 600); do : > $i; done", vec![output("*", ""), output("../*.txt", "")]);
    assert_eq!(ending.failure, None);
    assert_eq!(rig.door.stored().len(), 602);
    assert_eq!(*rig.door.calls.lock().unwrap(), 3);
}

#[test]
fn ending_a_task_does_not_wait_for_an_upload() {
    let mut rig = Rig::new();
    let (comes, open) = rig.door.close();
    let mut launch = rig.shell("touch endless");
    launch.output_files = vec![output("*", "x")];
    rig.order(&launch);
    rig.started(&launch);
    comes.recv_timeout(SOON).unwrap();
    drop(open);
    rig.kill(&launch);
    let ending = rig.ended(&launch);
    assert_eq!((ending.exit_code, ending.failure.unwrap().code.as_str()), (Some(0), "TaskEnded"));
    assert_eq!(rig.door.stored(), [""; 0]);
}
