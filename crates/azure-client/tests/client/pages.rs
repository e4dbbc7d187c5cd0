//! Tests lists of many pages, and services with invalid links.

use crate::service::{Service, json};
use dropmill_azure_client::error::BatchError;
use dropmill_lifecycle::FailureKind;
use serde_json::json as value;

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let service = Service::answering(|seen| {
        let page = seen.query.split_once("skiptoken=").map_or(0, |(_, number)| number.parse().unwrap());
        let tasks: Vec<_> =
            (0..3).map(|n| value!({"id": format!("t{}", page * 3 + n), "state": "active"})).collect();
        let mut body = value!({"value": tasks});
        if page < 3 {
            // The host is the same if only the case differs.
            let link = format!("http://Service.local:1{}?api-version=x&$skiptoken={}", seen.path, page + 1);
            body["odata.nextLink"] = link.into();
        }
        json(200, &body)
    });
    let tasks = service.batch().list_tasks("j", None, None).await.unwrap();
    let ids: Vec<String> = tasks.iter().map(|task| task.id.to_string()).collect();
    assert_eq!(ids, (0..12).map(|n| format!("t{n}")).collect::<Vec<_>>());
    // A link is requested unchanged.
    assert_eq!(service.asked()[1].query, "api-version=x&$skiptoken=1");
}

#[tokio::test]
async fn a_node_on_two_pages_is_returned_once_from_the_later_page() {
    let service = Service::answering(|seen| match seen.query.contains("skiptoken") {
        false => json(
            200,
            &value!({
                "value": [{"id": "a", "state": "creating"}, {"id": "b", "state": "idle"}],
                "odata.nextLink": format!("http://service.local:1{}?api-version=x&$skiptoken=1", seen.path)
            }),
        ),
        true => json(200, &value!({"value": [{"id": "a", "state": "idle"}, {"id": "c", "state": "idle"}]})),
    });
    let nodes = service.batch().list_nodes("p", None, None).await.unwrap();
    let seen: Vec<_> = nodes.iter().map(|node| (&*node.id, node.state.as_ref().unwrap().as_str())).collect();
    assert_eq!(seen, [("a", "idle"), ("b", "idle"), ("c", "idle")]);
}

#[tokio::test]
async fn a_list_without_entries_or_with_an_empty_link_ends() {
    for body in [value!({"value": []}), value!({"value": [], "odata.nextLink": ""}), value!({})] {
        let service = Service::answering(move |_| json(200, &body));
        assert_eq!(service.batch().list_jobs(None, None).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_page_of_another_server_is_not_requested() {
    for link in [
        "http://evil.example/jobs/j/tasks?$skiptoken=1",
        "http://service.local:2/jobs/j/tasks?$skiptoken=1",
        "https://service.local:1/jobs/j/tasks?$skiptoken=1",
        "http://service.local:1@evil.example/jobs/j/tasks?$skiptoken=1",
        "http://service.local:1.evil.example/jobs/j/tasks",
        "http://service.local:1/jobs/other/tasks?$skiptoken=1",
        "//evil.example/jobs/j/tasks",
        "/jobs/j/tasks?$skiptoken=1",
        "file:///etc/passwd",
        "not a link \n at all",
    ] {
        let service = Service::answering(move |_| json(200, &value!({"value": [], "odata.nextLink": link})));
        let error = service.batch().list_tasks("j", None, None).await.unwrap_err();
        assert!(
            matches!(&error, BatchError::BrokenAnswer { problem, .. } if problem.contains("elsewhere")),
            "{error}"
        );
        assert!(!error.to_string().contains("skiptoken"), "{error}");
        assert_eq!(service.asked().len(), 1, "{link}");
    }
}

#[tokio::test]
async fn a_list_that_links_in_a_circle_is_an_error() {
    let service = Service::answering(|seen| {
        let next = if seen.query.contains("=a") { "b" } else { "a" };
        let link = format!("http://service.local:1{}?$skiptoken={next}", seen.path);
        json(200, &value!({"value": [{"id": "t", "state": "active"}], "odata.nextLink": link}))
    });
    let error = service.batch().list_tasks("j", None, None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "list tasks of job j: response 200 is not valid: the list has no end after 3 pages (request req-1)"
    );
    assert_eq!(error.kind(), FailureKind::Transient);
    assert_eq!(service.asked().len(), 3);
}
