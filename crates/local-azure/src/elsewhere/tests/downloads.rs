//! Tests downloads from web addresses.

use super::{
    server::{Answer, Server, answer, endless, moved},
    *,
};
use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};
use tokio_rustls::rustls;

#[test]
fn a_file_is_downloaded_with_or_without_a_length() {
    let rig = Rig::new();
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let served = content.clone();
    let server = Server::start(move |path, _| match path {
        "/known?sig=secret" => answer(200, &[], &served),
        "/unknown" => endless(&served),
        _ => answer(200, &["content-type: text/plain"], b""),
    });
    assert_eq!(rig.fetch(&server.url("/known?sig=secret")).unwrap(), content);
    assert_eq!(rig.fetch(&server.url("/unknown")).unwrap(), content);
    assert_eq!(rig.fetch(&server.url("/empty#part")).unwrap(), b"");
    let head = &server.requests()[0];
    assert!(head.starts_with("GET /known?sig=secret HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("authorization") && !head.contains("referer"), "{head}");
    assert!(rig.own_calls().is_empty());
}

#[test]
fn file_metadata_of_a_blob_is_downloaded_with_it() {
    let rig = Rig::new();
    let server =
        Server::start(|_, _| answer(200, &["x-ms-meta-dropmill_file: 755 1764475200.000000005"], b"x"));
    let facts = rig.doors.fetch(&server.url("/a"), &rig.place(), &|| true).unwrap();
    assert_eq!(facts.mode, Some(0o755));
}

#[test]
fn a_password_in_an_address_is_sent_only_to_its_host() {
    let rig = Rig::new();
    let other = Server::start(|_, _| answer(200, &[], b"x"));
    let to = other.url("/other");
    let server = Server::start(move |path, _| match path {
        "/a" => moved("/b"),
        "/b" => moved(&to),
        _ => answer(403, &[], b""),
    });
    let with_password = |path: &str| server.url(path).replace("http://", "http://me:secret@");
    assert_eq!(rig.fetch(&with_password("/a")).unwrap(), b"x");
    rig.fails(&with_password("/403"));
    for head in server.requests() {
        assert!(head.contains("authorization: Basic bWU6c2VjcmV0\r\n") && !head.contains("me:"), "{head}");
    }
    let head = &other.requests()[0];
    assert!(!head.contains("authorization"), "{head}");
}

#[test]
fn a_part_of_a_file_is_not_accepted_as_the_file() {
    let rig = Rig::new();
    let server = Server::start(|_, _| answer(206, &["content-range: bytes 0-3/10"], b"0123"));
    assert!(rig.fails(&server.url("/a")).to_string().ends_with("the server responds with 206"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn redirects_are_followed_up_to_a_limit() {
    let rig = Rig::new();
    let server = Server::start(|path, _| match path {
        "/a?sig=secret" => moved("/b?sig=secret-too"),
        "/b?sig=secret-too" => answer(307, &["location: c"], b"elsewhere"),
        "/c" => answer(200, &[], b"here"),
        "/loop" => moved("/loop?sig=secret"),
        "/loop?sig=secret" => moved("/loop"),
        "/nowhere" => answer(302, &[], b""),
        "/file" => moved("file:///etc/passwd"),
        _ => answer(404, &[], b""),
    });
    assert_eq!(rig.fetch(&server.url("/a?sig=secret")).unwrap(), b"here");
    let before = server.requests().len();
    assert!(rig.fails(&server.url("/loop")).to_string().contains("at most 10 redirects"));
    assert_eq!(server.requests().len() - before, 11, "a loop is not tried again");
    for path in ["/nowhere", "/file"] {
        assert!(matches!(rig.fails(&server.url(path)), DoorError::Other(_)), "{path}");
    }
}

#[test]
fn a_missing_or_forbidden_file_is_not_retried() {
    let rig = Rig::new();
    let server = Server::start(|path, _| match path {
        "/404?sig=secret" => answer(404, &["x-ms-error-code: BlobNotFound"], b"<secret/>"),
        "/403?sig=secret" => answer(403, &["x-ms-error-code: AuthenticationFailed"], b"secret"),
        "/401?sig=secret" => answer(401, &["x-ms-error-code: a secret"], b""),
        "/409?sig=secret" => answer(409, &["x-ms-error-code: PublicAccessNotPermitted"], b""),
        _ => answer(400, &[], b""),
    });
    for (path, expected) in [
        ("/404?sig=secret", "not found: URL/404: the server responds with 404 BlobNotFound"),
        ("/403?sig=secret", "access denied: URL/403: the server responds with 403 AuthenticationFailed"),
        ("/401?sig=secret", "access denied: URL/401: the server responds with 401"),
        ("/409?sig=secret", "access denied: URL/409: the server responds with 409 PublicAccessNotPermitted"),
        ("/400?sig=secret", "URL/400: the server responds with 400"),
    ] {
        let shown = rig.fails(&server.url(path)).to_string();
        assert_eq!(shown, expected.replace("URL", &server.url("")), "{path}");
    }
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn temporary_failures_are_retried_a_few_times() {
    let rig = Rig::new();
    let server = Server::start(|path, number| match (path, number) {
        ("/soon", 0) => answer(500, &[], b""),
        ("/soon", 1) => answer(429, &["retry-after: 3600"], b""),
        ("/soon", 2) => answer(503, &["x-ms-error-code: ServerBusy"], b""),
        ("/soon", _) => answer(200, &[], b"now"),
        _ => answer(503, &["x-ms-error-code: ServerBusy"], b""),
    });
    assert_eq!(rig.fetch(&server.url("/soon")).unwrap(), b"now");
    assert_eq!(server.requests().len(), 4);
    assert!(rig.fails(&server.url("/never")).to_string().contains("503 ServerBusy"));
    assert_eq!(server.requests().len(), 4 + 5);
}

#[test]
fn an_interrupted_download_is_repeated_from_the_start() {
    let rig = Rig::new();
    let cut = || Answer::Bytes(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhalf".to_vec());
    let server = Server::start(move |path, number| match (path, number) {
        ("/once", 0) => cut(),
        ("/once", _) => answer(200, &[], b"0123456789"),
        _ => cut(),
    });
    assert_eq!(rig.fetch(&server.url("/once")).unwrap(), b"0123456789");
    assert!(rig.fails(&server.url("/always")).to_string().contains("the answer was interrupted"));
    assert_eq!(server.requests().len(), 2 + 5);
    // No process listens on the server's port any more.
    let gone = server.url("/gone?sig=secret");
    drop(server);
    assert!(rig.fails(&gone).to_string().contains("cannot connect"));
}

#[test]
fn no_file_is_longer_than_the_bound() {
    let rig = Rig::with(|limits| limits.file_bytes = 10);
    let server = Server::start(|path, _| match path {
        "/known" => answer(200, &[], b"0123456789a"),
        "/unknown" => endless(b"0123456789a"),
        _ => endless(b"0123456789"),
    });
    for path in ["/known", "/unknown"] {
        assert!(rig.fails(&server.url(path)).to_string().contains("at most 10"), "{path}");
    }
    assert_eq!(rig.fetch(&server.url("/fits")).unwrap(), b"0123456789");
}

#[test]
fn a_body_longer_than_the_disk_is_a_full_disk_before_a_byte_is_written() {
    let rig = Rig::with(|limits| limits.file_bytes = u64::MAX);
    let server = Server::start(|_, _| {
        Answer::Stall(format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", u64::MAX / 2).into())
    });
    let DoorError::Local(what) = rig.fails(&server.url("/a")) else { panic!("it is the disk") };
    assert!(what.contains("os error 28"), "{what}");
}

#[test]
fn a_stalled_download_times_out() {
    let rig = Rig::with(|limits| {
        // Long enough for the head of the response on a busy machine.
        limits.idle = Duration::from_secs(1);
        limits.delays = vec![Duration::ZERO];
    });
    let server = Server::start(|path, _| match path {
        "/head?sig=secret" => Answer::Stall(vec![]),
        _ => Answer::Stall(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhalf".to_vec()),
    });
    for (path, expected) in
        [("/head?sig=secret", "no response after 1s"), ("/body?sig=secret", "no data for 1s")]
    {
        let error = rig.fails(&server.url(path));
        assert!(matches!(&error, DoorError::TimedOut(what) if what.contains(expected)), "{path}: {error}");
    }
    assert_eq!(server.requests().len(), 4);
    let rig = Rig::with(|limits| limits.total = Duration::from_millis(50));
    let error = rig.fails(&server.url("/body"));
    assert!(
        matches!(&error, DoorError::TimedOut(what) if what.contains("not complete after 50ms")),
        "{error}"
    );
}

#[test]
fn a_caller_that_must_stop_does_not_wait_for_the_end() {
    let rig = Rig::new();
    let came = Arc::new(AtomicBool::new(false));
    let seen = came.clone();
    let server = Server::start(move |_, _| {
        seen.store(true, Ordering::Release);
        Answer::Stall(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhalf".to_vec())
    });
    let began = Instant::now();
    let go_on = || !came.load(Ordering::Acquire);
    assert_eq!(rig.doors.fetch(&server.url("/a"), &rig.place(), &go_on), Err(DoorError::Stopped));
    assert!(began.elapsed() < rig.doors.limits.idle, "{:?}", began.elapsed());
    assert!(!rig.place().exists());
}

/// Starts a server of `https://localhost` that responds with `x`; returns its certificate as PEM and the
/// number of connections.
fn over_tls() -> (Server, String, Arc<AtomicUsize>) {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let open = move |stream: TcpStream| {
        // The server ends the connection in plain text.
        let mut first = [0];
        stream.peek(&mut first).ok()?;
        if first == *b"E" {
            return Some(Box::new(stream) as Box<dyn server::Connection>);
        }
        count.fetch_add(1, Ordering::AcqRel);
        let session = rustls::ServerConnection::new(config.clone()).ok()?;
        Some(Box::new(rustls::StreamOwned::new(session, stream)) as _)
    };
    let server = Server::speaking(|_, _| answer(200, &[], b"x"), open);
    (server, certificate.cert.pem(), connections)
}

#[test]
fn an_untrusted_certificate_is_rejected_at_once() {
    let (server, _, connections) = over_tls();
    let url = server.url("/a?sig=secret").replace("http://127.0.0.1", "https://localhost");
    // The thread of a node has a small stack.
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let thread = small.spawn(move || Rig::new().fails(&url).to_string()).unwrap();
    let shown = thread.join().unwrap();
    assert!(shown.contains("invalid peer certificate: UnknownIssuer"), "{shown}");
    assert_eq!(connections.load(Ordering::Acquire), 1, "another try would meet the same certificate");
    assert!(server.requests().is_empty());
}

/// Address that `a_download_of_its_own` requests.
const URL: &str = "DROPMILL_TEST_URL";

/// Downloads an address in another process that trusts the certificates of a file: environment variables of
/// this process cannot change while other tests run.
fn download_trusting(certificates: &Path, url: &str) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let this = module_path!().split_once("::").unwrap().1;
    child.args(["--exact", &format!("{this}::a_download_of_its_own"), "--ignored", "--nocapture"]);
    child.env("SSL_CERT_FILE", certificates).env_remove("SSL_CERT_DIR").env(URL, url);
    let ended = child.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{ended:?}");
}

#[test]
fn a_certificate_of_the_users_own_is_trusted() {
    let (server, pem, _) = over_tls();
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("own.pem");
    fs::write(&certificates, pem).unwrap();
    download_trusting(&certificates, &server.url("/a").replace("http://127.0.0.1", "https://localhost"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_system_without_certificates_reaches_http_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| answer(200, &[], b"x"));
    download_trusting(&folder.path().join("none"), &server.url("/a"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
#[ignore = "a part of the tests above: its process has other certificates"]
fn a_download_of_its_own() {
    let Ok(url) = std::env::var(URL) else { return };
    assert_eq!(Rig::new().fetch(&url).unwrap(), b"x");
}

#[test]
fn an_address_that_is_not_http_is_denied() {
    let rig = Rig::new();
    for url in ["ftp://h/a", "file:///etc/passwd", "a", "", "https://"] {
        assert!(matches!(rig.fails(url), DoorError::Denied(_)), "{url}");
    }
}

/// No process listens on the service's own address, so a socket connection to it would fail.
#[test]
fn the_service_itself_is_never_reached_by_a_socket() {
    let rig = Rig::new();
    let server = Server::start(|_, _| moved("http://127.0.0.1:1/acc/in/redirected?sig=x"));
    for url in [
        "http://127.0.0.1:1/acc/in/a?sig=x",
        "http://localhost:1/acc/in/a",
        "http://[::1]:1/acc/in/a",
        "http://127.0.0.1:1/other/in/a",
        "https://127.0.0.1:1/acc/in/a",
        &server.url("/a"),
    ] {
        assert_eq!(rig.fetch(url).unwrap(), b"own", "{url}");
    }
    let container = "http://acc.blob.localhost:1/in?sig=x";
    rig.doors.list(container, "", &|| true).unwrap();
    rig.doors.store(container, &[], &|| true).unwrap();
    rig.doors.fetch_bytes(container).unwrap();
    rig.doors.store_bytes(container, &[]).unwrap();
    let calls = rig.own_calls();
    assert_eq!(calls.len(), 10, "{calls:?}");
    assert_eq!(calls[5], "fetch http://127.0.0.1:1/acc/in/redirected?sig=x");
}

#[test]
fn nodes_without_files_cannot_access_other_addresses() {
    let rig = Rig::new();
    let server = Server::start(|_, _| answer(200, &[], b"x"));
    assert!(matches!(rig.doors.fetch_bytes(&server.url("/a")), Err(DoorError::Denied(_))));
    assert!(matches!(rig.doors.store_bytes(&server.url("/a"), &[]), Err(DoorError::Denied(_))));
    assert!(server.requests().is_empty() && rig.doors.line.get().is_none(), "no client was even made");
}
