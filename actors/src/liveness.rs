//! Detects that an actor has exited. A panic in a handler closes the actor's mailbox without a report; but
//! the actor is dropped with its guard, which sends the actor's name.

use dropmill_journal::event::Role;

/// Held by an actor; sends the actor's role when it is dropped.
#[derive(Debug)]
pub struct LivenessGuard {
    actor: Role,
    deaths: async_channel::Sender<Role>,
}

impl LivenessGuard {
    /// Creates the guard of `actor`, which reports to `deaths`.
    pub fn new(actor: Role, deaths: async_channel::Sender<Role>) -> Self {
        Self { actor, deaths }
    }
}

impl Drop for LivenessGuard {
    fn drop(&mut self) {
        // After the end of the run there is no receiver: a stopped actor is expected then.
        let _ = self.deaths.try_send(self.actor.clone());
    }
}
