//! Samples of a pool, taken every thirty seconds.

use super::{
    FormulaError,
    value::{Value, moved},
};
use dropmill_azure_wire::time::Timestamp;
use std::{collections::VecDeque, time::Duration};

/// Maximum number of samples: those of the last day.
const MOST: usize = 2880;

/// A sample of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sight {
    /// Number of tasks that are waiting to run.
    pub active: f64,
    /// Number of running tasks.
    pub running: f64,
    /// Number of successful tasks.
    pub succeeded: f64,
    /// Number of failed tasks.
    pub failed: f64,
    /// Number of dedicated nodes.
    pub dedicated: f64,
    /// Number of Spot nodes.
    pub low_priority: f64,
    /// Number of preempted Spot nodes.
    pub preempted: f64,
    /// Number of usable nodes.
    pub usable: f64,
    /// Task slots per node.
    pub slots: f64,
}

/// The recent samples of a pool.
#[derive(Debug, Clone, Default)]
pub struct Samples(VecDeque<(Timestamp, Sight)>);

/// Variables that Azure measures and this service does not.
const UNMEASURED: &[&str] = &[
    "$CPUPercent",
    "$WallClockSeconds",
    "$MemoryBytes",
    "$DiskBytes",
    "$DiskReadBytes",
    "$DiskWriteBytes",
    "$DiskReadOps",
    "$DiskWriteOps",
    "$NetworkInBytes",
    "$NetworkOutBytes",
];

fn read(name: &str) -> Option<fn(&Sight) -> f64> {
    Some(match name {
        "$ActiveTasks" => |sight| sight.active,
        "$RunningTasks" => |sight| sight.running,
        "$PendingTasks" => |sight| sight.active + sight.running,
        "$SucceededTasks" => |sight| sight.succeeded,
        "$FailedTasks" => |sight| sight.failed,
        "$CurrentDedicatedNodes" | "$CurrentDedicated" => |sight| sight.dedicated,
        "$CurrentLowPriorityNodes" => |sight| sight.low_priority,
        "$PreemptedNodeCount" => |sight| sight.preempted,
        "$UsableNodeCount" | "$SampleNodeCount" => |sight| sight.usable,
        "$TaskSlotsPerNode" | "$MaxTasksPerNode" => |sight| sight.slots,
        _ => return None,
    })
}

impl Samples {
    /// Time between two samples.
    pub const PERIOD: Duration = Duration::from_secs(30);

    /// Adds a sample.
    pub fn take(&mut self, now: Timestamp, sight: Sight) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((now, sight));
    }

    /// Returns whether a variable is one of the service's.
    pub fn knows(name: &str) -> bool {
        read(name).is_some() || UNMEASURED.contains(&name)
    }

    /// Returns the current value of a variable.
    pub fn last(&self, name: &str) -> Result<f64, FormulaError> {
        let read = read(name).ok_or_else(|| scarce(name))?;
        self.0.back().map(|(_, sight)| read(sight)).ok_or_else(|| scarce(name))
    }

    /// Evaluates `$ActiveTasks.GetSample(…)` and similar calls.
    pub fn call(
        &self,
        name: &str,
        method: &str,
        with: &[Value],
        now: Timestamp,
    ) -> Result<Value, FormulaError> {
        if !Self::knows(name) {
            return Err(FormulaError::evaluation(&format!("{name} has no samples")));
        }
        let history: Vec<Timestamp> = match read(name) {
            Some(_) => self.0.iter().map(|(moment, _)| *moment).collect(),
            None => vec![],
        };
        match (method, with) {
            ("GetSamplePeriod", []) => Ok(Value::Interval(Self::PERIOD.as_secs_f64())),
            ("Count", []) => Ok(Value::Number(history.len() as f64)),
            ("HistoryBeginTime", []) => Ok(Value::Moment(history.first().copied().unwrap_or(now))),
            ("GetSamplePercent", [start, rest @ ..]) if rest.len() <= 1 => {
                let (from, to) = span(start, rest.first(), now)?;
                Ok(Value::Number(percent(&history, from, to)))
            }
            ("GetSample", [Value::Number(count)]) => {
                let count = count.max(0.0) as usize;
                self.numbers(name, history.len().saturating_sub(count)..history.len())
            }
            ("GetSample", [start, rest @ ..]) if rest.len() <= 2 => {
                let (end, wanted) = match rest {
                    [] => (None, None),
                    [Value::Number(wanted)] => (None, Some(*wanted)),
                    [end] => (Some(end), None),
                    [end, wanted, ..] => (Some(end), Some(wanted.number()?)),
                };
                let (from, to) = span(start, end, now)?;
                if wanted.is_some_and(|wanted| percent(&history, from, to) < wanted) {
                    return Err(scarce(name));
                }
                let first = history.partition_point(|moment| *moment < from);
                let last = history.partition_point(|moment| *moment <= to);
                self.numbers(name, first..last.max(first))
            }
            _ => Err(FormulaError::evaluation(&format!("{name} has no {method} with these arguments"))),
        }
    }

    fn numbers(&self, name: &str, range: std::ops::Range<usize>) -> Result<Value, FormulaError> {
        let read = read(name).ok_or_else(|| scarce(name))?;
        if range.is_empty() {
            return Err(scarce(name));
        }
        Ok(Value::Vector(self.0.range(range).map(|(_, sight)| read(sight)).collect()))
    }
}

/// Returns the percentage of samples that exist within a time span.
fn percent(moments: &[Timestamp], from: Timestamp, to: Timestamp) -> f64 {
    let wanted = (to.duration_since(from).as_secs_f64() / Samples::PERIOD.as_secs_f64()).floor().max(1.0);
    let there = moments.iter().filter(|moment| (from..=to).contains(*moment)).count();
    (there as f64 / wanted * 100.0).min(100.0)
}

/// Returns the start and end of a time span: durations count back from now.
fn span(start: &Value, end: Option<&Value>, now: Timestamp) -> Result<(Timestamp, Timestamp), FormulaError> {
    let moment = |value: &Value| match value {
        Value::Moment(moment) => Ok(*moment),
        Value::Interval(seconds) => moved(now, -seconds),
        other => Err(FormulaError::evaluation(&format!(
            "{} is neither a moment nor a length of time",
            other.shown()
        ))),
    };
    let (from, to) = (moment(start)?, end.map_or(Ok(now), moment)?);
    Ok((from.min(to), from.max(to)))
}

fn scarce(name: &str) -> FormulaError {
    FormulaError::evaluation(&format!("InsufficientSampleData: there are too few samples of {name}"))
}
