//! Crashes a plan at every point of a scenario, and compares the results.

use crate::{Scenario, crash::CrashPoint, oracle::Violation, player::Player};
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// One crash of the orchestrator and the restart after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashCase {
    /// Point at which the orchestrator crashes.
    pub point: CrashPoint,
    /// Time until it is started again.
    pub down: Duration,
}

impl fmt::Display for CrashCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.down.is_zero() {
            return write!(f, "{}", self.point);
        }
        write!(f, "{}, resumed after {:?}", self.point, self.down)
    }
}

/// The results of runs with crashes.
#[derive(Debug, Default)]
pub struct CrashSummary {
    /// Number of points at which the run crashed and was resumed.
    pub points: u64,
    /// Number of those after which the results were the same.
    pub same: u64,
    /// Violated rules, with the crash.
    pub broken: Vec<(CrashCase, Vec<Violation>)>,
    /// The first difference in the results, with the crash.
    pub different: Option<(CrashCase, String)>,
}

/// Times between a crash and the restart: requests are still running at the service, or have long ended.
const DOWN: [Duration; 2] = [Duration::ZERO, Duration::from_secs(3600)];

/// Crashes a plan at every point of a scenario, one after the other, and restarts it: at once, and an hour
/// later.
pub fn every_point(plan: &dyn Player, scenario: &Scenario, seed: u64) -> CrashSummary {
    let whole = plan.play(scenario, seed, vec![], Duration::ZERO);
    let crashes: Vec<_> = whole
        .counts
        .points()
        .into_iter()
        .flat_map(|point| DOWN.map(|down| CrashCase { point, down }))
        .collect();
    let judged = in_parallel(&crashes, |CrashCase { point, down }| {
        tracing::debug!(%point, ?down, "dies");
        plan.play(scenario, seed, vec![point], down)
    });
    let mut survey = CrashSummary { points: crashes.len() as u64, ..CrashSummary::default() };
    for (point, played) in crashes.into_iter().zip(judged) {
        if !played.violations.is_empty() {
            survey.broken.push((point, played.violations));
        } else if played.results == whole.results {
            survey.same += 1;
        } else if survey.different.is_none() {
            survey.different = Some((point, played.results));
        }
    }
    survey
}

/// Checks every point, on all processors.
fn in_parallel<R: Send>(points: &[CrashCase], judge: impl Fn(CrashCase) -> R + Sync) -> Vec<R> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(0);
    let mut judged: Vec<(u64, R)> = std::thread::scope(|scope| {
        let work = || {
            let mut mine = vec![];
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(point) = usize::try_from(at).ok().and_then(|at| points.get(at)) else { return mine };
                mine.push((at, judge(*point)));
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    });
    judged.sort_by_key(|(at, _)| *at);
    judged.into_iter().map(|(_, judged)| judged).collect()
}
