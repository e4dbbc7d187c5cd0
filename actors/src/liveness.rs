//! Whether an actor lives. A panic in a handler closes the actor's mailbox for good and says nothing
//! to anybody; dropping the actor drops its pulse, and that is heard.

use dropmill_journal::event::Role;

/// Held by an actor; tells its name when it is dropped.
#[derive(Debug)]
pub struct LivenessGuard {
    actor: Role,
    deaths: async_channel::Sender<Role>,
}

impl LivenessGuard {
    /// The pulse of `actor`, heard through `deaths`.
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
