//! What comes back when things go wrong.

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
async fn a_refusal_tells_what_the_service_said() {
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
        "create job j: refused with 400 InvalidPropertyValue: One of the values is wrong. \
         [PropertyName: vmSize, Reason: Too [31m big] (request req-1)"
    );
    let failure = error.failure();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Permanent, "InvalidPropertyValue"));
    assert_eq!(failure.message, error.to_string());
    assert_eq!((error.code(), error.status()), (Some("InvalidPropertyValue".into()), Some(400)));
    assert!(!error.is_not_found() && !error.is_ambiguous());
}

#[tokio::test]
async fn a_wish_to_be_left_alone_reaches_the_machines() {
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
async fn an_answer_that_is_no_error_of_batch_is_told_by_its_status() {
    for (code, body, line) in [
        (502, "<html>Bad Gateway</html>", "get job j: refused with 502 BadGateway (request req-1)"),
        (404, "", "get job j: refused with 404 NotFound (request req-1)"),
        (418, "{}", "get job j: refused with 418 Imateapot (request req-1)"),
        (599, "[1]", "get job j: refused with 599 Status599 (request req-1)"),
    ] {
        let service = Service::answering(move |_| with_body(code, &[("content-type", "text/html")], body));
        assert_eq!(service.batch().get_job("j").await.unwrap_err().to_string(), line);
    }
}

#[tokio::test]
async fn only_the_service_itself_can_say_that_something_is_gone() {
    let service = Service::answering(|_| refusal(404, "JobNotFound"));
    assert!(service.batch().delete_job("j").await.unwrap_err().is_not_found());
    let gateway = Service::answering(|_| {
        Response::builder().status(404).body("<html>no such route</html>".into()).unwrap()
    });
    let error = gateway.batch().delete_job("j").await.unwrap_err();
    assert!(!error.is_not_found());
    assert_eq!(error.to_string(), "delete job j: refused with 404 NotFound (request -)");
}

#[tokio::test]
async fn an_answer_is_no_success_for_its_status_alone() {
    type Answering = fn() -> crate::service::Answer;
    let cases: [(&str, Answering, &str); 6] = [
        (
            "another job",
            || json(200, &value!({"id": "k", "state": "active"})),
            "the id is missing or another",
        ),
        (
            "a login page",
            || with_body(200, &[("content-type", "Text/HTML; charset=utf-8")], "<html>"),
            "an HTML page",
        ),
        ("a required property is missing", || json(200, &value!({"state": "active"})), "the id is missing"),
        ("no JSON", || with_body(200, &[], "{\"id\": \"j"), "EOF while parsing"),
        ("nothing", || status(200, &[]), "EOF while parsing"),
        ("another success", || status(204, &[]), "another success than asked for"),
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
async fn a_redirect_is_refused_and_its_target_named_without_query() {
    for code in [301, 302, 307, 308] {
        let service =
            Service::answering(move |_| status(code, &[("location", "https://evil.example/x?sig=S3CRET")]));
        let error = service.batch().get_job("j").await.unwrap_err();
        let line = error.to_string();
        assert!(line.contains("not followed to https://evil.example/x"), "{line}");
        assert!(!line.contains("S3CRET"), "{line}");
        assert_eq!(error.kind(), FailureKind::Transient, "once: some gateway's");
    }
}

#[tokio::test]
async fn a_signature_not_accepted_is_explained_by_a_wrong_clock() {
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
        assert_eq!(error.kind(), FailureKind::Transient, "once is not a wrong key");
    }
    assert_eq!(now().to_string(), "2026-03-02T10:11:12Z");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline_and_not_before() {
    let service = Service::answering_later(|_| std::future::pending().boxed());
    let api = service.batch();
    let began = Instant::now();
    let (read, write) = tokio::join!(biased; api.get_job("j"), async { api.create_job(&job()).await });
    assert_eq!(began.elapsed(), Duration::from_secs(40));
    let (read, write) = (read.unwrap_err(), write.unwrap_err());
    assert_eq!(read.to_string(), "get job j: no answer within 40s");
    assert_eq!((read.kind(), write.kind()), (FailureKind::Transient, FailureKind::Ambiguous));
    assert_eq!(write.failure().code.as_str(), "TimedOut");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_covers_the_body_of_an_answer_and_of_a_refusal() {
    for code in [200, 500] {
        let service = Service::answering(move |_| with_body(code, &[], stalling(vec!["{\"id\":".into()])));
        let error = service.batch().get_job("j").await.unwrap_err();
        assert!(matches!(error, BatchError::TimedOut { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let service = Service::answering(|_| with_body(200, &[], breaking_off(vec!["{\"id\":\"j\"}".into()])));
    let error = service.batch().get_job("j").await.unwrap_err();
    assert!(matches!(&error, BatchError::Unreachable { source: TransportError::Broken(_), .. }), "{error:?}");
    assert!(error.failure().message.starts_with("get job j: no answer from the service: connection lost: "));
}

#[tokio::test]
async fn a_refusal_that_breaks_off_is_a_lost_answer_unless_its_status_says_enough() {
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
async fn a_refusal_of_blob_that_breaks_off_has_its_code_in_a_header() {
    let service = Service::answering(|_| {
        with_body(409, &[("x-ms-error-code", "ContainerAlreadyExists")], breaking_off(vec!["<Err".into()]))
    });
    assert!(service.blob().create_container("c").await.unwrap());
}

#[tokio::test]
async fn a_409_without_code_makes_the_client_look_for_its_container() {
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

/// What a client makes of refusals a second apart, and of the same after the service accepted a call.
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
async fn a_wrong_key_is_told_after_several_refusals_in_a_row_and_forgotten_with_the_first_success() {
    use FailureKind::{Permanent, Transient};
    let expected = [Transient, Transient, Transient, Transient, Permanent, Permanent, Permanent, Transient];
    assert_eq!(faults_in_a_row(|| refusal(403, "AuthenticationFailed")).await, expected);
    assert_eq!(faults_in_a_row(|| refusal(401, "NoAuthenticationInformation")).await, expected);
    let gateway = || Response::builder().status(403).body("<html>blocked</html>".into()).unwrap();
    assert_eq!(faults_in_a_row(gateway).await, expected);
    // What the service itself refuses by name needs no second time; what it is too busy for is no reason to doubt the key.
    assert_eq!(faults_in_a_row(|| refusal(403, "AccountIsDisabled")).await, [Permanent; 8]);
    assert_eq!(faults_in_a_row(|| refusal(503, "ServerBusy")).await, [Transient; 8]);
}

#[tokio::test(start_paused = true)]
async fn many_calls_refused_at_the_same_moment_are_one_doubt() {
    let service = Service::answering(|_| refusal(403, "AuthenticationFailed"));
    let batch = service.batch();
    for _ in 0..40 {
        assert_eq!(batch.get_job("j").await.unwrap_err().kind(), FailureKind::Transient);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_after_the_signature_was_checked_proves_the_key() {
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
async fn what_was_done_stays_done_when_the_rest_of_its_answer_is_lost() {
    let service = Service::answering(|_| with_body(201, &[], breaking_off(vec![])));
    service.batch().create_job(&job()).await.unwrap();
}

#[tokio::test]
async fn a_service_that_panics_breaks_its_connection_and_nothing_else() {
    let service = Service::answering(|_| panic!("boom"));
    let error = service.batch().create_job(&job()).await.unwrap_err();
    assert_eq!(
        error.failure().message,
        "create job j: no answer from the service: connection lost: the service panicked"
    );
    assert_eq!(error.kind(), FailureKind::Ambiguous);
}

#[tokio::test]
async fn a_service_that_panics_in_the_middle_of_its_answer_breaks_off() {
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
async fn nobody_listening_is_transient_whatever_was_asked() {
    let api = batch_over(Arc::new(InProcess::new()), "http://nowhere.local:1");
    for error in [api.get_job("j").await.unwrap_err(), api.create_job(&job()).await.unwrap_err()] {
        assert!(matches!(&error, BatchError::Unreachable { source: TransportError::Connect(_), .. }));
        assert_eq!((error.kind(), error.failure().code.as_str()), (FailureKind::Transient, "Unreachable"));
    }
}

/// Carries requests out and loses the first answers.
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
async fn a_read_is_made_again_once_and_a_write_never() {
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
