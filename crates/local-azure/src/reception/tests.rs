//! Tests silent clients in virtual time, and too many clients.

use super::*;
use axum::{extract::Request as Asked, response::Response};
use http_body_util::BodyExt;
use std::net::Ipv4Addr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    sync::Notify,
    time::{Instant, timeout},
};

const BOUNDS: Bounds = Bounds {
    connections: 2,
    per_peer: 1,
    idle: Duration::from_secs(100),
    head: Duration::from_secs(15),
    silence: Duration::from_secs(60),
    grace: Duration::from_secs(20),
    bytes_per_second: 1000,
    drained: 1 << 20,
    drain: Duration::from_secs(3),
};

/// Limits so long that no timeout happens.
const PATIENT: Bounds =
    Bounds { idle: HOURS, head: HOURS, silence: HOURS, grace: HOURS, drain: HOURS, ..BOUNDS };
const HOURS: Duration = Duration::from_secs(36_000);

/// Returns a router that responds with the length of the body, or 400 if it was interrupted; `/long` with
/// more than any buffer holds; `/unread` with 403 without reading; `/names` with the request's metadata and
/// its spelling.
fn router() -> Router {
    Router::new().fallback(|request: Asked| async {
        match request.uri().path() {
            "/long" => return Response::new(Body::from(vec![b'x'; 8 << 20])),
            "/unread" => return Response::builder().status(403).body(Body::from("no")).unwrap(),
            _ => {}
        }
        if request.uri().path() == "/names" {
            let (parts, _) = request.into_parts();
            let spelling = parts.extensions.get::<Spelling>().cloned().unwrap_or_default();
            let mut response = Response::new(Body::from(format!("{spelling:?}")));
            *response.headers_mut() = parts.headers;
            response.headers_mut().remove("content-length");
            response.extensions_mut().insert(spelling);
            return response;
        }
        match request.into_body().collect().await {
            Ok(body) => Response::new(Body::from(body.to_bytes().len().to_string())),
            Err(_) => Response::builder().status(400).body(Body::empty()).unwrap(),
        }
    })
}

/// Returns a client of [`router`], and the time when its connection ends.
fn connect() -> (DuplexStream, tokio::task::JoinHandle<Instant>) {
    let (client, server) = duplex(4 << 10);
    let attended = tokio::spawn(async {
        let seat = Seats::new(1, 1).take(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        attend(server, Ipv4Addr::LOCALHOST.into(), router(), BOUNDS, seat).await;
        Instant::now()
    });
    (client, attended)
}

/// Returns a client that has sent this text.
async fn connect_and_say(said: &str) -> (DuplexStream, tokio::task::JoinHandle<Instant>) {
    let (mut client, attended) = connect();
    client.write_all(said.as_bytes()).await.unwrap();
    (client, attended)
}

/// Returns the next bytes that arrive.
async fn some(client: &mut DuplexStream) -> String {
    let mut answer = vec![0; 4096];
    let length = client.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

const WHOLE: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_complete_head_is_disconnected_soon_and_an_idle_one_later() {
    for (said, expected) in
        [("", BOUNDS.head), ("GET / HTTP/1.1\r\nhost: a\r\nx-", BOUNDS.head), (WHOLE, BOUNDS.idle)]
    {
        let began = Instant::now();
        let (mut client, attended) = connect_and_say(said).await;
        let mut answer = vec![];
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(attended.await.unwrap() - began, expected, "{said}");
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), said.ends_with("\r\n\r\n"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_head_has_the_same_time_from_its_first_byte() {
    let (mut client, attended) = connect_and_say(WHOLE).await;
    for _ in 0..3 {
        assert!(some(&mut client).await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(BOUNDS.idle - Duration::from_secs(1)).await;
        let (first, rest) = WHOLE.split_at(9);
        client.write_all(first.as_bytes()).await.unwrap();
        tokio::time::sleep(BOUNDS.head - Duration::from_secs(14)).await;
        client.write_all(rest.as_bytes()).await.unwrap();
    }
    assert!(some(&mut client).await.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let began = Instant::now();
    for byte in WHOLE.bytes().cycle() {
        if client.write_all(&[b"x: \r\n"[0], byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(attended.await.unwrap() - began, BOUNDS.head);
}

#[tokio::test(start_paused = true)]
async fn a_body_may_arrive_slowly_for_a_while_and_must_not_stop() {
    let head = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n";
    // As fast as required, for longer than any single timeout.
    let (mut client, _attended) = connect_and_say(head).await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        client.write_all(&[b'x'; 10_000]).await.unwrap();
    }
    let answer = some(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("90000"), "{answer}");
    // No byte at all, and a byte now and then.
    for step in [1000, 19, 7, 1] {
        let (mut client, attended) = connect_and_say(head).await;
        let began = Instant::now();
        let trickles = async {
            loop {
                tokio::time::sleep(Duration::from_secs(step)).await;
                client.write_all(b"x").await.unwrap();
            }
        };
        assert!(timeout(BOUNDS.grace + Duration::from_millis(100), trickles).await.is_err());
        assert!(some(&mut client).await.starts_with("HTTP/1.1 400"), "every {step} s");
        let ended = attended.await.unwrap() - began;
        assert!(ended >= BOUNDS.grace && ended < BOUNDS.grace + Duration::from_millis(100), "{ended:?}");
    }
    // Fast, and then nothing.
    let (mut client, _attended) = connect_and_say(head).await;
    client.write_all(&[b'x'; 89_999]).await.unwrap();
    let began = Instant::now();
    assert!(some(&mut client).await.starts_with("HTTP/1.1 400"));
    assert_eq!(began.elapsed(), BOUNDS.silence);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_the_response_is_disconnected() {
    let began = Instant::now();
    let (mut client, attended) = connect();
    client.write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(attended.await.unwrap() - began, BOUNDS.silence);
    // The client receives what was sent, and then the end, long before the announced length.
    let mut answer = vec![];
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() < 1 << 20, "{}", answer.len());
}

fn rejected(length: usize, more: &str) -> String {
    format!("PUT /unread HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n{more}\r\n")
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_all_of_a_rejected_body_receives_the_response_and_keeps_its_connection() {
    let began = Instant::now();
    let (mut client, _attended) = connect();
    for _ in 0..2 {
        // More than the buffers between the two can hold.
        client.write_all(rejected(1 << 20, "").as_bytes()).await.unwrap();
        client.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
        let answer = some(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with("no"), "{answer}");
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_server_waits_only_briefly_for_a_rejected_body_and_not_for_a_long_one() {
    let pending = "transfer-encoding: chunked\r\n";
    let chunked = rejected(0, pending).replace("content-length: 0\r\n", "");
    for (head, expected) in [
        (rejected(5, ""), BOUNDS.drain),
        (chunked, BOUNDS.drain),
        (rejected((1 << 20) + 1, ""), Duration::ZERO),
        (rejected(5, "expect: 100-continue\r\n"), Duration::ZERO),
    ] {
        let began = Instant::now();
        let (mut client, attended) = connect_and_say(&head).await;
        let trickles = async {
            let mut answer = vec![];
            client.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let answer = trickles.await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{head}: {answer}");
        assert_eq!(attended.await.unwrap() - began, expected, "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_within_a_body_is_replaced_by_a_new_one() {
    let seats = Seats::new(1, 1);
    let here = Ipv4Addr::LOCALHOST.into();
    let (mut client, server) = duplex(4 << 10);
    let seat = seats.take(here).await.unwrap();
    let id = seat.id();
    let attended = tokio::spawn(attend(server, here, router(), PATIENT, seat));
    seats.served_by(id, attended.abort_handle());
    client.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    // The server has read the head.
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..3 {
        // While the body arrives, no other client gets the place.
        client.write_all(b"x").await.unwrap();
        assert!(timeout(Duration::from_secs(4), seats.take(here)).await.is_err());
    }
    let began = Instant::now();
    assert!(seats.take(here).await.is_some());
    assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(attended.await.unwrap_err().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_responses_is_replaced_by_a_new_one() {
    // The responses to many requests that were sent at once, and one long response.
    for (said, least, most) in
        [(WHOLE.repeat(100), 0, 0), ("GET /long HTTP/1.1\r\nhost: a\r\n\r\n".into(), 4, 6)]
    {
        let seats = Seats::new(1, 1);
        let here = Ipv4Addr::LOCALHOST.into();
        let (mut client, server) = duplex(4 << 10);
        let seat = seats.take(here).await.unwrap();
        let id = seat.id();
        let attended = tokio::spawn(attend(server, here, router(), PATIENT, seat));
        seats.served_by(id, attended.abort_handle());
        client.write_all(said.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let began = Instant::now();
        assert!(seats.take(here).await.is_some());
        let waited = began.elapsed().as_secs();
        assert!((least..=most).contains(&waited), "{waited} s: {}", &said[..9]);
        assert!(attended.await.unwrap_err().is_cancelled());
    }
}

/// Reads until the server closes the connection; returns what arrived.
async fn to_the_end(mut client: TcpStream) -> String {
    let mut answer = vec![];
    // A connection that is closed with unread bytes in it ends with a reset.
    let _ = client.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connected(address: std::net::SocketAddr, said: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(said.as_bytes()).await.unwrap();
    client
}

#[tokio::test]
async fn silent_clients_never_block_another_one() {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = Bounds { connections: 32, ..PATIENT };
    let serving = tokio::spawn(serve(listener, router(), bounds, plain));
    let unread = rejected(9, "");
    let begun = unread.clone() + "x";
    for (number, said) in [
        (32, ""),
        (512, "GET / HTTP/1.1\r\nx-"),
        (512, WHOLE),
        (512, &WHOLE[..WHOLE.len() - 2]),
        (512, &*unread),
        (512, &*begun),
    ] {
        let mut silent = vec![];
        for _ in 0..number {
            silent.push(connected(address, said).await);
        }
        let closing = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answer = to_the_end(connected(address, closing).await).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{number} of {said:?}: {answer}");
        // The first ones were disconnected to admit the last one.
        let first = to_the_end(silent.remove(0)).await;
        assert_eq!(first.is_empty(), said != WHOLE, "{first}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_request_in_progress_is_never_disconnected_for_another_client() {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, may_end) = (Arc::new(Notify::new()), Arc::new(tokio::sync::Semaphore::new(0)));
    let (started, waits) = (arrived.clone(), may_end.clone());
    let router = Router::new().fallback(move || {
        let waits = waits.clone();
        started.notify_one();
        async move {
            waits.acquire().await.unwrap().forget();
            "done"
        }
    });
    let serving = tokio::spawn(serve(listener, router, PATIENT, plain));
    let asks = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut clients = vec![];
    for _ in 0..BOUNDS.connections {
        clients.push(connected(address, asks).await);
        arrived.notified().await;
    }
    clients.push(connected(address, asks).await);
    may_end.add_permits(3);
    for client in clients {
        let answer = to_the_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_burst_of_clients_waits_in_the_queue_of_the_socket() {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let most = most.trim().parse().unwrap_or(BACKLOG).min(BACKLOG) / 2;
    let mut clients = vec![];
    for _ in 0..most {
        // Nobody accepts the connection. One that does not fit into the queue is retried.
        clients.push(TcpStream::connect(address).await.unwrap());
    }
}

#[tokio::test]
async fn names_of_metadata_keep_the_spelling_of_the_client() {
    let (mut client, attended) = connect();
    // Two requests on one connection; the names of the second are not in a body or another request.
    for (names, body) in [
        (
            "X-Ms-Meta-FooBar: 1\r\nx-ms-meta-lower: 2\r\nx-ms-META-_X: 3\r\nX-Other: 4\r\n",
            "x-ms-meta-lOWER: 2\r\n\r\n",
        ),
        ("x-ms-meta-foobar: 1\r\n", ""),
    ] {
        let length = body.len();
        let head = format!("PUT /names HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{names}\r\n{body}");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.contains("])") {
            let mut part = [0; 4096];
            let length = client.read(&mut part).await.unwrap();
            answer.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
        for line in names.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-ms-meta-")) {
            assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line}: {answer}");
        }
        assert!(answer.contains("\r\nhost: a\r\n") && !answer.contains("lOWER"), "{answer}");
    }
    drop(client);
    attended.await.unwrap();
}
