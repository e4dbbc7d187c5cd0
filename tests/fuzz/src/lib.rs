//! What the targets share: a service in memory, requests written as text, and what every answer must keep to.

pub mod answer;
pub mod script;
pub mod world;
