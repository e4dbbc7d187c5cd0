//! Timeouts while the server waits for a client.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

/// Waits for a limited time for progress.
pub struct Patience {
    end: Pin<Box<Sleep>>,
    since: Option<Instant>,
}

/// The result of a wait for progress.
pub enum Waited<T> {
    /// There was progress, after this waiting time (`None` if there was no wait).
    Moved(T, Option<Duration>),
    /// There is no progress yet; `true` in the poll with which the wait began.
    Waits(bool),
    /// There was no progress in time.
    TooLong(io::Error),
}

impl Patience {
    /// Creates a timer that is not waiting.
    pub fn new() -> Self {
        Self { end: Box::pin(sleep(Duration::ZERO)), since: None }
    }

    /// Returns the result of `moved`, which may be pending for `at_most` since its first pending poll.
    pub fn wait<T>(
        &mut self,
        moved: Poll<T>,
        at_most: impl FnOnce() -> Duration,
        context: &mut Context<'_>,
    ) -> Waited<T> {
        if let Poll::Ready(moved) = moved {
            return Waited::Moved(moved, self.since.take().map(|since| since.elapsed()));
        }
        let begins = self.since.is_none();
        if begins {
            let now = Instant::now();
            self.since = Some(now);
            self.end.as_mut().reset(now + at_most());
        }
        match self.end.as_mut().poll(context) {
            Poll::Pending => Waited::Waits(begins),
            Poll::Ready(()) => {
                self.since = None;
                Waited::TooLong(io::Error::new(io::ErrorKind::TimedOut, "the client was too slow"))
            }
        }
    }

    /// Returns whether a wait is in progress.
    pub fn waits(&self) -> bool {
        self.since.is_some()
    }
}

/// The required speed of a body.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Longest time without a byte.
    pub silence: Duration,
    /// Time for which the body may be slower than required.
    pub grace: Duration,
    /// Minimum number of bytes per second of waiting.
    pub bytes_per_second: u32,
}

impl Pace {
    /// Returns how much longer to wait for a body after `bytes` have arrived within `waited`.
    pub fn left(&self, bytes: u64, waited: Duration) -> Duration {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second.max(1)));
        self.grace.saturating_add(earned).saturating_sub(waited).min(self.silence)
    }
}

/// The timeout of the head that is being received.
pub struct HeadClock {
    at_most: Duration,
    end: Pin<Box<Sleep>>,
    /// Number of the request whose head has begun.
    begun: Option<u64>,
}

impl HeadClock {
    /// Creates the timeout for a new connection, whose client must send its first request at once.
    pub fn new(at_most: Duration) -> Self {
        Self { at_most, end: Box::pin(sleep(at_most)), begun: Some(0) }
    }

    /// Records a read. `request` is the number of the next request, `None` while one is being processed; the
    /// other argument says whether bytes arrived. Ready when the head takes too long.
    pub fn poll(
        &mut self,
        request: Option<u64>,
        arrived: bool,
        context: &mut Context<'_>,
    ) -> Poll<io::Error> {
        if self.begun != request {
            self.begun = None;
            if let Some(next) = request.filter(|_| arrived) {
                self.begun = Some(next);
                self.end.as_mut().reset(Instant::now() + self.at_most);
            }
        }
        if self.begun.is_none() {
            return Poll::Pending;
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the head of a request took too long"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_be_slow_for_a_while_and_gains_time_with_its_bytes() {
        let secs = Duration::from_secs;
        let pace = Pace { silence: secs(60), grace: secs(20), bytes_per_second: 1000 };
        for (bytes, waited, expected) in [
            (0, 0, 20),
            (0, 5, 15),
            (0, 20, 0),
            (0, 21, 0),
            (1, 20, 0),
            (1000, 20, 1),
            (10_000, 20, 10),
            (10_000, 31, 0),
            // However much arrived before, silence has its own limit.
            (1 << 40, 20, 60),
            (u64::MAX, 0, 60),
        ] {
            let left = pace.left(bytes, secs(waited)).as_secs();
            assert_eq!(left, expected, "{bytes} bytes in {waited} s");
        }
    }
}
