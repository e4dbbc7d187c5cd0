//! The work of one process on a run: from the run's folder in the state folder to its running actors. An
//! interrupted run is resumed by another session.

use crate::{
    again::begin_record,
    control::LiveRun,
    error::UsageError,
    logs::LogSource,
    plan::stored,
    record::Record,
    services::{self, Embedded},
    settings::{Loaded, ServiceKind},
    state::{RunFolder, State, write_private},
    stored_run::{LOGS, SETTINGS, STANDARD_INPUT, StoredRun, StoredSettings, TASK, hash},
};
use anyhow::Result;
use dropmill_actors::{
    Canceller, Feeder, RunHandle, RunParts, Services,
    inputs::{Inputs, PathInputs},
    place::{DiskPlace, ResultPlace},
};
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{Journal, RunHeader, event::Event, report::Report};
use dropmill_lifecycle::plan::RunPlan;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Suffix of a folder that is no longer needed.
const GONE: &str = "gone";
/// Longest time that the end of a run waits for the removal of such a folder.
const REMOVING: Duration = Duration::from_millis(500);
/// A run whose folder this process has locked, before its actors are started.
pub struct RunSession {
    /// The settings that name the service.
    pub loaded: Loaded,
    /// The plan of the run.
    pub plan: RunPlan,
    /// The journal of previous sessions, if there were any.
    pub earlier: Option<Vec<Event>>,
    /// The recording of requests and responses, if one is made.
    pub record: Option<Record>,
    /// Whether other processes of the same user can control the run through a socket in its folder.
    pub control: bool,
    journal: Journal,
    folder: RunFolder,
}

/// A run whose actors are running in the current actix system.
pub struct ActiveRun {
    run: RunHandle,
    embedded: Option<Embedded>,
    folder: RunFolder,
    record: Option<Record>,
    control: Option<LiveRun>,
}

impl RunSession {
    /// Creates the folder of a new run.
    ///
    /// # Errors
    /// Fails if a feature is missing, or the folder, the plan or the journal cannot be written.
    pub fn first(
        loaded: Loaded,
        plan: RunPlan,
        watch: Option<PathBuf>,
        state: &State,
        clock: &SharedClock,
    ) -> Result<Self> {
        services::check(&loaded.settings)?;
        drop(sweep(state));
        begin_record(&plan, state)?;
        let folder = state.new_run(&plan.run, clock.now())?;
        let body = stored::to_bytes(&plan)?;
        write_private(&folder.path.join("plan.json"), &body)?;
        let header = RunHeader {
            file: Some(loaded.identity()?),
            set: loaded.set.clone(),
            service: identity(&loaded),
            watch,
            ..RunHeader::new(&plan.run, &plan.name, clock.now(), &hash(&body))
        };
        if header.watch.is_some() {
            // Items that are added later use these settings, even if the run file has changed by then.
            write_private(&folder.path.join(TASK), &serde_json::to_vec_pretty(&loaded.settings.task)?)?;
        }
        if let Some(list) = loaded.known_standard_input() {
            write_private(&folder.path.join(STANDARD_INPUT), list)?;
        }
        if loaded.file.is_none() {
            let stored = StoredSettings { base: loaded.base.clone(), settings: loaded.settings.clone() };
            write_private(&folder.path.join(SETTINGS), &serde_json::to_vec_pretty(&stored)?)?;
        }
        let journal = Journal::create(&folder.path.join("journal.db"), &header)?;
        Ok(Self { loaded, plan, earlier: None, record: None, control: false, journal, folder })
    }

    /// Resumes a run that was interrupted, as it was planned.
    ///
    /// # Errors Fails if a feature is missing, the settings name another service, another process works on
    /// the run, or its journal cannot be read.
    pub fn next(stored: StoredRun, loaded: Loaded, state: &State, clock: &SharedClock) -> Result<Self> {
        services::check(&loaded.settings)?;
        same_service(&stored.header, &loaded)?;
        let folder = state.hold_run(&stored.path, clock.now())?;
        // The journal is read again, now that no other process writes to it.
        let (journal, _, events) = Journal::open(&stored.path.join("journal.db"))?;
        let earlier = Some(events);
        Ok(Self { loaded, plan: stored.plan, earlier, record: None, control: false, journal, folder })
    }

    /// Opens the services and starts the actors.
    ///
    /// # Errors
    /// Fails if the services cannot be opened.
    pub fn begin(self, clock: &SharedClock) -> Result<ActiveRun> {
        let (services, embedded) =
            services::open(&self.loaded, &self.folder.path.join("service"), clock, self.record.as_ref())?;
        if let Some(service) = &embedded {
            actix::spawn(service.clone().alarms());
        }
        let mut active = self.begin_on(services, clock);
        if let (Some(control), Some(service)) = (&active.control, &embedded) {
            let service = service.clone();
            control.before_exit(move || service.stop());
        }
        active.embedded = embedded;
        Ok(active)
    }

    fn begin_on(self, services: Services, clock: &SharedClock) -> ActiveRun {
        let place = Arc::new(DiskPlace::of(&self.plan, Some(self.folder.path.join(LOGS))));
        self.begin_with(services, place, Arc::new(PathInputs), clock)
    }

    /// Starts the actors with services, results and inputs that are shared with other runs.
    pub fn begin_with(
        self,
        services: Services,
        place: Arc<dyn ResultPlace>,
        inputs: Arc<dyn Inputs>,
        clock: &SharedClock,
    ) -> ActiveRun {
        let logs = self.control.then(|| LogSource::new(services.clone(), &self.plan, &self.folder.path));
        let parts = RunParts {
            plan: self.plan,
            services,
            place,
            inputs,
            journal: self.journal,
            clock: clock.clone(),
            earlier: self.earlier,
        };
        let run = parts.start();
        let control = logs.and_then(|logs| LiveRun::listen(logs, &self.folder.path, run.canceller()));
        ActiveRun { run, embedded: None, folder: self.folder, record: self.record, control }
    }
}

impl ActiveRun {
    /// Returns a receiver of every event once it is durable, in order.
    pub fn events(&self) -> async_channel::Receiver<Event> {
        self.run.events()
    }

    /// Returns a handle that cancels the run.
    pub fn canceller(&self) -> Canceller {
        self.run.canceller()
    }

    /// Returns a handle that adds tasks, if the plan is open-ended.
    pub fn feeder(&self) -> Feeder {
        self.run.feeder()
    }

    /// Returns the embedded service of the run, if it has one.
    #[cfg(feature = "cli")]
    pub fn embedded(&self) -> Option<Embedded> {
        self.embedded.clone()
    }

    /// Waits for the end; events must be received meanwhile.
    ///
    /// # Errors
    /// Fails if the run has no report, or its folder was removed.
    pub async fn finished(self) -> Result<Report> {
        let (canceller, events) = (self.run.canceller(), self.run.events().downgrade());
        let mut finished = std::pin::pin!(self.run.finished());
        let finished = tokio::select! {
            finished = &mut finished => finished,
            gone = crate::state::taken_away(self.folder.path.clone()) => {
                match &self.embedded {
                    // The service's state was removed with the folder, so the run cannot be ended normally.
                    Some(service) => service.stop(),
                    None => {
                        canceller.cancel(&gone.to_string());
                        let _ = finished.await;
                    }
                }
                // There will be no last event, and receivers must not wait for it.
                if let Some(events) = events.upgrade() {
                    events.close();
                }
                return Err(gone.into());
            }
        };
        if let Some(service) = self.embedded {
            service.stop();
        }
        let report = finished?;
        if let Some(record) = &self.record {
            record.end(&self.folder.path.join("journal.db"))?;
        }
        // Otherwise, something remains that was to be kept or could not be delivered.
        if report.left_behind.is_empty() {
            discard(&self.folder.path.join("service"));
        }
        Ok(report)
    }
}

/// Removes a folder for at most half a second, and leaves the rest to the next start: the end of a run does
/// not wait for the removal of a thousand task folders.
pub fn discard(folder: &Path) {
    let gone = folder.with_extension(GONE);
    if let Err(error) = fs::rename(folder, &gone) {
        if error.kind() != std::io::ErrorKind::NotFound {
            tracing::warn!(%error, folder = %folder.display(), "not removed: the next start removes it");
        }
        return;
    }
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = fs::remove_dir_all(&gone);
        drop(done);
    });
    let _ = is_done.recv_timeout(REMOVING);
}

/// Removes what previous runs had no time to remove, in the background.
pub fn sweep(state: &State) -> std::thread::JoinHandle<()> {
    let runs = state.folder().join("runs");
    std::thread::spawn(move || {
        for run in fs::read_dir(runs).into_iter().flatten().flatten() {
            let gone = run.path().join("service").with_extension(GONE);
            if gone.exists() {
                let _ = fs::remove_dir_all(gone);
            }
        }
    })
}

/// Checks that the settings still name the service of a run.
///
/// # Errors
/// Fails if they name another one.
pub fn same_service(header: &RunHeader, loaded: &Loaded) -> Result<(), UsageError> {
    let now = identity(loaded);
    match now == header.service {
        true => Ok(()),
        false => {
            Err(UsageError::ServiceChanged { run: header.run.clone(), was: header.service.clone(), now })
        }
    }
}

/// Returns the service that the settings name, without a secret.
fn identity(loaded: &Loaded) -> String {
    let service = &loaded.settings.service;
    match service.kind {
        ServiceKind::Embedded => "the embedded service".into(),
        ServiceKind::Azure => {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            format!(
                "{} ({}), {} ({})",
                text(&service.batch_endpoint),
                text(&service.batch_account),
                text(&service.blob_endpoint),
                text(&service.storage_account)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_needed_is_renamed_at_once_and_removed_at_the_latest_by_the_next_start() {
        let state = tempfile::tempdir().unwrap();
        let run = state.path().join("runs/r");
        for number in 0..50 {
            fs::create_dir_all(run.join(format!("service/nodes/{number}"))).unwrap();
        }
        discard(&run.join("service"));
        assert!(!run.join("service").exists());
        discard(&run.join("service"));
        // As if the program had ended before the folder was removed.
        fs::create_dir_all(run.join("service.gone/nodes/1")).unwrap();
        let removing = sweep(&State::at(Some(state.path().to_owned())).unwrap());
        removing.join().unwrap();
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    }
}
