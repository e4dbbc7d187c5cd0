//! The model, driven by hand: no clock, no node, no disk but what a test plays.

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

use super::{Act, AutoStorage, Change, Identity, Model, Refusal, Task, query::Select};
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

/// A service with its nodes.
pub struct World {
    pub model: Model,
    pub now: Timestamp,
    /// What runs on nodes.
    pub running: BTreeMap<LaunchId, Launch>,
    /// Every order there was, in words.
    pub log: Vec<String>,
    /// Nodes boot only when told to.
    pub boots_by_hand: bool,
    /// Ended launches are reported only when told to.
    pub ends_by_hand: bool,
    /// Subtasks that may end wait for that, too.
    pub stubborn: bool,
    /// What each launch takes of the machine.
    pub spends: Spent,
    /// What was to be kept, in order.
    kept: Vec<Change>,
    life: u64,
    booting: Vec<NodeRef>,
    killed: Vec<LaunchId>,
}

/// What came of a request: `ok`, or status and code.
pub fn told<T>(outcome: Result<T, Refusal>) -> String {
    match outcome {
        Ok(_) => "ok".into(),
        Err(refusal) => format!("{} {}", refusal.status, refusal.error.code),
    }
}

/// The packages there are: `mill` in two versions.
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

/// `base` with the properties of `more`.
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

    /// A service in its nth life: no two lives draw the same ids.
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

    /// A pool `p` of one node and a job `j` on it.
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

    /// The service ends as a machine does that loses its power, and begins anew with what it kept.
    pub fn begin_anew(self) -> Self {
        self.begin_anew_as(false, false)
    }

    /// Likewise, with nodes that boot, and launches that end, only when told to.
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

    /// Does what was ordered, as nodes would.
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

    /// Every node that boots is up.
    pub fn boot_all(&mut self) {
        for node in std::mem::take(&mut self.booting) {
            self.model.happened(NodeEvent::Booted(node), self.now);
        }
        self.settle();
    }

    /// Launches whose end was ordered end.
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

    /// What runs in the folder that ends so exits.
    pub fn exit(&mut self, folder: &str, exit_code: i32) {
        let found = self.running.iter().find(|(_, launch)| launch.directory.ends_with(folder));
        let id = *found.unwrap_or_else(|| panic!("{folder} does not run: {:?}", self.runs())).0;
        self.end_launch(id, exit_code);
        self.settle();
    }

    /// The coordination of what runs in the folder that ends so ended well.
    pub fn coordinate(&mut self, folder: &str) {
        let found = self.running.iter().find(|(_, launch)| launch.directory.ends_with(folder));
        let launch = *found.unwrap_or_else(|| panic!("{folder} does not run: {:?}", self.runs())).0;
        self.model.happened(NodeEvent::Coordinated { launch }, self.now);
        self.settle();
    }

    /// The node of one of the instances of task `t`.
    pub fn task_node(&self, number: usize) -> String {
        self.model.task("j", "t").unwrap().nodes().nth(number).unwrap().node.to_string()
    }

    /// Last segments of the folders of what runs, sorted.
    pub fn runs(&self) -> Vec<String> {
        let last = |launch: &Launch| launch.directory.rsplit('/').next().unwrap().to_owned();
        let mut runs: Vec<_> = self.running.values().map(last).collect();
        runs.sort();
        runs
    }

    /// Time passes; what is due then happens.
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

    /// Nodes of pool `p`.
    pub fn nodes(&self) -> Vec<Value> {
        let nodes = self.model.list_nodes("p", "", &Select::default(), "", 1000);
        let nodes = nodes.map(|(nodes, _)| nodes).unwrap_or_default();
        nodes.iter().map(|node| serde_json::to_value(node).unwrap()).collect()
    }

    pub fn node_ids(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Does something named in words, to pool `p`, its first node, job `j` or task `t`.
    pub fn ask(&mut self, what: &str) -> String {
        let now = self.now;
        let node = self.node_ids().first().cloned().unwrap_or_else(|| "none".into());
        let model = &mut self.model;
        let option = what.split_whitespace().nth(2).map(NodeDeallocationOption::from);
        let outcome = match what.split_whitespace().take(2).collect::<Vec<_>>().join(" ").as_str() {
            "patch job" => told(model.patch_job("j", read(json!({"priority": 5})), now)),
            "put job" => told(model.update_job("j", read(json!({"poolInfo": {"poolId": "p"}})), now)),
            "disable job" => {
                let how = DisableTasks::from(what.split_whitespace().nth(2).unwrap_or("requeue"));
                told(model.disable_job("j", &how, now))
            }
            "enable job" => told(model.enable_job("j", now)),
            "terminate job" => told(model.terminate_job("j", None, now)),
            "delete job" => told(model.delete_job("j", now)),
            "add task" => {
                told(model.add_task("j", read(json!({"id": "another", "commandLine": "true"})), now))
            }
            "put task" => told(model.update_task("j", "t", None, now)),
            "terminate task" => told(model.terminate_task("j", "t", now)),
            "reactivate task" => told(model.reactivate_task("j", "t", now)),
            "delete task" => told(model.delete_task("j", "t", now)),
            "patch pool" => told(model.patch_pool("p", read(json!({"metadata": []})), now)),
            "update pool" => {
                let update = json!({"metadata": [], "applicationPackageReferences": []});
                told(model.update_pool("p", read(update), now))
            }
            "resize pool" => {
                let resize = json!({"targetDedicatedNodes": 2});
                told(model.resize_pool("p", &read(resize), now))
            }
            "enable autoscale" => {
                let enable = json!({"autoScaleFormula": "$TargetDedicatedNodes = 1;"});
                told(model.enable_autoscale("p", &read(enable), now))
            }
            "evaluate autoscale" => told(model.evaluate_autoscale("p", "x = 1;", now)),
            "disable autoscale" => told(model.disable_autoscale("p", now)),
            "stop resize" => told(model.stop_resize("p", now)),
            "remove nodes" => told(model.remove_nodes("p", &read(json!({"nodeList": [node]})), now)),
            "delete pool" => told(model.delete_pool("p", now)),
            "reboot node" => told(model.restart_node("p", &node, Act::Reboot, option.as_ref(), now)),
            "reimage node" => told(model.restart_node("p", &node, Act::Reimage, option.as_ref(), now)),
            "deallocate node" => told(model.restart_node("p", &node, Act::Deallocate, option.as_ref(), now)),
            "start node" => told(model.start_node("p", &node, now)),
            "disable scheduling" => told(model.disable_scheduling("p", &node, option.as_ref(), now)),
            "enable scheduling" => told(model.enable_scheduling("p", &node, now)),
            "add user" => told(model.add_user("p", &node, &read(json!({"name": "ann"})), now)),
            "patch schedule" => told(model.change_schedule("s", read(json!({"metadata": []})), false, now)),
            "put schedule" => {
                let job = json!({"poolInfo": {"poolId": "p"}});
                let ask = json!({"schedule": {"recurrenceInterval": "PT1H"}, "jobSpecification": job});
                told(model.change_schedule("s", read(ask), true, now))
            }
            "disable schedule" => told(model.enable_schedule("s", false, now)),
            "enable schedule" => told(model.enable_schedule("s", true, now)),
            "terminate schedule" => told(model.terminate_schedule("s", now)),
            "delete schedule" => told(model.delete_schedule("s", now)),
            other => panic!("{other}?"),
        };
        self.settle();
        outcome
    }
}
