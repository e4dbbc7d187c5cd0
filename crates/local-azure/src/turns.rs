//! Limits how many threads do something at the same time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number of permits.
pub(crate) struct Turns {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: usize,
    waiting: usize,
}

/// A permit; dropping it gives it back.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Creates this many permits.
    pub fn new(number: usize) -> Self {
        Self { state: Mutex::new(State { free: number, waiting: 0 }), freed: Condvar::new() }
    }

    /// Waits for a permit.
    pub fn take(&self) -> Turn<'_> {
        let mut state = self.lock();
        while state.free == 0 {
            state.waiting += 1;
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.free -= 1;
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.free += 1;
        if state.waiting > 0 {
            self.0.freed.notify_one();
        }
    }
}
