//! Crashes a plan at every point of a scenario, and compares what it comes to.

use crate::{Scenario, crash::CrashPoint, oracle::Violation, player::Player};
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A death, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashCase {
    /// Where the orchestrator dies.
    pub point: CrashPoint,
    /// How long nobody lives then.
    pub down: Duration,
}

impl fmt::Display for CrashCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.down.is_zero() {
            return write!(f, "{}", self.point);
        }
        write!(f, "{}, gone on with after {:?}", self.point, self.down)
    }
}

/// What deaths did to a run.
#[derive(Debug, Default)]
pub struct CrashSummary {
    /// Points at which it died and was resumed.
    pub points: u64,
    /// Of those, after how many it came to the same results.
    pub same: u64,
    /// What was broken, and where.
    pub broken: Vec<(CrashCase, Vec<Violation>)>,
    /// The first difference in what it came to.
    pub different: Option<(CrashCase, String)>,
}

/// How long nobody lives after a death: what was asked of the service is under way, or over since long.
const DOWN: [Duration; 2] = [Duration::ZERO, Duration::from_secs(3600)];

/// Lets a plan crash at every point of a scenario, one after the other, and start again: at once, and an hour later.
pub fn every_point(plan: &dyn Player, scenario: &Scenario, seed: u64) -> CrashSummary {
    let whole = plan.play(scenario, seed, vec![], Duration::ZERO);
    let deaths: Vec<_> = whole
        .counts
        .points()
        .into_iter()
        .flat_map(|point| DOWN.map(|down| CrashCase { point, down }))
        .collect();
    let judged = in_parallel(&deaths, |CrashCase { point, down }| {
        tracing::debug!(%point, ?down, "dies");
        plan.play(scenario, seed, vec![point], down)
    });
    let mut survey = CrashSummary { points: deaths.len() as u64, ..CrashSummary::default() };
    for (point, played) in deaths.into_iter().zip(judged) {
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

/// Judges every point, on all processors.
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
