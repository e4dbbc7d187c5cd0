//! Decides which notice is sent next, and how long a rejected one waits before its next attempt. It has
//! no clock: `now` is the time since the worker began.
//!
//! A waiting notice takes no place from notices that can be sent now, and repeated notices never take all
//! places. So a receiver that rejects or delays some notices does not block the others.

use dropmill_journal::Notice;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Deliveries that are tried at the same time.
pub const AT_ONCE: usize = 4;
/// Seconds between two attempts; the last value is repeated.
const RESTS: [u64; 4] = [1, 5, 30, 120];
/// Longest delay that a receiver can ask for with `Retry-After`.
pub const LONGEST_REST: Duration = Duration::from_secs(600);

/// Who receives a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// A program on this machine.
    Program,
    /// A web address.
    Address,
}

/// One notice for one receiver; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The notice to send.
    pub notice: Arc<Notice>,
    /// Who receives it.
    pub to: Receiver,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

impl Delivery {
    fn is_repeated(&self) -> bool {
        self.attempt > 1
    }
}

/// Deliveries that are waiting.
#[derive(Debug, Default)]
pub struct Queue {
    first: VecDeque<Delivery>,
    /// Sorted by the time at which they are due, then by order of arrival.
    repeated: BTreeMap<(Duration, u64), Delivery>,
    next: u64,
    first_active: usize,
    repeated_active: usize,
}

impl Queue {
    /// Adds a delivery that was not tried yet.
    pub fn add(&mut self, delivery: Delivery) {
        self.first.push_back(delivery);
    }

    /// Takes the next delivery that may be tried now. Call [`Queue::ended`] when its attempt has ended.
    pub fn take(&mut self, now: Duration) -> Option<Delivery> {
        if self.first_active + self.repeated_active >= AT_ONCE {
            return None;
        }
        let due = self.repeated.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        let delivery = match (self.first.is_empty(), due) {
            (true, false) => return None,
            (false, false) => self.first.pop_front()?,
            (true, true) => self.repeated.pop_first()?.1,
            // If both kinds wait, takes the kind with fewer attempts in progress.
            (false, true) if self.first_active <= self.repeated_active => self.first.pop_front()?,
            (false, true) => self.repeated.pop_first()?.1,
        };
        *self.active(&delivery) += 1;
        Some(delivery)
    }

    /// Records that the attempt of a delivery has ended.
    pub fn ended(&mut self, delivery: &Delivery) {
        let active = self.active(delivery);
        *active = active.saturating_sub(1);
    }

    /// Schedules the next attempt of a delivery after a delay.
    pub fn repeat(&mut self, delivery: Delivery, now: Duration, rest: Duration) {
        self.next += 1;
        let again = Delivery { attempt: delivery.attempt.saturating_add(1), ..delivery };
        self.repeated.insert((now.saturating_add(rest), self.next), again);
    }

    /// Returns when the next delayed delivery is due, if there would be a place for it then.
    pub fn wakes_at(&self) -> Option<Duration> {
        let free = self.first_active + self.repeated_active < AT_ONCE;
        self.repeated.first_key_value().filter(|_| free).map(|((at, _), _)| *at)
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.repeated.is_empty()
    }

    fn active(&mut self, delivery: &Delivery) -> &mut usize {
        match delivery.is_repeated() {
            true => &mut self.repeated_active,
            false => &mut self.first_active,
        }
    }
}

/// Returns the delay after a failed attempt; `asked` is the delay that the receiver asked for.
pub fn rest(attempt: u32, asked: Option<Duration>) -> Duration {
    let index = (attempt.max(1) as usize).min(RESTS.len()) - 1;
    asked.unwrap_or_default().min(LONGEST_REST).max(Duration::from_secs(RESTS[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: &str) -> Delivery {
        let notice = Notice { id: id.into(), kind: "finished".into(), body: String::new() };
        Delivery { notice: Arc::new(notice), to: Receiver::Address, attempt: 1 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_delay_is_at_least_ours_and_at_most_ten_minutes() {
        for (attempt, asked, expected) in [
            (1, None, 1),
            (2, None, 5),
            (3, None, 30),
            (4, None, 120),
            (5, None, 120),
            (u32::MAX, None, 120),
            (1, Some(0), 1),
            (1, Some(7), 7),
            (4, Some(7), 120),
            (1, Some(600), 600),
            (1, Some(601), 600),
            (1, Some(86_400), 600),
            (4, Some(u64::MAX), 600),
        ] {
            assert_eq!(rest(attempt, asked.map(seconds)), seconds(expected), "{attempt} {asked:?}");
        }
    }

    #[test]
    fn delayed_notices_take_no_place_of_others() {
        let mut queue = Queue::default();
        for round in 0..10 {
            for number in 0..AT_ONCE {
                queue.add(delivery(&format!("{round}-{number}")));
            }
            let taken: Vec<_> = std::iter::from_fn(|| queue.take(seconds(round))).collect();
            assert_eq!(taken.len(), AT_ONCE, "round {round}");
            for delivery in taken {
                queue.ended(&delivery);
                queue.repeat(delivery, seconds(round), LONGEST_REST);
            }
        }
        assert_eq!(queue.take(seconds(599)), None);
        assert_eq!(queue.wakes_at(), Some(seconds(600)));
        let again = queue.take(seconds(600)).unwrap();
        assert_eq!((&*again.notice.id, again.attempt), ("0-0", 2));
    }

    #[test]
    fn neither_repeated_nor_new_notices_take_every_place() {
        let mut queue = Queue::default();
        for number in 0..100 {
            queue.repeat(delivery(&format!("again-{number}")), seconds(0), seconds(0));
            queue.add(delivery(&format!("new-{number}")));
        }
        let mut taken: VecDeque<_> = std::iter::from_fn(|| queue.take(seconds(0))).collect();
        // Each kind keeps its places, whichever attempt ends.
        for _ in 0..100 {
            let repeated = taken.iter().filter(|delivery| delivery.is_repeated()).count();
            assert_eq!((repeated, taken.len()), (AT_ONCE / 2, AT_ONCE));
            let ended = taken.pop_front().unwrap();
            queue.ended(&ended);
            taken.push_back(queue.take(seconds(0)).unwrap());
        }
    }

    #[test]
    fn no_more_attempts_than_places_and_a_full_queue_has_no_wake_up_time() {
        let mut queue = Queue::default();
        for number in 0..=AT_ONCE {
            queue.repeat(delivery(&number.to_string()), seconds(0), seconds(number as u64));
        }
        assert_eq!(
            (queue.take(seconds(0)).map(|taken| taken.attempt), queue.take(seconds(0))),
            (Some(2), None)
        );
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(seconds(9))).collect();
        assert_eq!((taken.len(), queue.wakes_at(), queue.is_empty()), (AT_ONCE - 1, None, false));
        queue.ended(&taken[0]);
        assert_eq!(queue.wakes_at(), Some(seconds(AT_ONCE as u64)));
    }
}
