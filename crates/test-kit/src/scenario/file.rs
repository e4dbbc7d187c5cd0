//! The file format of a scenario.

use super::{
    Arrives, Case, Fault, FaultKind, FileAction, FileChange, Incident, IncidentKind, Scenario, ScenarioError,
    Work,
};
use crate::operation;
use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// Parses and checks a scenario file.
pub fn read(text: &str) -> Result<Scenario, ScenarioError> {
    let file: File =
        toml::from_str(text).map_err(|error| ScenarioError(error.to_string().trim_end().into()))?;
    file.checked()
}

/// Parses and checks one fault in JSON.
pub fn fault(text: &str) -> Result<Fault, ScenarioError> {
    let fault: FaultSection = serde_json::from_str(text).map_err(|error| ScenarioError(error.to_string()))?;
    fault.checked(0)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    title: String,
    hints: bool,
    bound: Option<Length>,
    clock: ClockSection,
    nodes: NodesSection,
    task: WorkSection,
    tasks: Vec<CaseSection>,
    wire: WireSection,
    fault: Vec<FaultSection>,
    incident: Vec<IncidentSection>,
    file: Vec<FileSection>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSection {
    at: Length,
    within: Option<Length>,
    name: String,
    #[serde(rename = "do", default)]
    what: FileDeedName,
    text: Option<String>,
}

#[derive(Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum FileDeedName {
    #[default]
    Put,
    Append,
    Remove,
    Link,
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
    deed: FaultKind,
    delay: Option<Length>,
    status: Option<u16>,
    code: Option<String>,
    retry_after: Option<Length>,
    body: Option<Arrives>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IncidentSection {
    at: Length,
    #[serde(rename = "do")]
    what: InterferenceName,
    #[serde(rename = "for")]
    lasts: Option<Length>,
    nodes: Option<u32>,
    code: Option<String>,
    ahead: Option<Length>,
    behind: Option<Length>,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum InterferenceName {
    Cancel,
    DeleteJob,
    DeletePool,
    RemoveNode,
    RebootNode,
    PreemptNodes,
    BreakNodes,
    Quota,
    StallResizes,
    MoveClock,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ClockSection {
    ahead: Option<Length>,
    behind: Option<Length>,
}

/// A duration as people write it, such as `5m`.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
struct Length(Duration);

impl TryFrom<String> for Length {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("expected a duration such as \"90s\", found {text:?}");
        let length: jiff::Span = text.parse().map_err(|_| wrong())?;
        let length = length.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        length.try_into().map(Self).map_err(|_| format!("expected a positive duration, found {text:?}"))
    }
}

fn or(length: Option<Length>, default: Duration) -> Duration {
    length.map_or(default, |Length(length)| length)
}

/// Returns the number of seconds that a clock is ahead.
fn skew(ahead: Option<Length>, behind: Option<Length>) -> Result<Option<i64>, String> {
    let seconds = |length: Length| i64::try_from(length.0.as_secs()).unwrap_or(i64::MAX);
    match (ahead, behind) {
        (Some(_), Some(_)) => Err("expected ahead or behind, not both".into()),
        (Some(ahead), None) => Ok(Some(seconds(ahead))),
        (None, Some(behind)) => Ok(Some(-seconds(behind))),
        (None, None) => Ok(None),
    }
}

impl IncidentSection {
    fn checked(self) -> Result<Incident, String> {
        use {IncidentKind as Is, InterferenceName as Name};
        let many = matches!(self.what, Name::PreemptNodes | Name::BreakNodes | Name::Quota);
        let lasting = many || matches!(self.what, Name::StallResizes | Name::MoveClock);
        if self.nodes.is_some() && !many {
            return Err("nodes is valid only with preempt-nodes, break-nodes and quota".into());
        }
        if self.code.is_some() && self.what != Name::Quota {
            return Err("code is valid only with quota".into());
        }
        if self.lasts.is_some() && !lasting {
            return Err(
                "for is valid only with preempt-nodes, break-nodes, quota, stall-resizes and move-clock"
                    .into(),
            );
        }
        let ahead = skew(self.ahead, self.behind)?;
        if ahead.is_some() != (self.what == Name::MoveClock) {
            return Err("ahead or behind is valid only with move-clock, and required there".into());
        }
        let some = usize::try_from(self.nodes.unwrap_or(1)).unwrap_or(usize::MAX);
        let what = match self.what {
            Name::Cancel => Is::Cancel,
            Name::DeleteJob => Is::DeleteJob,
            Name::DeletePool => Is::DeletePool,
            Name::RemoveNode => Is::RemoveNode,
            Name::RebootNode => Is::RebootNode,
            Name::PreemptNodes => Is::PreemptNodes { nodes: some },
            Name::BreakNodes => Is::BreakNodes { nodes: some },
            Name::Quota => Is::Quota {
                nodes: self.nodes.ok_or("quota needs nodes, the number of available nodes")?,
                code: self.code.unwrap_or_else(|| "AccountCoreQuotaReached".into()),
            },
            Name::StallResizes => Is::StallResizes,
            Name::MoveClock => Is::MoveClock { ahead_seconds: ahead.unwrap_or(0) },
        };
        Ok(Incident { at: self.at.0, what, lasts: self.lasts.map(|Length(length)| length) })
    }
}

impl FileSection {
    fn checked(self) -> Result<FileChange, String> {
        let writes = matches!(self.what, FileDeedName::Put | FileDeedName::Append);
        if self.text.is_some() && !writes {
            return Err("text is valid only with put and append".into());
        }
        if self.name.is_empty() || self.name.starts_with('/') || self.name.split('/').any(|part| part == "..")
        {
            return Err(format!("expected a path below the drop folder, found {:?}", self.name));
        }
        let text = self.text.unwrap_or_else(|| self.name.clone());
        let what = match self.what {
            FileDeedName::Put => FileAction::Put(text),
            FileDeedName::Append => FileAction::Append(text),
            FileDeedName::Remove => FileAction::Remove,
            FileDeedName::Link => FileAction::Link,
        };
        Ok(FileChange { at: self.at.0, within: or(self.within, Duration::ZERO), name: self.name, what })
    }
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
            return Err(ScenarioError("wire.latency: the maximum is less than the minimum".into()));
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
        scenario.clock_ahead_seconds = skew(self.clock.ahead, self.clock.behind)
            .map_err(|what| ScenarioError(format!("clock: {what}")))?
            .unwrap_or(0);
        for (place, incident) in self.incident.into_iter().enumerate() {
            let wrong = |what| ScenarioError(format!("incident {}: {what}", place + 1));
            scenario.incidents.push(incident.checked().map_err(wrong)?);
        }
        for (place, file) in self.file.into_iter().enumerate() {
            let wrong = |what| ScenarioError(format!("file {}: {what}", place + 1));
            scenario.files.push(file.checked().map_err(wrong)?);
        }
        Ok(scenario)
    }
}

impl FaultSection {
    fn checked(self, number: usize) -> Result<Fault, ScenarioError> {
        let wrong = |what: String| Err(ScenarioError(format!("fault {number}: {what}")));
        let names = operation::names();
        if let Some(unknown) = self.on.iter().find(|name| !names.contains(&name.as_str())) {
            return wrong(format!("unknown operation {unknown:?}, expected one of {}", names.join(", ")));
        }
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return wrong("probability must be between 0 and 1".into());
        }
        if self.nth.is_some() && self.every.is_some() {
            return wrong("expected nth or every, not both".into());
        }
        if let Some(possible) = self.deed.only_on() {
            let named: Vec<&str> = self.on.iter().map(String::as_str).collect();
            let limited = !possible("put blob");
            let possible_names: Vec<_> = names.iter().copied().filter(|name| possible(name)).collect();
            if limited && named.is_empty() || named.iter().any(|name| !possible(name)) {
                return wrong(format!("this fault is possible only with on = {}", possible_names.join(", ")));
            }
        }
        let answers = self.deed.answers();
        let status = self.status.unwrap_or(503);
        if answers && !(400..600).contains(&status) {
            return wrong(format!("status must be between 400 and 599, found {status}"));
        }
        if !answers && (self.status.is_some() || self.code.is_some() || self.retry_after.is_some()) {
            return wrong(
                "status, code and retry_after are valid only with do = \"status\", \"status-after\" and \"refuse-items\"".into(),
            );
        }
        if self.body.is_some() && !matches!(self.deed, FaultKind::Status | FaultKind::StatusAfter) {
            return wrong("body is valid only with do = \"status\" and \"status-after\"".into());
        }
        if (self.deed == FaultKind::Delay) != self.delay.is_some() {
            return wrong("delay is valid only with do = \"delay\", and required there".into());
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
            body: self.body.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_scenario_is_uneventful() {
        let scenario = Scenario::parse("").unwrap();
        assert_eq!(scenario.boot, Duration::from_secs(60));
        assert_eq!(scenario.task, Work::default());
        assert!(scenario.faults.is_empty() && scenario.incidents.is_empty());
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("90s", 90), ("1h 30m", 5400), ("7d", 604_800), ("2d 1h", 176_400), ("0s", 0)]
        {
            let scenario = Scenario::parse(&format!("bound = {text:?}")).unwrap();
            assert_eq!(scenario.bound, Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn the_scenarios_of_the_documentation_are_valid() {
        let text = include_str!("../../../../docs/simulating.md");
        let blocks: Vec<&str> =
            text.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
        assert!(blocks.len() >= 2, "{blocks:?}");
        for block in blocks {
            Scenario::parse(block).unwrap();
        }
    }

    #[test]
    fn errors_name_what_is_expected() {
        for (text, message) in [
            ("titel = \"x\"", "unknown field `titel`"),
            ("[nodes]\nboot = \"soon\"", "expected a duration such as"),
            (
                "[[fault]]\non = [\"add task collection\"]\ndo = \"refuse\"",
                "unknown operation \"add task collection\"",
            ),
            ("[[fault]]\ndo = \"explode\"", "unknown variant `explode`"),
            ("[[fault]]\ndo = \"delay\"", "required there"),
            ("[[fault]]\ndo = \"stale\"", "only with on = list "),
            ("[[fault]]\non = [\"put blob\"]\ndo = \"disk-full\"", "only with on = deliver"),
            ("[[fault]]\non = [\"deliver\"]\ndo = \"truncate\"", "only with on = "),
            ("[[fault]]\non = [\"store outputs\"]\ndo = \"delay\"\ndelay = \"1s\"", "possible only with on"),
            ("[[incident]]\nat = \"1s\"\ndo = \"quota\"", "quota needs nodes"),
            ("[[incident]]\nat = \"1s\"\ndo = \"cancel\"\nnodes = 2", "nodes is valid only with"),
            ("[[incident]]\nat = \"1s\"\ndo = \"reboot-node\"\nfor = \"2s\"", "for is valid only with"),
            ("[[incident]]\nat = \"1s\"\ndo = \"move-clock\"", "required there"),
            ("[clock]\nahead = \"1s\"\nbehind = \"1s\"", "clock: expected ahead or behind"),
            ("[[fault]]\ndo = \"refuse\"\nstatus = 503", "are valid only with do = \"status\""),
            ("[[fault]]\ndo = \"status\"\nstatus = 200", "must be between 400 and 599"),
            ("[[fault]]\ndo = \"refuse\"\nbody = \"half\"", "body is valid only with"),
            ("[[fault]]\ndo = \"status\"\nbody = \"most\"", "unknown variant `most`"),
            ("[[fault]]\ndo = \"refuse\"\nnth = 1\nevery = 2", "not both"),
            ("[[fault]]\ndo = \"refuse\"\nprobability = 2.0", "between 0 and 1"),
            ("[[tasks]]\nwhich = \"[\"", "tasks.which"),
            ("[wire]\nlatency = [\"2s\", \"1s\"]", "less than the minimum"),
            ("[[file]]\nat = \"1s\"\nname = \"../a\"", "file 1: expected a path below the drop folder"),
            (
                "[[file]]\nat = \"1s\"\nname = \"a\"\ndo = \"remove\"\ntext = \"x\"",
                "text is valid only with put",
            ),
        ] {
            let error = Scenario::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
