//! One life of a run: from its folder in the state to its actors at work. A run that was cut off has another.

use crate::{
    again::begin_record,
    commands::{Mistake, services},
    plan::stored,
    record::Record,
    settings::{Loaded, ServiceKind, Task, load},
    state::{RunFolder, State, write_private},
};
use anyhow::{Context, Result, bail};
use dropmill_actors::{
    Canceller, Feeder, RunHandle, RunParts, Services,
    inputs::{Inputs, PathInputs},
    place::{DiskPlace, ResultPlace},
};
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{
    Journal, RunHeader,
    event::Event,
    past::RecoveredRun,
    report::{Report, ReportFold},
};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_local_azure::service::LocalAzure;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Ending of a folder that is of no use any more.
const GONE: &str = "gone";
/// How long the end of a run waits for the removal of such a folder.
const REMOVING: Duration = Duration::from_millis(500);
/// What the tasks of a drop folder's run do, beside its plan.
const TASK: &str = "task.json";

/// A run with its folder, ready to be carried out.
pub struct Life {
    /// The settings that its services are reached by.
    pub loaded: Loaded,
    /// What it does.
    pub plan: RunPlan,
    /// What its earlier lives left in its journal, if it had any.
    pub earlier: Option<Vec<Event>>,
    /// Where its requests are kept, if they are.
    pub record: Option<Record>,
    journal: Journal,
    folder: RunFolder,
}

/// A run that was made before.
pub struct Found {
    /// Its folder.
    pub path: PathBuf,
    /// What its journal says of itself.
    pub header: RunHeader,
    /// What it did.
    pub plan: RunPlan,
    /// What it said.
    pub events: Vec<Event>,
}

/// A run at work in the current actix system.
pub struct AtWork {
    run: RunHandle,
    embedded: Option<LocalAzure>,
    folder: RunFolder,
    record: Option<Record>,
}

impl Life {
    /// The first life of a run.
    pub fn first(
        loaded: Loaded,
        plan: RunPlan,
        watch: Option<PathBuf>,
        state: &State,
        clock: &SharedClock,
    ) -> Result<Self> {
        drop(sweep(state));
        begin_record(&plan, state)?;
        let folder = state.new_run(&plan.run, clock.now())?;
        let body = stored::to_bytes(&plan)?;
        write_private(&folder.path.join("plan.json"), &body)?;
        let header = RunHeader {
            file: Some(fs::canonicalize(&loaded.file)?),
            set: loaded.set.clone(),
            service: identity(&loaded),
            watch,
            ..RunHeader::of(&plan.run, &plan.name, clock.now(), &hash(&body))
        };
        if header.watch.is_some() {
            // Items that come while it goes on are made again from this, whatever the run file says then.
            write_private(&folder.path.join(TASK), &serde_json::to_vec_pretty(&loaded.settings.task)?)?;
        }
        let journal = Journal::create(&folder.path.join("journal.db"), &header)?;
        Ok(Self { loaded, plan, earlier: None, record: None, journal, folder })
    }

    /// Goes on with a run that was cut off, as it was planned.
    pub fn next(found: Found, loaded: Loaded, state: &State, clock: &SharedClock) -> Result<Self> {
        same_service(&found.header, &loaded)?;
        let folder = state.hold_run(&found.path, clock.now())?;
        // Read again now that nobody else writes.
        let (journal, _, events) = Journal::open(&found.path.join("journal.db"))?;
        Ok(Self { loaded, plan: found.plan, earlier: Some(events), record: None, journal, folder })
    }

    /// Puts the actors to work.
    pub fn begin(self, clock: &SharedClock) -> Result<AtWork> {
        let (services, embedded) =
            services::open(&self.loaded, &self.folder.path.join("service"), clock, self.record.as_ref())?;
        if let Some(service) = embedded.clone() {
            actix::spawn(async move { service.alarms().await });
        }
        Ok(AtWork { embedded, ..self.begin_on(services, clock) })
    }

    fn begin_on(self, services: Services, clock: &SharedClock) -> AtWork {
        let place = Arc::new(DiskPlace::of(&self.plan));
        self.begin_with(services, place, Arc::new(PathInputs), clock)
    }

    /// Starts the actors on services, results and inputs that are shared with others.
    pub fn begin_with(
        self,
        services: Services,
        place: Arc<dyn ResultPlace>,
        inputs: Arc<dyn Inputs>,
        clock: &SharedClock,
    ) -> AtWork {
        let parts = RunParts {
            plan: self.plan,
            services,
            place,
            inputs,
            journal: self.journal,
            clock: clock.clone(),
            earlier: self.earlier,
        };
        AtWork { run: parts.start(), embedded: None, folder: self.folder, record: self.record }
    }
}

impl Found {
    /// Reads a run's folder; every event is checked.
    pub fn at(path: &Path) -> Result<Self> {
        let (header, events) = Journal::read(&path.join("journal.db"))?;
        let file = path.join("plan.json");
        let body = dropmill_private_files::read(&file)?;
        if hash(&body) != header.plan {
            bail!(
                "{} is not the plan that the run's journal names: restore it from a copy, or start a new run",
                file.display()
            );
        }
        let plan = stored::from_bytes(&file, &body)?;
        Ok(Self { path: path.to_owned(), header, plan, events })
    }

    /// What its events tell.
    pub fn past(&self) -> RecoveredRun {
        RecoveredRun::of(&self.events)
    }

    /// Removes what a life that was cut off in its last moments, after the end of its run, had no time to remove.
    pub fn tidy(&self, state: &State, clock: &SharedClock) -> Result<()> {
        let service = self.path.join("service");
        if self.past().ended.is_some()
            && service.exists()
            && ReportFold::of(&self.events).left_behind.is_empty()
        {
            let _held = state.hold_run(&self.path, clock.now())?;
            clear(&service)?;
        }
        // Empty, or something in it waits to be looked at.
        let _ = fs::remove_dir(DiskPlace::staging(&self.plan.run, &self.plan.output));
        Ok(())
    }

    /// What tasks do that are made while it goes on.
    pub fn task(&self) -> Result<Task> {
        let file = self.path.join(TASK);
        let body = dropmill_private_files::read(&file)?;
        serde_json::from_slice(&body).with_context(|| format!("read {}", file.display()))
    }

    /// The run file as it is now.
    pub fn load(&self, environment: Vec<(String, String)>) -> Result<Loaded> {
        let run = &self.header.run;
        let file = self.header.file.as_ref();
        let file = file.with_context(|| format!("the journal of run {run} names no run file"))?;
        Ok(load(file, &self.header.set, environment)?)
    }
}

impl AtWork {
    /// Every event once it is durable, in order.
    pub fn events(&self) -> async_channel::Receiver<Event> {
        self.run.events()
    }

    /// Somebody else's means to end the run.
    pub fn canceller(&self) -> Canceller {
        self.run.canceller()
    }

    /// Somebody else's means to add tasks, if the plan is open-ended.
    pub fn feeder(&self) -> Feeder {
        self.run.feeder()
    }

    /// Its embedded service, if it has one.
    pub fn embedded(&self) -> Option<LocalAzure> {
        self.embedded.clone()
    }

    /// Waits for the end; events must be received meanwhile.
    pub async fn finished(self) -> Result<Report> {
        let (canceller, events) = (self.run.canceller(), self.run.events().downgrade());
        let mut finished = std::pin::pin!(self.run.finished());
        let finished = tokio::select! {
            finished = &mut finished => finished,
            gone = crate::state::taken_away(self.folder.path.clone()) => {
                match &self.embedded {
                    // It is gone with its folder: nobody can end the run in order.
                    Some(service) => service.stop(),
                    None => {
                        canceller.cancel(&gone.to_string());
                        let _ = finished.await;
                    }
                }
                // No last event will come: whoever listens is not to wait for it.
                if let Some(events) = events.upgrade() {
                    events.close();
                }
                return Err(gone);
            }
        };
        if let Some(service) = self.embedded {
            service.stop();
        }
        let report = finished.context("the run could not be carried to its end")?;
        if let Some(record) = &self.record {
            record.end(&self.folder.path.join("journal.db"))?;
        }
        // What is still there only then is what was asked to be kept, or could not be delivered.
        if report.left_behind.is_empty() {
            discard(&self.folder.path.join("service"));
        }
        Ok(report)
    }
}

/// Removes a folder for a moment, and leaves the rest of it to the next start: a run that is over does not wait for the
/// folders of a thousand tasks.
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

/// Removes what earlier runs had no time to remove, while this one begins.
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

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn hash(body: &[u8]) -> String {
    Sha256::digest(body).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Checks that a run file still names the service of a run.
pub fn same_service(header: &RunHeader, loaded: &Loaded) -> Result<()> {
    let service = identity(loaded);
    if service != header.service {
        let told = format!(
            "run {} uses {}, the run file now names {service}: what it made is not there, so it cannot go on",
            header.run, header.service
        );
        return Err(Mistake(told).into());
    }
    Ok(())
}

/// Which services a run file names, without a secret.
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_of_no_use_is_out_of_its_place_at_once_and_removed_by_the_next_start_at_the_latest() {
        let state = tempfile::tempdir().unwrap();
        let run = state.path().join("runs/r");
        for number in 0..50 {
            fs::create_dir_all(run.join(format!("service/nodes/{number}"))).unwrap();
        }
        discard(&run.join("service"));
        assert!(!run.join("service").exists());
        discard(&run.join("service"));
        // As if the program had ended before it was removed.
        fs::create_dir_all(run.join("service.gone/nodes/1")).unwrap();
        let removing = sweep(&State::at(Some(state.path().to_owned())).unwrap());
        removing.join().unwrap();
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    }
}
