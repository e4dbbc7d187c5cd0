//! Tests append blobs.

use super::*;

impl Desk {
    async fn grow(&self, name: &str) {
        let said =
            self.own("PUT", &format!("/acc/box/{name}"), &[("x-ms-blob-type", "AppendBlob")], "").await;
        assert_eq!(said.status, 201, "{}", said.body);
    }

    async fn append(&self, name: &str, headers: Headers<'_>, bytes: &str) -> Said {
        self.own("PUT", &format!("/acc/box/{name}?comp=appendblock"), headers, bytes).await
    }
}

#[tokio::test]
async fn each_append_goes_to_the_end_and_returns_its_position() {
    let desk = Desk::new().await;
    desk.grow("a").await;
    for (number, (bytes, offset)) in [("one ", "0"), ("two ", "4"), ("three", "8")].into_iter().enumerate() {
        let said = desk.append("a", &[], bytes).await;
        assert_eq!(said.status, 201, "{}", said.body);
        let count = said.header("x-ms-blob-committed-block-count");
        assert_eq!((said.header("x-ms-blob-append-offset"), count), (offset, &*(number + 1).to_string()));
        assert!(!said.header("x-ms-content-crc64").is_empty() && !said.header("etag").is_empty());
    }
    let said = desk.own("GET", "/acc/box/a", &[], "").await;
    assert_eq!((said.status.as_u16(), &*said.body), (200, "one two three"));
    assert_eq!(said.header("x-ms-blob-type"), "AppendBlob");
    assert_eq!(said.header("x-ms-blob-committed-block-count"), "3");
    assert_eq!(said.header("x-ms-access-tier"), "");
    let list = desk.own("GET", "/acc/box?restype=container&comp=list", &[], "").await.body;
    assert!(list.contains("<BlobType>AppendBlob</BlobType>"), "{list}");
    let range = desk.own("GET", "/acc/box/a", &[("x-ms-range", "bytes=2-9")], "").await;
    assert_eq!((range.status.as_u16(), &*range.body), (206, "e two th"));
    desk.grow("a").await;
    assert_eq!(desk.content("a").await, "", "made anew it is empty");
}

#[tokio::test]
async fn an_append_has_conditions_on_position_and_length() {
    let desk = Desk::new().await;
    desk.grow("a").await;
    assert_eq!(desk.append("a", &[], "12345").await.status, 201);
    let (at, most) = ("x-ms-blob-condition-appendpos", "x-ms-blob-condition-maxsize");
    let table: &[(Headers, u16, &str)] = &[
        (&[(at, "4")], 412, "AppendPositionConditionNotMet"),
        (&[(most, "6")], 412, "MaxBlobSizeConditionNotMet"),
        (&[(at, "no")], 400, "InvalidHeaderValue"),
        (&[("if-match", "\"0x1\"")], 412, "ConditionNotMet"),
        (&[("content-md5", "rL0Y20zC+Fzt72VPzMSk2A==")], 400, "Md5Mismatch"),
        (&[("x-ms-content-crc64", "AAAAAAAAAAA=")], 400, "Crc64Mismatch"),
        (
            &[("x-ms-lease-id", "0a0a0a0a-0000-4000-8000-000000000001")],
            412,
            "LeaseNotPresentWithBlobOperation",
        ),
    ];
    for (headers, status, code) in table {
        let said = desk.append("a", headers, "67").await;
        assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (*status, *code), "{headers:?}");
        assert_eq!(desk.content("a").await, "12345", "{headers:?}");
    }
    assert_eq!(desk.append("a", &[(at, "5"), (most, "7")], "67").await.status, 201);
    assert_eq!(desk.append("a", &[], "").await.status, 400);
    assert_eq!(desk.append("none", &[], "x").await.status, 404);
    assert_eq!(desk.content("a").await, "1234567");
}

#[tokio::test]
async fn append_blobs_accept_no_block_lists_and_block_blobs_no_appends() {
    let desk = Desk::new().await;
    desk.grow("a").await;
    desk.put("b", "x").await;
    let list = "<BlockList></BlockList>";
    let calls = [
        ("PUT", "/acc/box/b?comp=appendblock", "x"),
        ("PUT", "/acc/box/a?comp=block&blockid=QUFB", "x"),
        ("PUT", "/acc/box/a?comp=blocklist", list),
        ("GET", "/acc/box/a?comp=blocklist", ""),
    ];
    for (method, target, body) in calls {
        let said = desk.own(method, target, &[], body).await;
        assert_eq!(
            (said.status.as_u16(), said.header("x-ms-error-code")),
            (409, "InvalidBlobType"),
            "{target}"
        );
    }
    let tier = [("x-ms-access-tier", "Cool")];
    assert_eq!(desk.own("PUT", "/acc/box/a?comp=tier", &tier, "").await.status, 409);
    let content = desk.own("PUT", "/acc/box/c", &[("x-ms-blob-type", "AppendBlob")], "x").await;
    assert_eq!(content.status, 400);
    assert_eq!(desk.own("PUT", "/acc/box/a?comp=seal", &[], "").await.status, 501);
}

#[tokio::test]
async fn a_copied_append_blob_can_be_extended_independently() {
    let desk = Desk::new().await;
    desk.grow("a").await;
    assert_eq!(desk.append("a", &[], "one").await.status, 201);
    let source = [("x-ms-copy-source", "http://127.0.0.1:10000/acc/box/a")];
    assert_eq!(desk.own("PUT", "/acc/box/copy", &source, "").await.status, 202);
    assert_eq!(desk.append("copy", &[], " two").await.status, 201);
    assert_eq!(desk.append("a", &[], "!").await.status, 201);
    assert_eq!((&*desk.content("a").await, &*desk.content("copy").await), ("one!", "one two"));
    desk.put("b", "x").await;
    let other = desk.own("PUT", "/acc/box/b", &source, "").await;
    assert_eq!(other.header("x-ms-error-code"), "InvalidBlobType");
    let readable = readable("a");
    let range = [("x-ms-copy-source", &*readable), ("x-ms-source-range", "bytes=1-2")];
    assert_eq!(desk.append("copy", &range, "").await.status, 201);
    assert_eq!(desk.content("copy").await, "one twone");
}

#[tokio::test]
async fn appended_data_is_kept_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::at(Some(folder.path().to_owned())).await;
    desk.grow("a").await;
    let parts: Vec<String> = [10, 1_000, 100_000, 3].map(|length| "x".repeat(length)).into();
    for part in &parts {
        assert_eq!(desk.append("a", &[], part).await.status, 201);
    }
    drop(desk);
    let desk = Desk::at(Some(folder.path().to_owned())).await;
    assert_eq!(desk.content("a").await, parts.concat());
    assert_eq!(desk.append("a", &[("x-ms-blob-condition-appendpos", "101013")], "end").await.status, 201);
    assert!(desk.content("a").await.ends_with("xend"));
}
