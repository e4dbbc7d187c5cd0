//! The start options of runs and daemons, and the thread that they run in.

use crate::{
    error::Error,
    settings::{Loaded, Settings, in_code, load},
    state::State,
};
use std::path::{Path, PathBuf};

/// Number of unread events after which the run waits for the receiver.
pub(super) const BEHIND: usize = 4096;

/// The origin of the settings of a run or daemon.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A run file.
    File(PathBuf),
    /// Settings made in code, and the folder that their paths are relative to.
    Code(Box<Settings>, PathBuf),
}

/// The options that all builders share.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    /// Values over the settings, as `section.key=value`.
    pub set: Vec<String>,
    state: Option<PathBuf>,
}

impl Common {
    pub fn set(mut self, set: &str) -> Self {
        self.set.push(set.to_owned());
        self
    }

    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.state = Some(folder.as_ref().to_owned());
        self
    }

    /// Finds the state folder.
    pub fn find_state(&self) -> Result<State, Error> {
        Ok(State::at(self.state.clone())?)
    }
}

impl Source {
    /// Reads the settings.
    pub fn load(&self, common: &Common) -> Result<Loaded, Error> {
        Ok(match self {
            Self::File(file) => load(file, &common.set, [])?,
            Self::Code(settings, base) => in_code(settings, base, &common.set)?,
        })
    }
}

/// Runs a future in a thread with its own actix system: actors stay in that thread.
pub(super) fn in_a_thread<F: Future<Output = ()> + 'static>(
    name: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<(), Error> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started")
    };
    let thread = std::thread::Builder::new().name(name.to_owned());
    let started =
        thread.spawn(move || actix::System::with_tokio_rt(runtime).block_on(async { work().await }));
    started.map(|_| ()).map_err(|error| anyhow::Error::new(error).context("cannot start a thread").into())
}
