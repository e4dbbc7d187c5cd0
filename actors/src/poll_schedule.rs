//! Decides when to poll for tasks, and with which query, from news and time without news only.
//!
//! Most polls list the tasks completed since the last one, some the running tasks; intervals grow while
//! nothing changes. Filtered lists miss deleted tasks, so tasks are counted at times, and listed in full only
//! if the count is too low or the run ends.

use crate::intervals::PollIntervals;
use dropmill_azure_wire::time::Timestamp;
use dropmill_lifecycle::Elapsed;
use std::time::Duration;

/// Time without news after which the tasks are counted.
const COUNT_AFTER: Duration = Duration::from_secs(30);
/// Minimum time between two counts.
const COUNT_EVERY: Duration = Duration::from_secs(600);
/// How late a remote service may show a completed task: until then, tasks that ended shortly before the
/// newest are requested again.
const LATE: Duration = Duration::from_secs(60);
/// The resolution of times of the service.
const TICK: Duration = Duration::from_nanos(100);
/// Minimum time between two polls for running tasks.
const RUNNING_EVERY: Duration = Duration::from_millis(500);
/// Number of tasks up to which a poll is so cheap that it follows each change notification at once.
const FEW: u32 = 32;

/// The query that a poll sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PollQuery {
    /// Tasks that ended since the last poll.
    Ended,
    /// Lists only running tasks.
    Running,
    /// The number of tasks.
    Count,
    /// Lists every task.
    All,
}

/// The schedule of polls for the tasks of one job.
#[derive(Debug)]
pub struct PollSchedule {
    intervals: PollIntervals,
    pause: Duration,
    /// A poll is in progress.
    pub in_flight: bool,
    /// The next poll follows at once: after ended tasks, running tasks may be requested.
    follow_up: bool,
    /// A change notification arrived since the last poll began.
    pub hinted: bool,
    /// A count was too low: a task is missing, or was not seen.
    short: bool,
    last_began: Elapsed,
    last_running: Elapsed,
    last_news: Elapsed,
    last_count: Elapsed,
    /// The latest end time of a task so far.
    newest: Option<Timestamp>,
}

impl PollSchedule {
    /// Creates a schedule before the first poll.
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

    /// Returns when the next poll is due, for this number of watched tasks.
    pub fn due(&self, watched: u32) -> Elapsed {
        let pause = match (self.follow_up, self.hinted) {
            (true, _) => Duration::ZERO,
            (false, true) if watched <= FEW => Duration::ZERO,
            (false, true) => self.intervals.notified,
            (false, false) => self.pause,
        };
        self.last_began + pause
    }

    /// Begins a poll; returns its query.
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
                // Ended tasks are more urgent than running ones.
                self.follow_up = now.since(self.last_running) >= RUNNING_EVERY.max(self.pause * 4);
            }
            PollQuery::Running => self.last_running = now,
            PollQuery::Count => self.last_count = now,
            PollQuery::All => self.hinted = false,
        }
        look
    }

    /// Records the end time of a task.
    pub fn ended_at(&mut self, moment: Timestamp) {
        self.newest = self.newest.max(Some(moment));
    }

    /// Returns the time since which ended tasks must be requested.
    fn since(&self, now: Elapsed) -> Option<Timestamp> {
        let newest = self.newest?;
        let since = match now.since(self.last_news) < LATE {
            true => newest.checked_sub(self.intervals.overlap),
            false => newest.checked_add(TICK),
        };
        Some(since.unwrap_or(newest))
    }

    /// Returns the filter of a query.
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

    /// Records a count. If it is wrong, all tasks are listed next.
    pub fn counted(&mut self, fits: bool) {
        self.short = !fits;
        self.follow_up = self.short;
    }

    /// Makes the next poll list all tasks.
    pub fn ask_for_all(&mut self) {
        self.short = true;
    }

    /// Records that a poll failed.
    pub fn failed(&mut self, look: PollQuery) {
        self.short |= look == PollQuery::All;
        self.pause = (self.pause * 2).min(self.intervals.longest);
    }

    /// Records a poll, with or without news.
    pub fn made(&mut self, now: Elapsed, news: bool) {
        if news {
            self.last_news = now;
        }
        // Intervals grow, so that after a long time without news, the delay is a twentieth of it at most.
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

    /// Polls without news, from 0 to `until`; returns times in seconds.
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
    fn intervals_grow_to_a_twentieth_of_the_time_without_news_up_to_a_limit() {
        let made = quiet(&mut schedule(), 4 * 3600);
        let ended: Vec<u64> =
            made.iter().filter(|(_, look)| *look == PollQuery::Ended).map(|(at, _)| *at).collect();
        for pair in ended.windows(2) {
            let rest = pair[1] - pair[0];
            // A poll for running tasks, or a count, may come in between.
            assert!(rest <= 61 && rest <= pair[0] / 9 + 2, "{pair:?}");
        }
        assert!(made.len() < 1200, "{} schedule in four quiet hours", made.len());
        let running = made.iter().filter(|(_, look)| *look == PollQuery::Running).count();
        assert!(running * 3 < ended.len(), "{running} of {}", ended.len());
    }

    #[test]
    fn tasks_are_counted_at_times_and_listed_only_if_some_are_missing() {
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
    fn ended_tasks_are_requested_again_only_while_the_service_may_be_late() {
        let mut schedule = schedule();
        assert_eq!(schedule.filter(PollQuery::Ended, Elapsed(0)).as_deref(), Some("state eq 'completed'"));
        schedule.ended_at("2026-03-02T10:11:12Z".parse().unwrap_or_default());
        schedule.made(Elapsed::secs(100), true);
        let filter = |at| schedule.filter(PollQuery::Ended, Elapsed::secs(at)).unwrap_or_default();
        assert!(filter(159).contains("DateTime'2026-03-02T10:11:02Z'"), "{}", filter(159));
        assert!(filter(160).contains("DateTime'2026-03-02T10:11:12.0000001Z'"), "{}", filter(160));
    }

    #[test]
    fn notifications_and_news_shorten_the_next_interval() {
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
