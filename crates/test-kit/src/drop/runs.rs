//! The runs of a simulated daemon: their plans and durable events are kept when a process crashes.

use super::{MillPlan, store::CrashableStore};
use crate::crash::{CrashInjector, Crashable};
use dropmill_actors::{
    RunParts, Services,
    drop_folder::NewItem,
    drop_store::DropStore,
    mill::{RunStore, StartedRun, StoredRun},
    place::ResultPlace,
};
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{Journal, event::Event, past::RecoveredRun};
use dropmill_lifecycle::plan::RunPlan;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

/// The plans and the state that are kept between processes; the events are kept elsewhere.
#[derive(Default)]
pub struct StoredRuns {
    plans: RefCell<BTreeMap<String, RunPlan>>,
    closed: RefCell<BTreeSet<String>>,
    pools: RefCell<BTreeSet<String>>,
}

impl StoredRuns {
    /// Returns the names of the runs, in the order of their creation.
    pub fn names(&self) -> Vec<String> {
        self.plans.borrow().keys().cloned().collect()
    }

    /// Returns whether the daemon has no record of a pool.
    pub fn has_no_pools(&self) -> bool {
        self.pools.borrow().is_empty()
    }
}

/// The runs as one process of the daemon sees them.
pub struct MemoryRuns {
    pub plan: MillPlan,
    pub services: Services,
    pub store: Arc<CrashableStore>,
    pub injector: Arc<CrashInjector>,
    pub clock: SharedClock,
    pub stored: Rc<StoredRuns>,
}

impl MemoryRuns {
    fn start(&self, plan: RunPlan, earlier: Option<Vec<Event>>) -> StartedRun {
        let (run, pool) = (plan.run.clone(), plan.pool.id.clone());
        self.stored.pools.borrow_mut().insert(pool.clone());
        let injector = self.injector.clone();
        let journal = Journal::answered_by(move |events| injector.keep(events));
        let results = self.store.results(&plan);
        let place: Arc<dyn ResultPlace> =
            Arc::new(Crashable { injector: self.injector.clone(), inner: results });
        let handle = RunParts {
            plan,
            services: self.services.clone(),
            place,
            inputs: self.store.clone(),
            journal,
            clock: self.clock.clone(),
            earlier,
        }
        .start();
        StartedRun {
            run,
            pool,
            events: handle.events(),
            canceller: handle.canceller(),
            feeder: handle.feeder(),
            finished: Box::pin(async move { handle.finished().await.map_err(|error| error.to_string()) }),
        }
    }

    fn events_of(&self, run: &str) -> Vec<Event> {
        self.injector.events().into_iter().filter(|event| event.run == run).collect()
    }
}

impl RunStore for MemoryRuns {
    fn open(&self) -> Result<StartedRun, String> {
        let number = self.stored.plans.borrow().len() + 1;
        let plan = (self.plan.stream)(&format!("mill-{number:03}"));
        self.stored.plans.borrow_mut().insert(plan.run.clone(), plan.clone());
        Ok(self.start(plan, None))
    }

    fn stored(&self) -> Result<Vec<StoredRun>, String> {
        let names = self.stored.names();
        let open = names.into_iter().filter(|run| !self.stored.closed.borrow().contains(run));
        Ok(open.map(|run| StoredRun { past: RecoveredRun::of(&self.events_of(&run)), run }).collect())
    }

    fn resume(&self, run: &str, items: Vec<NewItem>) -> Result<StartedRun, String> {
        let mut plan = self.stored.plans.borrow().get(run).cloned().ok_or("no such run")?;
        for item in items {
            let mut item = (self.plan.make)(&item);
            item.index = u32::try_from(plan.items.len()).unwrap_or(u32::MAX);
            plan.items.push(item);
        }
        Ok(self.start(plan, Some(self.events_of(run))))
    }

    fn close(&self, run: &str) -> Result<(), String> {
        self.stored.closed.borrow_mut().insert(run.to_owned());
        Ok(())
    }

    fn pools(&self) -> Vec<String> {
        self.stored.pools.borrow().iter().cloned().collect()
    }

    fn forget_pool(&self, pool: &str) {
        self.stored.pools.borrow_mut().remove(pool);
    }
}
