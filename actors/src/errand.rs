//! What every actor of a run is given.

use crate::{inputs::Inputs, record::Recorder, roster::Roster, services::Services};
use dropmill_journal::past::Past;
use dropmill_lifecycle::plan::RunPlan;
use std::{rc::Rc, sync::Arc};

/// One run; cheap to clone.
#[derive(Clone)]
pub struct Errand {
    /// What shall be done.
    pub plan: Rc<RunPlan>,
    /// Its items, also those that came since.
    pub roster: Roster,
    /// Where it is done.
    pub services: Services,
    /// Where inputs are read from.
    pub inputs: Arc<dyn Inputs>,
    /// Where it is told.
    pub record: Recorder,
    /// What earlier lives did.
    pub past: Rc<Past>,
}
