//! Uploads application and input files as blobs.
//!
//! Containers are created first, then the application is uploaded (the pool waits for it), then the inputs;
//! each step is retried separately. At the end it deletes the containers, or reports that they are kept.

mod awaited;
mod grouped;
mod inputs_of_tasks;
mod uploading;

pub use uploading::{blob_name, is_own};

use crate::{
    inputs::Inputs,
    item_list::ItemList,
    job_submitter::{ApplicationUp, JobSubmitter},
    liveness::LivenessGuard,
    pool_keeper::{PoolHappened, PoolKeeper},
    record::{Recorder, retrying},
    run_context::RunContext,
    run_keeper::{RunHappened, RunKeeper},
    self_upload,
    services::Services,
    shell::{DrivesMany, Shells},
    task_monitor::{TaskAdded, TaskMonitor},
};
use actix::prelude::*;
use awaited::{Awaited, SharedFile, own_files};
use dropmill_journal::{
    event::{EventKind, Role, Subject},
    past::RecoveredRun,
};
use dropmill_lifecycle::{
    Elapsed, Failure, FailureKind,
    plan::RunPlan,
    pool::PoolEvent,
    retry::{Retry, RetryCommand, RetryEvent, RetryLimits, RetryState},
    run::RunEvent,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
};
use tokio::sync::Mutex;
use uploading::{upload, upload_input, upload_shared};

const ME: Role = Role::StorageUploader;

/// The actor that uploads files.
pub struct StorageUploader {
    plan: Rc<RunPlan>,
    item_list: ItemList,
    services: Services,
    inputs: Arc<dyn Inputs>,
    record: Recorder,
    to: Listeners,
    shells: Shells<Retry>,
    work: Vec<Work>,
    /// Uploads that can start when a slot is free.
    queue: VecDeque<u32>,
    in_flight: u32,
    bytes_in_flight: u64,
    containers_open: u32,
    containers_up: bool,
    application_open: u32,
    deleting_open: u32,
    ending: bool,
    /// Serializes requests about each container.
    turns: [Arc<Mutex<()>>; 4],
    started: u64,
    /// State that previous processes of the run recorded.
    past: Rc<RecoveredRun>,
    /// Blobs found by this process, with their lengths: the recorded uploads of a previous process are
    /// checked.
    found: BTreeMap<String, u64>,
    /// The uploads that each task waits for.
    awaited: Awaited,
    /// Files that tasks share and that this process uploads or has uploaded.
    shared: Vec<SharedFile>,
    /// Inputs of tasks for several that became tasks of their own in this process.
    singles: BTreeSet<u32>,
    _guard: LivenessGuard,
}

/// The actors that it notifies.
pub struct Listeners {
    /// Waits for the application.
    pub pool: Addr<PoolKeeper>,
    /// Waits for the application too, if tasks contain it.
    pub job: Addr<JobSubmitter>,
    /// Waits for the inputs.
    pub tasks: Addr<TaskMonitor>,
    /// Is notified of fatal failures.
    pub run: Addr<RunKeeper>,
}

struct Work {
    what: What,
    state: RetryState,
    skipped: bool,
    /// Whether the container may exist: a request was sent, and no response said that it did nothing.
    may_stand: bool,
    /// The response to an attempt was lost, so the responses to later attempts prove nothing.
    maybe_applied: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Container(ContainerKind),
    Application(u32),
    Input(u32),
    /// A file that tasks share.
    Shared(u32),
    /// A check for what a previous process uploaded.
    Survey(ContainerKind),
    Deletion(ContainerKind),
}

#[derive(Clone, Copy, PartialEq)]
enum ContainerKind {
    Application,
    Input,
    Output,
    /// The containers of all attempts, to which tasks upload their results. The submitter creates them.
    Attempts,
}

/// Starts the uploads; contains the number of the event that started the run.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StartUploads(pub u64);

/// The run ends: start no more uploads.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EndUploads;

/// Deletes or keeps the containers.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CleanContainers {
    /// Whether to delete them.
    pub delete: bool,
}

impl StorageUploader {
    /// Creates the uploader of one run.
    pub fn new(context: RunContext, to: Listeners, guard: LivenessGuard) -> Self {
        let RunContext { plan, item_list, services, inputs, record, past } = context;
        let limits = RetryLimits { whole: plan.deadlines.upload, delays: plan.delays.until_deadline() };
        Self {
            plan,
            item_list,
            services,
            inputs,
            record,
            to,
            shells: Shells::new(limits),
            work: vec![],
            queue: VecDeque::new(),
            in_flight: 0,
            bytes_in_flight: 0,
            containers_open: 0,
            containers_up: false,
            application_open: 0,
            deleting_open: 0,
            ending: false,
            turns: Default::default(),
            started: past.started,
            past,
            found: BTreeMap::new(),
            awaited: Awaited::default(),
            shared: vec![],
            singles: BTreeSet::new(),
            _guard: guard,
        }
    }

    fn kinds(&self) -> Vec<ContainerKind> {
        let mut kinds = vec![ContainerKind::Output];
        if self.plan.open_ended
            || self.plan.grouping.is_some()
            || self.plan.items.iter().any(|item| item.source.is_some() || !item.more_files.is_empty())
        {
            kinds.insert(0, ContainerKind::Input);
        }
        if !self.plan.application.is_empty() {
            kinds.insert(0, ContainerKind::Application);
        }
        kinds
    }

    fn container(&self, kind: ContainerKind) -> String {
        match kind {
            ContainerKind::Application => self.plan.app_container(),
            ContainerKind::Input => self.plan.input_container(),
            ContainerKind::Output => self.plan.output_container(),
            ContainerKind::Attempts => format!("{}-*", self.plan.run),
        }
    }

    fn add(&mut self, what: What) -> u32 {
        let state = RetryState::Waiting;
        self.work.push(Work { what, state, skipped: false, may_stand: false, maybe_applied: false });
        u32::try_from(self.work.len() - 1).expect("a run has fewer than 2^32 files")
    }

    /// Returns whether this process may have created the container.
    fn may_stand(&self, kind: ContainerKind) -> bool {
        self.work.iter().any(|work| work.what == What::Container(kind) && work.may_stand)
    }

    fn size(&self, what: What) -> u64 {
        match what {
            What::Application(index) => self.plan.application[index as usize].size_bytes,
            What::Input(index) => {
                let item = self.item_list.item(index);
                match item.whole_folder || item.members().is_some() {
                    true => item.size_bytes,
                    false => own_files(&item).iter().map(|(_, bytes)| bytes).sum(),
                }
            }
            What::Shared(index) => self.shared[index as usize].size_bytes,
            What::Container(_) | What::Survey(_) | What::Deletion(_) => 0,
        }
    }

    /// Starts uploads within the limits of count and bytes; a single larger file is always allowed.
    fn fill(&mut self, ctx: &mut Context<Self>) {
        while let Some(&number) = self.queue.front() {
            let size = self.size(self.work[number as usize].what);
            let room = self.in_flight < self.plan.limits.uploads
                && (self.bytes_in_flight == 0
                    || self.bytes_in_flight + size <= self.plan.limits.upload_bytes);
            if self.ending || !room {
                return;
            }
            self.queue.pop_front();
            self.happened(number, RetryEvent::Begun, ctx);
        }
    }

    fn subject(&self, what: What) -> Subject {
        match what {
            What::Container(kind) | What::Survey(kind) | What::Deletion(kind) => {
                Subject::Container(self.container(kind))
            }
            What::Application(index) => Subject::File(self.plan.application[index as usize].name.clone()),
            What::Input(index) => Subject::of_task(&self.item_list.item(index).task),
            What::Shared(index) => Subject::File(self.shared[index as usize].blob.clone()),
        }
    }

    fn call(&mut self, number: u32, what: What, ctx: &mut Context<Self>) {
        let blob = self.services.blob.clone();
        let answer = move |outcome: Result<bool, Failure>, uploader: &mut Self, ctx: &mut Context<Self>| {
            let event = match outcome {
                Ok(skipped) => {
                    uploader.work[number as usize].skipped = skipped;
                    RetryEvent::Succeeded
                }
                Err(failure) => RetryEvent::TryFailed(failure),
            };
            uploader.happened(number, event, ctx);
            uploader.fill(ctx);
        };
        match what {
            What::Container(kind) => {
                let container = self.container(kind);
                let turn = self.turns[kind as usize].clone();
                // If a previous process created it, it is only checked: a creation that arrives late, after a
                // crash and the end of the run, would leave a container.
                let known = self.past.containers.contains(&container);
                let call = async move {
                    let _turn = turn.lock().await;
                    let there =
                        known && blob.container_exists(&container).await.map_err(|error| error.failure())?;
                    match there {
                        true => Ok(true),
                        false => blob.create_container(&container).await.map_err(|error| error.failure()),
                    }
                };
                ctx.spawn(call.into_actor(self).map(answer));
            }
            What::Survey(kind) => {
                let container = self.container(kind);
                let call = async move { blob.list_blobs(&container, "").await };
                ctx.spawn(call.into_actor(self).map(move |outcome, uploader, ctx| {
                    let outcome = outcome.map_err(|error| error.failure()).map(|blobs| {
                        uploader.found.extend(blobs.into_iter().map(|blob| (blob.name, blob.size_bytes)));
                        false
                    });
                    answer(outcome, uploader, ctx);
                }));
            }
            What::Deletion(kind) => {
                let (container, plan) = (self.container(kind), self.plan.clone());
                let turn = self.turns[kind as usize].clone();
                let call = async move {
                    // Otherwise a creation in flight could arrive afterwards.
                    let _turn = turn.lock().await;
                    if kind == ContainerKind::Attempts {
                        return self_upload::delete_all(&blob, &plan).await.map(|()| false);
                    }
                    match blob.delete_container(&container).await {
                        Ok(()) => Ok(false),
                        Err(error) if error.is_not_found() => Ok(true),
                        Err(error) => Err(error.failure()),
                    }
                };
                ctx.spawn(call.into_actor(self).map(answer));
            }
            What::Application(index) => {
                let file = &self.plan.application[index as usize];
                let (container, name) = (self.plan.app_container(), file.name.clone());
                let source = file.source.clone();
                ctx.spawn(upload(blob, container, name, source).into_actor(self).map(answer));
            }
            What::Shared(index) => {
                let SharedFile { blob: name, source, .. } = self.shared[index as usize].clone();
                let (container, inputs) = (self.plan.input_container(), self.inputs.clone());
                let upload = upload_shared(blob, container, inputs, (name, source));
                ctx.spawn(upload.into_actor(self).map(answer));
            }
            What::Input(index) => {
                let (item, inputs) = (self.item_list.item(index), self.inputs.clone());
                let container = self.plan.input_container();
                if item.chunk.is_some() {
                    let files = grouped::own_files(&self.plan, &item);
                    let upload = grouped::upload(blob, container, inputs, files);
                    ctx.spawn(upload.into_actor(self).map(answer));
                } else {
                    let upload = upload_input(blob, container, inputs, (*item).clone());
                    ctx.spawn(upload.into_actor(self).map(answer));
                }
            }
        }
    }

    fn done(&mut self, number: u32, what: What, ctx: &mut Context<Self>) {
        let skipped = self.work[number as usize].skipped;
        let cause = Some(self.started);
        self.to.run.do_send(RunHappened(RunEvent::Progressed));
        match what {
            What::Container(kind) => {
                let known = self.past.containers.contains(&self.container(kind));
                if !known {
                    self.record.note(ME, self.subject(what), cause, EventKind::ContainerReady {});
                }
                if known && kind != ContainerKind::Output {
                    let number = self.add(What::Survey(kind));
                    return self.happened(number, RetryEvent::Begun, ctx);
                }
                self.container_ready(ctx);
            }
            What::Survey(_) => self.container_ready(ctx),
            What::Application(_) => {
                let bytes = self.size(what);
                let kind = EventKind::ApplicationUploaded { bytes, skipped };
                let seq = self.record.note(ME, self.subject(what), cause, kind);
                self.application_open -= 1;
                if self.application_open == 0 {
                    self.application_ready(seq);
                }
            }
            What::Input(index) => {
                if self.awaited.own_uploaded(index) {
                    self.input_ready(index, true, skipped);
                }
            }
            What::Shared(index) => {
                let bytes = self.size(what);
                let kind = EventKind::SharedFileUploaded { bytes, skipped };
                self.record.note(ME, self.subject(what), cause, kind);
                let blob = self.shared[index as usize].blob.clone();
                for index in self.awaited.shared_uploaded(&blob) {
                    self.input_ready(index, false, false);
                }
            }
            What::Deletion(kind) => {
                // A resumed run tries every name: a container that never existed is not reported as deleted.
                if !skipped || self.may_stand(kind) || self.past.containers.contains(&self.container(kind)) {
                    self.record.note(ME, self.subject(what), cause, EventKind::ContainerDeleted {});
                }
                self.deleted();
            }
        }
    }

    fn failed(&mut self, what: What, failure: Failure, ctx: &mut Context<Self>) {
        match what {
            // A file that is not found is uploaded again.
            What::Survey(_) => self.container_ready(ctx),
            What::Container(_) | What::Application(_) => {
                self.to.run.do_send(RunHappened(RunEvent::Lost(failure)));
            }
            What::Input(index) => {
                if self.awaited.own_failed(index) {
                    self.input_failed(index, failure);
                }
            }
            What::Shared(index) => {
                let blob = self.shared[index as usize].blob.clone();
                for index in self.awaited.shared_failed(&blob, &failure) {
                    self.input_failed(index, failure.clone());
                }
            }
            What::Deletion(_) => {
                let kind = EventKind::LeftBehind { reason: failure.message };
                self.record.note(ME, self.subject(what), Some(self.started), kind);
                self.deleted();
            }
        }
    }

    fn container_ready(&mut self, ctx: &mut Context<Self>) {
        self.containers_open -= 1;
        if self.containers_open > 0 {
            return;
        }
        self.containers_up = true;
        // The application first: the pool waits for it, and boots while the inputs are uploaded.
        let plan = self.plan.clone();
        for (index, file) in plan.application.iter().enumerate() {
            if self.is_there(&file.name, self.past.application.get(&file.name)) {
                continue;
            }
            let number = self.add(What::Application(u32::try_from(index).unwrap_or(u32::MAX)));
            self.queue.push_back(number);
            self.application_open += 1;
        }
        if self.application_open == 0 {
            self.application_ready(self.started);
        }
        for item in self.item_list.items() {
            self.want_input(&item);
        }
        self.fill(ctx);
    }

    /// Returns whether a blob that a previous process recorded exists with the same length.
    fn is_there(&self, name: &str, recorded: Option<&u64>) -> bool {
        recorded.is_some() && self.found.get(name) == recorded
    }

    fn application_ready(&self, cause: u64) {
        self.to.job.do_send(ApplicationUp);
        self.to.pool.do_send(PoolHappened { event: PoolEvent::Wanted, cause: Some(cause) });
    }

    fn deleted(&mut self) {
        self.deleting_open -= 1;
        if self.deleting_open == 0 {
            self.to.run.do_send(RunHappened(RunEvent::ContainersDone));
        }
    }

    fn end_uploads(&mut self, ctx: &mut Context<Self>) {
        self.ending = true;
        self.queue.clear();
        for number in 0..self.work.len() {
            self.happened(u32::try_from(number).unwrap_or(u32::MAX), RetryEvent::EndAsked, ctx);
        }
    }
}

impl DrivesMany<Retry> for StorageUploader {
    fn shells(&mut self) -> &mut Shells<Retry> {
        &mut self.shells
    }

    fn machine(&mut self, number: u32) -> Option<(&mut RetryState, &mut Shells<Retry>)> {
        Some((&mut self.work.get_mut(number as usize)?.state, &mut self.shells))
    }

    fn now(&self) -> Elapsed {
        self.record.clock().elapsed()
    }

    fn changed(&mut self, number: u32, before: &RetryState, _: &mut Context<Self>) {
        let work = &self.work[number as usize];
        let size = self.size(work.what);
        match (before.is_trying(), work.state.is_trying()) {
            (false, true) => {
                self.in_flight += 1;
                self.bytes_in_flight += size;
            }
            (true, false) => {
                self.in_flight -= 1;
                self.bytes_in_flight -= size;
            }
            (true, true) | (false, false) => {}
        }
    }

    fn happened(&mut self, number: u32, event: RetryEvent, ctx: &mut Context<Self>) {
        if let RetryEvent::TryFailed(failure) = &event {
            let work = &mut self.work[number as usize];
            work.maybe_applied |= failure.kind == FailureKind::Ambiguous;
            work.may_stand = work.maybe_applied;
        }
        self.drive(number, event, ctx);
        self.set_timer(ctx);
    }

    fn carry_out(&mut self, number: u32, command: RetryCommand, ctx: &mut Context<Self>) {
        let what = self.work[number as usize].what;
        match command {
            RetryCommand::Try => {
                self.work[number as usize].may_stand = true;
                self.call(number, what, ctx);
            }
            RetryCommand::ReportDelay { attempt, rest, failure } => {
                let what_tried = match what {
                    What::Container(_) => "create container",
                    What::Survey(_) => "list container",
                    What::Application(_) | What::Input(_) | What::Shared(_) => "upload",
                    What::Deletion(_) => "delete container",
                };
                let kind = retrying(what_tried, attempt, rest, failure);
                self.record.note(ME, self.subject(what), Some(self.started), kind);
            }
            RetryCommand::ReportDone => self.done(number, what, ctx),
            RetryCommand::ReportFailed(failure) => self.failed(what, failure, ctx),
        }
    }
}

impl Actor for StorageUploader {
    type Context = Context<Self>;
}

impl Handler<StartUploads> for StorageUploader {
    type Result = ();
    fn handle(&mut self, StartUploads(cause): StartUploads, ctx: &mut Context<Self>) {
        self.started = cause;
        let kinds = self.kinds();
        self.containers_open = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
        for kind in kinds {
            let number = self.add(What::Container(kind));
            self.happened(number, RetryEvent::Begun, ctx);
        }
    }
}

impl Handler<TaskAdded> for StorageUploader {
    type Result = ();
    fn handle(&mut self, TaskAdded(index): TaskAdded, ctx: &mut Context<Self>) {
        self.singles.insert(index);
        // Otherwise it is started after the containers are created.
        if self.containers_up && !self.ending {
            let item = self.item_list.item(index);
            self.want_input(&item);
            self.fill(ctx);
        }
    }
}

impl Handler<EndUploads> for StorageUploader {
    type Result = ();
    fn handle(&mut self, _: EndUploads, ctx: &mut Context<Self>) {
        self.end_uploads(ctx);
    }
}

impl Handler<CleanContainers> for StorageUploader {
    type Result = ();
    fn handle(&mut self, CleanContainers { delete }: CleanContainers, ctx: &mut Context<Self>) {
        // A resumed run may still finish uploads that are no longer needed.
        self.end_uploads(ctx);
        let mut kinds = self.kinds();
        let resumed = self.past.lives > 0;
        let shared = self.plan.shared_application.is_some();
        kinds.retain(|kind| {
            !(shared && *kind == ContainerKind::Application) && (resumed || self.may_stand(*kind))
        });
        if self.plan.job.self_upload {
            kinds.push(ContainerKind::Attempts);
        }
        if !delete {
            for kind in &kinds {
                let reason =
                    "kept, as cleanup.containers says or because what tasks left in it is not delivered"
                        .into();
                let subject = self.subject(What::Deletion(*kind));
                self.record.note(ME, subject, Some(self.started), EventKind::LeftBehind { reason });
            }
        }
        if kinds.is_empty() || !delete {
            self.to.run.do_send(RunHappened(RunEvent::ContainersDone));
            return;
        }
        self.deleting_open = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
        for kind in kinds {
            let number = self.add(What::Deletion(kind));
            self.happened(number, RetryEvent::Begun, ctx);
        }
    }
}
