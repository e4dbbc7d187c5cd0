//! Bodies of requests: how slowly they may arrive, and what happens to the unread rest.

use super::{
    Bounds, GIVES_WAY_AFTER,
    patience::{Pace, Patience, Waited},
    seats::Seat,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// The body of a request. When it is dropped, its unread rest is in its [`Leftover`].
pub struct PatientBody {
    /// `None` after its end.
    body: Option<Incoming>,
    pace: Pace,
    patience: Patience,
    arrived: u64,
    waited: Duration,
    is_asked_for: bool,
    seat: Arc<Seat>,
    leftover: Leftover,
}

/// The unread rest of a body.
#[derive(Clone, Default)]
pub struct Leftover(Arc<Mutex<Option<(Incoming, bool)>>>);

impl Leftover {
    /// Takes the unread rest, if the client will send it. A client that waits for permission to send a body
    /// (`Expect: 100-continue`) sends nothing unless it is asked for.
    pub fn take(&self, waits_for_leave: bool) -> Option<Incoming> {
        let (body, was_asked_for) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (was_asked_for || !waits_for_leave).then_some(body)
    }
}

impl PatientBody {
    /// Wraps the body of a request on the connection `seat`.
    pub fn new(body: Incoming, pace: Pace, seat: Arc<Seat>, leftover: Leftover) -> Self {
        let (patience, arrived, waited) = (Patience::new(), 0, Duration::ZERO);
        Self { body: Some(body), pace, patience, arrived, waited, is_asked_for: false, seat, leftover }
    }
}

impl Body for PatientBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { body, pace, patience, arrived, waited, is_asked_for, seat, .. } = &mut *self;
        *is_asked_for = true;
        let Some(open) = body else { return Poll::Ready(None) };
        let frame = Pin::new(open).poll_frame(context);
        match patience.wait(frame, || pace.left(*arrived, *waited), context) {
            Waited::Moved(frame, wait) => {
                if let Some(wait) = wait {
                    *waited += wait;
                    seat.is_served();
                }
                if let Some(Ok(frame)) = &frame {
                    *arrived += frame.data_ref().map_or(0, Bytes::len) as u64;
                } else {
                    *body = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
            Waited::Waits(begins) => {
                if begins {
                    seat.gives_way(GIVES_WAY_AFTER);
                }
                Poll::Pending
            }
            Waited::TooLong(error) => {
                *body = None;
                seat.is_served();
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for PatientBody {
    fn drop(&mut self) {
        if self.patience.waits() {
            self.seat.is_served();
        }
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            let mut leftover = self.leftover.0.lock().unwrap_or_else(PoisonError::into_inner);
            *leftover = Some((body, self.is_asked_for));
        }
    }
}

/// Receives and discards the rest of a body, unless it is long or slow. Meanwhile the connection may be
/// closed for another one.
pub async fn drain(mut body: Incoming, bounds: &Bounds, seat: &Seat) {
    let mut left = bounds.drained;
    if body.size_hint().lower() > left {
        return;
    }
    seat.gives_way(Duration::ZERO);
    let discard = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(bounds.drain, discard).await;
    seat.is_served();
}
