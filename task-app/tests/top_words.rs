//! Runs the program like a user.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    thread,
};

const SIGNATURE: &str = "sv=2021-08-06&sr=c&sp=w&sig=canary%2Bsignature%3D";

/// Returns a command that runs the program in a folder, with the environment of a task.
fn top_words(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("top-words").unwrap();
    command.current_dir(folder).args(arguments).env_remove("OUTPUT_CONTAINER_URL");
    for (name, value) in
        [("NODE_ID", "tvm-1"), ("TASK_ID", "task-1"), ("JOB_ID", "job-1"), ("POOL_ID", "pool-1")]
    {
        command.env(format!("AZ_BATCH_{name}"), value);
    }
    command
}

fn list(text: &[u8], most: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.txt"), text).unwrap();
    top_words(folder.path(), &["in.txt", most]).assert().success();
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["in.txt", "in_OUTPUT.txt"], "no temporary file remains");
    fs::read(folder.path().join("in_OUTPUT.txt")).unwrap()
}

fn golden(rows: &[u8]) -> Vec<u8> {
    let foot = b"------------------------------\nNode: tvm-1\nTask: task-1\nJob:  job-1\nPool: pool-1\n";
    [b"Count\tWord\n", rows, foot].concat()
}

#[test]
fn lists() {
    let huge_line: Vec<u8> = b"lorem ipsum lorem, ".repeat(200_000);
    let cases: [(&str, &[u8], &[u8]); 9] = [
        ("an empty file", b"", b""),
        ("only white space", b" \r\n\t\x0B\x0C\xC2\xA0\xE3\x80\x80", b""),
        ("one word", b"one", b"  1\t\tone\n"),
        ("a byte order mark is not a word", b"\xEF\xBB\xBFa b a", b"  2\t\ta\n  1\t\tb\n"),
        ("CRLF", b"x\r\ny\r\nx\r\n", b"  2\t\tx\n  1\t\ty\n"),
        ("ties in order of appearance", b"d c b a b c", b"  2\t\tc\n  2\t\tb\n  1\t\td\n"),
        ("case is kept", b"The the THE the", b"  2\t\tthe\n  1\t\tThe\n  1\t\tTHE\n"),
        ("invalid UTF-8 is kept", b"\xFF\xFE \xFF\xFE a", b"  2\t\t\xFF\xFE\n  1\t\ta\n"),
        (
            "one huge line, and a count wider than its column",
            &huge_line,
            b"200000\t\tlorem\n200000\t\tipsum\n200000\t\tlorem,\n",
        ),
    ];
    for (what, text, rows) in cases {
        assert_eq!(list(text, "3"), golden(rows), "{what}");
    }
}

#[test]
fn invalid_arguments_print_the_usage() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["a"], &["a", "0"], &["a", "-1"], &["a", "three"], &["a", "1", "u", "more"]] {
        let output = top_words(folder.path(), arguments).assert().code(2).get_output().clone();
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage: top-words FILE N"));
    }
}

#[test]
fn an_unreadable_file_is_named_and_leaves_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let output = top_words(folder.path(), &["missing.txt", "3"]).assert().code(1).get_output().clone();
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read missing.txt: No such file"));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// The request line and body of a request.
type Request = (String, Vec<u8>);

/// Starts a server that accepts one request per response.
fn container(responses: Vec<&'static str>) -> (String, thread::JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/account/my-container?{SIGNATURE}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut requests = vec![];
        for response in responses {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut lines = vec![];
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line == "\r\n" {
                    break;
                }
                lines.push(line.trim_end().to_owned());
            }
            let length = lines.iter().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            let mut body = vec![0; length.unwrap()];
            stream.read_exact(&mut body).unwrap();
            requests.push((lines[0].clone(), body));
            let head = format!("HTTP/1.1 {response}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.get_mut().write_all(head.as_bytes()).unwrap();
        }
        requests
    });
    (url, server)
}

#[test]
fn the_list_is_uploaded_and_retried_when_the_service_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ü v.txt"), "a").unwrap();
    let (url, server) = container(vec!["503 Busy\r\nx-ms-error-code: ServerBusy", "201 Created"]);
    let output =
        top_words(folder.path(), &["ü v.txt", "1"]).env("OUTPUT_CONTAINER_URL", &url).assert().success();
    let requests = server.join().unwrap();
    assert_eq!(requests.len(), 2);
    for (line, body) in requests {
        let path = "/account/my-container/%C3%BC%20v_OUTPUT.txt";
        assert_eq!(line, format!("PUT {path}?{SIGNATURE} HTTP/1.1"));
        assert_eq!(body, golden(b"  1\t\ta\n"));
    }
    assert_silent(output.get_output());
}

#[test]
fn a_rejected_upload_fails_the_task_and_names_the_blob() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.txt"), "a").unwrap();
    let (url, server) = container(vec!["403 No\r\nx-ms-error-code: AuthenticationFailed"]);
    let output = top_words(folder.path(), &["in.txt", "1", &url]).assert().code(1).get_output().clone();
    assert_eq!(server.join().unwrap().len(), 1, "a rejected upload is not retried");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("my-container/in_OUTPUT.txt: the service responded with 403 (AuthenticationFailed)"),
        "{text}"
    );
    assert_silent(&output);
}

#[test]
fn an_invalid_container_url_is_reported_without_its_signature() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.txt"), "a").unwrap();
    for url in ["http://nowhere/container", &format!("no url?{SIGNATURE}"), &format!("ftp://a/b?{SIGNATURE}")]
    {
        let output = top_words(folder.path(), &["in.txt", "1", url]).assert().code(1).get_output().clone();
        assert_silent(&output);
    }
}

fn assert_silent(output: &std::process::Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(!String::from_utf8_lossy(&text).contains("canary"), "the output contains the signature");
}
