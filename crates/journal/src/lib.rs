//! The durable record: what a run decided and what came of it.

pub mod event;
