//! Those who are told what became of a run, or of a file.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, run_file};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

fn desk(notify: &str) -> Desk {
    let desk = Desk::new();
    desk.write("data/a.txt", "a").write("data/b.txt", "b");
    desk.write("run.toml", run_file(r#"["true"]"#, notify));
    desk
}

#[test]
fn a_program_reads_what_became_of_a_run() {
    let desk =
        desk("[notify]\ncommand = [\"sh\", \"-c\", \"cat > told.json; echo $DROPMILL_NOTICE > kind\"]\n");
    desk.run("run.toml").exited(0);
    let told: Value = serde_json::from_str(&desk.read("told.json")).unwrap();
    assert_eq!((told["kind"].as_str(), told["outcome"].as_str()), (Some("run_ended"), Some("succeeded")));
    assert_eq!(told["tasks"]["succeeded"], 2);
    assert_eq!(told["id"].as_str().unwrap().len(), 32);
    assert_eq!(desk.read("kind").trim(), "run_ended");
}

#[test]
fn that_nobody_could_be_told_fails_nothing() {
    let desk = desk("[notify]\ncommand = [\"sh\", \"-c\", \"echo gone >&2; exit 7\"]\ntries = 1\n");
    let said = desk.run("run.toml");
    said.exited(0);
    assert!(said.stderr.contains("not told") && said.stderr.contains("gone"), "{}", said.stderr);
}

/// One request over HTTP: its headers, and its body.
fn request(stream: &TcpStream) -> (Vec<String>, String) {
    let mut reader = BufReader::new(stream);
    let mut headers = vec![];
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        headers.push(line.trim().to_owned());
    }
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (headers, String::from_utf8(body).unwrap())
}

#[test]
fn an_address_has_it_posted_signed_until_it_takes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hearing = std::thread::spawn(move || {
        ["503 Busy", "204 Taken"].map(|answer| {
            let (stream, _) = listener.accept().unwrap();
            let heard = request(&stream);
            write!(&stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            heard
        })
    });
    let desk = desk(&format!(
        "[notify]\nurl = \"http://{address}/hook\"\nsecret = {{ file = \"secret\" }}\ntimeout = \"60s\"\n"
    ));
    desk.write("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let path = desk.path("secret");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    desk.run("run.toml").exited(0);
    let [first, second] = hearing.join().unwrap();
    assert_eq!(first.1, second.1, "every try says the same");
    let of = |heard: &(Vec<String>, String), name: &str| {
        heard.0.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned)).unwrap()
    };
    assert_eq!(of(&first, "webhook-id"), of(&second, "webhook-id"));
    assert!(of(&second, "webhook-signature").starts_with("v1,"));
    assert!(of(&second, "webhook-timestamp").parse::<i64>().unwrap() > 1_700_000_000);
    let body: Value = serde_json::from_str(&second.1).unwrap();
    assert_eq!(body["id"].as_str(), Some(&*of(&second, "webhook-id")));
}

#[test]
fn where_nothing_can_be_posted_is_told_before_anything_begins() {
    for url in ["hooks", "http://hooks.example.org/"] {
        let desk = desk(&format!("[notify]\nurl = \"{url}\"\n"));
        let said = desk.run("run.toml");
        said.exited(2);
        assert!(said.stderr.contains("notify.url"), "{}", said.stderr);
    }
}
