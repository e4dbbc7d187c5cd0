//! Requests signed by the official SDKs are accepted, and our signature of the same request is equal.

#![allow(clippy::unwrap_used, missing_docs)]

use dropmill_azure_wire::{
    sas::{self, Action, SasRequest},
    secret::Secret,
    sign::{Scheme, SharedKey},
    time::{parse_http_date, parse_iso},
    uri,
};
use serde_json::Value;
use std::net::IpAddr;

const BLOB: &str = include_str!("sdk/storage-blob-12.31.1.json");
const BATCH: [&str; 2] = [include_str!("sdk/batch-14.2.0.json"), include_str!("sdk/batch-15.1.0.json")];

fn blob_key() -> SharedKey {
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    SharedKey::new("devstoreaccount1", &Secret::new(key)).unwrap()
}

fn batch_key() -> SharedKey {
    SharedKey::new("devacct", &Secret::new("YmF0Y2gtZGV2LWFjY291bnQta2V5LTAxMjM0NTY3ODk=")).unwrap()
}

fn request(recorded: &Value) -> http::Request<()> {
    let mut request = http::Request::builder()
        .method(recorded["method"].as_str().unwrap())
        .uri(format!("http://h{}", recorded["uri"].as_str().unwrap()));
    for header in recorded["headers"].as_array().unwrap() {
        request = request.header(header[0].as_str().unwrap(), header[1].as_str().unwrap());
    }
    request.body(()).unwrap()
}

/// Verifies all requests of a recording and returns their number.
fn verify_all(scheme: Scheme, key: &SharedKey, recording: &str) -> usize {
    let recording: Value = serde_json::from_str(recording).unwrap();
    let requests = recording["requests"].as_array().unwrap();
    for recorded in requests {
        let request = request(recorded);
        let date = request.headers()[scheme.date_header()].to_str().unwrap();
        let now = parse_http_date(date).unwrap();
        let at = format!("{} {} {}", recording["sdk"], recorded["method"], recorded["uri"]);
        if let Err(error) = key.verify(scheme, &request, now) {
            panic!("{at}: {}", error.detail());
        }
        let ours = format!("SharedKey {}:{}", key.account(), key.sign(&key.string_to_sign(scheme, &request)));
        assert_eq!(request.headers()["authorization"], ours, "{at}: our signature differs");
    }
    requests.len()
}

#[test]
fn every_request_of_the_batch_sdks_is_verified_and_signed_alike() {
    let verified = BATCH.map(|recording| verify_all(Scheme::Batch, &batch_key(), recording));
    assert!(verified.iter().all(|requests| *requests >= 14), "{verified:?}");
}

#[test]
fn every_request_of_the_storage_sdk_is_verified_and_signed_alike() {
    assert!(verify_all(Scheme::Storage, &blob_key(), BLOB) >= 50);
}

#[test]
fn every_sas_of_the_storage_sdk_is_verified() {
    let recording: Value = serde_json::from_str(BLOB).unwrap();
    let sas = recording["sas"].as_array().unwrap();
    for made in sas {
        let text = |name: &str| made[name].as_str().unwrap();
        let request = SasRequest {
            container: text("container"),
            blob: text("blob"),
            action: Action::ReadBlob,
            now: parse_iso("2026-07-01").unwrap(),
            https: false,
            from: IpAddr::from([127, 0, 0, 5]),
        };
        let query = text("query");
        if let Err(error) = sas::verify(&blob_key(), query, &request) {
            panic!("{query}: {error}: {:?}", error.detail());
        }
        let replaced = uri::value(query, "sp").unwrap().contains('w');
        let rights = sas::verify(&blob_key(), query, &request).unwrap();
        assert_eq!(rights.allow(Action::ReplaceBlob), replaced, "{query}");
    }
    assert!(sas.len() >= 20);
}
