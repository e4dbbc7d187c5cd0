//! Reports that an actor has exited. A panic in a handler closes the actor's mailbox for good and is reported to nobody;
//! but dropping the actor drops its guard, which sends the actor's name.

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
        // Nobody listens any more once the run is over: then a stopped actor is no news.
        let _ = self.deaths.try_send(self.actor.clone());
    }
}
