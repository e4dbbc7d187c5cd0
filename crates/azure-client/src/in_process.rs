//! Calls a service in the same process without a socket: request and response are function calls.

use bytes::Bytes;
use dropmill_azure_wire::transport::{BoxError, RequestBody, ResponseBody, Transport, TransportError};
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

type Served = BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, BoxError>;

/// Sends requests to services in the same process. Each service is identified by scheme, host and port. It
/// receives a request as from a server: path and query in the URL, the host in the Host header.
#[derive(Clone, Default)]
pub struct InProcess {
    services: BTreeMap<String, Served>,
}

impl InProcess {
    /// Creates a transport without services: every request fails as if the port were closed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the service at `url` (`http://batch.local:1`), for example an axum `Router`. Only scheme, host
    /// and port of the URL are used.
    #[must_use]
    pub fn serving<S, B>(mut self, url: &str, service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service
            .map_response(|answer: Response<B>| {
                answer.map(|body| Calm(Some(body.map_err(Into::into).boxed_unsync())).boxed_unsync())
            })
            .map_err(Into::into);
        let place = url.parse::<Uri>().ok().and_then(|uri| place(&uri)).unwrap_or_else(|| url.to_owned());
        self.services.insert(place, BoxCloneSyncService::new(service));
        self
    }
}

fn place(uri: &Uri) -> Option<String> {
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?.as_str().to_ascii_lowercase()))
}

impl Transport for InProcess {
    fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> BoxFuture<'static, Result<Response<ResponseBody>, TransportError>> {
        let place = place(request.uri()).unwrap_or_default();
        let Some(service) = self.services.get(&place).cloned() else {
            return Box::pin(async move { Err(TransportError::Connect(format!("no service at {place}"))) });
        };
        if let Err(error) = as_a_server_sees_it(&mut request) {
            return Box::pin(async move { Err(error) });
        }
        let answer: BoxFuture<'static, Result<_, BoxError>> = Box::pin(service.oneshot(request));
        Box::pin(async move {
            match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(TransportError::Broken(error.to_string())),
                // In a server, the panic would end the thread and its connection.
                Err(_) => Err(TransportError::Broken("the service panicked".into())),
            }
        })
    }
}

/// A body that ends with an error if its producer panics, so that the reader does not panic.
struct Calm(Option<ResponseBody>);

impl Body for Calm {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(context)));
        polled.unwrap_or_else(|_| {
            self.0 = None;
            Poll::Ready(Some(Err("the service panicked".into())))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

fn as_a_server_sees_it(request: &mut Request<RequestBody>) -> Result<(), TransportError> {
    let unsendable = |_| TransportError::Unsendable("its address is invalid".into());
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = None;
    if let Some(authority) = uri.authority.take()
        && !request.headers().contains_key(header::HOST)
    {
        let host = HeaderValue::from_str(authority.as_str());
        request.headers_mut().insert(header::HOST, host.expect("a URI's authority is visible ASCII"));
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(unsendable)?;
    Ok(())
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.services.keys()).finish()
    }
}
