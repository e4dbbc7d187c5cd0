//! The model of the Batch service: pools, nodes, jobs, schedules and tasks as data and decisions.
//!
//! A request, a moment and events from nodes go in; answers, orders for nodes and changes to store come out. Nothing
//! here waits, reads a clock or touches a disk, so a test is a table and a simulation repeats itself. `local-azure`
//! gives it a runner, a database and an HTTP interface.

pub mod applications;
mod autoscale;
pub mod model;
pub mod orders;
