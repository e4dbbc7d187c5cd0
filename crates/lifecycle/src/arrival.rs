//! The life of one file of a drop folder: seen, taken, worked on, its result or its failure put in its place.
//!
//! A file is never lost: from the moment at which the intent to take it is durable it is in the drop folder, in the
//! work folder, or in the folder of its result, and each step can be found again by looking.

use crate::{Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::{fmt, str::FromStr, time::Duration};

/// What a look at a file shows of it: two looks that are equal saw nobody write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSnapshot {
    /// Its length.
    pub size_bytes: u64,
    /// Nanoseconds since 1970 at which its content was changed, as the file system tells; may lie in the future.
    pub modified_ns: i128,
    /// What tells it from a file that took its place.
    pub inode: u64,
}

impl fmt::Display for FileSnapshot {
    /// Length, time and inode with `/` between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.size_bytes, self.modified_ns, self.inode)
    }
}

impl FromStr for FileSnapshot {
    type Err = ();

    /// Reads what was displayed.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(());
        let size_bytes = next()?.parse().map_err(|_| ())?;
        let modified_ns = next()?.parse().map_err(|_| ())?;
        let inode = next()?.parse().map_err(|_| ())?;
        Ok(Self { size_bytes, modified_ns, inode })
    }
}

/// Where a file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivalState {
    /// It is there, and may still be written.
    Seen {
        /// How it looked last.
        look: FileSnapshot,
        /// Since when it looks like that, by our own clock.
        since: Elapsed,
    },
    /// It stands still, and is taken as soon as there is room.
    Settled {
        /// How it looks.
        look: FileSnapshot,
    },
    /// The intent to take it is being made durable.
    Intended {
        /// How it looks.
        look: FileSnapshot,
    },
    /// It is in the work folder, its task in a run.
    Working {
        /// Number of the try, from 1.
        attempt: u32,
    },
    /// Its task could not be tried, for a reason that may pass.
    Returning {
        /// Number of the try that came to nothing.
        attempt: u32,
        /// When it goes into a run again.
        again_at: Elapsed,
    },
    /// It is in the work folder, in no run, and may still be written: it was written to after it was taken, or a previous
    /// process left it.
    Unsettled {
        /// How it looked last.
        look: FileSnapshot,
        /// Since when it looks like that, by our own clock.
        since: Elapsed,
    },
    /// Its result, or its failure, is being put in its place.
    Publishing {
        /// Which.
        outcome: Outcome,
        /// Number of the try, from 1.
        attempt: u32,
    },
    /// That was refused for now.
    Resting {
        /// Which.
        outcome: Outcome,
        /// Number of the try that failed.
        attempt: u32,
        /// When to try again.
        again_at: Elapsed,
    },
    /// In its place, or no longer ours.
    Over,
}

/// Where a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With its results.
    Done,
    /// Among the results, without any of its own: it was done before.
    Duplicate,
    /// With the reason.
    Failed {
        /// In one line.
        cause: String,
    },
}

/// What a run made of a file's task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// It succeeded, its results are home.
    Succeeded,
    /// It ran, and failed.
    Failed(String),
    /// It never ran, and the reason is its own: its input cannot be read, the service refuses it.
    Refused(String),
    /// It never ran to an end, and the reason is not its own: its run ended, a service could not be reached.
    Untried(String),
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivalEvent {
    /// A look showed it; `whole` says that whoever wrote it said that it is complete.
    Looked {
        /// How.
        look: FileSnapshot,
        /// By a marker, or by closing it when that is enough.
        whole: bool,
    },
    /// It is not there any more.
    Gone,
    /// There is room for it.
    Room,
    /// The intent to take it is durable.
    Durable,
    /// It is in the work folder.
    Taken,
    /// It is, and it is known from before: this is where it goes.
    Known(Outcome),
    /// It could not be taken.
    NotTaken(Failure),
    /// Its task is closed.
    Closed(Closing),
    /// It is in its place.
    Published,
    /// It could not be put there.
    PublishFailed(Failure),
    /// It was written to after it was taken: its result is of another content.
    Changed(FileSnapshot),
    /// It cannot be an input any more, and why.
    Unreadable(String),
    /// Some time passed; how much, the moment tells.
    TimePassed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivalCommand {
    /// Put it into the queue of those that wait for room.
    Queue,
    /// Make the intent to take it durable.
    Intend,
    /// Move it into the work folder.
    Take,
    /// Bring its task into the run that it was taken for.
    Submit,
    /// Make another task of it, in whatever run takes files.
    Resubmit,
    /// Check how it looks in the work folder.
    Check,
    /// Record that it was written to after it was taken, and discard its result.
    ReportChanged,
    /// Put its result or its failure in its place.
    Publish(Outcome),
    /// Say that it went away before it was taken.
    ReportWithdrawn,
    /// Say that it will be tried again, and why.
    ReportDelay {
        /// Number of the try that failed.
        attempt: u32,
        /// Length of the rest.
        rest: Duration,
        /// Why.
        cause: String,
    },
}

/// How patient the drop folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalLimits {
    /// How long a file must look the same.
    pub stable_for: Duration,
    /// Tries of a task that is refused, before its file counts as failed.
    pub tries: u32,
    /// Rests between tries.
    pub delays: Delays,
}

/// A state and what to do on entering it.
pub type Step = (ArrivalState, Vec<ArrivalCommand>);

/// The machine of a file of the drop folder.
#[derive(Debug)]
pub struct Arrival;

impl Machine for Arrival {
    type State = ArrivalState;
    type Event = ArrivalEvent;
    type Command = ArrivalCommand;
    type Limits = ArrivalLimits;
    const NAME: &'static str = "arrival";

    fn apply(state: ArrivalState, event: ArrivalEvent, now: Elapsed, limits: &ArrivalLimits) -> Step {
        apply(state, event, now, limits)
    }

    fn wakes_at(state: &ArrivalState, limits: &ArrivalLimits) -> Option<Elapsed> {
        state.wakes_at(limits)
    }

    fn time_passed() -> ArrivalEvent {
        ArrivalEvent::TimePassed
    }

    fn is_routine(event: &ArrivalEvent) -> bool {
        matches!(event, ArrivalEvent::TimePassed | ArrivalEvent::Looked { .. } | ArrivalEvent::Gone)
    }
}

/// What follows from `event` at `now`.
pub fn apply(state: ArrivalState, event: ArrivalEvent, now: Elapsed, limits: &ArrivalLimits) -> Step {
    use {ArrivalCommand as Do, ArrivalEvent as On, ArrivalState as Is};
    match (state, event) {
        (Is::Seen { .. }, On::Looked { look, whole: true }) => (Is::Settled { look }, vec![Do::Queue]),
        (Is::Seen { look: before, since }, On::Looked { look, .. }) if look == before => {
            match now.since(since) >= limits.stable_for {
                true => (Is::Settled { look }, vec![Do::Queue]),
                false => (Is::Seen { look, since }, vec![]),
            }
        }
        (Is::Seen { .. }, On::Looked { look, .. }) => (Is::Seen { look, since: now }, vec![]),
        // Somebody writes on after all.
        (Is::Settled { look: before }, On::Looked { look, whole: false }) if look != before => {
            (Is::Seen { look, since: now }, vec![])
        }
        (Is::Settled { .. }, On::Looked { look, .. }) => (Is::Settled { look }, vec![]),
        (Is::Seen { .. } | Is::Settled { .. }, On::Gone) => (Is::Over, vec![]),
        (Is::Settled { look }, On::Room) => (Is::Intended { look }, vec![Do::Intend]),

        (Is::Intended { look }, On::Durable) => (Is::Intended { look }, vec![Do::Take]),
        (Is::Intended { .. }, On::Taken) => (Is::Working { attempt: 1 }, vec![Do::Submit]),
        (Is::Intended { .. }, On::Known(outcome)) => publish(outcome),
        // Another daemon was quicker, or its owner took it back; whatever it was, it is not ours.
        (Is::Intended { .. }, On::NotTaken(_) | On::Gone) => (Is::Over, vec![Do::ReportWithdrawn]),

        (Is::Working { .. }, On::Closed(Closing::Succeeded)) => publish(Outcome::Done),
        (Is::Working { .. }, On::Closed(Closing::Failed(cause))) => publish(Outcome::Failed { cause }),
        (Is::Working { attempt }, On::Closed(Closing::Refused(cause))) if attempt >= limits.tries => {
            publish(Outcome::Failed { cause: format!("{cause} ({attempt} tries)") })
        }
        // What passes, however late, is no failure of the file.
        (Is::Working { attempt }, On::Closed(Closing::Refused(cause) | Closing::Untried(cause))) => {
            let rest = limits.delays.after(attempt, None).unwrap_or_else(|| limits.longest_rest());
            (Is::Returning { attempt, again_at: now + rest }, vec![Do::ReportDelay { attempt, rest, cause }])
        }
        (Is::Returning { attempt, again_at }, On::TimePassed) if now >= again_at => {
            (Is::Working { attempt: attempt + 1 }, vec![Do::Resubmit])
        }

        // Neither its result nor its failure is of the whole file: nothing of it may be lost.
        (Is::Publishing { .. }, On::Changed(look)) => {
            (Is::Unsettled { look, since: now }, vec![Do::ReportChanged])
        }
        (Is::Unsettled { look, since }, On::TimePassed) if now >= since + limits.stable_for => {
            (Is::Unsettled { look, since }, vec![Do::Check])
        }
        (Is::Unsettled { look: before, since }, On::Looked { look, .. }) => match look == before {
            true if now >= since + limits.stable_for => (Is::Working { attempt: 1 }, vec![Do::Resubmit]),
            true => (Is::Unsettled { look, since }, vec![]),
            false => (Is::Unsettled { look, since: now }, vec![]),
        },
        (Is::Unsettled { .. }, On::Gone) => (Is::Over, vec![Do::ReportWithdrawn]),
        (Is::Unsettled { .. }, On::Unreadable(cause)) => publish(Outcome::Failed { cause }),

        (Is::Publishing { .. }, On::Published) => (Is::Over, vec![]),
        (Is::Publishing { outcome, attempt }, On::PublishFailed(failure)) => {
            // What cannot be put in its place stays where it is, whole, and is tried for ever: there is no other place.
            let longest = limits.longest_rest();
            let rest = match failure.kind {
                FailureKind::Permanent => longest,
                FailureKind::Transient | FailureKind::Ambiguous => {
                    limits.delays.after(attempt, failure.retry_after).unwrap_or(longest)
                }
            };
            (
                Is::Resting { outcome, attempt, again_at: now + rest },
                vec![Do::ReportDelay { attempt, rest, cause: failure.message }],
            )
        }
        (Is::Resting { outcome, attempt, again_at }, On::TimePassed) if now >= again_at => {
            let attempt = attempt + 1;
            (Is::Publishing { outcome: outcome.clone(), attempt }, vec![Do::Publish(outcome)])
        }

        // Looks go on while a file is on its way, clocks tick in every state, and answers may come late.
        (
            state,
            On::Looked { .. }
            | On::Gone
            | On::Room
            | On::Durable
            | On::Taken
            | On::Known(_)
            | On::NotTaken(_)
            | On::Closed(_)
            | On::Published
            | On::PublishFailed(_)
            | On::Changed(_)
            | On::Unreadable(_)
            | On::TimePassed,
        ) => (state, vec![]),
    }
}

fn publish(outcome: Outcome) -> Step {
    (
        ArrivalState::Publishing { outcome: outcome.clone(), attempt: 1 },
        vec![ArrivalCommand::Publish(outcome)],
    )
}

impl ArrivalLimits {
    fn longest_rest(&self) -> Duration {
        self.delays.steps.last().copied().unwrap_or(Duration::from_secs(30))
    }
}

impl ArrivalState {
    /// A file that was just seen for the first time.
    pub fn first(look: FileSnapshot, now: Elapsed) -> Self {
        Self::Seen { look, since: now }
    }

    /// When to say `TimePassed`, or to look again.
    pub fn wakes_at(&self, limits: &ArrivalLimits) -> Option<Elapsed> {
        match self {
            Self::Seen { since, .. } | Self::Unsettled { since, .. } => Some(*since + limits.stable_for),
            Self::Returning { again_at, .. } | Self::Resting { again_at, .. } => Some(*again_at),
            Self::Settled { .. }
            | Self::Intended { .. }
            | Self::Working { .. }
            | Self::Publishing { .. }
            | Self::Over => None,
        }
    }
}
