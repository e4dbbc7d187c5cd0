//! The local service over TLS: clients that trust its certificate can connect, and addresses that others
//! can reach are never served without TLS.
#![allow(clippy::unwrap_used)]

mod common;

use axum::http::Request;
use common::{Desk, Served};
use dropmill_azure_wire::{
    sas::{Grant, Permissions},
    sign::{Scheme, SharedKey},
    time::{Clock, WallClock},
};
use reqwest::{Certificate, Client};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt};

/// Writes a file that only its owner can read.
fn write_secret(desk: &Desk, name: &str, content: &str) {
    desk.write(name, content);
    fs::set_permissions(desk.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Creates a certificate for these names, and its key, in the test folder; returns the certificate's text.
fn certificate(desk: &Desk, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    desk.write("cert.pem", made.cert.pem());
    write_secret(desk, "key.pem", &made.signing_key.serialize_pem());
    made.cert.pem()
}

const TLS: [&str; 4] = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];

/// Sends a signed GET; returns status and text of the response.
async fn get(
    client: &Client,
    served: &Served,
    of: &str,
    scheme: Scheme,
    rest: &str,
) -> Result<(u16, String), reqwest::Error> {
    let account = served.text(&format!("/{of}/account"));
    let key = SharedKey::new(account, &served.text(&format!("/{of}/key")).into()).unwrap();
    let url = format!("{}{rest}", served.text(&format!("/{of}/endpoint")));
    let mut request = Request::get(url).header("x-ms-version", "2025-01-05").body(String::new()).unwrap();
    key.authorize(scheme, &mut request, WallClock.now());
    let answer = client.execute(request.try_into().unwrap()).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

fn clients(pem: &str) -> (Client, Client) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusting = Certificate::from_pem(pem.as_bytes()).unwrap();
    let builder = || Client::builder().no_proxy();
    (builder().add_root_certificate(trusting).build().unwrap(), builder().build().unwrap())
}

#[tokio::test]
async fn clients_that_trust_the_certificate_reach_both_services() {
    let desk = Desk::new();
    let pem = certificate(&desk, &["localhost", "127.0.0.1"]);
    let served = Served::with(&desk, &TLS);
    let (trusting, other) = clients(&pem);
    for (of, scheme, rest, word) in [
        ("batch", Scheme::Batch, "/pools?api-version=2024-07-01.20.0", "\"value\""),
        ("blob", Scheme::Storage, "?comp=list", "<EnumerationResults"),
    ] {
        let endpoint = served.text(&format!("/{of}/endpoint")).to_owned();
        assert!(endpoint.starts_with("https://127.0.0.1:"), "{endpoint}");
        let (status, text) = get(&trusting, &served, of, scheme, rest).await.unwrap();
        assert_eq!((status, text.contains(word)), (200, true), "{text}");
        assert!(
            get(&other, &served, of, scheme, rest).await.unwrap_err().is_connect(),
            "a stranger's certificate"
        );
        let plain = trusting.get(endpoint.replace("https", "http")).send().await;
        assert!(plain.is_err(), "nothing is said without TLS");
    }
    assert!(served.text("/connection_string").starts_with("DefaultEndpointsProtocol=https;"));
    let kept: Value = serde_json::from_str(&desk.read("state/service/connection.json")).unwrap();
    assert_eq!(kept, served.connection);
    let env = String::from_utf8(desk.output(&["env"]).stdout).unwrap();
    assert!(env.contains("AZURE_BATCH_ENDPOINT=https://127.0.0.1:"), "{env}");
    assert!(env.contains("BlobEndpoint=https://127.0.0.1:"), "{env}");
    assert_eq!(served.end(), Some(0));
}

#[tokio::test]
async fn clients_get_the_host_name_of_the_certificate() {
    let desk = Desk::new();
    let pem = certificate(&desk, &["localhost"]);
    let served = Served::with(&desk, &[&TLS[..], &["--host", "localhost"]].concat());
    let (trusting, _) = clients(&pem);
    assert!(served.text("/blob/endpoint").starts_with("https://localhost:"));
    let (status, _) = get(&trusting, &served, "blob", Scheme::Storage, "?comp=list").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(served.end(), Some(0));
}

#[tokio::test]
async fn an_https_only_sas_is_accepted_without_tls_only_if_allowed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    // A client with access gets the response that the container does not exist.
    for (switch, status) in [(None, 403), (Some("--allow-https-only-sas"), 404)] {
        let desk = Desk::new();
        let served = Served::with(&desk, switch.as_slice());
        let key = SharedKey::new(served.text("/blob/account"), &served.text("/blob/key").into()).unwrap();
        let expires = WallClock.now() + std::time::Duration::from_secs(3600);
        let grant = Grant { https_only: true, ..Grant::to_container("none", Permissions::LIST, expires) };
        let (endpoint, sas) = (served.text("/blob/endpoint"), grant.sign(&key));
        let url = format!("{endpoint}/none?restype=container&comp=list&{}", sas.expose());
        assert_eq!(client.get(url).send().await.unwrap().status(), status, "{switch:?}");
        assert_eq!(served.end(), Some(0));
    }
}

#[test]
fn impossible_arguments_of_serve_are_rejected_with_the_reason() {
    let desk = Desk::new();
    certificate(&desk, &["localhost"]);
    write_secret(&desk, "empty.pem", "");
    let other = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
    write_secret(&desk, "other.pem", &other.signing_key.serialize_pem());
    fs::copy(desk.path("key.pem"), desk.path("open.pem")).unwrap();
    fs::set_permissions(desk.path("open.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let plain = ["--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"];
    let everywhere = ["--batch", "0.0.0.0:0", "--blob", "127.0.0.1:0"];
    for (more, expected) in [
        (&everywhere[..], "only loopback addresses are allowed without TLS"),
        (&["--batch", "127.0.0.1:0", "--blob", "[::]:0"], "--blob [::]:0: only loopback"),
        (&[&everywhere[..], &TLS].concat(), "name the one that clients use with --host NAME"),
        (&[&plain[..], &TLS[..2]].concat(), "--tls-key"),
        (&[&plain[..], &["--tls-cert", "none.pem", "--tls-key", "key.pem"]].concat(), "none.pem"),
        (
            &[&plain[..], &["--tls-cert", "empty.pem", "--tls-key", "key.pem"]].concat(),
            "empty.pem: it contains no certificate",
        ),
        (&[&plain[..], &["--tls-cert", "cert.pem", "--tls-key", "empty.pem"]].concat(), "empty.pem"),
        (&[&plain[..], &["--tls-cert", "cert.pem", "--tls-key", "other.pem"]].concat(), "cert.pem"),
        (
            &[&plain[..], &["--tls-cert", "cert.pem", "--tls-key", "open.pem"]].concat(),
            "cannot use open.pem: other users can read it (mode 0644); run `chmod 600 open.pem`",
        ),
    ] {
        let output = desk.output(&[&["serve"], more].concat());
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {printed}");
        assert!(printed.contains(expected), "{more:?}: {printed}");
        assert!(!printed.contains("PRIVATE KEY"), "{printed}");
    }
}
