//! Tests features of Azure that this service does not have: they are rejected with a code, never ignored
//! silently.

use super::*;

#[tokio::test]
async fn unsupported_features_are_rejected_with_a_code_and_change_nothing() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let calls: &[(&str, &str, Headers)] = &[
        ("PUT", "/acc?restype=service&comp=properties", &[]),
        ("PUT", "/acc/box?restype=container&comp=acl", &[]),
        ("PUT", "/acc/box?restype=container&comp=undelete", &[]),
        ("GET", "/acc/box?restype=container&comp=list&include=uncommittedblobs", &[]),
        ("PUT", "/acc/box/a?comp=snapshot", &[]),
        ("PUT", "/acc/box/a?comp=undelete", &[]),
        ("PUT", "/acc/box/a?comp=page", &[]),
        ("PUT", "/acc/box/a?comp=seal", &[]),
        ("POST", "/acc/box/a?comp=query", &[]),
        ("PUT", "/acc/box/a?comp=legalhold", &[]),
        ("PUT", "/acc/box/a?comp=immutabilityPolicies", &[]),
        ("PUT", "/acc/box/a", &[("x-ms-blob-type", "PageBlob")]),
        ("PUT", "/acc/box/a", &[("x-ms-blob-type", "BlockBlob"), ("x-ms-encryption-key", "k")]),
        ("PUT", "/acc/box/a", &[("x-ms-blob-type", "BlockBlob"), ("x-ms-encryption-scope", "s")]),
        ("PUT", "/acc/box/a", &[("x-ms-blob-type", "BlockBlob"), ("x-ms-structured-body", "XSM/1.0")]),
        ("PUT", "/acc/box/a", &[("x-ms-blob-type", "BlockBlob"), ("x-ms-legal-hold", "true")]),
        ("PUT", "/acc/box/a?comp=tier", &[("x-ms-access-tier", "Archive")]),
        ("GET", "/acc/box/a", &[("x-ms-if-tags", "a='b'")]),
        ("DELETE", "/acc/box/a", &[("x-ms-delete-snapshots", "only")]),
    ];
    for (method, target, headers) in calls {
        let said = desk.own(method, target, headers, "").await;
        let code = said.header("x-ms-error-code");
        assert_eq!((said.status.as_u16(), code), (501, "NotImplemented"), "{method} {target} {headers:?}");
        assert_eq!(desk.content("a").await, "x", "{method} {target} {headers:?}");
    }
    for query in ["snapshot=2026-07-01T12:00:00.0000000Z", "versionid=2026-07-01T12:00:00.0000000Z"] {
        assert_eq!(desk.own("GET", &format!("/acc/box/a?{query}"), &[], "").await.status, 404, "{query}");
    }
}
