//! A scenario: how nodes, tasks and the wire behave in a simulation, as data.
//!
//! The format is TOML; unknown keys are errors. Durations are written `"90s"`, `"5m"`, `"1h 30m"`. The
//! defaults are uneventful: nodes boot in a minute, tasks take a second and succeed, and there are no faults.

mod file;

use crate::operation::{self, Operation};
use globset::GlobMatcher;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// A scenario that was parsed and checked.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// One line that says what the scenario shows.
    pub title: String,
    /// Time that a node takes to boot.
    pub boot: Duration,
    /// Start tasks, by the node's position in the boot order, from 1; other nodes use [`Work::default`].
    pub start_tasks: BTreeMap<u32, Work>,
    /// Default behaviour of a task.
    pub task: Work,
    /// Tasks with another behaviour; the first match counts.
    pub cases: Vec<Case>,
    /// Minimum and maximum latency of a request.
    pub latency: (Duration, Duration),
    /// Number of seconds that the service's clock is ahead of the client's; negative: behind.
    pub clock_ahead_seconds: i64,
    /// Whether the service publishes change notifications, as the embedded service does and Azure does not.
    pub hints: bool,
    /// Faults to inject on the wire.
    pub faults: Vec<Fault>,
    /// Incidents to inject, with their times.
    pub incidents: Vec<Incident>,
    /// Changes in the drop folder, if the run file has one.
    pub files: Vec<FileChange>,
    /// Virtual time after which the run must have ended.
    pub bound: Duration,
}

/// A change that a user makes in the drop folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Time of the change, since the start.
    pub at: Duration,
    /// Maximum random delay of the change; the seed determines the delay.
    pub within: Duration,
    /// Path below the drop folder.
    pub name: String,
    /// Kind of the change.
    pub what: FileAction,
}

/// What a user does in a drop folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAction {
    /// Puts a file with this content into the folder with one rename; it replaces a file of the same name.
    Put(String),
    /// Appends to the last file with this name, which its writer keeps open.
    Append(String),
    /// Removes the file, if it has not been claimed yet.
    Remove,
    /// Puts a symbolic link in place of the file.
    Link,
}

/// The behaviour of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// How long the process runs.
    pub duration: Duration,
    /// Exit code of the process.
    pub exit_code: i32,
    /// Text that it writes to standard error.
    pub stderr: String,
    /// Files that it writes, with their contents; `None`: one file for each pattern of `task.outputs`.
    pub outputs: Option<BTreeMap<String, String>>,
}

impl Default for Work {
    fn default() -> Self {
        Self { duration: Duration::from_secs(1), exit_code: 0, stderr: String::new(), outputs: None }
    }
}

/// A behaviour for some of the tasks.
#[derive(Debug, Clone)]
pub struct Case {
    /// Pattern for the task's id or the name of its input.
    pub which: GlobMatcher,
    /// Number of first attempts to which it applies; `None`: all.
    pub tries: Option<u32>,
    /// Behaviour of these tasks.
    pub work: Work,
}

/// A fault of requests.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Number of the fault in the scenario, from 1. Its random choices depend on this number only, so that
    /// removing another fault does not change them.
    pub number: u32,
    /// Names of operations; empty: all.
    pub on: Vec<String>,
    /// Pattern for the subject of an operation; `None`: any.
    pub subject: Option<GlobMatcher>,
    /// Only the n-th matching request, from 1.
    pub nth: Option<u32>,
    /// Every n-th matching request.
    pub every: Option<u32>,
    /// Probability for each matching request.
    pub probability: Option<f64>,
    /// Time before which it does not apply.
    pub from: Duration,
    /// Time from which it no longer applies.
    pub until: Option<Duration>,
    /// Maximum number of times that it is injected.
    pub times: Option<u32>,
    /// Kind of the fault.
    pub deed: FaultKind,
    /// Length of the delay.
    pub delay: Duration,
    /// HTTP status of the response.
    pub status: u16,
    /// Error code of the response.
    pub code: String,
    /// `Retry-After` of the response.
    pub retry_after: Option<Duration>,
    /// Part of the response body that arrives.
    pub body: Arrives,
}

impl Fault {
    /// Returns whether it applies to an operation; a fault without operations applies to every request of the
    /// client.
    pub fn fits(&self, operation: &Operation) -> bool {
        let named = self.on.iter().any(|on| on == operation.name);
        (named || self.on.is_empty() && !operation::is_elsewhere(operation.name))
            && self.subject.as_ref().is_none_or(|subject| subject.is_match(&operation.subject))
    }

    /// Returns it as JSON, with the number of times that it was injected.
    pub fn to_json(&self, struck: u32) -> serde_json::Value {
        let subject = self.subject.as_ref().map(|subject| subject.glob().glob());
        let mut value = json!({
            "number": self.number, "struck": struck, "do": self.deed, "on": self.on, "subject": subject,
            "nth": self.nth, "every": self.every, "probability": self.probability, "times": self.times,
        });
        if self.deed.answers() {
            value["status"] = self.status.into();
            value["code"] = self.code.as_str().into();
            value["body"] = json!(self.body);
        }
        if let serde_json::Value::Object(members) = &mut value {
            members.retain(|_, value| !value.is_null());
        }
        value
    }
}

/// Parses one fault, written as JSON with the keys that it has in a scenario.
///
/// # Errors
/// Returns what is wrong with the JSON or the fault.
pub fn fault(json: &str) -> Result<Fault, ScenarioError> {
    file::fault(json)
}

/// The part of the body of an error response that arrives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrives {
    /// The whole body, with the service's error code.
    #[default]
    Whole,
    /// Half of the body; then the connection breaks.
    Half,
    /// No body and no error code in a header, as from a gateway that rejects the request.
    None,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The client cannot connect; the service does not receive the request.
    Refuse,
    /// The connection breaks before the service receives the request; the client cannot know that.
    ResetBefore,
    /// The service carries out the request; the connection breaks before the response.
    ResetAfter,
    /// The service carries out the request; the response never arrives.
    DropAnswer,
    /// The service receives the request twice.
    Duplicate,
    /// The request takes longer.
    Delay,
    /// The connection breaks in the middle of the response body.
    Truncate,
    /// The response body is cut in half, with a matching Content-Length: a gateway kept only half of it.
    Shorten,
    /// The Content-Length of the response is 1,000 bytes more than the length of its body.
    Lengthen,
    /// The service rejects the request with a status and an error code.
    Status,
    /// The service carries out the request and responds with an error.
    StatusAfter,
    /// A read returns the previous response to the same request, as from a replica that lags.
    Stale,
    /// A list contains each entry twice, as overlapping pages do.
    RepeatItems,
    /// Every second task of a collection is rejected with a status and an error code; the others are added.
    RefuseItems,
    /// A result cannot be written to the local disk: no space, temporarily.
    DiskFull,
    /// A result cannot be written to the local disk, and retries do not help.
    DiskFails,
}

impl FaultKind {
    /// Returns the test for the operations to which it can apply; `None`: all requests of the client.
    pub fn only_on(self) -> Option<fn(&str) -> bool> {
        match self {
            Self::Stale => Some(|name| ["get ", "list ", "count "].iter().any(|verb| name.starts_with(verb))),
            Self::RepeatItems => Some(|name| name.starts_with("list ")),
            Self::RefuseItems => Some(|name| name == "add tasks"),
            Self::DiskFull | Self::DiskFails => Some(|name| name == operation::DELIVER),
            Self::Refuse | Self::Status => Some(|name| name != operation::DELIVER),
            _ => Some(|name| !operation::is_elsewhere(name)),
        }
    }

    /// Returns whether it responds with a status and an error code.
    pub fn answers(self) -> bool {
        matches!(self, Self::Status | Self::StatusAfter | Self::RefuseItems)
    }
}

/// An action of an outside user or of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Time of the incident, since the start of the run.
    pub at: Duration,
    /// Kind of the incident.
    pub what: IncidentKind,
    /// Time after which it is reverted, where possible; `None`: never.
    pub lasts: Option<Duration>,
}

/// An incident that a scenario can inject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentKind {
    /// The user cancels the run.
    Cancel,
    /// An outside user deletes the job.
    DeleteJob,
    /// An outside user deletes the pool.
    DeletePool,
    /// An outside user removes a node: its tasks are queued again, and the pool stays smaller.
    RemoveNode,
    /// An outside user reboots a node: its tasks are queued again.
    RebootNode,
    /// The service preempts Spot nodes (any nodes, if there are no Spot nodes): their tasks are queued again.
    /// When reverted, the nodes return.
    PreemptNodes {
        /// Number of nodes.
        nodes: usize,
    },
    /// Nodes become unusable: their tasks are queued again.
    BreakNodes {
        /// Number of nodes.
        nodes: usize,
    },
    /// A quota limits the number of nodes; existing nodes stay.
    Quota {
        /// Number of available nodes.
        nodes: u32,
        /// Code of the pool's resize error: `AccountCoreQuotaReached`, `AllocationFailed`, …
        code: String,
    },
    /// Resizes add no nodes and do not end.
    StallResizes,
    /// The service's clock is wrong.
    MoveClock {
        /// Number of seconds that it is ahead; negative: behind.
        ahead_seconds: i64,
    },
}

/// An invalid scenario file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl Scenario {
    /// Returns a scenario without faults and incidents.
    pub fn uneventful() -> Self {
        let minute = Duration::from_secs(60);
        Self { boot: minute, bound: Duration::from_secs(7 * 24 * 3600), ..Self::default() }
    }

    /// Parses a scenario file.
    ///
    /// # Errors
    /// Returns what is wrong, with its line if TOML reports it.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        file::read(text)
    }
}
