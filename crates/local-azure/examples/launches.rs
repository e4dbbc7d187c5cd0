//! How fast the node runner runs commands that do nothing: `launches [NUMBER [IN_FLIGHT [PROGRAM [FOLDER [alone]]]]]`;
//! `alone`: without a keeper.
//!
//! Each launch gets its folders, its two output files and its variables, as a task of the service does; a new one is
//! ordered when one ends. Compare with `spawn --io batch --keep` of the floors, in turns: only ratios mean something.
//! The folders are left where they are, below FOLDER: deleting them would slow down whatever is measured next.
#![allow(clippy::unwrap_used)]

use dropmill_azure_wire::time::WallClock;
use dropmill_local_azure::{
    orders::{BlobDoor, DoorError, Launch, NodeEvent, NodeRef, Order, Runner},
    runner::{ProcessRunner, RunnerSettings, keeper::run_as_keeper},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Instant,
};

fn main() {
    if run_as_keeper() {
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, otherwise| arguments.get(index).map_or(otherwise, |text| text.parse().unwrap());
    let (launches, in_flight) = (number(0, 5000), number(1, 2));
    let program = arguments.get(2).map_or("/bin/true", String::as_str);
    let folder = arguments.get(3).map_or_else(std::env::temp_dir, PathBuf::from);
    let root = folder.join(format!("launches-{}", std::process::id()));

    let (report, events) = mpsc::channel();
    let reports = Arc::new(move |event| drop(report.send(event)));
    let mut settings = RunnerSettings::new(root, "local", "http://127.0.0.1:10100");
    settings.cleanup_at_stop = std::time::Duration::ZERO;
    settings.keeper = settings.keeper.filter(|_| arguments.get(4).is_none_or(|word| word != "alone"));
    let runner = ProcessRunner::start(settings, Arc::new(WallClock), reports, Arc::new(NoDoor)).unwrap();
    runner.carry_out(Order::Boot { node: node(), packages: vec![] });
    events.recv().unwrap();

    let began = Instant::now();
    let (mut ordered, mut ended) = (0, 0);
    let mut order = || {
        ordered += 1;
        runner.carry_out(Order::Launch(Box::new(launch(ordered, program))));
        ordered
    };
    let mut last = 0;
    while last < in_flight.min(launches) {
        last = order();
    }
    while ended < launches {
        if let NodeEvent::Ended { ending, .. } = events.recv().unwrap() {
            assert_eq!((ending.exit_code, ending.failure), (Some(0), None));
            ended += 1;
            if last < launches {
                last = order();
            }
        }
    }
    let wall = began.elapsed().as_secs_f64();
    let own = own_cpu_seconds();
    println!(
        "launches k={in_flight} n={launches}: wall {wall:.3} s, {:.1} us/task, {:.0} tasks/s, own cpu {:.1} us/task",
        wall / launches as f64 * 1e6,
        launches as f64 / wall,
        own / launches as f64 * 1e6,
    );
    let stopping = Instant::now();
    runner.stop();
    println!("stopped in {:.1} ms", stopping.elapsed().as_secs_f64() * 1e3);
}

fn node() -> NodeRef {
    NodeRef { pool: "pool".into(), node: "node".into() }
}

fn launch(id: u64, program: &str) -> Launch {
    let variables = ["POOL_ID", "NODE_ID", "NODE_IS_DEDICATED", "JOB_ID", "TASK_ID"];
    Launch {
        id,
        node: node(),
        directory: format!("workitems/job/job-1/task-{id:07}"),
        command_line: program.into(),
        environment: variables.map(|name| (format!("AZ_BATCH_{name}"), format!("value-{id}"))).into(),
        coordination: None,
        packages: Vec::new(),
        resource_files: Vec::new(),
        output_files: Vec::new(),
        last_try: true,
    }
}

/// User and system time of this process without its children, from `/proc`: ticks of 10 ms.
fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// No launch here has anything to fetch or to store.
struct NoDoor;

impl BlobDoor for NoDoor {
    fn fetch(&self, url: &str, _: &Path) -> Result<u64, DoorError> {
        Err(DoorError::NotFound(url.into()))
    }
    fn list(&self, container_url: &str, _: &str) -> Result<Vec<String>, DoorError> {
        Err(DoorError::NotFound(container_url.into()))
    }
    fn store(&self, container_url: &str, _: &[(String, PathBuf)]) -> Result<(), DoorError> {
        Err(DoorError::NotFound(container_url.into()))
    }
    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        Err(DoorError::NotFound(url.into()))
    }
    fn store_bytes(&self, container_url: &str, _: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        Err(DoorError::NotFound(container_url.into()))
    }
}
