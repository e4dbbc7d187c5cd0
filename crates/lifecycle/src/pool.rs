//! The state machine of a pool, as pure decisions.
//!
//! Polls of the pool are commands, and their results are events. So the interval between polls, timeouts, and
//! the time to request missing nodes again are transitions of this table.

use crate::{Code, Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::time::Duration;

/// The state of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolState {
    /// The pool is not requested yet.
    Absent,
    /// Not requested by this process; a previous one may have created it.
    Recovered,
    /// Its creation was requested.
    Creating {
        /// Number of this attempt, from 1.
        attempt: u32,
        /// Whether an earlier attempt may have been carried out, because its response was lost.
        maybe_applied: bool,
        /// End of the timeout.
        until: Elapsed,
    },
    /// Waiting to retry after a transient failure.
    Resting {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Whether an attempt may have been carried out, because its response was lost.
        maybe_applied: bool,
        /// Time of the next attempt.
        again_at: Elapsed,
        /// End of the timeout.
        until: Elapsed,
    },
    /// Created; nodes are allocated, boot and run their start task.
    Starting {
        /// Whether all nodes are allocated (only start tasks are left).
        allocated: bool,
        /// Number of nodes ready for tasks.
        ready: u32,
        /// Time of the next poll.
        look_at: Elapsed,
        /// Time when missing nodes may be requested again.
        resize_at: Elapsed,
        /// End of the timeout.
        until: Elapsed,
        /// No node is usable: end of the timeout for their recovery.
        dead_at: Option<Elapsed>,
    },
    /// Its nodes are ready, or as many as there will be.
    Steady {
        /// Number of nodes ready for tasks.
        ready: u32,
        /// Time of the next poll.
        look_at: Elapsed,
        /// No node is usable: end of the timeout for their recovery.
        dead_at: Option<Elapsed>,
    },
    /// It was never created, and the run was notified: there is nothing to delete.
    NeverCreated,
    /// Not usable, and the run was notified; it exists and costs money until the end of the run.
    Lost,
    /// Its deletion was requested; the service may list it for some minutes.
    Deleting {
        /// Number of polls since then, which determines the interval.
        looks: u32,
        /// Time of the next poll or request.
        again_at: Elapsed,
        /// End of the timeout.
        until: Elapsed,
    },
    /// Deleted, or never created.
    Gone,
    /// Kept by policy, or because it could not be deleted.
    Left,
}

/// The result of a poll of the pool and its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolView {
    /// Whether the service is not adding or removing nodes.
    pub steady: bool,
    /// Number of requested nodes.
    pub target: u32,
    /// Number of existing nodes, in any state.
    pub present: u32,
    /// Number of idle or running nodes.
    pub ready: u32,
    /// Number of nodes whose start task failed.
    pub start_task_failed: u32,
    /// Number of nodes that are unusable for another reason. They may recover: a node on its own within an
    /// hour, a Spot node by a replacement, because it can be shown as unusable before it is shown as
    /// preempted.
    pub unusable: u32,
    /// Whether some of these are Spot nodes.
    pub spot_unusable: bool,
    /// Code and message of the errors because of which the service added no nodes.
    pub resize_errors: Vec<(String, String)>,
    /// Whether another client has requested fewer nodes than this run.
    pub shrunk: bool,
}

/// An event of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolEvent {
    /// The application is uploaded: the pool is needed.
    Wanted,
    /// It was created, or existed already and belongs to this run.
    Created,
    /// The creation failed.
    CreateFailed(Failure),
    /// The result of a poll.
    Seen(PoolView),
    /// A poll failed.
    LookFailed(Failure),
    /// A poll found no such pool.
    FoundMissing,
    /// There is work for more nodes than requested.
    Grown,
    /// The run no longer needs it.
    EndAsked,
    /// The run no longer needs it, but keeps it.
    Released,
    /// The deletion failed.
    DeleteFailed(Failure),
    /// Time has passed; `now` is the current time.
    TimePassed,
}

/// A command of the pool's state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolCommand {
    /// Create the pool.
    Create,
    /// Poll the pool and its nodes.
    Look,
    /// Request the missing nodes again.
    Resize,
    /// Delete the pool.
    Delete,
    /// Report that it was created: a job can name it.
    ReportCreated,
    /// Report a failed attempt and the delay before the next one.
    ReportDelay {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Length of the delay.
        rest: Duration,
        /// Reason of the failure.
        failure: Failure,
    },
    /// Report that its nodes are ready.
    ReportReady {
        /// Number of ready nodes.
        nodes: u32,
    },
    /// Report that the run continues with fewer nodes.
    ReportDegraded(String),
    /// Report that a deadline passed.
    ReportDeadline(&'static str),
    /// Report that the pool is not usable, with the reason.
    ReportLost(Failure),
    /// Report that it is deleted.
    ReportGone,
    /// Report that it was kept, with the reason.
    ReportLeft(String),
}

/// The timeouts and intervals of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// Timeout until all nodes are allocated.
    pub allocation: Duration,
    /// Timeout from then until their start tasks have ended.
    pub start_task: Duration,
    /// Timeout for the recovery if all nodes are unusable; twice as long if some are Spot nodes.
    pub unusable: Duration,
    /// Timeout from the request to delete until it is deleted.
    pub deletion: Duration,
    /// Interval between two polls while it starts.
    pub look_every: Duration,
    /// Interval between two polls while it is steady.
    pub watch_every: Duration,
    /// Interval between two requests for missing nodes.
    pub resize_every: Duration,
    /// Delays between attempts to create it.
    pub delays: Delays,
}

/// Numbers of dedicated and Spot nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    /// Number of dedicated nodes.
    pub dedicated: u32,
    /// Number of Spot nodes.
    pub spot: u32,
}

impl Nodes {
    /// Returns as many of these nodes as this many tasks can use, at least one; dedicated nodes first.
    pub fn for_tasks(self, tasks: u32, slots_per_node: u32) -> Self {
        let wanted = tasks.div_ceil(slots_per_node.max(1)).max(1);
        let dedicated = self.dedicated.min(wanted);
        Self { dedicated, spot: self.spot.min(wanted - dedicated) }
    }

    /// Returns the total number.
    pub fn count(self) -> u32 {
        self.dedicated + self.spot
    }
}

/// A state, and the commands on entering it.
pub type Step = (PoolState, Vec<PoolCommand>);

/// The state machine of a pool.
#[derive(Debug)]
pub struct Pool;

impl Machine for Pool {
    type State = PoolState;
    type Event = PoolEvent;
    type Command = PoolCommand;
    type Limits = PoolLimits;
    const NAME: &'static str = "pool";

    fn apply(state: PoolState, event: PoolEvent, now: Elapsed, limits: &PoolLimits) -> Step {
        apply(state, event, now, limits)
    }

    fn wakes_at(state: &PoolState, _: &PoolLimits) -> Option<Elapsed> {
        state.wakes_at()
    }

    fn time_passed() -> PoolEvent {
        PoolEvent::TimePassed
    }

    fn is_routine(event: &PoolEvent) -> bool {
        matches!(
            event,
            PoolEvent::TimePassed
                | PoolEvent::Seen(_)
                | PoolEvent::LookFailed(_)
                | PoolEvent::FoundMissing
                | PoolEvent::Grown
        )
    }
}

/// Returns the next state and the commands for `event` at `now`.
pub fn apply(state: PoolState, event: PoolEvent, now: Elapsed, limits: &PoolLimits) -> Step {
    use {PoolCommand as Do, PoolEvent as On, PoolState as Is};
    match (state, event) {
        (Is::Absent, On::Wanted) => (
            Is::Creating { attempt: 1, maybe_applied: false, until: now + limits.allocation },
            vec![Do::Create],
        ),
        (Is::Recovered, On::Wanted) => (
            Is::Creating { attempt: 1, maybe_applied: true, until: now + limits.allocation },
            vec![Do::Create],
        ),
        (Is::Creating { until, .. }, On::Created) => {
            let starting = Is::Starting {
                allocated: false,
                ready: 0,
                look_at: now + limits.look_every,
                resize_at: now + limits.resize_every,
                until,
                dead_at: None,
            };
            (starting, vec![Do::ReportCreated, Do::Look])
        }
        (Is::Creating { attempt, maybe_applied, until }, On::CreateFailed(failure)) => {
            let maybe_applied = maybe_applied || failure.kind == FailureKind::Ambiguous;
            let rest = limits.delays.after_failure(attempt, &failure);
            match rest {
                Some(rest) if now + rest < until => (
                    Is::Resting { attempt, maybe_applied, again_at: now + rest, until },
                    vec![Do::ReportDelay { attempt, rest, failure }],
                ),
                _ if maybe_applied => lose(failure),
                _ => (Is::NeverCreated, vec![Do::ReportLost(failure)]),
            }
        }
        (Is::Resting { attempt, maybe_applied, again_at, until }, On::TimePassed) if now >= again_at => {
            (Is::Creating { attempt: attempt + 1, maybe_applied, until }, vec![Do::Create])
        }

        (
            Is::Starting { dead_at: Some(dead_at), .. } | Is::Steady { dead_at: Some(dead_at), .. },
            On::TimePassed,
        ) if now >= dead_at => lose(Failure::permanent(
            Code::NodesUnusable,
            "all nodes are unusable, and did not recover in time",
        )),
        (Is::Starting { allocated, ready, until, dead_at: None, .. }, On::TimePassed) if now >= until => {
            let which = if allocated { "start_task" } else { "allocation" };
            if ready > 0 {
                let said = format!("{ready} nodes are ready, the others are not within the {which} deadline");
                let watched = Is::Steady { ready, look_at: now + limits.watch_every, dead_at: None };
                return (
                    watched,
                    vec![
                        Do::ReportDeadline(which),
                        Do::ReportDegraded(said),
                        Do::ReportReady { nodes: ready },
                    ],
                );
            }
            let (state, mut reports) = lose(too_late(allocated, limits));
            reports.insert(0, Do::ReportDeadline(which));
            (state, reports)
        }
        (Is::Starting { allocated, ready, look_at, resize_at, until, dead_at }, On::TimePassed)
            if now >= look_at =>
        {
            let look_at = now + limits.look_every;
            (Is::Starting { allocated, ready, look_at, resize_at, until, dead_at }, vec![Do::Look])
        }
        (Is::Starting { allocated, look_at, resize_at, until, dead_at, .. }, On::Seen(view)) => {
            let (dead_at, mut reports) = match use_of(&view, dead_at, now, limits) {
                Ok(use_of) => use_of,
                Err(failure) => return lose(failure),
            };
            let (mut state, more) = starting(allocated, look_at, resize_at, until, &view, now, limits);
            if let Is::Starting { dead_at: since, .. } = &mut state {
                *since = dead_at;
            }
            reports.extend(more);
            (state, reports)
        }

        (Is::Steady { ready, look_at, dead_at }, On::TimePassed) if now >= look_at => {
            (Is::Steady { ready, look_at: now + limits.watch_every, dead_at }, vec![Do::Look])
        }
        (Is::Steady { look_at, ready, dead_at }, On::Seen(view)) => match use_of(&view, dead_at, now, limits)
        {
            Err(failure) => lose(failure),
            Ok((dead_at, mut reports)) => {
                if view.ready < ready && reports.is_empty() {
                    reports.push(Do::ReportDegraded(format!(
                        "{} of {} nodes are ready",
                        view.ready, view.target
                    )));
                }
                if view.steady && view.shrunk {
                    reports.push(Do::Resize);
                }
                (Is::Steady { ready: view.ready, look_at, dead_at }, reports)
            }
        },
        // A request for more nodes has its own timeout.
        (Is::Starting { ready, .. } | Is::Steady { ready, .. }, On::Grown) => {
            let starting = Is::Starting {
                allocated: false,
                ready,
                look_at: now + limits.look_every,
                resize_at: now + limits.resize_every,
                until: now + limits.allocation,
                dead_at: None,
            };
            (starting, vec![Do::Resize])
        }
        (Is::Starting { .. } | Is::Steady { .. }, On::FoundMissing) => {
            lose(Failure::permanent(Code::PoolNotFound, "the pool was deleted by another client"))
        }

        (
            Is::Absent | Is::NeverCreated | Is::Resting { maybe_applied: false, .. },
            On::EndAsked | On::Released,
        ) => (Is::Gone, vec![Do::ReportGone]),
        (
            Is::Recovered
            | Is::Creating { .. }
            | Is::Resting { .. }
            | Is::Starting { .. }
            | Is::Steady { .. }
            | Is::Lost,
            On::EndAsked,
        ) => {
            let deleting =
                Is::Deleting { looks: 0, again_at: now + limits.look_every, until: now + limits.deletion };
            (deleting, vec![Do::Delete])
        }
        (Is::Deleting { .. }, On::FoundMissing) => (Is::Gone, vec![Do::ReportGone]),
        (Is::Deleting { until, .. }, On::TimePassed) if now >= until => {
            let why = format!("not deleted within {:?}; the service was asked to delete it", limits.deletion);
            (Is::Left, vec![Do::ReportDeadline("cleanup"), Do::ReportLeft(why)])
        }
        (Is::Deleting { looks, again_at, until }, On::TimePassed) if now >= again_at => {
            // Intervals grow: the first polls are quick for a local service, later ones spare a remote one.
            let rest = (limits.look_every * 2u32.saturating_pow(looks.min(16))).min(limits.watch_every);
            let looks = looks + 1;
            (Is::Deleting { looks, again_at: now + rest, until }, vec![look_or_ask_again(looks)])
        }
        (Is::Deleting { looks, until, .. }, On::DeleteFailed(failure)) => match failure.kind {
            FailureKind::Permanent => (Is::Left, vec![Do::ReportLeft(failure.message)]),
            FailureKind::Transient | FailureKind::Ambiguous => {
                let rest = limits.delays.after(looks + 1, failure.retry_after).unwrap_or(limits.watch_every);
                // To the next turn that sends a request.
                (Is::Deleting { looks: looks | 7, again_at: now + rest, until }, vec![])
            }
        },
        (
            Is::Recovered
            | Is::Creating { .. }
            | Is::Resting { .. }
            | Is::Starting { .. }
            | Is::Steady { .. }
            | Is::Lost,
            On::Released,
        ) => (Is::Left, vec![Do::ReportLeft("kept, as cleanup.pool says".into())]),

        // Time passes and polls return in every state; the next poll repeats a failed one.
        (state, On::TimePassed | On::Seen(_) | On::LookFailed(_) | On::FoundMissing) => (state, vec![]),
        // A response to a request before the end, or to a repeated one.
        (state, On::Created | On::CreateFailed(_) | On::DeleteFailed(_)) => (state, vec![]),
        // It is created with the current number, and a poll shows what is missing.
        (state, On::Grown) => (state, vec![]),
        (state, On::Wanted | On::EndAsked | On::Released) => (state, vec![]),
    }
}

fn starting(
    allocated: bool,
    look_at: Elapsed,
    resize_at: Elapsed,
    until: Elapsed,
    view: &PoolView,
    now: Elapsed,
    limits: &PoolLimits,
) -> Step {
    use PoolCommand as Do;
    let all_there = view.steady && view.present >= view.target;
    let decided = view.ready + view.start_task_failed + view.unusable;
    if all_there && decided >= view.present && view.ready > 0 {
        let mut reports = vec![Do::ReportReady { nodes: view.ready }];
        if view.ready < view.target {
            reports
                .insert(0, Do::ReportDegraded(format!("{} of {} nodes are ready", view.ready, view.target)));
        }
        let look_at = now + limits.watch_every;
        return (PoolState::Steady { ready: view.ready, look_at, dead_at: None }, reports);
    }
    let until = if all_there && !allocated { now + limits.start_task } else { until };
    let short = view.steady && view.present < view.target;
    // Rejected nodes are requested again later; nodes that were never requested, at once.
    let (resize_at, commands) = match short && (now >= resize_at || view.shrunk) {
        true => (now + limits.resize_every, vec![Do::Resize]),
        false => (resize_at, vec![]),
    };
    let allocated = allocated || all_there;
    (PoolState::Starting { allocated, ready: view.ready, look_at, resize_at, until, dead_at: None }, commands)
}

/// Every eighth turn sends the request again instead of polling, whatever polls show: a lost request must be
/// repeated, and repeating another one does no harm.
fn look_or_ask_again(turn: u32) -> PoolCommand {
    if turn.is_multiple_of(8) { PoolCommand::Delete } else { PoolCommand::Look }
}

/// Returns the end of the timeout if no node is usable, and what to report.
///
/// # Errors
/// Returns the reason if no node will ever be usable.
fn use_of(
    view: &PoolView,
    dead_at: Option<Elapsed>,
    now: Elapsed,
    limits: &PoolLimits,
) -> Result<(Option<Elapsed>, Vec<PoolCommand>), Failure> {
    let dead = view.start_task_failed + view.unusable;
    if view.target == 0 || !view.steady || view.ready > 0 || dead < view.target || dead < view.present {
        return Ok((None, vec![]));
    }
    // A failed start task was retried as often as the run file allows.
    if view.unusable == 0 {
        let message =
            format!("the start task failed on {} of {} nodes", view.start_task_failed, view.present);
        return Err(Failure::permanent(Code::StartTaskFailed, message));
    }
    if dead_at.is_some() {
        return Ok((dead_at, vec![]));
    }
    let patience = limits.unusable * if view.spot_unusable { 2 } else { 1 };
    let reports =
        format!("none of {} nodes is usable; waiting for them to recover, {patience:?}", view.present);
    Ok((Some(now + patience), vec![PoolCommand::ReportDegraded(reports)]))
}

fn too_late(allocated: bool, limits: &PoolLimits) -> Failure {
    match allocated {
        false => Failure::permanent(
            Code::AllocationTimedOut,
            format!("no node was ready within deadlines.allocation ({:?})", limits.allocation),
        ),
        true => Failure::permanent(
            Code::StartTaskTimedOut,
            format!("no start task has ended within deadlines.start_task ({:?})", limits.start_task),
        ),
    }
}

/// The run decides what follows; until then the pool exists, and costs money.
fn lose(failure: Failure) -> Step {
    (PoolState::Lost, vec![PoolCommand::ReportLost(failure)])
}

impl PoolState {
    /// Returns the time for the next `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Resting { again_at, .. } => Some(*again_at),
            Self::Starting { look_at, until, dead_at, .. } => Some(*look_at.min(&dead_at.unwrap_or(*until))),
            Self::Steady { look_at, dead_at, .. } => {
                Some(dead_at.map_or(*look_at, |dead_at| dead_at.min(*look_at)))
            }
            Self::Deleting { again_at, until, .. } => Some(*again_at.min(until)),
            Self::Absent
            | Self::Recovered
            | Self::Creating { .. }
            | Self::NeverCreated
            | Self::Lost
            | Self::Gone
            | Self::Left => None,
        }
    }
}
