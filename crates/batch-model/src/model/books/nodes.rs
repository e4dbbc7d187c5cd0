//! The nodes of a pool, with an index of those with free slots.

use crate::model::{Node, keys::NodeKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
};

/// The nodes of one pool.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    all: BTreeMap<NodeKey, Node>,
    /// Number of slots of one node.
    slots: i32,
    /// Nodes that accept tasks and have free slots, by occupied slots.
    room: BTreeSet<(i32, NodeKey)>,
}

/// A node that is being changed.
pub struct NodeGuard<'a> {
    node: &'a mut Node,
    slots: i32,
    room: &'a mut BTreeSet<(i32, NodeKey)>,
    before: Option<i32>,
}

/// Returns the occupied slots of a node that can run another task.
fn room_of(node: &Node, slots: i32) -> Option<i32> {
    (node.takes_tasks() && node.slots.taken() < slots).then_some(node.slots.taken())
}

impl Nodes {
    /// Creates an empty collection for nodes with this many slots.
    pub fn of_slots(slots: i32) -> Self {
        Self { slots, ..Self::default() }
    }

    /// Sets the slots of each node.
    pub fn set_slots(&mut self, slots: i32) {
        self.slots = slots;
        self.room =
            self.all.values().filter_map(|node| Some((room_of(node, slots)?, node.id.clone()))).collect();
    }

    /// Returns a node by its key.
    pub fn get(&self, key: &NodeKey) -> Option<&Node> {
        self.all.get(key)
    }

    /// Opens a node for a change.
    pub fn change(&mut self, key: &NodeKey) -> Option<NodeGuard<'_>> {
        let node = self.all.get_mut(key)?;
        let before = room_of(node, self.slots);
        Some(NodeGuard { node, slots: self.slots, room: &mut self.room, before })
    }

    /// Adds a node.
    pub fn insert(&mut self, node: Node) {
        self.remove(&node.id);
        if let Some(taken) = room_of(&node, self.slots) {
            self.room.insert((taken, node.id.clone()));
        }
        self.all.insert(node.id.clone(), node);
    }

    /// Removes a node.
    pub fn remove(&mut self, key: &NodeKey) -> Option<Node> {
        let node = self.all.remove(key)?;
        if let Some(taken) = room_of(&node, self.slots) {
            self.room.remove(&(taken, node.id.clone()));
        }
        Some(node)
    }

    /// Returns all nodes, by id.
    pub fn values(&self) -> impl Iterator<Item = &Node> {
        self.all.values()
    }

    /// Returns all nodes from an id on.
    pub fn range(&self, from: NodeKey) -> impl Iterator<Item = (&NodeKey, &Node)> {
        self.all.range(from..)
    }

    /// Returns the number of nodes.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Panics if the index differs from one that is built from the nodes.
    #[cfg(test)]
    pub fn check(&self) {
        let mut new = self.clone();
        new.set_slots(self.slots);
        assert_eq!(new.room, self.room);
    }

    /// Returns occupied slots and id of each node that accepts tasks and has a free slot, the emptiest first.
    pub fn room(&self) -> &BTreeSet<(i32, NodeKey)> {
        &self.room
    }
}

impl Deref for NodeGuard<'_> {
    type Target = Node;
    fn deref(&self) -> &Node {
        self.node
    }
}

impl DerefMut for NodeGuard<'_> {
    fn deref_mut(&mut self) -> &mut Node {
        self.node
    }
}

impl Drop for NodeGuard<'_> {
    fn drop(&mut self) {
        let after = room_of(self.node, self.slots);
        if self.before == after {
            return;
        }
        if let Some(taken) = self.before {
            self.room.remove(&(taken, self.node.id.clone()));
        }
        if let Some(taken) = after {
            self.room.insert((taken, self.node.id.clone()));
        }
    }
}

// Stored as a map of nodes; the caller sets the slots when a pool is read.
impl Serialize for Nodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.all.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let nodes = BTreeMap::<NodeKey, Node>::deserialize(deserializer)?;
        let all = nodes.into_values().map(|node| (node.id.clone(), node)).collect();
        Ok(Self { all, ..Self::default() })
    }
}
