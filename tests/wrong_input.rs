//! Mistakes in a run file are reported with their lines, all at once, before any network call.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use std::{io::ErrorKind, net::TcpListener};

/// Returns what `run FILE` prints on standard error; it must be rejected.
#[track_caller]
fn refused(desk: &Desk, file: &str, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["run", file].iter().chain(more).copied().collect();
    let output = desk.output(&arguments);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(!desk.path("state").exists(), "nothing was begun");
    let said = String::from_utf8(output.stderr).unwrap();
    said.replace(&desk.path("").display().to_string(), "$DESK/")
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let desk = Desk::new();
    desk.write(
        "run.toml",
        r#"[run]
nmae = "x"
deadline = "soon"

[input]
files = ["nothing/*.txt"]

[task]
command = ["x"]
outptus = []
max_retries = -1
env = { A = 1 }

[pool]
nodes = "three"

[service]
kind = "azur"
batch_key = "canary"

[limits]
upload_bytes = "64 potatoes"

[wacth]
directory = "drop"
"#,
    );
    insta::assert_snapshot!(refused(&desk, "run.toml", &[]));
}

#[test]
fn readable_but_impossible_values_are_reported_too() {
    let desk = Desk::new();
    desk.write("data/a/x.txt", "").write("data/b/x.txt", "").write(
        "run.toml",
        r#"[run]
name = " "
deadline = "0s"

[application]
files = ["data/**/x.txt"]

[input]
files = ["data/**/*.txt", "missing/*.txt", "data/["]

[task]
command = ["cat", "{inptu}"]
shell = "cat"
outputs = ["/etc/passwd", "../x"]
required_slots = 9

[task.env]
"A B" = "x"

[pool]
id = "a pool"
nodes = 0
slots_per_node = 1000

[job]
priority = 5000

[output]
layout = "flat"

[limits]
uploads = 0

[service]
kind = "azure"
batch_endpoint = "http://batch.example"
blob_endpoint = "not an address"
"#,
    );
    insta::assert_snapshot!(refused(&desk, "run.toml", &[]));
}

#[test]
fn unusable_run_files_are_reported() {
    let desk = Desk::new();
    desk.write("broken.toml", "[run\n")
        .write("broken.yaml", "run: [")
        .write("run.ini", "")
        .write("data/a", "");
    desk.write("empty.json", "{}");
    let said: String = ["missing.toml", "broken.toml", "broken.yaml", "run.ini", "empty.json"]
        .map(|file| refused(&desk, file, &[]))
        .concat();
    insta::assert_snapshot!(said);
}

#[test]
fn settings_of_the_command_line_and_the_environment_are_checked_like_the_file() {
    let desk = Desk::new();
    desk.write("data/a.txt", "").write("run.toml", common::run_file(r#"["/bin/true"]"#, ""));
    let said = refused(&desk, "run.toml", &["--set", "pool.nodes=none", "--set", "nonsense"]);
    insta::assert_snapshot!(said);
    let output = desk.dropmill(&["run", "run.toml"]).env("DROPMILL__POOL__NOODLES", "3").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("pool.noodles") && said.contains("did you mean nodes?"), "{said}");
}

#[test]
fn a_run_file_with_mistakes_causes_no_network_call() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let service = format!(
        r#"[service]
kind = "azure"
batch_endpoint = "http://{address}"
batch_account = "a"
batch_key = {{ env = "KEY" }}
blob_endpoint = "http://{address}/a"
storage_account = "a"
storage_key = {{ env = "KEY" }}
"#
    );
    desk.write("run.toml", common::run_file(r#"["/bin/true"]"#, &service));
    let said = refused(&desk, "run.toml", &[]);
    assert!(said.contains("matches no file"), "{said}");
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "there was a network call");
}

#[test]
fn an_unavailable_key_is_named_and_no_call_is_made() {
    let desk = Desk::new();
    let service = |key: &str| {
        format!(
            r#"[service]
kind = "azure"
batch_endpoint = "http://127.0.0.1:1"
batch_account = "a"
batch_key = {key}
blob_endpoint = "http://127.0.0.1:1/a"
storage_account = "a"
storage_key = {{ env = "DROPMILL_TEST_KEY" }}
"#
        )
    };
    desk.write("data/a.txt", "").write("key", "canary");
    for (key, expected) in [
        (r#"{ env = "DROPMILL_TEST_NO_SUCH" }"#, "no variable DROPMILL_TEST_NO_SUCH"),
        (r#"{ file = "no-such" }"#, "no-such: No such file"),
        (r#"{ file = "key" }"#, "can be read by others"),
        (r#"{ env = "DROPMILL_TEST_KEY" }"#, "is not base64"),
    ] {
        desk.write("run.toml", common::run_file(r#"["/bin/true"]"#, &service(key)));
        let mut command = desk.dropmill(&["run", "run.toml"]);
        let output = command.env("DROPMILL_TEST_KEY", "canary!").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("service.batch_key") && said.contains(expected), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
}
