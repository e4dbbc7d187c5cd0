//! The interface that carries a request to the service: over a socket, by a function call, or simulated.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Full};

/// An error of a body stream.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a request.
pub type RequestBody = http_body_util::combinators::BoxBody<Bytes, BoxError>;
/// The body of a response, read as a stream.
pub type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Sends one request and returns its response. Deadlines and retries are up to the caller.
pub trait Transport: Send + Sync {
    /// Sends the request and returns the response; its body may still be arriving.
    ///
    /// # Errors
    /// Fails if no response arrived; see [`TransportError`].
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>>;
}

/// The reason why no response arrived. Contains no URL, because a URL can carry a SAS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The service could not be reached and has not received the request.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The connection broke after the service may have received the request: its effect is unknown.
    #[error("connection lost: {0}")]
    Broken(String),
    /// This program could not build or send the request.
    #[error("cannot send the request: {0}")]
    Unsendable(String),
}

/// Returns a request body of zero bytes.
pub fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Returns a request body with these bytes.
pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}
