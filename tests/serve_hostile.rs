//! The local service under attack: clients without credentials on its sockets, and other users in its
//! folder.
#![allow(clippy::unwrap_used)]

mod common;

use axum::http::Request;
use common::{Desk, Served, mill};
use dropmill_azure_wire::{
    sign::{Scheme, SharedKey},
    time::{Clock, WallClock},
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// Number of connections that one address of the service accepts.
const ALL: usize = 512;

fn address(served: &Served, of: &str) -> String {
    let endpoint = served.text(&format!("/{of}/endpoint"));
    endpoint.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(mill::PATIENCE)).unwrap();
    stream
}

/// Returns a client that has sent this text; the service may have closed the connection.
fn says(address: &str, said: &str) -> TcpStream {
    let mut stream = connect(address);
    let _ = stream.write_all(said.as_bytes());
    stream
}

/// Returns the response to a request with the owner's signature, over its own connection.
fn ask(served: &Served, of: &str) -> String {
    let (scheme, rest) = match of {
        "batch" => (Scheme::Batch, "/pools?api-version=2024-07-01.20.0"),
        _ => (Scheme::Storage, "?comp=list"),
    };
    let key = served.text(&format!("/{of}/key")).into();
    let key = SharedKey::new(served.text(&format!("/{of}/account")), &key).unwrap();
    let url = format!("{}{rest}", served.text(&format!("/{of}/endpoint")));
    let mut request = Request::get(url).header("x-ms-version", "2025-01-05").body(String::new()).unwrap();
    key.authorize(scheme, &mut request, WallClock.now());
    let address = address(served, of);
    let target = request.uri().path_and_query().unwrap();
    let mut text = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut answer = vec![];
    says(&address, &(text + "\r\n")).read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn clients_without_credentials_do_not_block_others() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    let put = |more: &str| format!("PUT /devstoreaccount1/c/b HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let unsigned = put("Content-Length: 60000000\r\n") + "x";
    let chunked = put("Transfer-Encoding: chunked\r\n") + "1\r\nx\r\n";
    let waits = put("Content-Length: 60000000\r\nExpect: 100-continue\r\n");
    let batch =
        "POST /devstoreaccount1?comp=batch&sig=x HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\nx";
    let answered = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for of in ["batch", "blob"] {
        let address = address(&served, of);
        for said in ["", "GET / HTTP/1.1\r\nx-a", answered, &unsigned, &chunked, &waits, batch] {
            let hostile: Vec<_> = (0..ALL).map(|_| says(&address, said)).collect();
            let answer = ask(&served, of);
            assert!(answer.starts_with("HTTP/1.1 200"), "{of}, {said:?}: {answer}");
            drop(hostile);
        }
    }
    assert_eq!(served.end(), Some(0));
}

#[test]
fn a_client_that_is_rejected_receives_the_answer_behind_a_large_body() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    let body = vec![b'x'; 16 << 20];
    for of in ["batch", "blob"] {
        let address = address(&served, of);
        let mut client = connect(&address);
        // Twice over the same connection.
        for _ in 0..2 {
            let head = format!(
                "PUT /devstoreaccount1/c/b HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(&body).unwrap();
            let mut answer = vec![0; 16 << 10];
            let length = client.read(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(answer.starts_with("HTTP/1.1 40"), "{of}: {answer}");
        }
    }
    assert_eq!(served.end(), Some(0));
}

const SERVE: [&str; 5] = ["serve", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"];
/// A user who is neither root nor the user of the service.
const ANOTHER: u32 = 65534;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make(folder: &Path, mode: u32) {
    fs::create_dir(folder).unwrap();
    set_mode(folder, mode);
}

/// Changes that another user makes to the service's folder before it starts.
type Plant = fn(&Path, &Path);

#[test]
fn files_of_another_user_in_the_folder_are_not_used() {
    let plants: &[(&str, &str, Plant)] = &[
        ("keys that others can write to", "mode 0666", |folder, _| {
            fs::write(folder.join("keys.json"), r#"{"batch":"cGxhbnRlZA==","blob":"cGxhbnRlZA=="}"#).unwrap();
            set_mode(&folder.join("keys.json"), 0o666);
        }),
        ("keys behind a link", "symbolic link", |folder, victim| {
            symlink(victim, folder.join("keys.json")).unwrap();
        }),
        ("a lock that leads elsewhere", "symbolic link", |folder, victim| {
            symlink(victim, folder.join("lock")).unwrap();
        }),
        ("a lock that is a file of its own elsewhere", "2 names", |folder, victim| {
            fs::hard_link(victim, folder.join("lock")).unwrap();
        }),
        ("a database that others can write to", "mode 0660", |folder, _| {
            fs::write(folder.join("batch.db"), "").unwrap();
            set_mode(&folder.join("batch.db"), 0o660);
        }),
        ("a log of a database that leads elsewhere", "symbolic link", |folder, victim| {
            symlink(victim, folder.join("batch.db-wal")).unwrap();
        }),
        ("a folder that others can write to", "mode 0777", |folder, _| set_mode(folder, 0o777)),
        ("a folder of nodes that others can write to", "mode 0777", |folder, _| {
            make(&folder.join("nodes"), 0o777);
        }),
        ("a folder of blobs that others can write to", "mode 0777", |folder, _| {
            make(&folder.join("blobs"), 0o777);
        }),
        ("contents of blobs that others can write to", "mode 0770", |folder, _| {
            make(&folder.join("blobs"), 0o700);
            make(&folder.join("blobs/contents"), 0o770);
        }),
        ("contents of blobs that lead elsewhere", "mode 0777", |folder, victim| {
            make(&folder.join("blobs"), 0o700);
            let elsewhere = victim.with_file_name("elsewhere");
            make(&elsewhere, 0o777);
            symlink(elsewhere, folder.join("blobs/contents")).unwrap();
        }),
    ];
    let theirs: &[(&str, &str, Plant)] = &[
        ("keys of another user", "belongs to user 65534", |folder, _| {
            fs::write(folder.join("keys.json"), r#"{"batch":"cGxhbnRlZA==","blob":"cGxhbnRlZA=="}"#).unwrap();
            set_mode(&folder.join("keys.json"), 0o600);
            std::os::unix::fs::chown(folder.join("keys.json"), Some(ANOTHER), None).unwrap();
        }),
        ("a lock of another user", "belongs to user 65534", |folder, _| {
            fs::write(folder.join("lock"), "").unwrap();
            std::os::unix::fs::chown(folder.join("lock"), Some(ANOTHER), None).unwrap();
        }),
        ("a folder of another user", "belongs to user 65534", |folder, _| {
            std::os::unix::fs::chown(folder, Some(ANOTHER), None).unwrap();
        }),
    ];
    // Only root can change the owner of files.
    let is_root = rustix::process::geteuid().is_root();
    for (what, expected, plant) in plants.iter().chain(theirs.iter().filter(|_| is_root)) {
        let desk = Desk::new();
        desk.write("victim", "mine");
        let folder = desk.path("state/service");
        make(&desk.path("state"), 0o700);
        make(&folder, 0o700);
        plant(&folder, &desk.path("victim"));
        let (exit, message) = desk.refused(&SERVE);
        assert_eq!(exit, Some(3), "{what}: {message}");
        assert!(message.contains(expected) && message.contains("cannot use"), "{what}: {message}");
        assert_eq!(desk.read("victim"), "mine", "{what}");
        assert!(!folder.join("connection.json").exists(), "{what}");
    }
}

#[test]
fn connection_json_always_replaces_an_existing_file() {
    let stand: [(&str, Plant); 3] = [
        ("a file that others may read", |path, _| {
            fs::write(path, "old").unwrap();
            set_mode(path, 0o644);
        }),
        ("a link", |path, victim| symlink(victim, path).unwrap()),
        ("a second name of another file", |path, victim| fs::hard_link(victim, path).unwrap()),
    ];
    for (what, put) in stand {
        let desk = Desk::new();
        desk.write("victim", "mine");
        assert_eq!(Served::on(&desk).end(), Some(0));
        let path: PathBuf = desk.path("state/service/connection.json");
        fs::remove_file(&path).unwrap();
        put(&path, &desk.path("victim"));
        // A process that has the old file open cannot read the new content through it.
        let mut held = fs::File::open(&path).unwrap();
        let served = Served::on(&desk);
        let mut seen = String::new();
        held.read_to_string(&mut seen).unwrap();
        assert!(seen == "old" || seen == "mine", "{what}: {seen}");
        assert_eq!(desk.read("victim"), "mine", "{what}");
        assert!(path.symlink_metadata().unwrap().is_file(), "{what}");
        assert_eq!(mode(&path), 0o600, "{what}");
        assert!(desk.read("state/service/connection.json").contains(served.text("/batch/key")), "{what}");
        assert_eq!(served.end(), Some(0));
    }
}
