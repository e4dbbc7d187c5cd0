//! Routers on sockets: how many clients are let in at once, and how long each may keep silent.
//!
//! A client that sends half a request, or reads half an answer, and then nothing more would hold its connection for
//! ever; enough of them would keep everybody else out.

mod patience;
mod seats;
mod spelling;

use crate::service::Peer;
use axum::{Router, body::Body};
use hyper::{
    Request,
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use patience::{PatientBody, PatientStream};
use seats::{Seat, Seats};
pub use spelling::Spelling;
use std::{io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::Service;

/// Bounds of what clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// What happens when a client connects and there are that many.
    pub when_full: WhenFull,
    /// How long the head of a request may take, and a connection may idle before it. Longer than the 90 seconds after
    /// which common clients give up an idle connection themselves: one that is closed under them fails a request.
    pub head: Duration,
    /// How long nothing of a body may arrive, or nothing of an answer be taken.
    pub silence: Duration,
}

/// What happens when a client connects and there are as many connections as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The client waits until another connection ends.
    Wait,
    /// Of the peer with the most connections, the one goes that has waited longest for a request or for the rest of its
    /// head. So clients that only keep connections open never keep another one out. For services whose clients can repeat
    /// every request: one may be sent at the moment at which its connection is closed.
    CloseOldestIdle,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 512,
            when_full: WhenFull::Wait,
            head: Duration::from_secs(100),
            silence: Duration::from_secs(60),
        }
    }
}

/// How long to wait when no connection can be accepted (no handles are left, for instance).
const BREATH: Duration = Duration::from_secs(1);

/// A connection that is used as it is.
///
/// # Errors
/// Never.
pub async fn plain(stream: TcpStream) -> io::Result<TcpStream> {
    Ok(stream)
}

/// Serves a router on a socket; never ends by itself. Dropped, it cuts off whoever is connected. `greet` makes of a
/// connection what requests come over; it may take as long as the head of a request.
pub async fn serve<S, F>(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    greet: impl Fn(TcpStream) -> F + Clone + Send + 'static,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let seats = Seats::new(bounds.connections, bounds.when_full);
    let mut clients = JoinSet::new();
    loop {
        if bounds.when_full == WhenFull::Wait {
            // Who comes meanwhile waits in the queue of the socket.
            seats.room().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                seats.room().await;
                // Small answers wait 40 ms for a delayed acknowledgement without it.
                let _ = stream.set_nodelay(true);
                let (router, greeted) = (router.clone(), greet(stream));
                let seat = seats.take(peer.ip());
                let id = seat.id();
                let task = clients.spawn(async move {
                    match tokio::time::timeout(bounds.head, greeted).await {
                        Ok(Ok(stream)) => attend(stream, peer.ip(), router, bounds, seat).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no connection came about"),
                        Err(_) => tracing::debug!(%peer, "no connection came about in time"),
                    }
                });
                seats.served_by(id, task);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// Serves one client until it goes or exhausts the patience it is met with. Its requests carry the address it comes
/// from, which a SAS may be bound to.
async fn attend<S>(stream: S, peer: IpAddr, router: Router, bounds: Bounds, seat: Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let answer = seat.answer();
        let mut router = router.clone();
        async move {
            spelling::keep(&mut request).await;
            let request = request.map(|body| match body.is_end_stream() {
                true => Body::empty(),
                false => Body::new(PatientBody::new(body, bounds.silence)),
            });
            // A router is always ready: it need not be waited for.
            let mut response = router.call(request).await?;
            spelling::write(&mut response).await;
            Ok::<_, std::convert::Infallible>(response.map(answer))
        }
    });
    let stream = TokioIo::new(PatientStream::new(stream, bounds.silence));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.head).preserve_header_case(true);
    if let Err(error) = builder.serve_connection(stream, service).await {
        let error: io::Error = io::Error::other(error);
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
