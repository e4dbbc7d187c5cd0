//! Output for people: a progress line while a run is running, a report at its end.

pub mod live;
pub mod overview;
pub mod policy;
pub mod progress;
pub mod report;
pub mod say;
