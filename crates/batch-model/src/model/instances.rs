//! Tasks on several nodes at once: the primary and its subtasks.
//!
//! Every instance runs the coordination command. When all of these have ended well, the primary runs the task's own
//! command, and the others keep their nodes, and what their coordination left running, until it is over. If one
//! fails, all are ended, and the task failed with it: it is tried again as often as any task is.

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

/// The address of every node.
const ADDRESS: &str = "127.0.0.1";
/// The port that the service itself would use between nodes. Nobody listens there.
const PORT: u16 = 6000;
/// Why a task on several nodes has a group, and a place for each instance.
const GROUP: &str = "a task on several nodes has a group while anything of it runs";
/// The most nodes of a task.
const MOST_INSTANCES: i32 = 1000;

impl Pool {
    /// Whether tasks on several nodes can run here. Elsewhere they stay active, as on Azure.
    pub(super) fn takes_instances(&self) -> bool {
        self.spec.enable_inter_node_communication == Some(true) && self.slots_per_node() == 1
    }
}

impl Task {
    /// Its nodes, by pool and id, the primary's first.
    pub fn nodes(&self) -> impl Iterator<Item = &Place> {
        let subtasks = self.facts.run().group.iter().flat_map(|group| group.subtasks.iter());
        self.facts.run().node.iter().chain(subtasks.map(|subtask| &subtask.node))
    }

    /// The folder, below the root of each of its nodes, of all that it has there.
    pub fn root(&self, job: &str) -> String {
        format!("{}/{}", super::facts::job_directory(job), self.id)
    }

    /// The folder of one of its instances.
    pub(super) fn directory_of(&self, job: &str, number: usize) -> String {
        match self.is_multi() {
            true => format!("{}/{number}", self.root(job)),
            false => self.root(job),
        }
    }

    /// The launch of one of its instances, if that runs.
    pub(super) fn launch_of(&self, number: usize) -> Option<LaunchId> {
        match number.checked_sub(1) {
            None => self.facts.run().launch,
            Some(place) => self.facts.run().group.as_ref()?.subtasks.get(place)?.launch,
        }
    }

    /// Its launches that have not ended.
    pub(super) fn live_launches(&self) -> Vec<LaunchId> {
        let subtasks = self.facts.run().group.iter().flat_map(|group| &group.subtasks);
        self.facts.run().launch.into_iter().chain(subtasks.filter_map(|subtask| subtask.launch)).collect()
    }
}

impl Group {
    /// Subtasks that have a node each and do not run yet.
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

/// What a task on several nodes may ask for.
///
/// # Errors
/// What is wrong with it.
pub(super) fn checked_instances(add: &TaskAdd) -> Result<(), Refusal> {
    let Some(settings) = &add.multi_instance_settings else { return Ok(()) };
    if settings.coordination_command_line.trim().is_empty() {
        return Err(Refusal::missing("coordinationCommandLine"));
    }
    let number = settings.number_of_instances.unwrap_or(1);
    if !(1..=MOST_INSTANCES).contains(&number) {
        return Err(Refusal::invalid("numberOfInstances", number.to_string(), "It must be from 1 to 1000"));
    }
    if let Some(slots) = add.required_slots.filter(|slots| *slots != 1) {
        let reason = "It must be 1 for a multi-instance task";
        return Err(Refusal::invalid("requiredSlots", slots.to_string(), reason));
    }
    checked_files(settings.common_resource_files.as_deref())
}

impl Model {
    /// The variables of one instance of a task. Folders are given below the node's root.
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

    /// What comes before the own command of an instance.
    pub(super) fn coordination(&self, task: &TaskAdd, number: usize) -> Option<Coordination> {
        let settings = task.multi_instance_settings.as_ref()?;
        Some(Coordination {
            command_line: settings.coordination_command_line.clone(),
            common_resource_files: self.resource_files(settings.common_resource_files.as_deref()),
            is_primary: number == 0,
        })
    }

    /// Notes that an instance runs.
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

    /// An instance's coordination ended well; after the last one the primary goes on.
    pub(super) fn coordinated(&mut self, launch: LaunchId) {
        // The node may report it after it reported the launch's end.
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

    /// One instance is over. The others follow; after the last one the task is over, or tried again.
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
        // The primary ended by itself: so may the others. Whatever else it was ends them.
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
        let (mut ended, ending) = group.over.take().expect("the primary is over when all instances are");
        let ending = if asked == Some(Ending::Deleted) { asked } else { ending };
        let broken = group.broken.take().filter(|_| ending.is_none());
        let subtask = broken.as_ref().map(|(number, _)| *number);
        if let Some((_, broken)) = broken {
            ended = LaunchEnding { started: ended.started, ended: ended.ended.max(broken.ended), ..broken };
        }
        drop(found);
        self.conclude(job, task, ending, ended, subtask, moment);
    }

    /// The subtasks of a task; an ordinary one has none.
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

    /// Where something of a task is.
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

    /// Has all folders of a task deleted, wherever they are.
    pub(super) fn remove_files(&mut self, task: &Task, job_id: &str) {
        let directory = task.root(job_id);
        for place in task.nodes() {
            self.effects
                .orders
                .push(Order::RemoveTask { node: place.node_ref(), directory: directory.clone() });
        }
    }
}
