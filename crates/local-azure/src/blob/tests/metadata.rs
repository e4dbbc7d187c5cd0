//! Tests names of metadata: returned as they were sent, and equal regardless of case.

use super::*;
use crate::reception::Spelling;

/// Creates a put of the owner that arrived over a socket with these names.
fn spelled(target: &str, headers: Headers<'_>, body: &str) -> Request<Body> {
    let lower: Vec<_> = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
    let lower: Vec<_> = lower.iter().map(|(name, value)| (&**name, *value)).collect();
    let mut request = signed("PUT", target, &lower, body);
    request.extensions_mut().insert(Spelling::of(headers.iter().map(|(name, _)| (*name).to_owned())));
    request
}

const NAMES: Headers<'_> = &[("x-ms-meta-FooBar", "1"), ("x-ms-meta-lower", "2"), ("x-ms-meta-_X", "3")];

#[tokio::test]
async fn names_of_metadata_are_returned_as_they_were_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::at(Some(folder.path().to_owned())).await;
    let put: Vec<_> = [("x-ms-blob-type", "BlockBlob")].iter().chain(NAMES).copied().collect();
    assert_eq!(desk.send(spelled("/acc/box/put", &put, "x")).await.status, 201);
    desk.put("set", "x").await;
    assert_eq!(desk.send(spelled("/acc/box/set?comp=metadata", NAMES, "")).await.status, 200);
    let list: Headers = &[("x-ms-meta-FooBar", "1"), ("x-ms-meta-lower", "2"), ("x-ms-meta-_X", "3")];
    let blocks = spelled("/acc/box/blocks?comp=blocklist", list, "<BlockList></BlockList>");
    assert_eq!(desk.send(blocks).await.status, 201);
    let copy = [("x-ms-copy-source", "http://127.0.0.1:10000/acc/box/put")];
    assert_eq!(desk.own("PUT", "/acc/box/copy", &copy, "").await.status, 202);
    assert_eq!(desk.send(spelled("/acc/box?restype=container&comp=metadata", NAMES, "")).await.status, 200);
    assert_eq!(desk.send(spelled("/acc/new?restype=container", NAMES, "")).await.status, 201);
    for after_restart in [false, true] {
        if after_restart {
            drop(desk);
            desk = Desk::at(Some(folder.path().to_owned())).await;
        }
        for target in [
            "/acc/box/put",
            "/acc/box/set",
            "/acc/box/blocks?comp=metadata",
            "/acc/box/copy",
            "/acc/box?restype=container",
            "/acc/new?restype=container&comp=metadata",
        ] {
            let request = signed("GET", target, &[], "");
            let answer = desk.0.router().oneshot(request).await.unwrap();
            let spelling = answer.extensions().get::<Spelling>().cloned().unwrap_or_default();
            for (name, value) in NAMES {
                assert_eq!(answer.headers()[*name], *value, "{target}");
                assert_eq!(spelling.spell(&name.to_ascii_lowercase()), *name, "{target}");
            }
        }
        for target in
            ["/acc/box?restype=container&comp=list&include=metadata", "/acc?comp=list&include=metadata"]
        {
            let list = desk.own("GET", target, &[], "").await.body;
            let names = "<_X>3</_X>";
            assert!(list.contains("<FooBar>1</FooBar>") && list.contains(names), "{target}: {list}");
        }
    }
}

#[tokio::test]
async fn a_name_in_another_case_is_the_same_name() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    // Names of requests within the process are in lower case, and setting a name again replaces its spelling.
    assert_eq!(
        desk.send(spelled("/acc/box/a?comp=metadata", &[("x-ms-meta-Foo", "1")], "")).await.status,
        200
    );
    assert_eq!(desk.own("PUT", "/acc/box/a?comp=metadata", &[("x-ms-meta-foo", "2")], "").await.status, 200);
    let list = desk.own("GET", "/acc/box?restype=container&comp=list&include=metadata", &[], "").await.body;
    assert!(list.contains("<Metadata><foo>2</foo></Metadata>"), "{list}");
    // If a name occurs twice, there is one pair with both values.
    let mut twice = signed("PUT", "/acc/box/a?comp=metadata", &[("x-ms-meta-foo", "1,2")], "");
    let headers = twice.headers_mut();
    headers.insert("x-ms-meta-foo", "1".parse().unwrap());
    headers.append("x-ms-meta-foo", "2".parse().unwrap());
    twice.extensions_mut().insert(Spelling::of(["x-ms-meta-Foo", "X-MS-META-FOO"].map(str::to_owned)));
    assert_eq!(desk.send(twice).await.status, 200);
    let list = desk.own("GET", "/acc/box?restype=container&comp=list&include=metadata", &[], "").await.body;
    assert!(list.contains("<Metadata><Foo>1,2</Foo></Metadata>"), "{list}");
}
