//! Tests the model directly: tests supply the time and play the nodes and the disk.

mod autoscale;
mod instances;
mod jobs;
mod keys;
mod nodes;
mod packages;
mod preemption;
mod random;
mod rebuilt;
mod rest;
mod revival;
mod schedules;
pub mod states;
mod tasks;
mod usage;

use super::{AutoStorage, Change, Identity, Model, NodeAction, Refusal, Task, query::Select};
use crate::{
    applications::{ApplicationPackage, Applications},
    orders::{Launch, LaunchEnding, LaunchId, NodeEvent, NodeRef, Order, Spent},
};
use dropmill_azure_wire::{
    batch::{DisableTasks, NodeDeallocationOption},
    sign::SharedKey,
    time::Timestamp,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// A service with simulated nodes.
pub struct World {
    pub model: Model,
    pub now: Timestamp,
    /// Running launches on nodes.
    pub running: BTreeMap<LaunchId, Launch>,
    /// All orders, as text.
    pub log: Vec<String>,
    /// Nodes boot only when a test calls [`World::boot_all`].
    pub boots_by_hand: bool,
    /// Ended launches are reported only when a test requests it.
    pub ends_by_hand: bool,
    /// Whether subtasks whose end is optional wait for that, too.
    pub stubborn: bool,
    /// Resource usage of each launch.
    pub spends: Spent,
    /// Changes to store, in order.
    kept: Vec<Change>,
    life: u64,
    booting: Vec<NodeRef>,
    killed: Vec<LaunchId>,
}

/// Returns the result of a request: `ok`, or status and code.
pub fn outcome_text<T>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Ok(_) => "ok".into(),
        Err(refusal) => format!("{} {}", refusal.status, refusal.error.code),
    }
}

/// Returns the application packages: `mill` in two versions.
fn applications() -> Applications {
    let package = |version: &str| ApplicationPackage {
        application: "mill".into(),
        version: version.into(),
        path: format!("/packages/mill-{version}.zip").into(),
    };
    Applications::of(vec![package("1.0"), package("2.0")]).unwrap()
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Returns `base` with the properties of `more`.
pub fn with(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

impl World {
    pub fn new() -> Self {
        Self::of_life(0)
    }

    /// Creates a service with the number of its process: no two processes generate the same ids.
    fn of_life(life: u64) -> Self {
        let identity = Identity { base: "http://batch".into(), account: "local".into() };
        Self {
            model: Model::new(identity, ChaCha8Rng::seed_from_u64(7 + life), life << 32, true)
                .with_storage(AutoStorage {
                    endpoint: "http://blob/local".into(),
                    key: SharedKey::new("local", &"c2VjcmV0".into()).unwrap(),
                })
                .with_applications(applications()),
            now: "2026-03-02T10:00:00Z".parse().unwrap(),
            running: BTreeMap::new(),
            log: vec![],
            boots_by_hand: false,
            ends_by_hand: false,
            stubborn: false,
            spends: Spent::default(),
            kept: vec![],
            life,
            booting: vec![],
            killed: vec![],
        }
    }

    /// Creates a pool `p` of one node and a job `j` on it.
    pub fn with_job(job: Value) -> Self {
        let mut world = Self::new();
        world.add_pool("p", json!({"targetDedicatedNodes": 1})).unwrap();
        world.add_job("j", job).unwrap();
        world
    }

    pub fn add_pool(&mut self, id: &str, more: Value) -> Result<(), Refusal> {
        let image = json!({"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 22.04"});
        let pool = json!({"id": id, "vmSize": "standard_d4s_v3", "virtualMachineConfiguration": image});
        let made = self.model.create_pool(read(with(pool, more)), self.now).map(drop);
        self.settle();
        made
    }

    pub fn add_job(&mut self, id: &str, more: Value) -> Result<(), Refusal> {
        let job = with(json!({"id": id, "poolInfo": {"poolId": "p"}}), more);
        let made = self.model.create_job(read(job), self.now).map(drop);
        self.settle();
        made
    }

    /// Stops the service as a power loss does, and restarts it with the stored changes.
    pub fn begin_anew(self) -> Self {
        self.begin_anew_as(false, false)
    }

    /// Does the same; nodes boot and launches end only when a test requests it.
    pub fn begin_anew_as(self, boots_by_hand: bool, ends_by_hand: bool) -> Self {
        let (mut pools, mut jobs, mut schedules) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (mut tasks, mut leases) = (BTreeMap::new(), vec![]);
        let before = self.kept.clone();
        for change in self.kept {
            match change {
                Change::PutPool { key, body } => drop(pools.insert(key, body)),
                Change::DropPool { key } => drop(pools.remove(&key)),
                Change::PutJob { key, body } => drop(jobs.insert(key, body)),
                Change::DropJob { key } => {
                    jobs.remove(&key);
                    tasks.retain(|(job, _), _| *job != key);
                }
                Change::PutSchedule { key, body } => drop(schedules.insert(key, body)),
                Change::DropSchedule { key } => drop(schedules.remove(&key)),
                Change::AddLease { body } => leases.push(serde_json::from_str(&body).unwrap()),
                Change::PutTask { job, key, add, facts } => drop(tasks.insert((job, key), (add, facts))),
                Change::PutTaskFacts { job, key, facts } => {
                    if let Some(task) = tasks.get_mut(&(job, key)) {
                        task.1 = facts;
                    }
                }
                Change::DropTask { job, key } => drop(tasks.remove(&(job, key))),
            }
        }
        fn read_all<K, T: serde::de::DeserializeOwned>(rows: BTreeMap<K, String>) -> Vec<(K, T)> {
            rows.into_iter().map(|(key, body)| (key, serde_json::from_str(&body).unwrap())).collect()
        }
        let tasks = tasks.into_iter().map(|((job, key), (add, facts))| {
            let task = serde_json::from_str(&add).unwrap();
            let task = Task::new(&key, &task, add, serde_json::from_str(&facts).unwrap());
            (job, key, task)
        });
        let mut world = Self { now: self.now, boots_by_hand, ends_by_hand, ..Self::of_life(self.life + 1) };
        world.model.revive_leases(leases);
        world.model.revive(read_all(pools), read_all(jobs), tasks.collect(), world.now);
        world.model.revive_schedules(read_all(schedules), world.now);
        world.kept.splice(0..0, before);
        world.settle();
        world
    }

    /// Adds a task to job `j`.
    pub fn add_task(&mut self, id: &str, more: Value) -> Result<(), Refusal> {
        let task = with(json!({"id": id, "commandLine": "true"}), more);
        let made = self.model.add_task("j", read(task), self.now).map(drop);
        self.model.schedule_job("j", self.now);
        self.settle();
        made
    }

    /// Carries out orders like real nodes.
    pub fn settle(&mut self) {
        loop {
            let effects = self.model.take_effects();
            self.kept.extend(effects.changes);
            if effects.orders.is_empty() {
                return;
            }
            for order in effects.orders {
                self.carry_out(order);
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Boot { node, .. } => {
                self.log.push("boot".into());
                if self.boots_by_hand {
                    self.booting.push(node);
                } else {
                    self.model.happened(NodeEvent::Booted(node), self.now);
                }
            }
            Order::Launch(launch) => {
                self.log.push(format!("launch {}", launch.directory));
                let id = launch.id;
                self.running.insert(id, *launch);
                self.model.happened(NodeEvent::Started { launch: id, process: None }, self.now);
            }
            Order::GoOn(id) => {
                self.log.push("go on".into());
                let waits = self.running.get(&id).and_then(|launch| launch.coordination.as_ref());
                if waits.is_some_and(|waits| !waits.is_primary) && !self.stubborn {
                    self.end_launch(id, 0);
                }
            }
            Order::Kill(id) | Order::Abandon(id) => {
                self.log.push("kill".into());
                if self.ends_by_hand {
                    self.killed.push(id);
                } else {
                    self.end_launch(id, 137);
                }
            }
            Order::RemoveTask { directory, .. } => self.log.push(format!("remove {directory}")),
            Order::Remove(node) => {
                self.log.push("remove node".into());
                let here = self.running.iter().filter(|(_, launch)| launch.node == node);
                let here: Vec<_> = here.map(|(id, _)| *id).collect();
                here.into_iter().for_each(|id| self.end_launch(id, 137));
                self.model.happened(NodeEvent::Removed(node), self.now);
            }
        }
    }

    /// Reports every booting node as ready.
    pub fn boot_all(&mut self) {
        for node in std::mem::take(&mut self.booting) {
            self.model.happened(NodeEvent::Booted(node), self.now);
        }
        self.settle();
    }

    /// Ends the launches for which an end was ordered.
    pub fn end_killed(&mut self) {
        for launch in std::mem::take(&mut self.killed) {
            self.end_launch(launch, 137);
        }
        self.settle();
    }

    fn end_launch(&mut self, launch: LaunchId, exit_code: i32) {
        if self.running.remove(&launch).is_some() {
            let ending = LaunchEnding {
                started: self.now,
                ended: self.now,
                exit_code: Some(exit_code),
                failure: None,
                spent: self.spends,
            };
            self.model.happened(NodeEvent::Ended { launch, ending }, self.now);
        }
    }

    /// Ends the process in the folder with this suffix.
    pub fn exit(&mut self, folder: &str, exit_code: i32) {
        let found = self.running.iter().find(|(_, launch)| launch.directory.ends_with(folder));
        let id = *found.unwrap_or_else(|| panic!("{folder} is not running: {:?}", self.runs())).0;
        self.end_launch(id, exit_code);
        self.settle();
    }

    /// Ends the coordination command in the folder with this suffix successfully.
    pub fn coordinate(&mut self, folder: &str) {
        let found = self.running.iter().find(|(_, launch)| launch.directory.ends_with(folder));
        let launch = *found.unwrap_or_else(|| panic!("{folder} is not running: {:?}", self.runs())).0;
        self.model.happened(NodeEvent::Coordinated { launch }, self.now);
        self.settle();
    }

    /// Returns the node of one of the instances of task `t`.
    pub fn task_node(&self, number: usize) -> String {
        self.model.task("j", "t").unwrap().nodes().nth(number).unwrap().node.to_string()
    }

    /// Returns the sorted last segments of the folders of running launches.
    pub fn runs(&self) -> Vec<String> {
        let last = |launch: &Launch| launch.directory.rsplit('/').next().unwrap().to_owned();
        let mut runs: Vec<_> = self.running.values().map(last).collect();
        runs.sort();
        runs
    }

    /// Advances the time and carries out what is due.
    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now.checked_add(Duration::from_secs(seconds)).unwrap();
        self.model.alarm(self.now);
        self.settle();
    }

    pub fn task(&self, id: &str) -> Value {
        let job = self.model.job("j").unwrap();
        let task = self.model.task("j", id).unwrap();
        serde_json::to_value(self.model.see_task(job, task, &Select::default())).unwrap()
    }

    pub fn job(&self, id: &str) -> Value {
        serde_json::to_value(self.model.see_job(self.model.job(id).unwrap(), &Select::default())).unwrap()
    }

    pub fn pool(&self, id: &str) -> Value {
        serde_json::to_value(self.model.see_pool(self.model.pool(id).unwrap(), &Select::default())).unwrap()
    }

    /// Returns the nodes of pool `p`.
    pub fn nodes(&self) -> Vec<Value> {
        let nodes = self.model.list_nodes("p", "", &Select::default(), "", 1000);
        let nodes = nodes.map(|(nodes, _)| nodes).unwrap_or_default();
        nodes.iter().map(|node| serde_json::to_value(node).unwrap()).collect()
    }

    pub fn node_ids(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Sends a named request for pool `p`, its first node, job `j` or task `t`.
    pub fn ask(&mut self, what: &str) -> String {
        let now = self.now;
        let node = self.node_ids().first().cloned().unwrap_or_else(|| "none".into());
        let model = &mut self.model;
        let option = what.split_whitespace().nth(2).map(NodeDeallocationOption::from);
        let outcome = match what.split_whitespace().take(2).collect::<Vec<_>>().join(" ").as_str() {
            "patch job" => outcome_text(model.patch_job("j", read(json!({"priority": 5})), now)),
            "put job" => outcome_text(model.update_job("j", read(json!({"poolInfo": {"poolId": "p"}})), now)),
            "disable job" => {
                let how = DisableTasks::from(what.split_whitespace().nth(2).unwrap_or("requeue"));
                outcome_text(model.disable_job("j", &how, now))
            }
            "enable job" => outcome_text(model.enable_job("j", now)),
            "terminate job" => outcome_text(model.terminate_job("j", None, now)),
            "delete job" => outcome_text(model.delete_job("j", now)),
            "add task" => {
                outcome_text(model.add_task("j", read(json!({"id": "another", "commandLine": "true"})), now))
            }
            "put task" => outcome_text(model.update_task("j", "t", None, now)),
            "terminate task" => outcome_text(model.terminate_task("j", "t", now)),
            "reactivate task" => outcome_text(model.reactivate_task("j", "t", now)),
            "delete task" => outcome_text(model.delete_task("j", "t", now)),
            "patch pool" => outcome_text(model.patch_pool("p", read(json!({"metadata": []})), now)),
            "update pool" => {
                let update = json!({"metadata": [], "applicationPackageReferences": []});
                outcome_text(model.update_pool("p", read(update), now))
            }
            "resize pool" => {
                let resize = json!({"targetDedicatedNodes": 2});
                outcome_text(model.resize_pool("p", &read(resize), now))
            }
            "enable autoscale" => {
                let enable = json!({"autoScaleFormula": "$TargetDedicatedNodes = 1;"});
                outcome_text(model.enable_autoscale("p", &read(enable), now))
            }
            "evaluate autoscale" => outcome_text(model.evaluate_autoscale("p", "x = 1;", now)),
            "disable autoscale" => outcome_text(model.disable_autoscale("p", now)),
            "stop resize" => outcome_text(model.stop_resize("p", now)),
            "remove nodes" => outcome_text(model.remove_nodes("p", &read(json!({"nodeList": [node]})), now)),
            "delete pool" => outcome_text(model.delete_pool("p", now)),
            "reboot node" => {
                outcome_text(model.restart_node("p", &node, NodeAction::Reboot, option.as_ref(), now))
            }
            "reimage node" => {
                outcome_text(model.restart_node("p", &node, NodeAction::Reimage, option.as_ref(), now))
            }
            "deallocate node" => {
                outcome_text(model.restart_node("p", &node, NodeAction::Deallocate, option.as_ref(), now))
            }
            "start node" => outcome_text(model.start_node("p", &node, now)),
            "disable scheduling" => outcome_text(model.disable_scheduling("p", &node, option.as_ref(), now)),
            "enable scheduling" => outcome_text(model.enable_scheduling("p", &node, now)),
            "add user" => outcome_text(model.add_user("p", &node, &read(json!({"name": "ann"})), now)),
            "patch schedule" => {
                outcome_text(model.change_schedule("s", read(json!({"metadata": []})), false, now))
            }
            "put schedule" => {
                let job = json!({"poolInfo": {"poolId": "p"}});
                let ask = json!({"schedule": {"recurrenceInterval": "PT1H"}, "jobSpecification": job});
                outcome_text(model.change_schedule("s", read(ask), true, now))
            }
            "disable schedule" => outcome_text(model.enable_schedule("s", false, now)),
            "enable schedule" => outcome_text(model.enable_schedule("s", true, now)),
            "terminate schedule" => outcome_text(model.terminate_schedule("s", now)),
            "delete schedule" => outcome_text(model.delete_schedule("s", now)),
            other => panic!("{other}?"),
        };
        self.settle();
        outcome
    }
}
