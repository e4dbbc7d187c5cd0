//! Which failed attempts at a task are followed by another, decided by the cause of the failure.
//!
//! A cause is an exit code or one word of a closed list. What Dropmill ended itself (a cancelled run, a deadline of the
//! run or of the queue) has no cause here: it is never tried again within the run.

use crate::delays::Delays;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Why an attempt at a task failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its command exited with a code that is no success.
    ExitCode(i32),
    /// It ran longer than `task.timeout`.
    Timeout,
    /// Its node was lost, preempted or restarted while it ran.
    NodeLost,
    /// The node could not download its files.
    Inputs,
    /// The node could not store its outputs.
    Outputs,
    /// The node could not run its command: no such program, a full disk, a defect of the node.
    Environment,
}

/// The words for causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseWord {
    /// Any exit code that is no success.
    ExitCode,
    /// The word for [`Cause::Timeout`].
    Timeout,
    /// The word for [`Cause::NodeLost`].
    NodeLost,
    /// The word for [`Cause::Inputs`].
    Inputs,
    /// The word for [`Cause::Outputs`].
    Outputs,
    /// The word for [`Cause::Environment`].
    Environment,
}

/// A cause that `task.retry` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryCause {
    /// One exit code.
    Code(i32),
    /// Everything that a word stands for.
    Word(CauseWord),
}

/// Which failed attempts are followed by another, and after how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub max: u32,
    /// Causes after which another attempt follows.
    pub on: Vec<RetryCause>,
    /// Causes after which none follows.
    pub not_on: Vec<RetryCause>,
    /// The delay after the first attempt, the second, …
    pub delays: Delays,
}

impl CauseWord {
    /// All words of the list.
    pub const ALL: [Self; 6] =
        [Self::ExitCode, Self::Timeout, Self::NodeLost, Self::Inputs, Self::Outputs, Self::Environment];

    /// Returns the word as run files and events write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExitCode => "exit_code",
            Self::Timeout => "timeout",
            Self::NodeLost => "node_lost",
            Self::Inputs => "inputs",
            Self::Outputs => "outputs",
            Self::Environment => "environment",
        }
    }
}

impl fmt::Display for RetryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Word(word) => f.write_str(word.as_str()),
        }
    }
}

impl Cause {
    /// Returns the word for this cause.
    pub fn word(self) -> CauseWord {
        match self {
            Self::ExitCode(_) => CauseWord::ExitCode,
            Self::Timeout => CauseWord::Timeout,
            Self::NodeLost => CauseWord::NodeLost,
            Self::Inputs => CauseWord::Inputs,
            Self::Outputs => CauseWord::Outputs,
            Self::Environment => CauseWord::Environment,
        }
    }
}

impl RetryPolicy {
    /// Returns a policy that tries a task again at once after any exit code that is no success, `max` times.
    pub fn after_exit_codes(max: u32) -> Self {
        Self {
            max,
            on: vec![RetryCause::Word(CauseWord::ExitCode)],
            not_on: vec![],
            delays: Delays { steps: vec![], for_ever: false },
        }
    }

    /// Returns whether another attempt may follow one that failed with this cause. A code that is named outranks the word
    /// `exit_code`; otherwise `not_on` outranks `on`.
    pub fn wants(&self, cause: Cause) -> bool {
        if let Cause::ExitCode(code) = cause {
            let code = RetryCause::Code(code);
            if self.not_on.contains(&code) {
                return false;
            }
            if self.on.contains(&code) {
                return true;
            }
        }
        let word = RetryCause::Word(cause.word());
        self.on.contains(&word) && !self.not_on.contains(&word)
    }

    /// Returns how long to wait until the attempt after number `attempt` (from 1), which failed with this cause; `None` if no
    /// other attempt follows.
    pub fn delay_after(&self, attempt: u32, cause: Cause) -> Option<Duration> {
        let follows = attempt <= self.max && self.wants(cause);
        follows.then(|| self.delays.after(attempt, None).unwrap_or_default())
    }

    /// Returns whether the loss of a node ends an attempt. Otherwise the service queues the task again by itself, as often as
    /// it happens.
    pub fn counts_lost_nodes(&self) -> bool {
        let word = RetryCause::Word(CauseWord::NodeLost);
        self.on.contains(&word) || self.not_on.contains(&word)
    }
}
