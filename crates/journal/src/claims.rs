//! What the journals of a daemon's runs say, taken together, of the files that it took.

use crate::past::Past;
use std::collections::BTreeMap;

/// A fold of the pasts of all runs of one daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimFold {
    /// Path below the drop folder, by place in the work folder.
    inputs: BTreeMap<String, String>,
}

impl ClaimFold {
    /// Takes a run's past in. Runs are added in the order in which they were made.
    pub fn add(&mut self, _run: &str, past: &Past) {
        for claim in past.tasks.values().filter_map(|task| task.claimed.as_ref()) {
            self.inputs.insert(claim.place.clone(), claim.input.clone());
        }
    }

    /// Marks the tasks of a run whose files are not theirs any more as settled.
    pub fn settle(&self, _run: &str, _past: &mut Past) {}

    /// Returns the path below the drop folder of the input at a place.
    pub fn input_of(&self, place: &str) -> Option<&str> {
        self.inputs.get(place).map(String::as_str)
    }
}
