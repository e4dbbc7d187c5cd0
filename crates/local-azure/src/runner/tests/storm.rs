//! Tests random sequences of orders: each launch ends once, and nothing is left.

use super::{endings::marked_processes, *};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

const SCRIPTS: [&str; 7] = [
    "true",
    "exit 3",
    "sleep 1000",
    "setsid sleep 1000 & true",
    "(setsid sh -c 'trap \"\" TERM; sleep 1000' &) ; sleep 1000",
    "trap '' TERM; while :; do sleep 0.01; done",
    "cd ..; rm -rf wd; mkdir wd; echo > wd/new",
];

#[test]
fn in_any_sequence_every_launch_ends_once_and_nothing_is_left() {
    for seed in 0..4 {
        storm(seed);
    }
}

fn storm(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut rig = Rig::with(|settings| settings.grace = Duration::from_millis(20));
    rig.door.put("a", b"1");
    let nodes = ["n", "m"].map(|name| NodeRef { pool: "p".into(), node: name.into() });
    let (mut launched, mut boots, mut removals) = (BTreeSet::new(), 0, 0);
    for _ in 0..300 {
        let node = nodes[random.random_range(0..2)].clone();
        let some = random.random_range(1..=rig.next);
        match random.random_range(0..20) {
            0..10 => {
                let mut launch = rig.shell(SCRIPTS[random.random_range(0..SCRIPTS.len())]);
                launch.node = node;
                launch.directory = format!("workitems/job/job-1/task{}", random.random_range(0..10_000));
                launch.resource_files = vec![resource("a", "a")];
                launch.output_files = vec![output("**", &format!("{}", launch.id))];
                launched.insert(launch.id);
                rig.order(&launch);
            }
            10..14 => rig.runner.carry_out(Order::Kill(some)),
            14..17 => rig.runner.carry_out(Order::Abandon(some)),
            17 => {
                let directory = format!("workitems/job/job-1/task{}", random.random_range(0..10_000));
                rig.runner.carry_out(Order::RemoveTask { node, directory });
            }
            18 => {
                boots += 1;
                rig.runner.carry_out(Order::Boot { node, packages: vec![] });
            }
            _ => {
                removals += 1;
                rig.runner.carry_out(Order::Remove(node));
            }
        }
    }
    for launch in &launched {
        rig.runner.carry_out(Order::Kill(*launch));
    }
    let mut started = BTreeSet::new();
    while !launched.is_empty() || boots > 0 || removals > 0 {
        match rig.event() {
            NodeEvent::BootFailed { .. } | NodeEvent::Coordinated { .. } => panic!("not in a storm"),
            NodeEvent::Booted(_) => boots -= 1,
            NodeEvent::Removed(_) => removals -= 1,
            NodeEvent::Started { launch, .. } => {
                assert!(launched.contains(&launch) && started.insert(launch), "seed {seed}: {launch}");
            }
            NodeEvent::Ended { launch, ending } => {
                assert!(launched.remove(&launch), "seed {seed}: {launch} ended twice");
                assert_eq!(ending.exit_code.is_some(), started.contains(&launch), "seed {seed}: {ending:?}");
            }
        }
    }
    assert_eq!(marked_processes(&rig), 0, "seed {seed}");
    rig.runner.stop();
    assert!(rig.events.try_recv().is_err(), "seed {seed}");
}
