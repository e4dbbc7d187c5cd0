//! Pools: created, resized, changed, deleted.

use super::{
    Alarm, Change, Model, Node, Nodes, Pool, Refusal,
    facts::{NodeAction, json},
    job_specs::checked_chore,
    keys::{NodeKey, PoolKey},
    plans::checked_option,
    pool_specs,
    refusal::checked_id,
    slots::Slots,
    tag,
};
use crate::autoscale::Samples;
use dropmill_azure_wire::{
    batch::{
        self as wire, NodeDeallocationOption, NodeState, PoolAdd, PoolPatch, PoolResize, PoolUpdateProperties,
    },
    duration::IsoDuration,
    etag::ETag,
    time::Timestamp,
};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Maximum number of nodes that this machine simulates.
const MOST_NODES: i32 = 1000;
/// Maximum number of slots of a node: the service allows four for each of up to 64 cores.
const MOST_SLOTS: i32 = 256;

/// Message for a pool that must exist. Keys of pools are valid except in alarms and reports of nodes, because
/// only the last step of a deletion removes a pool.
pub(super) const THERE: &str = "a pool stays until its deletion is over";

impl Model {
    /// Creates a pool.
    ///
    /// # Errors
    /// `PoolExists`, or the property that is invalid.
    pub fn create_pool(&mut self, mut spec: PoolAdd, now: Timestamp) -> Result<(ETag, Timestamp), Refusal> {
        checked_id(&spec.id)?;
        pool_specs::complete(&mut spec)?;
        self.checked_packages(spec.application_package_references.as_deref())?;
        let slots = spec.task_slots_per_node.unwrap_or(1);
        let key = PoolKey::of(&spec.id);
        if let Some(found) = self.pools.get(&key) {
            return Err(Refusal::conflict(if found.deleting { "PoolBeingDeleted" } else { "PoolExists" }));
        }
        let moment = self.moment(now);
        let pool = Pool {
            spec,
            etag: tag(moment),
            modified: moment,
            created: moment,
            deleting: false,
            state_at: moment,
            resizing: true,
            stopping: false,
            resize_until: None,
            allocation_at: moment,
            resize_errors: vec![],
            autoscale_run: None,
            formula_at: None,
            samples: Samples::default(),
            nodes: Nodes::of_slots(slots),
        };
        self.pools.insert(key.clone(), pool);
        self.watch_resize(&key, None, moment);
        self.grow(&key, moment);
        self.settle_allocation(&key, moment);
        if self.pools.get(&key).is_some_and(|pool| pool.spec.enable_auto_scale == Some(true)) {
            self.begin_autoscale(&key, moment);
        }
        self.keep_pool(&key);
        Ok((tag(moment), moment))
    }

    /// Stores the current state of a pool.
    pub(super) fn keep_pool(&mut self, key: &PoolKey) {
        let pool = self.pools.get(key).expect(THERE);
        let body = if self.durable { json(pool) } else { String::new() };
        self.keep(|| Change::PutPool { key: key.clone(), body });
    }

    /// Returns a pool.
    ///
    /// # Errors
    /// `PoolNotFound`.
    pub fn pool(&self, id: &str) -> Result<&Pool, Refusal> {
        self.pools.get(&PoolKey::of(id)).ok_or_else(|| Refusal::not_found("PoolNotFound"))
    }

    /// Returns all pools, by key.
    pub fn pools(&self) -> impl Iterator<Item = (&PoolKey, &Pool)> {
        self.pools.iter()
    }

    pub(super) fn live_pool(&mut self, id: &str) -> Result<&mut Pool, Refusal> {
        let pool = self.pools.get_mut(&PoolKey::of(id)).ok_or_else(|| Refusal::not_found("PoolNotFound"))?;
        if pool.deleting { Err(Refusal::conflict("PoolBeingDeleted")) } else { Ok(pool) }
    }

    /// Changes the properties that are set in a patch.
    ///
    /// # Errors
    /// `PoolNotFound`, `PoolBeingDeleted`, or a change of the slots of existing nodes.
    pub fn patch_pool(
        &mut self,
        id: &str,
        mut patch: PoolPatch,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        self.checked_packages(patch.application_package_references.as_deref())?;
        // An empty command line removes the start task.
        let complete = |mut start_task: wire::StartTask| match start_task.command_line.is_empty() {
            true => Ok(None),
            false => complete_start_task(&mut start_task).map(|()| Some(start_task)),
        };
        let start_task = patch.start_task.map(complete).transpose()?;
        pool_specs::checked_machine(patch.virtual_machine_configuration.as_ref())?;
        patch.virtual_machine_configuration.as_mut().map(pool_specs::fill_machine);
        let moment = self.moment(now);
        let pool = self.live_pool(id)?;
        if let Some(slots) = patch.task_slots_per_node {
            checked_slots(slots)?;
            if !pool.nodes.is_empty() {
                let words = "Task slots can only be changed while the pool has no nodes.";
                return Err(Refusal::new(409, "OperationInvalidForCurrentState", words));
            }
        }
        let spec = &mut pool.spec;
        macro_rules! take {
            ($($field:ident),+) => { $( if patch.$field.is_some() { spec.$field = patch.$field; } )+ };
        }
        take!(
            application_package_references,
            certificate_references,
            metadata,
            target_node_communication_mode,
            display_name,
            task_slots_per_node,
            task_scheduling_policy,
            enable_inter_node_communication,
            virtual_machine_configuration,
            network_configuration,
            user_accounts,
            mount_configuration,
            upgrade_policy,
            resource_tags
        );
        if let Some(start_task) = start_task {
            spec.start_task = start_task;
        }
        if let Some(vm_size) = patch.vm_size {
            spec.vm_size = vm_size;
        }
        (pool.etag, pool.modified) = (tag(moment), moment);
        pool.nodes.set_slots(pool.slots_per_node());
        self.keep_pool(&PoolKey::of(id));
        Ok((tag(moment), moment))
    }

    /// Replaces start task, certificates, packages, metadata and node communication mode.
    ///
    /// # Errors
    /// `PoolNotFound`, `PoolBeingDeleted`.
    pub fn update_pool(
        &mut self,
        id: &str,
        update: PoolUpdateProperties,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        self.checked_packages(Some(&update.application_package_references))?;
        let mut start_task = update.start_task;
        start_task.as_mut().map(complete_start_task).transpose()?;
        let moment = self.moment(now);
        let pool = self.live_pool(id)?;
        pool.spec.start_task = start_task;
        pool.spec.certificate_references = update.certificate_references;
        pool.spec.metadata = Some(update.metadata);
        pool.spec.application_package_references = Some(update.application_package_references);
        pool.spec.target_node_communication_mode = update.target_node_communication_mode;
        (pool.etag, pool.modified) = (tag(moment), moment);
        self.keep_pool(&PoolKey::of(id));
        Ok((tag(moment), moment))
    }

    /// Changes the number of nodes.
    ///
    /// # Errors
    /// `PoolBeingResized`, or an invalid number.
    pub fn resize_pool(&mut self, id: &str, resize: &PoolResize, now: Timestamp) -> Result<(), Refusal> {
        if self.live_pool(id)?.spec.enable_auto_scale == Some(true) {
            let words = "The pool's size is set by its autoscale formula.";
            return Err(Refusal::new(409, "OperationInvalidForCurrentState", words));
        }
        self.change_size(id, resize, now)
    }

    /// Changes the number of nodes for a client or an autoscale formula.
    pub(super) fn change_size(
        &mut self,
        id: &str,
        resize: &PoolResize,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let moment = self.moment(now);
        checked_option(resize.node_deallocation_option.as_ref())?;
        checked_timeout(resize.resize_timeout)?;
        checked_count("targetDedicatedNodes", resize.target_dedicated_nodes)?;
        checked_count("targetLowPriorityNodes", resize.target_low_priority_nodes)?;
        if resize.target_dedicated_nodes.is_none() && resize.target_low_priority_nodes.is_none() {
            return Err(Refusal::missing("targetDedicatedNodes"));
        }
        let pool = self.live_pool(id)?;
        if pool.resizing {
            return Err(Refusal::conflict("PoolBeingResized"));
        }
        if let Some(count) = resize.target_dedicated_nodes {
            pool.spec.target_dedicated_nodes = Some(count);
        }
        if let Some(count) = resize.target_low_priority_nodes {
            pool.spec.target_low_priority_nodes = Some(count);
        }
        (pool.resizing, pool.allocation_at, pool.resize_errors) = (true, moment, vec![]);
        let key = PoolKey::of(id);
        self.watch_resize(&key, resize.resize_timeout, moment);
        let option = resize.node_deallocation_option.clone();
        self.shrink(&key, option, moment);
        self.grow(&key, moment);
        self.settle_allocation(&key, moment);
        self.keep_pool(&key);
        Ok(())
    }

    /// Stops a resize: missing nodes are no longer requested.
    ///
    /// # Errors
    /// `PoolNotFound`, `PoolBeingDeleted`.
    pub fn stop_resize(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let pool = self.live_pool(id)?;
        if pool.resizing && !pool.stopping {
            pool.stopping = true;
            let words = "Desired number of nodes could not be allocated as the resize was stopped";
            self.cut_short(&PoolKey::of(id), "ResizeStopped", words, moment);
        }
        Ok(())
    }

    /// Ends a resize with the current nodes: missing nodes are no longer requested, nodes that wait to be
    /// removed stay.
    fn cut_short(&mut self, key: &PoolKey, code: &str, words: &str, moment: Timestamp) {
        let pool = self.pools.get_mut(key).expect(THERE);
        pool.resize_errors.push(resize_error(code, words));
        let coming = pool.nodes.values().filter(|node| node.state == NodeState::Creating);
        let coming: Vec<_> = coming.map(|node| node.id.clone()).collect();
        for node in coming {
            self.plan_node(key, &node, NodeAction::Leave, None, moment);
        }
        self.stay(key, moment);
        if code == "ResizeStopped" {
            let pool = self.pools.get_mut(key).expect(THERE);
            pool.spec.target_dedicated_nodes = i32::try_from(pool.staying(true)).ok();
            pool.spec.target_low_priority_nodes = i32::try_from(pool.staying(false)).ok();
        }
        self.settle_allocation(key, moment);
        self.keep_pool(key);
        self.schedule(key, moment);
    }

    /// Sets the timeout of a resize.
    pub(super) fn watch_resize(&mut self, key: &PoolKey, limit: Option<IsoDuration>, moment: Timestamp) {
        let pool = self.pools.get_mut(key).expect(THERE);
        if !pool.resizing {
            return;
        }
        let limit = limit.or(pool.spec.resize_timeout).and_then(IsoDuration::as_std);
        pool.resize_until = limit.and_then(|limit| moment.checked_add(limit).ok());
        if let Some(until) = pool.resize_until {
            self.alarms.insert((until, Alarm::Resize(key.clone())));
        }
    }

    pub(super) fn resize_over(&mut self, key: &PoolKey, now: Timestamp) {
        let moment = self.moment(now);
        if self.pools.get(key).is_some_and(|pool| pool.resizing && !pool.deleting) {
            let words = "Desired number of nodes could not be allocated as the resize timeout was reached";
            self.cut_short(key, "AllocationTimedout", words, moment);
        }
    }

    /// Removes nodes by id.
    ///
    /// # Errors
    /// `NodeNotFound`, `PoolBeingResized`.
    pub fn remove_nodes(
        &mut self,
        id: &str,
        remove: &wire::NodeRemove,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let moment = self.moment(now);
        checked_option(remove.node_deallocation_option.as_ref())?;
        checked_timeout(remove.resize_timeout)?;
        let count = remove.node_list.len();
        if !(1..=wire::limit::NODES_PER_REMOVAL).contains(&count) {
            return Err(Refusal::invalid("nodeList", count.to_string(), "It must name 1 to 100 nodes"));
        }
        let pool = self.live_pool(id)?;
        if pool.resizing {
            return Err(Refusal::conflict("PoolBeingResized"));
        }
        let nodes: Vec<_> = remove.node_list.iter().map(|node| NodeKey::of(node)).collect();
        if nodes.iter().any(|node| pool.nodes.get(node).is_none()) {
            return Err(Refusal::not_found("NodeNotFound"));
        }
        (pool.resizing, pool.allocation_at) = (true, moment);
        let key = PoolKey::of(id);
        for node in &nodes {
            self.plan_node(&key, node, NodeAction::Leave, remove.node_deallocation_option.as_ref(), moment);
        }
        self.watch_resize(&key, remove.resize_timeout, moment);
        let pool = self.live_pool(id)?;
        pool.spec.target_dedicated_nodes = i32::try_from(pool.staying(true)).ok();
        pool.spec.target_low_priority_nodes = i32::try_from(pool.staying(false)).ok();
        self.settle_allocation(&key, moment);
        self.keep_pool(&key);
        Ok(())
    }

    /// Deletes a pool after its nodes are removed.
    ///
    /// # Errors
    /// `PoolNotFound`, `PoolBeingDeleted`.
    pub fn delete_pool(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let pool = self.live_pool(id)?;
        (pool.deleting, pool.state_at) = (true, moment);
        let nodes: Vec<_> = pool.nodes.values().map(|node| node.id.clone()).collect();
        let key = PoolKey::of(id);
        for node in nodes {
            self.plan_node(&key, &node, NodeAction::Leave, None, moment);
        }
        self.keep_pool(&key);
        self.remove_pool(&key);
        Ok(())
    }

    /// Removes a pool that is being deleted and has no node left.
    pub(super) fn remove_pool(&mut self, key: &PoolKey) {
        if self.pools.get(key).is_some_and(|pool| pool.deleting && pool.nodes.is_empty()) {
            self.pools.remove(key);
            self.keep(|| Change::DropPool { key: key.clone() });
        }
    }

    /// Adds the missing nodes.
    pub(super) fn grow(&mut self, key: &PoolKey, moment: Timestamp) {
        for dedicated in [true, false] {
            let pool = self.pools.get(key).expect(THERE);
            let target = if dedicated {
                pool.spec.target_dedicated_nodes
            } else {
                pool.spec.target_low_priority_nodes
            };
            let target = usize::try_from(target.unwrap_or(0)).unwrap_or(0);
            let target = self.obtainable(key, dedicated, target);
            let pool = self.pools.get(key).expect(THERE);
            for _ in pool.staying(dedicated)..target {
                let bits: [u8; 32] = self.rng.random();
                let hex: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
                let id = NodeKey::of(&format!("tvmps_{hex}_{}", if dedicated { 'd' } else { 'p' }));
                let node = Node {
                    id: id.clone(),
                    dedicated,
                    state: NodeState::Creating,
                    state_at: moment,
                    scheduling: true,
                    leased: Some(moment),
                    allocated: moment,
                    booted: None,
                    start_task: None,
                    errors: vec![],
                    total: 0,
                    succeeded: 0,
                    slots: Slots::default(),
                    launches: BTreeSet::new(),
                    leaving: false,
                    plan: None,
                    packages: vec![],
                    users: BTreeMap::new(),
                    place: None,
                    recent: VecDeque::new(),
                    log: VecDeque::new(),
                };
                self.pools.get_mut(key).expect(THERE).nodes.insert(node);
                self.boot(key, &id);
            }
        }
    }

    /// Removes the surplus nodes, those with the least work first.
    fn shrink(&mut self, key: &PoolKey, option: Option<NodeDeallocationOption>, moment: Timestamp) {
        for dedicated in [true, false] {
            let pool = self.pools.get(key).expect(THERE);
            let target = if dedicated {
                pool.spec.target_dedicated_nodes
            } else {
                pool.spec.target_low_priority_nodes
            };
            let surplus =
                pool.staying(dedicated).saturating_sub(usize::try_from(target.unwrap_or(0)).unwrap_or(0));
            let mut going: Vec<(i32, NodeKey)> = pool
                .nodes
                .values()
                .filter(|node| node.dedicated == dedicated && !node.leaving)
                .map(|node| (node.slots.taken(), node.id.clone()))
                .collect();
            going.sort();
            for (_, node) in going.into_iter().take(surplus) {
                self.plan_node(key, &node, NodeAction::Leave, option.as_ref(), moment);
            }
        }
    }

    /// Ends a resize once the requested nodes are added and the surplus ones are removed.
    pub(super) fn settle_allocation(&mut self, key: &PoolKey, moment: Timestamp) {
        if self.is_stalled(key) {
            return;
        }
        let pool = self.pools.get_mut(key).expect(THERE);
        let in_motion = pool.nodes.values().any(|node| node.leaving || node.state == NodeState::Creating);
        if pool.resizing && !in_motion && !pool.deleting {
            (pool.resizing, pool.stopping, pool.allocation_at) = (false, false, moment);
            if let Some(until) = pool.resize_until.take() {
                self.alarms.remove(&(until, Alarm::Resize(key.clone())));
            }
            self.keep_pool(key);
        }
    }
}

/// Creates a resize error.
fn resize_error(code: &str, words: &str) -> wire::ResizeError {
    wire::ResizeError { code: Some(code.into()), message: Some(words.into()), values: None }
}

pub(super) fn checked_timeout(timeout: Option<IsoDuration>) -> Result<(), Refusal> {
    match timeout {
        Some(timeout) if timeout < IsoDuration::from_secs(5 * 60) => {
            Err(Refusal::invalid("resizeTimeout", timeout.to_string(), "It must be at least 5 minutes"))
        }
        _ => Ok(()),
    }
}

pub(super) fn checked_slots(slots: i32) -> Result<(), Refusal> {
    if (1..=MOST_SLOTS).contains(&slots) {
        return Ok(());
    }
    Err(Refusal::invalid("taskSlotsPerNode", slots.to_string(), "It must be between 1 and 256"))
}

pub(super) fn checked_count(name: &str, count: Option<i32>) -> Result<(), Refusal> {
    match count {
        Some(count) if !(0..=MOST_NODES).contains(&count) => {
            Err(Refusal::invalid(name, count.to_string(), "It must be between 0 and 1000"))
        }
        _ => Ok(()),
    }
}

/// Checks a start task and sets its defaults.
fn complete_start_task(start_task: &mut wire::StartTask) -> Result<(), Refusal> {
    checked_start_task(start_task)?;
    fill_start_task(start_task);
    Ok(())
}

/// Checks a start task.
pub(super) fn checked_start_task(start_task: &wire::StartTask) -> Result<(), Refusal> {
    checked_chore(
        &start_task.command_line,
        start_task.container_settings.as_ref(),
        start_task.resource_files.as_deref(),
        start_task.environment_settings.as_deref(),
    )
}

/// Sets the defaults of a start task.
pub(super) fn fill_start_task(start_task: &mut wire::StartTask) {
    start_task.wait_for_success.get_or_insert(true);
    start_task.max_task_retry_count.get_or_insert(0);
    start_task.user_identity.get_or_insert_with(default_identity);
}

/// Returns the default user of a task.
pub(super) fn default_identity() -> wire::UserIdentity {
    let user = wire::AutoUser {
        scope: Some(wire::AutoUserScope::Pool),
        elevation_level: Some(wire::ElevationLevel::NonAdmin),
    };
    wire::UserIdentity { username: None, auto_user: Some(user) }
}
