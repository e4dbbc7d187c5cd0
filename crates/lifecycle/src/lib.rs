//! The decisions of a run as pure machines.
//!
//! Each machine is told what happened and when, and answers with the state that follows and the
//! commands somebody should carry out. There is no clock, no input or output, no randomness here.

pub mod arrival;
pub mod delays;
pub mod elapsed;
pub mod failure;
pub mod gathering;
pub mod job;
pub mod machine;
pub mod mill;
pub mod plan;
pub mod pool;
pub mod release;
pub mod retry;
pub mod run;
pub mod task;

pub use elapsed::Elapsed;
pub use failure::{Code, Failure, FailureKind};
