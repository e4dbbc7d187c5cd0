//! The log of a node, in lines for people, in place of the log of a node agent. It contains no command lines
//! and variables, which may be secret. It is kept in memory.

use super::{
    Model, Node, Refusal, What,
    keys::{NodeKey, PoolKey},
};
use crate::orders::{LaunchEnding, LaunchId, NodeEvent, NodeRef, Order};
use dropmill_azure_wire::time::{Timestamp, iso};

/// Maximum number of lines per node; the oldest are removed first.
const MOST_LINES: usize = 400;

impl Node {
    pub(super) fn note(&mut self, moment: Timestamp, words: String) {
        self.log.push_back((moment, words.into()));
        if self.log.len() > MOST_LINES {
            self.log.pop_front();
        }
    }
}

impl Model {
    /// Returns the complete log of a node, if an entry is within a time range.
    ///
    /// # Errors
    /// `PoolNotFound`, `NodeNotFound`.
    pub fn node_log(
        &self,
        pool: &str,
        node: &str,
        from: Timestamp,
        to: Option<Timestamp>,
    ) -> Result<Option<String>, Refusal> {
        let log = &self.node(pool, node)?.log;
        let asked = |moment: Timestamp| moment >= from && to.is_none_or(|to| moment <= to);
        if !log.iter().any(|(moment, _)| asked(*moment)) {
            return Ok(None);
        }
        Ok(Some(log.iter().map(|(moment, words)| format!("{} {words}\n", iso(*moment))).collect()))
    }

    /// Logs an order for a node.
    pub(super) fn note_order(&mut self, order: &Order) {
        let (node, words) = match order {
            Order::Boot { node, packages } => {
                (node, format!("boots, with {} application packages", packages.len()))
            }
            Order::Launch(launch) => {
                (&launch.node, format!("launch {} begins in {}", launch.id, launch.directory))
            }
            Order::Remove(node) => (node, "its folders are deleted".into()),
            // The end of the launch is logged instead.
            Order::GoOn(_) | Order::Kill(_) | Order::Abandon(_) | Order::RemoveTask { .. } => return,
        };
        let moment = self.last_moment;
        let node = (PoolKey::of(&node.pool), NodeKey::of(&node.node));
        self.note_on(&node.0, &node.1, moment, words);
    }

    /// Logs the report of a node.
    pub(super) fn note_event(&mut self, event: &NodeEvent, moment: Timestamp) {
        match event {
            NodeEvent::Booted(node) => self.note_node(node, moment, "is up".into()),
            NodeEvent::BootFailed { node, failure } => {
                self.note_node(node, moment, format!("is up without a required package: {}", failure.code));
            }
            NodeEvent::Coordinated { launch } => {
                self.note_launch(*launch, moment, "its coordination is over".into());
            }
            NodeEvent::Ended { launch, ending } => self.note_launch(*launch, moment, how(ending)),
            NodeEvent::Started { .. } | NodeEvent::Removed(_) => {}
        }
    }

    fn note_launch(&mut self, launch: LaunchId, moment: Timestamp, words: String) {
        let (pool, node) = match self.launches.get(&launch) {
            Some(What::StartTask { pool, node }) => (pool.clone(), node.clone()),
            Some(What::Chore { job, node, .. }) => {
                let on = self.jobs.get(job).and_then(|job| job.on_nodes.get(node));
                // A node that restarted meanwhile has no entry for it.
                let Some(on) = on else { return };
                (PoolKey::of(&on.pool), node.clone())
            }
            Some(What::Task { job, task, number }) => {
                let task = self.jobs.get(job).and_then(|job| job.tasks.get(task));
                let place = task.and_then(|task| task.nodes().nth(*number));
                let place = place.expect("a task with a launch exists and has a place for each instance");
                (place.pool.clone(), place.node.clone())
            }
            // A launch of a previous process of the service.
            None => return,
        };
        self.note_on(&pool, &node, moment, format!("launch {launch}: {words}"));
    }

    fn note_node(&mut self, node: &NodeRef, moment: Timestamp, words: String) {
        self.note_on(&PoolKey::of(&node.pool), &NodeKey::of(&node.node), moment, words);
    }

    fn note_on(&mut self, pool: &PoolKey, node: &NodeKey, moment: Timestamp, words: String) {
        // The node may have been removed.
        if let Some(mut of) = self.node_mut(pool, node) {
            of.note(moment, words);
        }
    }
}

fn how(ending: &LaunchEnding) -> String {
    match (ending.exit_code, &ending.failure) {
        (Some(code), None) => format!("exit code {code}"),
        (Some(code), Some(failure)) => format!("exit code {code}, {}", failure.code),
        (None, Some(failure)) => format!("did not start, {}", failure.code),
        (None, None) => "did not start".into(),
    }
}
