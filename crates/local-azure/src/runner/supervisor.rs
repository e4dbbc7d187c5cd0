//! One thread that supervises running launches: the second signal of a kill, the size of outputs, dead
//! orphans.

use super::{
    caps,
    control::{Handle, lock},
    processes::Shared,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Interval between checks of running launches. Between two checks, an output can grow by what the disk can
/// write.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Alarms and periodic checks.
#[derive(Default)]
pub(super) struct Supervisor {
    state: Mutex<State>,
    bell: Condvar,
    /// Nothing runs and no alarm is set: the thread must be woken when that changes.
    asleep: AtomicBool,
}

#[derive(Default)]
struct State {
    alarms: BTreeMap<(Instant, u64), Arc<Handle>>,
    closed: bool,
}

impl Supervisor {
    /// Sends SIGKILL to a launch after the grace period.
    pub fn kill_after(&self, grace: Duration, handle: Arc<Handle>) {
        let mut state = lock(&self.state);
        state.alarms.insert((Instant::now() + grace, handle.id), handle);
        self.bell.notify_one();
    }

    /// Wakes the thread because something is about to run.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::AcqRel) {
            let _state = lock(&self.state);
            self.bell.notify_one();
        }
    }

    /// Lets [`Supervisor::run`] return.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.bell.notify_one();
    }

    /// Supervises until closed; blocks.
    pub fn run(&self, shared: &Shared) {
        let running = || shared.registry.handles();
        let mut next_look = Instant::now() + LOOK_EVERY;
        let mut state = lock(&self.state);
        while !state.closed {
            let now = Instant::now();
            while let Some(alarm) = state.alarms.first_entry().filter(|alarm| alarm.key().0 <= now) {
                alarm.remove().kill();
            }
            if now >= next_look {
                drop(state);
                let handles = running();
                let spare_shims = look(shared, &handles);
                next_look = Instant::now() + LOOK_EVERY;
                state = lock(&self.state);
                // Not atomic with `running`: a thread that starts something after the first check wakes this
                // one, because the flag is set before the second check.
                if handles.is_empty() && state.alarms.is_empty() && !state.closed && !spare_shims {
                    self.asleep.store(true, Ordering::Release);
                    if running().is_empty() {
                        state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                    self.asleep.store(false, Ordering::Release);
                    next_look = Instant::now() + LOOK_EVERY;
                }
                continue;
            }
            let until = state.alarms.keys().next().map_or(next_look, |(at, _)| next_look.min(*at));
            state = self
                .bell
                .wait_timeout(state, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Checks what runs; returns whether idle shims are left.
fn look(shared: &Shared, handles: &[Arc<Handle>]) -> bool {
    for directory in handles.iter().filter_map(|handle| handle.still_running()) {
        caps::thin(&directory, shared.settings.max_output_bytes);
    }
    if let Some(keeper) = &shared.keeper {
        return keeper.trim();
    }
    let groups: BTreeSet<i32> =
        handles.iter().flat_map(|handle| handle.groups()).map(|group| group.as_raw_nonzero().get()).collect();
    shared.orphans.reap_dead(&groups);
    false
}
