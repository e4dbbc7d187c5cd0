//! The state machine of a task, from its input file to its delivered results.

mod chunk;
mod ending;

pub use ending::{Ending, StopReason, Verdict};

use crate::{
    Code, Elapsed, Failure, FailureKind,
    attempts::{Cause, RetryPolicy},
    delays::Delays,
    machine::Machine,
};
use ending::{held_back, may_pass, stopped, verdict};
use std::{ops::ControlFlow, time::Duration};

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It is one of the inputs of a chunk, whose task is submitted in its place.
    InChunk,
    /// Its input is not uploaded yet.
    Waiting,
    /// A previous process submitted it: a poll will show whether the service still has it.
    Recovered {
        /// Whether its input is known to be uploaded, in case it has to be submitted again.
        input_ready: bool,
    },
    /// To be submitted with the next chunk.
    Ready {
        /// Number of the next attempt, from 1.
        attempt: u32,
        /// Whether an earlier attempt may have been carried out, because its response was lost.
        maybe_applied: bool,
    },
    /// Waiting to retry after a transient failure.
    Resting {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Whether an attempt may have been carried out, because its response was lost.
        maybe_applied: bool,
        /// Time of the next attempt.
        again_at: Elapsed,
    },
    /// An attempt failed, and another follows after a delay.
    AwaitingRetry {
        /// Number of the attempt that failed, from 1.
        attempt: u32,
        /// Why it failed, in one line.
        cause: String,
        /// When the next attempt begins.
        again_at: Elapsed,
    },
    /// Accepted, waiting for a node.
    Queued {
        /// End of the timeout for waiting.
        until: Option<Elapsed>,
    },
    /// Running on a node.
    Running {
        /// Time at which the service should have ended it.
        until: Option<Elapsed>,
    },
    /// It is being terminated.
    Stopping {
        /// Reason for the termination.
        why: StopReason,
        /// Whether the service has or may have it: a rejection now does not mean that it never ran.
        may_run: bool,
        /// Time to request the termination again; `None` if the whole job is being terminated.
        again_at: Option<Elapsed>,
        /// End of the timeout.
        until: Elapsed,
    },
    /// It has ended; its results are being downloaded.
    Collecting {
        /// How it ended.
        ending: Ending,
        /// Reason for the termination, if it was terminated.
        stopped: Option<StopReason>,
    },
    /// The task is closed.
    Closed,
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEvent {
    /// Its input is uploaded (or it has none).
    InputReady,
    /// Its input cannot be uploaded.
    InputFailed(Failure),
    /// The service has accepted it.
    Accepted {
        /// Whether it existed already and belongs to this run.
        adopted: bool,
    },
    /// The service rejected it, or could not be reached.
    Refused(Failure),
    /// A poll found it waiting.
    SeenActive,
    /// A poll found it running.
    SeenRunning,
    /// A poll found its last submitted attempt completed.
    SeenEnded {
        /// Number of the attempt, from 1.
        attempt: u32,
        /// How it ended.
        ending: Ending,
    },
    /// An input of a task for several inputs cannot be uploaded.
    ChunkInputFailed(Failure),
    /// A poll showed that a task for several inputs has ended.
    SeenChunkEnded(Ending),
    /// The task of its chunk failed, and it follows as a task of its own.
    ChunkSplit,
    /// The task of its chunk is closed.
    ChunkClosed(Verdict),
    /// A poll showed that the service queued it again because its node was lost.
    NodeLost,
    /// The service no longer has it.
    Vanished,
    /// Nothing more is started: `run.max_failures` was reached. From then on the limits say so.
    HoldAsked,
    /// The job starts no task any more, and a poll since then showed that this one does not run.
    HeldBack,
    /// The run ends.
    StopAsked,
    /// The job was terminated: waiting tasks will never run.
    JobEnded,
    /// The run no longer waits for it.
    Abandoned,
    /// Its results are in the output folder.
    Delivered,
    /// They are delivered, but no file matches these patterns of `task.outputs`.
    DeliveredShort(Vec<String>),
    /// They are delivered, but a part of this stream was left out, which is a failure.
    DeliveredCut(String),
    /// They cannot be delivered.
    DeliveryFailed(Failure),
    /// Time has passed; `now` is the current time.
    TimePassed,
}

/// A command of the task's state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskCommand {
    /// Add it to the next chunk.
    Submit,
    /// Say that an attempt failed.
    ReportFailed {
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Why, for decisions.
        cause: Cause,
        /// Why, in one line.
        detail: String,
        /// After how long another attempt follows; `None`: none does.
        again_after: Option<Duration>,
    },
    /// Report that another attempt follows a failed one; the next submission is that attempt.
    ReportRetry {
        /// Number of the next attempt, from 2.
        attempt: u32,
        /// Reason why the previous attempt failed, in one line.
        cause: String,
    },
    /// Submit each of its inputs as a task of its own, because the command failed; record the cause.
    Split(String),
    /// Report a failed submission and the delay before the next one.
    ReportDelay {
        /// Number of the attempt that failed.
        attempt: u32,
        /// Length of the delay.
        rest: Duration,
        /// Reason of the failure.
        failure: Failure,
    },
    /// Report that it is running.
    ReportRunning,
    /// Report that a deadline passed.
    ReportDeadline(&'static str),
    /// Ask the service to terminate it.
    Terminate(StopReason),
    /// Download its results.
    Collect,
    /// Record the final verdict.
    Close(Verdict),
}

/// The timeouts and limits of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLimits {
    /// Timeout for waiting for a node.
    pub queue: Option<Duration>,
    /// Timeout for running, after which the monitor ends what the service should have ended.
    pub run: Option<Duration>,
    /// Timeout from its termination until it is given up.
    pub stopping: Duration,
    /// Interval between two requests to terminate it.
    pub stop_again: Duration,
    /// Delays between attempts to submit it.
    pub delays: Delays,
    /// Which failed attempts are followed by another.
    pub retry: RetryPolicy,
    /// No attempt is started any more: the run ends, or `run.max_failures` was reached.
    pub no_more_attempts: bool,
    /// What a task left that we ended is kept at the service. Not in a drop folder, where its file is done again.
    pub keep_unfinished: bool,
}

/// A state, and the commands on entering it.
pub type Step = (TaskState, Vec<TaskCommand>);

/// The state machine of a task.
#[derive(Debug)]
pub struct Task;

impl Machine for Task {
    type State = TaskState;
    type Event = TaskEvent;
    type Command = TaskCommand;
    type Limits = TaskLimits;
    const NAME: &'static str = "task";

    fn apply(state: TaskState, event: TaskEvent, now: Elapsed, limits: &TaskLimits) -> Step {
        apply(state, event, now, limits)
    }

    fn wakes_at(state: &TaskState, _: &TaskLimits) -> Option<Elapsed> {
        state.wakes_at()
    }

    fn time_passed() -> TaskEvent {
        TaskEvent::TimePassed
    }

    fn is_routine(event: &TaskEvent) -> bool {
        // A poll often shows a task before the response to its submission arrives.
        matches!(
            event,
            TaskEvent::TimePassed
                | TaskEvent::SeenActive
                | TaskEvent::SeenRunning
                | TaskEvent::SeenEnded { .. }
                | TaskEvent::SeenChunkEnded(_)
                | TaskEvent::Accepted { .. }
                | TaskEvent::NodeLost
                | TaskEvent::HoldAsked
                | TaskEvent::HeldBack
                | TaskEvent::StopAsked
                | TaskEvent::JobEnded
                | TaskEvent::Abandoned
        )
    }
}

/// Returns the next state and the commands for `event` at `now`.
pub fn apply(state: TaskState, event: TaskEvent, now: Elapsed, limits: &TaskLimits) -> Step {
    use {TaskCommand as Do, TaskEvent as On, TaskState as Is};
    let (state, event) = match chunk::apply(state, event, limits) {
        ControlFlow::Break(step) => return step,
        ControlFlow::Continue(unchanged) => unchanged,
    };
    match (state, event) {
        (Is::Waiting, On::InputReady) => (Is::Ready { attempt: 1, maybe_applied: false }, vec![Do::Submit]),
        (Is::Waiting, On::InputFailed(failure)) => close(Verdict::Failed {
            cause: format!("input not uploaded: {}", failure.message),
            delivered: true,
            may_pass: may_pass(&failure),
        }),
        (Is::Recovered { .. }, On::InputReady) => (Is::Recovered { input_ready: true }, vec![]),
        // The input did not exist any more, so neither does the task.
        (Is::Recovered { .. }, On::InputFailed(failure)) => close(Verdict::Failed {
            cause: format!("input not uploaded again: {}", failure.message),
            delivered: false,
            may_pass: may_pass(&failure),
        }),
        (Is::Ready { .. }, On::Accepted { .. }) => {
            (Is::Queued { until: limits.queue.map(|queue| now + queue) }, vec![])
        }
        (Is::Ready { maybe_applied, .. }, On::Refused(failure)) if limits.no_more_attempts => {
            match maybe_applied || failure.kind == FailureKind::Ambiguous {
                true => (Is::Queued { until: limits.queue.map(|queue| now + queue) }, vec![]),
                false => close(held_back(true)),
            }
        }
        (Is::Ready { attempt, maybe_applied }, On::Refused(failure)) => {
            let ambiguous = failure.kind == FailureKind::Ambiguous;
            let rest = limits.delays.after_failure(attempt, &failure);
            match rest {
                Some(rest) => (
                    Is::Resting { attempt, maybe_applied: maybe_applied || ambiguous, again_at: now + rest },
                    vec![Do::ReportDelay { attempt, rest, failure }],
                ),
                // The task may exist and run: polls show that, and if it is missing, it is submitted again.
                None if ambiguous || (maybe_applied && failure.kind == FailureKind::Transient) => {
                    (Is::Queued { until: limits.queue.map(|queue| now + queue) }, vec![])
                }
                None => close(Verdict::Failed {
                    may_pass: may_pass(&failure),
                    cause: failure.message,
                    delivered: !maybe_applied,
                }),
            }
        }
        (Is::Resting { attempt, maybe_applied, again_at }, On::TimePassed) if now >= again_at => {
            (Is::Ready { attempt: attempt + 1, maybe_applied }, vec![Do::Submit])
        }
        (Is::AwaitingRetry { attempt, cause, again_at }, On::TimePassed) if now >= again_at => {
            try_again(attempt, cause, vec![])
        }

        // What was not given to the service will not be.
        (Is::Waiting | Is::Resting { maybe_applied: false, .. }, On::HoldAsked) => close(held_back(true)),
        (Is::AwaitingRetry { .. }, On::HoldAsked) => close(held_back(!limits.keep_unfinished)),
        (Is::Resting { .. }, On::HoldAsked) => {
            (Is::Queued { until: limits.queue.map(|queue| now + queue) }, vec![])
        }
        (Is::Queued { .. } | Is::Recovered { .. }, On::HeldBack) => close(held_back(true)),
        (Is::Queued { .. } | Is::Recovered { .. } | Is::Running { .. }, On::Vanished)
            if limits.no_more_attempts =>
        {
            close(held_back(true))
        }

        (Is::Recovered { .. }, On::SeenActive) => {
            (Is::Queued { until: limits.queue.map(|queue| now + queue) }, vec![])
        }
        (Is::Recovered { input_ready: true }, On::Vanished) => {
            (Is::Ready { attempt: 1, maybe_applied: false }, vec![Do::Submit])
        }
        (Is::Recovered { input_ready: false }, On::Vanished) => (Is::Waiting, vec![]),
        (Is::Queued { .. } | Is::Recovered { .. }, On::SeenRunning) => {
            (Is::Running { until: limits.run.map(|run| now + run) }, vec![Do::ReportRunning])
        }
        (Is::Recovered { .. } | Is::Queued { .. } | Is::Running { .. }, On::NodeLost)
            if limits.retry.counts_lost_nodes() =>
        {
            let (why, again_at) = (StopReason::NodeLost, Some(now + limits.stop_again));
            let until = now + limits.stopping;
            (Is::Stopping { why, may_run: true, again_at, until }, vec![Do::Terminate(why)])
        }
        // Its node was lost, and it waits for another.
        (Is::Running { .. }, On::SeenActive) => {
            (Is::Queued { until: limits.queue.map(|queue| now + queue) }, vec![])
        }
        (Is::Queued { until: Some(until) }, On::TimePassed) if now >= until => {
            stop(StopReason::QueueTimedOut, now, limits)
        }
        (Is::Running { until: Some(until) }, On::TimePassed) if now >= until => {
            stop(StopReason::RunTimedOut, now, limits)
        }
        // The previous process terminated it, and crashed before it recorded that.
        (Is::Recovered { .. }, On::SeenEnded { ending, .. }) if ending.by_request => {
            close(stopped(StopReason::RunEnds, !(ending.started && limits.keep_unfinished)))
        }
        (
            Is::Recovered { .. }
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Ready { .. }
            | Is::Resting { .. },
            On::SeenEnded { attempt, ending },
        ) => ended(attempt, ending, None, now, limits),
        // It succeeded before it could be ended.
        (Is::Stopping { why, .. }, On::SeenEnded { ending, .. }) if ending.success => {
            (Is::Collecting { ending, stopped: Some(why) }, vec![Do::Collect])
        }
        // It is a failure of its own with evidence to fetch.
        (Is::Stopping { why, .. }, On::SeenEnded { attempt, ending }) if why.is_failure() => {
            ended(attempt, ending, Some(why), now, limits)
        }
        // A file that we kept it from completing looks like a complete one.
        (Is::Stopping { why, .. }, On::SeenEnded { ending, .. }) => {
            close(stopped(why, !(ending.started && limits.keep_unfinished)))
        }
        // Deleted by another client: submit it again under its id.
        (Is::Queued { .. } | Is::Running { .. }, On::Vanished) => {
            (Is::Ready { attempt: 1, maybe_applied: false }, vec![Do::Submit])
        }
        (Is::Stopping { why, .. }, On::Vanished) => close(stopped(why, true)),

        (Is::Waiting | Is::Resting { maybe_applied: false, .. }, On::StopAsked) => {
            close(stopped(StopReason::RunEnds, true))
        }
        // What the attempt left that failed is kept with the rest that is unfinished.
        (Is::AwaitingRetry { .. }, On::StopAsked) => {
            close(stopped(StopReason::RunEnds, !limits.keep_unfinished))
        }
        // Terminated with its job: one request instead of one per task.
        (Is::Ready { maybe_applied, .. }, On::StopAsked) => run_ends(maybe_applied, now, limits),
        (
            Is::Recovered { .. } | Is::Resting { .. } | Is::Queued { .. } | Is::Running { .. },
            On::StopAsked,
        ) => run_ends(true, now, limits),
        (Is::Stopping { why, may_run: false, again_at, until }, On::Refused(failure)) => match failure.kind {
            FailureKind::Transient | FailureKind::Permanent => close(stopped(why, true)),
            FailureKind::Ambiguous => (Is::Stopping { why, may_run: true, again_at, until }, vec![]),
        },
        (Is::Stopping { why, again_at, until, .. }, On::Accepted { .. }) => {
            (Is::Stopping { why, may_run: true, again_at, until }, vec![])
        }
        // Every task was polled, and this one neither runs nor has ended.
        (Is::Stopping { why, .. }, On::JobEnded) => close(stopped(why, true)),
        (Is::Stopping { why, until, .. }, On::TimePassed) if now >= until => close(stopped(why, false)),
        (Is::Stopping { why, may_run, again_at: Some(again_at), until }, On::TimePassed)
            if now >= again_at =>
        {
            let again_at = Some(now + limits.stop_again);
            (Is::Stopping { why, may_run, again_at, until }, vec![Do::Terminate(why)])
        }

        (Is::Collecting { ending, stopped }, On::Delivered) => close(verdict(&ending, stopped, None)),
        (Is::Collecting { ending, stopped }, On::DeliveredShort(patterns)) => {
            let whole = verdict(&ending, stopped, None);
            close(match whole {
                // A failed or terminated task has its own reason already.
                Verdict::Failed { .. } | Verdict::Unfinished { .. } => whole,
                Verdict::Succeeded => Verdict::Failed {
                    cause: format!(
                        "exit code {}, but no file matches outputs {patterns:?}",
                        ending.exit_code.unwrap_or(0)
                    ),
                    delivered: true,
                    may_pass: false,
                },
            })
        }
        (Is::Collecting { ending, stopped }, On::DeliveredCut(stream)) => {
            let whole = verdict(&ending, stopped, None);
            close(match whole {
                Verdict::Failed { .. } | Verdict::Unfinished { .. } => whole,
                Verdict::Succeeded => Verdict::Failed {
                    cause: format!("{stream} is longer than limits.stream_bytes: its middle was left out"),
                    delivered: true,
                    may_pass: false,
                },
            })
        }
        (Is::Collecting { ending, stopped }, On::DeliveryFailed(failure)) => {
            close(verdict(&ending, stopped, Some(&failure)))
        }
        (Is::Collecting { ending, stopped }, On::Abandoned) => {
            let failure = Failure::transient(Code::Abandoned, "the run ended while they were downloaded");
            close(verdict(&ending, stopped, Some(&failure)))
        }
        (
            Is::Waiting
            | Is::Recovered { .. }
            | Is::Ready { .. }
            | Is::Resting { .. }
            | Is::AwaitingRetry { .. }
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Stopping { .. },
            On::Abandoned,
        ) => close(stopped(StopReason::RunEnds, false)),

        // Clocks tick and looks answer in every state; mostly that is no news.
        (
            state,
            On::TimePassed
            | On::SeenActive
            | On::SeenRunning
            | On::SeenEnded { .. }
            | On::NodeLost
            | On::Vanished
            | On::HoldAsked
            | On::HeldBack,
        ) => (state, vec![]),
        // Answers that come after the question lost its meaning.
        (
            state,
            On::InputReady
            | On::InputFailed(_)
            | On::ChunkInputFailed(_)
            | On::SeenChunkEnded(_)
            | On::ChunkSplit
            | On::ChunkClosed(_)
            | On::Accepted { .. }
            | On::Refused(_)
            | On::StopAsked
            | On::JobEnded
            | On::Abandoned
            | On::Delivered
            | On::DeliveredShort(_)
            | On::DeliveredCut(_)
            | On::DeliveryFailed(_),
        ) => (state, vec![]),
    }
}

fn stop(why: StopReason, now: Elapsed, limits: &TaskLimits) -> Step {
    let which = if why == StopReason::QueueTimedOut { "queue" } else { "task" };
    let again_at = Some(now + limits.stop_again);
    let stopping = TaskState::Stopping { why, may_run: true, again_at, until: now + limits.stopping };
    (stopping, vec![TaskCommand::ReportDeadline(which), TaskCommand::Terminate(why)])
}

fn run_ends(may_run: bool, now: Elapsed, limits: &TaskLimits) -> Step {
    let (why, until) = (StopReason::RunEnds, now + limits.stopping);
    (TaskState::Stopping { why, may_run, again_at: None, until }, vec![])
}

fn close(verdict: Verdict) -> Step {
    (TaskState::Closed, vec![TaskCommand::Close(verdict)])
}

/// What follows from the end of an attempt, which is no success if Dropmill ended it (`why`).
fn ended(attempt: u32, ending: Ending, why: Option<StopReason>, now: Elapsed, limits: &TaskLimits) -> Step {
    // A task that ended by itself before it was terminated has a cause of its own.
    let why = why.filter(|_| ending.by_request);
    let (cause, detail) = match why {
        Some(why) => (why.cause(), why.detail().to_owned()),
        None => (ending.cause(), ending.detail()),
    };
    let Some(cause) = cause else {
        return (TaskState::Collecting { ending, stopped: why }, vec![TaskCommand::Collect]);
    };
    let is_last = limits.no_more_attempts || attempt == chunk::LAST_ATTEMPT;
    let attempt = if attempt == chunk::LAST_ATTEMPT { 1 } else { attempt };
    let again_after = limits.retry.delay_after(attempt, cause).filter(|_| !is_last);
    let report = TaskCommand::ReportFailed { attempt, cause, detail: detail.clone(), again_after };
    match again_after {
        None => (TaskState::Collecting { ending, stopped: why }, vec![report, TaskCommand::Collect]),
        Some(Duration::ZERO) => try_again(attempt, detail, vec![report]),
        Some(delay) => {
            (TaskState::AwaitingRetry { attempt, cause: detail, again_at: now + delay }, vec![report])
        }
    }
}

/// Begins the attempt that follows: an attempt of its own, in a folder that nothing was written to.
fn try_again(attempt: u32, cause: String, mut commands: Vec<TaskCommand>) -> Step {
    commands.extend([TaskCommand::ReportRetry { attempt: attempt + 1, cause }, TaskCommand::Submit]);
    (TaskState::Ready { attempt: 1, maybe_applied: false }, commands)
}

impl TaskState {
    /// Returns the time for the next `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Resting { again_at, .. } | Self::AwaitingRetry { again_at, .. } => Some(*again_at),
            Self::Queued { until } | Self::Running { until } => *until,
            Self::Stopping { again_at, until, .. } => {
                Some(again_at.map_or(*until, |again| again.min(*until)))
            }
            Self::InChunk
            | Self::Waiting
            | Self::Recovered { .. }
            | Self::Ready { .. }
            | Self::Collecting { .. }
            | Self::Closed => None,
        }
    }

    /// Returns whether it may still be submitted, if `attempt` is its latest attempt.
    pub fn may_be_submitted(&self, attempt: u32, limits: &TaskLimits) -> bool {
        if limits.no_more_attempts {
            return false;
        }
        match self {
            // It is submitted if the task of its chunk fails.
            Self::InChunk => true,
            Self::Waiting
            | Self::Recovered { .. }
            | Self::Ready { .. }
            | Self::Resting { .. }
            | Self::AwaitingRetry { .. } => true,
            Self::Queued { .. } | Self::Running { .. } => attempt <= limits.retry.max,
            Self::Stopping { why, .. } => why.is_failure() && attempt <= limits.retry.max,
            Self::Collecting { .. } | Self::Closed => false,
        }
    }

    /// Returns whether polls may show changes of it.
    pub fn is_watched(&self) -> bool {
        matches!(
            self,
            Self::Recovered { .. } | Self::Queued { .. } | Self::Running { .. } | Self::Stopping { .. }
        )
    }
}
