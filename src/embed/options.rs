//! What runs and daemons are started with, and the thread that they run in.

use crate::{
    error::Error,
    settings::{Loaded, Settings, in_code, load},
    state::State,
};
use std::path::{Path, PathBuf};

/// Events that a receiver can be behind before the run waits for it.
pub(super) const BEHIND: usize = 4096;

/// Where the settings of a run or daemon come from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A run file.
    File(PathBuf),
    /// Settings made in code, and the folder that their paths are relative to.
    Code(Box<Settings>, PathBuf),
}

/// What a run or daemon is started with.
#[derive(Debug, Clone)]
pub(super) struct StartOptions {
    pub source: Source,
    pub set: Vec<String>,
    pub state: Option<PathBuf>,
}

impl StartOptions {
    pub fn from_file(file: &Path) -> Self {
        Self { source: Source::File(file.to_owned()), set: vec![], state: None }
    }

    pub fn from_settings(settings: Settings, base: &Path) -> Self {
        Self { source: Source::Code(Box::new(settings), base.to_owned()), set: vec![], state: None }
    }

    /// Reads the settings and finds the state folder.
    pub fn read(&self) -> Result<(Loaded, State), Error> {
        Ok((self.load()?, State::at(self.state.clone())?))
    }

    /// Reads the settings.
    pub fn load(&self) -> Result<Loaded, Error> {
        Ok(match &self.source {
            Source::File(file) => load(file, &self.set, [])?,
            Source::Code(settings, base) => in_code(settings, base, &self.set)?,
        })
    }
}

/// Runs a future in a thread with an actix system of its own: actors stay in one thread, and not in the caller's.
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
