//! Tests SAS that require HTTPS.

use super::*;

#[tokio::test]
async fn a_sas_that_requires_https_is_valid_over_https_or_if_the_settings_allow_it() {
    let until = parse_iso("2026-07-02").unwrap();
    let grant = Grant::to_container("box", Permissions::READ, until);
    let (any, only) = (grant.sign(&key()), Grant { https_only: true, ..grant }.sign(&key()));
    for (scheme, allow_https_only_sas, counts) in
        [("http", false, false), ("http", true, true), ("https", false, true), ("https", true, true)]
    {
        let endpoint = format!("{scheme}://127.0.0.1:10000/acc");
        let desk =
            Desk::with(BlobSettings { endpoint: endpoint.clone(), allow_https_only_sas, ..settings() }).await;
        desk.put("a", "x").await;
        for (sas, counts) in [(&any, true), (&only, counts)] {
            let target = format!("/acc/box/a?{}", sas.expose());
            let said = desk.send(Request::get(target).body(Body::empty()).unwrap()).await;
            let expected = if counts { (200, "") } else { (403, "AuthorizationProtocolMismatch") };
            assert_eq!((said.status.as_u16(), said.header("x-ms-error-code")), expected, "{endpoint}");
            // The same applies to nodes and copies.
            let url = format!("{endpoint}/box/a?{}", sas.expose());
            assert_eq!(desk.0.door().fetch_bytes(&url).is_ok(), counts, "a node, {endpoint}");
            let headers = [("x-ms-copy-source", &*url), ("x-ms-requires-sync", "true")];
            let said = desk.own("PUT", "/acc/box/to", &headers, "").await;
            assert_eq!(said.status, if counts { 202 } else { 403 }, "a copy, {endpoint}: {}", said.body);
            let url = format!("https://acc.blob.core.windows.net/box/a?{}", sas.expose());
            let headers = [("x-ms-copy-source", &*url), ("x-ms-requires-sync", "true")];
            assert_eq!(desk.own("PUT", "/acc/box/to", &headers, "").await.status, 202, "a source over HTTPS");
        }
    }
}
