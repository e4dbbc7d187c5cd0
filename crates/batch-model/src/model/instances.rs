//! Multi-instance tasks: the primary and its subtasks.
//!
//! Every instance runs the coordination command. When all have succeeded, the primary runs the task's own
//! command. The other instances keep their nodes, and the processes that their coordination commands left
//! running, until the primary ends. If one instance fails, all are ended, and the task has failed: it is
//! retried like any other task.

use super::{
    Model, Pool, Refusal, Task, What,
    facts::{Ending, Place},
    keys::{JobKey, TaskKey},
    query::Select,
    sizes::cores_of,
    task_ends::finish,
    task_facts::{Group, Subtask, Tries, result},
    tasks::{self, checked_files},
};
use crate::orders::{Coordination, LaunchEnding, LaunchId, Order};
use dropmill_azure_wire::{
    batch::{self as wire, TaskAdd, TaskNodeInfo, TaskState},
    time::Timestamp,
    uri::encode_path,
};

/// Address of every node.
const ADDRESS: &str = "127.0.0.1";
/// Port that the service would use between nodes. No process listens on it.
const PORT: u16 = 6000;
/// Message for a multi-instance task, which has a group, and a place for each instance.
const GROUP: &str = "a task on several nodes has a group while anything of it runs";
/// Maximum number of nodes of a task.
const MOST_INSTANCES: i32 = 1000;

impl Pool {
    /// Returns whether multi-instance tasks can run on the pool. On Azure, too, they stay active
    /// on other pools.
    pub(super) fn takes_instances(&self) -> bool {
        self.spec.enable_inter_node_communication == Some(true) && self.slots_per_node() == 1
    }
}

impl Task {
    /// Returns its nodes, the primary's first.
    pub fn nodes(&self) -> impl Iterator<Item = &Place> {
        let subtasks = self.facts.run().group.iter().flat_map(|group| group.subtasks.iter());
        self.facts.run().node.iter().chain(subtasks.map(|subtask| &subtask.node))
    }

    /// Returns its folder below the root of each of its nodes.
    pub fn root(&self, job: &str) -> String {
        format!("{}/{}", super::facts::job_directory(job), self.id)
    }

    /// Returns the folder of one of its instances.
    pub(super) fn directory_of(&self, job: &str, number: usize) -> String {
        match self.is_multi() {
            true => format!("{}/{number}", self.root(job)),
            false => self.root(job),
        }
    }

    /// Returns the launch of one of its instances, if it is running.
    pub(super) fn launch_of(&self, number: usize) -> Option<LaunchId> {
        match number.checked_sub(1) {
            None => self.facts.run().launch,
            Some(place) => self.facts.run().group.as_ref()?.subtasks.get(place)?.launch,
        }
    }

    /// Returns its launches that have not ended.
    pub(super) fn live_launches(&self) -> Vec<LaunchId> {
        let subtasks = self.facts.run().group.iter().flat_map(|group| &group.subtasks);
        self.facts.run().launch.into_iter().chain(subtasks.filter_map(|subtask| subtask.launch)).collect()
    }
}

impl Group {
    /// Creates subtasks that have a node each and are not running yet.
    pub(super) fn on(places: &[Place], moment: Timestamp) -> Self {
        let subtask = |place: &Place| Subtask {
            node: place.clone(),
            launch: None,
            state: TaskState::Preparing,
            state_at: moment,
            previous: None,
            info: Tries::default(),
            coordinated: false,
        };
        Self { subtasks: places.iter().map(subtask).collect(), ..Self::default() }
    }
}

impl Subtask {
    fn enter(&mut self, state: TaskState, moment: Timestamp) {
        self.previous = Some((std::mem::replace(&mut self.state, state), self.state_at));
        self.state_at = moment;
    }
}

/// Checks the settings of a multi-instance task.
///
/// # Errors
/// Returns the property that is invalid.
pub(super) fn checked_instances(add: &TaskAdd) -> Result<(), Refusal> {
    let Some(settings) = &add.multi_instance_settings else { return Ok(()) };
    if settings.coordination_command_line.trim().is_empty() {
        return Err(Refusal::missing("coordinationCommandLine"));
    }
    let number = settings.number_of_instances.unwrap_or(1);
    if !(1..=MOST_INSTANCES).contains(&number) {
        return Err(Refusal::invalid(
            "numberOfInstances",
            number.to_string(),
            "It must be between 1 and 1000",
        ));
    }
    if let Some(slots) = add.required_slots.filter(|slots| *slots != 1) {
        let reason = "It must be 1 for a multi-instance task";
        return Err(Refusal::invalid("requiredSlots", slots.to_string(), reason));
    }
    checked_files(settings.common_resource_files.as_deref())
}

impl Model {
    /// Returns the environment variables of one instance. Folders are relative to the node's root.
    pub(super) fn instance_variables(&self, job: &str, task: &Task, number: usize) -> Vec<(String, String)> {
        if !task.is_multi() {
            return vec![];
        }
        let nodes: Vec<_> = task.nodes().collect();
        let pool = nodes.first().and_then(|place| self.pools.get(&place.pool));
        let cores = pool.map_or(1, |pool| cores_of(&pool.spec.vm_size));
        let addresses = vec![ADDRESS; nodes.len()];
        let with_cores = format!(" {ADDRESS} {cores}").repeat(nodes.len());
        let variable = |name: &str, value: String| (name.to_owned(), value);
        vec![
            variable("AZ_BATCH_HOST_LIST", addresses.join(",")),
            variable("AZ_BATCH_NODE_LIST", addresses.join(";")),
            variable("AZ_BATCH_MASTER_NODE", format!("{ADDRESS}:{PORT}")),
            variable("AZ_BATCH_IS_CURRENT_NODE_MASTER", (number == 0).to_string()),
            variable("CCP_NODES", format!("{}{with_cores}", nodes.len())),
            variable("AZ_BATCH_TASK_SHARED_DIR", task.root(job)),
        ]
    }

    /// Returns what an instance runs before its own command.
    pub(super) fn coordination(&self, task: &TaskAdd, number: usize) -> Option<Coordination> {
        let settings = task.multi_instance_settings.as_ref()?;
        Some(Coordination {
            command_line: settings.coordination_command_line.clone(),
            common_resource_files: self.resource_files(settings.common_resource_files.as_deref()),
            is_primary: number == 0,
        })
    }

    /// Records that an instance is running.
    pub(super) fn instance_begins(
        task: &mut Task,
        number: usize,
        launch: Option<LaunchId>,
        moment: Timestamp,
    ) {
        let Some(place) = number.checked_sub(1) else {
            let run = task.facts.run_mut();
            (run.launch, run.info.start_time) = (launch, Some(moment.into()));
            return;
        };
        let subtask = task.facts.run_mut().group.as_mut().and_then(|group| group.subtasks.get_mut(place));
        if let Some(subtask) = subtask {
            subtask.launch = launch;
            subtask.info.start_time = Some(moment.into());
            subtask.enter(TaskState::Running, moment);
        }
    }

    /// Records that an instance's coordination command succeeded; after the last one, the primary continues.
    pub(super) fn coordinated(&mut self, launch: LaunchId) {
        // The node may report it after it reported the end of the launch.
        let Some(What::Task { job, task, number }) = self.launches.get(&launch).cloned() else { return };
        let mut found = self.task_mut(&job, &task).expect(tasks::THERE);
        let run = found.facts.run_mut();
        let (ending, primary) = (run.ending, run.launch);
        let group = run.group.as_mut().expect(GROUP);
        match number.checked_sub(1) {
            None => group.coordinated = true,
            Some(place) => {
                if let Some(subtask) = group.subtasks.get_mut(place) {
                    subtask.coordinated = true;
                }
            }
        }
        let all = group.coordinated && group.subtasks.iter().all(|subtask| subtask.coordinated);
        let whole = all && ending.is_none() && group.broken.is_none() && !group.goes_on;
        if let Some(primary) = primary.filter(|_| whole) {
            group.goes_on = true;
            drop(found);
            self.order(Order::GoOn(primary));
        }
    }

    /// Handles the end of one instance. The others follow; after the last one, the task ends or is retried.
    pub(super) fn instance_ended(
        &mut self,
        (job, task): (&JobKey, &TaskKey),
        number: usize,
        launch: LaunchId,
        ended: LaunchEnding,
        moment: Timestamp,
    ) {
        let mut guard = self.task_mut(job, task).expect(tasks::THERE);
        let found = &mut *guard;
        let place = found.nodes().nth(number).expect(GROUP).clone();
        let (pool, node) = (&place.pool, &place.node);
        let success = ended.exit_code == Some(0) && ended.failure.is_none();
        let run = found.facts.run_mut();
        let ending = run.ending;
        let group = run.group.as_mut().expect(GROUP);
        let mut broke = false;
        match number.checked_sub(1).and_then(|place| group.subtasks.get_mut(place)) {
            None => {
                group.over = Some((ended, ending));
                (run.launch, run.process) = (None, None);
            }
            Some(subtask) => {
                subtask.launch = None;
                finish(&mut subtask.info, ending, &ended);
                subtask.enter(TaskState::Completed, moment);
                if !success && ending.is_none() && group.over.is_none() && group.broken.is_none() {
                    (group.broken, broke) = (Some((number, ended)), true);
                }
            }
        }
        // If the primary ended on its own, the others may do so too. Any other end of an instance ends them.
        let in_order = group.goes_on && ending.is_none() && group.broken.is_none();
        let rest = found.live_launches();
        drop(guard);
        self.free(pool, node, (job, task, number), Some(launch), Some(success), moment);
        if rest.is_empty() {
            return self.group_over(job, task, moment);
        }
        if number == 0 || broke {
            for launch in rest {
                self.order(if in_order { Order::GoOn(launch) } else { Order::Kill(launch) });
            }
        }
        self.keep_task(job, task);
        self.pursue(pool, node, moment);
        self.schedule(pool, moment);
    }

    fn group_over(&mut self, job: &JobKey, task: &TaskKey, moment: Timestamp) {
        let mut found = self.task_mut(job, task).expect(tasks::THERE);
        let run = found.facts.run_mut();
        let asked = run.ending.take();
        let group = run.group.as_mut().expect(GROUP);
        let (mut ended, ending) = group.over.take().expect("the primary has ended when all instances have");
        let ending = if asked == Some(Ending::Deleted) { asked } else { ending };
        let broken = group.broken.take().filter(|_| ending.is_none());
        let subtask = broken.as_ref().map(|(number, _)| *number);
        if let Some((_, broken)) = broken {
            ended = LaunchEnding { started: ended.started, ended: ended.ended.max(broken.ended), ..broken };
        }
        drop(found);
        self.conclude(job, task, ending, ended, subtask, moment);
    }

    /// Returns the subtasks of a task; an ordinary task has none.
    ///
    /// # Errors
    /// `JobNotFound`, `TaskNotFound`.
    pub fn subtasks(&self, job: &str, task: &str, select: &Select) -> Result<Vec<wire::Subtask>, Refusal> {
        let found = self.task(job, task)?;
        let job = &self.job(job)?.spec.id;
        let subtasks = found.facts.run().group.iter().flat_map(|group| &group.subtasks);
        let see = |(place, subtask): (usize, &Subtask)| wire::Subtask {
            id: select.take("id", || i32::try_from(place + 1).ok()),
            node_info: select.take("nodeInfo", || {
                Some(self.node_info(&subtask.node, &found.directory_of(job, place + 1)))
            }),
            start_time: select.take("startTime", || subtask.info.start_time.map(Timestamp::from)),
            end_time: select.take("endTime", || subtask.info.end_time.map(Timestamp::from)),
            exit_code: select.take("exitCode", || subtask.info.exit_code),
            container_info: None,
            failure_info: select.take("failureInfo", || subtask.info.failure_info.as_deref().cloned()),
            state: select.take("state", || Some(subtask.state.clone())),
            state_transition_time: select.take("stateTransitionTime", || Some(subtask.state_at)),
            previous_state: select
                .take("previousState", || subtask.previous.as_ref().map(|(state, _)| state.clone())),
            previous_state_transition_time: select
                .take("previousStateTransitionTime", || subtask.previous.as_ref().map(|(_, moment)| *moment)),
            result: select.take("result", || subtask.info.success.map(result)),
        };
        Ok(subtasks.enumerate().map(see).collect())
    }

    /// Returns the node and folder of an instance.
    pub(super) fn node_info(&self, place: &Place, directory: &str) -> TaskNodeInfo {
        let (pool, node) = (&place.pool_id, &place.node);
        let node_url = format!("{}/pools/{pool}/nodes/{node}", self.identity.base);
        TaskNodeInfo {
            affinity_id: Some(format!("TVM:{node}")),
            task_root_directory_url: Some(format!("{node_url}/files/{}", encode_path(directory))),
            node_url: Some(node_url),
            pool_id: Some(pool.as_ref().to_owned()),
            node_id: Some(node.to_string()),
            task_root_directory: Some(directory.to_owned()),
        }
    }

    /// Orders the deletion of all folders of a task, on all its nodes.
    pub(super) fn remove_files(&mut self, task: &Task, job_id: &str) {
        let directory = task.root(job_id);
        for place in task.nodes() {
            self.effects
                .orders
                .push(Order::RemoveTask { node: place.node_ref(), directory: directory.clone() });
        }
    }
}
