//! Tests the account's name in the path or in the host.

use super::*;
use crate::reception::Peer;
use dropmill_azure_wire::uri::Query;

/// Creates a request to a host, signed for it.
fn sent_to(host: &str, method: &str, target: &str, headers: Headers<'_>, body: &str) -> Request<Body> {
    let mut all = vec![("host", host)];
    all.extend(headers);
    signed(method, target, &all, body)
}

#[tokio::test]
async fn a_host_of_the_accounts_own_leads_to_the_same_blobs() {
    let desk = Desk::new().await;
    let put = [("x-ms-blob-type", "BlockBlob")];
    for (number, host) in ["acc.localhost:10000", "acc.blob.localhost:10000"].into_iter().enumerate() {
        let target = format!("/box/{number}");
        let said = desk.send(sent_to(host, "PUT", &target, &put, "x")).await;
        assert_eq!(said.status, 201, "{host}: {}", said.body);
        assert_eq!(desk.content(&number.to_string()).await, "x");
        assert_eq!(desk.send(sent_to(host, "GET", &target, &[], "")).await.body, "x");
        let list = desk.send(sent_to(host, "GET", "/?comp=list", &[], "")).await;
        assert!(list.body.contains("<Name>box</Name>"), "{}", list.body);
        // The account's segment is a container name there.
        assert_eq!(desk.send(sent_to(host, "GET", "/acc/box", &[], "")).await.status, 404);
        let source = format!("http://{host}/box/{number}");
        let copy = sent_to(host, "PUT", "/box/copy", &[("x-ms-copy-source", &source)], "");
        assert_eq!(desk.send(copy).await.status, 202, "{host}");
    }
    for host in ["other.localhost:10000", "localhost:10000"] {
        assert_eq!(desk.send(sent_to(host, "GET", "/box/0", &[], "")).await.status, 404, "{host}");
    }
}

#[tokio::test]
async fn a_sas_is_valid_under_both_addresses_and_for_nodes() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let until = parse_iso("2026-07-02").unwrap();
    let sas = Grant::to_container("box", Permissions::READ, until).sign(&key());
    let plain = Request::get(format!("/box/a?{}", sas.expose())).header("host", "acc.blob.localhost:10000");
    assert_eq!(desk.send(plain.body(Body::empty()).unwrap()).await.body, "x");
    let door = desk.0.door();
    for base in ["http://127.0.0.1:10000/acc", "http://acc.blob.localhost:10000"] {
        assert_eq!(door.fetch_bytes(&format!("{base}/box/a?{}", sas.expose())).unwrap(), b"x", "{base}");
    }
    let elsewhere = format!("http://acc.blob.localhost:10001/box/a?{}", sas.expose());
    assert!(door.fetch_bytes(&elsewhere).is_err());
    let shown =
        door.fetch_bytes("http://me:secret@127.0.0.1:10000/other/box/a?sig=secret").unwrap_err().to_string();
    assert!(shown.contains("127.0.0.1:10000") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn a_sas_for_an_ip_address_is_valid_for_connections_from_there() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let (expires, addresses) = ("2026-07-02T00:00:00Z", "192.0.2.7-192.0.2.9");
    let text = format!("r\n\n{expires}\n/blob/acc/box\n\n{addresses}\n\n2025-01-05\nc\n\n\n\n\n\n\n");
    let query = Query::default().with("sv", "2025-01-05").with("se", expires).with("sr", "c").with("sp", "r");
    let query = query.with("sip", addresses).with("sig", &key().sign(&text));
    for (from, status) in [
        (Some("192.0.2.8"), 200),
        (Some("::ffff:192.0.2.9"), 200),
        (Some("192.0.2.10"), 403),
        (Some("127.0.0.1"), 403),
        (None, 403),
    ] {
        let mut request = Request::get(format!("/acc/box/a?{}", query.as_str())).body(Body::empty()).unwrap();
        from.map(|from| request.extensions_mut().insert(Peer(from.parse().unwrap())));
        assert_eq!(desk.send(request).await.status, status, "{from:?}");
    }
}
