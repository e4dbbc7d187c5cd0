//! A thread pool for blocking work: as many threads as needed, reused, ended after some time without work.

use super::control::lock;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Time for which a thread waits for more work.
const IDLE: Duration = Duration::from_secs(10);
/// Enough for folders, spawning and copying; the default of 2 MiB for a thousand launches would be too much.
const STACK_BYTES: usize = 512 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Idle threads and waiting work.
#[derive(Default)]
pub(super) struct ThreadPool {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last idle thread comes first: its caches are warm, and the others can end.
    resting: Vec<Arc<Seat>>,
    /// Work for which no thread could be created.
    waiting: VecDeque<Job>,
    threads: usize,
    closed: bool,
}

#[derive(Default)]
struct Seat {
    job: Mutex<Option<Job>>,
    came: Condvar,
}

impl ThreadPool {
    /// Runs the work on a thread: at once if a thread can be created, otherwise as soon as one is free.
    ///
    /// # Errors
    /// Fails if there is no thread and none can be created: the work is dropped.
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
            .spawn(move || crew.worker_loop());
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

    /// Lets threads end as soon as they are idle.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for seat in state.resting.drain(..) {
            let _job = lock(&seat.job);
            seat.came.notify_one();
        }
    }

    fn worker_loop(self: Arc<Self>) {
        let seat = Arc::new(Seat::default());
        while let Some(job) = self.next(&seat) {
            // A panic is a defect of this program; it must not end the thread.
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
            // No work arrived. If the seat is still in `resting`, the thread may end; otherwise work is about
            // to arrive.
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
    fn work_runs_in_parallel_and_threads_are_reused() {
        let crew = Arc::new(ThreadPool::default());
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
    fn a_panic_affects_only_its_own_work() {
        let crew = Arc::new(ThreadPool::default());
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
