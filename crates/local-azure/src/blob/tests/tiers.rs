//! Tests tiers, which are stored and shown without changing the blob, and ranges outside the content.

use super::*;

#[tokio::test]
async fn setting_a_tier_changes_neither_etag_nor_time_and_shows_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::at(Some(folder.path().to_owned())).await;
    desk.put("a", "x").await;
    let before = desk.own("HEAD", "/acc/box/a", &[], "").await;
    assert_eq!(before.header("x-ms-access-tier-inferred"), "true");
    assert_eq!(before.header("x-ms-access-tier-change-time"), "");
    desk.later(90);
    let tier = [("x-ms-access-tier", "Cool")];
    let said = desk.own("PUT", "/acc/box/a?comp=tier", &tier, "").await;
    assert_eq!((said.status.as_u16(), said.header("etag"), said.header("last-modified")), (200, "", ""));
    drop(desk);
    let desk = Desk::at(Some(folder.path().to_owned())).await;
    let after = desk.own("HEAD", "/acc/box/a", &[], "").await;
    for same in ["etag", "last-modified", "x-ms-creation-time", "content-md5", "content-length"] {
        assert_eq!(after.header(same), before.header(same), "{same}");
    }
    let at = "Wed, 01 Jul 2026 12:01:30 GMT";
    assert_eq!((after.header("x-ms-access-tier"), after.header("x-ms-access-tier-inferred")), ("Cool", ""));
    assert_eq!(after.header("x-ms-access-tier-change-time"), at);
    let list = desk.own("GET", "/acc/box?restype=container&comp=list", &[], "").await.body;
    assert!(list.contains(&format!("<AccessTierChangeTime>{at}</AccessTierChangeTime>")), "{list}");
    let same = [("if-match", before.header("etag"))];
    assert_eq!(desk.own("DELETE", "/acc/box/a", &same, "").await.status, 202);
}

#[tokio::test]
async fn a_blob_that_is_put_with_a_tier_has_it_since_then() {
    let desk = Desk::new().await;
    let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-access-tier", "Cold")];
    assert_eq!(desk.own("PUT", "/acc/box/a", &headers, "x").await.status, 201);
    let head = desk.own("HEAD", "/acc/box/a", &[], "").await;
    assert_eq!(head.header("x-ms-access-tier-change-time"), head.header("last-modified"));
    desk.put("a", "y").await;
    let head = desk.own("HEAD", "/acc/box/a", &[], "").await;
    assert_eq!((head.header("x-ms-access-tier"), head.header("x-ms-access-tier-change-time")), ("Hot", ""));
}

#[tokio::test]
async fn a_range_outside_the_content_returns_its_length() {
    let desk = Desk::new().await;
    desk.put("a", "0123456789").await;
    desk.put("empty", "").await;
    for (name, range, length) in [
        ("a", "bytes=10-", "10"),
        ("a", "bytes=99-100", "10"),
        ("a", "bytes=-0", "10"),
        ("empty", "bytes=0-", "0"),
        ("empty", "bytes=0-3", "0"),
    ] {
        for header in ["range", "x-ms-range"] {
            let said = desk.own("GET", &format!("/acc/box/{name}"), &[(header, range)], "").await;
            assert_eq!(
                (said.status.as_u16(), said.header("x-ms-error-code")),
                (416, "InvalidRange"),
                "{range}"
            );
            assert_eq!(said.header("content-range"), format!("bytes */{length}"), "{name} {range}");
        }
    }
}
