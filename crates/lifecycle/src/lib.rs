//! The decisions of a run, as pure state machines.
//!
//! Read this crate to learn *when* Dropmill retries, stops or deletes something, and change it to change that. It has no
//! clock, no input or output, and no randomness. The crate `dropmill-actors` carries out what is decided here.
//!
//! Each machine implements [`machine::Machine`]: its function `apply` receives a state, an event, the time since the start
//! of the run ([`Elapsed`]) and limits. It returns the next state and the commands to execute. The outcome of a command
//! comes back as an event.
//!
//! | module | decides about |
//! |---|---|
//! | [`retry`] | one call that is repeated: an upload, a container, the delivery of a result |
//! | [`pool`], [`job`], [`task`] | one pool, job or task of Azure Batch |
//! | [`run`] | a whole run: its deadlines, why and how it ends |
//! | [`arrival`], [`mill`], [`release`] | one file of a drop folder, the daemon, its idle nodes |
//!
//! [`plan`] contains what a run does: its tasks, pool, job and limits. [`Failure`] describes a failed call to a machine.
//!
//! # Examples
//!
//! The service is busy, so the call is repeated after five seconds:
//!
//! ```
//! use dropmill_lifecycle::{
//!     Elapsed, Failure,
//!     delays::Delays,
//!     retry::{RetryCommand, RetryEvent, RetryLimits, RetryState, apply},
//! };
//! use std::time::Duration;
//!
//! let delays = Delays { steps: vec![Duration::from_secs(5)], for_ever: false };
//! let limits = RetryLimits { whole: Duration::from_secs(60), delays };
//!
//! let (trying, commands) = apply(RetryState::Waiting, RetryEvent::Begun, Elapsed::secs(0), &limits);
//! assert_eq!(commands, [RetryCommand::Try]);
//!
//! let busy = RetryEvent::TryFailed(Failure::transient("ServerBusy", "the service is busy"));
//! let (resting, _) = apply(trying, busy, Elapsed::secs(2), &limits);
//! assert_eq!(resting.wakes_at(), Some(Elapsed::secs(7)));
//!
//! let (_, commands) = apply(resting, RetryEvent::TimePassed, Elapsed::secs(7), &limits);
//! assert_eq!(commands, [RetryCommand::Try]);
//! ```

pub mod arrival;
pub mod attempts;
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
