//! The decisions of a run as pure machines.
//!
//! Each machine is told what happened and when, and answers with the state that follows and the
//! commands somebody should carry out. There is no clock, no input or output, no randomness here.

pub mod delays;
pub mod elapsed;
pub mod plan;
