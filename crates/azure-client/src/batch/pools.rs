//! Pools and their nodes.

use super::{BatchApi, with_json};
use crate::{error::BatchError, operation::Operation as Op};
use dropmill_azure_wire::batch::{
    ComputeNode, NodeDeallocationOption, NodeReboot, NodeRemove, Pool, PoolAdd, PoolNodeCounts, PoolPatch,
    PoolResize, limit,
};
use http::Method;
use std::collections::BTreeSet;

impl BatchApi {
    /// Asks for a pool. It is there when this returns; its nodes come later.
    ///
    /// # Errors
    /// `PoolExists` if there is one of that name, this or another; see [`BatchError`].
    pub async fn create_pool(&self, pool: &PoolAdd) -> Result<(), BatchError> {
        let call = self.call(Op::CreatePool, Method::POST, pool.id.clone(), &["pools"]);
        self.done(with_json(call, pool).ok(&[201])).await
    }

    /// A pool.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_pool(&self, pool: &str) -> Result<Pool, BatchError> {
        self.entity(
            self.call(Op::GetPool, Method::GET, pool.to_owned(), &["pools", pool]),
            pool,
            |pool: &Pool| &pool.id,
        )
        .await
    }

    /// Tells a pool to go. It is listed as `deleting` until its nodes are gone.
    ///
    /// # Errors
    /// `PoolNotFound` if it is gone, `PoolBeingDeleted` if it was told before; see [`BatchError`].
    pub async fn delete_pool(&self, pool: &str) -> Result<(), BatchError> {
        self.done(self.call(Op::DeletePool, Method::DELETE, pool.to_owned(), &["pools", pool]).ok(&[202]))
            .await
    }

    /// Changes the properties that `patch` names.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn patch_pool(&self, pool: &str, patch: &PoolPatch) -> Result<(), BatchError> {
        let call = self.call(Op::PatchPool, Method::PATCH, pool.to_owned(), &["pools", pool]);
        self.done(with_json(call, patch)).await
    }

    /// Asks for another number of nodes.
    ///
    /// # Errors
    /// `PoolBeingResized` while nodes come or go; see [`BatchError`].
    pub async fn resize_pool(&self, pool: &str, resize: &PoolResize) -> Result<(), BatchError> {
        let call = self.call(Op::ResizePool, Method::POST, pool.to_owned(), &["pools", pool, "resize"]);
        self.done(with_json(call, resize).ok(&[202])).await
    }

    /// Contents itself with the nodes that are there.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn stop_resize(&self, pool: &str) -> Result<(), BatchError> {
        let call = self.call(Op::StopResize, Method::POST, pool.to_owned(), &["pools", pool, "stopresize"]);
        self.done(call.ok(&[202])).await
    }

    /// All pools that `filter` lets pass, with the properties that `select` names.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn list_pools(
        &self,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Vec<Pool>, BatchError> {
        self.list(Op::ListPools, String::new(), &["pools"], filter, select).await
    }

    /// How many nodes are in which state, for each pool or for one.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn pool_node_counts(&self, pool: Option<&str>) -> Result<Vec<PoolNodeCounts>, BatchError> {
        let filter = pool.map(|pool| format!("poolId eq '{}'", pool.replace('\'', "''")));
        let subject = pool.unwrap_or_default().to_owned();
        self.list(Op::PoolNodeCounts, subject, &["nodecounts"], filter.as_deref(), None).await
    }

    /// The nodes of a pool, each once. Pages are taken at different moments, so a node may be named by two of them:
    /// the later says what it is.
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
            self.list(Op::ListNodes, pool.to_owned(), &["pools", pool, "nodes"], filter, select).await?;
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

    /// Removes 1 to 100 nodes, whose tasks are dealt with as `option` says (by default queued again).
    ///
    /// # Errors
    /// `PoolBeingResized` while nodes come or go; see [`BatchError`].
    pub async fn remove_nodes(
        &self,
        pool: &str,
        nodes: &[String],
        option: Option<NodeDeallocationOption>,
    ) -> Result<(), BatchError> {
        let call = self.call(Op::RemoveNodes, Method::POST, pool.to_owned(), &["pools", pool, "removenodes"]);
        if !(1..=limit::NODES_PER_REMOVAL).contains(&nodes.len()) {
            return Err(
                call.unsendable("InvalidPropertyValue", format!("{} nodes, not 1 to 100", nodes.len()))
            );
        }
        let removal =
            NodeRemove { node_list: nodes.to_vec(), node_deallocation_option: option, ..Default::default() };
        self.done(with_json(call, &removal).ok(&[202])).await
    }

    /// Boots a node anew; its tasks are queued again, its start task runs again.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn reboot_node(&self, pool: &str, node: &str) -> Result<(), BatchError> {
        let path = ["pools", pool, "nodes", node, "reboot"];
        let call = self.call(Op::RebootNode, Method::POST, format!("{pool}/{node}"), &path);
        self.done(with_json(call, &NodeReboot::default()).ok(&[202])).await
    }
}
