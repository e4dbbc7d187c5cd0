//! A run in a thread of its own.

use super::options::{Common, Source, in_a_thread};
use crate::{
    error::Error,
    record::Record,
    session::{ActiveRun, RunSession},
    settings::Settings,
    start::{Choices, Start, StartContext},
    state::State,
    stored_run::StoredRun,
};
use dropmill_actors::Canceller;
use dropmill_azure_client::record::KEPT_BYTES;
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_journal::{event::Event, report::Report};
use dropmill_lifecycle::plan::RunPlan;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A running run. Dropping it does not end the run.
///
/// # Examples
///
/// Runs the tasks of a run file, and prints each event once it is durable:
///
/// ```no_run
/// # async fn example() -> Result<(), dropmill::Error> {
/// let (run, events) = dropmill::Run::from_file("run.toml").set("pool.nodes=2").start()?;
/// while let Ok(event) = events.recv().await {
///     println!("{} {}", event.seq, event.subject);
/// }
/// println!("{:?}", run.finished().await?.outcome);
/// # Ok(())
/// # }
/// ```
///
/// The [landing page](crate) shows `resume`, `skip_done` and `retry`.
pub struct Run {
    name: String,
    canceller: Canceller,
    report: async_channel::Receiver<Result<Report, Error>>,
}

/// A run that is not started yet.
#[derive(Debug, Clone)]
pub struct RunBuilder {
    common: Common,
    source: Source,
    choices: Choices,
    record: Option<PathBuf>,
}

/// The rest of an interrupted run, not started yet.
#[derive(Debug, Clone)]
pub struct ResumeBuilder {
    common: Common,
    run: String,
}

/// A new run of the tasks that did not succeed in another run, not started yet.
#[derive(Debug, Clone)]
pub struct RetryBuilder {
    common: Common,
    run: String,
    only_failed: bool,
}

impl Run {
    /// Prepares a run of a run file: TOML, YAML or JSON, as its extension says.
    pub fn from_file(file: impl AsRef<Path>) -> RunBuilder {
        RunBuilder::new(Source::File(file.as_ref().to_owned()))
    }

    /// Prepares a run of settings that are made in code, without a run file. Paths in the settings are relative to `base`.
    ///
    /// Runs with the same `base` and `run.name` count as runs of one run file: [`RunBuilder::resume`] resumes the latest of
    /// them, and [`RunBuilder::skip_done`] knows their results. The state folder keeps the settings, so that
    /// [`Run::resume`], [`Run::retry`] and the program `dropmill` can use them. Keys are not kept: settings only name an
    /// environment variable or a file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use dropmill::{
    ///     Run,
    ///     settings::{Length, Settings},
    /// };
    /// use std::time::Duration;
    ///
    /// # fn example() -> Result<(), dropmill::Error> {
    /// let mut settings = Settings::default();
    /// settings.run.name = "lines".into();
    /// settings.input.files = vec!["data/**/*.txt".into()];
    /// settings.task.command = Some(["wc", "-l", "{input}"].map(String::from).into());
    /// settings.task.timeout = Some(Length(Duration::from_secs(600)));
    /// settings.pool.nodes = 4;
    /// settings.output.directory = "out".into();
    ///
    /// let run = Run::from_settings(settings, "/srv/texts");
    /// println!("{} tasks", run.plan()?.items.len());
    /// let (run, _) = run.start()?;
    /// println!("{} succeeded", run.finished_blocking()?.tasks.succeeded);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_settings(settings: Settings, base: impl AsRef<Path>) -> RunBuilder {
        RunBuilder::new(Source::Code(Box::new(settings), base.as_ref().to_owned()))
    }

    /// The former name of [`Run::from_file`].
    #[deprecated(note = "use `Run::from_file`")]
    pub fn of_file(file: impl AsRef<Path>) -> RunBuilder {
        Self::from_file(file)
    }

    /// Prepares the rest of an interrupted run, as it was planned. `run` is its name, or a unique prefix of it.
    ///
    /// Only what is missing is done. [`RunBuilder::resume`] finds the run by its settings instead, and follows changes of
    /// its deadlines and limits.
    pub fn resume(run: impl Into<String>) -> ResumeBuilder {
        ResumeBuilder { common: Common::default(), run: run.into() }
    }

    /// Prepares a new run of the tasks that did not succeed in an ended run, with its run file as it is now. `run` is its
    /// name, or a unique prefix of it.
    pub fn retry(run: impl Into<String>) -> RetryBuilder {
        RetryBuilder { common: Common::default(), run: run.into(), only_failed: false }
    }

    /// Returns the name of the run, which `dropmill show`, `dropmill trace`, [`Run::resume`] and [`Run::retry`] take.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the run in order: stops its tasks, downloads finished results, deletes what costs money.
    pub fn cancel(&self, why: &str) {
        self.canceller.cancel(why);
    }

    /// Waits for the end of the run. Events must be received meanwhile, or their receivers dropped.
    ///
    /// # Errors
    /// Fails if the run ended without a report. Failed tasks are no error: the report lists them.
    pub async fn finished(self) -> Result<Report, Error> {
        self.report.recv().await.unwrap_or(Err(Error::ThreadEnded("run")))
    }

    /// Waits for the end of the run, in code without `async`.
    ///
    /// # Errors
    /// As [`Run::finished`].
    pub fn finished_blocking(self) -> Result<Report, Error> {
        self.report.recv_blocking().unwrap_or(Err(Error::ThreadEnded("run")))
    }
}

impl RunBuilder {
    fn new(source: Source) -> Self {
        Self { common: Common::default(), source, choices: Choices::default(), record: None }
    }

    /// Sets a key over the settings: `section.key=value`.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.common = self.common.set(set);
        self
    }

    /// Sets the state folder. Default: that of the program, `$XDG_STATE_HOME/dropmill` or `~/.local/state/dropmill`.
    #[must_use]
    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.common = self.common.state(folder);
        self
    }

    /// Resumes the latest run of the same settings, if it was interrupted; otherwise a new run starts.
    ///
    /// Changed deadlines and limits apply to the resumed run. Other changes fail with
    /// [`UsageError::SettingsChanged`](crate::UsageError::SettingsChanged).
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.choices.resume = true;
        self
    }

    /// Leaves out inputs whose results exist: made by an earlier run of the same settings, from the same input, with the
    /// same command, environment, application and outputs.
    ///
    /// If no input is left, [`RunBuilder::start`] fails with
    /// [`NothingToDo::AllDone`](crate::NothingToDo::AllDone).
    #[must_use]
    pub fn skip_done(mut self) -> Self {
        self.choices.skip_done = true;
        self
    }

    /// Compares the content of results for [`RunBuilder::skip_done`], not only their lengths. This reads all results.
    #[must_use]
    pub fn check_content(mut self) -> Self {
        self.choices.check_content = true;
        self
    }

    /// Records requests and responses of a new run in this folder, without secrets, for `dropmill simulate --replay`.
    #[must_use]
    pub fn record(mut self, folder: impl AsRef<Path>) -> Self {
        self.record = Some(folder.as_ref().to_owned());
        self
    }

    /// Returns the plan of the run. Makes no network calls and changes nothing but what an interrupted removal left.
    ///
    /// # Errors
    /// As [`RunBuilder::start`].
    pub fn plan(&self) -> Result<RunPlan, Error> {
        let clock: SharedClock = Arc::new(WallClock);
        Ok(self.prepare(&clock)?.0.plan().clone())
    }

    /// Starts the run. Returns it with a receiver of its events, each once it is durable, in order.
    ///
    /// # Errors
    /// Fails if the settings have mistakes, a feature is missing, there is nothing to do, or another process uses the state
    /// of the run.
    pub fn start(self) -> Result<(Run, async_channel::Receiver<Event>), Error> {
        let clock: SharedClock = Arc::new(WallClock);
        let (start, state) = self.prepare(&clock)?;
        let record = self.record.as_deref();
        let session = start.open(&state, &clock, |plan| {
            record.map(|folder| Record::begin(folder, KEPT_BYTES, plan)).transpose()
        })?;
        begin(session, clock)
    }

    fn prepare(&self, clock: &SharedClock) -> Result<(Start, State), Error> {
        let (loaded, state) = (self.source.load(&self.common)?, self.common.find_state()?);
        let start = Start::of_settings(loaded, self.choices, &surroundings(&state, clock))?;
        Ok((start, state))
    }
}

impl ResumeBuilder {
    /// Sets the state folder, as [`RunBuilder::state`].
    #[must_use]
    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.common = self.common.state(folder);
        self
    }

    /// Starts the rest of the run, as [`RunBuilder::start`].
    ///
    /// # Errors
    /// [`UsageError::Ended`](crate::UsageError::Ended) if the run has ended; otherwise as [`RunBuilder::start`].
    pub fn start(self) -> Result<(Run, async_channel::Receiver<Event>), Error> {
        let clock: SharedClock = Arc::new(WallClock);
        let state = self.common.find_state()?;
        let stored = StoredRun::find(&self.run, &state)?;
        let loaded = stored.load(&self.common.set, vec![])?;
        let start = Start::rest_of(stored, loaded)?;
        begin(start.open(&state, &clock, |_| Ok(None))?, clock)
    }
}

impl RetryBuilder {
    /// Leaves out tasks that were not finished when the run ended.
    #[must_use]
    pub fn only_failed(mut self) -> Self {
        self.only_failed = true;
        self
    }

    /// Sets a key over the settings, as [`RunBuilder::set`]; those of the first run stay.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.common = self.common.set(set);
        self
    }

    /// Sets the state folder, as [`RunBuilder::state`].
    #[must_use]
    pub fn state(mut self, folder: impl AsRef<Path>) -> Self {
        self.common = self.common.state(folder);
        self
    }

    /// Starts the new run, as [`RunBuilder::start`].
    ///
    /// # Errors
    /// [`UsageError::NotEnded`](crate::UsageError::NotEnded) if the run has not ended,
    /// [`NothingToDo`](crate::NothingToDo) if every task succeeded; otherwise as [`RunBuilder::start`].
    pub fn start(self) -> Result<(Run, async_channel::Receiver<Event>), Error> {
        let clock: SharedClock = Arc::new(WallClock);
        let state = self.common.find_state()?;
        let stored = StoredRun::find(&self.run, &state)?;
        let load = || stored.load(&self.common.set, vec![]);
        let start = Start::retry_of(&stored, self.only_failed, load, &surroundings(&state, &clock))?;
        begin(start.open(&state, &clock, |_| Ok(None))?, clock)
    }
}

/// Asks no questions, and logs notes.
fn surroundings<'a>(state: &'a State, clock: &'a SharedClock) -> StartContext<'a> {
    StartContext { state, clock, ask: &|_| true, note: &|note| tracing::info!("{note}") }
}

/// Starts the actors of a run in a thread of their own.
fn begin(session: RunSession, clock: SharedClock) -> Result<(Run, async_channel::Receiver<Event>), Error> {
    let name = session.plan.run.clone();
    let (reported, report) = async_channel::bounded(1);
    let (started, starting) = std::sync::mpsc::channel();
    in_a_thread("dropmill-run", move || async move {
        let active: ActiveRun = match session.begin(&clock) {
            Ok(active) => active,
            Err(error) => {
                let _ = started.send(Err(Error::from(error)));
                return;
            }
        };
        let _ = started.send(Ok((active.canceller(), active.events())));
        let _ = reported.send(active.finished().await.map_err(Error::from)).await;
    })?;
    let (canceller, events) = starting.recv().map_err(|_| Error::ThreadEnded("run"))??;
    Ok((Run { name, canceller, report }, events))
}
