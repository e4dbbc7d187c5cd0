//! The runs of a daemon in the state folder.

use super::pools::Pools;
use crate::{
    plan,
    session::{ActiveRun, RunSession},
    settings::Loaded,
    state::{State, write_private},
    stored_run::StoredRun,
};
use anyhow::{Context, Result};
use dropmill_actors::{
    Services,
    drop_folder::NewItem,
    drop_store::DropStore,
    mill::{self, RunStore, StartedRun},
};
use dropmill_azure_wire::time::SharedClock;
use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, rc::Rc, sync::Arc};

/// A file in the folder of a run that has ended and is no longer needed.
const OVER: &str = "over";

/// Creates runs as the run file says, and finds those of previous processes.
pub(super) struct DiskRuns {
    /// The run file as it was last read.
    pub loaded: Rc<RefCell<Loaded>>,
    pub state: State,
    pub clock: SharedClock,
    pub services: Services,
    pub store: Arc<dyn DropStore>,
    /// The daemon's own work folder.
    pub work: PathBuf,
    /// Prefix of the ids of its pools.
    pub pool: String,
    pub pools: Pools,
    /// Runs of previous processes that were read, by name.
    pub found: RefCell<BTreeMap<String, StoredRun>>,
}

impl DiskRuns {
    fn make(&self) -> Result<StartedRun> {
        let loaded = self.loaded.borrow().clone();
        let run = plan::new_run_name(&loaded.settings.run.name, self.clock.now())?;
        let results = self.work.join(&run).join(".results");
        dropmill_private_files::folder(&results)?;
        let plan = plan::stream(&loaded, &run, &self.pool, &results)?;
        let session = RunSession::first(loaded, plan, Some(self.work.clone()), &self.state, &self.clock)?;
        self.begin(session)
    }

    fn begin(&self, session: RunSession) -> Result<StartedRun> {
        let (run, pool) = (session.plan.run.clone(), session.plan.pool.id.clone());
        self.pools.remember(&pool)?;
        let place = self.store.results(&session.plan);
        let running = session.begin_with(self.services.clone(), place, self.store.clone(), &self.clock);
        Ok(started(run, pool, running))
    }

    fn read(&self) -> Result<Vec<mill::StoredRun>> {
        let mut stored = vec![];
        for (path, _) in self.state.runs_of_daemon(&self.work)? {
            if path.join(OVER).exists() {
                continue;
            }
            let found = StoredRun::at(&path)?;
            stored.push(mill::StoredRun { run: found.plan.run.clone(), past: found.past() });
            self.found.borrow_mut().insert(found.plan.run.clone(), found);
        }
        Ok(stored)
    }

    fn take(&self, run: &str) -> Result<StoredRun> {
        self.found.borrow_mut().remove(run).with_context(|| format!("run {run} is not stored"))
    }

    fn go_on(&self, run: &str, items: Vec<NewItem>) -> Result<StartedRun> {
        let mut found = self.take(run)?;
        let task = found.task()?;
        for item in items {
            let mut item = plan::dropped(&task, &item);
            item.index = u32::try_from(found.plan.items.len()).unwrap_or(u32::MAX);
            found.plan.items.push(item);
        }
        self.begin(RunSession::next(found, self.loaded.borrow().clone(), &self.state, &self.clock)?)
    }

    fn end(&self, run: &str) -> Result<()> {
        let found = self.take(run)?;
        found.tidy(&self.state, &self.clock)?;
        write_private(&found.path.join(OVER), b"")
    }
}

fn started(run: String, pool: String, running: ActiveRun) -> StartedRun {
    StartedRun {
        run,
        pool,
        events: running.events(),
        canceller: running.canceller(),
        feeder: running.feeder(),
        finished: Box::pin(async move { running.finished().await.map_err(|error| format!("{error:#}")) }),
    }
}

impl RunStore for DiskRuns {
    fn open(&self) -> Result<StartedRun, String> {
        self.make().map_err(|error| format!("{error:#}"))
    }

    fn stored(&self) -> Result<Vec<mill::StoredRun>, String> {
        self.read().map_err(|error| format!("{error:#}"))
    }

    fn resume(&self, run: &str, items: Vec<NewItem>) -> Result<StartedRun, String> {
        self.go_on(run, items).map_err(|error| format!("{error:#}"))
    }

    fn close(&self, run: &str) -> Result<(), String> {
        self.end(run).map_err(|error| format!("{error:#}"))
    }

    fn pools(&self) -> Vec<String> {
        self.pools.known().into_iter().collect()
    }

    fn forget_pool(&self, pool: &str) {
        self.pools.forget(pool);
    }
}
