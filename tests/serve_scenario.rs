//! `serve --scenario`: faults of a scenario are injected for HTTP clients, and changed over HTTP with the
//! account's key.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, Served};
use dropmill_azure_client::{
    Endpoint,
    batch::{BatchApi, BatchOptions},
    blob::{BlobApi, BlobOptions},
    live::HttpTransport,
};
use dropmill_azure_wire::{
    sign::{Scheme, SharedKey},
    time::{Clock, WallClock},
    transport::{Transport, full},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{process::Stdio, sync::Arc};

struct Client {
    batch: BatchApi,
    blob: BlobApi,
    live: HttpTransport,
    endpoint: String,
    key: SharedKey,
}

impl Client {
    fn of(served: &Served) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let live = HttpTransport::new().unwrap();
        let transport = Arc::new(live.clone());
        let rng = || ChaCha8Rng::seed_from_u64(1);
        let key = |of: &str| {
            SharedKey::new(served.text(&format!("/{of}/account")), &served.text(&format!("/{of}/key")).into())
                .unwrap()
        };
        let endpoint = |of: &str| Endpoint::parse(served.text(&format!("/{of}/endpoint"))).unwrap();
        let clock = Arc::new(WallClock);
        let batch = BatchOptions::new(
            endpoint("batch"),
            key("batch").into(),
            transport.clone(),
            clock.clone(),
            rng(),
        );
        let blob = BlobOptions::new(endpoint("blob"), key("blob"), transport, clock, rng());
        let (batch, blob) = (BatchApi::new(batch), BlobApi::new(blob));
        let endpoint = served.text("/batch/endpoint").to_owned();
        Self { batch, blob, live, endpoint, key: key("batch") }
    }

    /// Sends a request to the pages that change the scenario.
    async fn world(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = axum::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header("content-type", "application/json")
            .body(full(body))
            .unwrap();
        self.key.authorize(Scheme::Batch, &mut request, WallClock.now());
        let answer = self.live.send(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn list(&self) -> Result<usize, String> {
        let list = self.batch.list_pools(None, None).await;
        list.map(|pools| pools.len()).map_err(|error| error.to_string())
    }
}

const SCENARIO: &str = r#"
title = "Busy once, and a container that cannot be made"

[task]
duration = "1h"

[[fault]]
on = ["list pools"]
do = "status"
status = 503
code = "ServerBusy"
times = 1

[[fault]]
on = ["create container"]
do = "reset-before"
times = 1
"#;

#[tokio::test]
async fn faults_are_injected_over_sockets_and_can_be_listed_added_and_cleared() {
    let desk = Desk::new();
    desk.write("busy.toml", SCENARIO);
    let served = Served::with(&desk, &["--scenario", "busy.toml"]);
    let client = Client::of(&served);
    assert!(client.list().await.unwrap_err().contains("503 ServerBusy"));
    assert_eq!(client.list().await, Ok(0));
    // The connection breaks without a response; the container was not created.
    assert!(client.blob.create_container("box").await.is_err());
    assert!(!client.blob.container_exists("box").await.unwrap());
    client.blob.create_container("box").await.unwrap();
    let (status, list) = client.world("GET", "/__faults", Value::Null).await;
    assert_eq!((status, list["value"][0]["struck"].as_u64()), (200, Some(1)), "{list}");
    let fault = json!({"on": ["list pools"], "do": "status", "status": 429, "code": "TooManyRequests"});
    let (status, answer) = client.world("POST", "/__faults", fault).await;
    assert_eq!((status, answer["number"].as_u64()), (201, Some(3)), "{answer}");
    assert!(client.list().await.unwrap_err().contains("429 TooManyRequests"));
    assert_eq!(client.world("DELETE", "/__faults/3", Value::Null).await.0, 200);
    assert_eq!(client.world("DELETE", "/__faults/3", Value::Null).await.0, 404);
    assert_eq!(client.list().await, Ok(0));
    assert_eq!(client.world("DELETE", "/__faults", Value::Null).await.1["cleared"], 2);
    let (status, answer) = client.world("POST", "/__faults", json!({"do": "explode"})).await;
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("explode"), "{answer}");
    let (status, answer) =
        client.world("POST", "/__faults", json!({"on": ["deliver"], "do": "disk-full"})).await;
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("real nodes"), "{answer}");
}

#[tokio::test]
async fn the_services_clock_is_read_and_moved() {
    let desk = Desk::new();
    desk.write("skewed.toml", "[clock]\nbehind = \"20m\"\n");
    let served = Served::with(&desk, &["--scenario", "skewed.toml"]);
    let client = Client::of(&served);
    assert!(client.list().await.unwrap_err().contains("this machine's clock is 20 min ahead"));
    let (status, answer) = client.world("PUT", "/__clock", json!({"ahead_seconds": 0})).await;
    assert_eq!((status, answer["ahead_seconds"].as_i64()), (200, Some(0)));
    assert_eq!(client.list().await, Ok(0));
    assert_eq!(client.world("PUT", "/__clock", json!({"ahead_seconds": 7200})).await.0, 200);
    assert!(client.list().await.unwrap_err().contains("clock is 120 min behind"));
    assert_eq!(client.world("GET", "/__clock", Value::Null).await.1["ahead_seconds"], 7200);
}

#[tokio::test]
async fn faults_cannot_be_changed_without_the_key_or_without_a_scenario() {
    let desk = Desk::new();
    desk.write("plain.toml", "");
    let served = Served::with(&desk, &["--scenario", "plain.toml"]);
    let client = Client::of(&served);
    let stranger =
        Client { key: SharedKey::new("local", &"Y2FuYXJ5".into()).unwrap(), ..Client::of(&served) };
    for (method, path) in [("GET", "/__faults"), ("POST", "/__faults"), ("PUT", "/__clock"), ("GET", "/__x")]
    {
        assert_eq!(stranger.world(method, path, json!({"ahead_seconds": 9, "do": "refuse"})).await.0, 403);
    }
    assert_eq!(client.world("GET", "/__clock", Value::Null).await.1["ahead_seconds"], 0);
    assert_eq!(client.world("GET", "/__faults", Value::Null).await.1["value"], json!([]));
    served.end();
    let other = Desk::new();
    let served = Served::on(&other);
    assert_ne!(Client::of(&served).world("GET", "/__faults", Value::Null).await.0, 200);
}

#[test]
fn a_scenario_that_serve_cannot_use_is_rejected() {
    let desk = Desk::new();
    desk.write("nodes.toml", "[[fault]]\non = [\"store outputs\"]\ndo = \"refuse\"\n");
    let arguments = ["serve", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0", "--scenario", "nodes.toml"];
    let output = desk.dropmill(&arguments).stdout(Stdio::piped()).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && answer.contains("not a request of a client"), "{answer}");
}
