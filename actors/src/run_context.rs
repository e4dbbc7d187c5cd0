//! What every actor of a run needs.

use crate::{inputs::Inputs, item_list::ItemList, record::Recorder, services::Services};
use dropmill_journal::past::RecoveredRun;
use dropmill_lifecycle::plan::RunPlan;
use std::{rc::Rc, sync::Arc};

/// Everything an actor needs to work on a run; cheap to clone.
#[derive(Clone)]
pub struct RunContext {
    /// What shall be done.
    pub plan: Rc<RunPlan>,
    /// Its items, also those that came since.
    pub item_list: ItemList,
    /// Where it is done.
    pub services: Services,
    /// Where inputs are read from.
    pub inputs: Arc<dyn Inputs>,
    /// Where it is told.
    pub record: Recorder,
    /// What earlier lives did.
    pub past: Rc<RecoveredRun>,
}
