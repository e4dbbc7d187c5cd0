//! How an attempt at a task ended, and the verdict that follows.

use crate::{Failure, FailureKind, attempts::Cause};

/// The failure code of a command that exited with another code than 0.
const EXIT_CODE: &str = "FailureExitCode";

/// What the service reports about an ended task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Whether it exited with one of `task.success_codes`, and nothing else failed.
    pub success: bool,
    /// Whether it started to run: then it may have outputs.
    pub started: bool,
    /// Whether a client requested its end.
    pub by_request: bool,
    /// Exit code; `None` if the command never ran.
    pub exit_code: Option<i32>,
    /// Code and message of the failure.
    pub failure: Option<(String, String)>,
}

/// The reason why a task was terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It waited longer for a node than `deadlines.queue`.
    QueueTimedOut,
    /// It ran longer than `task.timeout`, and the service did not end it.
    RunTimedOut,
    /// Its node was lost, and `task.retry` says what follows: the service must not try it again by itself.
    NodeLost,
    /// The run ends.
    RunEnds,
}

/// The final verdict on a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It exited with one of `task.success_codes` and its results are delivered.
    Succeeded,
    /// It failed; `delivered` says whether its outputs were downloaded.
    Failed {
        /// Reason in one line.
        cause: String,
        /// Whether none of its outputs are only at the service.
        delivered: bool,
        /// Whether the reason is external and possibly temporary, so that another attempt may succeed.
        may_pass: bool,
    },
    /// This program ended it, or never started it. Its outputs are not a result and stay at the service.
    Unfinished {
        /// Reason in one line.
        cause: String,
        /// Whether none of its outputs are only at the service.
        delivered: bool,
    },
}

impl StopReason {
    /// Returns whether the task failed by itself: then its outputs are evidence, and are delivered.
    pub fn is_failure(self) -> bool {
        match self {
            Self::RunTimedOut | Self::NodeLost => true,
            Self::QueueTimedOut | Self::RunEnds => false,
        }
    }

    /// The cause of the failure that it is, if it is one.
    pub(super) fn cause(self) -> Option<Cause> {
        match self {
            Self::RunTimedOut => Some(Cause::Timeout),
            Self::NodeLost => Some(Cause::NodeLost),
            Self::QueueTimedOut | Self::RunEnds => None,
        }
    }

    /// Returns the reason in a few words, for the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueTimedOut => "queue deadline",
            Self::RunTimedOut => "task timeout",
            Self::NodeLost => "node lost",
            Self::RunEnds => "the run ends",
        }
    }

    /// Returns the reason that the record names with these words.
    pub fn of(text: &str) -> Option<Self> {
        [Self::QueueTimedOut, Self::RunTimedOut, Self::NodeLost, Self::RunEnds]
            .into_iter()
            .find(|why| why.as_str() == text)
    }

    /// Why a task was ended, in one line.
    pub(super) fn detail(self) -> &'static str {
        match self {
            Self::QueueTimedOut => "no node started it within deadlines.queue",
            Self::RunTimedOut => "it ran longer than task.timeout and did not end when terminated",
            Self::NodeLost => "its node was lost",
            Self::RunEnds => "the run ended before it did",
        }
    }
}

impl Ending {
    /// Returns whether a command that exited so succeeded. `success` is what the service says, which knows no other code of
    /// success than 0.
    pub fn is_success(
        success: bool,
        exit_code: Option<i32>,
        failure_code: Option<&str>,
        success_codes: &[i32],
    ) -> bool {
        match exit_code {
            Some(code) => success_codes.contains(&code) && failure_code.is_none_or(|code| code == EXIT_CODE),
            None => success,
        }
    }

    /// Returns the cause of the failure; `None` for a success, and for what was ended by request.
    pub fn cause(&self) -> Option<Cause> {
        if self.success || self.by_request {
            return None;
        }
        let code = self.failure.as_ref().map(|(code, _)| code.as_str()).filter(|code| !code.is_empty());
        let exited = self.exit_code.map(Cause::ExitCode);
        Some(match code {
            None | Some(EXIT_CODE) => exited.unwrap_or(Cause::Environment),
            Some("TaskEnded") => Cause::Timeout,
            // A command that failed and whose outputs could not be stored failed first of all.
            Some(code) if code.starts_with("FileUpload") => match self.exit_code {
                Some(exit) if exit != 0 => Cause::ExitCode(exit),
                _ => Cause::Outputs,
            },
            Some("ResourceDirectoryCreateFailed") => Cause::Environment,
            Some(code) if code.starts_with("Blob") || code.starts_with("Resource") => Cause::Inputs,
            Some(_) => Cause::Environment,
        })
    }

    /// Returns why it failed, in one line.
    pub fn detail(&self) -> String {
        match (&self.failure, self.exit_code) {
            (Some((code, _)), Some(exit)) if code == EXIT_CODE => match signal(exit) {
                Some(signal) => format!("exit code {exit} (killed by signal {signal})"),
                None => format!("exit code {exit}"),
            },
            (Some((code, message)), Some(exit)) if exit != 0 => {
                format!("{code}: {message} (exit code {exit})")
            }
            (Some((code, message)), _) => format!("{code}: {message}"),
            (None, Some(0)) => "exit code 0, which is none of task.success_codes".into(),
            (None, Some(exit)) => format!("exit code {exit}"),
            (None, None) => "failed; the service gave no reason".into(),
        }
    }
}

/// The signal behind an exit code, as shells and Linux nodes count.
fn signal(exit: i32) -> Option<i32> {
    (129..=159).contains(&exit).then_some(exit - 128)
}

pub(super) fn may_pass(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::Permanent => false,
        FailureKind::Transient | FailureKind::Ambiguous => true,
    }
}

/// What a task that is over is called, now that its results came home or will not.
pub(super) fn verdict(ending: &Ending, why: Option<StopReason>, undelivered: Option<&Failure>) -> Verdict {
    let delivered = undelivered.is_none();
    let lost = undelivered.map(|failure| format!("results not delivered: {}", failure.message));
    match (ending.success, why) {
        (true, _) => match lost {
            None => Verdict::Succeeded,
            Some(cause) => Verdict::Failed { cause, delivered, may_pass: undelivered.is_some_and(may_pass) },
        },
        (false, Some(why)) => stopped(why, delivered),
        (false, None) => {
            let cause = ending.detail();
            let cause = lost.map(|lost| format!("{cause}; {lost}")).unwrap_or(cause);
            Verdict::Failed { cause, delivered, may_pass: false }
        }
    }
}

/// The verdict on a task that was not started because too many others failed.
pub(super) fn held_back(delivered: bool) -> Verdict {
    Verdict::Unfinished { cause: "not started: run.max_failures was reached".into(), delivered }
}

/// The verdict on a task that Dropmill ended.
pub(super) fn stopped(why: StopReason, delivered: bool) -> Verdict {
    let cause = why.detail();
    match why.is_failure() {
        false => Verdict::Unfinished { cause: cause.into(), delivered },
        true => Verdict::Failed { cause: cause.into(), delivered, may_pass: false },
    }
}
