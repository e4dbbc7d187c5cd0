//! The open connections, and which one is closed if there are too many.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, timeout},
};

/// Interval for checking whether a connection can be closed, if none could.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The places for connections.
pub struct Seats {
    most: usize,
    per_peer: usize,
    taken: Mutex<Taken>,
    /// A connection ended or became idle.
    changed: Notify,
}

#[derive(Default)]
struct Taken {
    connections: u64,
    by_id: BTreeMap<u64, Connection>,
}

struct Connection {
    peer: IpAddr,
    /// Number of received requests.
    requests: u64,
    is_answering: bool,
    /// Time from which it may be closed for another one; `None` while the server is not waiting for its
    /// client.
    gives_way_from: Option<Instant>,
    task: Option<AbortHandle>,
}

/// The place of a connection, which is free again when this is dropped.
pub struct Seat {
    id: u64,
    seats: Arc<Seats>,
}

/// A guard: while it exists, a request of the connection is being processed.
struct Answering(Arc<Seat>);

impl Seats {
    /// Creates this many places, and this many per peer.
    pub fn new(most: usize, per_peer: usize) -> Arc<Self> {
        let (most, per_peer) = (most.max(1), per_peer.max(1));
        Arc::new(Self { most, per_peer, taken: Mutex::default(), changed: Notify::new() })
    }

    /// Takes a place for a connection, which is idle at first. If all are taken, closes another connection or
    /// waits until one can be closed. Returns `None` if the peer has too many connections and all are busy.
    pub async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Seat>> {
        let peer = peer_of(address);
        loop {
            let changed = self.changed.notified();
            {
                let mut taken = self.lock();
                match decide(&taken.facts(), peer, self.most, self.per_peer, Instant::now()) {
                    Decision::Take => return Some(self.seat(&mut taken, peer)),
                    Decision::Close(id) => {
                        tracing::debug!(
                            id,
                            "a connection whose client is awaited is closed: there are too many"
                        );
                        let closed = taken.by_id.remove(&id).and_then(|seat| seat.task);
                        let seat = self.seat(&mut taken, peer);
                        drop(taken);
                        closed.iter().for_each(AbortHandle::abort);
                        return Some(seat);
                    }
                    Decision::Reject => return None,
                    Decision::Wait => {}
                }
            }
            let _ = timeout(CHECK_EVERY, changed).await;
        }
    }

    fn seat(self: &Arc<Self>, taken: &mut Taken, peer: IpAddr) -> Arc<Seat> {
        taken.connections += 1;
        let id = taken.connections;
        let gives_way_from = Some(Instant::now());
        let connection = Connection { peer, requests: 0, is_answering: false, gives_way_from, task: None };
        taken.by_id.insert(id, connection);
        Arc::new(Seat { id, seats: self.clone() })
    }

    /// Stores the task that serves a connection, so that the connection can be closed.
    pub fn served_by(&self, id: u64, task: AbortHandle) {
        if let Some(seat) = self.lock().by_id.get_mut(&id) {
            seat.task = Some(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn facts(&self) -> Vec<Facts> {
        let facts = |(id, seat): (&u64, &Connection)| Facts {
            id: *id,
            peer: seat.peer,
            gives_way_from: seat.gives_way_from,
        };
        self.by_id.iter().map(facts).collect()
    }
}

impl Seat {
    /// Returns the number of the connection.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the number of the next request; `None` while one is being processed.
    pub fn awaited_request(&self) -> Option<u64> {
        let mut taken = self.seats.lock();
        let seat = taken.by_id.get_mut(&self.id)?;
        (!seat.is_answering).then_some(seat.requests)
    }

    /// Marks the connection as busy until the body of the response is sent.
    pub fn answer<B>(self: &Arc<Self>) -> impl FnOnce(B) -> AnswerBody<B> + use<B> {
        self.change(|seat| {
            seat.requests += 1;
            (seat.is_answering, seat.gives_way_from) = (true, None);
        });
        let answering = Answering(self.clone());
        move |body| AnswerBody { body, _answering: answering }
    }

    /// Allows the connection to be closed for another one after this time, even while a response is being
    /// sent.
    pub fn gives_way(&self, after: Duration) {
        self.change(|seat| seat.gives_way_from = Some(Instant::now() + after));
        self.seats.changed.notify_one();
    }

    /// Marks the connection as waiting only for its next request.
    pub fn is_served(&self) {
        self.change(|seat| seat.gives_way_from = (!seat.is_answering).then(Instant::now));
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        if let Some(seat) = self.seats.lock().by_id.get_mut(&self.id) {
            change(seat);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().by_id.remove(&self.id);
        self.seats.changed.notify_one();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.change(|seat| (seat.is_answering, seat.gives_way_from) = (false, Some(Instant::now())));
        self.0.seats.changed.notify_one();
    }
}

/// The state of a connection, for decisions.
#[derive(Debug, Clone, Copy)]
struct Facts {
    id: u64,
    peer: IpAddr,
    gives_way_from: Option<Instant>,
}

/// The decision about a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// A place is free.
    Take,
    /// The place of this connection is used.
    Close(u64),
    /// The peer has too many connections.
    Reject,
    /// There is no place, and no connection can be closed yet.
    Wait,
}

/// Decides about a new connection of a peer.
fn decide(all: &[Facts], peer: IpAddr, most: usize, per_peer: usize, now: Instant) -> Decision {
    let own: Vec<_> = all.iter().filter(|seat| seat.peer == peer).copied().collect();
    if own.len() >= per_peer && !peer.is_loopback() {
        return to_close(&own, now).map_or(Decision::Reject, Decision::Close);
    }
    if all.len() < most {
        return Decision::Take;
    }
    to_close(all, now).map_or(Decision::Wait, Decision::Close)
}

/// Chooses the connection to close: of the peer with the most connections, the one that has waited longest
/// for its client. `None` while all are busy.
fn to_close(all: &[Facts], now: Instant) -> Option<u64> {
    let mut peers: BTreeMap<IpAddr, (usize, Option<(Instant, u64)>)> = BTreeMap::new();
    for seat in all {
        let (count, oldest) = peers.entry(seat.peer).or_default();
        *count += 1;
        if let Some(since) = seat.gives_way_from.filter(|from| *from <= now) {
            *oldest = Some(oldest.map_or((since, seat.id), |oldest| oldest.min((since, seat.id))));
        }
    }
    let waiting = peers.into_values().filter_map(|(count, oldest)| Some((count, oldest?)));
    waiting.max_by_key(|(count, oldest)| (*count, Reverse(*oldest))).map(|(_, (_, id))| id)
}

/// Returns the unit by which connections are counted: an IPv4 address, or the first half of an IPv6 address,
/// because the owner of such a network has all its addresses.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) if !six.is_loopback() => {
            Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)).into()
        }
        other => other,
    }
}

/// The body of a response.
pub struct AnswerBody<B> {
    body: B,
    _answering: Answering,
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn loopback(number: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, number).into()
    }

    /// Creates states from (peer, seconds since it waits for its client); ids count from 0.
    fn facts(all: &[(IpAddr, Option<u64>)], now: Instant) -> Vec<Facts> {
        let seat = |(id, (peer, waits)): (usize, &(IpAddr, Option<u64>))| Facts {
            id: id as u64,
            peer: *peer,
            gives_way_from: waits.map(|seconds| now - Duration::from_secs(seconds)),
        };
        all.iter().enumerate().map(seat).collect()
    }

    fn long_ago() -> Instant {
        Instant::now() + Duration::from_secs(1000)
    }

    #[test]
    fn the_longest_waiting_connection_of_the_peer_with_the_most_is_closed() {
        let now = long_ago();
        for (all, expected) in [
            (&[][..], None),
            (&[(1, None)], None),
            (&[(1, None), (1, None), (2, None)], None),
            (&[(1, Some(5))], Some(0)),
            (&[(1, Some(5)), (1, Some(7)), (1, Some(6))], Some(1)),
            // Both at the same time: the older one.
            (&[(1, Some(5)), (1, Some(5))], Some(0)),
            (&[(1, None), (1, Some(1))], Some(1)),
            // One of two peers has more connections, though the other waits longer.
            (&[(2, Some(9)), (1, Some(3)), (1, Some(4))], Some(2)),
            // The peer with more connections is busy with all of them.
            (&[(2, Some(9)), (1, None), (1, None)], Some(0)),
            // Equal numbers: the longest wait.
            (&[(2, Some(7)), (1, Some(8))], Some(1)),
            (&[(2, Some(8)), (1, Some(7))], Some(0)),
        ] {
            let all: Vec<_> = all.iter().map(|(peer, waits)| (loopback(*peer), *waits)).collect();
            assert_eq!(to_close(&facts(&all, now), now), expected, "{all:?}");
        }
        // The server waits for this client, but not long enough yet.
        let soon = Facts { id: 0, peer: loopback(1), gives_way_from: Some(now + Duration::from_millis(1)) };
        assert_eq!(to_close(&[soon], now), None);
        assert_eq!(to_close(&[soon], now + Duration::from_millis(1)), Some(0));
    }

    #[test]
    fn a_peer_has_its_own_limit_and_only_its_own_connections_are_closed_for_it() {
        use Decision::{Close, Reject, Take, Wait};
        let (far, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = long_ago();
        for (all, peer, expected) in [
            (&[][..], far, Take),
            (&[(far, None)], far, Take),
            // Two of one peer, of four in all.
            (&[(far, None), (far, None)], far, Reject),
            (&[(far, None), (far, Some(1)), (other, Some(9))], far, Close(1)),
            (&[(far, Some(1)), (far, Some(1))], other, Take),
            (&[(far, Some(1)), (far, Some(1)), (other, None), (other, None)], loopback(1), Close(0)),
            (&[(far, None), (far, None), (other, None), (other, None)], loopback(1), Wait),
            // Clients on loopback share an address.
            (&[(loopback(1), None), (loopback(1), None), (loopback(1), None)], loopback(1), Take),
            (&[(loopback(1), None); 4], loopback(1), Wait),
            (&[(loopback(1), Some(1)); 4], loopback(1), Close(0)),
        ] {
            assert_eq!(decide(&facts(all, now), peer, 4, 2, now), expected, "{all:?} {peer}");
        }
    }

    #[test]
    fn all_addresses_of_a_network_are_one_peer() {
        for (one, other, is_same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            let peer = |text: &str| peer_of(text.parse().unwrap());
            assert_eq!(peer(one) == peer(other), is_same, "{one} {other}");
        }
        for loopback in ["127.0.0.9", "::1", "::ffff:127.0.0.1"] {
            assert!(peer_of(loopback.parse().unwrap()).is_loopback(), "{loopback}");
        }
    }
}
