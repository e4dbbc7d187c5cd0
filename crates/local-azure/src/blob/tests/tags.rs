//! Tests blob index tags, and finding blobs by them.

use super::*;

const BLOCK: (&str, &str) = ("x-ms-blob-type", "BlockBlob");

impl Desk {
    async fn put_tagged(&self, name: &str, tags: &str) {
        let headers = [BLOCK, ("x-ms-tags", tags)];
        let said = self.own("PUT", &format!("/acc/box/{name}"), &headers, "x").await;
        assert_eq!(said.status, 201, "{}", said.body);
    }

    /// Returns the names that an expression finds, and the marker of the next page.
    async fn found(&self, target: &str, asked: &str, more: &str) -> (Vec<String>, String) {
        let asked = dropmill_azure_wire::uri::encode(asked);
        let said = self.own("GET", &format!("{target}comp=blobs&where={asked}{more}"), &[], "").await;
        assert_eq!(said.status, 200, "{}", said.body);
        let names = said.body.split("<Name>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
        let next =
            said.body.split_once("<NextMarker>").map(|(_, rest)| rest.split('<').next().unwrap().to_owned());
        (names.collect(), next.unwrap_or_default())
    }
}

#[tokio::test]
async fn tags_are_set_read_and_counted_and_change_nothing_else() {
    let desk = Desk::new().await;
    desk.put_tagged("a", "k=v&two%20words=x").await;
    let head = desk.own("HEAD", "/acc/box/a", &[], "").await;
    assert_eq!(head.header("x-ms-tag-count"), "2");
    let tags = desk.own("GET", "/acc/box/a?comp=tags", &[], "").await.body;
    assert!(tags.contains("<Key>two words</Key><Value>x</Value>"), "{tags}");
    let body = "<Tags><TagSet><Tag><Key>n</Key><Value>1</Value></Tag></TagSet></Tags>";
    assert_eq!(desk.own("PUT", "/acc/box/a?comp=tags", &[], body).await.status, 204);
    let after = desk.own("HEAD", "/acc/box/a", &[], "").await;
    assert_eq!((after.header("x-ms-tag-count"), after.header("etag")), ("1", head.header("etag")));
    let list = desk.own("GET", "/acc/box?restype=container&comp=list&include=tags", &[], "").await.body;
    assert!(list.contains("<Tags><TagSet><Tag><Key>n</Key><Value>1</Value></Tag></TagSet></Tags>"), "{list}");
    let list = desk.own("GET", "/acc/box?restype=container&comp=list", &[], "").await.body;
    assert!(!list.contains("<Tags>"), "{list}");
    desk.put("a", "y").await;
    assert_eq!(
        desk.own("HEAD", "/acc/box/a", &[], "").await.header("x-ms-tag-count"),
        "",
        "a new blob has none"
    );
}

#[tokio::test]
async fn blobs_are_found_by_their_tags_page_by_page() {
    let desk = Desk::new().await;
    assert_eq!(desk.own("PUT", "/acc/other?restype=container", &[], "").await.status, 201);
    for name in ["a", "b", "c"] {
        desk.put_tagged(name, "k=v").await;
    }
    desk.put_tagged("d", "k=w").await;
    desk.put("e", "x").await;
    let other = [BLOCK, ("x-ms-tags", "k=v")];
    assert_eq!(desk.own("PUT", "/acc/other/f", &other, "x").await.status, 201);
    let all = desk.found("/acc?", "\"k\"='v'", "").await;
    assert_eq!(all, (["a", "b", "c", "f"].map(str::to_owned).into(), String::new()));
    let (first, next) = desk.found("/acc?", "k='v'", "&maxresults=3").await;
    assert_eq!(first, ["a", "b", "c"]);
    assert_eq!(desk.found("/acc?", "k='v'", &format!("&maxresults=3&marker={next}")).await.0, ["f"]);
    assert_eq!(desk.found("/acc/box?restype=container&", "k >= 'v'", "").await.0, ["a", "b", "c", "d"]);
    assert_eq!(desk.found("/acc?", "@container='other' AND k='v'", "").await.0, ["f"]);
    for bad in ["where=x", "where=k='v'&marker=!", ""] {
        assert_eq!(desk.own("GET", &format!("/acc?comp=blobs&{bad}"), &[], "").await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn tags_are_copied_only_on_request_and_need_their_own_permission() {
    let desk = Desk::new().await;
    desk.put_tagged("from", "k=v").await;
    let source = ("x-ms-copy-source", "http://127.0.0.1:10000/acc/box/from");
    for (headers, count) in [
        (vec![source], ""),
        (vec![source, ("x-ms-copy-source-tag-option", "COPY")], "1"),
        (vec![source, ("x-ms-tags", "a=1&b=2")], "2"),
    ] {
        assert_eq!(desk.own("PUT", "/acc/box/to", &headers, "").await.status, 202);
        assert_eq!(
            desk.own("HEAD", "/acc/box/to", &[], "").await.header("x-ms-tag-count"),
            count,
            "{headers:?}"
        );
    }
    let both = [source, ("x-ms-copy-source-tag-option", "COPY"), ("x-ms-tags", "a=1")];
    let said = desk.own("PUT", "/acc/box/both", &both, "").await;
    assert_eq!(said.status, 409, "{}", said.body);
    let odd = [source, ("x-ms-copy-source-tag-option", "MOVE")];
    assert_eq!(desk.own("PUT", "/acc/box/both", &odd, "").await.status, 400);
    assert_eq!(desk.own("HEAD", "/acc/box/both", &[], "").await.status, 404);
    // The tags are read with the rights to the source, and set with those to the target.
    let (plain, tags) =
        (Permissions::READ | Permissions::WRITE, Permissions::READ | Permissions::WRITE | Permissions::TAGS);
    for (of_target, of_source, status, code) in [
        (plain, tags, 403, "AuthorizationPermissionMismatch"),
        (tags, plain, 403, "CannotVerifyCopySource"),
        (tags, tags, 202, ""),
    ] {
        let target = with_sas("to", of_target).replace("http://127.0.0.1:10000", "");
        let request = Request::put(target).header("x-ms-copy-source", with_sas("from", of_source));
        let request = request.header("x-ms-copy-source-tag-option", "COPY").header("content-length", "0");
        let said = desk.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (status, code), "{of_target:?}");
    }
    let until = parse_iso("2026-07-02").unwrap();
    for (rights, status) in [(Permissions::WRITE, 403), (Permissions::WRITE | Permissions::TAGS, 201)] {
        let sas = Grant::to_container("box", rights, until).sign(&key());
        let request = Request::put(format!("/acc/box/new?{}", sas.expose())).header("x-ms-tags", "a=1");
        let request = request.header(BLOCK.0, BLOCK.1).header("content-length", "0").body(Body::empty());
        assert_eq!(desk.send(request.unwrap()).await.status, status, "{rights:?}");
    }
    for bad in ["a", "a=1&a=2", "a=%C3%A9", "=x"] {
        let said = desk.own("PUT", "/acc/box/bad", &[BLOCK, ("x-ms-tags", bad)], "x").await;
        assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), (400, "InvalidTags"), "{bad}");
    }
}
