//! Tests the errors of failed requests.

use crate::service::{Service, batch_over, breaking_off, json, now, refusal, stalling, status, with_body};
use dropmill_azure_client::{doubt::Author, error::BatchError, in_process::InProcess};
use dropmill_azure_wire::{
    batch::JobAdd,
    transport::{RequestBody, ResponseBody, Transport, TransportError},
};
use dropmill_lifecycle::FailureKind;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::{Request, Response};
use serde_json::json as value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

fn job() -> JobAdd {
    JobAdd { id: "j".into(), ..Default::default() }
}

#[tokio::test]
async fn a_rejection_contains_the_error_of_the_service() {
    let service = Service::answering(|_| {
        let body = value!({
            "code": "InvalidPropertyValue",
            "message": {"lang": "en-US", "value": "One of the values is wrong.\nRequestId:r\nTime:t"},
            "values": [{"key": "PropertyName", "value": "vmSize"}, {"key": "Reason", "value": "Too\u{1b}[31m big"}],
        });
        json(400, &body)
    });
    let error = service.batch().create_job(&job()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "create job j: rejected with 400 InvalidPropertyValue: One of the values is wrong. \
         [PropertyName: vmSize, Reason: Too [31m big] (request req-1)"
    );
    let failure = error.failure();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Permanent, "InvalidPropertyValue"));
    assert_eq!(failure.message, error.to_string());
    assert_eq!((error.code(), error.status()), (Some("InvalidPropertyValue".into()), Some(400)));
    assert!(!error.is_not_found() && !error.is_ambiguous());
}

#[tokio::test]
async fn retry_after_reaches_the_state_machines() {
    for code in [429, 503] {
        let service = Service::answering(move |_| {
            with_body(code, &[("retry-after", "17")], r#"{"code":"ServerBusy","message":{"value":"Later."}}"#)
        });
        let failure = service.batch().create_job(&job()).await.unwrap_err().failure();
        assert_eq!(
            (failure.kind, failure.retry_after),
            (FailureKind::Transient, Some(Duration::from_secs(17)))
        );
    }
}

#[tokio::test]
async fn a_response_that_is_not_a_batch_error_is_reported_by_its_status() {
    for (code, body, line) in [
        (502, "<html>Bad Gateway</html>", "get job j: rejected with 502 BadGateway (request req-1)"),
        (404, "", "get job j: rejected with 404 NotFound (request req-1)"),
        (418, "{}", "get job j: rejected with 418 Imateapot (request req-1)"),
        (599, "[1]", "get job j: rejected with 599 Status599 (request req-1)"),
    ] {
        let service = Service::answering(move |_| with_body(code, &[("content-type", "text/html")], body));
        assert_eq!(service.batch().get_job("j").await.unwrap_err().to_string(), line);
    }
}

#[tokio::test]
async fn only_the_service_itself_can_report_that_something_does_not_exist() {
    let service = Service::answering(|_| refusal(404, "JobNotFound"));
    assert!(service.batch().delete_job("j").await.unwrap_err().is_not_found());
    let gateway = Service::answering(|_| {
        Response::builder().status(404).body("<html>no such route</html>".into()).unwrap()
    });
    let error = gateway.batch().delete_job("j").await.unwrap_err();
    assert!(!error.is_not_found());
    assert_eq!(error.to_string(), "delete job j: rejected with 404 NotFound (request -)");
}

#[tokio::test]
async fn a_success_status_alone_is_not_enough() {
    type Answering = fn() -> crate::service::Answer;
    let cases: [(&str, Answering, &str); 6] = [
        (
            "another job",
            || json(200, &value!({"id": "k", "state": "active"})),
            "the id is missing or belongs to another entity",
        ),
        (
            "a login page",
            || with_body(200, &[("content-type", "Text/HTML; charset=utf-8")], "<html>"),
            "an HTML page",
        ),
        ("a required property is missing", || json(200, &value!({"state": "active"})), "the id is missing"),
        ("no JSON", || with_body(200, &[], "{\"id\": \"j"), "EOF while parsing"),
        ("nothing", || status(200, &[]), "EOF while parsing"),
        ("another success", || status(204, &[]), "unexpected success status"),
    ];
    for (what, answer, problem) in cases {
        let service = Service::answering(move |_| answer());
        let error = service.batch().get_job("j").await.unwrap_err();
        let BatchError::BrokenAnswer { request_id, .. } = &error else { panic!("{what}: {error}") };
        assert!(error.to_string().contains(problem), "{what}: {error}");
        assert_eq!(request_id, "req-1", "{what}");
        assert_eq!(error.kind(), FailureKind::Transient, "{what}");
    }
    let hotel = Service::answering(|_| with_body(201, &[("content-type", "text/html")], "<html>"));
    let error = hotel.batch().create_job(&job()).await.unwrap_err();
    assert_eq!((error.kind(), error.failure().code.as_str()), (FailureKind::Ambiguous, "BrokenAnswer"));
}

#[tokio::test]
async fn unknown_properties_are_ignored_and_unknown_states_kept() {
    let service =
        Service::answering(|_| json(200, &value!({"id": "j", "state": "paused", "newThing": {"a": [1]}})));
    let job = service.batch().get_job("j").await.unwrap();
    assert_eq!(job.state.unwrap().as_str(), "paused");
}

#[tokio::test]
async fn a_redirect_is_rejected_and_its_target_named_without_query() {
    for code in [301, 302, 307, 308] {
        let service =
            Service::answering(move |_| status(code, &[("location", "https://evil.example/x?sig=S3CRET")]));
        let error = service.batch().get_job("j").await.unwrap_err();
        let line = error.to_string();
        assert!(line.contains("not followed to https://evil.example/x"), "{line}");
        assert!(!line.contains("S3CRET"), "{line}");
        assert_eq!(error.kind(), FailureKind::Transient, "a single one may come from a gateway");
    }
}

#[tokio::test]
async fn a_rejected_signature_is_explained_by_a_wrong_clock() {
    for (date, end) in [
        ("Mon, 02 Mar 2026 10:27:12 GMT", "; this machine's clock is 16 min behind (request req-1)"),
        ("Mon, 02 Mar 2026 09:51:12 GMT", "; this machine's clock is 20 min ahead (request req-1)"),
        ("Mon, 02 Mar 2026 10:12:12 GMT", "It is so. (request req-1)"),
    ] {
        let service = Service::answering(move |_| {
            let mut answer = refusal(403, "AuthenticationFailed");
            answer.headers_mut().insert("date", date.parse().unwrap());
            answer
        });
        let error = service.batch().get_job("j").await.unwrap_err();
        assert!(error.to_string().ends_with(end), "{error}");
        assert_eq!(error.kind(), FailureKind::Transient, "a single one does not prove a wrong key");
    }
    assert_eq!(now().to_string(), "2026-03-02T10:11:12Z");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_response_ends_at_its_timeout() {
    let service = Service::answering_later(|_| std::future::pending().boxed());
    let api = service.batch();
    let began = Instant::now();
    let (read, write) = tokio::join!(biased; api.get_job("j"), async { api.create_job(&job()).await });
    assert_eq!(began.elapsed(), Duration::from_secs(40));
    let (read, write) = (read.unwrap_err(), write.unwrap_err());
    assert_eq!(read.to_string(), "get job j: no response within 40s");
    assert_eq!((read.kind(), write.kind()), (FailureKind::Transient, FailureKind::Ambiguous));
    assert_eq!(write.failure().code.as_str(), "TimedOut");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_covers_the_body_of_a_response() {
    for code in [200, 500] {
        let service = Service::answering(move |_| with_body(code, &[], stalling(vec!["{\"id\":".into()])));
        let error = service.batch().get_job("j").await.unwrap_err();
        assert!(matches!(error, BatchError::TimedOut { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_interrupted_response_is_no_response() {
    let service = Service::answering(|_| with_body(200, &[], breaking_off(vec!["{\"id\":\"j\"}".into()])));
    let error = service.batch().get_job("j").await.unwrap_err();
    assert!(matches!(&error, BatchError::Unreachable { source: TransportError::Broken(_), .. }), "{error:?}");
    assert!(
        error.failure().message.starts_with("get job j: no response from the service: connection lost: ")
    );
}

#[tokio::test]
async fn an_interrupted_rejection_is_a_lost_response_unless_its_status_is_enough() {
    use FailureKind::{Ambiguous, Transient};
    for (code, read, once) in [
        (503, Transient, Transient),
        (429, Transient, Transient),
        (409, Transient, Ambiguous),
        (403, Transient, Ambiguous),
        (404, Transient, Ambiguous),
        (400, Transient, Ambiguous),
    ] {
        let service = Service::answering(move |_| {
            with_body(code, &[("retry-after", "3")], breaking_off(vec!["{\"code\":\"PoolEx".into()]))
        });
        let batch = service.batch();
        for (error, kind) in [
            (batch.get_job("j").await.unwrap_err(), read),
            (batch.create_job(&job()).await.unwrap_err(), once),
        ] {
            let BatchError::Refused(refused) = &error else { panic!("{code}: {error}") };
            assert_eq!((refused.author, refused.status), (Author::Lost, code));
            assert_eq!(error.kind(), kind, "{code}");
            assert_eq!(error.failure().retry_after, Some(Duration::from_secs(3)), "{code}");
        }
    }
}

#[tokio::test]
async fn an_interrupted_rejection_of_blob_has_its_code_in_a_header() {
    let service = Service::answering(|_| {
        with_body(409, &[("x-ms-error-code", "ContainerAlreadyExists")], breaking_off(vec!["<Err".into()]))
    });
    assert!(service.blob().create_container("c").await.unwrap());
}

#[tokio::test]
async fn after_a_409_without_code_the_client_checks_for_the_container() {
    for (found, outcome) in
        [(200, Ok(true)), (404, Err(FailureKind::Ambiguous)), (503, Err(FailureKind::Transient))]
    {
        let service = Service::answering(move |seen| match seen.method.as_str() {
            "PUT" => with_body(409, &[], "<html>conflict</html>"),
            _ if found == 404 => status(404, &[("x-ms-error-code", "ContainerNotFound")]),
            _ => status(found, &[]),
        });
        let created = service.blob().create_container("c").await.map_err(|error| error.kind());
        assert_eq!(created, outcome, "{found}");
    }
}

/// Returns how the client handles rejections one second apart, and the same after the service accepted a
/// request.
async fn faults_in_a_row(answer: fn() -> crate::service::Answer) -> Vec<FailureKind> {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = Service::answering(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        7 => json(200, &value!({"id": "j"})),
        _ => answer(),
    });
    let batch = service.batch();
    let mut faults = vec![];
    for _ in 0..9 {
        if let Err(error) = batch.get_job("j").await {
            faults.push(error.kind());
        }
        tokio::time::sleep(Duration::from_millis(750)).await;
    }
    faults
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_is_reported_after_several_rejections_in_a_row_and_reset_by_a_success() {
    use FailureKind::{Permanent, Transient};
    let expected = [Transient, Transient, Transient, Transient, Permanent, Permanent, Permanent, Transient];
    assert_eq!(faults_in_a_row(|| refusal(403, "AuthenticationFailed")).await, expected);
    assert_eq!(faults_in_a_row(|| refusal(401, "NoAuthenticationInformation")).await, expected);
    let gateway = || Response::builder().status(403).body("<html>blocked</html>".into()).unwrap();
    assert_eq!(faults_in_a_row(gateway).await, expected);
    // A rejection with a definite code is final at once; a service that is too busy gives no reason to doubt
    // the key.
    assert_eq!(faults_in_a_row(|| refusal(403, "AccountIsDisabled")).await, [Permanent; 8]);
    assert_eq!(faults_in_a_row(|| refusal(503, "ServerBusy")).await, [Transient; 8]);
}

#[tokio::test(start_paused = true)]
async fn many_requests_rejected_at_the_same_time_count_once() {
    let service = Service::answering(|_| refusal(403, "AuthenticationFailed"));
    let batch = service.batch();
    for _ in 0..40 {
        assert_eq!(batch.get_job("j").await.unwrap_err().kind(), FailureKind::Transient);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_after_the_signature_check_proves_the_key() {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = Service::answering(move |_| match calls.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => refusal(403, "AuthenticationFailed"),
        _ => refusal(404, "JobNotFound"),
    });
    let batch = service.batch();
    for _ in 0..20 {
        let error = batch.get_job("j").await.unwrap_err();
        assert!(error.is_not_found() || error.kind() == FailureKind::Transient, "{error}");
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

#[tokio::test]
async fn a_success_stays_a_success_when_the_rest_of_the_response_is_lost() {
    let service = Service::answering(|_| with_body(201, &[], breaking_off(vec![])));
    service.batch().create_job(&job()).await.unwrap();
}

#[tokio::test]
async fn a_panic_of_the_service_breaks_only_its_connection() {
    let service = Service::answering(|_| panic!("boom"));
    let error = service.batch().create_job(&job()).await.unwrap_err();
    assert_eq!(
        error.failure().message,
        "create job j: no response from the service: connection lost: the service panicked"
    );
    assert_eq!(error.kind(), FailureKind::Ambiguous);
}

#[tokio::test]
async fn a_panic_during_the_response_interrupts_it() {
    let service = Service::answering(|_| {
        let pieces = futures_util::stream::iter([0, 1]).map(|number| match number {
            0 => Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"{\"id\":")),
            _ => panic!("boom"),
        });
        with_body(200, &[], axum::body::Body::from_stream(pieces))
    });
    let error = service.batch().get_job("j").await.unwrap_err();
    assert!(error.failure().message.ends_with("connection lost: the service panicked"), "{error:?}");
}

#[tokio::test]
async fn a_closed_port_is_transient_for_every_request() {
    let api = batch_over(Arc::new(InProcess::new()), "http://nowhere.local:1");
    for error in [api.get_job("j").await.unwrap_err(), api.create_job(&job()).await.unwrap_err()] {
        assert!(matches!(&error, BatchError::Unreachable { source: TransportError::Connect(_), .. }));
        assert_eq!((error.kind(), error.failure().code.as_str()), (FailureKind::Transient, "Unreachable"));
    }
}

/// Carries out requests and loses the first responses.
struct Losing {
    inner: Arc<InProcess>,
    left: Arc<AtomicUsize>,
}

impl Transport for Losing {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let (answer, left) = (self.inner.send(request), self.left.clone());
        async move {
            let answer = answer.await;
            match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => Err(TransportError::Broken("reset".into())),
                Err(_) => answer,
            }
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_read_is_sent_again_once_and_a_write_never() {
    for (lost, read_calls, read_succeeds) in [(0, 1, true), (1, 2, true), (2, 2, false)] {
        let service = Service::answering(|seen| match seen.method.as_str() {
            "GET" => json(200, &value!({"id": "j"})),
            _ => status(201, &[]),
        });
        let losing = |lost: usize| {
            let left = Arc::new(AtomicUsize::new(lost));
            batch_over(Arc::new(Losing { inner: service.in_process(), left }), "http://service.local:1")
        };
        assert_eq!(losing(lost).get_job("j").await.is_ok(), read_succeeds, "{lost}");
        assert_eq!(service.asked().len(), read_calls, "{lost}");
        let written = losing(lost).create_job(&job()).await;
        assert_eq!(written.is_ok(), lost == 0, "{lost}");
        assert_eq!(service.asked().len(), read_calls + 1, "{lost}");
        if let Err(error) = written {
            assert_eq!(error.kind(), FailureKind::Ambiguous);
        }
    }
}
