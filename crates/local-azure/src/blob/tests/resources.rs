//! Tests paths with and without `restype`: only both together name a container.

use super::*;

/// Returns the container's list of blobs and its metadata, as text.
async fn state(desk: &Desk) -> (String, String, String) {
    let facts = desk.own("GET", "/acc/box?restype=container", &[], "").await;
    let list = desk.own("GET", "/acc/box?restype=container&comp=list&include=metadata", &[], "").await;
    (list.body, facts.header("etag").to_owned(), facts.header("x-ms-lease-state").to_owned())
}

#[tokio::test]
async fn a_containers_path_without_restype_is_no_container_and_changes_nothing() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let before = state(&desk).await;
    let acquire: Headers = &[("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "-1")];
    let calls: &[(&str, &str, Headers)] = &[
        ("DELETE", "", &[]),
        ("PUT", "", &[]),
        ("PUT", "", &[("x-ms-blob-type", "BlockBlob")]),
        ("PUT", "", &[("x-ms-copy-source", "http://127.0.0.1:10000/acc/box/a")]),
        ("GET", "", &[]),
        ("HEAD", "", &[]),
        ("GET", "comp=list", &[]),
        ("GET", "comp=blobs&where=a%3D'b'", &[]),
        ("GET", "comp=acl", &[]),
        ("PUT", "comp=acl", &[]),
        ("GET", "comp=metadata", &[]),
        ("PUT", "comp=metadata", &[("x-ms-meta-k", "v")]),
        ("PUT", "comp=lease", acquire),
        ("PUT", "comp=tier", &[("x-ms-access-tier", "Cool")]),
        ("POST", "comp=batch", &[("content-type", "multipart/mixed; boundary=cut")]),
    ];
    for (method, query, headers) in calls {
        for path in ["/acc/box", "/acc/box/"] {
            for more in ["", "restype=", "restype=&comp=", "comp=", "restype=blob", "timeout=5"] {
                if more.contains("comp") && query.contains("comp") {
                    continue;
                }
                let target = format!("{path}?{query}&{more}");
                let said = desk.own(method, &target, headers, "").await;
                assert_eq!(said.status, 400, "{method} {target}: {}", said.body);
            }
        }
    }
    assert_eq!(state(&desk).await, before);
    assert_eq!(desk.own("PUT", "/acc/queue", &[], "").await.status, 400);
    assert_eq!(
        desk.own("GET", "/acc/queue?restype=container", &[], "").await.status,
        404,
        "nothing was made"
    );
}

#[tokio::test]
async fn a_blobs_path_with_a_containers_restype_is_rejected() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    for (method, target) in [
        ("DELETE", "/acc/box/a?restype=container"),
        ("PUT", "/acc/box/a?restype=container"),
        ("GET", "/acc/box/a?restype=container&comp=list"),
        ("DELETE", "/acc/box/a?restype=service"),
        ("DELETE", "/acc/box/a?restype=account"),
        ("PUT", "/acc?restype=container"),
        ("DELETE", "/acc/?restype=container"),
        ("GET", "/acc?restype=container&comp=list"),
        ("DELETE", "/acc/box?restype=account"),
    ] {
        let said = desk.own(method, target, &[("x-ms-blob-type", "BlockBlob")], "").await;
        assert!(matches!(said.status.as_u16(), 400 | 501), "{method} {target}: {}", said.status);
        assert_eq!(desk.content("a").await, "x", "{method} {target}");
    }
}

#[tokio::test]
async fn one_segment_names_a_blob_of_the_root_container_where_there_is_one() {
    let desk = Desk::new().await;
    assert_eq!(desk.own("PUT", "/acc/$root?restype=container", &[], "").await.status, 201);
    let block = [("x-ms-blob-type", "BlockBlob")];
    assert_eq!(desk.own("PUT", "/acc/Page.html", &block, "root").await.status, 201);
    for target in ["/acc/Page.html", "/acc/$root/Page.html"] {
        assert_eq!(desk.own("GET", target, &[], "").await.body, "root", "{target}");
    }
    // The name is also that of a container: the blob is meant.
    assert_eq!(desk.own("DELETE", "/acc/box", &[], "").await.header("x-ms-error-code"), "BlobNotFound");
    assert_eq!(desk.own("PUT", "/acc/box", &block, "blob").await.status, 201);
    assert_eq!(desk.own("DELETE", "/acc/box", &[], "").await.status, 202);
    assert_eq!(desk.own("GET", "/acc/box?restype=container", &[], "").await.status, 200);
    // A SAS must match the container and blob that are meant.
    let until = parse_iso("2026-07-02").unwrap();
    for (container, status) in [("$root", 200), ("box", 403)] {
        let sas = Grant::to_container(container, Permissions::READ, until).sign(&key());
        let request = Request::get(format!("/acc/Page.html?{}", sas.expose())).body(Body::empty()).unwrap();
        assert_eq!(desk.send(request).await.status, status, "{container}");
    }
    let unsigned = Request::get("/acc/Page.html").body(Body::empty()).unwrap();
    assert_eq!(desk.send(unsigned).await.status, 401);
}
