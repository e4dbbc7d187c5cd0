//! Serves routers on sockets: how many clients are accepted at once, how fast each must be, and which one is
//! disconnected if there are too many.
//!
//! A client that sends half a request, or reads half a response, and then stops would keep its connection for
//! ever; enough of them would block all others. So everything that a client must do has a timeout, and when
//! all connections are taken, one whose client keeps the server waiting is closed for a new one.

mod body;
mod patience;
mod seats;
mod spelling;
mod stream;

use axum::{Router, body::Body};
use body::{Leftover, PatientBody, drain};
use hyper::{
    Request,
    body::{Body as _, Incoming},
    header::EXPECT,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use patience::Pace;
use seats::{Seat, Seats};
pub use spelling::Spelling;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use stream::PatientStream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use tower::Service;

/// The address of a client, as an extension of its request. A request without one came from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub std::net::IpAddr);

/// The limits of clients.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Maximum number of connections. If a client connects and all are taken, the server closes another
    /// connection: the one that has kept it waiting longest for a request, for the rest of a head, for a body
    /// that it discards, or for more than 5 seconds for a body that it reads or while it sends a response.
    /// Connections of the peer with the most connections are closed first. So clients must be able to repeat
    /// a request: it may be sent at the moment when its connection is closed.
    pub connections: usize,
    /// Maximum number of connections of one peer: an IPv4 address, or an IPv6 network of 64 bits, which is
    /// what one host has. Clients on loopback, which all have the same address, have no separate limit.
    pub per_peer: usize,
    /// Maximum idle time of a connection between two requests. It is longer than the 90 seconds after which
    /// common clients close an idle connection themselves: a connection that the server closes may fail a
    /// request.
    pub idle: Duration,
    /// Time for the TLS handshake, for the head of the first request, and for the head of each later one
    /// after its first byte.
    pub head: Duration,
    /// Longest time without a byte of a body, or without progress in sending a response.
    pub silence: Duration,
    /// Time for which a body may be slower than `bytes_per_second`, as a sum of all waits.
    pub grace: Duration,
    /// Minimum number of bytes of a body per second of waiting, on average.
    pub bytes_per_second: u32,
    /// Maximum number of bytes to receive of an unread body, as that of a rejected request, before the
    /// response is sent: many clients read no response before they have sent everything. A longer body is not
    /// received at all.
    pub drained: u64,
    /// Maximum time for receiving it.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 512,
            per_peer: 256,
            idle: Duration::from_secs(100),
            head: Duration::from_secs(15),
            silence: Duration::from_secs(60),
            grace: Duration::from_secs(20),
            bytes_per_second: 1 << 10,
            // The default maximum of official clients for one request.
            drained: 64 << 20,
            drain: Duration::from_secs(3),
        }
    }
}

impl Bounds {
    fn pace(&self) -> Pace {
        Pace { silence: self.silence, grace: self.grace, bytes_per_second: self.bytes_per_second }
    }
}

/// Time for which a client may keep the server waiting for a body, or while a response is sent, before its
/// connection may be closed for another one.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(5);

/// Delay after a connection could not be accepted, for example because no handles are left.
const BREATH: Duration = Duration::from_secs(1);

/// Number of connections that the kernel queues until they are accepted. While the queue is full, it ignores
/// new clients, which retry after a second: a burst of clients would delay all others.
const BACKLOG: u32 = 1024;

/// Listens on an address.
///
/// # Errors
/// Fails if the address is in use, or not one of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Recently closed connections must not prevent the next process from using its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Returns a connection unchanged.
///
/// # Errors
/// It has no errors to return.
pub async fn plain(stream: TcpStream) -> io::Result<TcpStream> {
    Ok(stream)
}

/// Serves a router on a socket until dropped; then all connections are closed. `greet` prepares a new
/// connection, for example with a TLS handshake, with the timeout of a request's head.
pub async fn serve<S, F>(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    greet: impl Fn(TcpStream) -> F + Clone + Send + 'static,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let seats = Seats::new(bounds.connections, bounds.per_peer);
    let mut clients = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(seat) = seats.take(peer.ip()).await else {
                    tracing::debug!(%peer, "a connection is closed: its peer has too many");
                    continue;
                };
                // Without it, small responses wait 40 ms for a delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                let (router, greeted) = (router.clone(), greet(stream));
                let id = seat.id();
                let task = clients.spawn(async move {
                    match tokio::time::timeout(bounds.head, greeted).await {
                        Ok(Ok(stream)) => attend(stream, peer.ip(), router, bounds, seat).await,
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "cannot set up a connection"),
                        Err(_) => tracing::debug!(%peer, "cannot set up a connection in time"),
                    }
                });
                seats.served_by(id, task);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// Serves one client until it disconnects or a timeout is reached. Its requests contain its address, which a
/// SAS may be restricted to.
async fn attend<S>(stream: S, peer: IpAddr, router: Router, bounds: Bounds, seat: Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(PatientStream::new(stream, &bounds, seat.clone()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let answer = seat.answer();
        let leftover = Leftover::default();
        let waits_for_leave = request.headers().contains_key(EXPECT);
        let (mut router, seat, bounds) = (router.clone(), seat.clone(), bounds);
        async move {
            spelling::keep(&mut request).await;
            let request = request.map(|body| match body.is_end_stream() {
                true => Body::empty(),
                false => Body::new(PatientBody::new(body, bounds.pace(), seat.clone(), leftover.clone())),
            });
            // A router is always ready, so there is no need to wait for it.
            let mut response = router.call(request).await?;
            if let Some(body) = leftover.take(waits_for_leave) {
                drain(body, &bounds, &seat).await;
            }
            spelling::write(&mut response).await;
            Ok::<_, std::convert::Infallible>(response.map(answer))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.idle).preserve_header_case(true);
    if let Err(error) = builder.serve_connection(stream, service).await {
        let error: io::Error = io::Error::other(error);
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
