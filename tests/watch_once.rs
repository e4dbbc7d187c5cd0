//! The drop folder with slow writers, rejected uploads and restarts: each file has exactly one complete
//! result under its name.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Served,
    mill::{COUNT, Mill, desk, names, put},
    on_sockets,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

/// Creates a FIFO that tasks wait for and the test opens.
fn gated(desk: &Desk) -> String {
    let gate = desk.path("gate");
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    COUNT.replace("case $DROPMILL", &format!("cat {}; case $DROPMILL", gate.display()))
}

/// Lets one task continue, as soon as it waits for the FIFO.
fn open_gate(desk: &Desk) {
    fs::OpenOptions::new().write(true).open(desk.path("gate")).unwrap();
}

#[test]
fn a_file_with_rejected_uploads_has_one_result_over_kills_and_stops() {
    let desk = desk();
    // Three uploads are rejected, and each closes a task; the daemon is killed, and stopped, between them.
    desk.write(
        "refusals.toml",
        "[[fault]]\non = [\"put blob\"]\nsubject = \"*/a-txt-*\"\ndo = \"status\"\nstatus = 400\ncode = \"InvalidInput\"\ntimes = 3\n",
    );
    let served = Served::with(&desk, &["--scenario", desk.path("refusals.toml").to_str().unwrap()]);
    desk.write("run.toml", COUNT.to_owned() + &on_sockets(&served));
    let keys = [("BATCH_KEY", served.text("/batch/key")), ("STORAGE_KEY", served.text("/blob/key"))];
    let keys = keys.map(|(name, key)| (name, key.as_ref()));
    let again = ["--set", "watch.tries=9", "--set", "limits.tries=1"];
    let mut mill = Mill::start_with(&desk, "daemon", &again, &keys);
    put(&desk, "a.txt", "12345");
    mill.until(|said| said["kind"] == "task_closed").unwrap();
    mill.kill();
    let mut mill = Mill::start_with(&desk, "daemon", &again, &keys);
    mill.until(|said| said["kind"] == "task_closed").unwrap();
    mill.signal(Signal::TERM);
    mill.signal(Signal::INT);
    while mill.until(|_| true).is_some() {}
    let mut mill = Mill::start_with(&desk, "daemon", &again, &keys);
    assert_eq!(mill.finished(1)["a.txt"], "done");
    put(&desk, "b.txt", "1");
    assert_eq!(mill.finished(1)["b.txt"], "done");
    assert_eq!(mill.end(), Some(0));
    assert_eq!(names(&desk.path("done")), ["a.txt", "b.txt"]);
    assert_eq!(desk.read("done/a.txt/a.txt"), "12345");
    assert!(desk.files("work").is_empty(), "{:?}", desk.files("work"));
}

#[test]
fn a_file_that_is_written_to_while_its_task_runs_is_done_again_as_a_whole() {
    for keep_input in ["true", "false"] {
        let desk = Desk::new();
        fs::create_dir(desk.path("drop")).unwrap();
        desk.write("run.toml", gated(&desk).replace("stable_for = \"0s\"", "stable_for = \"50ms\""));
        let keep = format!("watch.keep_input={keep_input}");
        let mut mill = Mill::start(&desk, &["--set", &keep, "--set", "watch.rescan=100ms"]);
        let mut writer = fs::File::create(desk.path("drop/scan.txt")).unwrap();
        writer.write_all(b"page 1\npage 2\n").unwrap();
        mill.until(|said| said["kind"] == "task_submitted").unwrap();
        // The writer paused for longer than stable_for; now it continues while the task runs.
        writer.write_all(b"page 3\n").unwrap();
        open_gate(&desk);
        let withdrawn = mill.until(|said| said["kind"] == "file_withdrawn").unwrap();
        assert!(
            withdrawn["payload"]["reason"].as_str().unwrap().contains("was changed after"),
            "{withdrawn}"
        );
        assert!(!desk.path("done/scan.txt").exists(), "no result of two pages is delivered");
        drop(writer);
        open_gate(&desk);
        assert_eq!(mill.finished(1)["scan.txt"], "done");
        assert_eq!(mill.end(), Some(0));
        assert_eq!(desk.read("done/scan.txt/bytes.txt").trim(), "21");
        assert_eq!(names(&desk.path("done")), ["scan.txt"]);
        assert_eq!(desk.path("done/scan.txt/scan.txt").exists(), keep_input == "true");
        assert!(desk.files("work").is_empty(), "{:?}", desk.files("work"));
    }
}

#[test]
fn outputs_with_the_names_of_our_notes_keep_their_content() {
    let desk = desk();
    let outputs = "echo own > result.json; echo own > reason.json; echo own > a.txt; case ";
    let run = COUNT.replace("case ", outputs).replace("[\"bytes.txt\"]", "[\"*.json\", \"a.txt\"]");
    desk.write("run.toml", run);
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "a.txt", "input");
    put(&desk, "bad", "x");
    let finished = mill.finished(2);
    assert_eq!((finished["a.txt"].as_str(), finished["bad"].as_str()), ("done", "failed"));
    assert_eq!(mill.end(), Some(0));
    for note in ["done/a.txt/result.json", "failed/bad/reason.json"] {
        assert_eq!(desk.read(note), "own\n", "{note}");
        let ours: Value = serde_json::from_str(&desk.read(format!("{note}~note"))).unwrap();
        for file in ours["files"].as_array().unwrap() {
            let folder = note.rsplit_once('/').unwrap().0;
            let path = format!("{folder}/{}", file["path"].as_str().unwrap());
            assert_eq!(file["bytes"].as_u64(), Some(desk.read(&path).len() as u64), "{path}");
        }
    }
    assert_eq!(desk.read("done/a.txt/a.txt"), "own\n");
    assert_eq!(desk.read("done/a.txt/a.txt~input"), "input");
}

/// Returns the whole response to a request.
fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn health_and_signals_work_while_the_service_is_unreachable() {
    // The kernel accepts connections; no response ever comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = silent.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap().to_string();
    drop(free);
    let desk = desk();
    let section = format!(
        r#"
[service]
kind = "azure"
batch_endpoint = "http://{service}"
batch_account = "local"
batch_key = {{ env = "KEY" }}
blob_endpoint = "http://{service}/local"
storage_account = "local"
storage_key = {{ env = "KEY" }}
"#
    );
    desk.write("run.toml", COUNT.to_owned() + &section);
    let listening = format!("watch.listen={listen}");
    let more = ["--set", &listening, "--set", "watch.drain=1h"];
    let mut mill = Mill::start_with(&desk, "state", &more, &[("KEY", "a2V5".as_ref())]);
    put(&desk, "a.txt", "1");
    mill.until(|said| said["kind"] == "file_claimed").unwrap();
    for path in ["/health", "/status", "/metrics"] {
        let answer = ask(&listen, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert!(ask(&listen, "/status").contains("running     1"), "{}", ask(&listen, "/status"));
    mill.signal(Signal::TERM);
    mill.signal(Signal::INT);
    // If the signal were not handled at once, this would last for watch.drain.
    while mill.until(|_| true).is_some() {}
    assert_eq!(mill.child.wait().unwrap().code(), Some(0));
    assert_eq!(desk.files("work").len(), 1, "the file waits for the next start");
}

#[test]
fn the_daemon_does_not_take_its_own_files() {
    let desk = desk();
    let refused = |run: String, file: &str, what: &str| {
        desk.write(file, run);
        let output = desk.output(&["watch", file]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("is in the drop folder") && error.contains(what), "{error}");
        assert!(desk.path(file).exists());
    };
    let own = |directory: &str| COUNT.replace("directory = \"drop\"", &format!("directory = {directory:?}"));
    let apart = "\ndone = \"../done\"\nfailed = \"../failed\"\nwork = \"../work\"\n";
    refused(own(".") + apart, "drop/run.toml", "the run file");
    refused(
        own("..") + &apart.replace("..", "../..") + "recursive = true\n",
        "drop/deep/run.toml",
        "the run file",
    );
    std::os::unix::fs::symlink(desk.path("drop"), desk.path("alias")).unwrap();
    refused(own("../alias") + apart, "drop/run.toml", "the run file");
    desk.write("drop/tool.sh", "#!/bin/sh\n");
    refused(COUNT.to_owned() + "[application]\nfiles = [\"drop/tool.sh\"]\n", "run.toml", "application");
    // Files that are not inputs are not taken: the run file may then be beside the inputs.
    desk.write("drop/only.toml", own(".") + apart + "include = [\"*.pdf\"]\n");
    let checked = desk.output(&["status", "drop/only.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

#[test]
fn only_included_names_and_files_that_are_long_enough_are_inputs() {
    let desk = desk();
    let more =
        ["--set", "watch.include=[\"*.pdf\"]", "--set", "watch.min_bytes=2B", "--set", "watch.rescan=100ms"];
    let mut mill = Mill::start(&desk, &more);
    for (name, content) in [("Thumbs.db", "12"), ("~$a.docx", "12"), ("empty.pdf", ""), ("a.pdf", "12")] {
        put(&desk, name, content);
    }
    assert_eq!(mill.finished(1)["a.pdf"], "done");
    // The placeholder file gets its content: one result.
    fs::write(desk.path("drop/empty.pdf"), "123").unwrap();
    assert_eq!(mill.finished(1)["empty.pdf"], "done");
    assert_eq!(mill.end(), Some(0));
    assert_eq!(names(&desk.path("drop")), ["Thumbs.db", "~$a.docx"]);
    assert_eq!(names(&desk.path("done")), ["a.pdf", "empty.pdf"]);
    desk.write("bad.toml", COUNT.to_owned() + "include = [\"[\"]\n");
    let output = desk.output(&["watch", "bad.toml"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("not a valid glob pattern"), "{error}");
}
