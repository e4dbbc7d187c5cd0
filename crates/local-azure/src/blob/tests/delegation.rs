//! Tests the key for user delegation SAS.

use super::*;
use dropmill_azure_wire::uri::Query;

const TARGET: &str = "/acc?restype=service&comp=userdelegationkey";

fn asked(from: &str, until: &str) -> String {
    format!("<?xml version=\"1.0\"?><KeyInfo><Start>{from}</Start><Expiry>{until}</Expiry></KeyInfo>")
}

fn leaf<'a>(body: &'a str, name: &str) -> &'a str {
    body.split_once(&format!("<{name}>")).unwrap().1.split_once('<').unwrap().0
}

#[tokio::test]
async fn the_owner_gets_a_key_and_what_it_signs_is_accepted() {
    let desk = Desk::new().await;
    desk.put("a", "x").await;
    let body = asked("2026-07-01T11:00:00Z", "2026-07-01T12:10:00Z");
    let said = desk.own("POST", TARGET, &[("x-ms-version", "2025-01-05")], &body).await;
    assert_eq!(said.status, 200, "{}", said.body);
    let key = SharedKey::new("acc", &Secret::new(leaf(&said.body, "Value"))).unwrap();
    let field = |name| leaf(&said.body, name).to_owned();
    let of_key: Vec<(&str, String)> = vec![
        ("skoid", field("SignedOid")),
        ("sktid", field("SignedTid")),
        ("skt", field("SignedStart")),
        ("ske", field("SignedExpiry")),
        ("sks", field("SignedService")),
        ("skv", field("SignedVersion")),
    ];
    assert_eq!(field("SignedVersion"), "2025-01-05");
    let expires = "2026-07-02T00:00:00Z";
    let fields: Vec<&str> = of_key.iter().map(|(_, value)| value.as_str()).collect();
    let text = format!(
        "r\n\n{expires}\n/blob/acc/box\n{}\n\n\n\n\n\n2025-01-05\nc\n\n\n\n\n\n\n",
        fields.join("\n")
    );
    let query = Query::default().with("sv", "2025-01-05").with("se", expires).with("sr", "c").with("sp", "r");
    let query = of_key.iter().fold(query, |query, (name, value)| query.with(name, value));
    let query = query.with("sig", &key.sign(&text));
    let read = |method: &str| {
        let target = format!("/acc/box/a?{}", query.as_str());
        Request::builder().method(method).uri(target).body(Body::empty()).unwrap()
    };
    assert_eq!(desk.send(read("GET")).await.body, "x");
    assert_eq!(desk.send(read("DELETE")).await.status, 403);
    let door = desk.0.door();
    let url = format!("http://127.0.0.1:10000/acc/box/a?{}", query.as_str());
    assert_eq!(door.fetch_bytes(&url).unwrap(), b"x");
    desk.later(600);
    assert_eq!(desk.send(read("GET")).await.status, 403, "the key is over, the SAS is not");
}

#[tokio::test]
async fn only_the_owner_gets_a_key_for_at_most_a_week() {
    let desk = Desk::new().await;
    let good = asked("2026-07-01T11:00:00Z", "2026-07-02T12:00:00Z");
    let post = |target: &str| Request::post(target).header("content-length", good.len());
    let nobody = post(TARGET).body(Body::from(good.clone())).unwrap();
    assert_eq!(desk.send(nobody).await.status, 401);
    let bearer = post(TARGET).header("authorization", "Bearer abc").body(Body::from(good.clone())).unwrap();
    assert_eq!(desk.send(bearer).await.status, 400);
    for (from, until) in [
        ("2026-07-01T11:00:00Z", "2026-07-08T11:00:01Z"),
        ("2026-07-01T10:00:00Z", "2026-07-01T11:00:00Z"),
        ("2026-07-03T00:00:00Z", "2026-07-02T00:00:00Z"),
    ] {
        let said = desk.own("POST", TARGET, &[], &asked(from, until)).await;
        assert_eq!(
            (said.status.as_u16(), said.header("x-ms-error-code")),
            (400, "InvalidXmlNodeValue"),
            "{until}"
        );
    }
    assert_eq!(desk.own("POST", TARGET, &[], "<KeyInfo />").await.status, 400);
    let week = asked("2026-07-01T11:00:00Z", "2026-07-08T11:00:00Z");
    assert_eq!(desk.own("POST", TARGET, &[], &week).await.status, 200);
}
