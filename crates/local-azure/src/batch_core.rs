//! The Batch service below its HTTP face: the model, what moves it (requests, reports of nodes, alarms), and where its
//! decisions go (store, runner). The model's lock is held for decisions alone.

use crate::{
    applications::Applications,
    durability::Durability,
    model::{AutoStorage, Condition, Identity, Model, Refusal},
    orders::{BlobDoor, NodeEvent, NodeFiles, Order, Runner},
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
    /// The nodes' way to blobs.
    door: OnceLock<Arc<dyn BlobDoor>>,
    /// Orders that were decided and not carried out yet, in the order of deciding.
    orders: Mutex<VecDeque<Order>>,
    /// Held by whoever carries orders out, so that one never overtakes another.
    carrying: Mutex<()>,
    changes: watch::Sender<u64>,
    alarm_moved: Notify,
    clock: SharedClock,
}

impl Core {
    /// The service as it was left in `folder`, or a new one.
    pub fn open(
        folder: Option<&Path>,
        durability: Durability,
        identity: Identity,
        (storage, applications): (AutoStorage, Applications),
        seed: u64,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let now = clock.now();
        // A service with a past takes the moment into its seed and its numbers, so that it never makes an id twice.
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

    /// Gives it its nodes; what was decided before is carried out now.
    pub fn employ(&self, runner: Arc<dyn Runner>, door: Arc<dyn BlobDoor>) {
        let _ = self.door.set(door);
        let _ = self.runner.set(runner);
        let model = self.lock();
        self.follow(model, false);
    }

    /// Counts changes that clients can see.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns the time by the service's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Stores a file of the service's own in a container; whether it could. Blocks until it is durable.
    pub fn store_blob(&self, container_url: &str, file: (String, Vec<u8>)) -> bool {
        let Some(door) = self.door.get() else { return false };
        let stored = door.store_bytes(container_url, &[file]);
        stored.inspect_err(|error| tracing::warn!(%error, "a log could not be stored")).is_ok()
    }

    /// The files of nodes.
    pub fn files(&self) -> &dyn NodeFiles {
        self.runner.get().expect("a runner is employed before the first request").files()
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up.
    pub fn look<T>(&self, look: impl FnOnce(&Model) -> Result<T, Refusal>) -> Result<T, Refusal> {
        look(&self.lock())
    }

    /// Changes something; returns when the change is durable.
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

    /// Takes in what a node reports; callable from any thread.
    pub fn report(&self, event: NodeEvent) {
        let mut model = self.lock();
        model.happened(event, self.clock.now());
        self.follow(model, false);
    }

    /// Looks again at what is due when.
    pub fn clock_moved(&self) {
        self.alarm_moved.notify_one();
    }

    /// Injects an incident into the service.
    pub fn befall(&self, condition: &Condition) {
        let mut model = self.lock();
        model.befall(condition, self.clock.now());
        self.follow(model, false);
    }

    /// Carries out what followed from a call of the model.
    fn follow(&self, mut model: MutexGuard<'_, Model>, waits: bool) -> Ticket {
        let effects = model.take_effects();
        // Both queues get theirs while the model is locked, so that both have the order of deciding.
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

    /// Hands orders to the runner, one thread at a time. Who finds another at it leaves the orders to that one.
    fn carry_out(&self) {
        let Some(runner) = self.runner.get() else { return };
        loop {
            let Ok(_carrying) = self.carrying.try_lock() else { return };
            while let Some(order) = self.next_order() {
                runner.carry_out(order);
            }
            drop(_carrying);
            // An order may have come after the queue was found empty and before the lock was free.
            if self.orders.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
        }
    }

    fn next_order(&self) -> Option<Order> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Wakes the model whenever it asked to be woken; never ends.
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
                    // tokio cannot sleep for ages; whoever wakes early looks again.
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

    /// Ends what runs, keeps what was decided.
    pub fn stop(&self) {
        if let Some(runner) = self.runner.get() {
            runner.stop();
        }
        self.store.close();
    }
}
