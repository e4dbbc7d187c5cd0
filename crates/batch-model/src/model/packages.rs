//! Application packages on nodes: a node gets its pool's packages at boot, and a task's packages with the
//! task.

use super::{
    Model, Refusal,
    keys::{NodeKey, PoolKey},
    nodes, pools,
};
use crate::orders::{NodeFailure, NodeRef, Order, PackageOrder};
use dropmill_azure_wire::{
    batch::{ApplicationPackageReference, ComputeNodeError, NameValuePair, NodeState},
    time::Timestamp,
};

impl Model {
    /// Checks that referenced packages exist.
    pub(super) fn checked_packages(
        &self,
        references: Option<&[ApplicationPackageReference]>,
    ) -> Result<(), Refusal> {
        self.applications.unknown(references).map_or(Ok(()), |first| Err(Refusal::no_such_package(first)))
    }

    /// Boots a node with the current packages of its pool; a later change of the pool applies to the next
    /// boot.
    pub(super) fn boot(&mut self, pool: &PoolKey, node: &NodeKey) {
        let found = self.pools.get_mut(pool).expect(pools::THERE);
        let references = found.spec.application_package_references.clone().unwrap_or_default();
        let of_node = NodeRef { pool: found.spec.id.clone(), node: node.to_string() };
        let mut of = found.nodes.change(node).expect(nodes::THERE);
        let packages = self.applications.orders(&references);
        of.packages = references;
        drop(of);
        self.order(Order::Boot { node: of_node, packages });
    }

    /// Returns the packages that a command needs: the node's own, then the command's.
    pub(super) fn packages_for(
        &self,
        pool: &PoolKey,
        node: &NodeKey,
        own: Option<&[ApplicationPackageReference]>,
    ) -> Vec<PackageOrder> {
        let of = self.pools.get(pool).and_then(|pool| pool.nodes.get(node));
        let of_node = of.map(|of| of.packages.as_slice()).unwrap_or_default();
        self.applications.orders(of_node.iter().chain(own.into_iter().flatten()))
    }

    /// Handles a node that could not get a package: nothing can run on it until it boots with its packages.
    pub(super) fn boot_failed(&mut self, node: &NodeRef, failure: &NodeFailure, moment: Timestamp) {
        let (key, node) = (PoolKey::of(&node.pool), NodeKey::of(&node.node));
        // The node may have been removed while it booted.
        let Some(mut of) = self.node_mut(&key, &node).filter(|of| !of.leaving) else { return };
        let details = failure.details.iter().map(|(name, value)| NameValuePair::new(name, value));
        of.errors.push(ComputeNodeError {
            code: Some(failure.code.clone()),
            message: Some(failure.message.clone()),
            error_details: Some(details.collect()),
        });
        drop(of);
        self.set_node_state(&key, &node, NodeState::Unusable, moment);
        self.settle_allocation(&key, moment);
        self.keep_pool(&key);
        self.release_on(&node, moment);
    }
}
