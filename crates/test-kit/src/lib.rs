//! A simulated world for runs: virtual time, a scripted node runner, and faults on the wire.
//!
//! [`Simulation`] runs a plan with the real actors, the real client and the real model of the service, in one thread. A day
//! of batch passes in milliseconds, and the same plan, [`Scenario`] and seed always give the same trace. `dropmill simulate`
//! does this for run files (`docs/simulating.md`). Use the crate in your own tests to see how your plans behave when nodes
//! are lost, requests fail or the orchestrator crashes.
//!
//! - [`Scenario`]: durations and exit codes of tasks, faults on the wire, incidents; read from TOML
//! - [`oracle`]: rules that every run must keep; [`oracle::check`] returns the violations
//! - [`explore`] runs many seeds and returns the first counterexample, [`survey`] crashes a run at every point
//! - [`mod@drop`]: the same for the daemon of a drop folder
//! - [`replay`]: repeats a recorded run
//! - [`FaultyWire`], [`served`]: the faults of a scenario on another transport, or on the local service behind sockets
//!
//! # Examples
//!
//! Runs a plan while every fifth request fails, and checks all rules:
//!
//! ```no_run
//! use dropmill_lifecycle::plan::RunPlan;
//! use dropmill_test_kit::{Scenario, Simulation, oracle};
//!
//! fn survives_a_busy_service(plan: RunPlan) -> Result<(), Box<dyn std::error::Error>> {
//!     let scenario = Scenario::parse(
//!         r#"
//!         title = "A busy service"
//!         [[fault]]
//!         do = "status"
//!         status = 503
//!         code = "ServerBusy"
//!         every = 5
//!         "#,
//!     )?;
//!     let run = Simulation::of(plan).scenario(scenario).seed(7).try_run()?;
//!     println!("{}", run.outline());
//!     assert!(oracle::check(&run).is_empty());
//!     Ok(())
//! }
//! ```

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
pub mod survey;
mod wire;
mod world;

pub use clock::{ShiftedClock, VirtualClock};
pub use faults::{Faults, Struck};
pub use player::{Played, Player};
pub use scenario::Scenario;
pub use simulation::{Simulated, Simulation, SimulationError};
pub use wire::FaultyWire;
pub use world::World;
