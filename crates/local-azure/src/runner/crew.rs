//! Threads for work that blocks: as many as there is work, reused, gone after a while without any.

use super::control::lock;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// How long a thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);
/// Room for folders, spawning and copying; the default of 2 MiB times a thousand launches would be much.
const STACK_BYTES: usize = 512 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Threads at rest and work that found none.
#[derive(Default)]
pub(super) struct Crew {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that went to rest last comes first: its caches are warm, and the others may go.
    resting: Vec<Arc<Seat>>,
    /// Work for which no thread could be made.
    waiting: VecDeque<Job>,
    threads: usize,
    closed: bool,
}

#[derive(Default)]
struct Seat {
    job: Mutex<Option<Job>>,
    came: Condvar,
}

impl Crew {
    /// Does the work on a thread of its own, at once if one can be had, else as soon as one is free.
    ///
    /// # Errors
    /// When there is no thread at all and none can be made: the work is dropped.
    pub fn work(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        let job: Job = Box::new(job);
        if let Some(seat) = state.resting.pop() {
            *lock(&seat.job) = Some(job);
            seat.came.notify_one();
            return Ok(());
        }
        state.waiting.push_back(job);
        let crew = self.clone();
        let spawned = std::thread::Builder::new()
            .name("node-crew".into())
            .stack_size(STACK_BYTES)
            .spawn(move || crew.labour());
        match spawned {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                state.waiting.pop_back();
                return Err(error);
            }
            Err(error) => tracing::warn!(%error, threads = state.threads, "no more threads: work waits"),
        }
        Ok(())
    }

    /// Lets threads go as soon as they have nothing to do.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for seat in state.resting.drain(..) {
            let _job = lock(&seat.job);
            seat.came.notify_one();
        }
    }

    fn labour(self: Arc<Self>) {
        let seat = Arc::new(Seat::default());
        while let Some(job) = self.next(&seat) {
            // A panic is a mistake of ours; it must cost one piece of work and not the thread's place.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("work on a node panicked");
            }
        }
        lock(&self.state).threads -= 1;
    }

    fn next(&self, seat: &Arc<Seat>) -> Option<Job> {
        let mut state = lock(&self.state);
        if let Some(job) = state.waiting.pop_front() {
            return Some(job);
        }
        if state.closed {
            return None;
        }
        state.resting.push(seat.clone());
        drop(state);
        let mut job = lock(&seat.job);
        loop {
            if let Some(job) = job.take() {
                return Some(job);
            }
            let waited = seat.came.wait_timeout(job, IDLE).unwrap_or_else(PoisonError::into_inner);
            job = waited.0;
            if job.is_some() {
                continue;
            }
            // Nothing came. Whoever still holds the seat in `resting` may leave; else work is on its way.
            drop(job);
            let mut state = lock(&self.state);
            let listed = state.resting.iter().position(|other| Arc::ptr_eq(other, seat));
            if let Some(place) = listed {
                state.resting.remove(place);
                return None;
            }
            let closed = state.closed;
            drop(state);
            job = lock(&seat.job);
            if closed && job.is_none() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn work_runs_side_by_side_and_threads_are_used_again() {
        let crew = Arc::new(Crew::default());
        let (report, reports) = mpsc::channel();
        let gates: Vec<_> = (0..8)
            .map(|index| {
                let (open, gate) = mpsc::channel::<()>();
                let report = report.clone();
                crew.work(move || {
                    gate.recv().unwrap();
                    report.send(index).unwrap();
                })
                .unwrap();
                open
            })
            .collect();
        for (index, gate) in gates.iter().enumerate().rev() {
            gate.send(()).unwrap();
            assert_eq!(reports.recv().unwrap(), index);
        }
        for index in 100..200 {
            let report = report.clone();
            crew.work(move || report.send(index).unwrap()).unwrap();
            assert_eq!(reports.recv().unwrap(), index);
        }
        assert!(lock(&crew.state).threads < 50, "{}", lock(&crew.state).threads);
    }

    #[test]
    fn a_panic_costs_one_piece_of_work() {
        let crew = Arc::new(Crew::default());
        let (report, reports) = mpsc::channel();
        crew.work(|| panic!("on purpose")).unwrap();
        for _ in 0..3 {
            let report = report.clone();
            crew.work(move || report.send(()).unwrap()).unwrap();
            reports.recv().unwrap();
        }
        crew.close();
    }
}
