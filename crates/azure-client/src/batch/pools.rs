//! Operations on pools and their nodes.

use super::{BatchApi, with_json};
use crate::{error::BatchError, operation::Operation as Op};
use dropmill_azure_wire::batch::{
    ComputeNode, NodeDeallocationOption, NodeReboot, NodeRemove, Pool, PoolAdd, PoolNodeCounts, PoolPatch,
    PoolResize, limit,
};
use std::collections::BTreeSet;

impl BatchApi {
    /// Creates a pool. The pool exists when this returns; its nodes start later.
    ///
    /// # Errors
    /// `PoolExists` if a pool of that name exists, whether this or another; see [`BatchError`].
    pub async fn create_pool(&self, pool: &PoolAdd) -> Result<(), BatchError> {
        let call = self.call(Op::CreatePool, pool.id.clone(), &[]);
        self.done(with_json(call, pool).ok(&[201])).await
    }

    /// Returns a pool.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_pool(&self, pool: &str) -> Result<Pool, BatchError> {
        self.entity(self.call(Op::GetPool, pool.to_owned(), &[pool]), pool, |pool: &Pool| &pool.id).await
    }

    /// Deletes a pool. It is listed as `deleting` until its nodes are gone.
    ///
    /// # Errors
    /// `PoolNotFound` if it does not exist, `PoolBeingDeleted` if the deletion has begun; see [`BatchError`].
    pub async fn delete_pool(&self, pool: &str) -> Result<(), BatchError> {
        self.done(self.call(Op::DeletePool, pool.to_owned(), &[pool]).ok(&[202])).await
    }

    /// Changes the properties that are set in `patch`.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn patch_pool(&self, pool: &str, patch: &PoolPatch) -> Result<(), BatchError> {
        let call = self.call(Op::PatchPool, pool.to_owned(), &[pool]);
        self.done(with_json(call, patch)).await
    }

    /// Changes the number of nodes.
    ///
    /// # Errors
    /// `PoolBeingResized` during another resize; see [`BatchError`].
    pub async fn resize_pool(&self, pool: &str, resize: &PoolResize) -> Result<(), BatchError> {
        let call = self.call(Op::ResizePool, pool.to_owned(), &[pool]);
        self.done(with_json(call, resize).ok(&[202])).await
    }

    /// Stops a resize and keeps the current nodes.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn stop_resize(&self, pool: &str) -> Result<(), BatchError> {
        let call = self.call(Op::StopResize, pool.to_owned(), &[pool]);
        self.done(call.ok(&[202])).await
    }

    /// Returns all pools that match `filter`, with the properties in `select`.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn list_pools(
        &self,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Vec<Pool>, BatchError> {
        self.list(Op::ListPools, String::new(), &[], filter, select).await
    }

    /// Returns the number of nodes in each state, for every pool or for one.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn pool_node_counts(&self, pool: Option<&str>) -> Result<Vec<PoolNodeCounts>, BatchError> {
        let filter = pool.map(|pool| format!("poolId eq '{}'", pool.replace('\'', "''")));
        let subject = pool.unwrap_or_default().to_owned();
        self.list(Op::PoolNodeCounts, subject, &[], filter.as_deref(), None).await
    }

    /// Returns the nodes of a pool, without duplicates. Pages are created at different times, so two pages
    /// may contain the same node: the later one counts.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn list_nodes(
        &self,
        pool: &str,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Vec<ComputeNode>, BatchError> {
        let nodes: Vec<ComputeNode> =
            self.list(Op::ListNodes, pool.to_owned(), &[pool], filter, select).await?;
        let mut names = BTreeSet::new();
        if nodes.iter().all(|node| names.insert(&*node.id)) {
            return Ok(nodes);
        }
        let mut found: Vec<ComputeNode> = Vec::with_capacity(nodes.len());
        for node in nodes {
            match found.iter_mut().find(|known| known.id == node.id) {
                Some(known) => *known = node,
                None => found.push(node),
            }
        }
        Ok(found)
    }

    /// Removes 1 to 100 nodes; `option` says what happens to their tasks (by default they are queued again).
    ///
    /// # Errors
    /// `PoolBeingResized` during a resize; see [`BatchError`].
    pub async fn remove_nodes(
        &self,
        pool: &str,
        nodes: &[String],
        option: Option<NodeDeallocationOption>,
    ) -> Result<(), BatchError> {
        let call = self.call(Op::RemoveNodes, pool.to_owned(), &[pool]);
        if !(1..=limit::NODES_PER_REMOVAL).contains(&nodes.len()) {
            return Err(call.unsendable(
                "InvalidPropertyValue",
                format!("expected 1 to 100 nodes, found {}", nodes.len()),
            ));
        }
        let removal =
            NodeRemove { node_list: nodes.to_vec(), node_deallocation_option: option, ..Default::default() };
        self.done(with_json(call, &removal).ok(&[202])).await
    }

    /// Reboots a node: its tasks are queued again, and its start task runs again.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn reboot_node(&self, pool: &str, node: &str) -> Result<(), BatchError> {
        let ids = [pool, node];
        let call = self.call(Op::RebootNode, format!("{pool}/{node}"), &ids);
        self.done(with_json(call, &NodeReboot::default()).ok(&[202])).await
    }
}
