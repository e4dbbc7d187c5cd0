//! The simulated world: the real actors, the real client and the real model of the service, in one
//! thread of virtual time, with a runner that only pretends. A day of batch passes in milliseconds, and
//! the same plan gives the same trace for ever.

mod clock;
mod simulation;

pub use clock::VirtualClock;
pub use simulation::{Simulated, Simulation};
