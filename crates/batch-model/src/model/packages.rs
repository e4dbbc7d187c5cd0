//! Application packages on nodes: a node gets its pool's when it boots, a task's when the task comes.

use super::{Model, Refusal, key};
use crate::orders::{NodeFailure, NodeRef, Order, PackageOrder};
use dropmill_azure_wire::{
    batch::{ApplicationPackageReference, ComputeNodeError, NameValuePair, NodeState},
    time::Timestamp,
};

impl Model {
    /// References to packages that are there.
    pub(super) fn checked_packages(
        &self,
        references: Option<&[ApplicationPackageReference]>,
    ) -> Result<(), Refusal> {
        self.applications.unknown(references).map_or(Ok(()), |first| Err(Refusal::no_such_package(first)))
    }

    /// Boots a node, with the packages its pool names now; a later change of the pool is for the next boot.
    pub(super) fn boot(&mut self, pool: &str, node: &str) {
        let Some(found) = self.pools.get_mut(pool) else { return };
        let references = found.spec.application_package_references.clone().unwrap_or_default();
        let of_node = NodeRef { pool: found.spec.id.clone(), node: node.to_owned() };
        let Some(mut of) = found.nodes.change(node) else { return };
        let packages = self.applications.orders(&references);
        of.packages = references;
        drop(of);
        self.order(Order::Boot { node: of_node, packages });
    }

    /// What a command on a node must find: the node's own packages, then the command's.
    pub(super) fn packages_for(
        &self,
        pool: &str,
        node: &str,
        own: Option<&[ApplicationPackageReference]>,
    ) -> Vec<PackageOrder> {
        let of = self.pools.get(&key(pool)).and_then(|pool| pool.nodes.get(node));
        let of_node = of.map(|of| of.packages.as_slice()).unwrap_or_default();
        self.applications.orders(of_node.iter().chain(own.into_iter().flatten()))
    }

    /// A node is up but for a package: nothing can run there until it boots with what it needs.
    pub(super) fn boot_failed(&mut self, node: &NodeRef, failure: &NodeFailure, moment: Timestamp) {
        let key = key(&node.pool);
        let Some(mut of) = self.node_mut(&key, &node.node).filter(|of| !of.leaving) else { return };
        let details = failure.details.iter().map(|(name, value)| NameValuePair::new(name, value));
        of.errors.push(ComputeNodeError {
            code: Some(failure.code.clone()),
            message: Some(failure.message.clone()),
            error_details: Some(details.collect()),
        });
        drop(of);
        self.set_node_state(&key, &node.node, NodeState::Unusable, moment);
        self.settle_allocation(&key, moment);
        self.keep_pool(&key);
        self.release_on(&node.node, moment);
    }
}
