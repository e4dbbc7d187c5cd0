//! The life of one task, from the file it is made of to its results at home.

use crate::{Code, Elapsed, Failure, FailureKind, delays::Delays, machine::Machine};
use std::time::Duration;

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Its input is not in its container yet.
    Waiting,
    /// An earlier life of the run submitted it: a look will tell whether the service still has it.
    Recovered {
        /// Its input is known to be in its container, if it has to be submitted again.
        input_ready: bool,
    },
    /// To be submitted with the next chunk.
    Ready {
        /// Number of the try it waits for, from 1.
        attempt: u32,
        /// An earlier try may have been carried out, its answer lost.
        maybe_applied: bool,
    },
    /// The service refused it for now.
    Resting {
        /// Number of the try that failed.
        attempt: u32,
        /// A try may have been carried out, its answer lost.
        maybe_applied: bool,
        /// When to try again.
        again_at: Elapsed,
    },
    /// Accepted, waiting for a node.
    Queued {
        /// When waiting has lasted too long.
        until: Option<Elapsed>,
    },
    /// Runs on a node.
    Running {
        /// When the service should have ended it itself.
        until: Option<Elapsed>,
    },
    /// Told to end.
    Stopping {
        /// Why.
        why: StopReason,
        /// The service has it, or may have it: that it is refused now does not mean that it never ran.
        may_run: bool,
        /// When to tell it again; never if the whole job was told.
        again_at: Option<Elapsed>,
        /// End of patience.
        until: Elapsed,
    },
    /// Over; its results are on their way.
    Collecting {
        /// How it ended.
        ending: Ending,
        /// Why it was told to end, if it was.
        stopped: Option<StopReason>,
    },
    /// The last word was said.
    Closed,
}

/// Why a task was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It waited longer for a node than `deadlines.queue`.
    QueueTimedOut,
    /// It ran longer than `task.timeout`, and the service did not end it.
    RunTimedOut,
    /// The run ends.
    RunEnds,
}

/// What the service says of a task that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The service calls it a success.
    pub success: bool,
    /// It began to run: it may have left something.
    pub started: bool,
    /// Somebody asked for its end.
    pub by_request: bool,
    /// Exit code; none if the command never ran.
    pub exit_code: Option<i32>,
    /// Code and words of the failure.
    pub failure: Option<(String, String)>,
}

/// The last word on a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It exited with 0 and its results are delivered.
    Succeeded,
    /// It failed; `delivered` tells whether what it left behind came home.
    Failed {
        /// In one line.
        cause: String,
        /// Nothing of it is left at the service only.
        delivered: bool,
        /// The cause is none of its own and may pass: another try may succeed.
        may_pass: bool,
    },
    /// We ended it, or never began it. What it left is not a result: it stays at the service.
    Unfinished {
        /// In one line.
        cause: String,
        /// Nothing of it is left at the service only.
        delivered: bool,
    },
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEvent {
    /// Its input is in its container (or it has none).
    InputReady,
    /// Its input will not get there.
    InputFailed(Failure),
    /// The service has it.
    Accepted {
        /// It had it already, and it is ours.
        adopted: bool,
    },
    /// The service does not want it, or could not be asked.
    Refused(Failure),
    /// A look showed it waiting.
    SeenActive,
    /// A look showed it running.
    SeenRunning,
    /// A look showed an attempt of it over, the one that was submitted last.
    SeenEnded {
        /// Number of the attempt, from 1.
        attempt: u32,
        /// How it ended.
        ending: Ending,
    },
    /// The service knows it no more.
    Vanished,
    /// The run ends.
    StopAsked,
    /// The job was told to end: what waits will never run.
    JobEnded,
    /// The run waits no longer for it.
    Abandoned,
    /// Its results are in the output folder.
    Delivered,
    /// They are, but no file fits these patterns of `task.outputs`.
    DeliveredShort(Vec<String>),
    /// They are, but part of this stream was left out, and that is a failure.
    DeliveredCut(String),
    /// They will not get there.
    DeliveryFailed(Failure),
    /// Some time passed; how much, the moment tells.
    TimePassed,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskCommand {
    /// Put it into the next chunk.
    Submit,
    /// Say that another attempt follows one that failed; what is submitted next is that one.
    ReportRetry {
        /// Number of the attempt that follows, from 2.
        attempt: u32,
        /// Why the one before failed, in one line.
        cause: String,
    },
    /// Say that submitting it failed and how long the rest is.
    ReportDelay {
        /// Number of the try that failed.
        attempt: u32,
        /// Length of the rest.
        rest: Duration,
        /// Why.
        failure: Failure,
    },
    /// Say that it was seen running.
    ReportRunning,
    /// Say that a deadline passed.
    ReportDeadline(&'static str),
    /// Tell the service to end it.
    Terminate(StopReason),
    /// Fetch its results.
    Collect,
    /// Say the last word.
    Close(Verdict),
}

/// How patient the monitor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskLimits {
    /// Waiting for a node.
    pub queue: Option<Duration>,
    /// Running, before the monitor ends what the service should have ended.
    pub run: Option<Duration>,
    /// From telling it to end until it is given up.
    pub stopping: Duration,
    /// Between two times of telling it to end.
    pub stop_again: Duration,
    /// Rests between tries to submit it.
    pub delays: Delays,
    /// Attempts after the first, when one exits with another code than 0.
    pub retries: u32,
    /// What a task left that we ended is kept at the service. Not in a drop folder, where its file is done again.
    pub keep_unfinished: bool,
}

/// A state and what to do on entering it.
pub type Step = (TaskState, Vec<TaskCommand>);

/// The machine of a task.
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

/// What follows from `event` at `now`.
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
        // It was not there any more, so neither is the task.
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
                // It may be there and run: looks tell, and one that shows it missing has it submitted again.
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
        // The life before ended it, and did not live to record that.
        (Is::Recovered { .. }, On::SeenEnded { ending, .. }) if ending.by_request => {
            close(stopped(StopReason::RunEnds, !(ending.started && limits.keep_unfinished)))
        }
        // An attempt of its own, in a folder that nothing was written to.
        (
            Is::Recovered { .. }
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Ready { .. }
            | Is::Resting { .. },
            On::SeenEnded { attempt, ending },
        ) if attempt <= limits.retries && ending.may_differ() => {
            let told = Do::ReportRetry { attempt: attempt + 1, cause: cause(&ending) };
            (Is::Ready { attempt: 1, maybe_applied: false }, vec![told, Do::Submit])
        }
        (
            Is::Recovered { .. }
            | Is::Queued { .. }
            | Is::Running { .. }
            | Is::Ready { .. }
            | Is::Resting { .. },
            On::SeenEnded { ending, .. },
        ) => (Is::Collecting { ending, stopped: None }, vec![Do::Collect]),
        // It succeeded before it could be ended, or it is a failure of its own with evidence to fetch.
        (Is::Stopping { why, .. }, On::SeenEnded { ending, .. }) if ending.success || why.is_failure() => {
            (Is::Collecting { ending, stopped: Some(why) }, vec![Do::Collect])
        }
        // A file that we kept it from completing looks like a complete one.
        (Is::Stopping { why, .. }, On::SeenEnded { ending, .. }) => {
            close(stopped(why, !(ending.started && limits.keep_unfinished)))
        }
        // Deleted behind our back: submit it again under its name.
        (Is::Queued { .. } | Is::Running { .. }, On::Vanished) => {
            (Is::Ready { attempt: 1, maybe_applied: false }, vec![Do::Submit])
        }
        (Is::Stopping { why, .. }, On::Vanished) => close(stopped(why, true)),

        (Is::Waiting | Is::Resting { maybe_applied: false, .. }, On::StopAsked) => {
            close(stopped(StopReason::RunEnds, true))
        }
        // Told through its job: one call instead of one for each task.
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
        // Every task was looked at, and this one neither runs nor has ended.
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
                // What failed or was ended has its cause already.
                Verdict::Failed { .. } | Verdict::Unfinished { .. } => whole,
                Verdict::Succeeded => Verdict::Failed {
                    cause: format!("exit code 0, but no file fits outputs {patterns:?}"),
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
            let failure = Failure::transient(Code::Abandoned, "the run ended while they were fetched");
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

        // Clocks tick and looks answer in every state; mostly that is no news.
        (state, On::TimePassed | On::SeenActive | On::SeenRunning | On::SeenEnded { .. } | On::Vanished) => {
            (state, vec![])
        }
        // Answers that come after the question lost its meaning.
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
        StopReason::QueueTimedOut => "no node took it within deadlines.queue",
        StopReason::RunTimedOut => "it ran longer than task.timeout and did not end when told to",
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

/// What a task that is over is called, now that its results came home or will not.
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

/// Why a task failed, in one line.
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

/// The signal behind an exit code, as shells and Linux nodes count.
fn signal(exit: i32) -> Option<i32> {
    (129..=159).contains(&exit).then_some(exit - 128)
}

impl Ending {
    /// Whether it is the end of a command that another attempt may bring to a better one: it exited with another code
    /// than 0. Whatever else ends a task (its time limit, a request, a program that is not there) would end the next.
    fn may_differ(&self) -> bool {
        let by_code = self.failure.as_ref().is_none_or(|(code, _)| code == "FailureExitCode");
        !self.success && !self.by_request && by_code && self.exit_code.is_some_and(|code| code != 0)
    }
}

impl StopReason {
    /// Whether it is the task's own kind: then what it left is evidence, and is delivered.
    pub fn is_failure(self) -> bool {
        match self {
            Self::RunTimedOut => true,
            Self::QueueTimedOut | Self::RunEnds => false,
        }
    }

    /// In a few words, for the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueTimedOut => "queue deadline",
            Self::RunTimedOut => "task timeout",
            Self::RunEnds => "the run ends",
        }
    }

    /// The reason that was told in these words.
    pub fn of(text: &str) -> Option<Self> {
        [Self::QueueTimedOut, Self::RunTimedOut, Self::RunEnds].into_iter().find(|why| why.as_str() == text)
    }
}

impl TaskState {
    /// When to say `TimePassed`.
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

    /// Whether it may still be submitted, once or again, while `attempt` is its latest attempt.
    pub fn may_be_submitted(&self, attempt: u32, limits: &TaskLimits) -> bool {
        match self {
            Self::Waiting | Self::Recovered { .. } | Self::Ready { .. } | Self::Resting { .. } => true,
            Self::Queued { .. } | Self::Running { .. } => attempt <= limits.retries,
            Self::Stopping { .. } | Self::Collecting { .. } | Self::Closed => false,
        }
    }

    /// Whether the service may know something new of it.
    pub fn is_watched(&self) -> bool {
        matches!(
            self,
            Self::Recovered { .. } | Self::Queued { .. } | Self::Running { .. } | Self::Stopping { .. }
        )
    }
}
