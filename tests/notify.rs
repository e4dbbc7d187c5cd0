//! Receivers of notifications about runs and files.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk,
    mill::{self, Mill, PATIENCE, put},
    run_file,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
};

fn desk(notify: &str) -> Desk {
    let desk = Desk::new();
    desk.write("data/a.txt", "a").write("data/b.txt", "b");
    desk.write("run.toml", run_file(r#"["true"]"#, notify));
    desk
}

#[test]
fn a_program_receives_the_notification_of_a_run() {
    let desk =
        desk("[notify]\ncommand = [\"sh\", \"-c\", \"cat > notice.json; echo $DROPMILL_NOTICE > kind\"]\n");
    desk.run("run.toml").exited(0);
    let notice: Value = serde_json::from_str(&desk.read("notice.json")).unwrap();
    assert_eq!((notice["kind"].as_str(), notice["outcome"].as_str()), (Some("run_ended"), Some("succeeded")));
    assert_eq!(notice["tasks"]["succeeded"], 2);
    assert_eq!(notice["id"].as_str().unwrap().len(), 32);
    assert_eq!(desk.read("kind").trim(), "run_ended");
}

#[test]
fn a_notification_that_cannot_be_sent_does_not_fail_the_run() {
    let desk = desk("[notify]\ncommand = [\"sh\", \"-c\", \"echo gone >&2; exit 7\"]\ntries = 1\n");
    let said = desk.run("run.toml");
    said.exited(0);
    assert!(said.stderr.contains("notification not sent") && said.stderr.contains("gone"), "{}", said.stderr);
}

/// Reads one HTTP request; returns its headers and its body.
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
fn a_signed_notification_is_posted_until_the_receiver_accepts_it() {
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
fn an_invalid_notification_url_is_reported_before_the_run_starts() {
    for url in ["hooks", "http://hooks.example.org/"] {
        let desk = desk(&format!("[notify]\nurl = \"{url}\"\n"));
        let said = desk.run("run.toml");
        said.exited(2);
        assert!(said.stderr.contains("notify.url"), "{}", said.stderr);
    }
}

/// Starts a receiver that responds to notices by their input; returns the received inputs in order. With
/// `None` it never responds.
fn hostile(answer: impl Fn(&str) -> Option<&'static str> + Send + 'static) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("notify.url=http://{}/", listener.local_addr().unwrap());
    let (heard, hearing) = channel();
    std::thread::spawn(move || {
        let mut silent = vec![];
        for stream in listener.incoming().flatten() {
            let body: Value = serde_json::from_str(&request(&stream).1).unwrap();
            let input = body["input"].as_str().unwrap().to_owned();
            match answer(&input) {
                Some(answer) => {
                    let _ = write!(
                        &stream,
                        "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    );
                }
                None => silent.push(stream),
            }
            if heard.send(input).is_err() {
                return;
            }
        }
    });
    (url, hearing)
}

#[test]
fn a_receiver_that_always_rejects_some_notices_still_gets_the_others() {
    // The largest numbers that a receiver can send, and some invalid ones.
    let rests = [
        "18446744073709551615",
        "99999999999999999999999",
        "-1",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "31536000",
    ];
    for status in ["429 Later", "503 Busy"] {
        let answers: Vec<&'static str> =
            rests.iter().map(|rest| &*format!("{status}\r\nretry-after: {rest}").leak()).collect();
        let (url, hearing) = hostile(move |input| match input.strip_prefix("bad") {
            Some(number) => Some(answers[number.parse::<usize>().unwrap() % answers.len()]),
            None => Some("204 Taken"),
        });
        let desk = mill::desk();
        let mut mill = Mill::start(&desk, &["--set", &url]);
        for number in 0..12 {
            put(&desk, format!("bad{number}"), "x");
            mill.finished(1);
        }
        put(&desk, "good", "x");
        mill.finished(1);
        while hearing.recv_timeout(PATIENCE).expect("the last notice was never sent") != "good" {}
        mill.kill();
    }
}

#[test]
fn a_notice_without_a_response_does_not_delay_the_others() {
    let (url, hearing) = hostile(|input| (!input.starts_with("bad")).then_some("204 Taken"));
    let desk = mill::desk();
    // The notices without a response stay in progress for longer than the test takes.
    let mut mill = Mill::start(&desk, &["--set", &url, "--set", "notify.timeout=1h"]);
    for name in ["bad1", "good1", "bad2", "good2", "bad3", "good3", "good4"] {
        put(&desk, name, "x");
        mill.finished(1);
    }
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 7 {
        heard.insert(hearing.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {heard:?}")));
    }
    mill.kill();
}

#[test]
fn a_failing_program_does_not_delay_posted_notices() {
    let (url, hearing) = hostile(|_| Some("204 Taken"));
    let desk = mill::desk();
    let more = ["--set", &url, "--set", "notify.command=[\"false\"]"];
    let mut mill = Mill::start(&desk, &more);
    for number in 0..8 {
        put(&desk, number.to_string(), "x");
        mill.finished(1);
        assert_eq!(hearing.recv_timeout(PATIENCE).expect("it was never posted"), number.to_string());
    }
    mill.kill();
}
