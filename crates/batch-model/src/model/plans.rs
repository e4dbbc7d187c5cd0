//! Actions of a node once its tasks allow it: it is removed, rebooted, reimaged or deallocated.

use super::{
    Alarm, Model, Node, NodeUser, Refusal, Task,
    facts::{DrainMode, Ending, NodeAction, Plan},
    keys::{NodeKey, PoolKey},
    nodes, pools,
    task_facts::Stage,
};
use crate::orders::{NodeRef, Order};
use dropmill_azure_wire::{
    batch::{NodeDeallocationOption, NodeState, NodeUserAdd, NodeUserUpdate},
    time::Timestamp,
};

impl NodeAction {
    /// Returns the state of the node during the action.
    fn state(self) -> NodeState {
        match self {
            Self::Leave => NodeState::LeavingPool,
            Self::Reboot => NodeState::Rebooting,
            Self::Reimage => NodeState::Reimaging,
            Self::Deallocate => NodeState::Deallocating,
        }
    }
}

/// Returns whether a node waits for its tasks, and how they end if it does not.
fn drain_policy(option: Option<&NodeDeallocationOption>) -> (DrainMode, Ending) {
    match option {
        Some(NodeDeallocationOption::TaskCompletion) => (DrainMode::Tasks, Ending::Requeued),
        Some(NodeDeallocationOption::RetainedData) => (DrainMode::Data, Ending::Requeued),
        Some(NodeDeallocationOption::Terminate) => (DrainMode::None, Ending::Terminated),
        _ => (DrainMode::None, Ending::Requeued),
    }
}

impl Model {
    /// Plans an action of a node, to be carried out as soon as the option allows it.
    pub(super) fn plan_node(
        &mut self,
        pool: &PoolKey,
        node: &NodeKey,
        act: NodeAction,
        option: Option<&NodeDeallocationOption>,
        moment: Timestamp,
    ) {
        let (patience, ending) = drain_policy(option);
        let mut of = self.node_mut(pool, node).expect(nodes::THERE);
        if of.leaving && of.plan.is_none() {
            return;
        }
        of.leaving |= act == NodeAction::Leave;
        of.plan = Some(Plan { act, patience });
        let (state, launches) = (of.state.clone(), of.launches.clone());
        drop(of);
        if patience == DrainMode::None {
            self.set_node_state(pool, node, act.state(), moment);
            for launch in launches {
                self.end_launch(launch, ending);
            }
        } else {
            // Its state stays unchanged, but it gets no further task.
            self.set_node_state(pool, node, state, moment);
        }
        self.pursue(pool, node, moment);
    }

    /// Carries out the planned action of a node once nothing prevents it.
    pub(super) fn pursue(&mut self, pool: &PoolKey, node: &NodeKey, moment: Timestamp) {
        // The report that a launch ended may arrive after the report that its node was removed.
        let Some(found) = self.pools.get(pool) else { return };
        let Some((of, plan)) = found.nodes.get(node).and_then(|of| Some((of, of.plan?))) else { return };
        // Removing a node ends its launches.
        let at_once = plan.act == NodeAction::Leave && plan.patience == DrainMode::None;
        if !of.launches.is_empty() && !at_once {
            return;
        }
        if plan.patience == DrainMode::Data
            && let Some(until) = self.kept_until(pool, node).filter(|until| *until > moment)
        {
            let alarm = Alarm::Plan { pool: pool.clone(), node: node.clone() };
            self.alarms.insert((until, alarm));
            return;
        }
        let of_node = NodeRef { pool: found.spec.id.clone(), node: node.to_string() };
        self.node_mut(pool, node).expect(nodes::THERE).plan = None;
        self.set_node_state(pool, node, plan.act.state(), moment);
        self.void_preparations(node, plan.act);
        match plan.act {
            NodeAction::Leave | NodeAction::Reimage => self.order(Order::Remove(of_node)),
            NodeAction::Reboot => self.boot(pool, node),
            NodeAction::Deallocate => self.set_node_state(pool, node, NodeState::Deallocated, moment),
        }
        self.keep_pool(pool);
    }

    /// Returns the time until which files of tasks are kept on a node. It checks every task; the cost arises
    /// only for this option.
    fn kept_until(&self, pool: &PoolKey, node: &NodeKey) -> Option<Timestamp> {
        let here = |task: &&Task| {
            task.facts.stage() == Stage::Completed
                && !task.facts.files_gone
                && task.nodes().any(|place| place.pool == *pool && place.node == *node)
        };
        let tasks = self.jobs.values().flat_map(|job| job.tasks.values()).filter(here);
        tasks.map(|task| task.kept_until().unwrap_or(Timestamp::MAX)).max()
    }

    /// Cancels the removal of nodes that wait for their tasks.
    pub(super) fn stay(&mut self, pool: &PoolKey, moment: Timestamp) {
        let found = self.pools.get_mut(pool).expect(pools::THERE);
        let mut staying = vec![];
        let leaves = |of: &&Node| of.plan.is_some_and(|plan| plan.act == NodeAction::Leave);
        let leaving: Vec<_> = found.nodes.values().filter(leaves).map(|of| of.id.clone()).collect();
        for id in leaving {
            let mut of = found.nodes.change(&id).expect(nodes::THERE);
            (of.plan, of.leaving) = (None, false);
            staying.push((of.id.clone(), of.state.clone()));
        }
        for (node, state) in staying {
            self.set_node_state(pool, &node, state, moment);
        }
    }

    /// Returns a node for an action, if it is in one of these states.
    fn node_to_tell(&self, pool: &str, node: &str, states: &[NodeState]) -> Result<&Node, Refusal> {
        let of = self.node(pool, node)?;
        if self.pool(pool)?.deleting {
            return Err(Refusal::conflict("PoolBeingDeleted"));
        }
        if states.contains(&of.state) && !of.leaving {
            return Ok(of);
        }
        Err(Refusal::conflict(match of.state {
            NodeState::Creating => "NodeBeingCreated",
            NodeState::Starting | NodeState::WaitingForStartTask => "NodeBeingStarted",
            NodeState::Rebooting => "NodeBeingRebooted",
            NodeState::Reimaging => "NodeBeingReimaged",
            NodeState::Unusable => "NodeStateUnusable",
            _ => "OperationInvalidForCurrentState",
        }))
    }

    /// Reboots, reimages or deallocates a node.
    ///
    /// # Errors
    /// `NodeNotFound`; `OperationInvalidForCurrentState` and similar codes unless it is idle, running,
    /// offline, or its start task failed.
    pub fn restart_node(
        &mut self,
        pool: &str,
        node: &str,
        act: NodeAction,
        option: Option<&NodeDeallocationOption>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let moment = self.moment(now);
        checked_option(option)?;
        let states = [NodeState::Idle, NodeState::Running, NodeState::Offline, NodeState::StartTaskFailed];
        self.node_to_tell(pool, node, &states)?;
        let pool = PoolKey::of(pool);
        self.plan_node(&pool, &NodeKey::of(node), act, option, moment);
        self.keep_pool(&pool);
        Ok(())
    }

    /// Starts a deallocated node.
    ///
    /// # Errors
    /// `NodeNotFound`; `OperationInvalidForCurrentState` unless it was deallocated.
    pub fn start_node(&mut self, pool: &str, node: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        self.node_to_tell(pool, node, &[NodeState::Deallocated])?;
        let (pool, node) = (PoolKey::of(pool), NodeKey::of(node));
        self.set_node_state(&pool, &node, NodeState::Starting, moment);
        self.boot(&pool, &node);
        self.keep_pool(&pool);
        Ok(())
    }

    /// Creates a user account on a node. Nobody can log in; the account can only be listed and deleted.
    ///
    /// # Errors
    /// `NodeNotFound`, `NodeUserExists`, or an invalid name.
    pub fn add_user(
        &mut self,
        pool: &str,
        node: &str,
        user: &NodeUserAdd,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !(1..=20).contains(&user.name.len()) || user.name.contains(['/', '\\', ':', '@', ' ']) {
            return Err(Refusal::invalid("name", &*user.name, "A user's name has 1 to 20 plain characters"));
        }
        self.user_call(pool, node, |of| {
            if of.users.contains_key(&user.name) {
                return Err(Refusal::conflict("NodeUserExists"));
            }
            let expires =
                user.expiry_time.or_else(|| now.checked_add(std::time::Duration::from_secs(86400)).ok());
            let made = NodeUser { is_admin: user.is_admin.unwrap_or(false), expires };
            of.users.insert(user.name.clone(), made);
            Ok(())
        })
    }

    /// Changes a user account of a node.
    ///
    /// # Errors
    /// `NodeNotFound`, `NodeUserNotFound`.
    pub fn update_user(
        &mut self,
        pool: &str,
        node: &str,
        name: &str,
        update: &NodeUserUpdate,
    ) -> Result<(), Refusal> {
        self.user_call(pool, node, |of| {
            let user = of.users.get_mut(name).ok_or_else(|| Refusal::not_found("NodeUserNotFound"))?;
            user.expires = update.expiry_time.or(user.expires);
            Ok(())
        })
    }

    /// Deletes a user account of a node.
    ///
    /// # Errors
    /// `NodeNotFound`, `NodeUserNotFound`.
    pub fn delete_user(&mut self, pool: &str, node: &str, name: &str) -> Result<(), Refusal> {
        self.user_call(pool, node, |of| {
            of.users.remove(name).map(drop).ok_or_else(|| Refusal::not_found("NodeUserNotFound"))
        })
    }

    fn user_call(
        &mut self,
        pool: &str,
        node: &str,
        call: impl FnOnce(&mut Node) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        use NodeState::{Idle, Offline, Running, StartTaskFailed, WaitingForStartTask};
        self.node_to_tell(pool, node, &[Idle, Running, Offline, StartTaskFailed, WaitingForStartTask])?;
        let pool = PoolKey::of(pool);
        call(&mut self.node_mut(&pool, &NodeKey::of(node)).expect(nodes::THERE))?;
        self.keep_pool(&pool);
        Ok(())
    }
}

/// Checks a deallocation option.
///
/// # Errors
/// `InvalidPropertyValue` if it is unknown.
pub(super) fn checked_option(option: Option<&NodeDeallocationOption>) -> Result<(), Refusal> {
    match option {
        Some(NodeDeallocationOption::Other(text)) => {
            let reason = "It must be requeue, terminate, taskcompletion or retaineddata";
            Err(Refusal::invalid("nodeDeallocationOption", &**text, reason))
        }
        _ => Ok(()),
    }
}
