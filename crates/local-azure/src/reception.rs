//! Routers on sockets: how many clients are let in at once, how fast each must be, and who goes when there are too many.
//!
//! A client that sends half a request, or reads half an answer, and then nothing more would hold its connection for
//! ever; enough of them would keep everybody else out. So everything that a client must do has a deadline, and when all
//! connections are taken, one whose client is awaited is closed for a new one.

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

/// The address a request came from, as an extension of the request. One without came from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub std::net::IpAddr);

/// Bounds of what clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once. When a client connects and there are that many, the server closes the one that has kept it
    /// waiting longest for a request, for the rest of a head, for a body that it discards, or for more than 5 seconds
    /// for a body that it reads or with an answer; of the peer with the most connections first. So clients must be able to repeat their
    /// requests: one may be sent at the moment at which its connection is closed.
    pub connections: usize,
    /// Connections at once of one peer: an IPv4 address, or an IPv6 network of 64 bits, which is what one host has.
    /// Clients on loopback, which all have the same address, have no bound of their own.
    pub per_peer: usize,
    /// How long a connection may idle between two requests. Longer than the 90 seconds after which common clients
    /// give up an idle connection themselves: one that is closed under them fails a request.
    pub idle: Duration,
    /// How long a client may take to make a connection secret, to send the head of its first request, and to send that
    /// of each later one after its first byte.
    pub head: Duration,
    /// How long nothing of a body may arrive, or nothing of an answer be taken.
    pub silence: Duration,
    /// For how long a body may be slower than `bytes_per_second`, waits for the client summed up.
    pub grace: Duration,
    /// The least bytes of a body that arrive in a second of waiting for them, on average.
    pub bytes_per_second: u32,
    /// The most bytes of a body that nobody reads, as that of a rejected request, to receive before the answer is sent:
    /// many clients read no answer before they have sent all. A longer body is not received at all.
    pub drained: u64,
    /// How long that may take.
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
            // What official clients send in one request, unless told otherwise.
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

/// How long a client may keep the server waiting for a body, or with an answer, before its connection may be closed for
/// another one.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(5);

/// How long to wait when no connection can be accepted (no handles are left, for instance).
const BREATH: Duration = Duration::from_secs(1);

/// Connections that the kernel holds until they are accepted. While its queue is full it ignores whoever connects, who tries
/// again after a second: a burst of clients would delay all others.
const BACKLOG: u32 = 1024;

/// Listens on an address.
///
/// # Errors
/// Fails if the address is in use, or not one of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections that were closed a moment ago must not keep the next process from its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

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
    let seats = Seats::new(bounds.connections, bounds.per_peer);
    let mut clients = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(seat) = seats.take(peer.ip()).await else {
                    tracing::debug!(%peer, "a connection is closed: its peer has too many");
                    continue;
                };
                // Small answers wait 40 ms for a delayed acknowledgement without it.
                let _ = stream.set_nodelay(true);
                let (router, greeted) = (router.clone(), greet(stream));
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
            // A router is always ready: it need not be waited for.
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
