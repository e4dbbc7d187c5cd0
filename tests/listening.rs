//! Responses of a daemon on `watch.listen`: which clients get one, also while many others connect.
#![allow(clippy::unwrap_used)]

mod common;

use common::mill::{self, Mill};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

/// Returns an address on which nothing listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn listening(desk: &common::Desk) -> (Mill, SocketAddr) {
    let address = free();
    (Mill::start(desk, &["--set", &format!("watch.listen={address}")]), address)
}

fn connect(address: SocketAddr, said: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(mill::PATIENCE)).unwrap();
    stream.write_all(said.as_bytes()).unwrap();
    stream
}

/// Sends request headers without their end, and reads until the connection is closed.
fn ask(address: SocketAddr, head: &str) -> String {
    let mut answer = vec![];
    let read = connect(address, &format!("{head}Connection: close\r\n\r\n")).read_to_end(&mut answer);
    read.unwrap_or_else(|error| panic!("{head}: {error}"));
    String::from_utf8(answer).unwrap()
}

#[test]
fn only_requests_for_this_machine_are_answered() {
    let desk = mill::desk();
    let (mill, address) = listening(&desk);
    for path in ["/health", "/status", "/metrics"] {
        for (host, expected) in [
            ("Host: 127.0.0.1\r\n", "200 OK"),
            ("Host: localhost:1\r\n", "200 OK"),
            ("Host: [::1]:9464\r\n", "200 OK"),
            ("", "400 Bad Request"),
            ("Host: localhost\r\nHost: evil.example\r\n", "400 Bad Request"),
            ("Host: evil.example\r\n", "403 Forbidden"),
            ("Host: 127.evil.example:9464\r\n", "403 Forbidden"),
            ("Host: 192.0.2.1\r\n", "403 Forbidden"),
        ] {
            let answer = ask(address, &format!("GET {path} HTTP/1.1\r\n{host}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{path} {host}: {answer}");
            let is_answered =
                answer.contains("ok\n") || answer.contains("pid") || answer.contains("dropmill_");
            assert_eq!(is_answered, expected == "200 OK", "{path} {host}: {answer}");
        }
    }
    let unknown = ask(address, "GET /elsewhere HTTP/1.1\r\nHost: evil.example\r\n");
    assert!(unknown.starts_with("HTTP/1.1 403"), "{unknown}");
    let old = ask(address, "GET /health HTTP/1.0\r\n");
    assert!(old.contains(" 400 "), "{old}");
    let target = ask(address, "GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n");
    assert!(target.starts_with("HTTP/1.1 403"), "{target}");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn slow_clients_never_block_health() {
    let desk = mill::desk();
    let (mill, address) = listening(&desk);
    let whole = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let with_body = "GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    for (count, said) in [(32, ""), (512, ""), (512, "GET /health HT"), (512, whole), (512, with_body)] {
        let silent: Vec<_> = (0..count).map(|_| connect(address, said)).collect();
        let answer = ask(address, "GET /health HTTP/1.1\r\nHost: localhost\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{count} {said:?}: {answer}");
        drop(silent);
    }
    assert_eq!(mill.end(), Some(0));
}
