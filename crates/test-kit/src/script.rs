//! What nodes and tasks do in a scenario, in the form that the fake runner asks for.

use crate::scenario::{Scenario, Work};
use dropmill_lifecycle::plan::{Item, RunPlan};
use dropmill_local_azure::{
    orders::{Launch, NodeRef},
    runner::{Pretend, Script},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The behaviour of nodes and tasks in one run.
pub struct Acts {
    pub script: Script,
    pub boot: Arc<dyn Fn(&NodeRef) -> Duration + Send + Sync>,
}

#[derive(Default)]
struct Seen {
    /// Nodes in the boot order, from 1.
    nodes: BTreeMap<NodeRef, u32>,
    tries: BTreeMap<String, u32>,
}

impl Seen {
    fn node(&mut self, node: &NodeRef) -> u32 {
        let next = u32::try_from(self.nodes.len() + 1).unwrap_or(u32::MAX);
        *self.nodes.entry(node.clone()).or_insert(next)
    }
}

/// Creates the behaviour from a scenario.
pub fn acts(scenario: &Scenario, plan: &RunPlan) -> Acts {
    let seen = Arc::<Mutex<Seen>>::default();
    let lock =
        |seen: &Mutex<Seen>, node: &NodeRef| seen.lock().unwrap_or_else(PoisonError::into_inner).node(node);
    let boot = Arc::new({
        let (seen, boot) = (seen.clone(), scenario.boot);
        move |node: &NodeRef| {
            lock(&seen, node);
            boot
        }
    });
    let left = |patterns: &[String]| -> BTreeMap<String, String> {
        patterns.iter().map(|pattern| (example(pattern), format!("for {pattern}\n"))).collect()
    };
    let usual = left(&plan.job.outputs);
    let members = |item: &Item| -> Vec<Item> {
        let range = item.members().map(|chunk| chunk.range()).unwrap_or_default();
        plan.items[range.start as usize..range.end as usize].to_vec()
    };
    let own_of = |item: &Item| -> Option<BTreeMap<String, String>> {
        let shared = item.members().is_some_and(|chunk| chunk.own_results);
        match shared {
            true => {
                Some(members(item).iter().flat_map(|member| left(&member.outputs_in(&item.task))).collect())
            }
            false => item.outputs.as_ref().map(|outputs| left(outputs)),
        }
    };
    let own: BTreeMap<String, BTreeMap<String, String>> = plan
        .items
        .iter()
        .chain(&plan.chunks)
        .filter_map(|item| Some((item.task.clone(), own_of(item)?)))
        .collect();
    // A case for one input is one for the task that it is in, too.
    let names: BTreeMap<String, Vec<String>> = plan
        .chunks
        .iter()
        .map(|chunk| (chunk.task.clone(), members(chunk).into_iter().map(|member| member.task).collect()))
        .collect();
    let scenario = scenario.clone();
    let script: Script = Arc::new(move |launch: &Launch| {
        let node = lock(&seen, &launch.node);
        let Some(task) = task_of(launch) else {
            let plain = Work { outputs: Some(BTreeMap::new()), ..Work::default() };
            return pretend(scenario.start_tasks.get(&node).unwrap_or(&plain), &usual);
        };
        let input = variable(launch, "DROPMILL_INPUT_NAME");
        let tries = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let tries = seen.tries.entry(task.clone()).or_default();
            *tries += 1;
            *tries
        };
        let case = scenario.cases.iter().find(|case| {
            let members = names.get(&task).into_iter().flatten();
            ([&task, &input].into_iter().chain(members).any(|name| case.which.is_match(name)))
                && case.tries.is_none_or(|most| tries <= most)
        });
        let usual = own.get(&task).unwrap_or(&usual);
        pretend(case.map_or(&scenario.task, |case| &case.work), usual)
    });
    Acts { script, boot }
}

/// How often each task was started on a node, as counted by the nodes.
#[derive(Clone, Default)]
pub struct Launches(Arc<Mutex<BTreeMap<String, u32>>>);

impl Launches {
    /// Wraps a script and counts its launches.
    pub fn count(&self, script: Script) -> Script {
        let counts = self.0.clone();
        Arc::new(move |launch| {
            if let Some(task) = task_of(launch) {
                *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(task).or_default() += 1;
            }
            script(launch)
        })
    }

    /// Returns the counts.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns the task of a launch, for any attempt; `None` for a start task.
fn task_of(launch: &Launch) -> Option<String> {
    let id = (launch.directory != "startup").then(|| variable(launch, "AZ_BATCH_TASK_ID"))?;
    // A task id ends in twelve hexadecimal digits; that of a later attempt has a short number after them.
    let task = match id.rsplit_once('-') {
        Some((task, number)) if number.len() < 6 && number.parse::<u32>().is_ok_and(|number| number > 1) => {
            task.to_owned()
        }
        _ => id,
    };
    Some(task)
}

fn variable(launch: &Launch, name: &str) -> String {
    let found = launch.environment.iter().rev().find(|(key, _)| key == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

fn pretend(work: &Work, usual: &BTreeMap<String, String>) -> Pretend {
    let outputs = work.outputs.as_ref().unwrap_or(usual);
    Pretend {
        duration: work.duration,
        exit_code: work.exit_code,
        stderr: work.stderr.clone(),
        outputs: outputs.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())).collect(),
        ..Pretend::default()
    }
}

/// Returns a name that matches a pattern of `task.outputs`.
fn example(pattern: &str) -> String {
    let mut name = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' | '?' => name.push('x'),
            '[' => {
                let class: String = letters.by_ref().take_while(|letter| *letter != ']').collect();
                let negated = class.starts_with(['!', '^']);
                name.push(if negated { 'x' } else { class.chars().next().unwrap_or('x') });
            }
            other => name.push(other),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_names_match_their_patterns() {
        for (pattern, name) in [
            ("lines.txt", "lines.txt"),
            ("*_OUTPUT*", "x_OUTPUTx"),
            ("a/?/[bc].csv", "a/x/b.csv"),
            ("**/*.log", "xx/x.log"),
        ] {
            assert_eq!(example(pattern), name);
        }
    }
}
