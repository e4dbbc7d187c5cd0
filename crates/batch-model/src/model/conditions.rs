//! Incidents of the service itself: a lack of nodes, preempted Spot nodes, nodes that fail. They never happen
//! on a single machine, so tests inject them to check how clients handle them.

use super::{
    Model,
    facts::Ending,
    keys::{NodeKey, PoolKey},
    nodes, pools,
};
use crate::orders::{NodeRef, Order};
use dropmill_azure_wire::{
    batch::{ComputeNodeError, NodeState, ResizeError},
    time::Timestamp,
};

/// An incident of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceIncident {
    /// Limits the number of nodes; existing nodes stay.
    Capacity(Capacity),
    /// Preempts nodes: Spot nodes, or any if there are none. Their tasks are queued again.
    Preempt {
        /// Number of nodes.
        nodes: usize,
    },
    /// Returns preempted nodes, which boot.
    Return,
    /// Repairs unusable nodes: they boot and accept tasks again.
    Recover,
    /// Makes nodes unusable. Their tasks are queued again.
    Break {
        /// Number of nodes.
        nodes: usize,
    },
}

/// The number of available nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Maximum number in all pools together.
    pub most: usize,
    /// Error code of a resize that needs more: `AccountCoreQuotaReached`, `AllocationFailed`, …
    pub code: String,
    /// Whether resizes get no nodes and do not end.
    pub stalled: bool,
}

impl Capacity {
    /// Creates a limit due to the core quota of the account.
    pub fn quota(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self { most, code: "AccountCoreQuotaReached".into(), stalled: false }
    }

    fn message(&self) -> String {
        match self.code.as_str() {
            "AccountCoreQuotaReached" => "The specified account has reached core quota".into(),
            "AccountLowPriorityCoreQuotaReached" => {
                "The specified account has reached low priority core quota".into()
            }
            "AllocationFailed" => {
                "Desired number of dedicated nodes could not be allocated due to internal error".into()
            }
            _ => "Desired number of nodes could not be allocated".into(),
        }
    }
}

impl Model {
    /// Injects an incident.
    pub fn inject(&mut self, condition: &ServiceIncident, now: Timestamp) {
        if let ServiceIncident::Capacity(supply) = condition {
            self.supply = supply.clone();
            let resizing = |pool: &super::Pool| pool.resizing && !pool.deleting;
            let waiting = self.pools.iter().filter(|(_, pool)| resizing(pool));
            for key in waiting.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                // A stalled resize continues.
                let moment = self.moment(now);
                self.grow(&key, moment);
                self.settle_allocation(&key, moment);
                self.keep_pool(&key);
            }
            return;
        }
        let moment = self.moment(now);
        match condition {
            ServiceIncident::Capacity(_) => {}
            ServiceIncident::Preempt { nodes } => {
                for (pool, node) in self.victims(*nodes, false) {
                    self.lose_node(&pool, &node, NodeState::Preempted, moment);
                }
            }
            ServiceIncident::Break { nodes } => {
                for (pool, node) in self.victims(*nodes, true) {
                    self.lose_node(&pool, &node, NodeState::Unusable, moment);
                }
            }
            ServiceIncident::Return | ServiceIncident::Recover => {
                let lost = match condition {
                    ServiceIncident::Recover => NodeState::Unusable,
                    _ => NodeState::Preempted,
                };
                let lost: Vec<_> = self.nodes_that(|node| node.state == lost).collect();
                for (pool, node) in lost {
                    self.set_node_state(&pool, &node, NodeState::Starting, moment);
                    self.boot(&pool, &node);
                    self.keep_pool(&pool);
                }
            }
        }
    }

    /// Returns how many nodes of a kind a pool that wants `target` can have; records a shortage in the pool's
    /// errors.
    pub(super) fn obtainable(&mut self, key: &PoolKey, dedicated: bool, target: usize) -> usize {
        let there: usize = self.pools.values().map(|pool| pool.staying(true) + pool.staying(false)).sum();
        let pool = self.pools.get_mut(key).expect(pools::THERE);
        let here = pool.staying(dedicated);
        if self.supply.stalled {
            return here;
        }
        let room = self.supply.most.saturating_sub(there);
        if target.saturating_sub(here) <= room {
            return target;
        }
        let (code, message) = (Some(self.supply.code.clone()), Some(self.supply.message()));
        if !pool.resize_errors.iter().any(|error| error.code == code) {
            pool.resize_errors.push(ResizeError { code, message, values: None });
        }
        here + room
    }

    /// Returns whether a pool waits for nodes that do not come, without an error.
    pub(super) fn is_stalled(&self, key: &PoolKey) -> bool {
        self.supply.stalled
            && self.pools.get(key).is_some_and(|pool| {
                let wanted = |target: Option<i32>| usize::try_from(target.unwrap_or(0)).unwrap_or(0);
                pool.resize_errors.is_empty()
                    && (pool.staying(true) < wanted(pool.spec.target_dedicated_nodes)
                        || pool.staying(false) < wanted(pool.spec.target_low_priority_nodes))
            })
    }

    fn nodes_that(&self, wanted: impl Fn(&super::Node) -> bool) -> impl Iterator<Item = (PoolKey, NodeKey)> {
        let nodes =
            self.pools.iter().flat_map(|(key, pool)| pool.nodes.values().map(move |node| (key, node)));
        let found: Vec<_> = nodes
            .filter(|(_, node)| !node.leaving && wanted(node))
            .map(|(key, node)| (key.clone(), node.id.clone()))
            .collect();
        found.into_iter()
    }

    /// Chooses nodes for an incident: Spot nodes first unless `any` is set, and of those the working ones.
    fn victims(&self, count: usize, any: bool) -> Vec<(PoolKey, NodeKey)> {
        let usable = |node: &super::Node| matches!(node.state, NodeState::Idle | NodeState::Running);
        let works = |node: &super::Node| node.state == NodeState::Running;
        let mut found = vec![];
        for dedicated in [false, true] {
            let of_kind = |node: &super::Node| any || node.dedicated == dedicated;
            found.extend(self.nodes_that(|node| of_kind(node) && works(node)));
            found.extend(self.nodes_that(|node| of_kind(node) && usable(node) && !works(node)));
            if any || !found.is_empty() {
                break;
            }
        }
        found.truncate(count);
        found
    }

    fn lose_node(&mut self, pool: &PoolKey, node: &NodeKey, state: NodeState, moment: Timestamp) {
        let id = self.pools.get(pool).expect(pools::THERE).spec.id.clone();
        let mut found = self.node_mut(pool, node).expect(nodes::THERE);
        let launches: Vec<_> = found.launches.iter().copied().collect();
        if state == NodeState::Unusable {
            found.errors.push(ComputeNodeError {
                code: Some("NodeUnusable".into()),
                message: Some("The node cannot be reached any more".into()),
                error_details: None,
            });
        }
        drop(found);
        self.set_node_state(pool, node, state.clone(), moment);
        for launch in launches {
            self.end_launch(launch, Ending::Requeued);
        }
        if state == NodeState::Preempted {
            // Its disk is lost too.
            self.order(Order::Remove(NodeRef { pool: id, node: node.to_string() }));
        }
        self.keep_pool(pool);
        self.release_on(node, moment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Identity,
        orders::{NodeEvent, NodeRef},
    };
    use dropmill_azure_wire::batch::PoolAdd;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn model() -> Model {
        let identity = Identity { base: "http://127.0.0.1:1".into(), account: "local".into() };
        Model::new(identity, ChaCha8Rng::seed_from_u64(1), 0, false)
    }

    fn pool(dedicated: i32, spot: i32) -> PoolAdd {
        let spec = serde_json::json!({
            "id": "p", "vmSize": "standard_d2s_v3", "targetDedicatedNodes": dedicated,
            "targetLowPriorityNodes": spot,
            "virtualMachineConfiguration": {"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 22.04"}
        });
        serde_json::from_value(spec).unwrap()
    }

    fn boot(model: &mut Model) {
        for order in model.take_effects().orders {
            if let Order::Boot { node, .. } = order {
                model.happened(NodeEvent::Booted(node), Timestamp::UNIX_EPOCH);
            }
        }
    }

    fn shown(model: &Model) -> (usize, bool, Vec<String>) {
        let pool = model.pool("p").unwrap();
        let errors = pool.resize_errors.iter().filter_map(|error| error.code.clone()).collect();
        (pool.nodes.len(), pool.resizing, errors)
    }

    #[test]
    fn a_quota_gives_available_nodes_reports_the_shortage_and_gives_the_rest_later() {
        let now = Timestamp::UNIX_EPOCH;
        let mut model = model();
        model.inject(&ServiceIncident::Capacity(Capacity::quota(2)), now);
        model.create_pool(pool(3, 1), now).unwrap();
        boot(&mut model);
        assert_eq!(shown(&model), (2, false, vec!["AccountCoreQuotaReached".to_owned()]));
        model.inject(&ServiceIncident::Capacity(Capacity::quota(9)), now);
        assert_eq!(shown(&model).0, 2, "nobody asked again");
        let again = serde_json::json!({"targetDedicatedNodes": 3, "targetLowPriorityNodes": 1});
        model.resize_pool("p", &serde_json::from_value(again).unwrap(), now).unwrap();
        boot(&mut model);
        assert_eq!(shown(&model), (4, false, vec![]));
    }

    #[test]
    fn a_stalled_resize_continues_when_nodes_are_available_again() {
        let now = Timestamp::UNIX_EPOCH;
        let mut model = model();
        model.inject(&ServiceIncident::Capacity(Capacity { stalled: true, ..Capacity::quota(9) }), now);
        model.create_pool(pool(2, 0), now).unwrap();
        assert_eq!(shown(&model), (0, true, vec![]));
        model.inject(&ServiceIncident::Capacity(Capacity::quota(9)), now);
        boot(&mut model);
        assert_eq!(shown(&model), (2, false, vec![]));
    }

    #[test]
    fn preempted_spot_nodes_return_and_broken_nodes_do_not() {
        let now = Timestamp::UNIX_EPOCH;
        let mut model = model();
        model.create_pool(pool(1, 2), now).unwrap();
        boot(&mut model);
        let states = |model: &Model| -> Vec<(bool, NodeState)> {
            let nodes = model.pool("p").unwrap().nodes.values();
            let mut states: Vec<_> = nodes.map(|node| (node.dedicated, node.state.clone())).collect();
            states.sort_by_key(|(dedicated, state)| (*dedicated, state.as_str().to_owned()));
            states
        };
        model.inject(&ServiceIncident::Preempt { nodes: 2 }, now);
        let gone =
            vec![(false, NodeState::Preempted), (false, NodeState::Preempted), (true, NodeState::Idle)];
        assert_eq!(states(&model), gone);
        let removed: Vec<NodeRef> = model
            .take_effects()
            .orders
            .into_iter()
            .filter_map(|order| if let Order::Remove(node) = order { Some(node) } else { None })
            .collect();
        for node in removed {
            model.happened(NodeEvent::Removed(node), now);
        }
        assert_eq!(states(&model), gone, "its folders are gone, the node is not");
        model.inject(&ServiceIncident::Return, now);
        boot(&mut model);
        assert!(states(&model).iter().all(|(_, state)| *state == NodeState::Idle));
        model.inject(&ServiceIncident::Break { nodes: 9 }, now);
        model.inject(&ServiceIncident::Return, now);
        assert!(states(&model).iter().all(|(_, state)| *state == NodeState::Unusable));
    }
}
