//! The state machine of one file of a drop folder: seen, claimed, processed, and published with its result or
//! failure.
//!
//! A file is never lost. From the moment when the intent to claim it is durable, it is in the drop folder, in
//! the work folder, or in the folder of its result, and every step can be found again by checking these
//! places.

use crate::{Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::{fmt, str::FromStr, time::Duration};

/// The metadata of a file: two equal snapshots mean that no process has written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSnapshot {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Modification time in nanoseconds since 1970, from the file system; may be in the future.
    pub modified_ns: i128,
    /// Inode, which differs if another file replaced it.
    pub inode: u64,
}

impl fmt::Display for FileSnapshot {
    /// Formats length, time and inode, separated by `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.size_bytes, self.modified_ns, self.inode)
    }
}

impl FromStr for FileSnapshot {
    type Err = ();

    /// Parses the formatted text.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(());
        let size_bytes = next()?.parse().map_err(|_| ())?;
        let modified_ns = next()?.parse().map_err(|_| ())?;
        let inode = next()?.parse().map_err(|_| ())?;
        Ok(Self { size_bytes, modified_ns, inode })
    }
}

/// The state of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivalState {
    /// It exists, and may still be written to.
    Seen {
        /// Its latest metadata.
        look: FileSnapshot,
        /// Time since which they are unchanged, by the clock of this process.
        since: Elapsed,
    },
    /// It is stable, and is claimed as soon as the limits allow it.
    Settled {
        /// Metadata of the stable file.
        look: FileSnapshot,
    },
    /// The intent to claim it is being made durable.
    Intended {
        /// Metadata at the intent.
        look: FileSnapshot,
    },
    /// It is in the work folder, and its task is in a run.
    Working {
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// Its task could not run, for a temporary reason.
    Returning {
        /// Number of the attempt that did not run.
        attempt: u32,
        /// Time when it is added to a run again.
        again_at: Elapsed,
    },
    /// It is in the work folder without a run, and may still be written to: it was changed after the claim,
    /// or a previous process left it.
    Unsettled {
        /// Its latest metadata.
        look: FileSnapshot,
        /// Time since which they are unchanged, by the clock of this process.
        since: Elapsed,
    },
    /// Its result or failure is being published.
    Publishing {
        /// Outcome to publish.
        outcome: Outcome,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// Waiting to retry the publication after a failure.
    Resting {
        /// Outcome to publish.
        outcome: Outcome,
        /// Number of the attempt that failed.
        attempt: u32,
        /// Time of the next attempt.
        again_at: Elapsed,
    },
    /// Published, or no longer the responsibility of this daemon.
    Over,
}

/// The outcome of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is published with its results.
    Done,
    /// It is published among the results without its own results: it was processed before.
    Duplicate,
    /// It is published with the reason of the failure.
    Failed {
        /// Reason in one line.
        cause: String,
    },
}

/// The final result of a file's task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// The task succeeded, and its results are downloaded.
    Succeeded,
    /// The task failed.
    Failed(String),
    /// The task never ran, for its own reason: its input cannot be read, or the service rejects it.
    Refused(String),
    /// The task did not run to its end, for an external reason: its run ended, or a service could not be
    /// reached.
    Untried(String),
}

/// An event of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivalEvent {
    /// A check found it; `whole` says that its writer has declared it complete.
    Looked {
        /// Metadata of the file.
        look: FileSnapshot,
        /// Declared complete by a marker, or by closing it if that is enough.
        whole: bool,
    },
    /// It no longer exists.
    Gone,
    /// The limits allow claiming it.
    Room,
    /// The intent to claim it is durable.
    Durable,
    /// It is in the work folder.
    Taken,
    /// It is in the work folder, and was processed before: this is its outcome.
    Known(Outcome),
    /// It could not be claimed.
    NotTaken(Failure),
    /// Its task is closed.
    Closed(Closing),
    /// It is published.
    Published,
    /// The publication failed.
    PublishFailed(Failure),
    /// It was changed after the claim: its result belongs to another content.
    Changed(FileSnapshot),
    /// It is no longer a valid input, with the reason.
    Unreadable(String),
    /// Time has passed; `now` is the current time.
    TimePassed,
}

/// A command of the file's state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrivalCommand {
    /// Add it to the queue of files to be claimed.
    Queue,
    /// Make the intent to claim it durable.
    Intend,
    /// Move it into the work folder.
    Take,
    /// Add its task to the run that claimed it.
    Submit,
    /// Create another task from it, in the current run.
    Resubmit,
    /// Check its metadata in the work folder.
    Check,
    /// Record that it was changed after the claim, and discard its result.
    ReportChanged,
    /// Publish its result or failure.
    Publish(Outcome),
    /// Report that it was removed before it was claimed.
    ReportWithdrawn,
    /// Report that it will be retried, with the reason.
    ReportDelay {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Length of the delay.
        rest: Duration,
        /// Reason of the failure.
        cause: String,
    },
}

/// The limits of a drop folder's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalLimits {
    /// Time for which the metadata must be unchanged.
    pub stable_for: Duration,
    /// Maximum number of attempts of a rejected task, before its file has failed.
    pub tries: u32,
    /// Delays between attempts.
    pub delays: Delays,
}

/// A state, and the commands on entering it.
pub type Step = (ArrivalState, Vec<ArrivalCommand>);

/// The state machine of a file of the drop folder.
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

/// Returns the next state and the commands for `event` at `now`.
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
        // A process has written to it again.
        (Is::Settled { look: before }, On::Looked { look, whole: false }) if look != before => {
            (Is::Seen { look, since: now }, vec![])
        }
        (Is::Settled { .. }, On::Looked { look, .. }) => (Is::Settled { look }, vec![]),
        (Is::Seen { .. } | Is::Settled { .. }, On::Gone) => (Is::Over, vec![]),
        (Is::Settled { look }, On::Room) => (Is::Intended { look }, vec![Do::Intend]),

        (Is::Intended { look }, On::Durable) => (Is::Intended { look }, vec![Do::Take]),
        (Is::Intended { .. }, On::Taken) => (Is::Working { attempt: 1 }, vec![Do::Submit]),
        (Is::Intended { .. }, On::Known(outcome)) => publish(outcome),
        // Another daemon claimed it, or its owner removed it: it does not belong to this daemon.
        (Is::Intended { .. }, On::NotTaken(_) | On::Gone) => (Is::Over, vec![Do::ReportWithdrawn]),

        (Is::Working { .. }, On::Closed(Closing::Succeeded)) => publish(Outcome::Done),
        (Is::Working { .. }, On::Closed(Closing::Failed(cause))) => publish(Outcome::Failed { cause }),
        (Is::Working { attempt }, On::Closed(Closing::Refused(cause))) if attempt >= limits.tries => {
            publish(Outcome::Failed { cause: format!("{cause} ({attempt} tries)") })
        }
        // A temporary reason is never a failure of the file, however often it occurs.
        (Is::Working { attempt }, On::Closed(Closing::Refused(cause) | Closing::Untried(cause))) => {
            let rest = limits.delays.after(attempt, None).unwrap_or_else(|| limits.longest_rest());
            (Is::Returning { attempt, again_at: now + rest }, vec![Do::ReportDelay { attempt, rest, cause }])
        }
        (Is::Returning { attempt, again_at }, On::TimePassed) if now >= again_at => {
            (Is::Working { attempt: attempt + 1 }, vec![Do::Resubmit])
        }

        // Neither its result nor its failure is of the complete file: nothing of it may be lost.
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
            // If it cannot be published, it stays where it is and is retried without end: there is no other
            // place.
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

        // Checks continue while a file is processed, time passes in every state, and responses may arrive
        // late.
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
    /// Returns the state of a file that was seen for the first time.
    pub fn first(look: FileSnapshot, now: Elapsed) -> Self {
        Self::Seen { look, since: now }
    }

    /// Returns the time for the next `TimePassed` or check.
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
