//! A pure model of the Azure Batch service: pools, nodes, jobs, job schedules and tasks.
//!
//! [`model::Model`] receives requests, events from nodes and the time. It returns responses, and collects what follows in
//! [`model::Effects`]: commands to nodes ([`orders::Order`]) and changes to store. It waits for nothing, reads no clock and
//! accesses no files, so a test is a table, and a simulation is repeatable. `dropmill-local-azure` adds node processes, a
//! database and the HTTP interface; use this crate alone to test how a scheduler of your own behaves against Batch.
//!
//! - [`model`]: the service's state, and one method for each request
//! - [`orders`]: the interface to nodes, implemented by a runner
//! - [`applications`]: application packages that nodes install
//!
//! # Examples
//!
//! Creates a pool; the model orders its node to boot:
//!
//! ```
//! use dropmill_batch_model::{
//!     model::{Identity, Model},
//!     orders::Order,
//! };
//! use rand::SeedableRng;
//! use serde_json::{from_value, json};
//!
//! let identity = Identity { base: "http://batch.local".into(), account: "local".into() };
//! let mut model = Model::new(identity, rand_chacha::ChaCha8Rng::seed_from_u64(1), 0, false);
//! let now = "2026-03-02T10:00:00Z".parse()?;
//!
//! let image = json!({"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"});
//! let machine = json!({"imageReference": image, "nodeAgentSKUId": "batch.node.ubuntu 24.04"});
//! let pool = json!({
//!     "id": "small",
//!     "vmSize": "standard_d2s_v5",
//!     "targetDedicatedNodes": 1,
//!     "virtualMachineConfiguration": machine,
//! });
//! model.create_pool(from_value(pool)?, now).expect("the pool is valid");
//!
//! let orders = model.take_effects().orders;
//! assert!(orders.iter().any(|order| matches!(order, Order::Boot { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod applications;
mod autoscale;
pub mod model;
pub mod orders;
