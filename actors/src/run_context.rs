//! The context of a run, which every actor needs.

use crate::{inputs::Inputs, item_list::ItemList, record::Recorder, services::Services};
use dropmill_journal::past::RecoveredRun;
use dropmill_lifecycle::plan::RunPlan;
use std::{rc::Rc, sync::Arc};

/// Everything an actor needs to work on a run; cheap to clone.
#[derive(Clone)]
pub struct RunContext {
    /// Plan of the run.
    pub plan: Rc<RunPlan>,
    /// Items of the run, including those added later.
    pub item_list: ItemList,
    /// Services that execute the run.
    pub services: Services,
    /// Source of the inputs.
    pub inputs: Arc<dyn Inputs>,
    /// Recorder of events.
    pub record: Recorder,
    /// State that previous processes left.
    pub past: Rc<RecoveredRun>,
}
