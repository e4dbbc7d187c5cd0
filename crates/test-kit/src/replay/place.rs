//! The place for results in a replay: in memory, with the recorded timing.

use dropmill_actors::place::{Delivery, MemoryPlace, PlaceError, Placed, ResultPlace};
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Delivers a result no earlier than in the recording. Otherwise events that happened while a disk was slow
/// would come after the end of the run.
#[derive(Clone)]
pub struct PacedPlace {
    inner: MemoryPlace,
    moments: BTreeMap<String, Instant>,
}

impl PacedPlace {
    /// Creates a place on top of `inner`. `delivered_ms` contains for each task the time of its delivery, in
    /// milliseconds since the start of the run, which is now.
    pub fn new(inner: MemoryPlace, delivered_ms: &BTreeMap<String, u64>) -> Self {
        let began = Instant::now();
        let moment = |(task, ms): (&String, &u64)| (task.clone(), began + Duration::from_millis(*ms));
        Self { inner, moments: delivered_ms.iter().map(moment).collect() }
    }
}

impl ResultPlace for PacedPlace {
    fn stage(&self, task: &str, needs_bytes: u64, keep: &BTreeSet<String>) -> Result<bool, PlaceError> {
        self.inner.stage(task, needs_bytes, keep)
    }

    fn create(&self, task: &str, path: &str) -> Result<Box<dyn Write + Send>, PlaceError> {
        self.inner.create(task, path)
    }

    fn publish(&self, delivery: Delivery) -> BoxFuture<'static, Result<Placed, PlaceError>> {
        let (inner, moment) = (self.inner.clone(), self.moments.get(&delivery.task).copied());
        Box::pin(async move {
            if let Some(moment) = moment {
                sleep_until(moment).await;
            }
            inner.publish(delivery).await
        })
    }

    fn discard(&self, task: &str) {
        self.inner.discard(task);
    }
}
