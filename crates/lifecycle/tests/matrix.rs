//! Combines every state of every state machine with every event: the complete table, to be reviewed when it
//! changes.

use dropmill_lifecycle::{
    Elapsed, Failure,
    arrival::{self, ArrivalEvent, ArrivalLimits, ArrivalState, FileSnapshot, Outcome},
    attempts::RetryPolicy,
    delays::Delays,
    job::{self, JobEvent, JobLimits, JobState},
    machine::Machine,
    mill::{Backoff, Mill, MillEvent, MillLimits, MillState},
    plan::{CleanupPlan, When},
    pool::{self, PoolEvent, PoolLimits, PoolState, PoolView},
    release::{Release, ReleaseEvent, ReleaseLimits, ReleaseState},
    retry::{self, RetryEvent, RetryLimits, RetryState},
    run::{self, Closing, EndReason, Open, RunEvent, RunLimits, RunState, Tally},
    task::{self, Ending, StopReason, TaskEvent, TaskLimits, TaskState, Verdict},
};
use std::{fmt::Debug, time::Duration};

/// The time of all events: alarms at 20 s are due, alarms at 90 s are not.
const NOW: Elapsed = Elapsed::secs(60);
const OVER: Elapsed = Elapsed::secs(20);
const TO_COME: Elapsed = Elapsed::secs(90);

fn delays() -> Delays {
    Delays { steps: vec![Duration::from_secs(1), Duration::from_secs(4)], for_ever: false }
}
fn soon() -> Failure {
    Failure::transient("ServerBusy", "busy")
}
fn never() -> Failure {
    Failure::permanent("Forbidden", "no")
}

/// Writes one line for each pair: `state + event -> state [commands]`.
fn table<S: Clone + Debug + PartialEq, E: Clone + Debug, C: Debug>(
    states: &[S],
    events: &[E],
    apply: impl Fn(S, E) -> (S, Vec<C>),
) -> String {
    let mut lines = String::new();
    for state in states {
        lines.push_str(&format!("{}\n", short(state)));
        for event in events {
            let (next, commands) = apply(state.clone(), event.clone());
            let next = if next == *state { "=".to_owned() } else { short(&next) };
            let commands: Vec<_> = commands.iter().map(|command| short(command)).collect();
            lines.push_str(&format!("    {:<40} -> {next} [{}]\n", short(event), commands.join(", ")));
        }
    }
    lines
}

fn short(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let text = text.replace("Elapsed(", "(").replace("attempt: ", "#");
    let text = text
        .replace("PoolView { ", "{")
        .replace(", unusable: 0, spot_unusable: false, resize_errors: [], shrunk: false }", "}");
    let failure = |kind: &str| format!("Failure {{ kind: {kind}, code:");
    let mut text = text.replace(&failure("Transient"), "Soon {").replace(&failure("Permanent"), "Never {");
    for kind in ["Soon {", "Never {"] {
        while let Some(start) = text.find(kind) {
            let end = text[start..].find('}').map_or(text.len(), |end| start + end + 1);
            text.replace_range(start..end, kind.trim_end_matches(" {"));
        }
    }
    text
}

#[test]
fn retry() {
    use RetryState as Is;
    let states = [
        Is::Waiting,
        Is::Trying { attempt: 1, until: TO_COME },
        Is::Trying { attempt: 3, until: TO_COME },
        Is::Resting { attempt: 1, again_at: OVER, until: TO_COME, failure: soon() },
        Is::Resting { attempt: 1, again_at: TO_COME, until: TO_COME, failure: soon() },
        Is::Done,
        Is::Failed(never()),
        Is::Dropped,
    ];
    let events = [
        RetryEvent::Begun,
        RetryEvent::Succeeded,
        RetryEvent::GotFurther,
        RetryEvent::TryFailed(soon()),
        RetryEvent::TryFailed(never()),
        RetryEvent::TimePassed,
        RetryEvent::EndAsked,
    ];
    let limits = RetryLimits { whole: Duration::from_secs(30), delays: delays() };
    insta::assert_snapshot!(table(&states, &events, |state, event| retry::apply(state, event, NOW, &limits)));
}

#[test]
fn pool() {
    use PoolState as Is;
    let starting = |look_at, until| Is::Starting {
        allocated: false,
        ready: 0,
        look_at,
        resize_at: OVER,
        until,
        dead_at: None,
    };
    let states = [
        Is::Absent,
        Is::Recovered,
        Is::Creating { attempt: 1, maybe_applied: false, until: TO_COME },
        Is::Creating { attempt: 3, maybe_applied: false, until: TO_COME },
        Is::Creating { attempt: 3, maybe_applied: true, until: TO_COME },
        Is::Resting { attempt: 1, maybe_applied: false, again_at: OVER, until: TO_COME },
        Is::Resting { attempt: 1, maybe_applied: true, again_at: TO_COME, until: TO_COME },
        Is::NeverCreated,
        starting(TO_COME, TO_COME),
        starting(OVER, TO_COME),
        starting(OVER, OVER),
        Is::Starting {
            allocated: true,
            ready: 1,
            look_at: OVER,
            resize_at: OVER,
            until: OVER,
            dead_at: None,
        },
        Is::Steady { ready: 3, look_at: OVER, dead_at: None },
        Is::Steady { ready: 0, look_at: TO_COME, dead_at: Some(OVER) },
        Is::Steady { ready: 0, look_at: OVER, dead_at: Some(TO_COME) },
        Is::Lost,
        Is::Deleting { looks: 0, again_at: OVER, until: TO_COME },
        Is::Deleting { looks: 8, again_at: TO_COME, until: TO_COME },
        Is::Deleting { looks: 1, again_at: OVER, until: OVER },
        Is::Gone,
        Is::Left,
    ];
    let view = |steady, present, ready, start_task_failed| PoolView {
        steady,
        target: 3,
        present,
        ready,
        start_task_failed,
        ..PoolView::default()
    };
    let events = [
        PoolEvent::Wanted,
        PoolEvent::Created,
        PoolEvent::CreateFailed(soon()),
        PoolEvent::CreateFailed(never()),
        PoolEvent::Seen(view(false, 1, 0, 0)),
        PoolEvent::Seen(view(true, 3, 3, 0)),
        PoolEvent::Seen(view(true, 3, 2, 1)),
        PoolEvent::Seen(view(true, 3, 0, 3)),
        PoolEvent::Seen(PoolView { unusable: 3, ..view(true, 3, 0, 0) }),
        PoolEvent::Seen(view(true, 1, 1, 0)),
        PoolEvent::LookFailed(soon()),
        PoolEvent::FoundMissing,
        PoolEvent::Grown,
        PoolEvent::EndAsked,
        PoolEvent::Released,
        PoolEvent::DeleteFailed(soon()),
        PoolEvent::DeleteFailed(never()),
        PoolEvent::TimePassed,
    ];
    let limits = PoolLimits {
        allocation: Duration::from_secs(600),
        start_task: Duration::from_secs(300),
        unusable: Duration::from_secs(1000),
        deletion: Duration::from_secs(120),
        look_every: Duration::from_secs(2),
        watch_every: Duration::from_secs(15),
        resize_every: Duration::from_secs(300),
        delays: delays(),
    };
    insta::assert_snapshot!(table(&states, &events, |state, event| pool::apply(state, event, NOW, &limits)));
}

#[test]
fn job() {
    use JobState as Is;
    let terminating = |again_at, kept| {
        let reason = "why".into();
        Is::Terminating { reason, attempt: 1, again_at, until: TO_COME, kept }
    };
    let states = [
        Is::Absent,
        Is::Recovered,
        Is::Creating { attempt: 1, maybe_applied: false },
        Is::Creating { attempt: 3, maybe_applied: false },
        Is::Creating { attempt: 3, maybe_applied: true },
        Is::Resting { attempt: 1, maybe_applied: false, again_at: OVER },
        Is::Resting { attempt: 1, maybe_applied: true, again_at: TO_COME },
        Is::NeverCreated,
        Is::Open,
        Is::Sealing { attempt: 1, again_at: None },
        Is::Sealing { attempt: 1, again_at: Some(OVER) },
        Is::Sealed,
        Is::Holding { attempt: 1, again_at: None },
        Is::Holding { attempt: 3, again_at: Some(OVER) },
        Is::Held,
        Is::Lost,
        terminating(None, false),
        terminating(Some(OVER), false),
        terminating(None, true),
        Is::Terminated,
        Is::Deleting { looks: 0, again_at: OVER, until: TO_COME },
        Is::Deleting { looks: 8, again_at: TO_COME, until: TO_COME },
        Is::Deleting { looks: 1, again_at: OVER, until: OVER },
        Is::Gone,
        Is::Left,
    ];
    let events = [
        JobEvent::Wanted,
        JobEvent::Created,
        JobEvent::CreateFailed(soon()),
        JobEvent::CreateFailed(never()),
        JobEvent::AllTasksIn,
        JobEvent::SealSucceeded,
        JobEvent::SealFailed(soon()),
        JobEvent::SealFailed(never()),
        JobEvent::HoldAsked,
        JobEvent::HoldSucceeded,
        JobEvent::HoldFailed(soon()),
        JobEvent::HoldFailed(never()),
        JobEvent::TerminateAsked("why".into()),
        JobEvent::TerminateSucceeded,
        JobEvent::TerminateFailed(soon()),
        JobEvent::TerminateFailed(never()),
        JobEvent::EndAsked,
        JobEvent::Released,
        JobEvent::SeenThere,
        JobEvent::FoundMissing,
        JobEvent::FoundEnded(never()),
        JobEvent::DeleteFailed(soon()),
        JobEvent::DeleteFailed(never()),
        JobEvent::TimePassed,
    ];
    let limits = JobLimits {
        ending: Duration::from_secs(120),
        look_every: Duration::from_secs(2),
        watch_every: Duration::from_secs(15),
        delays: delays(),
    };
    insta::assert_snapshot!(table(&states, &events, |state, event| job::apply(state, event, NOW, &limits)));
}

fn ended(success: bool) -> Ending {
    let failure = (!success).then(|| ("FailureExitCode".to_owned(), "The task exited".to_owned()));
    Ending {
        success,
        started: true,
        by_request: false,
        exit_code: Some(if success { 0 } else { 3 }),
        failure,
    }
}

#[test]
fn task() {
    use TaskState as Is;
    let stopping = |why, again_at, until| Is::Stopping { why, may_run: true, again_at, until };
    let states = [
        Is::InChunk,
        Is::Waiting,
        Is::Recovered { input_ready: false },
        Is::Recovered { input_ready: true },
        Is::Ready { attempt: 1, maybe_applied: false },
        Is::Ready { attempt: 3, maybe_applied: false },
        Is::Ready { attempt: 3, maybe_applied: true },
        Is::Resting { attempt: 1, maybe_applied: true, again_at: OVER },
        Is::Resting { attempt: 1, maybe_applied: false, again_at: TO_COME },
        Is::AwaitingRetry { attempt: 1, cause: "exit code 3".into(), again_at: OVER },
        Is::AwaitingRetry { attempt: 1, cause: "exit code 3".into(), again_at: TO_COME },
        Is::Queued { until: None },
        Is::Queued { until: Some(OVER) },
        Is::Running { until: Some(TO_COME) },
        Is::Running { until: Some(OVER) },
        Is::Stopping { why: StopReason::RunEnds, may_run: false, again_at: None, until: TO_COME },
        stopping(StopReason::RunEnds, None, TO_COME),
        stopping(StopReason::RunTimedOut, Some(OVER), TO_COME),
        stopping(StopReason::NodeLost, Some(OVER), TO_COME),
        stopping(StopReason::QueueTimedOut, Some(OVER), OVER),
        Is::Collecting { ending: ended(true), stopped: None },
        Is::Collecting { ending: ended(false), stopped: None },
        Is::Collecting { ending: ended(false), stopped: Some(StopReason::RunEnds) },
        Is::Closed,
    ];
    let events = [
        TaskEvent::InputReady,
        TaskEvent::InputFailed(never()),
        TaskEvent::Accepted { adopted: false },
        TaskEvent::Refused(soon()),
        TaskEvent::Refused(never()),
        TaskEvent::SeenActive,
        TaskEvent::SeenRunning,
        TaskEvent::SeenEnded { attempt: 1, ending: ended(true) },
        TaskEvent::SeenEnded { attempt: 1, ending: ended(false) },
        TaskEvent::NodeLost,
        TaskEvent::ChunkInputFailed(soon()),
        TaskEvent::ChunkInputFailed(never()),
        TaskEvent::SeenChunkEnded(ended(true)),
        TaskEvent::SeenChunkEnded(ended(false)),
        TaskEvent::ChunkSplit,
        TaskEvent::ChunkClosed(Verdict::Unfinished { cause: "the run ended".into(), delivered: true }),
        TaskEvent::Vanished,
        TaskEvent::HoldAsked,
        TaskEvent::HeldBack,
        TaskEvent::StopAsked,
        TaskEvent::JobEnded,
        TaskEvent::Abandoned,
        TaskEvent::Delivered,
        TaskEvent::DeliveredShort(vec!["*.csv".into()]),
        TaskEvent::DeliveredCut("stdout.txt".into()),
        TaskEvent::DeliveryFailed(never()),
        TaskEvent::TimePassed,
    ];
    let limits = TaskLimits {
        queue: Some(Duration::from_secs(600)),
        run: Some(Duration::from_secs(60)),
        stopping: Duration::from_secs(30),
        stop_again: Duration::from_secs(5),
        delays: delays(),
        keep_unfinished: true,
        retry: RetryPolicy::after_exit_codes(1),
        no_more_attempts: false,
    };
    insta::assert_snapshot!(table(&states, &events, |state, event| task::apply(state, event, NOW, &limits)));
    let limits = TaskLimits { no_more_attempts: true, ..limits };
    insta::assert_snapshot!(
        "task_without_more_attempts",
        table(&states, &events, |state, event| task::apply(state, event, NOW, &limits))
    );
}

#[test]
fn run() {
    use RunState as Is;
    let tally = |open, failed| Tally { open, succeeded: 1, failed, unfinished: 0, undelivered: 0, chunks: 0 };
    let all = Open { job: true, pool: true, containers: true };
    let last = Open { job: false, pool: true, containers: false };
    let reason = EndReason::Cancelled;
    let states = [
        Is::Fresh,
        Is::Working { tally: tally(2, 0), until: TO_COME, stuck_at: None, open_ended: false },
        Is::Working { tally: tally(1, 1), until: OVER, stuck_at: Some(TO_COME), open_ended: false },
        Is::Working { tally: tally(2, 0), until: TO_COME, stuck_at: Some(OVER), open_ended: false },
        Is::Working { tally: tally(2, 1), until: TO_COME, stuck_at: None, open_ended: false },
        Is::Working { tally: tally(1, 0), until: TO_COME, stuck_at: Some(TO_COME), open_ended: true },
        Is::Working { tally: tally(0, 0), until: TO_COME, stuck_at: None, open_ended: true },
        Is::Ending { reason, tally: tally(2, 0), until: TO_COME, abandoned: false },
        Is::Ending { reason, tally: tally(1, 0), until: OVER, abandoned: false },
        Is::Ending { reason, tally: tally(2, 0), until: OVER, abandoned: true },
        Is::Settling { reason: EndReason::AllTasksClosed, tally: tally(0, 0) },
        Is::Settling { reason: EndReason::AllTasksClosed, tally: tally(0, 1) },
        Is::Cleaning { reason, tally: tally(0, 0), open: all, until: TO_COME },
        Is::Cleaning { reason, tally: tally(0, 0), open: last, until: OVER },
        Is::Over,
    ];
    let events = [
        RunEvent::Begun { tasks: 0, open_ended: false },
        RunEvent::Begun { tasks: 2, open_ended: false },
        RunEvent::Begun { tasks: 0, open_ended: true },
        RunEvent::ChunksAdded(1),
        RunEvent::ChunkClosed,
        RunEvent::Resumed { tally: tally(2, 1), ending: None, open_ended: false },
        RunEvent::Resumed { tally: tally(2, 1), ending: Some(reason), open_ended: false },
        RunEvent::Resumed { tally: tally(0, 1), ending: Some(reason), open_ended: false },
        RunEvent::TasksAdded(3),
        RunEvent::NoMoreTasks,
        RunEvent::Progressed,
        RunEvent::TaskClosed { closing: Closing::Succeeded, delivered: true },
        RunEvent::TaskClosed { closing: Closing::Failed, delivered: false },
        RunEvent::Lost(never()),
        RunEvent::ActorLost(never()),
        RunEvent::DeadlinePassed(never()),
        RunEvent::CancelAsked("Ctrl-C".into()),
        RunEvent::Settled,
        RunEvent::JobDone,
        RunEvent::PoolDone,
        RunEvent::ContainersDone,
        RunEvent::TimePassed,
    ];
    let limits = RunLimits {
        run: Duration::from_secs(3600),
        no_progress: Some(Duration::from_secs(600)),
        ending: Duration::from_secs(120),
        cancelled: Duration::from_secs(60),
        hurry: Duration::from_secs(5),
        cleanup: Duration::from_secs(300),
        policy: CleanupPlan { pool: When::Always, job: When::Success, containers: When::Success },
        max_failures: Some(2),
    };
    insta::assert_snapshot!(table(&states, &events, |state, event| run::apply(state, event, NOW, &limits)));
}

#[test]
fn arrival() {
    use ArrivalState as Is;
    let (look, other) = (
        FileSnapshot { size_bytes: 5, modified_ns: 7, inode: 1 },
        FileSnapshot { size_bytes: 6, modified_ns: 8, inode: 1 },
    );
    let failed = Outcome::Failed { cause: "why".into() };
    let states = [
        Is::Seen { look, since: OVER },
        Is::Seen { look, since: NOW },
        Is::Settled { look },
        Is::Intended { look },
        Is::Working { attempt: 1 },
        Is::Working { attempt: 3 },
        Is::Returning { attempt: 1, again_at: OVER },
        Is::Returning { attempt: 1, again_at: TO_COME },
        Is::Unsettled { look, since: OVER },
        Is::Unsettled { look, since: NOW },
        Is::Publishing { outcome: Outcome::Done, attempt: 1 },
        Is::Resting { outcome: failed.clone(), attempt: 1, again_at: OVER },
        Is::Resting { outcome: failed, attempt: 1, again_at: TO_COME },
        Is::Over,
    ];
    let events = [
        ArrivalEvent::Looked { look, whole: false },
        ArrivalEvent::Looked { look: other, whole: false },
        ArrivalEvent::Looked { look: other, whole: true },
        ArrivalEvent::Gone,
        ArrivalEvent::Room,
        ArrivalEvent::Durable,
        ArrivalEvent::Taken,
        ArrivalEvent::Known(Outcome::Duplicate),
        ArrivalEvent::NotTaken(soon()),
        ArrivalEvent::Closed(arrival::Closing::Succeeded),
        ArrivalEvent::Closed(arrival::Closing::Failed("why".into())),
        ArrivalEvent::Closed(arrival::Closing::Refused("why".into())),
        ArrivalEvent::Closed(arrival::Closing::Untried("why".into())),
        ArrivalEvent::Published,
        ArrivalEvent::PublishFailed(soon()),
        ArrivalEvent::PublishFailed(never()),
        ArrivalEvent::Changed(other),
        ArrivalEvent::Unreadable("why".into()),
        ArrivalEvent::TimePassed,
    ];
    let limits = ArrivalLimits { stable_for: Duration::from_secs(2), tries: 3, delays: delays() };
    insta::assert_snapshot!(table(&states, &events, |state, event| arrival::apply(
        state, event, NOW, &limits
    )));
}

#[test]
fn mill() {
    use MillState as Is;
    let backoff = |until| Backoff { failures: 1, until };
    let states = [
        Is::Ready(Backoff::default()),
        Is::Ready(backoff(TO_COME)),
        Is::Waiting(backoff(OVER)),
        Is::Waiting(backoff(TO_COME)),
        Is::Opening(backoff(OVER)),
        Is::Draining { until: TO_COME, cancelled: false },
        Is::Draining { until: OVER, cancelled: false },
        Is::Draining { until: OVER, cancelled: true },
        Is::Deleting { attempt: 1, again_at: None, until: TO_COME },
        Is::Deleting { attempt: 1, again_at: Some(OVER), until: TO_COME },
        Is::Deleting { attempt: 1, again_at: Some(TO_COME), until: OVER },
        Is::Over,
    ];
    let events = [
        MillEvent::RunNeeded,
        MillEvent::Opened,
        MillEvent::OpenFailed("why".into()),
        MillEvent::RunEnded { well: true },
        MillEvent::RunEnded { well: false },
        MillEvent::DrainAsked,
        MillEvent::Drained,
        MillEvent::PoolsAnswered { all: true },
        MillEvent::PoolsAnswered { all: false },
        MillEvent::StopAsked,
        MillEvent::TimePassed,
    ];
    let seconds = Duration::from_secs;
    let limits =
        MillLimits { reopen: delays(), drain: seconds(30), ending: seconds(30), deletion: seconds(20) };
    insta::assert_snapshot!(table(&states, &events, |state, event| Mill::apply(state, event, NOW, &limits)));
}

#[test]
fn release() {
    use ReleaseState as Is;
    let states = [Is::InUse { check_at: OVER }, Is::InUse { check_at: TO_COME }, Is::Releasing, Is::Released];
    let events = [
        ReleaseEvent::Used,
        ReleaseEvent::Idle,
        ReleaseEvent::Answered { all: true },
        ReleaseEvent::Answered { all: false },
        ReleaseEvent::TimePassed,
    ];
    let limits = ReleaseLimits { every: Duration::from_secs(60) };
    insta::assert_snapshot!(table(&states, &events, |state, event| Release::apply(
        state, event, NOW, &limits
    )));
}
