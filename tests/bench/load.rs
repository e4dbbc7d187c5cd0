//! Sends one request over and over on kept connections and measures the answers. Built by `service.py` with rustc alone.
//!
//!     load REQUEST ADDRESS CONNECTIONS COUNT
//!     load floor BYTES
//!
//! REQUEST is a file that holds the whole request. Each `@@@@@@@@` in it stands for another number of eight digits each time.
//! Prints one line: `rate p50_us p99_us bytes` (of the last answer's body).
//!
//! The floor is a server that answers whatever it is asked with so many bytes, without looking at it: a thread for each connection,
//! one read and one write for each request. Prints its address.

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
        let lanes: Vec<_> = (0..connections)
            .map(|_| {
                let (mut request, gaps, next) = (request.clone(), &gaps, &next);
                scope.spawn(move || {
                    let stream = TcpStream::connect(address).expect("a connection");
                    stream.set_nodelay(true).expect("no delay");
                    let mut answers =
                        BufReader::with_capacity(1 << 20, stream.try_clone().expect("a handle"));
                    let (mut stream, mut taken, mut bytes) = (stream, vec![], 0);
                    for _ in 0..count / connections {
                        for at in gaps {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            request[*at..*at + GAP.len()].copy_from_slice(format!("{number:08}").as_bytes());
                        }
                        let asked = Instant::now();
                        stream.write_all(&request).expect("the request is sent");
                        bytes = answer(&mut answers);
                        taken.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
                    }
                    (taken, bytes)
                })
            })
            .collect();
        for lane in lanes {
            let (mut one, length) = lane.join().expect("a lane");
            taken.append(&mut one);
            bytes = length;
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    taken.sort_unstable();
    let at = |part: f64| taken[((taken.len() - 1) as f64 * part) as usize];
    println!("{:.0} {} {} {bytes}", taken.len() as f64 / seconds, at(0.5), at(0.99));
}

/// Reads one answer; its body's length. Anything but success ends the program.
fn answer(from: &mut BufReader<TcpStream>) -> usize {
    let mut line = String::new();
    from.read_line(&mut line).expect("an answer");
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
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
    for stream in listener.incoming() {
        let (mut stream, answer) = (stream.expect("a connection"), answer.clone());
        stream.set_nodelay(true).expect("no delay");
        thread::spawn(move || {
            let mut request = [0; 8192];
            // A request of these benchmarks without a body comes in one piece.
            while matches!(stream.read(&mut request), Ok(1..)) {
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}
