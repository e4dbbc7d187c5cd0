//! Creates tasks from the files of a drop folder, and publishes their results in another folder.
//!
//! Scans are authoritative; notifications only trigger them. The intent to claim a file is durable before the
//! file is moved. From then on the file is in the drop folder, in the work folder, or in its final place, and
//! a later process finds it there.

mod claims;
mod looking;
mod messages;
mod publishing;
mod taking;
pub mod watcher;

pub use messages::{
    Adopt, Drain, DropCounts, Feeders, GetCounts, Leftover, Reload, RescanNow, StreamEnded, StreamEvent,
    StreamOpened,
};
pub use watcher::{ChangedPaths, watch};

use crate::{
    drop_store::{DropStore, Rules, RulesSettings, text_of},
    feeder::Feeder,
    mill::{Mill, MillHappened, MillNotice},
    shell::{DrivesMany, Shells},
};
use actix::prelude::*;
use claims::{Claim, Stream};
use dropmill_journal::DuplicateIndex;
use dropmill_lifecycle::{
    Elapsed,
    arrival::{Arrival, ArrivalCommand, ArrivalEvent, ArrivalLimits, ArrivalState},
    gathering::Gathering,
    mill::MillEvent,
    plan::Item,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The settings of a drop folder.
#[derive(Debug, Clone)]
pub struct DropSettings {
    /// Path of the folder, for notifications and messages.
    pub directory: PathBuf,
    /// Rules for which entries are inputs.
    pub rules: RulesSettings,
    /// Whether a file is complete as soon as it is closed, or moved here.
    pub close_is_enough: bool,
    /// The order in which files are claimed.
    pub order: Order,
    /// Maximum number of files in flight.
    pub max_files: usize,
    /// Maximum number of bytes in flight (a single larger file is always allowed).
    pub max_bytes: u64,
    /// Minimum free space on the work folder's file system, below which no files are claimed.
    pub disk_floor: u64,
    /// Longest time between two scans of the whole folder.
    pub rescan: Duration,
    /// Longest time between two scans if change notifications are unreliable.
    pub poll: Duration,
    /// Files are gathered until none arrived for this long, and then become one run; `None`: they are claimed
    /// as they arrive.
    pub gather: Option<Duration>,
    /// Number of files after which a run accepts no more.
    pub roll_after: u32,
    /// Time without a file after which the current run ends.
    pub idle: Duration,
    /// Whether the input is published with its result.
    pub keep_input: bool,
    /// How to handle a file with the name and content of one that was processed before.
    pub duplicates: Duplicates,
    /// Delays and numbers of attempts.
    pub limits: ArrivalLimits,
}

/// The order in which files are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first seen comes first.
    Fifo,
    /// Sorted by name.
    Name,
    /// The oldest modification time comes first.
    Mtime,
    /// The smallest comes first.
    Size,
}

/// How to handle a file that was already processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// Process it again.
    Rerun,
    /// Move it to the results, with a note that names the earlier one.
    Skip,
    /// Move it to the failures, with the reason.
    Quarantine,
}

/// A file that becomes an item.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// Id of the task.
    pub task: String,
    /// Path below the drop folder, as text.
    pub relative: String,
    /// Current path of the file.
    pub source: PathBuf,
    /// Length in bytes; for a folder, of all its files.
    pub size_bytes: u64,
    /// Whether it is a folder.
    pub whole_folder: bool,
    /// Run of the file.
    pub run: String,
}

/// Creates items according to the run file.
pub type Maker = Arc<dyn Fn(&NewItem) -> Item + Send + Sync>;

/// The parts of a drop folder.
pub struct DropParts {
    /// Settings of the drop folder.
    pub settings: DropSettings,
    /// The folders of the daemon.
    pub store: Arc<dyn DropStore>,
    /// Creates tasks from files.
    pub make: Maker,
    /// Paths that may have changed.
    pub hints: ChangedPaths,
    /// Feeders of the runs.
    pub feeders: Feeders,
    /// Files that were processed before.
    pub known: Rc<DuplicateIndex>,
    /// The mill that opens runs.
    pub mill: Addr<Mill>,
    /// Receives reports for people and programs.
    pub notices: async_channel::Sender<MillNotice>,
}

/// The actor of a drop folder.
pub struct DropFolder {
    settings: DropSettings,
    rules: Rules,
    store: Arc<dyn DropStore>,
    make: Maker,
    mill: Addr<Mill>,
    notices: async_channel::Sender<MillNotice>,
    hints: ChangedPaths,
    feeders: Feeders,
    known: Rc<DuplicateIndex>,
    began: Instant,
    /// Files that were seen but not claimed.
    seen: BTreeMap<PathBuf, (ArrivalState, u64)>,
    /// The stable ones among them, in the order in which they are claimed.
    queue: BTreeSet<((i128, PathBuf), PathBuf)>,
    /// Entries that cannot be inputs, with the reason, which is reported once.
    refused: BTreeMap<PathBuf, Cow<'static, str>>,
    /// Times at which seen files are checked.
    looks: BTreeSet<(Elapsed, PathBuf)>,
    claims: BTreeMap<u32, Claim>,
    by_task: BTreeMap<(String, String), u32>,
    bytes: u64,
    next_claim: u32,
    next_seen: u64,
    /// Identity of the folder: another one may be mounted or moved to its path.
    identity: Option<(u64, u64)>,
    shells: Shells<Arrival>,
    /// Claims of runs that ended before all their files were in their final places.
    leftovers: BTreeMap<String, BTreeSet<u32>>,
    /// Active runs; the current one accepts files.
    streams: BTreeMap<String, Stream>,
    current: Option<String>,
    asked_for_stream: bool,
    /// Claims without a run.
    unassigned: VecDeque<u32>,
    waits: BTreeMap<Blocker, String>,
    gathering: Gathering,
    /// Files that were claimed since the current full scan began; `None` if there is none.
    looking: Option<BTreeSet<PathBuf>>,
    /// Another scan was requested meanwhile.
    look_again: bool,
    /// The file system's notifications are unreliable.
    polls: bool,
    draining: bool,
    drained: bool,
    counts: DropCounts,
    rescan: Option<SpawnHandle>,
    idle: Option<SpawnHandle>,
}

/// The reason why no files are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blocker {
    /// The drop folder cannot be read.
    Folder,
    /// There is too little free space.
    Space,
    /// A file could not be moved.
    Move,
}

impl DropFolder {
    /// Creates the actor of one drop folder.
    pub fn new(parts: DropParts) -> Self {
        let DropParts { settings, store, make, hints, feeders, known, mill, notices } = parts;
        let limits = settings.limits.clone();
        Self {
            rules: Rules::new(settings.rules.clone()),
            gathering: gathering(&settings),
            settings,
            store,
            make,
            mill,
            notices,
            hints,
            feeders,
            known,
            began: Instant::now(),
            seen: BTreeMap::new(),
            queue: BTreeSet::new(),
            refused: BTreeMap::new(),
            looks: BTreeSet::new(),
            claims: BTreeMap::new(),
            by_task: BTreeMap::new(),
            bytes: 0,
            next_claim: 0,
            next_seen: 0,
            identity: None,
            shells: Shells::new(limits),
            leftovers: BTreeMap::new(),
            streams: BTreeMap::new(),
            current: None,
            asked_for_stream: false,
            unassigned: VecDeque::new(),
            waits: BTreeMap::new(),
            looking: None,
            look_again: false,
            polls: false,
            draining: false,
            drained: false,
            counts: DropCounts::default(),
            rescan: None,
            idle: None,
        }
    }

    fn say(&self, line: String) {
        // The program has stopped listening because it ends.
        let _ = self.notices.try_send(MillNotice::Say(line));
    }

    /// Reports once what prevents it from continuing; `None` if nothing of this kind does.
    fn wait_for(&mut self, kind: Blocker, what: Option<String>) {
        if self.waits.get(&kind) == what.as_ref() {
            return;
        }
        if let Some(what) = what {
            self.say(format!("waiting: {what}"));
            self.waits.insert(kind, what);
        } else if let Some(before) = self.waits.remove(&kind) {
            self.say(format!("resumed; no longer waiting for {before}"));
        }
    }

    /// Returns why available files are not processed; `None` if they are.
    fn waits_for(&self) -> Option<String> {
        let gathers = self.gathering.wakes_at(self.waiting()).map(|_| {
            format!("more files, until none arrived for {:?}", self.settings.gather.unwrap_or_default())
        });
        let all: Vec<_> = self.waits.values().cloned().chain(gathers).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn waiting(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    /// Starts everything that can start.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.draining {
            self.park();
        }
        self.assign_runs(ctx);
        self.take_some(ctx);
        self.report_backlog();
        self.watch_idleness(ctx);
        self.close_streams();
        self.set_timer(ctx);
        self.report_drained();
    }

    fn report_drained(&mut self) {
        let busy = !self.claims.is_empty() || !self.streams.is_empty();
        if self.draining && !busy && !std::mem::replace(&mut self.drained, true) {
            self.mill.do_send(MillHappened(MillEvent::Drained));
        }
    }
}

fn gathering(settings: &DropSettings) -> Gathering {
    Gathering::new(settings.gather, settings.roll_after)
}

impl DrivesMany<Arrival> for DropFolder {
    fn shells(&mut self) -> &mut Shells<Arrival> {
        &mut self.shells
    }

    fn machine(&mut self, id: u32) -> Option<(&mut ArrivalState, &mut Shells<Arrival>)> {
        Some((&mut self.claims.get_mut(&id)?.state, &mut self.shells))
    }

    fn now(&self) -> Elapsed {
        Elapsed(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn also_wakes_at(&self) -> Option<Elapsed> {
        let look = self.looks.first().map(|(moment, _)| *moment);
        look.into_iter().chain(self.gathering.wakes_at(self.waiting())).min()
    }

    /// Does not set the timer; `go_on` follows.
    fn happened(&mut self, id: u32, event: ArrivalEvent, ctx: &mut Context<Self>) {
        self.drive(id, event, ctx);
        if self.claims.get(&id).is_some_and(|claim| claim.state == ArrivalState::Over) {
            self.let_go(id);
        }
    }

    fn rang(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        while let Some((moment, relative)) = self.looks.first().cloned() {
            if moment > now {
                break;
            }
            self.looks.remove(&(moment, relative.clone()));
            self.look_at(&relative, false);
        }
        self.ring(ctx);
        self.go_on(ctx);
    }

    fn carry_out(&mut self, id: u32, command: ArrivalCommand, ctx: &mut Context<Self>) {
        match command {
            // A claim is neither queued nor intended again, and is taken together with others.
            ArrivalCommand::Queue | ArrivalCommand::Intend | ArrivalCommand::Take => {}
            ArrivalCommand::Submit => self.submit(id),
            ArrivalCommand::Resubmit => self.unassigned.push_back(id),
            ArrivalCommand::Check => self.check_taken(id, ctx),
            ArrivalCommand::ReportChanged => self.changed(id),
            ArrivalCommand::Publish(outcome) => self.publish(id, outcome, ctx),
            ArrivalCommand::ReportWithdrawn => self.withdraw(id),
            ArrivalCommand::ReportDelay { attempt, rest, cause } => {
                self.discard_results(id);
                let Some(claim) = self.claims.get(&id) else { return };
                let name = text_of(&claim.relative);
                tracing::warn!(file = %name, attempt, ?rest, %cause, "tried again");
                self.say(format!("{name}: {cause}; again in {rest:?}"));
                self.counts.retries += 1;
            }
        }
    }
}

impl Actor for DropFolder {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.listen(ctx);
        self.look_at_all(ctx);
    }
}

impl Handler<RescanNow> for DropFolder {
    type Result = ();
    fn handle(&mut self, _: RescanNow, ctx: &mut Context<Self>) {
        match self.hints.take() {
            Some(paths) => {
                let directory = &self.settings.directory;
                let about = paths.iter().filter_map(|(path, closed)| {
                    Some((self.rules.about(path.strip_prefix(directory).ok()?)?, *closed))
                });
                let about: BTreeMap<PathBuf, bool> = about.collect();
                for (relative, closed) in about {
                    self.look_at(&relative, closed);
                }
                self.go_on(ctx);
            }
            // Too many paths changed.
            None => self.look_at_all(ctx),
        }
    }
}

impl Handler<Drain> for DropFolder {
    type Result = ();
    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) {
        self.draining = true;
        self.go_on(ctx);
    }
}

impl Handler<Reload> for DropFolder {
    type Result = ();
    fn handle(&mut self, Reload(settings, make): Reload, ctx: &mut Context<Self>) {
        self.make = make;
        let directory = std::mem::take(&mut self.settings.directory);
        let (unit, recursive) = (self.settings.rules.unit, self.settings.rules.recursive);
        self.settings = DropSettings { directory, ..settings };
        self.shells.set_limits(self.settings.limits.clone());
        (self.settings.rules.unit, self.settings.rules.recursive) = (unit, recursive);
        self.rules = Rules::new(self.settings.rules.clone());
        self.gathering = gathering(&self.settings);
        // The order and the times of checks may have changed: all seen files are handled as new.
        self.counts.seen -= self.seen.len() as u64;
        self.queue.clear();
        self.looks.clear();
        self.seen.clear();
        self.refused.clear();
        self.current = None;
        self.look_at_all(ctx);
    }
}

impl Handler<GetCounts> for DropFolder {
    type Result = MessageResult<GetCounts>;
    fn handle(&mut self, _: GetCounts, _: &mut Context<Self>) -> Self::Result {
        // A file that changed after its claim waits again, though it is in the work folder.
        let changing =
            self.claims.values().filter(|claim| matches!(claim.state, ArrivalState::Unsettled { .. }));
        let changing = changing.count();
        MessageResult(DropCounts {
            waiting: self.queue.len() as u64,
            unsettled: (self.seen.len() - self.queue.len() + changing) as u64,
            in_flight: (self.claims.len() - changing) as u64,
            bytes_in_flight: self.bytes,
            refused: self.refused.len() as u64,
            waits_for: self.waits_for(),
            ..self.counts.clone()
        })
    }
}

/// The mill opened a run that accepts files.
impl Handler<StreamOpened> for DropFolder {
    type Result = ();
    fn handle(&mut self, opened: StreamOpened, ctx: &mut Context<Self>) {
        let StreamOpened { run, recovered } = opened;
        let Some(feeder) = self.feeders.borrow_mut().remove(&run) else { return };
        let fresh = recovered.is_none();
        self.open_stream(run.clone(), feeder, recovered.unwrap_or_default(), ctx);
        if fresh {
            self.current = Some(run);
            self.asked_for_stream = false;
        }
        self.go_on(ctx);
    }
}

impl DropFolder {
    fn feeder(&self, run: &str) -> Option<&Feeder> {
        self.streams.get(run).map(|stream| &stream.feeder)
    }
}
