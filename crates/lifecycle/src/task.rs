//! The state machine of a task, from its input file to its delivered results.

use crate::{Code, Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::time::Duration;

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
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

/// The reason why a task was terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It waited for a node longer than `deadlines.queue`.
    QueueTimedOut,
    /// It ran longer than `task.timeout`, and the service did not end it.
    RunTimedOut,
    /// The run ends.
    RunEnds,
}

/// What the service reports about an ended task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Whether the service reports success.
    pub success: bool,
    /// Whether it started to run: then it may have outputs.
    pub started: bool,
    /// Whether a client requested its end.
    pub by_request: bool,
    /// Exit code; `None` if the command never ran.
    pub exit_code: Option<i32>,
    /// Code and message of the failure.
    pub failure: Option<(String, String)>,
}

/// The final verdict on a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It exited with 0, and its results are delivered.
    Succeeded,
    /// It failed; `delivered` says whether its outputs were downloaded.
    Failed {
        /// Reason in one line.
        cause: String,
        /// Whether none of its outputs are only at the service.
        delivered: bool,
        /// Whether the reason is external and possibly temporary, so that another attempt may succeed.
        may_pass: bool,
    },
    /// This program ended it, or never started it. Its outputs are not a result and stay at the service.
    Unfinished {
        /// Reason in one line.
        cause: String,
        /// Whether none of its outputs are only at the service.
        delivered: bool,
    },
}

/// An event of a task.
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
    /// The service no longer has it.
    Vanished,
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
    /// Report that another attempt follows a failed one; the next submission is that attempt.
    ReportRetry {
        /// Number of the next attempt, from 2.
        attempt: u32,
        /// Reason why the previous attempt failed, in one line.
        cause: String,
    },
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
    /// Number of further attempts if one exits with a code other than 0.
    pub retries: u32,
    /// Whether outputs of terminated tasks are kept at the service. Not in a drop folder, where the file is
    /// processed again.
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
                | TaskEvent::Accepted { .. }
                | TaskEvent::StopAsked
                | TaskEvent::JobEnded
                | TaskEvent::Abandoned
        )
    }
}

/// Returns the next state and the commands for `event` at `now`.
pub fn apply(state: TaskState, event: TaskEvent, now: Elapsed, limits: &TaskLimits) -> Step {
    use {TaskCommand as Do, TaskEvent as On, TaskState as Is};
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
        // A new attempt, in an empty folder.
        (
            Is::Recovered { .. }
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Ready { .. }
            | Is::Resting { .. },
            On::SeenEnded { attempt, ending },
        ) if attempt <= limits.retries && ending.may_differ() => {
            let reports = Do::ReportRetry { attempt: attempt + 1, cause: cause(&ending) };
            (Is::Ready { attempt: 1, maybe_applied: false }, vec![reports, Do::Submit])
        }
        (
            Is::Recovered { .. }
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Ready { .. }
            | Is::Resting { .. },
            On::SeenEnded { ending, .. },
        ) => (Is::Collecting { ending, stopped: None }, vec![Do::Collect]),
        // It succeeded before it could be ended, or it failed on its own and its outputs are evidence.
        (Is::Stopping { why, .. }, On::SeenEnded { ending, .. }) if ending.success || why.is_failure() => {
            (Is::Collecting { ending, stopped: Some(why) }, vec![Do::Collect])
        }
        // An incomplete output file looks like a complete one.
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
                    cause: format!("exit code 0, but no file matches outputs {patterns:?}"),
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
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Stopping { .. },
            On::Abandoned,
        ) => close(stopped(StopReason::RunEnds, false)),

        // Time passes and polls return in every state, usually without news.
        (state, On::TimePassed | On::SeenActive | On::SeenRunning | On::SeenEnded { .. } | On::Vanished) => {
            (state, vec![])
        }
        // Responses that arrive when they are no longer needed.
        (
            state,
            On::InputReady
            | On::InputFailed(_)
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

fn stopped(why: StopReason, delivered: bool) -> Verdict {
    let cause = match why {
        StopReason::QueueTimedOut => "no node started it within deadlines.queue",
        StopReason::RunTimedOut => "it ran longer than task.timeout and did not end when terminated",
        StopReason::RunEnds => "the run ended before it did",
    };
    match why.is_failure() {
        false => Verdict::Unfinished { cause: cause.into(), delivered },
        true => Verdict::Failed { cause: cause.into(), delivered, may_pass: false },
    }
}

fn may_pass(failure: &Failure) -> bool {
    match failure.kind {
        FailureKind::Permanent => false,
        FailureKind::Transient | FailureKind::Ambiguous => true,
    }
}

/// Returns the verdict on an ended task, after its results were delivered or could not be.
fn verdict(ending: &Ending, why: Option<StopReason>, undelivered: Option<&Failure>) -> Verdict {
    let delivered = undelivered.is_none();
    let lost = undelivered.map(|failure| format!("results not delivered: {}", failure.message));
    match (ending.success, why) {
        (true, _) => match lost {
            None => Verdict::Succeeded,
            Some(cause) => Verdict::Failed { cause, delivered, may_pass: undelivered.is_some_and(may_pass) },
        },
        (false, Some(why)) => stopped(why, delivered),
        (false, None) => {
            let cause = cause(ending);
            let cause = lost.map(|lost| format!("{cause}; {lost}")).unwrap_or(cause);
            Verdict::Failed { cause, delivered, may_pass: false }
        }
    }
}

/// Returns why a task failed, in one line.
fn cause(ending: &Ending) -> String {
    match (&ending.failure, ending.exit_code) {
        (Some((code, _)), Some(exit)) if code == "FailureExitCode" => match signal(exit) {
            Some(signal) => format!("exit code {exit} (killed by signal {signal})"),
            None => format!("exit code {exit}"),
        },
        (Some((code, message)), Some(exit)) if exit != 0 => format!("{code}: {message} (exit code {exit})"),
        (Some((code, message)), _) => format!("{code}: {message}"),
        (None, Some(exit)) => format!("exit code {exit}"),
        (None, None) => "failed; the service gave no reason".into(),
    }
}

/// Returns the signal for an exit code, with the numbers of shells and Linux nodes.
fn signal(exit: i32) -> Option<i32> {
    (129..=159).contains(&exit).then_some(exit - 128)
}

impl Ending {
    /// Returns whether another attempt may end better: the command exited with a code other than 0. Other
    /// reasons (its time limit, a request, a missing program) would end the next attempt too.
    fn may_differ(&self) -> bool {
        let by_code = self.failure.as_ref().is_none_or(|(code, _)| code == "FailureExitCode");
        !self.success && !self.by_request && by_code && self.exit_code.is_some_and(|code| code != 0)
    }
}

impl StopReason {
    /// Returns whether it is a failure of the task itself: then its outputs are evidence, and are delivered.
    pub fn is_failure(self) -> bool {
        match self {
            Self::RunTimedOut => true,
            Self::QueueTimedOut | Self::RunEnds => false,
        }
    }

    /// Returns a short text for the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueTimedOut => "queue deadline",
            Self::RunTimedOut => "task timeout",
            Self::RunEnds => "the run ends",
        }
    }

    /// Returns the reason for a recorded text.
    pub fn of(text: &str) -> Option<Self> {
        [Self::QueueTimedOut, Self::RunTimedOut, Self::RunEnds].into_iter().find(|why| why.as_str() == text)
    }
}

impl TaskState {
    /// Returns the time for the next `TimePassed`.
    pub fn wakes_at(&self) -> Option<Elapsed> {
        match self {
            Self::Resting { again_at, .. } => Some(*again_at),
            Self::Queued { until } | Self::Running { until } => *until,
            Self::Stopping { again_at, until, .. } => {
                Some(again_at.map_or(*until, |again| again.min(*until)))
            }
            Self::Waiting
            | Self::Recovered { .. }
            | Self::Ready { .. }
            | Self::Collecting { .. }
            | Self::Closed => None,
        }
    }

    /// Returns whether it may still be submitted, if `attempt` is its latest attempt.
    pub fn may_be_submitted(&self, attempt: u32, limits: &TaskLimits) -> bool {
        match self {
            Self::Waiting | Self::Recovered { .. } | Self::Ready { .. } | Self::Resting { .. } => true,
            Self::Queued { .. } | Self::Running { .. } => attempt <= limits.retries,
            Self::Stopping { .. } | Self::Collecting { .. } | Self::Closed => false,
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
