//! JSON Schemas of what is public: each line of `run --json` is an event, the last one a report.

use crate::{event::Event, report::Report};

/// The schema of an event.
pub fn event() -> schemars::Schema {
    schemars::schema_for!(Event)
}

/// The schema of a report.
pub fn report() -> schemars::Schema {
    schemars::schema_for!(Report)
}
