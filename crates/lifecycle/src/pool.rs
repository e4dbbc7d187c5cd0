//! The life of one pool, decided without doing anything.
//!
//! Looks at the pool are commands, their answers events: so the time between two looks, the end of
//! patience and the moment to ask for missing nodes again are all transitions of this table.

use crate::{Code, Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::time::Duration;

/// Where the pool stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolState {
    /// Not asked for.
    Absent,
    /// Not asked for in this life of the run; an earlier one may have made it.
    Recovered,
    /// Being asked for.
    Creating {
        /// Number of this try, from 1.
        attempt: u32,
        /// An earlier try may have been carried out, its answer lost.
        maybe_applied: bool,
        /// End of patience.
        until: Elapsed,
    },
    /// Told "later".
    Resting {
        /// Number of the try that failed.
        attempt: u32,
        /// A try may have been carried out, its answer lost.
        maybe_applied: bool,
        /// When to try again.
        again_at: Elapsed,
        /// End of patience.
        until: Elapsed,
    },
    /// Made; nodes are allocated, boot and run their start task.
    Starting {
        /// All nodes are there (what is left is the start task).
        allocated: bool,
        /// Nodes ready for tasks.
        ready: u32,
        /// When to look again.
        look_at: Elapsed,
        /// When nodes that were refused may be asked for again.
        resize_at: Elapsed,
        /// End of patience.
        until: Elapsed,
        /// No node is of use: end of patience with them.
        dead_at: Option<Elapsed>,
    },
    /// Its nodes are ready, or as many as there will be.
    Steady {
        /// Nodes ready for tasks.
        ready: u32,
        /// When to look again.
        look_at: Elapsed,
        /// No node is of use: end of patience with them.
        dead_at: Option<Elapsed>,
    },
    /// It was never made, the run was told why: nothing is there to be deleted.
    NeverCreated,
    /// Of no use to the run, which was told so; it stands and costs until the end is asked.
    Lost,
    /// Told to go; the service may keep listing it for minutes.
    Deleting {
        /// Number of looks since, which spreads them.
        looks: u32,
        /// When to look, or ask, again.
        again_at: Elapsed,
        /// End of patience.
        until: Elapsed,
    },
    /// It is gone, or was never made.
    Gone,
    /// It stands, by policy or because it could not be deleted.
    Left,
}

/// What a look at the pool and its nodes showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolView {
    /// The service is not adding or removing nodes.
    pub steady: bool,
    /// Nodes asked for.
    pub target: u32,
    /// Nodes there, in any state.
    pub present: u32,
    /// Nodes idle or running.
    pub ready: u32,
    /// Nodes whose start task failed.
    pub start_task_failed: u32,
    /// Nodes that are unusable for another reason. They may recover: a node by itself within the hour, a spot node when it is
    /// replaced, because it can be shown as unusable before it is shown as preempted.
    pub unusable: u32,
    /// Some of these are spot nodes.
    pub spot_unusable: bool,
    /// Code and message of what kept the service from adding nodes.
    pub resize_errors: Vec<(String, String)>,
    /// Somebody told the service to have fewer nodes than are asked for here.
    pub shrunk: bool,
}

/// What happened to the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolEvent {
    /// The application is up: the pool is wanted.
    Wanted,
    /// It is made, or was there already and is ours.
    Created,
    /// Making it failed.
    CreateFailed(Failure),
    /// A look showed this.
    Seen(PoolView),
    /// A look failed.
    LookFailed(Failure),
    /// A look found no such pool.
    FoundMissing,
    /// There is work for more nodes than were asked for.
    Grown,
    /// The run needs it no more.
    EndAsked,
    /// The run needs it no more, but it shall stay.
    Released,
    /// Deleting failed.
    DeleteFailed(Failure),
    /// Some time passed; how much, the moment tells.
    TimePassed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolCommand {
    /// Ask for the pool.
    Create,
    /// Look at the pool and its nodes.
    Look,
    /// Ask again for the nodes that are missing.
    Resize,
    /// Ask for its deletion.
    Delete,
    /// Say that it is made: a job may name it.
    ReportCreated,
    /// Say that making it failed and how long the rest is.
    ReportDelay {
        /// Number of the try that failed.
        attempt: u32,
        /// Length of the rest.
        rest: Duration,
        /// Why.
        failure: Failure,
    },
    /// Say that its nodes are ready.
    ReportReady {
        /// How many.
        nodes: u32,
    },
    /// Say that the run goes on with less.
    ReportDegraded(String),
    /// Say that a deadline passed.
    ReportDeadline(&'static str),
    /// Say that the pool is of no use, and why.
    ReportLost(Failure),
    /// Say that it is gone.
    ReportGone,
    /// Say that it was left standing, and why.
    ReportLeft(String),
}

/// How patient the keeper is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// Until all nodes are there.
    pub allocation: Duration,
    /// From then until their start task is done.
    pub start_task: Duration,
    /// While all nodes are unusable, until they recover; twice as long if some of them are spot nodes.
    pub unusable: Duration,
    /// From the request to delete until it is gone.
    pub deletion: Duration,
    /// Between two looks while it starts.
    pub look_every: Duration,
    /// Between two looks while it is steady.
    pub watch_every: Duration,
    /// Between two requests for nodes that were refused.
    pub resize_every: Duration,
    /// Rests between tries to make it.
    pub delays: Delays,
}

/// Nodes: dedicated and spot ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes {
    /// Dedicated ones.
    pub dedicated: u32,
    /// Spot ones.
    pub spot: u32,
}

impl Nodes {
    /// As many of these as so many tasks keep busy, but at least one; dedicated ones first.
    pub fn for_tasks(self, tasks: u32, slots_per_node: u32) -> Self {
        let wanted = tasks.div_ceil(slots_per_node.max(1)).max(1);
        let dedicated = self.dedicated.min(wanted);
        Self { dedicated, spot: self.spot.min(wanted - dedicated) }
    }

    /// All of them.
    pub fn count(self) -> u32 {
        self.dedicated + self.spot
    }
}

/// A state and what to do on entering it.
pub type Step = (PoolState, Vec<PoolCommand>);

/// The machine of a pool.
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

/// What follows from `event` at `now`.
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
            let (state, mut told) = lose(too_late(allocated, limits));
            told.insert(0, Do::ReportDeadline(which));
            (state, told)
        }
        (Is::Starting { allocated, ready, look_at, resize_at, until, dead_at }, On::TimePassed)
            if now >= look_at =>
        {
            let look_at = now + limits.look_every;
            (Is::Starting { allocated, ready, look_at, resize_at, until, dead_at }, vec![Do::Look])
        }
        (Is::Starting { allocated, look_at, resize_at, until, dead_at, .. }, On::Seen(view)) => {
            let (dead_at, mut told) = match use_of(&view, dead_at, now, limits) {
                Ok(use_of) => use_of,
                Err(failure) => return lose(failure),
            };
            let (mut state, more) = starting(allocated, look_at, resize_at, until, &view, now, limits);
            if let Is::Starting { dead_at: since, .. } = &mut state {
                *since = dead_at;
            }
            told.extend(more);
            (state, told)
        }

        (Is::Steady { ready, look_at, dead_at }, On::TimePassed) if now >= look_at => {
            (Is::Steady { ready, look_at: now + limits.watch_every, dead_at }, vec![Do::Look])
        }
        (Is::Steady { look_at, ready, dead_at }, On::Seen(view)) => match use_of(&view, dead_at, now, limits)
        {
            Err(failure) => lose(failure),
            Ok((dead_at, mut told)) => {
                if view.ready < ready && told.is_empty() {
                    told.push(Do::ReportDegraded(format!(
                        "{} of {} nodes are ready",
                        view.ready, view.target
                    )));
                }
                if view.steady && view.shrunk {
                    told.push(Do::Resize);
                }
                (Is::Steady { ready: view.ready, look_at, dead_at }, told)
            }
        },
        // Whoever asks for more waits for more, with patience of its own.
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
            lose(Failure::permanent(Code::PoolNotFound, "the pool was deleted by somebody else"))
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
            let why = format!("not gone within {:?}; the service was told to delete it", limits.deletion);
            (Is::Left, vec![Do::ReportDeadline("cleanup"), Do::ReportLeft(why)])
        }
        (Is::Deleting { looks, again_at, until }, On::TimePassed) if now >= again_at => {
            // Looks thin out: the first come quickly for a local service, later ones spare a far one.
            let rest = (limits.look_every * 2u32.saturating_pow(looks.min(16))).min(limits.watch_every);
            let looks = looks + 1;
            (Is::Deleting { looks, again_at: now + rest, until }, vec![look_or_ask_again(looks)])
        }
        (Is::Deleting { looks, until, .. }, On::DeleteFailed(failure)) => match failure.kind {
            FailureKind::Permanent => (Is::Left, vec![Do::ReportLeft(failure.message)]),
            FailureKind::Transient | FailureKind::Ambiguous => {
                let rest = limits.delays.after(looks + 1, failure.retry_after).unwrap_or(limits.watch_every);
                // To the next turn that asks again.
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

        // Clocks tick and polls answer in every state; a failed look is repeated by the next one.
        (state, On::TimePassed | On::Seen(_) | On::LookFailed(_) | On::FoundMissing) => (state, vec![]),
        // An answer to a request made before the end was asked, or a request repeated.
        (state, On::Created | On::CreateFailed(_) | On::DeleteFailed(_)) => (state, vec![]),
        // It is made with as many as are wanted by then, and what it has too few of, a look shows.
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
        let mut told = vec![Do::ReportReady { nodes: view.ready }];
        if view.ready < view.target {
            told.insert(0, Do::ReportDegraded(format!("{} of {} nodes are ready", view.ready, view.target)));
        }
        let look_at = now + limits.watch_every;
        return (PoolState::Steady { ready: view.ready, look_at, dead_at: None }, told);
    }
    let until = if all_there && !allocated { now + limits.start_task } else { until };
    let short = view.steady && view.present < view.target;
    // Nodes that were refused are asked for in due time; those that nobody asked for, at once.
    let (resize_at, commands) = match short && (now >= resize_at || view.shrunk) {
        true => (now + limits.resize_every, vec![Do::Resize]),
        false => (resize_at, vec![]),
    };
    let allocated = allocated || all_there;
    (PoolState::Starting { allocated, ready: view.ready, look_at, resize_at, until, dead_at: None }, commands)
}

/// Each eighth turn asks again instead of looking, whatever looks say: a request that was lost must be repeated,
/// one that was heard does no harm.
fn look_or_ask_again(turn: u32) -> PoolCommand {
    if turn.is_multiple_of(8) { PoolCommand::Delete } else { PoolCommand::Look }
}

/// When patience ends with nodes none of which is of use, and what to say of it.
///
/// # Errors
/// Why none of them ever will be.
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
    // A start task that failed was tried as often as the run file says.
    if view.unusable == 0 {
        let message =
            format!("the start task failed on {} of {} nodes", view.start_task_failed, view.present);
        return Err(Failure::permanent(Code::StartTaskFailed, message));
    }
    if dead_at.is_some() {
        return Ok((dead_at, vec![]));
    }
    let patience = limits.unusable * if view.spot_unusable { 2 } else { 1 };
    let told = format!("none of {} nodes is of use; waiting for them to recover, {patience:?}", view.present);
    Ok((Some(now + patience), vec![PoolCommand::ReportDegraded(told)]))
}

fn too_late(allocated: bool, limits: &PoolLimits) -> Failure {
    match allocated {
        false => Failure::permanent(
            Code::AllocationTimedOut,
            format!("no node was ready within deadlines.allocation ({:?})", limits.allocation),
        ),
        true => Failure::permanent(
            Code::StartTaskTimedOut,
            format!("no start task was done within deadlines.start_task ({:?})", limits.start_task),
        ),
    }
}

/// The run decides what follows; the pool stands, and costs, until it says so.
fn lose(failure: Failure) -> Step {
    (PoolState::Lost, vec![PoolCommand::ReportLost(failure)])
}

impl PoolState {
    /// When to say `TimePassed`.
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
