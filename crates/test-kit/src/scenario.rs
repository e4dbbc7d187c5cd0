//! A scenario: what nodes, tasks and the wire do in a simulation, as data.
//!
//! TOML; unknown keys are errors. Lengths of time are written `"90s"`, `"5m"`, `"1h 30m"`. What is left out is the
//! uneventful case: nodes boot in a minute, tasks take a second and succeed, the wire is perfect.

use crate::operation::{self, Operation};
use globset::{Glob, GlobMatcher};
use serde::Deserialize;
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
    /// Whether the service hints at changes, as the embedded one does and Azure does not.
    pub hints: bool,
    /// What goes wrong on the wire.
    pub faults: Vec<Fault>,
    /// What somebody else does, and when.
    pub incidents: Vec<Incident>,
    /// By when (virtual time) the run must be over.
    pub bound: Duration,
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
    pub deed: Deed,
    /// How long a delay is.
    pub delay: Duration,
    /// HTTP status of an answer.
    pub status: u16,
    /// The service's code of it.
    pub code: String,
    /// What the answer says of when to come back.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// Whether it is aimed at such an operation.
    pub fn fits(&self, operation: &Operation) -> bool {
        (self.on.is_empty() || self.on.iter().any(|on| on == operation.name))
            && self.subject.as_ref().is_none_or(|subject| subject.is_match(&operation.subject))
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
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
    /// The service refuses it with a status and code.
    Status,
    /// The service carries it out and says that it failed.
    StatusAfter,
}

/// What somebody else does.
#[derive(Debug, Clone)]
pub struct Incident {
    /// When, from the beginning of the run.
    pub at: Duration,
    /// What.
    pub what: Interference,
}

/// What somebody else can do to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interference {
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
        let file: File =
            toml::from_str(text).map_err(|error| ScenarioError(error.to_string().trim_end().into()))?;
        file.checked()
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    title: String,
    hints: bool,
    bound: Option<Length>,
    nodes: NodesSection,
    task: WorkSection,
    tasks: Vec<CaseSection>,
    wire: WireSection,
    fault: Vec<FaultSection>,
    incident: Vec<IncidentSection>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct NodesSection {
    boot: Option<Length>,
    start_task: Vec<StartSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartSection {
    node: u32,
    duration: Option<Length>,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    stderr: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WorkSection {
    duration: Option<Length>,
    exit_code: i32,
    stderr: String,
    outputs: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseSection {
    which: String,
    tries: Option<u32>,
    duration: Option<Length>,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    stderr: String,
    outputs: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WireSection {
    latency: Option<(Length, Length)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultSection {
    #[serde(default)]
    on: Vec<String>,
    subject: Option<String>,
    nth: Option<u32>,
    every: Option<u32>,
    probability: Option<f64>,
    from: Option<Length>,
    until: Option<Length>,
    times: Option<u32>,
    #[serde(rename = "do")]
    deed: Deed,
    delay: Option<Length>,
    status: Option<u16>,
    code: Option<String>,
    retry_after: Option<Length>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IncidentSection {
    at: Length,
    #[serde(rename = "do")]
    what: Interference,
}

/// A length of time as people write it.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
struct Length(Duration);

impl TryFrom<String> for Length {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let length: jiff::SignedDuration =
            text.parse().map_err(|_| format!("{text:?} is no length of time; write for example \"90s\""))?;
        length.try_into().map(Self).map_err(|_| format!("{text:?} is less than nothing"))
    }
}

fn or(length: Option<Length>, default: Duration) -> Duration {
    length.map_or(default, |Length(length)| length)
}

fn pattern(what: &str, text: &str) -> Result<GlobMatcher, ScenarioError> {
    let glob =
        Glob::new(text).map_err(|error| ScenarioError(format!("{what}: {text:?}: {}", error.kind())))?;
    Ok(glob.compile_matcher())
}

impl File {
    fn checked(self) -> Result<Scenario, ScenarioError> {
        let plain = Scenario::uneventful();
        let usual = Work::default();
        let work = |duration, exit_code, stderr, outputs| Work {
            duration: or(duration, usual.duration),
            exit_code,
            stderr,
            outputs,
        };
        let mut scenario = Scenario {
            title: self.title,
            hints: self.hints,
            boot: or(self.nodes.boot, plain.boot),
            bound: or(self.bound, plain.bound),
            task: work(self.task.duration, self.task.exit_code, self.task.stderr, self.task.outputs),
            latency: self.wire.latency.map_or(plain.latency, |(least, most)| (least.0, most.0)),
            ..plain
        };
        if scenario.latency.0 > scenario.latency.1 {
            return Err(ScenarioError("wire.latency: the longest is shorter than the shortest".into()));
        }
        for start in self.nodes.start_task {
            let done = work(start.duration, start.exit_code, start.stderr, Some(BTreeMap::new()));
            scenario.start_tasks.insert(start.node, done);
        }
        for case in self.tasks {
            let which = pattern("tasks.which", &case.which)?;
            let work = work(case.duration, case.exit_code, case.stderr, case.outputs);
            scenario.cases.push(Case { which, tries: case.tries, work });
        }
        for (place, fault) in self.fault.into_iter().enumerate() {
            scenario.faults.push(fault.checked(place + 1)?);
        }
        for incident in self.incident {
            scenario.incidents.push(Incident { at: incident.at.0, what: incident.what });
        }
        Ok(scenario)
    }
}

impl FaultSection {
    fn checked(self, number: usize) -> Result<Fault, ScenarioError> {
        let wrong = |what: String| Err(ScenarioError(format!("fault {number}: {what}")));
        let names = operation::names();
        if let Some(unknown) = self.on.iter().find(|name| !names.contains(&name.as_str())) {
            return wrong(format!("there is no operation {unknown:?}; there are {}", names.join(", ")));
        }
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return wrong("probability must be from 0 to 1".into());
        }
        if self.nth.is_some() && self.every.is_some() {
            return wrong("give nth or every, not both".into());
        }
        let answers = matches!(self.deed, Deed::Status | Deed::StatusAfter);
        let status = self.status.unwrap_or(503);
        if answers && !(400..600).contains(&status) {
            return wrong(format!("status {status} is no refusal: it must be from 400 to 599"));
        }
        if !answers && (self.status.is_some() || self.code.is_some() || self.retry_after.is_some()) {
            return wrong(
                "status, code and retry_after belong to do = \"status\" and \"status-after\"".into(),
            );
        }
        if (self.deed == Deed::Delay) != self.delay.is_some() {
            return wrong("delay belongs to do = \"delay\", and is needed there".into());
        }
        let subject = self.subject.as_deref().map(|text| pattern(&format!("fault {number}: subject"), text));
        Ok(Fault {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            on: self.on,
            subject: subject.transpose()?,
            nth: self.nth,
            every: self.every,
            probability: self.probability,
            from: or(self.from, Duration::ZERO),
            until: self.until.map(|length| length.0),
            times: self.times,
            deed: self.deed,
            delay: or(self.delay, Duration::ZERO),
            status,
            code: self
                .code
                .unwrap_or_else(|| if status == 503 { "ServerBusy" } else { "InternalError" }.into()),
            retry_after: self.retry_after.map(|length| length.0),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_left_out_is_uneventful() {
        let scenario = Scenario::parse("").unwrap();
        assert_eq!(scenario.boot, Duration::from_secs(60));
        assert_eq!(scenario.task, Work::default());
        assert!(scenario.faults.is_empty() && scenario.incidents.is_empty());
    }

    #[test]
    fn mistakes_are_told_with_what_would_be_right() {
        for (text, told) in [
            ("titel = \"x\"", "unknown field `titel`"),
            ("[nodes]\nboot = \"soon\"", "\"soon\" is no length of time"),
            ("[[fault]]\non = [\"add task collection\"]\ndo = \"refuse\"", "there are create pool"),
            ("[[fault]]\ndo = \"explode\"", "unknown variant `explode`"),
            ("[[fault]]\ndo = \"delay\"", "is needed there"),
            ("[[fault]]\ndo = \"refuse\"\nstatus = 503", "belong to do = \"status\""),
            ("[[fault]]\ndo = \"status\"\nstatus = 200", "is no refusal"),
            ("[[fault]]\ndo = \"refuse\"\nnth = 1\nevery = 2", "not both"),
            ("[[fault]]\ndo = \"refuse\"\nprobability = 2.0", "from 0 to 1"),
            ("[[tasks]]\nwhich = \"[\"", "tasks.which"),
            ("[wire]\nlatency = [\"2s\", \"1s\"]", "shorter"),
        ] {
            let error = Scenario::parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
