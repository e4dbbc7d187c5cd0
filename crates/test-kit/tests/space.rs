//! Large files of delivered tasks are deleted during the run, without losing a result.
#![allow(clippy::unwrap_used)]

mod common;

use common::{plan, work};
use dropmill_azure_wire::transport::{RequestBody, ResponseBody, Transport, TransportError};
use dropmill_lifecycle::plan::When;
use dropmill_local_azure::runner::Pretend;
use dropmill_test_kit::{
    Player, Scenario, Simulation,
    scenario::{Case, Work},
    survey::every_point,
};
use futures_util::future::BoxFuture;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const LARGE: usize = (1 << 20) + 1;

/// Records the paths of deleted files and blobs.
struct Watching {
    inner: Arc<dyn Transport>,
    deleted: Arc<Mutex<Vec<String>>>,
}

impl Transport for Watching {
    fn send(
        &self,
        request: http::Request<RequestBody>,
    ) -> BoxFuture<'static, Result<http::Response<ResponseBody>, TransportError>> {
        let path = request.uri().path();
        if request.method() == http::Method::DELETE
            && let Some((_, what)) = path.split_once("/tasks/").or_else(|| path.split_once("-output/"))
        {
            self.deleted.lock().unwrap().push(what.to_owned());
        }
        self.inner.send(request)
    }
}

/// Runs four tasks: one with a large file, one that fails twice with a large file, one with a small file, and one that fails
/// with an empty file. Returns the deleted paths.
fn freed(hints: bool, containers: When) -> Vec<String> {
    let mut plan = plan(4);
    plan.job.max_retries = 1;
    plan.cleanup.containers = containers;
    let script = |launch: &dropmill_local_azure::orders::Launch| {
        let (length, exit_code) = match &launch.directory {
            of if of.contains("task-0") => (LARGE, 0),
            of if of.contains("task-1") => (LARGE, 3),
            of if of.contains("task-2") => (10, 0),
            _ => (0, 3),
        };
        let outputs = vec![("lines.txt".to_owned(), vec![b'x'; length])];
        Pretend { exit_code, outputs, ..work(60) }
    };
    let deleted = Arc::<Mutex<Vec<String>>>::default();
    let record = deleted.clone();
    let run = Simulation::of(plan)
        .hints(hints)
        .script(script)
        .wire(move |inner| Arc::new(Watching { inner, deleted: record }))
        .run();
    assert_eq!(run.files["task-0/lines.txt"].len(), LARGE);
    assert_eq!((run.report.tasks.succeeded, run.report.tasks.failed), (2, 2));
    let mut deleted = deleted.lock().unwrap().clone();
    deleted.sort();
    deleted
}

#[test]
fn files_of_delivered_tasks_are_deleted_early_and_nothing_else_is() {
    let of = |id: &str| [format!("{id}/files/wd"), format!("{id}/wd/lines.txt")];
    let expected = ["task-0", "task-1-2", "task-1"].map(of).concat();
    assert_eq!(freed(true, When::Always), expected);
    // On Azure, and if containers are kept, nothing is deleted before the end.
    assert_eq!(freed(false, When::Always), Vec::<String>::new());
    assert_eq!(freed(true, When::Success), Vec::<String>::new());
}

#[test]
fn no_crash_loses_a_result_because_its_files_were_deleted_early() {
    let text = "x".repeat(LARGE);
    let outputs = Some([("lines.txt".to_owned(), text)].into());
    let mut scenario = Scenario { hints: true, bound: Duration::from_secs(86_400), ..Scenario::default() };
    scenario.task = Work { outputs: outputs.clone(), ..Work::default() };
    scenario.cases.push(Case {
        which: globset::Glob::new("task-1").unwrap().compile_matcher(),
        tries: Some(1),
        work: Work { exit_code: 3, outputs, ..Work::default() },
    });
    let mut plan = plan(2);
    plan.job.max_retries = 1;
    let whole = plan.play(&scenario, 1, vec![], Duration::ZERO);
    assert_eq!(whole.violations, vec![]);
    let survey = every_point(&plan, &scenario, 1);
    assert!(survey.points > 60, "{}", survey.points);
    assert_eq!(survey.broken, vec![], "of {}", survey.points);
}
