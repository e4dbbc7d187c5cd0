//! The connections that are open, and which one goes when there are too many.

use super::WhenFull;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::{sync::Notify, task::AbortHandle};

/// The places for connections.
pub struct Seats {
    most: usize,
    when_full: WhenFull,
    taken: Mutex<Taken>,
    /// A connection ended or became idle.
    changed: Notify,
}

#[derive(Default)]
struct Taken {
    /// Counts connections, and the times at which one became idle.
    next: u64,
    by_id: BTreeMap<u64, Connection>,
}

struct Connection {
    peer: IpAddr,
    /// When it began to wait for a request, as a number that grows; `None` while one is answered.
    idle_since: Option<u64>,
    task: Option<AbortHandle>,
}

/// A connection's place, free again when this is dropped.
pub struct Seat {
    id: u64,
    seats: Arc<Seats>,
}

/// While it exists, a request of the connection is answered.
struct Answering(Arc<Seat>);

impl Seats {
    /// Creates places for this many connections.
    pub fn new(most: usize, when_full: WhenFull) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), when_full, taken: Mutex::default(), changed: Notify::new() })
    }

    /// Waits until there is room for one more; makes some, where that is allowed.
    pub async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let mut taken = self.lock();
                if taken.by_id.len() < self.most {
                    return;
                }
                if self.when_full == WhenFull::CloseOldestIdle {
                    let all = taken.by_id.iter().map(|(id, seat)| (*id, seat.peer, seat.idle_since));
                    if let Some(id) = to_close(all) {
                        tracing::debug!(id, "a connection that waits is closed: there are too many");
                        let closed = taken.by_id.remove(&id).and_then(|seat| seat.task);
                        drop(taken);
                        closed.iter().for_each(AbortHandle::abort);
                        continue;
                    }
                }
            }
            changed.await;
        }
    }

    /// Takes a place for a connection, which is idle at first.
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Arc<Seat> {
        let mut taken = self.lock();
        taken.next += 1;
        let id = taken.next;
        taken.by_id.insert(id, Connection { peer, idle_since: Some(id), task: None });
        Arc::new(Seat { id, seats: self.clone() })
    }

    /// Remembers the task that serves a connection, so that the connection can be closed.
    pub fn served_by(&self, id: u64, task: AbortHandle) {
        if let Some(seat) = self.lock().by_id.get_mut(&id) {
            seat.task = Some(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Returns the number of the connection.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Marks the connection as busy until the body of the answer was sent.
    pub fn answer<B>(self: &Arc<Self>) -> impl FnOnce(B) -> AnswerBody<B> + use<B> {
        if let Some(seat) = self.seats.lock().by_id.get_mut(&self.id) {
            seat.idle_since = None;
        }
        let answering = Answering(self.clone());
        move |body| AnswerBody { body, _answering: answering }
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
        let seats = &self.0.seats;
        let mut taken = seats.lock();
        taken.next += 1;
        let now = taken.next;
        if let Some(seat) = taken.by_id.get_mut(&self.0.id) {
            seat.idle_since = Some(now);
        }
        drop(taken);
        seats.changed.notify_one();
    }
}

/// Chooses the connection that goes when there are too many: of the peer with the most connections, the one that has
/// waited longest for a request or for the rest of one. `None` while all are answered.
fn to_close(all: impl Iterator<Item = (u64, IpAddr, Option<u64>)>) -> Option<u64> {
    let mut peers: BTreeMap<IpAddr, (usize, Option<(u64, u64)>)> = BTreeMap::new();
    for (id, peer, idle_since) in all {
        let (count, oldest) = peers.entry(peer).or_default();
        *count += 1;
        if let Some(since) = idle_since {
            *oldest = Some(oldest.map_or((since, id), |oldest| oldest.min((since, id))));
        }
    }
    let waiting = peers.into_values().filter_map(|(count, oldest)| Some((count, oldest?)));
    waiting.max_by_key(|(count, (since, _))| (*count, std::cmp::Reverse(*since))).map(|(_, (_, id))| id)
}

/// The body of an answer.
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

    #[test]
    fn the_connection_that_waited_longest_goes_and_first_that_of_the_peer_with_the_most() {
        let peer = |number| IpAddr::from(Ipv4Addr::new(127, 0, 0, number));
        // (peer, since when it is idle); ids count from 0.
        for (all, expected) in [
            (&[][..], None),
            (&[(1, None)], None),
            (&[(1, None), (1, None), (2, None)], None),
            (&[(1, Some(5))], Some(0)),
            (&[(1, Some(5)), (1, Some(3)), (1, Some(4))], Some(1)),
            (&[(1, None), (1, Some(9))], Some(1)),
            // One of two peers has more, though the other waits longer.
            (&[(2, Some(1)), (1, Some(7)), (1, Some(6))], Some(2)),
            // The one that has more is busy with all of them.
            (&[(2, Some(1)), (1, None), (1, None)], Some(0)),
            // As many each: the longest.
            (&[(2, Some(8)), (1, Some(7))], Some(1)),
            (&[(2, Some(6)), (1, Some(7))], Some(0)),
        ] {
            let all = all.iter().enumerate().map(|(id, (who, since))| (id as u64, peer(*who), *since));
            assert_eq!(to_close(all.clone()), expected, "{:?}", all.collect::<Vec<_>>());
        }
    }
}
