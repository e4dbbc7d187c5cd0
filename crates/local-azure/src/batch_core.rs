//! The Batch service below its HTTP interface: the model, its inputs (requests, reports of nodes, alarms),
//! and its outputs (store, runner). The model's lock is held only for decisions.

use crate::{
    applications::Applications,
    durability::Durability,
    model::{AutoStorage, Identity, Model, Refusal, ServiceIncident},
    orders::{BlobAccess, NodeEvent, NodeFiles, Order, Runner},
    store::{Store, StoreError, Ticket},
};
use dropmill_azure_wire::time::{SharedClock, Timestamp};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// The model with its store and its nodes.
pub struct Core {
    model: Mutex<Model>,
    store: Store,
    runner: OnceLock<Arc<dyn Runner>>,
    /// The nodes' access to blobs.
    door: OnceLock<Arc<dyn BlobAccess>>,
    /// Orders that are decided but not carried out yet, in the order of decisions.
    orders: Mutex<VecDeque<Order>>,
    /// Held by the thread that carries out orders, so that orders stay in order.
    carrying: Mutex<()>,
    changes: watch::Sender<u64>,
    alarm_moved: Notify,
    clock: SharedClock,
}

impl Core {
    /// Opens the stored service in `folder`, or a new one.
    pub fn open(
        folder: Option<&Path>,
        durability: Durability,
        identity: Identity,
        (storage, applications): (AutoStorage, Applications),
        seed: u64,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let now = clock.now();
        // A service with stored state includes the time in its seed and its numbers, so that it never
        // generates an id twice.
        let moment = u64::try_from(now.as_microsecond()).unwrap_or_default();
        let (seed, first) = if folder.is_some() { (seed ^ moment, moment << 8) } else { (seed, 0) };
        let model = Model::new(identity, ChaCha8Rng::seed_from_u64(seed), first, folder.is_some());
        let mut model = model.with_storage(storage).with_applications(applications);
        let store = match folder {
            None => Store::none(),
            Some(folder) => Store::open(&folder.join("batch.db"), durability, &mut model, now)?,
        };
        Ok(Self {
            model: Mutex::new(model),
            store,
            runner: OnceLock::new(),
            door: OnceLock::new(),
            orders: Mutex::default(),
            carrying: Mutex::default(),
            changes: watch::Sender::new(0),
            alarm_moved: Notify::new(),
            clock,
        })
    }

    /// Sets the runner of its nodes, and carries out the pending orders.
    pub fn employ(&self, runner: Arc<dyn Runner>, door: Arc<dyn BlobAccess>) {
        let _ = self.door.set(door);
        let _ = self.runner.set(runner);
        let model = self.lock();
        self.follow(model, false);
    }

    /// Returns a counter of changes that clients can see.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns the time of the service's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stores a file of the service in a container; returns whether it succeeded. Blocks until it is durable.
    pub fn store_blob(&self, container_url: &str, file: (String, Vec<u8>)) -> bool {
        let Some(door) = self.door.get() else { return false };
        let stored = door.store_bytes(container_url, &[file]);
        stored.inspect_err(|error| tracing::warn!(%error, "cannot store a log")).is_ok()
    }

    /// Returns the files of nodes.
    pub fn files(&self) -> &dyn NodeFiles {
        self.runner.get().expect("a runner is set before the first request").files()
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the model.
    pub fn look<T>(&self, look: impl FnOnce(&Model) -> Result<T, Refusal>) -> Result<T, Refusal> {
        look(&self.lock())
    }

    /// Changes the model; returns when the change is durable.
    pub async fn change<T>(
        &self,
        change: impl FnOnce(&mut Model, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (outcome, ticket) = {
            let mut model = self.lock();
            let outcome = change(&mut model, self.clock.now());
            (outcome, self.follow(model, true))
        };
        ticket.durable().await.map_err(|error| {
            tracing::error!(%error, "a change is not durable");
            Refusal::new(
                500,
                "InternalError",
                "The server encountered an internal error. Please retry the request.",
            )
        })?;
        outcome
    }

    /// Processes a report of a node; callable from any thread.
    pub fn report(&self, event: NodeEvent) {
        let mut model = self.lock();
        model.happened(event, self.clock.now());
        self.follow(model, false);
    }

    /// Checks all alarms again after a change of the clock.
    pub fn clock_moved(&self) {
        self.alarm_moved.notify_one();
    }

    /// Injects an incident into the service.
    pub fn inject(&self, condition: &ServiceIncident) {
        let mut model = self.lock();
        model.inject(condition, self.clock.now());
        self.follow(model, false);
    }

    /// Carries out the effects of a call of the model.
    fn follow(&self, mut model: MutexGuard<'_, Model>, waits: bool) -> Ticket {
        let effects = model.take_effects();
        // Added to both queues while the model is locked, so that both have the order of decisions.
        let ticket = self.store.order(effects.changes, waits);
        if !effects.orders.is_empty() {
            self.orders.lock().unwrap_or_else(PoisonError::into_inner).extend(effects.orders);
        }
        drop(model);
        self.carry_out();
        if effects.visible {
            self.changes.send_modify(|count| *count += 1);
        }
        self.alarm_moved.notify_one();
        ticket
    }

    /// Passes orders to the runner, on one thread at a time. If another thread is doing this, it carries out
    /// these orders too.
    fn carry_out(&self) {
        let Some(runner) = self.runner.get() else { return };
        loop {
            let Ok(_carrying) = self.carrying.try_lock() else { return };
            while let Some(order) = self.next_order() {
                runner.carry_out(order);
            }
            drop(_carrying);
            // An order may have been added after the queue was found empty and before the lock was free.
            if self.orders.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
        }
    }

    fn next_order(&self) -> Option<Order> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Wakes the model at its alarms; never ends.
    pub async fn alarms(&self) {
        loop {
            let next = self.lock().next_alarm();
            let now = self.clock.now();
            match next {
                None => self.alarm_moved.notified().await,
                Some(next) if next <= now => {
                    let mut model = self.lock();
                    model.alarm(self.clock.now());
                    self.follow(model, false);
                }
                Some(next) => {
                    let rest = Duration::try_from(next.duration_since(now)).unwrap_or_default();
                    // tokio cannot sleep for a very long time; the alarms are then checked again.
                    let rest = rest.clamp(Duration::from_millis(1), Duration::from_secs(24 * 3600));
                    tokio::select! {
                        biased;
                        () = self.alarm_moved.notified() => {}
                        () = tokio::time::sleep(rest) => {}
                    }
                }
            }
        }
    }

    /// Ends all processes and stores all decided changes.
    pub fn stop(&self) {
        if let Some(runner) = self.runner.get() {
            runner.stop();
        }
        self.store.close();
    }
}
