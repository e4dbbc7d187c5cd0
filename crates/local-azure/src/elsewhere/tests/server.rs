//! A small HTTP server on loopback whose responses are defined by the test, byte by byte.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

/// A response of the server; the connection is closed after it.
pub enum Answer {
    /// A response with these bytes.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing until the client closes the connection.
    Stall(Vec<u8>),
}

/// Returns a response with a length.
pub fn answer(status: u16, headers: &[&str], body: &[u8]) -> Answer {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    Answer::Bytes([head.as_bytes(), body].concat())
}

/// Returns a response whose body ends with the connection.
pub fn endless(body: &[u8]) -> Answer {
    Answer::Bytes([b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n", body].concat())
}

/// Returns a redirect to another address.
pub fn moved(location: &str) -> Answer {
    answer(302, &[&format!("location: {location}")], b"")
}

/// The server, which ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that responds to each request depending on its path with query and its number, from 0.
    pub fn start(script: impl Fn(&str, usize) -> Answer + Send + 'static) -> Self {
        Self::speaking(script, |stream| Some(Box::new(stream)))
    }

    /// Does the same as [`Server::start`], on the connections that `open` returns.
    pub fn speaking(
        script: impl Fn(&str, usize) -> Answer + Send + 'static,
        open: impl Fn(TcpStream) -> Option<Box<dyn Connection>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(vec![]));
        let seen = requests.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(connection) = open(stream.unwrap()) else { continue };
                if !serve(connection, &script, &seen) {
                    return;
                }
            }
        });
        Self { address, requests, thread: Some(thread) }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the heads of all requests until now.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"END\r\n\r\n");
        }
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// A connection for requests.
pub trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

/// Responds to one request; returns `false` to end the server.
fn serve(
    connection: Box<dyn Connection>,
    script: &dyn Fn(&str, usize) -> Answer,
    seen: &Mutex<Vec<String>>,
) -> bool {
    let mut connection = BufReader::new(connection);
    let mut head = String::new();
    // A client that rejects the certificate sends nothing.
    while !head.ends_with("\r\n\r\n") {
        match connection.read_line(&mut head) {
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
    }
    if head.starts_with("END") {
        return false;
    }
    let lines = head.lines().map(str::to_ascii_lowercase);
    let length = lines.filter_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).next();
    let mut body = vec![0; length.unwrap_or(0)];
    connection.read_exact(&mut body).unwrap();
    let number = seen.lock().unwrap().len();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().unwrap().push(head);
    match script(&path, number) {
        Answer::Bytes(bytes) => drop(connection.get_mut().write_all(&bytes)),
        Answer::Stall(bytes) => {
            let _ = connection.get_mut().write_all(&bytes);
            let _ = connection.read_to_end(&mut vec![]);
        }
    }
    let _ = connection.get_mut().flush();
    true
}
