//! A run is recorded without secrets, and replayed offline with the same result.

mod common;

use common::{Desk, Served, on_sockets, run_file};
use std::{fs, process::Output};

const COMMAND: &str = r#"["/bin/sh", "-c", "wc -c < \"$DROPMILL_INPUT\" > n.txt; case $DROPMILL_INPUT in *c.txt) exit 3;; esac"]"#;

fn desk(more: &str) -> Desk {
    let desk = Desk::new();
    for name in ["a", "b", "c", "d"] {
        desk.write(format!("data/{name}.txt"), name);
    }
    desk.write("tool", "#!/bin/sh\n");
    let application = "[application]\nfiles = [\"tool\"]\nstart_task = \"true\"\n";
    let file = run_file(COMMAND, &format!("{application}{more}"));
    desk.write("run.toml", file.replace("command =", "outputs = [\"*.txt\"]\ncommand ="));
    desk
}

#[track_caller]
fn exited(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, printed) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}\n{printed}");
    (said, printed)
}

#[test]
fn a_recorded_run_on_the_embedded_service_is_replayed_exactly() {
    let desk = desk("");
    exited(&desk.output(&["run", "run.toml", "--record", "rec"]), 1);
    let exchanges = desk.read("rec/exchanges.jsonl");
    assert!(!exchanges.contains("SharedKey") && !exchanges.contains("sr=c&sig=\""), "{exchanges}");
    for (at, _) in exchanges.match_indices("sig=") {
        assert!(exchanges[at..].starts_with("sig=***"), "{}", &exchanges[at..at + 40]);
    }
    assert!(exchanges.contains("sig=***"), "there was a secret to hide");
    fs::remove_dir_all(desk.path("state")).unwrap();
    let before = desk.read("rec/recorded.outline");
    let (said, printed) = exited(&desk.output(&["simulate", "--replay", "rec", "--outline"]), 1);
    assert_eq!(said, before, "{printed}");
    assert!(printed.contains("same as recorded"), "{printed}");
    exited(&desk.output(&["run", "run.toml", "--record", "rec"]), 2);
}

#[test]
fn a_run_over_sockets_is_recorded_without_keys_and_replayed_without_the_service() {
    let empty = Desk::new();
    let served = Served::on(&empty);
    let desk = desk(&on_sockets(&served));
    let (batch, blob) = (served.text("/batch/key").to_owned(), served.text("/blob/key").to_owned());
    let mut command = desk.dropmill(&["run", "run.toml", "--record", "rec"]);
    exited(&command.env("BATCH_KEY", &batch).env("STORAGE_KEY", &blob).output().unwrap(), 1);
    served.end();
    for file in desk.files("rec") {
        let content = desk.read(format!("rec/{file}"));
        for secret in [&batch, &blob] {
            assert!(!content.contains(secret), "{file}");
        }
        assert!(!content.contains("SharedKey"), "{file}");
        assert!(content.match_indices("sig=").all(|(at, _)| content[at..].starts_with("sig=***")), "{file}");
    }
    let (said, printed) = exited(&desk.output(&["simulate", "--replay", "rec", "--outline"]), 1);
    assert_eq!(said, desk.read("rec/recorded.outline"), "{printed}");
}

#[test]
fn a_request_that_is_missing_in_a_recording_ends_the_replay_and_is_named() {
    let desk = desk("");
    exited(&desk.output(&["run", "run.toml", "--record", "rec"]), 1);
    let whole = desk.read("rec/exchanges.jsonl");
    let without = |what: &dyn Fn(&str) -> bool| -> String {
        whole.lines().filter(|line| !what(line)).map(|line| format!("{line}\n")).collect()
    };
    let creation = |line: &str| line.contains(r#""method":"POST","#) && line.contains(r#""path":"/jobs?"#);
    let upload = |line: &str| line.contains(r#""method":"PUT""#) && line.contains("b.txt");
    for (text, named) in [
        (without(&creation), "the recording cannot answer POST /jobs: the recording has no such request"),
        (without(&upload), "b.txt: the recording has no such request"),
        (whole.replace(r#""dropmill_recording":1"#, r#""dropmill_recording":9"#), "version 9"),
        (format!("{whole}{{"), "of the recording: EOF"),
    ] {
        assert_ne!(text, whole);
        desk.write("rec/exchanges.jsonl", text);
        let output = desk.output(&["simulate", "--replay", "rec", "--outline"]);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(0), "{printed}");
        assert!(printed.contains(named), "{named}: {printed}");
    }
    fs::remove_file(desk.path("data/a.txt")).unwrap();
    desk.write("rec/exchanges.jsonl", &whole);
    let (_, printed) = exited(&desk.output(&["simulate", "--replay", "rec"]), 2);
    assert!(printed.contains("a.txt is missing"), "{printed}");
}
