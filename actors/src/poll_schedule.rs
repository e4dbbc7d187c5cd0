//! When to look at the tasks, and how: decided from news and quiet alone.
//!
//! A look asks for what ended since the last; now and then another follows for what runs. PollSchedule thin out while
//! nothing happens. What no filtered look can show, a task that somebody deleted, is noticed by counting; the whole
//! list is asked for only when the count is short, and when the run ends.

use crate::intervals::PollIntervals;
use dropmill_azure_wire::time::Timestamp;
use dropmill_lifecycle::Elapsed;
use std::time::Duration;

/// After so long without news the tasks are counted,
const COUNT_AFTER: Duration = Duration::from_secs(30);
/// and not again before so long.
const COUNT_EVERY: Duration = Duration::from_secs(600);
/// How long a far service may take to show a task as ended: until then what ended shortly before the newest is asked
/// for again.
const LATE: Duration = Duration::from_secs(60);
/// The smallest step of the service's moments.
const TICK: Duration = Duration::from_nanos(100);
/// How often at most to look which tasks run.
const RUNNING_EVERY: Duration = Duration::from_millis(500);
/// A look at no more tasks than these costs so little that it follows each hint at once.
const FEW: u32 = 32;

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PollQuery {
    /// Tasks that ended since they were last looked at.
    Ended,
    /// Tasks that run.
    Running,
    /// How many there are.
    Count,
    /// Every task.
    All,
}

/// PollSchedule at the tasks of one job.
#[derive(Debug)]
pub struct PollSchedule {
    intervals: PollIntervals,
    pause: Duration,
    /// A look is on its way.
    pub in_flight: bool,
    /// The look that comes next; one at ended tasks may be followed at once by one at running ones.
    follow_up: bool,
    /// News was hinted at since the last look began.
    pub hinted: bool,
    /// A count did not fit: something is missing, or was not seen.
    short: bool,
    last_began: Elapsed,
    last_running: Elapsed,
    last_news: Elapsed,
    last_count: Elapsed,
    /// The newest moment at which a task was seen to have ended.
    newest: Option<Timestamp>,
}

impl PollSchedule {
    /// None was made yet.
    pub fn new(intervals: PollIntervals) -> Self {
        let never = Elapsed(0);
        Self {
            pause: intervals.tasks,
            intervals,
            in_flight: false,
            follow_up: false,
            hinted: false,
            short: false,
            last_began: never,
            last_running: never,
            last_news: never,
            last_count: never,
            newest: None,
        }
    }

    /// When the next one is due, with so many tasks to look at.
    pub fn due(&self, watched: u32) -> Elapsed {
        let pause = match (self.follow_up, self.hinted) {
            (true, _) => Duration::ZERO,
            (false, true) if watched <= FEW => Duration::ZERO,
            (false, true) => self.intervals.notified,
            (false, false) => self.pause,
        };
        self.last_began + pause
    }

    /// The look that is made now.
    pub fn begin(&mut self, now: Elapsed, ending: bool) -> PollQuery {
        let quiet = now.since(self.last_news) >= COUNT_AFTER;
        let look = if ending || std::mem::take(&mut self.short) {
            PollQuery::All
        } else if quiet && now.since(self.last_count) >= COUNT_EVERY {
            PollQuery::Count
        } else if self.follow_up {
            PollQuery::Running
        } else {
            PollQuery::Ended
        };
        self.in_flight = true;
        self.last_began = now;
        self.follow_up = false;
        match look {
            PollQuery::Ended => {
                self.hinted = false;
                // What runs is worth knowing, what ended is worth knowing soon.
                self.follow_up = now.since(self.last_running) >= RUNNING_EVERY.max(self.pause * 4);
            }
            PollQuery::Running => self.last_running = now,
            PollQuery::Count => self.last_count = now,
            PollQuery::All => self.hinted = false,
        }
        look
    }

    /// A task was seen that ended at this moment.
    pub fn ended_at(&mut self, moment: Timestamp) {
        self.newest = self.newest.max(Some(moment));
    }

    /// From which moment on tasks that ended have to be seen.
    fn since(&self, now: Elapsed) -> Option<Timestamp> {
        let newest = self.newest?;
        let since = match now.since(self.last_news) < LATE {
            true => newest.checked_sub(self.intervals.overlap),
            false => newest.checked_add(TICK),
        };
        Some(since.unwrap_or(newest))
    }

    /// What a look asks the service to filter by.
    pub fn filter(&self, look: PollQuery, now: Elapsed) -> Option<String> {
        match (look, self.since(now)) {
            (PollQuery::Ended, Some(since)) => {
                Some(format!("state eq 'completed' and stateTransitionTime ge DateTime'{since}'"))
            }
            (PollQuery::Ended, None) => Some("state eq 'completed'".to_owned()),
            (PollQuery::Running, _) => Some("state eq 'running'".to_owned()),
            (PollQuery::Count | PollQuery::All, _) => None,
        }
    }

    /// A count came back. One that does not fit what was seen has every task listed at once.
    pub fn counted(&mut self, fits: bool) {
        self.short = !fits;
        self.follow_up = self.short;
    }

    /// The next look has to show every task.
    pub fn ask_for_all(&mut self) {
        self.short = true;
    }

    /// A look failed.
    pub fn failed(&mut self, look: PollQuery) {
        self.short |= look == PollQuery::All;
        self.pause = (self.pause * 2).min(self.intervals.longest);
    }

    /// A look showed something new, or nothing.
    pub fn made(&mut self, now: Elapsed, news: bool) {
        if news {
            self.last_news = now;
        }
        // They thin out: what comes after a long quiet is seen late by a twentieth of it at most.
        let quiet = now.since(self.last_news) / 20;
        self.pause = quiet.min(self.intervals.longest).max(self.intervals.tasks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> PollSchedule {
        let second = Duration::from_secs(1);
        PollSchedule::new(PollIntervals {
            job: second,
            pool: second,
            tasks: second / 2,
            notified: second / 100,
            longest: second * 30,
            overlap: second * 10,
        })
    }

    /// PollSchedule without news, from 0 to `until`; the moments in seconds.
    fn quiet(schedule: &mut PollSchedule, until: u64) -> Vec<(u64, PollQuery)> {
        let mut made = vec![];
        while schedule.due(1) < Elapsed::secs(until) {
            let now = schedule.due(1);
            made.push((now.0 / 1000, schedule.begin(now, false)));
            schedule.in_flight = false;
            schedule.made(now, false);
        }
        made
    }

    #[test]
    fn looks_thin_out_to_a_twentieth_of_the_quiet_and_no_further_than_asked() {
        let made = quiet(&mut schedule(), 4 * 3600);
        let ended: Vec<u64> =
            made.iter().filter(|(_, look)| *look == PollQuery::Ended).map(|(at, _)| *at).collect();
        for pair in ended.windows(2) {
            let rest = pair[1] - pair[0];
            // A look at what runs, or a count, may come in between.
            assert!(rest <= 61 && rest <= pair[0] / 9 + 2, "{pair:?}");
        }
        assert!(made.len() < 1200, "{} schedule in four quiet hours", made.len());
        let running = made.iter().filter(|(_, look)| *look == PollQuery::Running).count();
        assert!(running * 3 < ended.len(), "{running} of {}", ended.len());
    }

    #[test]
    fn tasks_are_counted_now_and_then_and_listed_only_when_some_are_missing() {
        let mut schedule = schedule();
        let made = quiet(&mut schedule, 7200);
        let counts = made.iter().filter(|(_, look)| *look == PollQuery::Count).count();
        assert!((10..=12).contains(&counts), "{counts} in two hours");
        assert!(made.iter().all(|(_, look)| *look != PollQuery::All));
        schedule.counted(true);
        assert_ne!(schedule.begin(Elapsed::secs(7201), false), PollQuery::All);
        schedule.counted(false);
        assert_eq!(schedule.begin(Elapsed::secs(7202), false), PollQuery::All);
        assert_ne!(schedule.begin(Elapsed::secs(7203), false), PollQuery::All, "once");
        assert_eq!(schedule.begin(Elapsed::secs(7204), true), PollQuery::All, "the end closes every task");
    }

    #[test]
    fn what_ended_is_asked_for_again_only_as_long_as_it_may_be_shown_late() {
        let mut schedule = schedule();
        assert_eq!(schedule.filter(PollQuery::Ended, Elapsed(0)).as_deref(), Some("state eq 'completed'"));
        schedule.ended_at("2026-03-02T10:11:12Z".parse().unwrap_or_default());
        schedule.made(Elapsed::secs(100), true);
        let filter = |at| schedule.filter(PollQuery::Ended, Elapsed::secs(at)).unwrap_or_default();
        assert!(filter(159).contains("DateTime'2026-03-02T10:11:02Z'"), "{}", filter(159));
        assert!(filter(160).contains("DateTime'2026-03-02T10:11:12.0000001Z'"), "{}", filter(160));
    }

    #[test]
    fn a_hint_and_news_bring_the_next_look_near() {
        let mut schedule = schedule();
        quiet(&mut schedule, 3600);
        let began = schedule.begin(Elapsed::secs(3600), false);
        assert_eq!(began, PollQuery::Ended);
        schedule.follow_up = false;
        schedule.made(Elapsed::secs(3600), false);
        assert_eq!(schedule.due(1), Elapsed::secs(3630));
        schedule.hinted = true;
        assert_eq!(schedule.due(FEW), Elapsed::secs(3600));
        assert_eq!(schedule.due(FEW + 1), Elapsed::secs(3600) + Duration::from_millis(10));
        schedule.hinted = false;
        schedule.made(Elapsed::secs(3600), true);
        assert_eq!(schedule.due(1), Elapsed::secs(3600) + Duration::from_millis(500));
    }
}
