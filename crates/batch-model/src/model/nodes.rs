//! Nodes: they boot, run their start task, run tasks, and are removed.

use super::{
    Model, Node, Refusal, What,
    books::NodeGuard,
    facts::{DrainMode, Ending, NodeAction},
    keys::{NodeKey, PoolKey},
    plans::checked_option,
    pools,
};
use crate::orders::{Launch, LaunchEnding, NodeEvent, NodeRef, Order, ResourceFileOrder, ResourceSource};
use dropmill_azure_wire::{
    batch::{
        self as wire, ErrorCategory, FailureInfo, NameValuePair, NodeDeallocationOption, NodeState,
        NodeTaskInfo, NodeTaskState, TaskResult,
    },
    time::Timestamp,
};

/// Message for a node that must exist. Keys of nodes are valid except in alarms and ends of launches, because
/// only the node's own report removes it.
pub(super) const THERE: &str = "a node stays until it reports that it is removed";

impl Model {
    /// Processes the report of a node.
    pub fn happened(&mut self, event: NodeEvent, now: Timestamp) {
        let moment = self.moment(now);
        self.note_event(&event, moment);
        match event {
            NodeEvent::Booted(node) => self.booted(&node, moment),
            NodeEvent::BootFailed { node, failure } => self.boot_failed(&node, &failure, moment),
            NodeEvent::Started { launch, process } => self.started(launch, process, moment),
            NodeEvent::Coordinated { launch } => self.coordinated(launch),
            NodeEvent::Ended { launch, ending } => match self.launches.remove(&launch) {
                Some(What::StartTask { pool, node }) => {
                    self.start_task_ended(&pool, &node, launch, &ending, moment)
                }
                Some(What::Task { job, task, number }) => {
                    self.launch_ended(&job, &task, number, launch, ending, moment)
                }
                Some(What::Chore { job, node, .. }) => self.chore_ended(&job, &node, launch, &ending, moment),
                None => {}
            },
            NodeEvent::Removed(node) => self.removed(node, moment),
        }
    }

    fn removed(&mut self, node: NodeRef, moment: Timestamp) {
        let (key, node) = (PoolKey::of(&node.pool), NodeKey::of(&node.node));
        // A service that starts again removes the folders of nodes that it no longer has.
        let Some(of) = self.pools.get(&key).and_then(|pool| pool.nodes.get(&node)) else { return };
        if of.leaving {
            self.end_lease(&key, &node, moment);
            self.pools.get_mut(&key).expect(pools::THERE).nodes.remove(&node);
            self.settle_allocation(&key, moment);
            self.keep_pool(&key);
            self.release_on(&node, moment);
            self.remove_pool(&key);
        } else if of.state == NodeState::Reimaging {
            self.boot(&key, &node);
        }
    }

    pub(super) fn node_mut(&mut self, pool: &PoolKey, node: &NodeKey) -> Option<NodeGuard<'_>> {
        self.pools.get_mut(pool)?.nodes.change(node)
    }

    fn booted(&mut self, of: &NodeRef, moment: Timestamp) {
        let (key, of) = (PoolKey::of(&of.pool), NodeKey::of(&of.node));
        // The node may have been removed while it booted.
        let Some(pool) = self.pools.get_mut(&key) else { return };
        let start_task = pool.spec.start_task.clone();
        let Some(mut node) = pool.nodes.change(&of).filter(|node| !node.leaving) else { return };
        node.booted = Some(moment);
        node.errors.clear();
        let has_other_machine = node.state == NodeState::Starting;
        if start_task.is_some() {
            node.start_task = Some(begun(moment));
        }
        drop(node);
        if has_other_machine {
            // Its machine is a new one.
            self.void_preparations(&of, NodeAction::Reimage);
        }
        match start_task {
            None => self.set_node_state(&key, &of, NodeState::Idle, moment),
            Some(start_task) => {
                let waits = start_task.wait_for_success != Some(false);
                let state = if waits { NodeState::WaitingForStartTask } else { NodeState::Idle };
                self.set_node_state(&key, &of, state, moment);
                self.launch_start_task(&key, &of, &start_task);
            }
        }
        self.settle_allocation(&key, moment);
        self.keep_pool(&key);
        self.release_on(&of, moment);
        self.schedule(&key, moment);
    }

    fn launch_start_task(&mut self, pool: &PoolKey, node: &NodeKey, start_task: &wire::StartTask) {
        let id = self.launch_id();
        let found = self.pools.get(pool).expect(pools::THERE);
        let pool_id = found.spec.id.clone();
        let of = found.nodes.get(node).expect(THERE);
        let retries = of.start_task.as_ref().and_then(|info| info.retry_count).unwrap_or(0);
        let most = start_task.max_task_retry_count.unwrap_or(0);
        let mut environment = self.environment_of(&pool_id, node, of.dedicated);
        environment.extend(settings(start_task.environment_settings.as_deref()));
        let launch = Launch {
            id,
            node: NodeRef { pool: pool_id, node: node.to_string() },
            directory: "startup".into(),
            command_line: start_task.command_line.clone(),
            environment,
            coordination: None,
            packages: self.packages_for(pool, node, None),
            resource_files: self.resource_files(start_task.resource_files.as_deref()),
            output_files: vec![],
            last_try: most >= 0 && retries >= most,
        };
        self.launches.insert(id, What::StartTask { pool: pool.clone(), node: node.clone() });
        self.node_mut(pool, node).expect(THERE).launches.insert(id);
        self.order(Order::Launch(Box::new(launch)));
    }

    /// Returns the environment variables that the service sets for every command.
    pub(super) fn environment_of(
        &self,
        pool_id: &str,
        node: &NodeKey,
        dedicated: bool,
    ) -> Vec<(String, String)> {
        vec![
            ("AZ_BATCH_ACCOUNT_NAME".into(), self.identity.account.clone()),
            ("AZ_BATCH_ACCOUNT_URL".into(), format!("{}/", self.identity.base)),
            ("AZ_BATCH_POOL_ID".into(), pool_id.to_owned()),
            ("AZ_BATCH_NODE_ID".into(), node.to_string()),
            ("AZ_BATCH_NODE_IS_DEDICATED".into(), dedicated.to_string()),
            ("DROPMILL_NODE".into(), node.to_string()),
        ]
    }

    fn start_task_ended(
        &mut self,
        pool: &PoolKey,
        node: &NodeKey,
        launch: u64,
        ending: &LaunchEnding,
        moment: Timestamp,
    ) {
        let start_task = self.pools.get(pool).and_then(|pool| pool.spec.start_task.clone());
        // Its node may have been removed before.
        let Some(mut guard) = self.node_mut(pool, node) else { return };
        let of = &mut *guard;
        of.launches.remove(&launch);
        let restarts = of.leaving || of.plan.is_some_and(|plan| plan.patience == DrainMode::None);
        let (Some(info), Some(start_task), false) = (&mut of.start_task, start_task, restarts) else {
            drop(guard);
            return self.pursue(pool, node, moment);
        };
        if note_try(info, ending, start_task.max_task_retry_count.unwrap_or(0), moment) {
            drop(guard);
            self.launch_start_task(pool, node, &start_task);
            self.keep_pool(pool);
            return;
        }
        let success = info.result == Some(TaskResult::Success);
        let waits = start_task.wait_for_success != Some(false);
        let waited = of.state == NodeState::WaitingForStartTask;
        drop(guard);
        if waited {
            let state = if success || !waits { NodeState::Idle } else { NodeState::StartTaskFailed };
            self.set_node_state(pool, node, state, moment);
        }
        self.pursue(pool, node, moment);
        self.keep_pool(pool);
        self.release_on(node, moment);
        self.schedule(pool, moment);
    }

    /// Sets the state of a node.
    pub(super) fn set_node_state(
        &mut self,
        pool: &PoolKey,
        node: &NodeKey,
        state: NodeState,
        moment: Timestamp,
    ) {
        match state {
            NodeState::Deallocated | NodeState::Preempted => self.end_lease(pool, node, moment),
            NodeState::Starting => self.begin_lease(pool, node, moment),
            _ => {}
        }
        let mut of = self.node_mut(pool, node).expect(THERE);
        if of.state != state {
            let message = format!("from {} to {state}", of.state);
            of.note(moment, message);
            (of.state, of.state_at) = (state, moment);
        }
    }

    /// Returns a node.
    ///
    /// # Errors
    /// `PoolNotFound`, `NodeNotFound`.
    pub fn node(&self, pool: &str, node: &str) -> Result<&Node, Refusal> {
        self.pool(pool)?.nodes.get(&NodeKey::of(node)).ok_or_else(|| Refusal::not_found("NodeNotFound"))
    }

    /// Disables scheduling on a node; the option says what happens to its running tasks.
    ///
    /// # Errors
    /// `NodeNotFound`, `NodeAlreadyInTargetSchedulingState`.
    pub fn disable_scheduling(
        &mut self,
        pool: &str,
        node: &str,
        option: Option<&NodeDeallocationOption>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let moment = self.moment(now);
        checked_option(option)?;
        if option == Some(&NodeDeallocationOption::RetainedData) {
            let reason = "It must be requeue, terminate or taskcompletion";
            return Err(Refusal::invalid("nodeDisableSchedulingOption", "retaineddata", reason));
        }
        if !self.node(pool, node)?.scheduling {
            return Err(Refusal::conflict("NodeAlreadyInTargetSchedulingState"));
        }
        let launches: Vec<_> = self.node(pool, node)?.launches.iter().copied().collect();
        let (pool, node) = (&PoolKey::of(pool), &NodeKey::of(node));
        self.node_mut(pool, node).expect(THERE).scheduling = false;
        if option != Some(&NodeDeallocationOption::TaskCompletion) {
            for launch in launches {
                let terminate = option == Some(&NodeDeallocationOption::Terminate);
                self.end_launch(launch, if terminate { Ending::Terminated } else { Ending::Requeued });
            }
        }
        self.rest_node(pool, node, moment);
        self.keep_pool(pool);
        Ok(())
    }

    /// Enables scheduling on a node again.
    ///
    /// # Errors
    /// `NodeNotFound`, `NodeAlreadyInTargetSchedulingState`.
    pub fn enable_scheduling(&mut self, pool: &str, node: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        if self.node(pool, node)?.scheduling {
            return Err(Refusal::conflict("NodeAlreadyInTargetSchedulingState"));
        }
        let (pool, node) = (&PoolKey::of(pool), &NodeKey::of(node));
        self.node_mut(pool, node).expect(THERE).scheduling = true;
        self.rest_node(pool, node, moment);
        self.keep_pool(pool);
        self.schedule(pool, moment);
        Ok(())
    }

    /// Sets the state of a node after an action: running, idle, or offline if scheduling is disabled.
    pub(super) fn rest_node(&mut self, pool: &PoolKey, node: &NodeKey, moment: Timestamp) {
        let of = self.pools.get(pool).and_then(|pool| pool.nodes.get(node)).expect(THERE);
        let state = match (&of.state, of.scheduling, of.slots.taken() > 0) {
            (NodeState::Idle | NodeState::Running | NodeState::Offline, true, true) => NodeState::Running,
            (NodeState::Idle | NodeState::Running | NodeState::Offline, true, false) => NodeState::Idle,
            (NodeState::Idle | NodeState::Running, false, false) => NodeState::Offline,
            (state, ..) => state.clone(),
        };
        self.set_node_state(pool, node, state, moment);
    }
}

/// Returns the execution info of a command that starts now.
pub(super) fn begun(moment: Timestamp) -> NodeTaskInfo {
    NodeTaskInfo {
        state: NodeTaskState::Running,
        start_time: moment,
        end_time: None,
        task_root_directory: None,
        task_root_directory_url: None,
        exit_code: None,
        container_info: None,
        failure_info: None,
        retry_count: Some(0),
        last_retry_time: None,
        result: None,
    }
}

/// Records how an attempt of such a command ended. Returns `true` if another attempt follows; `most` is the
/// maximum number (-1: no limit).
pub(super) fn note_try(info: &mut NodeTaskInfo, ending: &LaunchEnding, most: i32, moment: Timestamp) -> bool {
    let success = ending.exit_code == Some(0) && ending.failure.is_none();
    let retries = info.retry_count.unwrap_or(0);
    if !success && (most < 0 || retries < most) {
        info.retry_count = Some(retries + 1);
        info.last_retry_time = Some(moment);
        return true;
    }
    info.state = NodeTaskState::Completed;
    info.start_time = ending.started;
    info.end_time = Some(ending.ended);
    info.exit_code = ending.exit_code;
    info.failure_info = failure_of(ending);
    info.result = Some(if success { TaskResult::Success } else { TaskResult::Failure });
    false
}

/// Returns variables as pairs; a variable without a value is empty.
pub(super) fn settings(
    list: Option<&[wire::EnvironmentSetting]>,
) -> impl Iterator<Item = (String, String)> + '_ {
    list.into_iter()
        .flatten()
        .map(|setting| (setting.name.clone(), setting.value.clone().unwrap_or_default()))
}

impl Model {
    /// Returns the files to download; the model has already rejected files without a source.
    pub(super) fn resource_files(&self, list: Option<&[wire::ResourceFile]>) -> Vec<ResourceFileOrder> {
        let in_container = |url: String, file: &wire::ResourceFile| ResourceSource::Container {
            url,
            prefix: file.blob_prefix.clone().unwrap_or_default(),
        };
        let order = |file: &wire::ResourceFile| {
            let auto = file.auto_storage_container_name.as_deref();
            let source = match (&file.http_url, &file.storage_container_url, auto, &self.storage) {
                (Some(url), ..) => ResourceSource::Url(url.expose().to_owned()),
                (None, Some(url), ..) => in_container(url.expose().to_owned(), file),
                (None, None, Some(name), Some(storage)) => {
                    in_container(storage.container(name, self.last_moment).expose().to_owned(), file)
                }
                (None, None, ..) => return None,
            };
            let file_path = file.file_path.clone().unwrap_or_default();
            Some(ResourceFileOrder { source, file_path, file_mode: file.file_mode.clone() })
        };
        list.into_iter().flatten().filter_map(order).collect()
    }
}

/// Returns `failureInfo` of a failed launch.
pub(super) fn failure_of(ending: &LaunchEnding) -> Option<FailureInfo> {
    if let Some(failure) = &ending.failure {
        return Some(FailureInfo {
            category: if failure.user_error { ErrorCategory::UserError } else { ErrorCategory::ServerError },
            code: Some(failure.code.clone()),
            message: Some(failure.message.clone()),
            details: Some(
                failure.details.iter().map(|(name, value)| NameValuePair::new(name, value)).collect(),
            ),
        });
    }
    let exit_code = ending.exit_code.filter(|code| *code != 0)?;
    Some(FailureInfo {
        category: ErrorCategory::UserError,
        code: Some("FailureExitCode".into()),
        message: Some("The task exited with an exit code representing a failure".into()),
        details: Some(vec![
            NameValuePair::new("Message", "The task exited with an exit code representing a failure"),
            NameValuePair::new("AdditionalErrorCode", format!("{exit_code}")),
        ]),
    })
}
