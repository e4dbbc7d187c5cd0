//! What people see: a line while a run goes on, a report at its end.

pub mod live;
pub mod overview;
pub mod progress;
pub mod report;
pub mod say;
