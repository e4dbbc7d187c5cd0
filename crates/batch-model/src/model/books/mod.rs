//! Pools' nodes, jobs and jobs' tasks, each with the indexes that follow from them.
//!
//! Facts and indexes are private to this folder. A fact is changed through a guard ([`Nodes::change`],
//! [`Jobs::change`], [`Jobs::change_task`]); when the guard goes, the indexes follow. So no transition can forget one, and an index never
//! depends on what was made first.

mod jobs;
mod nodes;
mod tasks;

pub use jobs::{JobGuard, Jobs, TaskGuard};
pub use nodes::{NodeGuard, Nodes};
pub use tasks::Tasks;
