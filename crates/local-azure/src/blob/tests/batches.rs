//! Tests batch requests.

use super::*;

const KIND: (&str, &str) = ("content-type", "multipart/mixed; boundary=cut");

/// Creates a part of a batch, signed for the path of its target.
fn part(number: usize, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let (parts, _) = signed(method, target, headers, "").into_parts();
    let mut text = format!("--cut\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n");
    text += &format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    text + "\r\n"
}

/// Returns number and status of each response, in order.
fn answers(said: &Said) -> Vec<(String, u16)> {
    let ids = said.body.lines().filter_map(|line| line.strip_prefix("Content-ID: "));
    let statuses = said.body.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    ids.zip(statuses).map(|(id, status)| (id.to_owned(), status[..3].parse().unwrap())).collect()
}

#[tokio::test]
async fn each_part_has_its_own_response() {
    let desk = Desk::new().await;
    for name in ["a", "b", "c", "d"] {
        desk.put(name, "x").await;
    }
    let body = [
        part(0, "DELETE", "/acc/box/a", &[]),
        // Some clients omit the account.
        part(1, "DELETE", "/box/b", &[]),
        part(2, "DELETE", "/acc/box/none", &[]),
        part(3, "PUT", "/acc/box/d?comp=tier", &[("x-ms-access-tier", "Cool")]),
        part(4, "DELETE", "/acc/box/c", &[]).replace("SharedKey acc:", "SharedKey acc:AAAA"),
        part(5, "DELETE", "/acc/box?restype=container", &[]),
        part(6, "GET", "/acc/box/c", &[]),
        "--cut--\r\n".to_owned(),
    ];
    let said = desk.own("POST", "/acc?comp=batch", &[KIND], &body.concat()).await;
    assert_eq!(said.status, 202, "{}", said.body);
    assert_eq!(said.header("content-type"), "multipart/mixed; boundary=batchresponse");
    let wanted = [202, 202, 404, 200, 403, 501, 501];
    let wanted: Vec<_> = wanted.iter().enumerate().map(|(id, status)| (id.to_string(), *status)).collect();
    assert_eq!(answers(&said), wanted);
    assert!(said.body.contains("x-ms-error-code: BlobNotFound"), "{}", said.body);
    let left = desk.own("GET", "/acc/box?restype=container&comp=list", &[], "").await.body;
    let there: Vec<_> = ["a", "b", "c", "d"].map(|name| left.contains(&format!("<Name>{name}<"))).into();
    assert_eq!(there, [false, false, true, true]);
    assert_eq!(desk.own("HEAD", "/acc/box/d", &[], "").await.header("x-ms-access-tier"), "Cool");
}

#[tokio::test]
async fn a_batch_is_sent_to_the_account_or_to_a_container() {
    let desk = Desk::new().await;
    for (target, status) in [
        ("/acc?comp=batch", 202),
        ("/acc/?comp=batch", 202),
        ("/acc?restype=container&comp=batch", 202),
        ("/acc/box?restype=container&comp=batch", 202),
        ("/acc/box?comp=batch", 400),
        ("/acc/box/?comp=batch", 400),
        ("/acc/box/a?comp=batch", 400),
        ("/acc/box/a?restype=container&comp=batch", 400),
    ] {
        desk.put("a", "x").await;
        let body = part(0, "DELETE", "/acc/box/a", &[]) + "--cut--";
        let said = desk.own("POST", target, &[KIND], &body).await;
        assert_eq!(said.status, status, "{target}: {}", said.body);
        let left = desk.own("HEAD", "/acc/box/a", &[], "").await.status;
        assert_eq!(left, if status == 202 { 404 } else { 200 }, "{target}");
    }
}

#[tokio::test]
async fn a_batch_of_a_container_can_only_name_its_blobs() {
    let desk = Desk::new().await;
    assert_eq!(desk.own("PUT", "/acc/other?restype=container", &[], "").await.status, 201);
    desk.put("a", "x").await;
    let body = part(0, "DELETE", "/acc/box/a", &[]) + "--cut--";
    let said = desk.own("POST", "/acc/other?restype=container&comp=batch", &[KIND], &body).await;
    assert_eq!(answers(&said), [("0".to_owned(), 400)]);
    assert_eq!(desk.content("a").await, "x");
}

#[tokio::test]
async fn an_invalid_batch_does_nothing() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let good = part(0, "DELETE", "/acc/box/a", &[]);
    let table: &[(&str, (&str, &str), String)] = &[
        ("no boundary", ("content-type", "multipart/mixed"), good.clone() + "--cut--"),
        ("another kind", ("content-type", "text/plain; boundary=cut"), good.clone() + "--cut--"),
        ("no end", KIND, good.clone()),
        ("nothing", KIND, String::new()),
        ("no parts", KIND, "--cut--".into()),
        ("a header without colon", KIND, good.replace("x-ms-date:", "x-ms-date") + "--cut--"),
        ("too many", KIND, good.repeat(257) + "--cut--"),
        ("no target", KIND, good.replace(" /acc/box/a HTTP/1.1", "") + "--cut--"),
    ];
    for (what, kind, body) in table {
        let said = desk.own("POST", "/acc?comp=batch", &[*kind], body).await;
        assert_eq!(said.status, 400, "{what}: {}", said.body);
        assert_eq!(desk.content("a").await, "x", "{what}");
    }
    let unsigned = Request::post("/acc?comp=batch").header(KIND.0, KIND.1).body(Body::from(good + "--cut--"));
    assert_eq!(desk.send(unsigned.unwrap()).await.status, 401);
    assert_eq!(desk.content("a").await, "x");
}

#[tokio::test]
async fn a_batch_with_an_invalid_sas_is_not_received() {
    use dropmill_azure_wire::sas::{Grant, Permissions};
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let until = parse_iso("2026-07-02").unwrap();
    let over = parse_iso("2026-07-01").unwrap();
    let sas = |container: &str, until| Grant::to_container(container, Permissions::LIST, until).sign(&key());
    for (what, query, status) in [
        ("no SAS at all", "sig=x".to_owned(), 403),
        ("another container", sas("other", until).expose().to_owned(), 403),
        ("one that is over", sas("box", over).expose().to_owned(), 403),
        // Its permissions are checked for each part.
        ("one of the container", sas("box", until).expose().to_owned(), 202),
    ] {
        let body = part(0, "DELETE", "/acc/box/none", &[]) + "--cut--";
        let target = format!("/acc/box?restype=container&comp=batch&{query}");
        // Reading this body causes an error.
        let unread = http_body_util::StreamBody::new(futures_util::stream::once(async {
            Err::<::http_body::Frame<bytes::Bytes>, _>(std::io::Error::other("it was read"))
        }));
        let body = if status == 202 { Body::from(body) } else { Body::new(unread) };
        let said = desk.send(Request::post(target).header(KIND.0, KIND.1).body(body).unwrap()).await;
        assert_eq!(said.status, status, "{what}: {}", said.body);
    }
    assert_eq!(desk.content("a").await, "x");
}
