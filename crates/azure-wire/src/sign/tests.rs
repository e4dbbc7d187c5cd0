use super::*;
use bytes::Bytes;
use http::Request;
use http_body_util::{Empty, Full};
use proptest::prelude::*;

const DATE: &str = "Mon, 02 Mar 2026 10:11:12 GMT";
const STORAGE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

fn batch_key() -> SharedKey {
    SharedKey::new("devacct", &Secret::new("YmF0Y2gtZGV2LWFjY291bnQta2V5LTAxMjM0NTY3ODk=")).unwrap()
}

fn storage_key() -> SharedKey {
    SharedKey::new("devstoreaccount1", &Secret::new(STORAGE_KEY)).unwrap()
}

fn now() -> Timestamp {
    parse_http_date(DATE).unwrap()
}

/// Returns an unsigned request with these headers.
fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

struct Example {
    method: &'static str,
    uri: &'static str,
    headers: &'static [(&'static str, &'static str)],
    text: String,
    signature: &'static str,
}

/// Returns the worked examples of the protocol: computed by hand and equal to those of the official signers.
fn batch_examples() -> Vec<Example> {
    let dated = format!("ocp-date:{DATE}\n");
    let bare = "\n".repeat(12);
    let written = |method: &str, path: &str| {
        format!("{method}\n\n\n0\n\n\n\n\n\n\n\n\n{dated}/devacct{path}\napi-version:")
    };
    vec![
        Example {
            method: "GET",
            uri: "http://h/jobs/job1/tasks?api-version=2024-02-01.19.0&$filter=state%20eq%20%27completed%27\
                  &$select=id%2CexecutionInfo&maxresults=10&timeout=30",
            headers: &[],
            text: format!(
                "GET{bare}{dated}/devacct/jobs/job1/tasks\n$filter:state eq 'completed'\n$select:id,executionInfo\n\
                 api-version:2024-02-01.19.0\nmaxresults:10\ntimeout:30"
            ),
            signature: "PbFFy7/26Ng/GgcUeM+/9g6or7wIpMotUypZiKaM+Aw=",
        },
        Example {
            method: "POST",
            uri: "http://h/jobs?api-version=2024-02-01.19.0",
            headers: &[
                ("content-length", "47"),
                ("content-type", "application/json; odata=minimalmetadata; charset=utf-8"),
            ],
            text: format!(
                "POST\n\n\n47\n\napplication/json; odata=minimalmetadata; charset=utf-8\n\n\n\n\n\n\n{dated}\
                 /devacct/jobs\napi-version:2024-02-01.19.0"
            ),
            signature: "IzQEvcujXPibV692g/daa4lRY+MjHovPlmqtUto3+jU=",
        },
        Example {
            method: "DELETE",
            uri: "http://h/jobs/job1?api-version=2024-02-01.19.0",
            headers: &[("content-length", "0")],
            text: written("DELETE", "/jobs/job1") + "2024-02-01.19.0",
            signature: "W1jg5c6opv4UNjCVkkNrFw90wRudR5tb+0OcwTh4d+U=",
        },
        Example {
            method: "GET",
            uri: "http://h/jobs/job1/tasks/t1/files/wd%2Fout.txt?api-version=2024-02-01.19.0",
            headers: &[("ocp-range", "bytes=0-10")],
            text: format!(
                "GET{bare}{dated}ocp-range:bytes=0-10\n/devacct/jobs/job1/tasks/t1/files/wd%2Fout.txt\n\
                 api-version:2024-02-01.19.0"
            ),
            signature: "O31sTzDpqu+gjr9yynBecJZAWOyMkRVNw20EMT1xFbw=",
        },
        Example {
            method: "GET",
            uri: "http://h/jobs/job1/tasks?$filter=state%20eq%20%27completed%27&$select=id,executionInfo\
                  &maxresults=10&timeOut=20&api-version=2025-06-01",
            headers: &[],
            text: format!(
                "GET{bare}{dated}/devacct/jobs/job1/tasks\n$filter:state eq 'completed'\n$select:id,executionInfo\n\
                 api-version:2025-06-01\nmaxresults:10\ntimeOut:20"
            ),
            signature: "hvO612C9BfG+k7pQ5dq2M9VwwtPRGMJoOagxdvoszvc=",
        },
        Example {
            method: "POST",
            uri: "http://h/jobs/job1/tasks/t1/terminate?api-version=2025-06-01",
            headers: &[("content-length", "0")],
            text: written("POST", "/jobs/job1/tasks/t1/terminate") + "2025-06-01",
            signature: "WTAubcIR27CF1xdzTFC2S+qxqB6fX/os4OCX/SLXcqQ=",
        },
    ]
}

fn storage_examples() -> Vec<Example> {
    let headers = format!("x-ms-date:{DATE}\nx-ms-version:2025-01-05\n/devstoreaccount1/devstoreaccount1/c1");
    vec![
        Example {
            method: "PUT",
            uri: "http://h/devstoreaccount1/c1/dir%20a/b.txt",
            headers: &[
                ("content-length", "5"),
                ("content-type", "application/octet-stream"),
                ("if-none-match", "*"),
                ("x-ms-version", "2025-01-05"),
                ("x-ms-blob-type", "BlockBlob"),
            ],
            text: format!(
                "PUT\n\n\n5\n\napplication/octet-stream\n\n\n\n*\n\n\nx-ms-blob-type:BlockBlob\n{headers}/dir%20a/b.txt"
            ),
            signature: "9H/igebpw1lcgbOhO+s6G1/lFZMLABc8a9W1jg/0qAg=",
        },
        Example {
            method: "GET",
            uri: "http://h/devstoreaccount1/c1?restype=container&comp=list&prefix=dir%20a%2F&maxresults=5",
            headers: &[("x-ms-version", "2025-01-05")],
            text: format!(
                "GET{}{headers}\ncomp:list\nmaxresults:5\nprefix:dir a/\nrestype:container",
                "\n".repeat(12)
            ),
            signature: "wtBNuSje5fuZHQl13rpL4Wf4cNx1/AM5OH1pEWRyfYI=",
        },
    ]
}

#[test]
fn the_worked_examples_are_signed_and_verified() {
    let schemes = [
        (Scheme::Batch, batch_key(), batch_examples()),
        (Scheme::Storage, storage_key(), storage_examples()),
    ];
    for (scheme, key, examples) in schemes {
        for example in examples {
            let mut request = request(example.method, example.uri, example.headers);
            request.headers_mut().insert(scheme.date_header(), HeaderValue::from_static(DATE));
            assert_eq!(key.string_to_sign(scheme, &request), example.text);
            assert_eq!(key.sign(&example.text), example.signature);
            let value = format!("SharedKey {}:{}", key.account(), example.signature);
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(key.verify(scheme, &request, now()), Ok(()), "{}", example.uri);
        }
    }
}

#[test]
fn authorize_sets_date_length_and_signature() {
    let build = |method: &str| {
        Request::builder().method(method).uri("http://h/jobs/job1?api-version=2024-02-01.19.0")
    };
    let key = batch_key();

    let mut delete = build("DELETE").body(Empty::<Bytes>::new()).unwrap();
    key.authorize(Scheme::Batch, &mut delete, now());
    assert_eq!(delete.headers()["ocp-date"], DATE);
    assert_eq!(delete.headers()["content-length"], "0");
    let expected = "SharedKey devacct:W1jg5c6opv4UNjCVkkNrFw90wRudR5tb+0OcwTh4d+U=";
    assert_eq!(delete.headers()["authorization"], expected);
    assert!(!format!("{delete:?}").contains("W1jg5c6opv4"), "the signature shows in Debug");

    let mut get = build("GET").body(Empty::<Bytes>::new()).unwrap();
    key.authorize(Scheme::Batch, &mut get, now());
    assert!(!get.headers().contains_key("content-length"));

    let mut post = build("POST").body(Full::new(Bytes::from_static(b"{}"))).unwrap();
    key.authorize(Scheme::Batch, &mut post, now());
    assert_eq!(post.headers()["content-length"], "2");
    let later = now() + Duration::from_secs(60);
    key.authorize(Scheme::Batch, &mut post, later);
    assert_eq!(key.verify(Scheme::Batch, &post, later), Ok(()));
}

/// Signs a request over a changed text, as another library would.
fn signed_over(
    scheme: Scheme,
    mut request: Request<()>,
    text: impl Fn(&str) -> String,
) -> Result<(), AuthError> {
    let key = if scheme == Scheme::Batch { batch_key() } else { storage_key() };
    request.headers_mut().insert(scheme.date_header(), HeaderValue::from_static(DATE));
    let ours = key.string_to_sign(scheme, &request);
    let value = format!("SharedKey {}:{}", key.account(), key.sign(&text(&ours)));
    request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
    key.verify(scheme, &request, now())
}

#[test]
fn every_known_signing_variant_is_accepted_and_no_other() {
    let batch = |uri: &str| request("DELETE", uri, &[]);
    let timed = "http://h/jobs?timeOut=20&Api-version=1";
    assert_eq!(signed_over(Scheme::Batch, batch(timed), str::to_owned), Ok(()));
    let lower = |text: &str| text.replace("Api-version:1\ntimeOut:20", "api-version:1\ntimeout:20");
    assert_eq!(signed_over(Scheme::Batch, batch(timed), lower), Ok(()));
    let mixed = |text: &str| text.replace("timeOut", "timeout");
    assert!(
        signed_over(Scheme::Batch, batch(timed), mixed).is_err(),
        "only one of two names is in lower case"
    );

    let spaced = "http://h/jobs?$filter=id+eq+%27a%2B%27";
    assert_eq!(
        signed_over(Scheme::Batch, batch(spaced), |text| text.replace("id+eq+'a+'", "id eq 'a+'")),
        Ok(())
    );
    assert!(
        signed_over(Scheme::Batch, batch(spaced), |text| text.replace("id+eq+'a+'", "id eq 'a '")).is_err()
    );

    let no_zero = |text: &str| text.replacen("\n0\n", "\n\n", 1);
    assert_eq!(signed_over(Scheme::Batch, batch("http://h/jobs"), no_zero), Ok(()));
    let lower_without_zero = |text: &str| no_zero(&lower(text));
    assert_eq!(signed_over(Scheme::Batch, batch(timed), lower_without_zero), Ok(()));

    let meta = [("x-ms-meta-a_b", "1"), ("x-ms-meta-a0", "2"), ("content-length", "0")];
    let bytes = |text: &str| {
        let ours = "x-ms-meta-a_b:1\nx-ms-meta-a0:2";
        assert!(text.contains(ours), "{text}");
        text.replace(ours, "x-ms-meta-a0:2\nx-ms-meta-a_b:1")
    };
    assert_eq!(signed_over(Scheme::Storage, request("PUT", "http://h/c", &meta), bytes), Ok(()));
    let zero = |text: &str| text.replacen("PUT\n\n\n\n", "PUT\n\n\n0\n", 1);
    assert!(signed_over(Scheme::Storage, request("PUT", "http://h/c", &meta), zero).is_err());
}

#[test]
fn the_schemes_sign_queries_differently() {
    let query = "http://h/c?B=2&a=1&b=1&include=&flag";
    let batch = batch_key().string_to_sign(Scheme::Batch, &request("GET", query, &[]));
    assert!(batch.ends_with("/devacct/c\nB:2\na:1\nb:1"), "{batch}");
    let storage = storage_key().string_to_sign(Scheme::Storage, &request("GET", query, &[]));
    assert!(storage.ends_with("/devstoreaccount1/c\na:1\nb:1,2\nflag:\ninclude:"), "{storage}");
    let twice = batch_key().string_to_sign(Scheme::Batch, &request("GET", "http://h/c?a=2&a=1", &[]));
    assert!(twice.ends_with("/devacct/c\na:2"), "{twice}");
}

#[test]
fn the_date_slot_is_empty_when_the_scheme_has_its_own_date() {
    let dates = [("date", "Tue, 03 Mar 2026 10:11:12 GMT"), ("x-ms-date", DATE)];
    let text = storage_key().string_to_sign(Scheme::Storage, &request("GET", "http://h/c", &dates));
    assert!(!text.contains("Tue"), "{text}");
    let text = storage_key().string_to_sign(Scheme::Storage, &request("GET", "http://h/c", &dates[..1]));
    assert!(text.starts_with("GET\n\n\n\n\n\nTue, 03 Mar"), "{text}");
}

#[test]
fn an_unauthenticated_request_is_rejected_with_the_reason() {
    let signed = || {
        let mut request = Request::get("http://h/jobs?api-version=1").body(Empty::<Bytes>::new()).unwrap();
        batch_key().authorize(Scheme::Batch, &mut request, now());
        request
    };
    let check =
        |request: &Request<Empty<Bytes>>, now| batch_key().verify(Scheme::Batch, request, now).unwrap_err();
    let with = |value: &str| {
        let mut request = signed();
        request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        check(&request, now())
    };
    let mut unsigned = signed();
    unsigned.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(check(&unsigned, now()), AuthError::Missing);
    for malformed in ["SharedKey", "SharedKey ", "SharedKey devacct", "SharedKey devacct:", "SharedKey :AAAA"]
    {
        assert_eq!(with(malformed), AuthError::Malformed, "{malformed}");
    }
    for kind in ["Bearer", "SharedKeyLite"] {
        assert_eq!(with(&format!("{kind} devacct:AAAA")), AuthError::OtherKind { kind: kind.into() });
    }
    assert_eq!(with("SharedKey other:AAAA"), AuthError::OtherAccount { named: "other".into() });
    assert!(matches!(with("SharedKey devacct:AAAA"), AuthError::WrongSignature { .. }));
    assert!(matches!(with("SharedKey devacct:not base64!"), AuthError::WrongSignature { .. }));

    let mut dateless = signed();
    dateless.headers_mut().remove("ocp-date");
    assert_eq!(check(&dateless, now()), AuthError::NoDate);
    for late in [true, false] {
        let skewed = |seconds: u64| {
            let apart = Duration::from_secs(seconds);
            if late { now() + apart } else { now() - apart }
        };
        assert_eq!(batch_key().verify(Scheme::Batch, &signed(), skewed(900)), Ok(()));
        assert_eq!(check(&signed(), skewed(901)), AuthError::DateTooFar { date: DATE.into() });
    }
}

#[test]
fn a_signature_error_shows_the_signed_text_in_its_detail_but_not_in_debug() {
    let mut request =
        request("GET", "http://h/c?x=1", &[("x-ms-copy-source", "http://h/c?sig=S3"), ("x-ms-date", DATE)]);
    request.headers_mut().insert(header::AUTHORIZATION, "SharedKey devstoreaccount1:AAAA".parse().unwrap());
    let error = storage_key().verify(Scheme::Storage, &request, now()).unwrap_err();
    assert_eq!((error.status(), error.code(Scheme::Storage)), (403, "AuthenticationFailed"));
    let detail = error.detail();
    assert!(
        detail.starts_with("The MAC signature found in the HTTP request 'AAAA' is not the same as"),
        "{detail}"
    );
    assert!(detail.contains("following string to sign: 'GET\n"), "{detail}");
    assert!(detail.contains("x-ms-copy-source:http://h/c?sig=S3\n"), "{detail}");
    assert!(!format!("{error:?} {error}").contains("S3"));
}

#[test]
fn keys_must_be_base64_and_are_hidden_in_debug() {
    assert_eq!(
        SharedKey::new("a", &Secret::new("not base64")).unwrap_err(),
        BadKey::NotBase64 { account: "a".into() }
    );
    for name in ["", "a b", "a:b", "ä", "a\n"] {
        assert_eq!(
            SharedKey::new(name, &Secret::new("AAAA")).unwrap_err(),
            BadKey::NotAName { account: name.into() }
        );
    }
    assert_eq!(format!("{:?}", batch_key()), "SharedKey(devacct)");
}

proptest! {
    #[test]
    fn no_header_value_makes_verification_panic_or_succeed(
        authorization in proptest::collection::vec(32_u8..255, 0..40),
        shared in any::<bool>(),
        date in "[A-Za-z0-9:, ]{0,30}",
    ) {
        let mut request = request("PUT", "http://h/c?%%=%f&&=+", &[("ocp-date", &date)]);
        let prefix: &[u8] = if shared { b"SharedKey devacct:" } else { b"" };
        if let Ok(value) = HeaderValue::from_bytes(&[prefix, &authorization].concat()) {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        prop_assert!(batch_key().verify(Scheme::Batch, &request, now()).is_err());
        request.headers_mut().insert("ocp-date", HeaderValue::from_static(DATE));
        prop_assert!(batch_key().verify(Scheme::Batch, &request, now()).is_err());
    }

    #[test]
    fn a_signed_request_is_accepted_and_any_change_is_detected(
        path in "/[a-z0-9%/.-]{0,20}",
        pairs in proptest::collection::vec(("[a-zA-Z$-]{1,8}", ".{0,12}"), 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..40),
        storage in any::<bool>(),
        method in prop_oneof![Just("GET"), Just("PUT"), Just("POST"), Just("DELETE"), Just("PATCH"), Just("HEAD")],
    ) {
        let (scheme, key) = if storage { (Scheme::Storage, storage_key()) } else { (Scheme::Batch, batch_key()) };
        let query = pairs.iter().fold(crate::uri::Query::default(), |query, (name, value)| query.with(name, value));
        let uri = format!("http://h{path}?{}", query.as_str());
        let mut request = Request::builder().method(method).uri(&uri).body(Full::new(Bytes::from(body))).unwrap();
        key.authorize(scheme, &mut request, now());
        prop_assert_eq!(key.verify(scheme, &request, now()), Ok(()));

        *request.uri_mut() = format!("http://h{path}x?{}", query.as_str()).parse().unwrap();
        prop_assert!(key.verify(scheme, &request, now()).is_err());
        *request.uri_mut() = format!("{uri}&extra=1").parse().unwrap();
        prop_assert!(key.verify(scheme, &request, now()).is_err());
        *request.uri_mut() = uri.parse().unwrap();
        *request.method_mut() = Method::OPTIONS;
        prop_assert!(key.verify(scheme, &request, now()).is_err());
    }
}
