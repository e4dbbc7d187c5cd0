//! Tests downloads: complete and correct, or an error.

use crate::service::{Answer, Seen, Service, breaking_off, stalling, status, with_body};
use axum::body::Body;
use bytes::Bytes;
use dropmill_azure_client::{
    blob::{BlobListing, RESUMES, STALLED_AFTER},
    error::{BlobError, CallError},
};
use dropmill_lifecycle::FailureKind;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::time::Instant;

const CONTENT: &str = "0123456789abcdefghij";
/// MD5 of the content, in base64 and in hex.
const MD5: (&str, &str) = ("ZEvgbfxUBh/R5n9eu6vNWA==", "644be06dfc54061fd1e67f5ebbabcd58");

fn offset(seen: &Seen) -> usize {
    seen.header("x-ms-range")
        .strip_prefix("bytes=")
        .map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
}

/// Returns the response to a range request, with another body.
fn part(seen: &Seen, body: Body) -> Answer {
    let (from, ranged) = (offset(seen), seen.headers.contains_key("x-ms-range"));
    let length = (CONTENT.len() - from).to_string();
    let range = format!("bytes {from}-{}/{}", CONTENT.len() - 1, CONTENT.len());
    let mut headers = vec![("etag", "\"0x1\""), ("content-length", length.as_str())];
    if !ranged {
        headers.push(("content-md5", MD5.0));
    } else {
        assert_eq!(seen.header("if-match"), "\"0x1\"");
        headers.extend([("content-range", range.as_str()), ("x-ms-blob-content-md5", MD5.0)]);
    }
    with_body(if ranged { 206 } else { 200 }, &headers, body)
}

fn rest(seen: &Seen) -> &'static str {
    &CONTENT[offset(seen)..]
}

#[tokio::test]
async fn a_blob_is_downloaded_and_checked() {
    let service = Service::answering(|seen| part(&seen, rest(&seen).into()));
    let mut arrived = vec![];
    let downloaded = service.blob().download_to("c", "b", &mut arrived).await.unwrap();
    assert_eq!(arrived, CONTENT.as_bytes());
    assert_eq!((downloaded.bytes, downloaded.md5.as_str(), downloaded.etag.as_str()), (20, MD5.1, "0x1"));
    assert_eq!(service.blob().get_blob("c", "b", 20).await.unwrap(), CONTENT);
    assert_eq!(service.asked()[0].header("x-ms-range"), "");
}

#[tokio::test]
async fn an_empty_blob_is_downloaded() {
    let service = Service::answering(|_| status(200, &[("etag", "\"0x1\""), ("content-length", "0")]));
    let mut arrived = vec![];
    assert_eq!(service.blob().download_to("c", "b", &mut arrived).await.unwrap().bytes, 0);
    assert_eq!(service.blob().get_blob("c", "b", 0).await.unwrap(), "");
}

#[tokio::test]
async fn an_interrupted_download_is_resumed() {
    // Seven bytes at a time: with a reset, or shorter than the Content-Length.
    for reset in [true, false] {
        let service = Service::answering(move |seen| {
            let piece = Bytes::from_static(&rest(&seen).as_bytes()[..rest(&seen).len().min(7)]);
            let body = if reset { breaking_off(vec![piece]) } else { Body::from_stream(once(piece)) };
            part(&seen, if rest(&seen).len() <= 7 { rest(&seen).into() } else { body })
        });
        let mut arrived = vec![];
        let downloaded = service.blob().download_to("c", "b", &mut arrived).await.unwrap();
        assert_eq!(arrived, CONTENT.as_bytes());
        assert_eq!(downloaded.md5, MD5.1);
        let ranges: Vec<String> =
            service.asked().iter().map(|seen| seen.header("x-ms-range").to_owned()).collect();
        assert_eq!(ranges, ["", "bytes=7-", "bytes=14-"]);
    }
}

fn once(piece: Bytes) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    futures_util::stream::iter([Ok(piece)])
}

#[tokio::test]
async fn a_download_that_is_interrupted_too_often_fails() {
    let service = Service::answering(|seen| part(&seen, breaking_off(vec![])));
    let error = service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err();
    assert!(
        error.failure().message.starts_with("get blob c/b: no response from the service: connection lost"),
        "{error}"
    );
    assert_eq!(error.kind(), FailureKind::Transient);
    assert_eq!(service.asked().len(), 1 + RESUMES as usize);
}

#[tokio::test(start_paused = true)]
async fn a_download_may_be_slow_but_must_not_stall() {
    let service = Service::answering(|seen| match offset(&seen) {
        0 => part(&seen, stalling(vec!["01234".into()])),
        _ => part(&seen, rest(&seen).into()),
    });
    let began = Instant::now();
    let mut arrived = vec![];
    service.blob().download_to("c", "b", &mut arrived).await.unwrap();
    assert_eq!(arrived, CONTENT.as_bytes());
    assert_eq!(began.elapsed(), STALLED_AFTER);
    // A byte every fifty seconds is slow, but allowed.
    let slow = Service::answering(|seen| {
        let bytes = CONTENT.bytes().map(|byte| Ok::<_, io::Error>(Bytes::from(vec![byte])));
        let dripping = futures_util::StreamExt::then(futures_util::stream::iter(bytes), |byte| async {
            tokio::time::sleep(STALLED_AFTER * 5 / 6).await;
            byte
        });
        part(&seen, Body::from_stream(dripping))
    });
    slow.blob().download_to("c", "b", &mut vec![]).await.unwrap();
    assert_eq!(slow.asked().len(), 1);
}

#[tokio::test]
async fn parts_of_different_versions_of_a_blob_are_not_combined() {
    let service = Service::answering(|seen| match offset(&seen) {
        0 => part(&seen, breaking_off(vec!["0123".into()])),
        _ => status(412, &[("x-ms-error-code", "ConditionNotMet")]),
    });
    let error = service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Some("ConditionNotMet".into()), FailureKind::Ambiguous));
}

#[tokio::test]
async fn a_response_with_another_range_is_rejected() {
    for (code, range) in
        [(200, ""), (206, ""), (206, "bytes 0-19/20"), (206, "bytes 4-19/21"), (206, "bytes 4-9/20")]
    {
        let service = Service::answering(move |seen| match offset(&seen) {
            0 => part(&seen, breaking_off(vec!["0123".into()])),
            _ => with_body(code, &[("content-range", range), ("etag", "\"0x1\"")], "whatever"),
        });
        let error = service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err();
        assert!(matches!(error, BlobError::Call(CallError::BrokenAnswer { .. })), "{code} {range}: {error}");
    }
}

#[tokio::test]
async fn bytes_with_another_md5_are_rejected() {
    let service = Service::answering(|seen| part(&seen, "0123456789abcdefghiJ".into()));
    let error = service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err();
    let sum = "405e4d857a1153b302d998935a650250";
    let line = format!("get blob c/b: expected MD5 {}, found {sum}", MD5.1);
    assert_eq!(error.to_string(), line);
    assert_eq!((error.kind(), error.failure().code.as_str()), (FailureKind::Transient, "Corrupt"));
    let error = service.blob().get_blob("c", "b", 100).await.unwrap_err();
    assert!(matches!(error, BlobError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_body_longer_than_its_content_length_is_rejected() {
    let long = || {
        with_body(
            200,
            &[("etag", "\"0x1\""), ("content-length", "3")],
            Body::from_stream(once("0123".into())),
        )
    };
    let service = Service::answering(move |_| long());
    let error = service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err();
    assert!(error.to_string().contains("more than the 3 bytes of its Content-Length"), "{error}");
    assert!(service.blob().get_blob("c", "b", 100).await.is_err());
}

fn listed(size_bytes: u64) -> BlobListing {
    BlobListing {
        name: "b".into(),
        size_bytes,
        md5: Some(MD5.1.into()),
        etag: "0x1".into(),
        file: Default::default(),
    }
}

#[tokio::test]
async fn a_listed_blob_is_downloaded_only_with_its_listed_length() {
    let service = Service::answering(|seen| part(&seen, rest(&seen).into()));
    let mut arrived = vec![];
    service.blob().download_listed("c", &listed(20), &mut arrived).await.unwrap();
    assert_eq!(arrived, CONTENT.as_bytes());
    for listed_bytes in [0, 10, 19, 21, u64::MAX] {
        let mut arrived = vec![];
        let blob = listed(listed_bytes);
        let error = service.blob().download_listed("c", &blob, &mut arrived).await.unwrap_err();
        assert!(arrived.is_empty(), "{listed_bytes}");
        let message =
            format!("get blob c/b: the response names 20 bytes, but the list of blobs {listed_bytes}");
        let failure = error.failure();
        assert_eq!(
            (failure.message, failure.code, failure.kind),
            (message, "OtherLength".into(), FailureKind::Transient)
        );
    }
}

#[tokio::test]
async fn a_wrong_length_with_a_matching_body_is_detected_by_the_list() {
    // A gateway cut the body in half and corrected the length; without an MD5, only the list shows it.
    let service = Service::answering(|_| {
        let half = &CONTENT[..10];
        with_body(200, &[("etag", "\"0x1\""), ("content-length", "10")], half)
    });
    assert!(
        service.blob().download_to("c", "b", &mut vec![]).await.is_ok(),
        "without the list, it is not detected"
    );
    let error = service.blob().download_listed("c", &listed(20), &mut vec![]).await.unwrap_err();
    assert!(matches!(error, BlobError::OtherLength { .. }), "{error}");
}

#[tokio::test]
async fn the_md5_of_the_list_is_used_if_the_response_has_none() {
    let service = Service::answering(|_| {
        let headers = [("etag", "\"0x1\""), ("content-length", "20")];
        with_body(200, &headers, "0123456789abcdefghiJ")
    });
    let error = service.blob().download_listed("c", &listed(20), &mut vec![]).await.unwrap_err();
    assert!(matches!(error, BlobError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_length_beyond_the_blobs_end_is_not_final() {
    // The Content-Length is too long: the download tries to resume after the end.
    let service = Service::answering(|seen| match offset(&seen) {
        0 => with_body(
            200,
            &[("etag", "\"0x1\""), ("content-length", "1020")],
            Body::from_stream(once(CONTENT.into())),
        ),
        20 => status(416, &[("x-ms-error-code", "InvalidRange")]),
        other => panic!("{other}"),
    });
    let error = service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Some("InvalidRange".into()), FailureKind::Ambiguous));
}

#[tokio::test]
async fn a_blob_in_memory_has_a_limit_and_all_of_its_bytes() {
    let service = Service::answering(|seen| part(&seen, rest(&seen).into()));
    let error = service.blob().get_blob("c", "b", 19).await.unwrap_err();
    assert_eq!(error.to_string(), "get blob c/b: more than 19 bytes");
    assert_eq!(error.failure().code.as_str(), "TooLarge");
    let service = Service::answering(|seen| part(&seen, Body::from_stream(once("0123".into()))));
    let error = service.blob().get_blob("c", "b", 100).await.unwrap_err();
    assert!(error.failure().message.ends_with("4 of 20 bytes arrived"), "{}", error.failure().message);
}

#[tokio::test]
async fn a_response_without_length_or_etag_is_rejected() {
    for headers in [&[("etag", "\"0x1\"")][..], &[("content-length", "4")]] {
        let service =
            Service::answering(move |_| with_body(200, headers, Body::from_stream(once("0123".into()))));
        let error = service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err();
        assert!(error.to_string().contains("no Content-Length or no ETag"), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_temporary() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let service = Service::answering(|seen| part(&seen, rest(&seen).into()));
    let failure = service.blob().download_to("c", "b", &mut Full).await.unwrap_err().failure();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Transient, "Disk"));
    assert_eq!(failure.message, "get blob c/b: cannot write the downloaded bytes: no storage space");
}

#[tokio::test]
async fn a_missing_blob_is_not_found() {
    let service = Service::answering(|_| status(404, &[("x-ms-error-code", "BlobNotFound")]));
    assert!(service.blob().download_to("c", "b", &mut vec![]).await.unwrap_err().is_not_found());
    assert!(service.blob().head_blob("c", "b").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn the_properties_of_a_blob_are_read_from_headers() {
    let service = Service::answering(|_| {
        status(
            200,
            &[
                ("etag", "\"0x1\""),
                ("last-modified", "Mon, 02 Mar 2026 10:00:00 GMT"),
                ("content-length", "20"),
                ("content-md5", MD5.0),
                ("x-ms-meta-run", "r1"),
                ("x-ms-access-tier", "Archive"),
            ],
        )
    });
    let info = service.blob().head_blob("c", "b").await.unwrap();
    assert_eq!((info.size_bytes, info.md5.as_deref(), info.etag.as_str()), (20, Some(MD5.1), "0x1"));
    assert_eq!(info.metadata.get("run").map(String::as_str), Some("r1"));
    assert_eq!(info.access_tier.as_deref(), Some("Archive"));
    let service = Service::answering(|_| status(200, &[("content-length", "20")]));
    assert!(service.blob().head_blob("c", "b").await.is_err());
}

#[tokio::test]
async fn a_read_that_breaks_before_the_response_is_sent_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = {
        let calls = calls.clone();
        Service::answering(move |seen| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("the connection breaks"),
            _ => part(&seen, rest(&seen).into()),
        })
    };
    assert_eq!(service.blob().get_blob("c", "b", 100).await.unwrap(), CONTENT);
}
