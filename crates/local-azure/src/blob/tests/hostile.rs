//! Tests malicious requests: they cannot reach files outside the store, and get no secret data.

use super::*;

#[tokio::test]
async fn every_path_is_only_a_key() {
    let desk = Desk::new().await;
    let table = [
        ("/acc/box/../../etc/passwd", 404),
        ("/acc/box/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/acc/box/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("/acc/box/..%5c..%5cwindows", 404),
        ("/acc/box/%252e%252e%252fetc", 404),
        ("/acc/box//etc/passwd", 404),
        ("/acc/box/a%00b", 400),
        ("/acc/box/%c0%ae%c0%ae%c0%afetc", 400),
        ("/acc/box/%ff", 400),
        ("/acc/../box/x", 400),
        ("/acc/%2e%2e/x", 400),
        ("/acc/BOX/x", 400),
        ("/acc/bo%78/x", 404),
        ("/other/box/x", 404),
        ("/accbox/x", 404),
        ("/", 404),
    ];
    for (path, status) in table {
        let said = desk.own("GET", path, &[], "").await;
        assert_eq!(said.status, status, "{path}: {}", said.body);
        assert!(!said.body.contains("root:"), "{path}");
    }
    // A blob under such a name is found under exactly this name, byte by byte.
    let names = ["%2e%2e/x", "a/..%2fx", "%252e", "C:%5Cx", "%E2%80%AE", ".", "%20"];
    for name in names {
        desk.put(name, name).await;
    }
    for name in names {
        assert_eq!(desk.content(name).await, name);
    }
    assert_eq!(desk.own("GET", "/acc/box/x", &[], "").await.status, 404);
    for name in ["a%0Ab", "%01", "%7f", "%C2%85"] {
        let said =
            desk.own("PUT", &format!("/acc/box/{name}"), &[("x-ms-blob-type", "BlockBlob")], "x").await;
        assert_eq!(
            (said.status.as_u16(), said.header("x-ms-error-code")),
            (400, "InvalidResourceName"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_signature_is_valid_for_its_request_and_for_15_minutes() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let dated = |text: &str| {
        let mut request = Request::get("/acc/box/a").body(Body::empty()).unwrap();
        key().authorize(Scheme::Storage, &mut request, parse_iso(text).unwrap());
        request
    };
    for (date, status) in [
        ("2026-07-01T12:00:00Z", 200),
        ("2026-07-01T11:46:00Z", 200),
        ("2026-07-01T12:14:00Z", 200),
        ("2026-07-01T11:44:00Z", 403),
        ("2026-07-01T12:16:00Z", 403),
        ("2020-01-01T00:00:00Z", 403),
    ] {
        assert_eq!(desk.send(dated(date)).await.status, status, "{date}");
    }
    type Change = fn(&mut Request<Body>);
    let changes: &[(&str, Change)] = &[
        ("another path", |request| *request.uri_mut() = "/acc/box/b".parse().unwrap()),
        ("another query", |request| *request.uri_mut() = "/acc/box/a?comp=metadata".parse().unwrap()),
        ("another method", |request| *request.method_mut() = Method::DELETE),
        ("a header more", |request| drop(request.headers_mut().insert("x-ms-meta-a", "b".parse().unwrap()))),
        ("another range", |request| {
            drop(request.headers_mut().insert("range", "bytes=0-1".parse().unwrap()))
        }),
        ("another date", |request| {
            let date = http_date(parse_iso("2026-07-01T12:00:01Z").unwrap());
            request.headers_mut().insert("x-ms-date", date.parse().unwrap());
        }),
        ("no date", |request| drop(request.headers_mut().remove("x-ms-date"))),
        ("another account", |request| {
            let value = request.headers()[header::AUTHORIZATION].to_str().unwrap().replace("acc:", "bcc:");
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }),
        ("a shorter signature", |request| {
            let value = request.headers()[header::AUTHORIZATION].to_str().unwrap();
            let value = value[..value.len() - 4].parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }),
        ("another scheme", |request| {
            request.headers_mut().insert(header::AUTHORIZATION, "Basic YWNjOmtleQ==".parse().unwrap());
        }),
    ];
    for (what, change) in changes {
        let mut request = signed("GET", "/acc/box/a", &[], "");
        change(&mut request);
        let said = desk.send(request).await;
        assert!(matches!(said.status.as_u16(), 400 | 401 | 403), "{what}: {}", said.status);
        assert!(!said.body.contains(KEY), "{what}");
    }
}

#[tokio::test]
async fn a_sas_without_the_right_to_replace_creates_new_blobs_only() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let until = parse_iso("2026-07-02").unwrap();
    let sas = Grant::to_container("box", Permissions::CREATE | Permissions::READ, until).sign(&key());
    let source = format!("http://127.0.0.1:10000/acc/box/a?{}", sas.expose());
    let table: &[(&str, &str, Headers, u16)] = &[
        ("PUT", "new", &[("x-ms-blob-type", "BlockBlob")], 201),
        ("PUT", "a", &[("x-ms-blob-type", "BlockBlob")], 403),
        ("PUT", "copy", &[("x-ms-copy-source", source.as_str())], 202),
        ("PUT", "a", &[("x-ms-copy-source", source.as_str())], 403),
        ("PUT", "copy", &[("x-ms-copy-source", "http://127.0.0.1:10000/acc/box/a")], 401),
        ("GET", "a", &[], 200),
        ("DELETE", "a", &[], 403),
    ];
    for (method, name, headers, status) in table {
        let mut request = Request::builder().method(*method).uri(format!("/acc/box/{name}?{}", sas.expose()));
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        let request = request.header(header::CONTENT_LENGTH, "0").body(Body::empty()).unwrap();
        let said = desk.send(request).await;
        assert_eq!(said.status, *status, "{method} {name} {headers:?}: {}", said.body);
    }
    assert_eq!(desk.content("a").await, "x");
}

/// Returns a SAS that is signed by hand; `fields` are its query parameters.
fn sas_of(fields: &str, text: &str) -> String {
    format!("{fields}&sig={}", dropmill_azure_wire::uri::encode(&key().sign(text)))
}

#[tokio::test]
async fn unsigned_response_headers_in_a_query_are_ignored_or_rejected() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let until = "2026-07-02T00:00:00Z";
    let of_account = sas_of(
        &format!("sv=2025-01-05&ss=b&srt=o&sp=r&se={until}"),
        &format!("acc\nr\nb\no\n\n{until}\n\n\n2025-01-05\n\n"),
    );
    let fields = format!("sv=2025-01-05&sr=b&sp=r&se={until}");
    let lines = format!("r\n\n{until}\n/blob/acc/box/a\n\n\n\n2025-01-05\nb\n\n\n");
    let of_service = sas_of(&fields, &format!("{lines}\n\n\n\n"));
    for (name, header) in [
        ("rscc", "cache-control"),
        ("rscd", "content-disposition"),
        ("rsce", "content-encoding"),
        ("rscl", "content-language"),
        ("rsct", "content-type"),
    ] {
        let position =
            ["rscc", "rscd", "rsce", "rscl", "rsct"].iter().position(|known| *known == name).unwrap();
        let values: Vec<_> = (0..5).map(|at| if at == position { "evil" } else { "" }).collect();
        let signed = sas_of(&format!("{fields}&{name}=evil"), &(lines.clone() + &values.join("\n")));
        for (what, query, status, is_replaced) in [
            ("an account SAS", format!("{of_account}&{name}=evil"), 200, false),
            ("a service SAS that does not sign it", format!("{of_service}&{name}=evil"), 403, false),
            ("a service SAS that signs it", signed, 200, true),
        ] {
            for method in ["GET", "HEAD"] {
                let request = Request::builder().method(method).uri(format!("/acc/box/a?{query}"));
                let said = desk.send(request.body(Body::empty()).unwrap()).await;
                assert_eq!(said.status, status, "{what}, {name}: {}", said.body);
                assert_eq!(said.header(header) == "evil", is_replaced, "{what}, {name}");
            }
        }
    }
}

#[tokio::test]
async fn xml_with_entities_or_deep_nesting_is_rejected() {
    let desk = Desk::new().await;
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><BlockList><Latest>&c;</Latest></BlockList>";
    let outside =
        "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><BlockList><Latest>&b;</Latest></BlockList>";
    let deep = "<a>".repeat(100_000);
    let many = format!("<BlockList>{}</BlockList>", "<Latest>QUFB</Latest>".repeat(50_001));
    for (what, body) in
        [("entities", bomb), ("files", outside), ("depth", &*deep), ("many", &*many), ("none", "")]
    {
        let said = desk.own("PUT", "/acc/box/a?comp=blocklist", &[], body).await;
        assert_eq!(said.status, 400, "{what}: {}", said.body);
        assert!(!said.body.contains("root:"));
    }
}
