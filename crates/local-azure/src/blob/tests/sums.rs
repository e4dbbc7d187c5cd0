//! Tests MD5 and CRC64 of bodies and ranges: checked if they are sent, returned if they are requested.

use super::*;

/// CRC and MD5 of `123456789`; the CRC is the published check value.
const CRC64: &str = "iJh5CoYUi64=";
const MD5: &str = "JfnnlDI7RTiF9RgfG2JNCw==";
const BYTES: &str = "123456789";

#[tokio::test]
async fn a_sent_checksum_is_checked_and_returned() {
    let desk = Desk::new().await;
    desk.put("kept", "old").await;
    let calls = [("/acc/box/kept", "BlockBlob"), ("/acc/box/kept?comp=block&blockid=QUFB", "")];
    for (target, kind) in calls {
        for (header, good, other, code) in [
            ("x-ms-content-crc64", CRC64, "AAAAAAAAAAA=", "Crc64Mismatch"),
            ("content-md5", MD5, "AAAAAAAAAAAAAAAAAAAAAA==", "Md5Mismatch"),
        ] {
            let headers = |sum| {
                [(header, sum), ("x-ms-blob-type", kind)].into_iter().filter(|(_, value)| !value.is_empty())
            };
            let bad: Vec<_> = headers(other).collect();
            let said = desk.own("PUT", target, &bad, BYTES).await;
            assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (400, code), "{target}");
            let fine: Vec<_> = headers(good).collect();
            let said = desk.own("PUT", target, &fine, BYTES).await;
            assert_eq!(
                (said.status.as_u16(), said.header(header)),
                (201, good),
                "{target} {header}: {}",
                said.body
            );
        }
    }
    // Without a checksum in the request, a block returns its CRC64, a blob its MD5.
    let block = desk.own("PUT", "/acc/box/kept?comp=block&blockid=QUFB", &[], BYTES).await;
    assert_eq!((block.header("x-ms-content-crc64"), block.header("content-md5")), (CRC64, ""));
    let blob = desk.own("PUT", "/acc/box/kept", &[("x-ms-blob-type", "BlockBlob")], BYTES).await;
    assert_eq!(blob.header("content-md5"), MD5);
    assert_eq!(desk.own("HEAD", "/acc/box/kept", &[], "").await.header("content-md5"), MD5);
}

#[tokio::test]
async fn one_kind_of_checksum_is_returned_for_a_range() {
    let desk = Desk::new().await;
    desk.put("a", &format!("ab{BYTES}cd")).await;
    let range = ("x-ms-range", "bytes=2-10");
    let (crc64, md5) = (("x-ms-range-get-content-crc64", "true"), ("x-ms-range-get-content-md5", "true"));
    let said = desk.own("GET", "/acc/box/a", &[range, crc64], "").await;
    assert_eq!((said.status.as_u16(), &*said.body, said.header("x-ms-content-crc64")), (206, BYTES, CRC64));
    let said = desk.own("GET", "/acc/box/a", &[range, md5], "").await;
    assert_eq!((&*said.body, said.header("content-md5")), (BYTES, MD5));
    assert_eq!(desk.own("GET", "/acc/box/a", &[range, crc64, md5], "").await.status, 400);
    assert_eq!(desk.own("GET", "/acc/box/a", &[crc64], "").await.status, 400, "only with a range");
}

#[tokio::test]
async fn an_invalid_md5_is_rejected_before_the_body_is_read() {
    let desk = Desk::new().await;
    desk.put("a", "old").await;
    let grows = [("x-ms-blob-type", "AppendBlob")];
    assert_eq!(desk.own("PUT", "/acc/box/grows", &grows, "").await.status, 201);
    let from = readable("a");
    let (block, source) = (("x-ms-blob-type", "BlockBlob"), ("x-ms-copy-source", &*from));
    let list = "<BlockList></BlockList>";
    for bad in ["", "x", "AAAAAAAAAAA=", "JfnnlDI7RTiF9RgfG2JNCw", "JfnnlDI7RTiF9RgfG2JNC\u{e9}=="] {
        let table: &[(&str, Headers, &str)] = &[
            ("/acc/box/a", &[block, ("content-md5", bad)], "new"),
            ("/acc/box/a?comp=block&blockid=QUFB", &[("content-md5", bad)], "new"),
            ("/acc/box/a?comp=blocklist", &[("content-md5", bad)], list),
            ("/acc/box/grows?comp=appendblock", &[("content-md5", bad)], "new"),
            ("/acc/box/a?comp=block&blockid=QUFB", &[source, ("x-ms-source-content-md5", bad)], ""),
            ("/acc/box/grows?comp=appendblock", &[source, ("x-ms-source-content-md5", bad)], ""),
        ];
        for (target, headers, body) in table {
            let said = desk.own("PUT", target, headers, body).await;
            let code = said.header("x-ms-error-code");
            assert_eq!((said.status.as_u16(), code), (400, "InvalidMd5"), "{target} {bad:?}");
        }
    }
    assert_eq!((&*desk.content("a").await, &*desk.content("grows").await), ("old", ""));
    assert_eq!(desk.own("GET", "/acc/box/a?comp=blocklist&blocklisttype=all", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_content_needs_a_length_and_a_block_is_not_empty() {
    let desk = Desk::new().await;
    desk.put("a", "old").await;
    desk.put("empty", "").await;
    let grows = [("x-ms-blob-type", "AppendBlob")];
    assert_eq!(desk.own("PUT", "/acc/box/grows", &grows, "").await.status, 201);
    let block = [("x-ms-blob-type", "BlockBlob")];
    let table: &[(&str, Headers, &str)] = &[
        ("/acc/box/a", &block, "new"),
        ("/acc/box/b", &grows, ""),
        ("/acc/box/a?comp=block&blockid=QUFB", &[], "new"),
        ("/acc/box/a?comp=block&blockid=QUFB", &[], ""),
        ("/acc/box/a?comp=blocklist", &[], "<BlockList></BlockList>"),
        ("/acc/box/grows?comp=appendblock", &[], "new"),
    ];
    for (target, headers, body) in table {
        let said = desk.send(without_length(target, headers, body)).await;
        let code = said.header("x-ms-error-code");
        assert_eq!((said.status.as_u16(), code), (411, "MissingContentLengthHeader"), "{target}");
    }
    let from = readable("empty");
    let source: Headers = &[("x-ms-copy-source", &*from)];
    for (target, headers) in [
        ("/acc/box/a?comp=block&blockid=QUFB", &[] as Headers),
        ("/acc/box/a?comp=block&blockid=QUFB", source),
        ("/acc/box/grows?comp=appendblock", &[]),
        ("/acc/box/grows?comp=appendblock", source),
    ] {
        let said = desk.own("PUT", target, headers, "").await;
        let code = said.header("x-ms-error-code");
        assert_eq!((said.status.as_u16(), code), (400, "InvalidHeaderValue"), "{target} {headers:?}");
    }
    assert_eq!((&*desk.content("a").await, &*desk.content("grows").await), ("old", ""));
    let list = desk.own("GET", "/acc/box/a?comp=blocklist&blocklisttype=all", &[], "").await.body;
    assert!(!list.contains("<Name>"), "{list}");
}

/// Creates a request of the owner without Content-Length.
fn without_length(target: &str, headers: Headers<'_>, body: &str) -> Request<Body> {
    let mut request = signed("PUT", target, headers, "");
    request.headers_mut().remove(header::CONTENT_LENGTH);
    *request.body_mut() = Body::from(body.to_owned());
    request
}
