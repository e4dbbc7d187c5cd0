//! Names, paths, causes and output of tasks contain control characters: no command prints them in a form
//! that moves the cursor, changes the writing direction or starts a line.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Ending, Served,
    mill::{self, Mill, PATIENCE, put},
    run_file,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
};

/// Each name would control a terminal or look like a line of Dropmill.
const NAMES: [&str; 7] = [
    "esc\x1b[2J\x1b]0;title\x07.txt",
    "new\nFORGED line.txt",
    "cr\rFORGED.txt",
    "bidi\u{202e}txt.exe",
    "c1\u{9b}31m\u{85}FORGED",
    "sep\u{2028}FORGED\u{2029}.txt",
    "zero\u{200b}\u{feff}\u{e0041}\u{2066}.txt",
];
/// The folder of all files: part of the names of run files, state and results.
const FOLDER: &str = "here\x1b[31m\nFORGED folder\u{202e}";
/// Fails, with a hostile output, standard output and error.
const TASK: &str = r#"["/bin/sh", "-c", "printf 'x\\033[2J\\r\\nFORGED\\302\\233 error\\n' >&2; : > \"$(printf 'out\\033[2J\\nFORGED')\"; exit 3"]"#;

fn is_hidden(letter: char) -> bool {
    letter.is_control() && letter != '\n'
        || matches!(letter, '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Checks what a terminal would show.
#[track_caller]
fn is_shown(what: &str, text: &str) {
    let hidden: Vec<char> = text.chars().filter(|letter| is_hidden(*letter)).collect();
    assert!(hidden.is_empty(), "{what}: {hidden:?} in {text:?}");
    let forged: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("FORGED")).collect();
    assert!(forged.is_empty(), "{what}: {forged:?} in:\n{text}");
}

/// Runs a command, checks both of its outputs, and returns what it printed.
#[track_caller]
fn shown(desk: &Desk, arguments: &[&str], log: &str) -> String {
    let output = desk.dropmill(arguments).env("RUST_LOG", log).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    is_shown(&format!("{arguments:?}, output"), &out);
    is_shown(&format!("{arguments:?}, error"), &err);
    if arguments.contains(&"--json") {
        out.lines().for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).unwrap()));
    }
    out + &err
}

#[test]
fn commands_about_runs_show_every_name_on_its_line() {
    let desk = Desk::called(FOLDER);
    for name in NAMES {
        desk.write(format!("data/{name}"), name);
    }
    let more = "layout = \"by-input\"\n";
    let file = run_file(TASK, more).replace("[pool]", "outputs = [\"out*\"]\n[pool]");
    desk.write("run.toml", file);
    let planned = shown(&desk, &["plan", "run.toml"], "error");
    assert!(planned.contains("new\\nFORGED line.txt") && planned.contains("bidi\\u{202e}txt"), "{planned}");
    shown(&desk, &["plan", "run.toml", "--json"], "error");
    let ran = shown(&desk, &["run", "run.toml"], "error");
    assert!(ran.contains("bidi\\u{202e}txt.exe") && ran.contains("FORGED folder\\u{202e}"), "{ran}");
    assert!(ran.contains("| FORGED\\u{9b} error"), "{ran}");
    shown(&desk, &["run", "run.toml", "--json"], "error");
    shown(&desk, &["run", "run.toml"], "trace");
    shown(&desk, &["run", "run.toml", "--log-json"], "debug");
    let runs = shown(&desk, &["runs"], "error");
    let runs: Vec<&str> = runs.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(runs.len(), 4);
    let (one, other) = (runs[0], runs[1]);
    for arguments in [
        &["runs", "--json"][..],
        &["show", one],
        &["show", one, "--json"],
        &["trace", one],
        &["trace", one, "--outline"],
        &["trace", one, "--json"],
        &["trace", "compare", one, other],
        &["resume", one],
        &["retry", one, "--failed"],
        &["simulate", "run.toml"],
        &["simulate", "run.toml", "--outline"],
    ] {
        let text = shown(&desk, arguments, "error");
        assert!(!text.is_empty() || arguments[0] == "retry", "{arguments:?} prints nothing");
    }
}

#[test]
fn errors_show_every_name_on_its_line() {
    let desk = Desk::called(FOLDER);
    for name in NAMES {
        let message = shown(&desk, &["run", name], "error");
        assert!(message.contains("it cannot be read") || message.contains("file not found"), "{message}");
        for arguments in [
            &["show", name][..],
            &["trace", name],
            &["resume", name],
            &["run", "run.toml", "--set", name],
            &["trace", "test", name],
            &["trace", name, name],
            &["simulate", name],
            &["simulate", "--replay", name],
            &["serve", "--batch", name],
            &["serve", "--application", name],
        ] {
            assert!(!shown(&desk, arguments, "error").is_empty(), "{arguments:?}");
        }
    }
    shown(&desk, &["init", NAMES[1]], "error");
    shown(&desk, &["init", NAMES[1]], "error");
    // Mistakes in a file, and a file that is not one.
    desk.write(
        "wrong.toml",
        "[run]\nname = \"a\\u001b[2J\\nFORGED\"\n\"k\\u001b\\nFORGED\" = 1\n[pool]\nnodes = \"x\\nFORGED\"\n",
    );
    shown(&desk, &["plan", "wrong.toml"], "error");
    desk.write("torn.toml", "[run\x1b[2J\nFORGED\n");
    shown(&desk, &["plan", "torn.toml"], "error");
}

/// Returns the response of a daemon over HTTP.
fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn a_daemon_shows_every_name_on_its_line_and_in_its_answers() {
    let desk = mill::desk_in(Desk::called(FOLDER));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let listen = format!("watch.listen={address}");
    // Files and links exist before the daemon starts: entries that cannot be taken are reported, too.
    for name in NAMES {
        put(&desk, name, name);
        put(&desk, format!("bad{name}"), name);
        std::os::unix::fs::symlink("/etc/passwd", desk.path("drop").join(format!("link {name}"))).unwrap();
    }
    let waits = ["--set", "limits.disk_floor=1000TiB", "--set", "watch.rescan=1s"];
    let arguments = [&["watch", "run.toml", "--set", &listen][..], &waits].concat();
    let mut command = desk.dropmill(&arguments);
    let mut child = Ending(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut err = BufReader::new(child.0.stderr.take().unwrap());
    let mut said = String::new();
    while !NAMES.iter().all(|name| said.contains(&format!("link {}", dropmill::shown(name)))) {
        assert!(err.read_line(&mut said).unwrap() > 0, "{said}");
    }
    // The folder is removed, and the daemon reports a path with a hostile name.
    fs::rename(desk.path("drop"), desk.path("moved")).unwrap();
    while !said.contains("No such file") {
        assert!(err.read_line(&mut said).unwrap() > 0, "{said}");
    }
    for path in ["/health", "/status", "/metrics"] {
        let answer = ask(&address, path);
        is_shown(path, &answer);
        assert!(path == "/metrics" || answer.contains("FORGED folder"), "{path}: {answer}");
    }
    is_shown("status", &shown(&desk, &["status", "run.toml"], "error"));
    shown(&desk, &["status", "run.toml", "--json"], "error");
    child.kill();
    err.read_to_string(&mut said).unwrap();
    is_shown("watch, error", &said);
    fs::rename(desk.path("moved"), desk.path("drop")).unwrap();

    // The lines about files whose results are in place.
    let mut command = desk.dropmill(&["watch", "run.toml"]);
    let mut child = Ending(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut lines = String::new();
    while lines.lines().count() < 2 * NAMES.len() {
        assert!(out.read_line(&mut lines).unwrap() > 0, "{lines}");
    }
    child.kill();
    is_shown("watch, output", &lines);
    for name in ["new\\nFORGED line.txt", "badesc\\u{1b}[2J"] {
        assert!(lines.contains(name), "{name} in {lines}");
    }

    // The same for events.
    put(&desk, NAMES[3], "more");
    let mut mill = Mill::start(&desk, &[]);
    mill.until(|said| said["kind"] == "finished" && said["input"] == NAMES[3]).unwrap();
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn a_service_shows_its_folder_on_its_line() {
    let desk = Desk::called(FOLDER);
    let mut command = desk.dropmill(&["serve", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"]);
    let mut child = Ending(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut lines = String::new();
    while lines.lines().count() < 4 {
        assert!(out.read_line(&mut lines).unwrap() > 0, "{lines}");
    }
    child.kill();
    is_shown("serve", &lines);
    assert!(lines.contains("FORGED folder"), "{lines}");
    let served = Served::on(&desk);
    assert!(shown(&desk, &["env"], "error").contains("AZURE_BATCH_ACCOUNT"));
    // A second service reports who uses the folder.
    let second = shown(&desk, &["serve", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"], "error");
    assert!(second.contains("in use by"), "{second}");
    assert_eq!(served.end(), Some(0));
    assert!(fs::exists(desk.path("state/service/keys.json")).unwrap());
}
