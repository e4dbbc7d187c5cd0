//! Blobs and blocks made of other blobs.

use super::*;

const SOURCE: &str = "http://127.0.0.1:10000/acc/box/from";

#[tokio::test]
async fn a_blob_is_put_from_a_url_as_if_its_bytes_had_been_sent() {
    let desk = Desk::new().await;
    desk.put("from", "0123456789").await;
    let headers = [("x-ms-copy-source", SOURCE), ("x-ms-blob-type", "BlockBlob")];
    let said = desk.own("PUT", "/acc/box/to", &headers, "").await;
    assert_eq!((said.status, said.header("x-ms-copy-id")), (StatusCode::CREATED, ""));
    assert_eq!(desk.content("to").await, "0123456789");
    let copied = desk.own("PUT", "/acc/box/copy", &headers[..1], "").await;
    assert_eq!((copied.status, copied.header("x-ms-copy-status")), (StatusCode::ACCEPTED, "success"));
    let other = [("x-ms-copy-source", SOURCE), ("x-ms-blob-type", "PageBlob")];
    assert_eq!(desk.own("PUT", "/acc/box/to", &other, "").await.status, 400);
}

#[tokio::test]
async fn blocks_are_taken_from_ranges_of_another_blob() {
    let desk = Desk::new().await;
    desk.put("from", "0123456789").await;
    let good = "eB5eJF1ptWaXm4bijSPyxw=="; // MD5 of 0123456789
    let table: &[(Headers, u16, &str)] = &[
        (&[], 201, "0123456789"),
        (&[("x-ms-source-range", "bytes=2-4")], 201, "234"),
        (&[("x-ms-source-range", "bytes=8-100")], 201, "89"),
        (&[("x-ms-source-range", "bytes=10-12")], 416, "InvalidRange"),
        (&[("x-ms-source-range", "two to four")], 416, "InvalidRange"),
        (&[("x-ms-source-content-md5", good)], 201, "0123456789"),
        (&[("x-ms-source-content-md5", good), ("x-ms-source-range", "bytes=0-1")], 400, "Md5Mismatch"),
        (&[("x-ms-source-if-match", "\"0x1\"")], 412, "SourceConditionNotMet"),
    ];
    for (more, status, expected) in table {
        let headers: Vec<_> = [("x-ms-copy-source", SOURCE)].iter().chain(*more).copied().collect();
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
async fn a_source_that_is_not_ours_or_not_there_is_refused() {
    let desk = Desk::new().await;
    let table = [
        ("http://127.0.0.1:10000/acc/box/none", 404, "BlobNotFound"),
        ("http://127.0.0.1:10000/acc/none/x", 404, "ContainerNotFound"),
        ("http://127.0.0.1:10000/other/box/from", 404, "CannotVerifyCopySource"),
        ("http://127.0.0.1:10000@example.org/acc/box/from", 404, "CannotVerifyCopySource"),
        ("http://169.254.169.254/latest", 404, "CannotVerifyCopySource"),
        ("file:///etc/passwd", 404, "CannotVerifyCopySource"),
    ];
    for (source, status, code) in table {
        for target in ["/acc/box/to", "/acc/box/to?comp=block&blockid=QUFB"] {
            let said = desk.own("PUT", target, &[("x-ms-copy-source", source)], "").await;
            assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (status, code), "{source}");
        }
    }
}
