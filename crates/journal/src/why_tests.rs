//! Planted causes, one by one and two at once.

use super::*;
use crate::event::{Role, TaskEnding};
use jiff::Timestamp;

/// Events of a run of two tasks, `a` and `b`, 1 s apart.
#[derive(Default)]
struct Story(Vec<Event>);

impl Story {
    fn new() -> Self {
        Self::default().and(
            Subject::Run,
            EventKind::RunStarted {
                name: "r".into(),
                service: "azure".into(),
                tasks: 2,
                version: "1.3".into(),
            },
        )
    }

    fn and(mut self, subject: Subject, kind: EventKind) -> Self {
        let seq = self.0.len() as u64 + 1;
        self.0.push(Event {
            seq,
            at: Timestamp::UNIX_EPOCH,
            elapsed_ms: seq * 1000,
            run: "r".into(),
            actor: Role::RunKeeper,
            subject,
            cause: None,
            kind,
        });
        self
    }

    fn task(self, task: &str, kind: EventKind) -> Self {
        self.and(Subject::of_task(task), kind)
    }

    fn submitted(mut self) -> Self {
        for task in ["a", "b"] {
            let input = format!("data/{task}.txt");
            self = self.task(task, EventKind::InputUploaded { input, bytes: 1, skipped: false });
            self = self.task(task, EventKind::TaskSubmitted { adopted: false });
        }
        self
    }

    fn pool(self) -> Self {
        let created =
            EventKind::PoolCreated { nodes: 2, spot_nodes: 0, adopted: false, slots_per_node: Some(1) };
        self.and(Subject::Pool, created)
    }

    fn node(self, node: &str, state: &str) -> Self {
        self.and(Subject::Node(node.into()), EventKind::NodeChanged { state: state.into() })
    }

    fn nodes(self, state: &str) -> Self {
        self.node("n1", state).node("n2", state)
    }

    fn ready(self) -> Self {
        self.nodes("idle").and(Subject::Pool, EventKind::PoolReady { nodes: 2 })
    }

    fn retrying(self, subject: Subject, what: &str, code: &str) -> Self {
        let kind = EventKind::Retrying {
            what: what.into(),
            attempt: 2,
            after_ms: 4000,
            error: format!("{what}: {code}"),
            code: Some(code.into()),
        };
        self.and(subject, kind)
    }

    fn start_task_failed(self) -> Self {
        let failed = |node: &str| {
            let kind = EventKind::StartTaskFailed {
                exit_code: Some(7),
                reason: String::new(),
                stderr_tail: "checking\nno licence".into(),
            };
            (Subject::Node(node.into()), kind)
        };
        let ((one, first), (two, second)) = (failed("n1"), failed("n2"));
        self.nodes("starttaskfailed").and(one, first).and(two, second)
    }

    fn resize_failed(self, code: &str) -> Self {
        self.and(Subject::Pool, EventKind::ResizeFailed { code: code.into(), message: "no".into() })
    }

    fn running(self, task: &str) -> Self {
        self.task(task, EventKind::TaskRunning { node: Some("n1".into()), started: None })
    }

    fn ended(self, task: &str) -> Self {
        self.task(task, EventKind::TaskEnded(TaskEnding { success: true, ..TaskEnding::default() }))
    }

    fn resting(self, task: &str) -> Self {
        let kind = EventKind::TaskAttemptFailed {
            attempt: 1,
            reason: "exit_code".into(),
            cause: "exit code 75".into(),
            after_ms: Some(60_000),
            again_at: None,
        };
        self.task(task, kind)
    }

    /// The causes half a second after the last event.
    fn causes(&self) -> Vec<Cause> {
        let deadlines = WaitDeadlines {
            run: Duration::from_secs(100),
            allocation: Duration::from_secs(900),
            start_task: Duration::from_secs(600),
            queue: None,
        };
        let now = self.0.last().map_or(0, |event| event.elapsed_ms) + 500;
        let mut table = TaskTable::of(&self.0);
        table.expect("a", "data/a.txt");
        table.expect("b", "data/b.txt");
        WhyFold::of(&self.0).run(&table, &deadlines, now)
    }
}

#[test]
fn each_planted_cause_is_named_with_its_evidence_and_the_next_step() {
    use CauseKind::*;
    let submitted = || Story::new().pool().submitted();
    let cases = [
        (
            submitted().resize_failed("AccountCoreQuotaReached"),
            Quota,
            "AccountCoreQuotaReached",
            "pool.nodes",
        ),
        (submitted().resize_failed("AllocationFailed"), Resize, "AllocationFailed", "pool.vm_size"),
        (submitted().node("n1", "creating"), Allocation, "1 of 2 nodes are there", ""),
        (submitted().start_task_failed(), StartTaskFailing, "exit code 7: no licence", "pool.start_task"),
        (submitted().nodes("waitingforstarttask"), StartTask, "start_task leaves", ""),
        (submitted().ready().running("a"), NoSlot, "data/a.txt has been running", "pool.nodes"),
        (submitted().nodes("offline"), NodesOffline, "", "enable scheduling"),
        (submitted().nodes("unusable"), NodesUnusable, "", "recover"),
        (
            Story::new().pool().retrying(Subject::of_task("a"), "upload", "InsufficientAccountPermissions"),
            UploadRefused,
            "InsufficientAccountPermissions",
            "storage account",
        ),
        (
            submitted().ready().running("a").ended("a").ended("b").retrying(
                Subject::of_task("a"),
                "fetch results",
                "Disk",
            ),
            DeliveryRefused,
            "Disk",
            "make room",
        ),
        (
            submitted().ready().retrying(Subject::Job, "add tasks", "Unreachable"),
            Service,
            "Unreachable",
            "network",
        ),
        (
            submitted().ready().retrying(Subject::Job, "add tasks", "AuthenticationFailed"),
            Service,
            "AuthenticationFailed",
            "key",
        ),
        (submitted().ready().ended("a").resting("a").ended("b"), RetryDelay, "exit code 75", ""),
        (Story::new().pool(), Uploading, "", ""),
        (submitted().ready().running("a").running("b"), Running, "data/a.txt", ""),
        (
            submitted().ready().and(
                Subject::Run,
                EventKind::EndAsked { reason: EndReason::Cancelled, detail: "SIGTERM".into() },
            ),
            Ending,
            "SIGTERM",
            "",
        ),
    ];
    for (story, kind, evidence, next) in cases {
        let causes = story.causes();
        let Some(first) = causes.first() else { panic!("no cause for {kind:?}") };
        assert_eq!(first.kind, kind, "{causes:#?}");
        let has_evidence = first.evidence.iter().any(|line| line.contains(evidence)) || evidence.is_empty();
        assert!(has_evidence, "{first:#?}");
        assert!(next.is_empty() == first.next.is_none(), "{first:#?}");
        assert!(first.next.as_deref().unwrap_or_default().contains(next), "{first:#?}");
    }
}

#[test]
fn of_two_causes_the_one_that_nothing_else_waits_for_comes_first() {
    use CauseKind::*;
    let submitted = || Story::new().pool().submitted();
    let unreachable = |story: Story| story.retrying(Subject::Job, "add tasks", "Unreachable");
    for (story, first, second) in [
        (unreachable(submitted().resize_failed("AllocationFailed")), Service, Resize),
        (submitted().resize_failed("AccountCoreQuotaReached").start_task_failed(), Quota, StartTaskFailing),
        (
            submitted().node("n1", "starttaskfailed").start_task_failed().node("n2", "waitingforstarttask"),
            StartTaskFailing,
            StartTask,
        ),
        (submitted().node("n1", "unusable").node("n2", "waitingforstarttask"), NodesUnusable, StartTask),
        (submitted().ready().ended("b").resting("b").running("a"), RetryDelay, Running),
        (
            submitted().ready().ended("a").running("b").retrying(
                Subject::of_task("a"),
                "fetch results",
                "Disk",
            ),
            DeliveryRefused,
            Running,
        ),
    ] {
        let kinds: Vec<_> = story.causes().iter().map(|cause| cause.kind).collect();
        assert_eq!(kinds.first(), Some(&first), "{kinds:?}");
        assert!(kinds.contains(&second), "{first:?} and {second:?}: {kinds:?}");
    }
}

#[test]
fn a_cause_is_gone_when_an_event_shows_that_it_has_passed() {
    let story = Story::new().pool().submitted().retrying(Subject::Job, "add tasks", "Unreachable");
    assert_eq!(story.causes()[0].kind, CauseKind::Service);
    let story = story.and(Subject::Job, EventKind::JobCreated { adopted: false });
    assert_ne!(story.causes()[0].kind, CauseKind::Service);
    let story = story.resize_failed("AllocationFailed");
    assert_eq!(story.causes()[0].kind, CauseKind::Resize);
    let story = story.ready();
    assert_eq!(story.causes()[0].kind, CauseKind::NoSlot);
    let ended = EventKind::RunEnded {
        outcome: crate::event::Outcome::Succeeded,
        succeeded: 2,
        failed: 0,
        unfinished: 0,
    };
    assert!(story.and(Subject::Run, ended).causes().is_empty());
}

#[test]
fn a_deadline_counts_when_most_of_it_has_passed() {
    let mut story = Story::new().pool().submitted().ready().running("a").running("b");
    assert!(!story.causes().iter().any(|cause| cause.kind == CauseKind::Deadline));
    while story.0.len() < 95 {
        story = story.and(Subject::Pool, EventKind::PoolReady { nodes: 2 });
    }
    let causes = story.causes();
    let Some(deadline) = causes.iter().find(|cause| cause.kind == CauseKind::Deadline) else {
        panic!("{causes:#?}")
    };
    assert!(deadline.text.starts_with("run.deadline ends in 4 s"), "{deadline:?}");
}
