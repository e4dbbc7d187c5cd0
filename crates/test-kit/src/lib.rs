//! The simulated world: the real actors, the real client and the real model of the service, in one
//! thread of virtual time, with a runner that only pretends and a wire on which a scenario's faults strike. A day of
//! batch passes in milliseconds, and the same plan, scenario and seed give the same trace for ever.

mod clock;
pub mod crash;
pub mod drop;
mod elsewhere;
pub mod explore;
mod faults;
pub mod operation;
pub mod oracle;
mod player;
pub mod replay;
pub mod scenario;
mod script;
pub mod served;
mod simulation;
mod wire;
mod world;

pub use clock::{ShiftedClock, VirtualClock};
pub use faults::{Faults, Struck};
pub use player::{Played, Player};
pub use scenario::Scenario;
pub use simulation::{Simulated, Simulation, SimulationError};
pub use wire::FaultyWire;
pub use world::World;
