//! What the keeper costs, measured beside a runner without one: run by hand, with nothing else on the machine.
//!
//! `cargo test -p dropmill-local-azure --lib latency -- --ignored --nocapture`

use super::{super::proc, *};
use std::time::Instant;

const ROUNDS: usize = 101;
const TASKS: usize = 20;

#[test]
#[ignore = "a measurement"]
fn a_task_takes_as_long_with_a_keeper_as_without() {
    let mut rigs = [Rig::without_keeper(), Rig::new()];
    for (name, side_by_side) in [("one after the other", 1), ("four at once", 4)] {
        let mut times = [vec![], vec![]];
        for round in 0..ROUNDS {
            for which in [round % 2, 1 - round % 2] {
                times[which].push(seconds(&mut rigs[which], side_by_side) / TASKS as f64 * 1e6);
            }
        }
        for (how, part) in [("median", 2), ("best tenth", 10)] {
            let [without, with] = times.each_ref().map(|times| quantile(times.clone(), part));
            println!("{name}, {how}: {without:.0} us without, {with:.0} us with: {:.3}", with / without);
        }
    }
    let mut fresh = vec![];
    for _ in 0..ROUNDS {
        for which in [0, 1] {
            let started = Instant::now();
            let mut rig = if which == 0 { Rig::without_keeper() } else { Rig::new() };
            rig.prints("true");
            fresh.push((which, started.elapsed().as_secs_f64() * 1e6));
        }
    }
    let of = |wanted| {
        quantile(fresh.iter().filter(|(which, _)| *which == wanted).map(|(_, time)| *time).collect(), 2)
    };
    println!("start of a runner and its first task: {:.0} us without, {:.0} us with", of(0), of(1));
    memory(&mut rigs[1]);
}

/// Runs `true` a number of times, as many at once.
fn seconds(rig: &mut Rig, side_by_side: usize) -> f64 {
    let launches: Vec<_> = (0..TASKS).map(|_| rig.launch(&["/bin/true"])).collect();
    let started = Instant::now();
    for group in launches.chunks(side_by_side) {
        group.iter().for_each(|launch| rig.order(launch));
        let ends = rig.all_ended(&group.iter().collect::<Vec<_>>());
        assert!(ends.values().all(|ending| ending.exit_code == Some(0)), "{ends:?}");
    }
    let took = started.elapsed().as_secs_f64();
    for launch in &launches {
        let order = Order::RemoveTask { node: launch.node.clone(), directory: launch.directory.clone() };
        rig.runner.carry_out(order);
    }
    took
}

/// What keeper and shim take of the memory: their own pages, and their share of what they have in common.
fn memory(rig: &mut Rig) {
    let shim: i32 = rig.prints("echo $PPID").trim().parse().unwrap();
    for (name, process) in [("shim", shim), ("keeper", proc::stat(shim).unwrap().parent)] {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
        let of = |field: &str| {
            let line = rollup.lines().find(|line| line.starts_with(field)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let own = of("Private_Dirty:") + of("Private_Clean:");
        println!("{name}: Rss {} kB, Pss {} kB, private {own} kB", of("Rss:"), of("Pss:"));
    }
}

/// The value below which one part of so many lies.
fn quantile(mut times: Vec<f64>, part: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / part]
}

#[test]
#[ignore = "a measurement"]
fn processor_time() {
    let own = || {
        let mut total = 0;
        for t in fs::read_dir("/proc/self/task").unwrap().flatten() {
            let text = fs::read_to_string(t.path().join("schedstat")).unwrap();
            total += text.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
        total
    };
    let mut rigs = [Rig::without_keeper(), Rig::new()];
    let shim: i32 = rigs[1].prints("echo $PPID").trim().parse().unwrap();
    let of_shim = || {
        fs::read_dir(format!("/proc/{shim}/task"))
            .unwrap()
            .flatten()
            .map(|t| {
                let text = fs::read_to_string(t.path().join("schedstat")).unwrap();
                text.split(' ').next().unwrap().parse::<u64>().unwrap()
            })
            .sum::<u64>()
    };
    for _ in 0..3 {
        for which in [0, 1] {
            let before = (own(), of_shim());
            for _ in 0..20 {
                seconds(&mut rigs[which], 1);
            }
            println!(
                "{which}: host {} shim {} us per task",
                (own() - before.0) / 400 / 1000,
                (of_shim() - before.1) / 400 / 1000
            );
        }
    }
}
