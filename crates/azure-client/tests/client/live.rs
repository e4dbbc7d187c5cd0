//! Tests over local sockets: the same requests, and failures that only sockets have.

use crate::service::{Service, batch_over, blob_over, json, status, with_body};
use dropmill_azure_client::{blob::PutOptions, error::BatchError, live::HttpTransport};
use dropmill_azure_wire::{batch::JobAdd, transport::TransportError, uri::decode};
use dropmill_lifecycle::FailureKind;
use serde_json::json as value;
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

fn live() -> Arc<HttpTransport> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(HttpTransport::new().unwrap())
}

/// A server that stops when its test ends.
struct Served {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    async fn by(service: &Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = service.router();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task: task.abort_handle() }
    }

    /// Starts a server that handles each connection with `handle` and the connection's number.
    async fn raw<F: Future<Output = ()> + Send>(
        handle: impl Fn(usize, TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                handle(number, stream).await;
            }
        });
        Self { address, task: task.abort_handle() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Reads a request without a body.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn requests_and_their_signatures_are_unchanged_by_the_socket() {
    let service = Service::answering(|seen| match seen.method.as_str() {
        "GET" => json(200, &value!({"id": "j"})),
        "DELETE" => status(202, &[]),
        _ => status(201, &[]),
    });
    let served = Served::by(&service).await;
    let batch = batch_over(live(), &served.url());
    batch.get_job("j").await.unwrap();
    batch.create_job(&JobAdd { id: "j".into(), ..Default::default() }).await.unwrap();
    batch.delete_job("j").await.unwrap();
    let asked = service.asked();
    assert_eq!(asked[0].header("content-length"), "");
    assert_eq!(asked[2].header("content-length"), "0");
    let blob = blob_over(live(), &format!("{}/account", served.url()));
    let long = vec![7u8; 3 << 20];
    blob.put_blob("c", "b", long.clone(), PutOptions::default()).await.unwrap();
    blob.put_blob("c", "empty", "", PutOptions::default()).await.unwrap();
    let asked = service.asked();
    assert_eq!(asked[3].body, long);
    assert_eq!(asked[4].header("content-length"), "0");
}

#[tokio::test]
async fn names_are_unchanged_by_the_socket() {
    let service = Service::answering(|_| status(201, &[]));
    let served = Served::by(&service).await;
    let blob = blob_over(live(), &format!("{}/account", served.url()));
    let names =
        ["a/../b", "../x", "a/./b", "%2e%2e/%", "ä €/?#&+;", "back\\slash|^`{}", "t\tn\n", "//x//", "x/"];
    for name in names {
        blob.put_blob("c", name, "x", PutOptions::default()).await.unwrap();
    }
    for (seen, name) in service.asked().iter().zip(names) {
        assert_eq!(decode(seen.path.strip_prefix("/account/c/").unwrap()), name);
    }
    // Names that consist of dots only cannot be sent, and are not sent in a changed form.
    for name in ["..", "."] {
        let error = blob.put_blob("c", name, "x", PutOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Permanent);
        assert!(error.failure().message.contains("only dots"), "{}", error.failure().message);
    }
    assert_eq!(service.asked().len(), names.len());
}

#[tokio::test]
async fn a_closed_port_is_distinguished_from_a_lost_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let job = JobAdd { id: "j".into(), ..Default::default() };
    let error = batch_over(live(), &nobody).create_job(&job).await.unwrap_err();
    assert!(
        matches!(&error, BatchError::Unreachable { source: TransportError::Connect(_), .. }),
        "{error:?}"
    );
    assert!(error.failure().message.contains("refused"), "{}", error.failure().message);
    assert_eq!(error.kind(), FailureKind::Transient);

    let hangs_up = Served::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let error = batch_over(live(), &hangs_up.url()).create_job(&job).await.unwrap_err();
    assert!(matches!(&error, BatchError::Unreachable { source: TransportError::Broken(_), .. }), "{error:?}");
    assert_eq!(error.kind(), FailureKind::Ambiguous);
    assert!(!format!("{error:?}").contains("timeout=30"), "no URL: {error:?}");
}

#[tokio::test]
async fn a_read_survives_a_closed_idle_connection() {
    let served = Served::raw(|number, mut stream| async move {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nrequest-id: r\r\n\r\n{\"id\":\"j\"}";
        stream.write_all(answer.as_bytes()).await.unwrap();
        if number == 0 {
            // The next request arrives, and then its connection breaks.
            read_head(&mut stream).await;
        }
    })
    .await;
    let api = batch_over(live(), &served.url());
    api.get_job("j").await.unwrap();
    api.get_job("j").await.unwrap();
}

#[tokio::test]
async fn a_body_shorter_than_its_content_length_is_an_error() {
    let served = Served::raw(|_, mut stream| async move {
        read_head(&mut stream).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\netag: \"1\"\r\n\r\n{\"id\":\"j\"}";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let error = batch_over(live(), &served.url()).get_job("j").await.unwrap_err();
    assert!(matches!(&error, BatchError::Unreachable { source: TransportError::Broken(_), .. }), "{error:?}");
    let blob = blob_over(live(), &format!("{}/account", served.url()));
    assert!(blob.get_blob("c", "b", 1000).await.is_err());
}

#[tokio::test]
async fn an_interrupted_download_over_a_socket_is_resumed() {
    let content: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let all = content.clone();
    let served = Served::raw(move |number, mut stream| {
        let all = all.clone();
        async move {
            let head = read_head(&mut stream).await;
            let range = head.lines().find_map(|line| line.strip_prefix("x-ms-range: bytes="));
            let from: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let (code, length) = (if from == 0 { 200 } else { 206 }, all.len());
            let head = format!(
                "HTTP/1.1 {code} OK\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{}/{length}\r\netag: \"1\"\r\n\r\n",
                length - from,
                length - 1
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let end = if number < 3 { from + 800_000 } else { length };
            // The client may have closed the connection already.
            let _ = stream.write_all(&all[from..end]).await;
        }
    })
    .await;
    let mut arrived = vec![];
    let blob = blob_over(live(), &format!("{}/account", served.url()));
    let downloaded = blob.download_to("c", "b", &mut arrived).await.unwrap();
    assert_eq!(downloaded.bytes, content.len() as u64);
    assert!(arrived == content);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Service::answering(|_| panic!("no request may arrive here"));
    let target = Served::by(&elsewhere).await;
    let url = format!("{}/jobs/j", target.url());
    let service = Service::answering(move |_| status(307, &[("location", &url)]));
    let served = Served::by(&service).await;
    let error = batch_over(live(), &served.url()).get_job("j").await.unwrap_err();
    assert_eq!(error.code(), Some("TemporaryRedirect".into()));
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn a_response_that_arrives_in_pieces_is_complete() {
    let service = Service::answering(|_| {
        let pieces =
            ["{\"id\"", ":\"", "j\"}"].map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::from(piece)));
        with_body(200, &[], axum::body::Body::from_stream(futures_util::stream::iter(pieces)))
    });
    let served = Served::by(&service).await;
    assert_eq!(batch_over(live(), &served.url()).get_job("j").await.unwrap().id, "j");
}

#[tokio::test]
async fn an_https_address_is_never_used_without_tls() {
    let service = Service::answering(|_| panic!("nothing arrives"));
    let served = Served::by(&service).await;
    let error = batch_over(live(), &served.url().replace("http:", "https:")).get_job("j").await.unwrap_err();
    assert!(
        matches!(&error, BatchError::Unreachable { source: TransportError::Connect(_), .. }),
        "{error:?}"
    );
    assert_eq!(service.asked().len(), 0);
}
