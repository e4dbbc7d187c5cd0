//! A scenario: what nodes, tasks and the wire do in a simulation, as data.
//!
//! TOML; unknown keys are errors. Lengths of time are written `"90s"`, `"5m"`, `"1h 30m"`. What is left out is the
//! uneventful case: nodes boot in a minute, tasks take a second and succeed, the wire is perfect.

mod file;

use crate::operation::{self, Operation};
use globset::GlobMatcher;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// A scenario that was read and checked.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// What it teaches.
    pub title: String,
    /// How long a node takes to boot.
    pub boot: Duration,
    /// Start tasks, by the node's place in the order of booting, from 1; others do [`Work::default`].
    pub start_tasks: BTreeMap<u32, Work>,
    /// What a task does.
    pub task: Work,
    /// Tasks that do something else: the first that fits counts.
    pub cases: Vec<Case>,
    /// Shortest and longest time of a request's way.
    pub latency: (Duration, Duration),
    /// How far the service's clock is ahead of ours, in seconds; less than nothing: behind.
    pub clock_ahead_seconds: i64,
    /// Whether the service hints at changes, as the embedded one does and Azure does not.
    pub hints: bool,
    /// What goes wrong on the wire.
    pub faults: Vec<Fault>,
    /// What somebody else does, and when.
    pub incidents: Vec<Incident>,
    /// Changes in the drop folder, if the run file has one.
    pub files: Vec<FileChange>,
    /// By when (virtual time) the run must be over.
    pub bound: Duration,
}

/// A change in the drop folder, made by someone who uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Time of the change, from the beginning.
    pub at: Duration,
    /// The change comes up to this much later; how much, the seed draws.
    pub within: Duration,
    /// Path below the drop folder.
    pub name: String,
    /// What is done.
    pub what: FileDeed,
}

/// What someone does in a drop folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileDeed {
    /// A file with this content appears by one rename; one of that name is replaced.
    Put(String),
    /// The writer of the file that was last put under the name holds it open, and writes more.
    Append(String),
    /// The file is removed, if it was not taken yet.
    Remove,
    /// A symbolic link takes the name.
    Link,
}

/// What a process does.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// How long it runs.
    pub duration: Duration,
    /// What it exits with.
    pub exit_code: i32,
    /// What it complains.
    pub stderr: String,
    /// Files it leaves, with their contents; `None`: one for each pattern of `task.outputs`.
    pub outputs: Option<BTreeMap<String, String>>,
}

impl Default for Work {
    fn default() -> Self {
        Self { duration: Duration::from_secs(1), exit_code: 0, stderr: String::new(), outputs: None }
    }
}

/// Tasks that do something of their own.
#[derive(Debug, Clone)]
pub struct Case {
    /// Which: a pattern for the task's id or its input's name.
    pub which: GlobMatcher,
    /// Only so many of its first tries; none: all.
    pub tries: Option<u32>,
    /// What they do.
    pub work: Work,
}

/// What goes wrong with requests.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its place in the scenario, from 1; its draws depend on it alone, so that taking out another changes none.
    pub number: u32,
    /// Of these operations; empty: of all.
    pub on: Vec<String>,
    /// About what; none: anything.
    pub subject: Option<GlobMatcher>,
    /// Only the n-th that fits, from 1.
    pub nth: Option<u32>,
    /// Each n-th that fits.
    pub every: Option<u32>,
    /// With this probability.
    pub probability: Option<f64>,
    /// Not before.
    pub from: Duration,
    /// Not from then on.
    pub until: Option<Duration>,
    /// At most so often.
    pub times: Option<u32>,
    /// What happens.
    pub deed: FaultKind,
    /// How long a delay is.
    pub delay: Duration,
    /// HTTP status of an answer.
    pub status: u16,
    /// The service's code of it.
    pub code: String,
    /// What the answer says of when to come back.
    pub retry_after: Option<Duration>,
    /// How much of its body arrives.
    pub body: Arrives,
}

impl Fault {
    /// Whether it is aimed at such an operation; one that names none is aimed at every request of the client.
    pub fn fits(&self, operation: &Operation) -> bool {
        let named = self.on.iter().any(|on| on == operation.name);
        (named || self.on.is_empty() && !operation::is_elsewhere(operation.name))
            && self.subject.as_ref().is_none_or(|subject| subject.is_match(&operation.subject))
    }

    /// It as JSON, with how often it struck.
    pub fn told(&self, struck: u32) -> serde_json::Value {
        let subject = self.subject.as_ref().map(|subject| subject.glob().glob());
        let mut told = json!({
            "number": self.number, "struck": struck, "do": self.deed, "on": self.on, "subject": subject,
            "nth": self.nth, "every": self.every, "probability": self.probability, "times": self.times,
        });
        if self.deed.answers() {
            told["status"] = self.status.into();
            told["code"] = self.code.as_str().into();
            told["body"] = json!(self.body);
        }
        if let serde_json::Value::Object(members) = &mut told {
            members.retain(|_, value| !value.is_null());
        }
        told
    }
}

/// Reads one fault, written as JSON with the keys that it has in a scenario.
///
/// # Errors
/// What is wrong.
pub fn fault(json: &str) -> Result<Fault, ScenarioError> {
    file::fault(json)
}

/// How much of the body of a refusal arrives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrives {
    /// All of it, with the service's error code.
    #[default]
    Whole,
    /// Half of it, then the connection breaks.
    Half,
    /// There is no body, and no error code in a header: a gateway refused the request.
    None,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// No connection: the service has not seen it.
    Refuse,
    /// The connection breaks before the service has seen it; the client cannot know that.
    ResetBefore,
    /// The service carries it out, the connection breaks before the answer.
    ResetAfter,
    /// The service carries it out, the answer never comes.
    DropAnswer,
    /// The service gets it twice.
    Duplicate,
    /// It takes longer.
    Delay,
    /// The answer's body ends in the middle.
    Truncate,
    /// The answer's body is cut in half, and its Content-Length says so: a gateway kept only half of it.
    Shorten,
    /// The answer's Content-Length is 1,000 more than its body has.
    Lengthen,
    /// The service refuses it with a status and code.
    Status,
    /// The service carries it out and says that it failed.
    StatusAfter,
    /// What is read is what was read with the same request the time before: the service's copies lag.
    Stale,
    /// A list names each of its entries twice, as pages that overlap do.
    RepeatItems,
    /// Every second task of a collection is refused with a status and code, the others are added.
    RefuseItems,
    /// A result cannot be written here: no space, for now.
    DiskFull,
    /// A result cannot be written here, and waiting does not help.
    DiskFails,
}

impl FaultKind {
    /// The operations that it can happen to; none: all requests of the client.
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

    /// Whether it answers with a status and a code.
    pub fn answers(self) -> bool {
        matches!(self, Self::Status | Self::StatusAfter | Self::RefuseItems)
    }
}

/// What somebody else does, or the service by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// What.
    pub what: IncidentKind,
    /// After so long it is undone, where it can be; none: never.
    pub lasts: Option<Duration>,
}

/// What can befall a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentKind {
    /// The user asks the run to end.
    Cancel,
    /// Somebody deletes the job.
    DeleteJob,
    /// Somebody deletes the pool.
    DeletePool,
    /// A node goes, its tasks are queued again; the pool stays smaller.
    RemoveNode,
    /// A node restarts, its tasks are queued again.
    RebootNode,
    /// Spot nodes (any, if there are no spot nodes) are taken away, their tasks are queued again; undone, they return.
    PreemptNodes {
        /// How many.
        nodes: usize,
    },
    /// Nodes cannot be used any more, their tasks are queued again.
    BreakNodes {
        /// How many.
        nodes: usize,
    },
    /// No more than so many nodes are to be had; those that are there stay.
    Quota {
        /// How many.
        nodes: u32,
        /// What the pool's resize error says: `AccountCoreQuotaReached`, `AllocationFailed`, …
        code: String,
    },
    /// Resizes get no node and do not end.
    StallResizes,
    /// The service's clock is wrong.
    MoveClock {
        /// By so many seconds; less than nothing: behind.
        ahead_seconds: i64,
    },
}

/// A scenario file that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl Scenario {
    /// Nothing out of the ordinary.
    pub fn uneventful() -> Self {
        let minute = Duration::from_secs(60);
        Self { boot: minute, bound: Duration::from_secs(7 * 24 * 3600), ..Self::default() }
    }

    /// Reads a scenario file's text.
    ///
    /// # Errors
    /// What is wrong, with its line where TOML tells it.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        file::read(text)
    }
}
