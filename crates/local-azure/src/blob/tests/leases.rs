//! Tests leases as clients see them.

use super::*;
use dropmill_azure_wire::blob::{BlobList, ContainerList};

const OWN: &str = "0a0a0a0a-0000-4000-8000-000000000001";
const OTHER: &str = "0b0b0b0b-0000-4000-8000-000000000002";

impl Desk {
    /// Sends a lease operation on a blob (or, without a name, on the container).
    async fn lease(&self, name: &str, action: &str, headers: Headers<'_>) -> Said {
        let target = match name {
            "" => "/acc/box?restype=container&comp=lease".to_owned(),
            name => format!("/acc/box/{name}?comp=lease"),
        };
        let all: Vec<_> = [("x-ms-lease-action", action)].iter().chain(headers).copied().collect();
        self.own("PUT", &target, &all, "").await
    }

    async fn acquire(&self, name: &str, id: &str, seconds: &str) {
        let headers = [("x-ms-proposed-lease-id", id), ("x-ms-lease-duration", seconds)];
        let said = self.lease(name, "acquire", &headers).await;
        assert_eq!((said.status.as_u16(), said.header("x-ms-lease-id")), (201, id), "{}", said.body);
    }

    /// Returns state, status and duration of a lease from HEAD.
    async fn leased(&self, name: &str) -> [String; 3] {
        let target =
            if name.is_empty() { "/acc/box?restype=container".into() } else { format!("/acc/box/{name}") };
        let said = self.own("HEAD", &target, &[], "").await;
        ["x-ms-lease-state", "x-ms-lease-status", "x-ms-lease-duration"]
            .map(|header| said.header(header).into())
    }
}

fn code(said: &Said) -> (u16, &str) {
    (said.status.as_u16(), said.header("x-ms-error-code"))
}

#[tokio::test]
async fn a_lease_is_shown_from_acquire_to_release() {
    for name in ["a", ""] {
        let desk = Desk::new().await;
        desk.put("a", "x").await;
        let tag = desk.own("HEAD", "/acc/box/a", &[], "").await.header("etag").to_owned();
        assert_eq!(desk.leased(name).await, ["available", "unlocked", ""]);
        let said = desk.lease(name, "acquire", &[("x-ms-lease-duration", "15")]).await;
        assert_eq!(said.status, 201, "{}", said.body);
        let made = said.header("x-ms-lease-id").to_owned();
        assert!(crate::blob::lease::read_id(&made).as_deref() == Some(&made), "{made}");
        assert_eq!(desk.leased(name).await, ["leased", "locked", "fixed"]);
        desk.later(14);
        let renewed = desk.lease(name, "renew", &[("x-ms-lease-id", &made)]).await;
        assert_eq!((renewed.status.as_u16(), renewed.header("x-ms-lease-id")), (200, &*made));
        desk.later(14);
        assert_eq!(desk.leased(name).await, ["leased", "locked", "fixed"]);
        desk.later(1);
        assert_eq!(desk.leased(name).await, ["expired", "unlocked", ""]);
        let again = desk.lease(name, "renew", &[("x-ms-lease-id", &made)]).await;
        assert_eq!(again.status, 200, "{}", again.body);
        let both = [("x-ms-lease-id", &*made), ("x-ms-proposed-lease-id", OWN)];
        let changed = desk.lease(name, "change", &both).await;
        assert_eq!((changed.status.as_u16(), changed.header("x-ms-lease-id")), (200, OWN));
        let other = desk.lease(name, "acquire", &[("x-ms-lease-duration", "-1")]).await;
        assert_eq!(code(&other), (409, "LeaseAlreadyPresent"));
        let broken = desk.lease(name, "break", &[("x-ms-lease-break-period", "5")]).await;
        assert_eq!((broken.status.as_u16(), broken.header("x-ms-lease-time")), (202, "5"));
        assert_eq!(desk.leased(name).await, ["breaking", "locked", ""]);
        assert_eq!(
            code(&desk.lease(name, "renew", &[("x-ms-lease-id", OWN)]).await),
            (409, "LeaseIsBrokenAndCannotBeRenewed")
        );
        desk.later(5);
        assert_eq!(desk.leased(name).await, ["broken", "unlocked", ""]);
        let released = desk.lease(name, "release", &[("x-ms-lease-id", OWN)]).await;
        assert_eq!((released.status.as_u16(), released.header("x-ms-lease-id")), (200, ""));
        assert_eq!(desk.leased(name).await, ["available", "unlocked", ""]);
        assert_eq!(code(&desk.lease(name, "break", &[]).await), (409, "LeaseNotPresentWithLeaseOperation"));
        assert_eq!(desk.own("HEAD", "/acc/box/a", &[], "").await.header("etag"), tag, "a lease is no change");
    }
}

#[tokio::test]
async fn changes_of_a_leased_blob_need_the_lease() {
    let block: Headers = &[("x-ms-blob-type", "BlockBlob")];
    let list = "<BlockList></BlockList>";
    let copy: Headers = &[("x-ms-copy-source", "http://127.0.0.1:10000/acc/box/from")];
    let changes: &[(&str, &str, Headers, &str, u16)] = &[
        ("PUT", "", block, "y", 201),
        ("PUT", "", copy, "", 202),
        ("PUT", "?comp=block&blockid=QUFB", &[], "y", 201),
        ("PUT", "?comp=blocklist", &[], list, 201),
        ("PUT", "?comp=metadata", &[], "", 200),
        ("PUT", "?comp=properties", &[], "", 200),
        ("DELETE", "", &[], "", 202),
    ];
    for (method, query, headers, body, done) in changes {
        let desk = Desk::new().await;
        desk.put("from", "0").await;
        desk.put("a", "x").await;
        let target = format!("/acc/box/a{query}");
        let with = async |id: Option<&'static str>| {
            let id = id.map(|id| ("x-ms-lease-id", id));
            let all: Vec<_> = headers.iter().copied().chain(id).collect();
            let said = desk.own(method, &target, &all, body).await;
            (said.status.as_u16(), said.header("x-ms-error-code").to_owned())
        };
        let error = |code: &str| (412, code.to_owned());
        assert_eq!(with(Some(OWN)).await, error("LeaseNotPresentWithBlobOperation"), "{method} {query}");
        desk.acquire("a", OWN, "15").await;
        assert_eq!(with(None).await, error("LeaseIdMissing"), "{method} {query}");
        assert_eq!(with(Some(OTHER)).await, error("LeaseIdMismatchWithBlobOperation"), "{method} {query}");
        desk.later(15);
        assert_eq!(with(Some(OWN)).await, error("LeaseLost"), "{method} {query}");
        assert_eq!(desk.content("a").await, "x", "{method} {query}");
        desk.acquire("a", OWN, "-1").await;
        assert_eq!(with(Some(OWN)).await.0, *done, "{method} {query}");
    }
}

#[tokio::test]
async fn a_write_keeps_an_active_lease_and_removes_an_expired_one() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    desk.acquire("a", OWN, "15").await;
    let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-lease-id", OWN)];
    assert_eq!(desk.own("PUT", "/acc/box/a", &headers, "y").await.status, 201);
    assert_eq!(desk.leased("a").await, ["leased", "locked", "fixed"]);
    desk.later(15);
    desk.put("a", "z").await;
    assert_eq!(desk.leased("a").await, ["available", "unlocked", ""]);
    let lost = desk.lease("a", "renew", &[("x-ms-lease-id", OWN)]).await;
    assert_eq!(code(&lost), (409, "LeaseIdMismatchWithLeaseOperation"), "somebody else wrote meanwhile");
}

#[tokio::test]
async fn reading_needs_no_lease_but_a_named_lease_must_match() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    desk.acquire("a", OWN, "-1").await;
    for (method, query) in [("GET", ""), ("HEAD", ""), ("GET", "?comp=metadata"), ("GET", "?comp=blocklist")]
    {
        let target = format!("/acc/box/a{query}");
        for (id, status) in [(None, 200), (Some(OWN), 200), (Some(OTHER), 412)] {
            let id: Vec<_> = id.map(|id| ("x-ms-lease-id", id)).into_iter().collect();
            assert_eq!(desk.own(method, &target, &id, "").await.status, status, "{method} {query} {id:?}");
        }
    }
    // The lease does not protect its tier.
    let tier = [("x-ms-access-tier", "Cool")];
    assert_eq!(desk.own("PUT", "/acc/box/a?comp=tier", &tier, "").await.status, 200);
    let source = [("x-ms-copy-source", "http://127.0.0.1:10000/acc/box/a"), ("x-ms-source-lease-id", OTHER)];
    assert_eq!(desk.own("PUT", "/acc/box/b", &source, "").await.status, 412);
    assert_eq!(desk.own("PUT", "/acc/box/b", &source[..1], "").await.status, 202);
}

#[tokio::test]
async fn a_lease_on_a_container_prevents_only_its_deletion() {
    let desk = Desk::new().await;
    desk.acquire("", OWN, "-1").await;
    desk.put("a", "x").await;
    let container = "/acc/box?restype=container";
    assert_eq!(desk.own("PUT", "/acc/box?restype=container&comp=metadata", &[], "").await.status, 200);
    assert_eq!(desk.leased("").await, ["leased", "locked", "infinite"]);
    let other = [("x-ms-lease-id", OTHER)];
    let mismatch = (412, "LeaseIdMismatchWithContainerOperation");
    assert_eq!(code(&desk.own("GET", container, &other, "").await), mismatch);
    assert_eq!(code(&desk.own("DELETE", container, &[], "").await), (412, "LeaseIdMissing"));
    assert_eq!(code(&desk.own("DELETE", container, &other, "").await), mismatch);
    assert_eq!(desk.own("DELETE", container, &[("x-ms-lease-id", OWN)], "").await.status, 202);
    assert_eq!(desk.own("PUT", container, &[], "").await.status, 201);
    let none = desk.own("DELETE", container, &[("x-ms-lease-id", OWN)], "").await;
    assert_eq!(code(&none), (412, "LeaseNotPresentWithContainerOperation"));
}

#[tokio::test]
async fn lists_show_leases() {
    let desk = Desk::new().await;
    for name in ["a", "b", "c"] {
        desk.put(name, "x").await;
    }
    desk.acquire("a", OWN, "15").await;
    desk.acquire("b", OWN, "-1").await;
    desk.acquire("", OTHER, "-1").await;
    desk.later(20);
    let said = desk.own("GET", "/acc/box?restype=container&comp=list", &[], "").await;
    let list = BlobList::read(said.body.as_bytes()).unwrap();
    let pair = |state: &Option<String>, kind: &Option<String>| {
        format!("{} {}", state.clone().unwrap(), kind.clone().unwrap_or_default())
    };
    let seen: Vec<_> = list
        .blobs()
        .map(|blob| pair(&blob.properties.lease_state, &blob.properties.lease_duration))
        .collect();
    assert_eq!(seen, ["expired ", "leased infinite", "available "]);
    let said = desk.own("GET", "/acc?comp=list", &[], "").await;
    let list = ContainerList::read(said.body.as_bytes()).unwrap();
    assert_eq!(pair(&list.containers[0].lease_state, &list.containers[0].lease_duration), "leased infinite");
}

#[tokio::test]
async fn a_lease_is_kept_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let at = || Some(folder.path().to_owned());
    let desk = Desk::at(at()).await;
    desk.put("a", "x").await;
    desk.acquire("a", OWN, "60").await;
    desk.acquire("", OWN, "-1").await;
    drop(desk);
    let desk = Desk::at(at()).await;
    assert_eq!(desk.leased("a").await, ["leased", "locked", "fixed"]);
    assert_eq!(desk.leased("").await, ["leased", "locked", "infinite"]);
    assert_eq!(code(&desk.own("DELETE", "/acc/box/a", &[], "").await), (412, "LeaseIdMissing"));
    desk.later(60);
    assert_eq!(desk.leased("a").await, ["expired", "unlocked", ""]);
}

#[tokio::test]
async fn an_invalid_lease_operation_is_rejected() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let table: &[(&str, Headers, &str)] = &[
        ("take", &[], "InvalidHeaderValue"),
        ("acquire", &[], "MissingRequiredHeader"),
        ("acquire", &[("x-ms-lease-duration", "14")], "InvalidHeaderValue"),
        ("acquire", &[("x-ms-lease-duration", "61")], "InvalidHeaderValue"),
        ("acquire", &[("x-ms-lease-duration", "-2")], "InvalidHeaderValue"),
        (
            "acquire",
            &[("x-ms-lease-duration", "15"), ("x-ms-proposed-lease-id", "mine")],
            "InvalidHeaderValue",
        ),
        ("renew", &[], "MissingRequiredHeader"),
        ("renew", &[("x-ms-lease-id", "mine")], "InvalidHeaderValue"),
        ("change", &[("x-ms-lease-id", OWN)], "MissingRequiredHeader"),
        ("release", &[], "MissingRequiredHeader"),
        ("break", &[("x-ms-lease-break-period", "61")], "InvalidHeaderValue"),
    ];
    for (action, headers, expected) in table {
        let said = desk.lease("a", action, headers).await;
        assert_eq!(code(&said), (400, *expected), "{action} {headers:?}");
    }
    assert_eq!(
        code(&desk.own("PUT", "/acc/box/a?comp=lease", &[], "").await),
        (400, "MissingRequiredHeader")
    );
    assert_eq!(code(&desk.lease("none", "break", &[]).await), (404, "BlobNotFound"));
    let bad = desk.own("GET", "/acc/box/a", &[("x-ms-lease-id", "mine")], "").await;
    assert_eq!(code(&bad), (400, "InvalidHeaderValue"));
    assert_eq!(desk.leased("a").await, ["available", "unlocked", ""]);
}

#[tokio::test]
async fn an_output_of_a_task_does_not_replace_a_leased_blob() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    desk.acquire("a", OWN, "15").await;
    let until = parse_iso("2026-07-02").unwrap();
    let rights = dropmill_azure_wire::sas::Permissions::WRITE;
    let sas = dropmill_azure_wire::sas::Grant::to_container("box", rights, until).sign(&key());
    let url = format!("http://127.0.0.1:10000/acc/box?{}", sas.expose());
    let (door, output) = (desk.0.door(), [("a".to_owned(), b"output".to_vec())]);
    let refused = door.store_bytes(&url, &output).unwrap_err().to_string();
    assert!(refused.contains("LeaseIdMissing"), "{refused}");
    assert_eq!(desk.content("a").await, "x");
    desk.later(15);
    door.store_bytes(&url, &output).unwrap();
    assert_eq!(desk.content("a").await, "output");
}
