//! Clients that keep silent, in virtual time; and one too many.

#![allow(clippy::unwrap_used)]

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
    when_full: WhenFull::Wait,
    head: Duration::from_secs(100),
    silence: Duration::from_secs(60),
};

/// Answers with the length of the body, or 400 if it broke off; `/long` with more than any buffer holds; `/names` with
/// the metadata of the request, and how it was spelled.
fn router() -> Router {
    Router::new().fallback(|request: Asked| async {
        if request.uri().path() == "/long" {
            return Response::new(Body::from(vec![b'x'; 8 << 20]));
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

/// A client of [`router`], and when its connection ended.
fn connect() -> (DuplexStream, tokio::task::JoinHandle<Instant>) {
    let (client, server) = duplex(4 << 10);
    let attended = tokio::spawn(async {
        let seat = Seats::new(1, WhenFull::Wait).take(Ipv4Addr::LOCALHOST.into());
        attend(server, Ipv4Addr::LOCALHOST.into(), router(), BOUNDS, seat).await;
        Instant::now()
    });
    (client, attended)
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_or_half_a_head_is_cut_off() {
    for said in ["", "GET / HTTP/1.1\r\nhost: a\r\nx-", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let began = Instant::now();
        let (mut client, attended) = connect();
        client.write_all(said.as_bytes()).await.unwrap();
        let mut answer = vec![];
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(attended.await.unwrap() - began, BOUNDS.head, "{said}");
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), said.ends_with("\r\n\r\n"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_may_come_slowly_and_may_not_stop() {
    let (mut client, _attended) = connect();
    let head = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(BOUNDS.silence - Duration::from_secs(1)).await;
        client.write_all(b"x").await.unwrap();
    }
    let mut answer = vec![0; 4096];
    let length = client.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200") && answer[..length].ends_with(b"4"));

    let began = Instant::now();
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(b"xxx").await.unwrap();
    let length = client.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 400"));
    assert_eq!(began.elapsed(), BOUNDS.silence);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_the_answer_is_cut_off() {
    let began = Instant::now();
    let (mut client, attended) = connect();
    client.write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(attended.await.unwrap() - began, BOUNDS.silence);
    // What was on its way is there, and then the end, long before the length that was promised.
    let mut answer = vec![];
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() < 1 << 20, "{}", answer.len());
}

#[tokio::test]
async fn who_is_one_too_many_waits_until_another_goes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arrived = Arc::new(Notify::new());
    let told = arrived.clone();
    let router = Router::new().fallback(move || {
        told.notify_one();
        async { "" }
    });
    let serving = tokio::spawn(serve(listener, router, BOUNDS, plain));
    let mut clients = vec![];
    for number in 0..=BOUNDS.connections {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        if number < BOUNDS.connections {
            arrived.notified().await;
        }
        clients.push(client);
    }
    // It is in the queue of the socket; nothing of its request can have been seen, however long one looks.
    assert!(timeout(Duration::from_millis(50), arrived.notified()).await.is_err());
    drop(clients.remove(0));
    arrived.notified().await;
    serving.abort();
}

/// Reads until the server closes the connection; what came.
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
async fn clients_that_keep_silent_never_keep_another_one_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // No deadline comes to help.
    let bounds = Bounds { connections: 32, when_full: WhenFull::CloseOldestIdle, ..BOUNDS };
    let serving = tokio::spawn(serve(listener, router(), bounds, plain));
    let asks = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for (number, said) in
        [(32, ""), (512, "GET / HTTP/1.1\r\nx-"), (512, asks), (512, &asks[..asks.len() - 2])]
    {
        let mut silent = vec![];
        for _ in 0..number {
            silent.push(connected(address, said).await);
        }
        let closing = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answer = to_the_end(connected(address, closing).await).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{number} of {said:?}: {answer}");
        // The first ones went, so that the last one could come.
        let first = to_the_end(silent.remove(0)).await;
        assert_eq!(first.is_empty(), said != asks, "{first}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_request_that_is_answered_is_never_cut_off_for_another_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, may_end) = (Arc::new(Notify::new()), Arc::new(tokio::sync::Semaphore::new(0)));
    let (told, waits) = (arrived.clone(), may_end.clone());
    let router = Router::new().fallback(move || {
        let waits = waits.clone();
        told.notify_one();
        async move {
            waits.acquire().await.unwrap().forget();
            "done"
        }
    });
    let bounds = Bounds { when_full: WhenFull::CloseOldestIdle, ..BOUNDS };
    let serving = tokio::spawn(serve(listener, router, bounds, plain));
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
async fn slow_heads_and_idle_connections_end_at_their_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = Bounds { head: Duration::from_millis(50), ..BOUNDS };
    let serving = tokio::spawn(serve(listener, router(), bounds, plain));
    for (said, is_answered) in
        [("", false), ("GET / HTTP/1.1\r\nx-", false), ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true)]
    {
        let answer = to_the_end(connected(address, said).await).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200"), is_answered, "{said:?}: {answer}");
    }
    serving.abort();
}

#[tokio::test]
async fn names_of_metadata_are_spelled_as_the_client_does() {
    let (mut client, attended) = connect();
    // Two requests on one connection, and none of the second's names in a body or another request.
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
