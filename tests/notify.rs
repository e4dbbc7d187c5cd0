//! Those who are told what became of a run, or of a file.
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

/// A listener that answers notices by their input: what it heard comes in order. `None` never answers.
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
fn a_listener_that_refuses_some_notices_for_ever_still_receives_the_others() {
    // The longest numbers that a listener can write, and some that are none.
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
fn a_notice_that_is_never_answered_does_not_hold_up_the_others() {
    let (url, hearing) = hostile(|input| (!input.starts_with("bad")).then_some("204 Taken"));
    let desk = mill::desk();
    // The silent ones stay under way for longer than the test takes.
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
fn a_program_that_fails_does_not_hold_up_what_is_posted() {
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
