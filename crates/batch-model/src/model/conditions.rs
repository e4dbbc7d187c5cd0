//! What befalls the service by itself: nodes that are not to be had, spot nodes taken away, nodes that break. A
//! machine of one's own never does any of it; whoever tests what clients make of it says so here.

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

/// What befalls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// How many nodes are to be had from now on; those that are there stay.
    Supply(Supply),
    /// Nodes are taken away: spot nodes, or if there are none any. Their tasks are queued again.
    Preempt {
        /// How many.
        nodes: usize,
    },
    /// Preempted nodes come back and boot.
    Return,
    /// Unusable nodes recover: they boot, and take tasks again.
    Recover,
    /// Nodes cannot be used any more. Their tasks are queued again.
    Break {
        /// How many.
        nodes: usize,
    },
}

/// How many nodes are to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supply {
    /// In all pools together.
    pub most: usize,
    /// Why not more: `AccountCoreQuotaReached`, `AllocationFailed`, …
    pub code: String,
    /// Resizes get no node and do not end.
    pub stalled: bool,
}

impl Supply {
    /// So many, for the account has no more cores.
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
    /// Lets it happen.
    pub fn befall(&mut self, condition: &Condition, now: Timestamp) {
        if let Condition::Supply(supply) = condition {
            self.supply = supply.clone();
            let resizing = |pool: &super::Pool| pool.resizing && !pool.deleting;
            let waiting = self.pools.iter().filter(|(_, pool)| resizing(pool));
            for key in waiting.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                // A resize that stood still goes on.
                let moment = self.moment(now);
                self.grow(&key, moment);
                self.settle_allocation(&key, moment);
                self.keep_pool(&key);
            }
            return;
        }
        let moment = self.moment(now);
        match condition {
            Condition::Supply(_) => {}
            Condition::Preempt { nodes } => {
                for (pool, node) in self.victims(*nodes, false) {
                    self.lose_node(&pool, &node, NodeState::Preempted, moment);
                }
            }
            Condition::Break { nodes } => {
                for (pool, node) in self.victims(*nodes, true) {
                    self.lose_node(&pool, &node, NodeState::Unusable, moment);
                }
            }
            Condition::Return | Condition::Recover => {
                let lost = match condition {
                    Condition::Recover => NodeState::Unusable,
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

    /// How many nodes of a kind a pool can have that wants `target`; what is missing is told in its errors.
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

    /// Whether a pool waits for nodes that do not come, and was not told why.
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

    /// Nodes to which something happens: spot nodes first unless any will do, and of those the ones that work.
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
            // Its disk goes with it.
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
    fn a_quota_gives_what_it_has_says_what_is_missing_and_gives_the_rest_when_asked_again() {
        let now = Timestamp::UNIX_EPOCH;
        let mut model = model();
        model.befall(&Condition::Supply(Supply::quota(2)), now);
        model.create_pool(pool(3, 1), now).unwrap();
        boot(&mut model);
        assert_eq!(shown(&model), (2, false, vec!["AccountCoreQuotaReached".to_owned()]));
        model.befall(&Condition::Supply(Supply::quota(9)), now);
        assert_eq!(shown(&model).0, 2, "nobody asked again");
        let again = serde_json::json!({"targetDedicatedNodes": 3, "targetLowPriorityNodes": 1});
        model.resize_pool("p", &serde_json::from_value(again).unwrap(), now).unwrap();
        boot(&mut model);
        assert_eq!(shown(&model), (4, false, vec![]));
    }

    #[test]
    fn a_resize_that_stands_still_goes_on_when_there_are_nodes_again() {
        let now = Timestamp::UNIX_EPOCH;
        let mut model = model();
        model.befall(&Condition::Supply(Supply { stalled: true, ..Supply::quota(9) }), now);
        model.create_pool(pool(2, 0), now).unwrap();
        assert_eq!(shown(&model), (0, true, vec![]));
        model.befall(&Condition::Supply(Supply::quota(9)), now);
        boot(&mut model);
        assert_eq!(shown(&model), (2, false, vec![]));
    }

    #[test]
    fn spot_nodes_are_preempted_and_return_broken_ones_do_not() {
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
        model.befall(&Condition::Preempt { nodes: 2 }, now);
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
        model.befall(&Condition::Return, now);
        boot(&mut model);
        assert!(states(&model).iter().all(|(_, state)| *state == NodeState::Idle));
        model.befall(&Condition::Break { nodes: 9 }, now);
        model.befall(&Condition::Return, now);
        assert!(states(&model).iter().all(|(_, state)| *state == NodeState::Unusable));
    }
}
