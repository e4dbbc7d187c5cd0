//! Measures how fast the node runner runs commands that do nothing: `launches [NUMBER [IN_FLIGHT [PROGRAM
//! [FOLDER [kept | alone | both]]]]]`.
//!
//! Each launch gets its folders, its two output files and its variables, as a task of the service does; a new
//! one is ordered when one ends. Compare it with `spawn --io batch --keep` of the lower bounds, in turns:
//! only ratios are meaningful. The folders are left below FOLDER, because deleting them would slow down the
//! next measurement.
//!
//! `kept` (the default): with a keeper. `alone`: without. `both`: this many launches with each in turns, 15
//! times, and the memory of keeper and shim.
#![allow(clippy::unwrap_used)]

use dropmill_azure_wire::blob::FileMetadata;
use dropmill_azure_wire::time::WallClock;
use dropmill_local_azure::{
    orders::{BlobAccess, DoorError, FileToStore, GoOn, Launch, NodeEvent, NodeRef, Order, Runner},
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
    let start = |how: &str| Bench::start(&folder, how, program.to_owned());
    match arguments.get(4).map_or("kept", String::as_str) {
        "both" => compare(&mut [start("alone"), start("kept")], launches, in_flight),
        how => once(&mut start(how), launches, in_flight),
    }
}

/// A runner and its reports.
struct Bench {
    runner: Arc<ProcessRunner>,
    events: mpsc::Receiver<NodeEvent>,
    program: String,
    ordered: u64,
}

impl Bench {
    fn start(folder: &Path, how: &str, program: String) -> Self {
        let root = folder.join(format!("launches-{how}-{}", std::process::id()));
        let (report, events) = mpsc::channel();
        let reports = Arc::new(move |event| drop(report.send(event)));
        let mut settings = RunnerSettings::new(root, "local", "http://127.0.0.1:10100");
        settings.cleanup_at_stop = std::time::Duration::ZERO;
        settings.keeper = settings.keeper.filter(|_| how != "alone");
        let runner = ProcessRunner::start(settings, Arc::new(WallClock), reports, Arc::new(NoDoor)).unwrap();
        runner.carry_out(Order::Boot { node: node(), packages: vec![] });
        events.recv().unwrap();
        Self { runner, events, program, ordered: 0 }
    }

    /// Runs this many launches; returns the time in seconds.
    fn run(&mut self, launches: u64, in_flight: u64) -> f64 {
        let began = Instant::now();
        let last = self.ordered + launches;
        for _ in 0..in_flight.min(launches) {
            self.order();
        }
        let mut ended = 0;
        while ended < launches {
            if let NodeEvent::Ended { ending, .. } = self.events.recv().unwrap() {
                assert_eq!((ending.exit_code, ending.failure), (Some(0), None));
                ended += 1;
                if self.ordered < last {
                    self.order();
                }
            }
        }
        began.elapsed().as_secs_f64()
    }

    fn order(&mut self) {
        self.ordered += 1;
        self.runner.carry_out(Order::Launch(Box::new(launch(self.ordered, &self.program))));
    }
}

fn once(bench: &mut Bench, launches: u64, in_flight: u64) {
    let wall = bench.run(launches, in_flight);
    let own = own_cpu_seconds();
    println!(
        "launches k={in_flight} n={launches}: wall {wall:.3} s, {:.1} us/task, {:.0} tasks/s, own cpu {:.1} us/task",
        wall / launches as f64 * 1e6,
        launches as f64 / wall,
        own / launches as f64 * 1e6,
    );
    let stopping = Instant::now();
    bench.runner.stop();
    println!("stopped in {:.1} ms", stopping.elapsed().as_secs_f64() * 1e3);
}

fn compare(benches: &mut [Bench; 2], launches: u64, in_flight: u64) {
    let mut times = [vec![], vec![]];
    for round in 0..15 {
        for which in [round % 2, 1 - round % 2] {
            times[which].push(benches[which].run(launches, in_flight) / launches as f64 * 1e6);
        }
    }
    let mut ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(alone, kept)| kept / alone).collect();
    let [alone, kept] = times.each_mut().map(|times| median(times));
    println!(
        "k={in_flight}, 15 rounds of {launches}: alone {alone:.0} us, kept {kept:.0} us, ratio {:.3}; ratio of rounds {:.3}",
        kept / alone,
        median(&mut ratios),
    );
    // The last shim still exists, and its parent is the keeper.
    let keeper = child_of(std::process::id());
    for (name, process) in [("keeper", keeper), ("shim", child_of(keeper))] {
        let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
        let kib = |field: &str| -> u64 {
            let line = rollup.lines().find(|line| line.starts_with(field)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let own = kib("Private_Dirty:") + kib("Private_Clean:");
        println!(
            "{name}: {} KiB resident, {} KiB in proportion, {own} KiB its own",
            kib("Rss:"),
            kib("Pss:")
        );
    }
    benches.iter().for_each(|bench| bench.runner.stop());
}

fn child_of(process: u32) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let children = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap());
    children.collect::<String>().split_whitespace().next().unwrap().parse().unwrap()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
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

/// Returns user and system time of this process without its children, from `/proc`: ticks of 10 ms.
fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// An access for launches that download and upload nothing.
struct NoDoor;

impl BlobAccess for NoDoor {
    fn fetch(&self, url: &str, _: &Path, _: GoOn<'_>) -> Result<FileMetadata, DoorError> {
        Err(DoorError::NotFound(url.into()))
    }
    fn list(&self, container_url: &str, _: &str, _: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        Err(DoorError::NotFound(container_url.into()))
    }
    fn store(&self, container_url: &str, _: &[FileToStore], _: GoOn<'_>) -> Result<(), DoorError> {
        Err(DoorError::NotFound(container_url.into()))
    }
    fn fetch_bytes(&self, url: &str) -> Result<Vec<u8>, DoorError> {
        Err(DoorError::NotFound(url.into()))
    }
    fn store_bytes(&self, container_url: &str, _: &[(String, Vec<u8>)]) -> Result<(), DoorError> {
        Err(DoorError::NotFound(container_url.into()))
    }
}
