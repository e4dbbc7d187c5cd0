//! Tests clients of other storage services.

use super::*;

#[tokio::test]
async fn requests_for_other_services_are_rejected_with_the_name_of_the_service() {
    let desk = Desk::new().await;
    desk.put("messages", "a blob").await;
    let odata: Headers = &[("dataserviceversion", "3.0")];
    for (method, target, headers, service) in [
        (
            "PUT",
            "/acc/jobs?comp=metadata",
            &[("user-agent", "azsdk-python-storage-queue/12.9.0")] as Headers,
            "Queue",
        ),
        ("PUT", "/acc/jobs", &[("host", "acc.queue.localhost:10000")], "Queue"),
        ("POST", "/acc/jobs/messages", &[], "Queue"),
        ("POST", "/acc/Tables", &[], "Table"),
        ("GET", "/acc/?comp=list", odata, "Table"),
        ("HEAD", "/acc/box?restype=container", odata, ""),
        ("PUT", "/acc/box?resource=filesystem", &[], "Data Lake"),
        ("PATCH", "/acc/box/messages?action=append&position=0", &[], "Data Lake"),
        ("DELETE", "/acc/box/messages?resource=file&recursive=true", &[], "Data Lake"),
        ("PUT", "/acc/box?restype=share", &[], "Azure Files"),
    ] {
        let mut request = signed(method, target, headers, "");
        let said = desk.send(request).await;
        assert_eq!(
            (said.status.as_u16(), said.header("x-ms-error-code")),
            (501, "NotImplemented"),
            "{target}"
        );
        assert!(said.body.contains(service), "{target}: {}", said.body);
        // For any client; a signature for another service is of no use here.
        request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
        headers.iter().for_each(|(name, value)| {
            let name = ::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        });
        assert_eq!(desk.send(request).await.status, 501, "{target}");
    }
    assert_eq!(desk.content("messages").await, "a blob");
}

#[tokio::test]
async fn the_account_has_a_flat_namespace() {
    let desk = Desk::new().await;
    let said = desk.send(signed("HEAD", "/acc/box/?action=getAccessControl&upn=false", &[], "")).await;
    assert_eq!(
        (said.status.as_u16(), said.header("x-ms-error-code")),
        (400, "HierarchicalNamespaceNotEnabled")
    );
}
