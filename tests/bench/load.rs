//! Sends one request repeatedly on persistent connections and measures the response times. `service.py` builds it with plain rustc.
//!
//!     load REQUEST ADDRESS CONNECTIONS COUNT
//!     load floor BYTES
//!
//! REQUEST is a file with the complete request. Each `@@@@@@@@` in it is replaced by an eight-digit number, different every time.
//! Prints one line: `rate p50_us p99_us bytes` (bytes of the last response body).
//!
//! `load floor` is a server that returns a body of BYTES for any input without parsing it: one thread per connection, one read and
//! one write per request. It is the lower bound for the service. Prints its address.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

const GAP: &[u8] = b"@@@@@@@@";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [request, address, connections, count] = &arguments[..] else {
        match &arguments[..] {
            [word, bytes] if word == "floor" => return floor(bytes.parse().expect("a number of bytes")),
            _ => panic!("load REQUEST ADDRESS CONNECTIONS COUNT, or load floor BYTES"),
        }
    };
    let request = fs::read(request).expect("a request");
    let connections: usize = connections.parse().expect("a number of connections");
    let count: usize = count.parse().expect("a number of requests");
    let gaps: Vec<usize> = (0..request.len()).filter(|at| request[*at..].starts_with(GAP)).collect();
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let mut taken: Vec<u64> = vec![];
    let mut bytes = 0;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..connections)
            .map(|_| {
                let (mut request, gaps, next) = (request.clone(), &gaps, &next);
                scope.spawn(move || {
                    let stream = TcpStream::connect(address).expect("a connection");
                    stream.set_nodelay(true).expect("no delay");
                    let mut reader =
                        BufReader::with_capacity(1 << 20, stream.try_clone().expect("a handle"));
                    let (mut stream, mut taken, mut bytes) = (stream, vec![], 0);
                    for _ in 0..count / connections {
                        for at in gaps {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            request[*at..*at + GAP.len()].copy_from_slice(format!("{number:08}").as_bytes());
                        }
                        let sent_at = Instant::now();
                        stream.write_all(&request).expect("the request is sent");
                        bytes = read_response(&mut reader);
                        taken.push(u64::try_from(sent_at.elapsed().as_micros()).unwrap_or(u64::MAX));
                    }
                    (taken, bytes)
                })
            })
            .collect();
        for sender in senders {
            let (mut one, length) = sender.join().expect("a sender thread");
            taken.append(&mut one);
            bytes = length;
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    taken.sort_unstable();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize];
    println!("{:.0} {} {} {bytes}", taken.len() as f64 / seconds, at(0.5), at(0.99));
}

/// Reads one response and returns the length of its body. Exits if the status is not a success.
fn read_response(from: &mut BufReader<TcpStream>) -> usize {
    let mut line = String::new();
    from.read_line(&mut line).expect("a response");
    let good = line.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
    let (mut length, mut chunked) = (0, false);
    let status = line.clone();
    loop {
        line.clear();
        from.read_line(&mut line).expect("a header");
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        chunked |= header.starts_with("transfer-encoding:") && header.ends_with("chunked");
    }
    let mut body = vec![];
    if chunked {
        loop {
            line.clear();
            from.read_line(&mut line).expect("a chunk");
            let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's length");
            let before = body.len();
            body.resize(before + size + 2, 0);
            from.read_exact(&mut body[before..]).expect("a chunk");
            body.truncate(before + size);
            if size == 0 {
                break;
            }
        }
    } else {
        body.resize(length, 0);
        from.read_exact(&mut body).expect("a body");
    }
    assert!(good, "{status}{}", String::from_utf8_lossy(&body));
    body.len()
}

fn floor(bytes: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
    for stream in listener.incoming() {
        let (mut stream, response) = (stream.expect("a connection"), response.clone());
        stream.set_nodelay(true).expect("no delay");
        thread::spawn(move || {
            let mut request = [0; 8192];
            // Requests of these benchmarks have no body and arrive in one piece.
            while matches!(stream.read(&mut request), Ok(1..)) {
                if stream.write_all(response.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}
