//! JSON Schemas of the public formats: each line of `run --json` is an event, the last one a report.

use crate::{event::Event, report::Report};

/// Returns the JSON Schema of an event.
pub fn event() -> schemars::Schema {
    schemars::schema_for!(Event)
}

/// Returns the JSON Schema of a report.
pub fn report() -> schemars::Schema {
    schemars::schema_for!(Report)
}
