//! The file that a scenario is written in.

use super::{
    Arrives, Case, Fault, FaultKind, FileChange, FileDeed, Incident, IncidentKind, Scenario, ScenarioError,
    Work,
};
use crate::operation;
use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// Reads and checks a scenario file's text.
pub fn read(text: &str) -> Result<Scenario, ScenarioError> {
    let file: File =
        toml::from_str(text).map_err(|error| ScenarioError(error.to_string().trim_end().into()))?;
    file.checked()
}

/// Reads and checks one fault in JSON.
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

/// A length of time as people write it.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
struct Length(Duration);

impl TryFrom<String> for Length {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no length of time; write for example \"90s\"");
        let length: jiff::Span = text.parse().map_err(|_| wrong())?;
        let length = length.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        length.try_into().map(Self).map_err(|_| format!("{text:?} is less than nothing"))
    }
}

fn or(length: Option<Length>, default: Duration) -> Duration {
    length.map_or(default, |Length(length)| length)
}

/// Seconds that a clock is ahead.
fn skew(ahead: Option<Length>, behind: Option<Length>) -> Result<Option<i64>, String> {
    let seconds = |length: Length| i64::try_from(length.0.as_secs()).unwrap_or(i64::MAX);
    match (ahead, behind) {
        (Some(_), Some(_)) => Err("give ahead or behind, not both".into()),
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
            return Err("nodes belongs to preempt-nodes, break-nodes and quota".into());
        }
        if self.code.is_some() && self.what != Name::Quota {
            return Err("code belongs to quota".into());
        }
        if self.lasts.is_some() && !lasting {
            return Err(
                "for belongs to what can be undone: preempt-nodes, break-nodes, quota, stall-resizes, move-clock"
                    .into()
            );
        }
        let ahead = skew(self.ahead, self.behind)?;
        if ahead.is_some() != (self.what == Name::MoveClock) {
            return Err("ahead or behind belongs to move-clock, and is needed there".into());
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
                nodes: self.nodes.ok_or("quota needs nodes: how many are to be had")?,
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
            return Err("text belongs to put and append".into());
        }
        if self.name.is_empty() || self.name.starts_with('/') || self.name.split('/').any(|part| part == "..")
        {
            return Err(format!("{:?} is not a path below the drop folder", self.name));
        }
        let text = self.text.unwrap_or_else(|| self.name.clone());
        let what = match self.what {
            FileDeedName::Put => FileDeed::Put(text),
            FileDeedName::Append => FileDeed::Append(text),
            FileDeedName::Remove => FileDeed::Remove,
            FileDeedName::Link => FileDeed::Link,
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
            return wrong(format!("there is no operation {unknown:?}; there are {}", names.join(", ")));
        }
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return wrong("probability must be from 0 to 1".into());
        }
        if self.nth.is_some() && self.every.is_some() {
            return wrong("give nth or every, not both".into());
        }
        if let Some(possible) = self.deed.only_on() {
            let named: Vec<&str> = self.on.iter().map(String::as_str).collect();
            let limited = !possible("put blob");
            let possible_names: Vec<_> = names.iter().copied().filter(|name| possible(name)).collect();
            if limited && named.is_empty() || named.iter().any(|name| !possible(name)) {
                return wrong(format!("that can happen only on = {}", possible_names.join(", ")));
            }
        }
        let answers = self.deed.answers();
        let status = self.status.unwrap_or(503);
        if answers && !(400..600).contains(&status) {
            return wrong(format!("status {status} is no refusal: it must be from 400 to 599"));
        }
        if !answers && (self.status.is_some() || self.code.is_some() || self.retry_after.is_some()) {
            return wrong(
                "status, code and retry_after belong to do = \"status\", \"status-after\" and \"refuse-items\"".into(),
            );
        }
        if self.body.is_some() && !matches!(self.deed, FaultKind::Status | FaultKind::StatusAfter) {
            return wrong("body belongs to do = \"status\" and \"status-after\"".into());
        }
        if (self.deed == FaultKind::Delay) != self.delay.is_some() {
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
            body: self.body.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_uneventful() {
        let scenario = Scenario::parse("").unwrap();
        assert_eq!(scenario.boot, Duration::from_secs(60));
        assert_eq!(scenario.task, Work::default());
        assert!(scenario.faults.is_empty() && scenario.incidents.is_empty());
    }

    #[test]
    fn lengths_are_written_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("1h 30m", 5400), ("7d", 604_800), ("2d 1h", 176_400), ("0s", 0)]
        {
            let scenario = Scenario::parse(&format!("bound = {text:?}")).unwrap();
            assert_eq!(scenario.bound, Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn the_scenarios_of_the_documentation_are_scenarios() {
        let text = include_str!("../../../../docs/simulating.md");
        let blocks: Vec<&str> =
            text.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
        assert!(blocks.len() >= 2, "{blocks:?}");
        for block in blocks {
            Scenario::parse(block).unwrap();
        }
    }

    #[test]
    fn mistakes_are_told_with_what_would_be_right() {
        for (text, told) in [
            ("titel = \"x\"", "unknown field `titel`"),
            ("[nodes]\nboot = \"soon\"", "\"soon\" is no length of time"),
            ("[[fault]]\non = [\"add task collection\"]\ndo = \"refuse\"", "there are create pool"),
            ("[[fault]]\ndo = \"explode\"", "unknown variant `explode`"),
            ("[[fault]]\ndo = \"delay\"", "is needed there"),
            ("[[fault]]\ndo = \"stale\"", "only on = list pools"),
            ("[[fault]]\non = [\"put blob\"]\ndo = \"disk-full\"", "only on = deliver"),
            ("[[fault]]\non = [\"deliver\"]\ndo = \"truncate\"", "only on = create pool"),
            ("[[fault]]\non = [\"store outputs\"]\ndo = \"delay\"\ndelay = \"1s\"", "can happen only on"),
            ("[[incident]]\nat = \"1s\"\ndo = \"quota\"", "quota needs nodes"),
            ("[[incident]]\nat = \"1s\"\ndo = \"cancel\"\nnodes = 2", "nodes belongs to"),
            ("[[incident]]\nat = \"1s\"\ndo = \"reboot-node\"\nfor = \"2s\"", "what can be undone"),
            ("[[incident]]\nat = \"1s\"\ndo = \"move-clock\"", "is needed there"),
            ("[clock]\nahead = \"1s\"\nbehind = \"1s\"", "clock: give ahead or behind"),
            ("[[fault]]\ndo = \"refuse\"\nstatus = 503", "belong to do = \"status\""),
            ("[[fault]]\ndo = \"status\"\nstatus = 200", "is no refusal"),
            ("[[fault]]\ndo = \"refuse\"\nbody = \"half\"", "body belongs to"),
            ("[[fault]]\ndo = \"status\"\nbody = \"most\"", "unknown variant `most`"),
            ("[[fault]]\ndo = \"refuse\"\nnth = 1\nevery = 2", "not both"),
            ("[[fault]]\ndo = \"refuse\"\nprobability = 2.0", "from 0 to 1"),
            ("[[tasks]]\nwhich = \"[\"", "tasks.which"),
            ("[wire]\nlatency = [\"2s\", \"1s\"]", "shorter"),
            ("[[file]]\nat = \"1s\"\nname = \"../a\"", "file 1: \"../a\" is not a path below"),
            ("[[file]]\nat = \"1s\"\nname = \"a\"\ndo = \"remove\"\ntext = \"x\"", "text belongs to put"),
        ] {
            let error = Scenario::parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
