//! The state of a drop folder: the same in `dropmill status` and `/status`, and the output of `watch`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Ending,
    mill::{self, Mill, PATIENCE, put},
};
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
};

/// A `watch` that prints lines for people.
struct Watch {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    err: BufReader<std::process::ChildStderr>,
}

impl Watch {
    fn start(desk: &Desk, more: &[&str]) -> Self {
        let mut command = desk.dropmill(&[&["watch", "run.toml"], more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let err = BufReader::new(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Reads standard error until a line contains this text; returns everything that was read.
    fn until(&mut self, wanted: &str) -> String {
        let mut said = String::new();
        while !said.contains(wanted) {
            assert!(self.err.read_line(&mut said).unwrap() > 0, "no {wanted} in:\n{said}");
        }
        said
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn status(desk: &Desk, more: &[&str]) -> String {
    let output = desk.output(&[&["status", "run.toml"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two inputs, and seven entries that are not inputs.
fn mixed() -> Desk {
    let desk = mill::desk();
    desk.write("run.toml", mill::COUNT.replace("\"0s\"", "\"1h\"\nmin_bytes = \"1B\""));
    for name in ["a.txt", "b.txt", ".hidden", "x.part", "y.part"] {
        put(&desk, name, name);
    }
    put(&desk, "empty", "");
    let drop = desk.path("drop");
    std::os::unix::fs::symlink("/etc/passwd", drop.join("link")).unwrap();
    rustix::fs::mknodat(CWD, drop.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    desk.write("drop/album/one.txt", "1").write("drop/album/two.txt", "2");
    desk
}

#[test]
fn both_statuses_are_equal_and_count_ignored_entries_separately() {
    let desk = mixed();
    let before = status(&desk, &[]);
    assert!(before.contains("not watched") && before.contains("\nwaiting     2\n"), "{before}");
    assert!(!desk.path("state").exists(), "looking creates nothing");

    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut watch = Watch::start(&desk, &["--set", &format!("watch.listen={address}")]);
    watch.until("ready");
    let (printed, answered) = (status(&desk, &[]), ask(&address, "/status"));
    assert_eq!(printed, answered);
    let path = |name: &str| fs::canonicalize(desk.path(name)).unwrap().display().to_string();
    let holder = format!("{}: watched by pid {} since ", path("drop"), watch.child.id());
    assert!(printed.starts_with(&holder), "{printed}");
    let expected = [
        "waiting     2".to_owned(),
        "running     0".into(),
        format!("done        0 in {}", path("done")),
        format!("failed      0 in {}", path("failed")),
        "left alone  7".into(),
        "            3: matches watch.ignore".into(),
        "            1: a FIFO".into(),
        "            1: a folder: watch.recursive = true looks into it, watch.unit = \"directory\" takes it whole".into(),
        "            1: a symbolic link: links are not followed, put the file itself here".into(),
        "            1: smaller than watch.min_bytes".into(),
    ];
    assert_eq!(printed.lines().skip(1).collect::<Vec<_>>(), expected);
    let json: Value = serde_json::from_str(&status(&desk, &["--json"])).unwrap();
    assert_eq!((&json["waiting"], &json["at_work"], &json["done"]), (&2.into(), &0.into(), &0.into()));
    assert_eq!(json["left_alone"][0], json!({ "why": "matches watch.ignore", "count": 3 }));

    // With other settings the counts are different: what is waiting, and which folders are searched.
    for (set, waiting, left) in [
        ("watch.recursive=true", 4, 6),
        ("watch.marker=.done", 0, 9),
        ("watch.include=[\"a*\"]", 1, 8),
        ("watch.unit=directory", 1, 8),
    ] {
        let json: Value = serde_json::from_str(&status(&desk, &["--json", "--set", set])).unwrap();
        let counts =
            json["left_alone"].as_array().unwrap().iter().map(|left| left["count"].as_u64().unwrap());
        assert_eq!((json["waiting"].as_u64(), counts.sum::<u64>()), (Some(waiting), left), "{set}: {json:#}");
    }
}

#[test]
fn a_folder_among_files_is_named_once() {
    let desk = mixed();
    let mut watch = Watch::start(&desk, &["--set", "watch.rescan=1s"]);
    let mut said = watch.until("left in the drop folder: album: a folder: watch.recursive");
    // Its files change, and the whole folder is scanned again, twice: the second time after it was away.
    put(&desk, "album/three.txt", "3");
    fs::rename(desk.path("drop"), desk.path("moved")).unwrap();
    said += &watch.until("waiting: ");
    fs::rename(desk.path("moved"), desk.path("drop")).unwrap();
    said += &watch.until("resumed");
    put(&desk, "last", "x");
    std::os::unix::fs::symlink("nowhere", desk.path("drop/last-link")).unwrap();
    said += &watch.until("last-link");
    assert_eq!(said.matches("left in the drop folder: album").count(), 1, "{said}");
    for name in ["link", "pipe"] {
        assert_eq!(said.matches(&format!("left in the drop folder: {name}:")).count(), 1, "{said}");
    }
}

/// Returns the rest of a line that begins with a time such as `2026-03-02T10:11:12Z`.
fn after_time(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    let shape: String =
        time.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{line}");
    rest
}

#[test]
fn lines_of_watch_carry_the_time_and_the_folder_of_the_result() {
    let desk = mill::desk();
    put(&desk, "a.txt", "x");
    put(&desk, "bad.txt", "x");
    std::os::unix::fs::symlink("nowhere", desk.path("drop/link")).unwrap();
    let mut watch = Watch::start(&desk, &[]);
    let said = watch.until("left in the drop folder");
    said.lines().for_each(|line| assert!(!after_time(line).is_empty(), "{line}"));
    let mut lines = std::collections::BTreeSet::new();
    while lines.len() < 2 {
        let mut line = String::new();
        assert!(watch.out.read_line(&mut line).unwrap() > 0);
        lines.insert(after_time(line.trim_end()).to_owned());
    }
    let place = |name: &str| fs::canonicalize(desk.path(name)).unwrap().display().to_string();
    let expected = [
        format!("done    a.txt -> {}", place("done/a.txt")),
        format!("failed  bad.txt -> {}: exit code 3", place("failed/bad.txt")),
    ];
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), expected);
    drop(watch);
    put(&desk, "c.txt", "x");
    let mut mill = Mill::start(&desk, &[]);
    // A daemon that was killed right after it printed a line prints the line again after a restart.
    let finished = mill.until(|said| said["kind"] == "finished" && said["input"] == "c.txt").unwrap();
    assert_eq!(after_time(&format!("{} ", finished["at"].as_str().unwrap())), "");
    assert_eq!(finished["place"], place("done/c.txt"));
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn keys_that_watch_does_not_use_are_reported_once_without_failing() {
    let desk = mill::desk();
    let notes = |desk: &Desk, more: &[&str]| {
        let mut watch = Watch::start(desk, more);
        let said = watch.until("ready");
        said.lines().filter(|line| line.contains("does not use")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(notes(&desk, &[]), Vec::<String>::new());
    let more = "[input]\nfiles = [\"*\"]\n[output]\nlayout = \"by-input\"\n[cleanup]\njob = \"always\"\npool = \"always\"\n";
    desk.write("run.toml", format!("{}{more}", mill::COUNT));
    // One of them has its default value: it is set all the same.
    let expected = "run.toml: watch does not use cleanup.job, input.files, output.layout";
    assert_eq!(notes(&desk, &[]), [expected]);
    assert_eq!(
        notes(&desk, &["--set", "output.directory=elsewhere"]),
        ["run.toml: watch does not use cleanup.job, input.files, output.directory, output.layout"]
    );
    // The same for another format of the run file.
    let text = "run: {name: mill}\ntask: {shell: \"true\"}\nwatch: {directory: drop}\noutput: {}\n";
    desk.write("run.yaml", text);
    let mut command = desk.dropmill(&["watch", "run.yaml"]);
    let mut child = Ending(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill();
    assert_eq!(line, "run.yaml: watch does not use output\n");
}
