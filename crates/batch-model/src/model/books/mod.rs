//! Collections of nodes, jobs and tasks, each with the indexes that follow from its content.
//!
//! Content and indexes are private to this module. An object is changed through a guard ([`Nodes::change`],
//! [`Jobs::change`], [`Jobs::change_task`]); when the guard is dropped, the indexes are updated. So no
//! transition can forget an index, and an index never depends on the order of changes.

mod jobs;
mod nodes;
mod tasks;

pub use jobs::{JobGuard, Jobs, TaskGuard};
pub use nodes::{NodeGuard, Nodes};
pub use tasks::Tasks;
