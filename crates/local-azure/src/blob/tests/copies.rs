//! Tests blobs and blocks copied from other blobs.

use super::*;

const SOURCE: &str = "http://127.0.0.1:10000/acc/box/from";

/// Synchronous operations, as target and header: each writes the blob `to`.
const AT_ONCE: [(&str, (&str, &str)); 4] = [
    ("/acc/box/to", ("x-ms-requires-sync", "true")),
    ("/acc/box/to", ("x-ms-blob-type", "BlockBlob")),
    ("/acc/box/to?comp=block&blockid=QUFB", ("x-ms-client-request-id", "1")),
    ("/acc/box/grows?comp=appendblock", ("x-ms-client-request-id", "1")),
];

/// Returns the error of a rejected copy: status, code, and the source's code if there is one.
fn refused(said: &Said) -> (u16, &str, &str) {
    let (status, code) = (said.status.as_u16(), said.header("x-ms-error-code"));
    if !said.header("x-ms-copy-source-error-code").is_empty() {
        assert_eq!(said.header("x-ms-copy-source-status-code"), said.status.as_str());
    }
    (status, code, said.header("x-ms-copy-source-error-code"))
}

#[tokio::test]
async fn put_from_a_url_is_like_sending_the_bytes() {
    let desk = Desk::new().await;
    desk.put("from", "0123456789").await;
    let source = readable("from");
    let headers = [("x-ms-copy-source", &*source), ("x-ms-blob-type", "BlockBlob")];
    let said = desk.own("PUT", "/acc/box/to", &headers, "").await;
    assert_eq!((said.status, said.header("x-ms-copy-id")), (StatusCode::CREATED, ""));
    assert_eq!(desk.content("to").await, "0123456789");
    let copied = desk.own("PUT", "/acc/box/copy", &headers[..1], "").await;
    assert_eq!((copied.status, copied.header("x-ms-copy-status")), (StatusCode::ACCEPTED, "success"));
    let other = [("x-ms-copy-source", SOURCE), ("x-ms-blob-type", "PageBlob")];
    assert_eq!(desk.own("PUT", "/acc/box/to", &other, "").await.status, 400);
}

#[tokio::test]
async fn blocks_are_copied_from_ranges_of_another_blob() {
    let desk = Desk::new().await;
    desk.put("from", "0123456789").await;
    let good = "eB5eJF1ptWaXm4bijSPyxw=="; // MD5 of 0123456789
    let table: &[(Headers, u16, &str)] = &[
        (&[], 201, "0123456789"),
        (&[("x-ms-source-range", "bytes=2-4")], 201, "234"),
        (&[("x-ms-source-range", "bytes=8-100")], 201, "89"),
        (&[("x-ms-source-range", "bytes=10-12")], 416, "CannotVerifyCopySource"),
        (&[("x-ms-source-range", "two to four")], 400, "InvalidHeaderValue"),
        (&[("x-ms-source-content-md5", good)], 201, "0123456789"),
        (&[("x-ms-source-content-md5", good), ("x-ms-source-range", "bytes=0-1")], 400, "Md5Mismatch"),
        (&[("x-ms-source-if-match", "\"0x1\"")], 412, "SourceConditionNotMet"),
    ];
    let source = readable("from");
    for (more, status, expected) in table {
        let headers: Vec<_> = [("x-ms-copy-source", &*source)].iter().chain(*more).copied().collect();
        let said = desk.own("PUT", "/acc/box/to?comp=block&blockid=QUFB", &headers, "").await;
        assert_eq!(said.status, *status, "{more:?}");
        if *status != 201 {
            assert_eq!(said.header("x-ms-error-code"), *expected, "{more:?}");
            continue;
        }
        let list = "<BlockList><Latest>QUFB</Latest></BlockList>";
        assert_eq!(desk.own("PUT", "/acc/box/to?comp=blocklist", &[], list).await.status, 201);
        assert_eq!(desk.content("to").await, *expected, "{more:?}");
    }
}

#[tokio::test]
async fn a_foreign_or_missing_source_is_rejected() {
    let desk = Desk::new().await;
    let table = [
        ("http://127.0.0.1:10000/acc/box/none", 404, "BlobNotFound"),
        ("http://127.0.0.1:10000/acc/none/x", 404, "CannotVerifyCopySource"),
        ("http://127.0.0.1:10000/acc/box", 404, "CannotVerifyCopySource"),
        ("http://127.0.0.1:10000/acc/box/", 404, "CannotVerifyCopySource"),
        ("http://127.0.0.1:10000/acc/BOX/x", 400, "CannotVerifyCopySource"),
        ("http://127.0.0.1:10000/other/box/from", 404, "CannotVerifyCopySource"),
        ("http://127.0.0.1:10000@example.org/acc/box/from", 404, "CannotVerifyCopySource"),
        ("https://other.blob.core.windows.net/box/from", 404, "CannotVerifyCopySource"),
        ("http://169.254.169.254/latest", 404, "CannotVerifyCopySource"),
        ("file:///etc/passwd", 404, "CannotVerifyCopySource"),
    ];
    for (source, status, code) in table {
        let said = desk.own("PUT", "/acc/box/to", &[("x-ms-copy-source", source)], "").await;
        assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (status, code), "{source}");
        for (target, how) in AT_ONCE {
            let said = desk.own("PUT", target, &[("x-ms-copy-source", source), how], "").await;
            let code = said.header("x-ms-error-code");
            assert!(matches!(said.status.as_u16(), 400 | 401 | 404), "{target} {source}: {}", said.status);
            assert_eq!(code, "CannotVerifyCopySource", "{target} {source}");
        }
    }
}

#[tokio::test]
async fn a_source_is_authorized_by_its_own_url_only() {
    let desk = Desk::new().await;
    desk.put("from", "private").await;
    assert_eq!(desk.own("PUT", "/acc/box/grows", &[("x-ms-blob-type", "AppendBlob")], "").await.status, 201);
    let forged = readable("from").replace("sp=r", "sp=rw");
    let writable = with_sas("from", Permissions::WRITE);
    let of_other = readable("from").replace("/box/", "/other/");
    let snapshot = format!("{}&snapshot=2026-07-01T12:00:00.0000000Z", readable("from"));
    let version = format!("{}&versionid=2026-07-01T12:00:00.0000000Z", readable("from"));
    let (none, no_container) = (readable("none"), readable("from").replace("/acc/box/", "/acc/none/"));
    let table = [
        (SOURCE, 401, "NoAuthenticationInformation"),
        (&*forged, 403, "AuthenticationFailed"),
        (&*writable, 403, "AuthorizationPermissionMismatch"),
        (&*of_other, 403, "AuthenticationFailed"),
        (&*no_container, 403, "AuthenticationFailed"),
        (&*none, 404, "BlobNotFound"),
        (&*snapshot, 404, "BlobNotFound"),
        (&*version, 404, "BlobNotFound"),
    ];
    for (source, status, of_source) in table {
        for (target, how) in AT_ONCE {
            let said = desk.own("PUT", target, &[("x-ms-copy-source", source), how], "").await;
            let expected = (status, "CannotVerifyCopySource", of_source);
            assert_eq!(refused(&said), expected, "{target} {source}");
            assert!(!said.body.contains("sig="), "{}", said.body);
        }
    }
    assert_eq!(desk.own("HEAD", "/acc/box/to", &[], "").await.status, 404);
    assert_eq!(desk.own("GET", "/acc/box/to?comp=blocklist&blocklisttype=all", &[], "").await.status, 404);
    assert_eq!(desk.content("grows").await, "");
    let source = readable("from");
    for (target, how) in AT_ONCE {
        let said = desk.own("PUT", target, &[("x-ms-copy-source", &*source), how], "").await;
        assert!(said.status.is_success(), "{target}: {}", said.body);
    }
    assert_eq!(desk.content("grows").await, "private");
}

#[tokio::test]
async fn a_copy_with_the_accounts_key_needs_no_sas_and_one_with_a_sas_needs_one() {
    let desk = Desk::new().await;
    desk.put("from", "x").await;
    let copied = desk.own("PUT", "/acc/box/to", &[("x-ms-copy-source", SOURCE)], "").await;
    assert_eq!(copied.status, 202, "{}", copied.body);
    let sas = with_sas("to", Permissions::WRITE);
    let target = sas.strip_prefix("http://127.0.0.1:10000").unwrap();
    let (good, writable) = (readable("from"), with_sas("from", Permissions::WRITE));
    let none = readable("none");
    for (source, expected) in [
        (SOURCE, (401, "CannotVerifyCopySource", "NoAuthenticationInformation")),
        (&*writable, (403, "CannotVerifyCopySource", "AuthorizationPermissionMismatch")),
        (&*none, (404, "BlobNotFound", "")),
        (&*good, (202, "", "")),
    ] {
        let request = Request::put(target).header("x-ms-copy-source", source).header("content-length", "0");
        let said = desk.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(refused(&said), expected, "{source}");
    }
}

#[tokio::test]
async fn the_accounts_own_host_is_a_source_with_any_suffix() {
    let desk = Desk::new().await;
    desk.put("from", "x").await;
    for base in
        ["https://acc.blob.core.windows.net", "http://acc.blob.localhost:10000", "http://ACC.blob.x:1"]
    {
        let source = SOURCE.replace("http://127.0.0.1:10000/acc", base);
        let said = desk.own("PUT", "/acc/box/to", &[("x-ms-copy-source", &*source)], "").await;
        assert_eq!(said.status, 202, "{base}: {}", said.body);
        let source = readable("from").replace("http://127.0.0.1:10000/acc", base);
        let headers = [("x-ms-copy-source", &*source), ("x-ms-requires-sync", "true")];
        assert_eq!(desk.own("PUT", "/acc/box/to", &headers, "").await.status, 202, "{base}");
    }
}

#[tokio::test]
async fn a_source_of_one_segment_is_a_blob_of_the_root_container() {
    let desk = Desk::new().await;
    assert_eq!(desk.own("PUT", "/acc/$root?restype=container", &[], "").await.status, 201);
    assert_eq!(desk.own("PUT", "/acc/page", &[("x-ms-blob-type", "BlockBlob")], "root").await.status, 201);
    let source = [("x-ms-copy-source", "http://127.0.0.1:10000/acc/page")];
    assert_eq!(desk.own("PUT", "/acc/box/to", &source, "").await.status, 202);
    assert_eq!(desk.content("to").await, "root");
}

#[tokio::test]
async fn a_copy_is_synchronous_and_cannot_be_aborted() {
    let desk = Desk::new().await;
    desk.put("from", "x").await;
    let copied = desk.own("PUT", "/acc/box/to", &[("x-ms-copy-source", SOURCE)], "").await;
    let abort = format!("/acc/box/to?comp=copy&copyid={}", copied.header("x-ms-copy-id"));
    let action: Headers = &[("x-ms-copy-action", "abort")];
    let other: Headers = &[("x-ms-copy-action", "pause")];
    for (target, headers, status, code) in [
        (&*abort, action, 409, "NoPendingCopyOperation"),
        ("/acc/box/from?comp=copy&copyid=1", action, 409, "NoPendingCopyOperation"),
        ("/acc/box/none?comp=copy&copyid=1", action, 404, "BlobNotFound"),
        ("/acc/none/to?comp=copy&copyid=1", action, 404, "ContainerNotFound"),
        ("/acc/box/to?comp=copy", action, 400, "MissingRequiredQueryParameter"),
        (&*abort, &[], 400, "MissingRequiredHeader"),
        (&*abort, other, 400, "MissingRequiredHeader"),
    ] {
        let said = desk.own("PUT", target, headers, "").await;
        assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (status, code), "{target}");
    }
    assert_eq!(desk.content("to").await, "x");
}
