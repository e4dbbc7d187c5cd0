//! Sends requests over sockets, with reqwest.

use dropmill_azure_wire::{
    transport::{BoxError, RequestBody, ResponseBody, Transport, TransportError},
    uri::decode,
};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use reqwest::{Body, Client, redirect};
use std::{error::Error, io, time::Duration};

/// Timeout for opening a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which an idle connection is kept: Azure's load balancers drop it silently after four minutes.
const IDLE: Duration = Duration::from_secs(90);
/// Maximum number of idle connections per host.
const IDLE_CONNECTIONS: usize = 64;

/// Sends requests over TCP and TLS. Follows no redirects, because the Authorization header must not go to
/// another server. Uses the proxy of the environment, but never for this machine. Clones share their
/// connections.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    outside: Client,
    loopback: Client,
}

impl HttpTransport {
    /// Creates the transport. TLS needs a cryptography provider, which `main` installs once:
    /// `rustls::crypto::ring::default_provider().install_default()`.
    ///
    /// # Errors
    /// [`TransportError::Unsendable`] if no provider is installed, or TLS cannot be set up.
    pub fn new() -> Result<Self, TransportError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let reason = "no TLS provider: install rustls::crypto::ring::default_provider() first";
            return Err(TransportError::Unsendable(reason.into()));
        }
        let builder = || {
            Client::builder()
                // Without it, a small download waits 40 ms for a delayed acknowledgement.
                .tcp_nodelay(true)
                .tcp_keepalive(Duration::from_secs(60))
                .redirect(redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .user_agent(concat!("dropmill/", env!("CARGO_PKG_VERSION")))
        };
        let outside = builder().build().map_err(failure)?;
        let loopback = builder().no_proxy().build().map_err(failure)?;
        Ok(Self { outside, loopback })
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let loopback = request.uri().host().is_some_and(crate::endpoint::is_loopback);
        let client = if loopback { &self.loopback } else { &self.outside };
        let sent = sendable(request).map(|request| client.execute(request));
        Box::pin(async move {
            let answer = Response::<Body>::from(sent?.await.map_err(failure)?);
            Ok(answer.map(|body| body.map_err(|error| Box::new(failure(error)) as BoxError).boxed_unsync()))
        })
    }
}

/// Rejects a request that reqwest would change after signing: its URLs normalise paths (`a/../b`, also
/// percent-encoded).
fn sendable(request: Request<RequestBody>) -> Result<reqwest::Request, TransportError> {
    let request = request.map(Body::wrap);
    let path_and_query = request.uri().path_and_query().cloned();
    let request = reqwest::Request::try_from(request).map_err(failure)?;
    let (path, query) = (request.url().path(), request.url().query().unwrap_or_default());
    match path_and_query {
        // The signature covers decoded query values, so reqwest may encode a `'` of a link from the service.
        Some(asked) if asked.path() == path && decode(asked.query().unwrap_or_default()) == decode(query) => {
            Ok(request)
        }
        _ => Err(TransportError::Unsendable("its path has a segment that is only dots".into())),
    }
}

/// Returns the failure, without the URL.
fn failure(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let (is_connect, is_builder) = (error.is_connect(), error.is_builder());
    let mut words: Vec<String> = vec![];
    let mut refused_certificate = false;
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        let text = found.to_string();
        if !words.iter().any(|word| word.contains(&text)) {
            words.push(text);
        }
        refused_certificate |= is_refused_certificate(found);
        cause = found.source();
    }
    let words = crate::shown::shown(&words.join(": "));
    // Another attempt would get the same certificate; nothing of the request was sent.
    if is_builder || refused_certificate {
        TransportError::Unsendable(words)
    } else if is_connect {
        TransportError::Connect(words)
    } else {
        TransportError::Broken(words)
    }
}

/// An I/O error does not return its inner error from `source`.
fn is_refused_certificate(error: &(dyn Error + 'static)) -> bool {
    let error = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => inner as &(dyn Error + 'static),
        None => error,
    };
    matches!(error.downcast_ref::<rustls::Error>(), Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_azure_wire::transport::empty;

    #[test]
    fn a_rejected_certificate_is_found_inside_io_errors() {
        use rustls::{CertificateError, Error};
        let refused = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(is_refused_certificate(&io::Error::other(refused())));
        assert!(is_refused_certificate(&refused()));
        assert!(!is_refused_certificate(&io::Error::other(Error::HandshakeNotComplete)));
        assert!(!is_refused_certificate(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    }

    #[test]
    fn a_request_that_would_be_changed_is_not_sent() {
        for (address, sendable_as_it_is) in [
            ("http://h/c/a%2F..%2Fb?x=%20'", true),
            ("http://h/c/%E4?a=b&c", true),
            ("http://h", true),
            ("http://h/c/..", false),
            ("http://h/c/%2e%2E", false),
            ("http://h/c/./b", false),
        ] {
            let outcome = sendable(Request::get(address).body(empty()).unwrap());
            assert_eq!(outcome.is_ok(), sendable_as_it_is, "{address}: {outcome:?}");
        }
    }
}
