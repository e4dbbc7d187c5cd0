//! How a request reaches the service: over a socket, by a plain call, or through a simulated wire.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty, Full};

/// Any error of a body stream.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a request on its way out.
pub type RequestBody = http_body_util::combinators::BoxBody<Bytes, BoxError>;
/// The body of an answer, read piece by piece.
pub type ResponseBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Carries one request and brings its answer. Deadlines and retries are the caller's.
pub trait Transport: Send + Sync {
    /// Sends the request; the answer's body may still be arriving when this returns.
    ///
    /// # Errors
    /// When no answer came back: see [`TransportError`].
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>>;
}

/// Why no answer came back. Holds no URL: a URL may carry a SAS, an error must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The service could not be reached, so it has not seen the request.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The connection broke after the request may have been seen: what the service did is unknown.
    #[error("connection lost: {0}")]
    Broken(String),
    /// The request could not be built or sent by this program.
    #[error("request not sendable: {0}")]
    Unsendable(String),
}

/// A request body without bytes.
pub fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A request body that is already in memory.
pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}
