//! Tests the fake runner in virtual time.

use super::*;
use crate::runner::{FakeRunner, FakeSettings, Pretend};
use dropmill_azure_wire::time::{Clock, Timestamp};
use tokio::time::Instant;

/// Wall time that follows the runtime's virtual time.
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        let milliseconds = self.0.elapsed().as_millis();
        Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(milliseconds).unwrap()).unwrap()
    }
}

/// Everything reported so far, as lines with the virtual milliseconds.
type Log = Arc<Mutex<Vec<String>>>;

fn rig(
    script: impl Fn(&Launch) -> Pretend + Send + Sync + 'static,
) -> (Arc<FakeRunner>, Log, Arc<MemoryDoor>) {
    let (log, door) = (Log::default(), Arc::new(MemoryDoor::default()));
    let began = Instant::now();
    let reports = {
        let log = log.clone();
        Arc::new(move |event: NodeEvent| {
            let at = began.elapsed().as_millis();
            let line = match event {
                NodeEvent::Booted(node) => format!("{at} booted {}", node.node),
                NodeEvent::Started { launch, .. } => format!("{at} started {launch}"),
                NodeEvent::Ended { launch, ending } => {
                    let lasted = ending.ended.duration_since(ending.started).as_millis();
                    let failure = ending.failure.map(|failure| failure.code).unwrap_or_default();
                    format!("{at} ended {launch} {:?} {lasted} {failure}", ending.exit_code)
                }
                NodeEvent::BootFailed { node, failure } => {
                    format!("{at} failed {} {}", node.node, failure.code)
                }
                NodeEvent::Coordinated { launch } => format!("{at} coordinated {launch}"),
                NodeEvent::Removed(node) => format!("{at} removed {}", node.node),
            };
            log.lock().unwrap().push(line.trim_end().to_owned());
        })
    };
    let boot = Arc::new(|node: &NodeRef| Duration::from_millis(node.node.len() as u64 * 1000));
    let settings = FakeSettings { script: Arc::new(script), boot };
    (FakeRunner::start(settings, Arc::new(Virtual(began)), reports, door.clone()), log, door)
}

fn launch(id: LaunchId) -> Launch {
    Launch {
        id,
        node: node(),
        directory: format!("workitems/job/job-1/task{id}"),
        command_line: "count".into(),
        environment: Vec::new(),
        coordination: None,
        packages: Vec::new(),
        resource_files: Vec::new(),
        output_files: vec![output("*.txt", "results"), output("../stdout.txt", "log")],
        last_try: true,
    }
}

fn seconds(launch: &Launch) -> Pretend {
    Pretend {
        duration: Duration::from_secs(launch.id),
        stdout: "printed".into(),
        outputs: vec![("a.txt".into(), b"1".into()), ("b.csv".into(), b"2".into())],
        ..Pretend::default()
    }
}

fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_day_of_tasks_takes_no_time_and_ends_in_order() {
    let (runner, log, door) = rig(seconds);
    runner.carry_out(Order::Boot { node: node(), packages: vec![] });
    for id in [86_400, 3, 2, 1] {
        runner.carry_out(Order::Launch(Box::new(launch(id))));
    }
    assert!(lines(&log).is_empty(), "nothing is reported while orders are given");
    tokio::time::sleep(Duration::from_secs(90_000)).await;
    assert_eq!(
        lines(&log),
        [
            "0 started 86400",
            "0 started 3",
            "0 started 2",
            "0 started 1",
            "1000 booted n",
            "1000 ended 1 Some(0) 1000",
            "2000 ended 2 Some(0) 2000",
            "3000 ended 3 Some(0) 3000",
            "86400000 ended 86400 Some(0) 86400000",
        ]
    );
    assert_eq!(door.stored(), ["log", "results/a.txt"]);
    let files = runner.files();
    assert_eq!(files.read(&node(), "workitems/job/job-1/task1/stdout.txt", 0, 99).unwrap(), b"printed");
    assert_eq!(files.list(&node(), "workitems/job/job-1/task1/wd", true).unwrap().len(), 2);
    runner.carry_out(Order::RemoveTask { node: node(), directory: "workitems/job/job-1/task1".into() });
    assert!(files.entry(&node(), "workitems/job/job-1/task1").unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_kill_ends_early_and_a_removal_ends_all() {
    let (runner, log, door) = rig(seconds);
    for id in [10, 20, 30, 50] {
        runner.carry_out(Order::Launch(Box::new(launch(id))));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    runner.carry_out(Order::Kill(20));
    runner.carry_out(Order::Abandon(50));
    runner.carry_out(Order::Kill(99));
    tokio::time::sleep(Duration::from_secs(1)).await;
    runner.carry_out(Order::Launch(Box::new(launch(40))));
    runner.carry_out(Order::Kill(40));
    runner.carry_out(Order::Remove(node()));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(
        lines(&log)[4..],
        [
            "1000 ended 20 Some(137) 1000",
            "1000 ended 50 Some(137) 1000 TaskEnded",
            "2000 started 40",
            "2000 ended 40 Some(137) 0",
            "2000 ended 10 Some(137) 2000 TaskEnded",
            "2000 ended 30 Some(137) 2000 TaskEnded",
            "2000 removed n",
        ]
    );
    assert_eq!(door.stored(), ["log"], "a killed task printed, but left no files");
    assert!(runner.files().list(&node(), "", false).is_err());
}

#[tokio::test(start_paused = true)]
async fn resource_files_and_outputs_fail_as_on_a_real_node() {
    let (runner, log, door) = rig(|launch| match launch.id {
        4 => Pretend {
            failure: Some(crate::runner::failures::program_not_found("count", "no")),
            ..Pretend::default()
        },
        5 => Pretend { exit_code: 7, ..seconds(launch) },
        _ => seconds(launch),
    });
    door.put("a", b"12");
    let mut launches: Vec<_> = (1..=6).map(launch).collect();
    launches[0].resource_files = vec![resource("a", "sub/in")];
    launches[1].resource_files = vec![resource("missing", "in")];
    launches[2].resource_files = vec![resource("a", "../in")];
    launches[4].last_try = false;
    launches[5].output_files[0].container_url = "http://blob/none?sig=secret".into();
    for launch in launches {
        runner.carry_out(Order::Launch(Box::new(launch)));
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(
        lines(&log),
        [
            "0 started 1",
            "0 ended 2 None 0 BlobNotFound",
            "0 ended 3 None 0 ResourceFileCreateFailed",
            "0 ended 4 None 0 CommandProgramNotFound",
            "0 started 5",
            "0 started 6",
            "1000 ended 1 Some(0) 1000",
            "5000 ended 5 Some(7) 5000",
            "6000 ended 6 Some(0) 6000 FileUploadContainerNotFound",
        ]
    );
    let brought = runner.files().read(&node(), "workitems/job/job-1/task1/wd/sub/in", 0, 9).unwrap();
    assert_eq!(brought, b"12");
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_nothing_is_reported() {
    let (runner, log, _) = rig(seconds);
    runner.carry_out(Order::Launch(Box::new(launch(10))));
    tokio::time::sleep(Duration::from_secs(1)).await;
    runner.stop();
    runner.carry_out(Order::Boot { node: node(), packages: vec![] });
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(lines(&log), ["0 started 10"]);
}
