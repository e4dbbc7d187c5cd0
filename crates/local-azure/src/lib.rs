//! A local Azure Batch and Blob service that really runs its tasks.

pub mod blob;
pub mod orders;
pub mod runner;
pub mod service;
