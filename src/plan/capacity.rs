//! How many slots a node has, and how many of them a task takes.
//!
//! A stored plan holds numbers: a run that is resumed on another machine keeps them.

use super::hardware;
use crate::settings::{Loaded, Problem, ServiceKind, Settings, Size, SlotCount};

/// The most slots of one node.
const MOST_SLOTS: u32 = 256;
/// What simulations assume of every node, whatever the machine that they run on.
const SIMULATED: Nodes = Nodes::Simulated { processors: 4, memory_bytes: 16 << 30 };

/// What is known of the nodes of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// They share this machine.
    ThisMachine {
        /// Processors that this process may use.
        processors: u32,
        /// Memory that this process may use, if the system reports it.
        memory_bytes: Option<u64>,
    },
    /// Each has as much as every simulation assumes.
    Simulated {
        /// Processors of a node.
        processors: u32,
        /// Memory of a node.
        memory_bytes: u64,
    },
    /// They are machines of Azure, of which only the name of their size is known.
    Azure,
}

/// The slots of a node and of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Slots of one node.
    pub slots_per_node: u32,
    /// Slots that a task takes.
    pub required_slots: u32,
    /// Why the node has this many, if the run file gives no number.
    pub why_slots: Option<String>,
    /// Why a task takes this many, if that follows from its memory.
    pub why_required: Option<String>,
}

impl Nodes {
    /// Returns what is known of the nodes that the settings name.
    pub fn of(loaded: &Loaded) -> Self {
        match loaded.settings.service.kind {
            _ if loaded.simulated => SIMULATED,
            ServiceKind::Azure => Self::Azure,
            ServiceKind::Embedded => Self::ThisMachine {
                processors: hardware::processors(),
                memory_bytes: hardware::memory_bytes(),
            },
        }
    }

    /// Returns the number of slots for "auto", and the reason.
    fn auto(self, nodes: u32) -> (u32, String) {
        match self {
            Self::Azure => (1, "on Azure, auto is one task on a node at a time".into()),
            Self::Simulated { processors, .. } => {
                (processors, format!("a simulated node has {processors} processors"))
            }
            Self::ThisMachine { processors, .. } => {
                let slots = (processors / nodes.max(1)).clamp(1, MOST_SLOTS);
                let processors = match processors {
                    1 => "1 processor".to_owned(),
                    more => format!("{more} processors"),
                };
                let why = match nodes {
                    0 | 1 => format!("this machine has {processors} for Dropmill"),
                    more => format!("{more} nodes share {processors} of this machine"),
                };
                (slots, why)
            }
        }
    }

    /// Returns the memory of one node, if it is known.
    fn memory_of_a_node(self, nodes: u32) -> Option<u64> {
        match self {
            Self::Azure => None,
            Self::Simulated { memory_bytes, .. } => Some(memory_bytes),
            Self::ThisMachine { memory_bytes, .. } => Some(memory_bytes? / u64::from(nodes.max(1))),
        }
    }
}

/// Decides how many slots a node has and a task takes.
///
/// # Errors
/// Returns each key whose value is not possible on such nodes, with what to write.
pub fn capacity(settings: &Settings, on: Nodes) -> Result<Capacity, Vec<Problem>> {
    let (pool, task) = (&settings.pool, &settings.task);
    let nodes = pool.nodes.saturating_add(pool.spot_nodes);
    let (slots_per_node, why_slots) = match pool.slots_per_node {
        SlotCount::Number(number) => (number, None),
        SlotCount::Auto => {
            let (slots, why) = on.auto(nodes);
            (slots, Some(why))
        }
    };
    let mut problems = vec![];
    let mut wrong = |key: &str, what: String| problems.push(Problem::new(key, what));
    if !(1..=MOST_SLOTS).contains(&slots_per_node) {
        wrong("pool.slots_per_node", format!("it must be from 1 to {MOST_SLOTS}, or \"auto\""));
    }
    if task.required_slots == 0 || task.required_slots > slots_per_node {
        let slots = slots_per_node;
        let mut what = format!("it must be from 1 to pool.slots_per_node, which is {slots}");
        if let Some(why) = why_slots.as_ref().filter(|_| task.required_slots > 0) {
            let wanted = task.required_slots;
            what.push_str(&format!(" ({why}): write at most {slots}, or pool.slots_per_node = {wanted}"));
        }
        wrong("task.required_slots", what);
    }
    let (mut required_slots, mut why_required) = (task.required_slots, None);
    if let Some(Size(needed)) = task.memory.filter(|_| (1..=MOST_SLOTS).contains(&slots_per_node)) {
        match on.memory_of_a_node(nodes) {
            None => wrong("task.memory", unknown_memory(on)),
            Some(memory) if needed > memory => {
                let (needed, whole) = (Size(needed), round(memory));
                let shared = if nodes > 1 { ", or fewer pool.nodes" } else { "" };
                wrong(
                    "task.memory",
                    format!(
                        "{needed} is more than a node has, about {whole}: write at most \"{whole}\"{shared}"
                    ),
                );
            }
            Some(memory) => {
                let slots = share(needed, memory, slots_per_node);
                if slots > required_slots {
                    let (needed, whole) = (Size(needed), round(memory));
                    why_required = Some(format!("{needed} of about {whole} of the node's memory"));
                    required_slots = slots;
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(Capacity { slots_per_node, required_slots, why_slots, why_required })
    } else {
        Err(problems)
    }
}

/// Slots that are at least this share of the node's memory.
fn share(needed: u64, memory: u64, slots: u32) -> u32 {
    let share = (u128::from(needed) * u128::from(slots)).div_ceil(u128::from(memory.max(1)));
    u32::try_from(share).unwrap_or(u32::MAX).clamp(1, slots)
}

/// The largest number of whole MiB that is not above this size.
fn round(bytes: u64) -> Size {
    Size(bytes >> 20 << 20)
}

fn unknown_memory(on: Nodes) -> String {
    match on {
        Nodes::Azure => {
            "Dropmill does not know the memory of a node on Azure: leave task.memory out, and write the slots of a node \
             (pool.slots_per_node) and of a task (task.required_slots)"
        }
        _ => {
            "the system does not report the memory of this machine: leave task.memory out, and write task.required_slots"
        }
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Nodes = Nodes::ThisMachine { processors: 8, memory_bytes: Some(32 << 30) };

    fn settings(set: &[&str]) -> Settings {
        let set: Vec<_> = set.iter().map(|&text| text.to_owned()).collect();
        crate::settings::in_code(&Settings::default(), std::path::Path::new("/"), &set).unwrap().settings
    }

    #[test]
    fn the_slots_of_a_node_follow_from_the_machine_and_those_of_a_task_from_its_memory() {
        let table: &[(Nodes, &[&str], (u32, u32))] = &[
            (MACHINE, &[], (8, 1)),
            (MACHINE, &["pool.nodes=2"], (4, 1)),
            (MACHINE, &["pool.nodes=3", "pool.spot_nodes=2"], (1, 1)),
            (MACHINE, &["pool.nodes=100"], (1, 1)),
            (MACHINE, &["pool.slots_per_node=3"], (3, 1)),
            (MACHINE, &["task.required_slots=8"], (8, 8)),
            (Nodes::ThisMachine { processors: 1000, memory_bytes: None }, &[], (256, 1)),
            (SIMULATED, &["pool.nodes=3"], (4, 1)),
            (SIMULATED, &["task.memory=8GiB"], (4, 2)),
            (Nodes::Azure, &[], (1, 1)),
            (Nodes::Azure, &["pool.slots_per_node=4", "task.required_slots=2"], (4, 2)),
            (MACHINE, &["task.memory=4GiB"], (8, 1)),
            (MACHINE, &["task.memory=4097MiB"], (8, 2)),
            (MACHINE, &["task.memory=1B"], (8, 1)),
            (MACHINE, &["task.memory=32GiB"], (8, 8)),
            (MACHINE, &["task.memory=4GiB", "task.required_slots=3"], (8, 3)),
            (MACHINE, &["task.memory=16GiB", "pool.slots_per_node=1"], (1, 1)),
            (MACHINE, &["task.memory=8GiB", "pool.nodes=2"], (4, 2)),
        ];
        for (on, set, expected) in table {
            let found = capacity(&settings(set), *on).unwrap();
            assert_eq!((found.slots_per_node, found.required_slots), *expected, "{on:?} {set:?}");
        }
    }

    #[test]
    fn what_no_node_can_hold_is_a_mistake_that_says_what_to_write() {
        let table: &[(Nodes, &[&str], &str)] = &[
            (
                MACHINE,
                &["task.required_slots=9"],
                "task.required_slots: it must be from 1 to pool.slots_per_node, which is 8 (this machine has 8 processors for Dropmill): write at most 8, or pool.slots_per_node = 9",
            ),
            (
                MACHINE,
                &["task.required_slots=0"],
                "task.required_slots: it must be from 1 to pool.slots_per_node, which is 8",
            ),
            (
                MACHINE,
                &["pool.slots_per_node=257"],
                "pool.slots_per_node: it must be from 1 to 256, or \"auto\"",
            ),
            (
                MACHINE,
                &["task.memory=33GiB"],
                "task.memory: 33GiB is more than a node has, about 32GiB: write at most \"32GiB\"",
            ),
            (
                MACHINE,
                &["task.memory=20GiB", "pool.nodes=2"],
                "task.memory: 20GiB is more than a node has, about 16GiB: write at most \"16GiB\", or fewer pool.nodes",
            ),
            (
                Nodes::Azure,
                &["task.memory=1GiB"],
                "task.memory: Dropmill does not know the memory of a node on Azure: leave task.memory out, and write the slots of a node (pool.slots_per_node) and of a task (task.required_slots)",
            ),
            (
                Nodes::ThisMachine { processors: 2, memory_bytes: None },
                &["task.memory=1GiB"],
                "task.memory: the system does not report the memory of this machine: leave task.memory out, and write task.required_slots",
            ),
        ];
        for (on, set, expected) in table {
            let found = capacity(&settings(set), *on).unwrap_err();
            let shown: Vec<_> =
                found.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect();
            assert_eq!(shown, [*expected], "{on:?} {set:?}");
        }
    }

    #[test]
    fn the_plan_can_say_why() {
        let found = capacity(&settings(&["task.memory=5GiB", "pool.nodes=2"]), MACHINE).unwrap();
        assert_eq!(found.why_slots.as_deref(), Some("2 nodes share 8 processors of this machine"));
        assert_eq!(found.why_required.as_deref(), Some("5GiB of about 16GiB of the node's memory"));
        let found = capacity(&settings(&["pool.slots_per_node=4"]), MACHINE).unwrap();
        assert_eq!((found.why_slots, found.why_required), (None, None));
    }
}
