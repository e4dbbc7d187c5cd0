//! Claimed files: from the claim through a run to their final places.

use super::{Adopt, DropFolder, Leftover, NewItem, StreamEnded, StreamEvent};
use crate::{
    drop_store::{Unit, path_of, text_of},
    feeder::Feeder,
    mill::{LeftoverDone, MillHappened},
    place::PlaceError,
    shell::DrivesMany,
};
use actix::prelude::*;
use dropmill_journal::{
    event::{DeliveredFile, EventKind, Role, Subject, TaskEnding, Verdict},
    past::{LastWord, RecoveredClaim, RecoveredTask},
};
use dropmill_lifecycle::{
    Elapsed,
    arrival::{ArrivalEvent, ArrivalState, Closing, FileSnapshot},
    mill::MillEvent,
};
use std::{collections::BTreeSet, path::PathBuf};

pub(super) const ME: Role = Role::DropFolder;

/// An active run.
pub struct Stream {
    /// Adds tasks to the run.
    pub feeder: Feeder,
    /// Its files that are not in their final places.
    open: BTreeSet<u32>,
    /// Number of files added to it.
    given: u32,
    /// Maximum number of its open tasks so far.
    backlog: u32,
    /// Whether it received the command to accept no more files.
    closed: bool,
}

/// A claimed file.
pub struct Claim {
    /// State of the file.
    pub state: ArrivalState,
    /// Path below the drop folder.
    pub relative: PathBuf,
    /// Place of the file in the work folder.
    pub(super) place: String,
    /// Run of the file; the next field is its task.
    pub(super) run: String,
    pub(super) task: String,
    pub(super) cause: Option<u64>,
    pub(super) look: FileSnapshot,
    /// Whether `look` is known to be the metadata at the claim.
    pub(super) is_exact: bool,
    /// Number of tasks that were made from it.
    pub(super) attempts: u32,
    pub(super) taken_at: Elapsed,
    pub(super) report: TaskReport,
    /// Hash of name and content, if duplicates are checked.
    pub(super) key: Option<String>,
    /// The run and task that processed the same file before.
    pub(super) same_as: Option<(String, String)>,
}

impl Claim {
    /// Creates a claim without a run.
    pub(super) fn new(state: ArrivalState, place: String, look: FileSnapshot, now: Elapsed) -> Self {
        Self {
            state,
            relative: PathBuf::new(),
            place,
            run: String::new(),
            task: String::new(),
            cause: None,
            look,
            is_exact: true,
            attempts: 0,
            taken_at: now,
            report: TaskReport::default(),
            key: None,
            same_as: None,
        }
    }
}

/// The events of its task.
#[derive(Default)]
pub struct TaskReport {
    pub(super) ended: Option<TaskEnding>,
    pub(super) folder: Option<String>,
    pub(super) files: Vec<DeliveredFile>,
    pub(super) stderr_tail: Option<String>,
}

impl DropFolder {
    /// Adds a run: a new one, or one of a previous process with its tasks.
    pub(super) fn open_stream(
        &mut self,
        run: String,
        feeder: Feeder,
        recovered: Vec<(String, RecoveredTask)>,
        ctx: &mut Context<Self>,
    ) {
        let stream = Stream { feeder, open: BTreeSet::new(), given: 0, backlog: 0, closed: false };
        self.streams.insert(run.clone(), stream);
        for (task, past) in recovered {
            self.take_up(&run, task, past, ctx);
        }
    }

    /// Restores a task of a previous process; returns the claim, unless its file is settled.
    fn take_up(
        &mut self,
        run: &str,
        task: String,
        past: RecoveredTask,
        ctx: &mut Context<Self>,
    ) -> Option<u32> {
        let RecoveredClaim { input, place, attempt, look } = past.claimed.filter(|_| !past.settled)?;
        let look = look.and_then(|look| look.parse().ok());
        let unknown = FileSnapshot { size_bytes: past.uploaded.unwrap_or(0), modified_ns: 0, inode: 0 };
        let id = self.claim(Claim {
            relative: path_of(&input),
            run: run.to_owned(),
            task,
            cause: past.cause,
            is_exact: look.is_some(),
            attempts: attempt,
            report: TaskReport {
                ended: past.ended,
                folder: past.folder,
                files: past.delivered.unwrap_or_default(),
                stderr_tail: None,
            },
            ..Claim::new(ArrivalState::Working { attempt }, place, look.unwrap_or(unknown), self.now())
        });
        if let Some(last) = past.closed {
            self.closed(id, last, ctx);
        }
        Some(id)
    }

    pub(super) fn claim(&mut self, claim: Claim) -> u32 {
        let id = self.next_claim;
        self.next_claim += 1;
        self.bytes += claim.look.size_bytes;
        self.by_task.insert((claim.run.clone(), claim.task.clone()), id);
        if let Some(stream) = self.streams.get_mut(&claim.run) {
            stream.open.insert(id);
        }
        self.claims.insert(id, claim);
        id
    }

    pub(super) fn let_go(&mut self, id: u32) {
        let Some(claim) = self.claims.remove(&id) else { return };
        self.bytes -= claim.look.size_bytes;
        self.by_task.remove(&(claim.run.clone(), claim.task));
        self.shells.remove_alarm(id);
        if let Some(stream) = self.streams.get_mut(&claim.run) {
            stream.open.remove(&id);
        }
        self.close_leftovers();
    }

    /// Returns the run that accepts files now; requests one if there is none.
    pub(super) fn stream(&mut self) -> Option<String> {
        let roll_after = self.settings.roll_after;
        let full = |stream: &Stream| stream.given >= roll_after;
        if let Some(current) = &self.current
            && self.streams.get(current).is_none_or(full)
        {
            self.current = None;
        }
        if self.current.is_none() && !std::mem::replace(&mut self.asked_for_stream, true) {
            self.mill.do_send(MillHappened(MillEvent::RunNeeded));
        }
        self.current.clone()
    }

    pub(super) fn room_in(&self, run: &str) -> u32 {
        self.streams.get(run).map_or(0, |stream| self.settings.roll_after.saturating_sub(stream.given))
    }

    pub(super) fn note_claim(&mut self, id: u32, place: String) {
        let Some(claim) = self.claims.get_mut(&id) else { return };
        let Some(stream) = self.streams.get_mut(&claim.run) else { return };
        stream.given += 1;
        claim.attempts += 1;
        let kind = EventKind::FileClaimed {
            input: text_of(&claim.relative),
            bytes: claim.look.size_bytes,
            place,
            attempt: claim.attempts,
            look: claim.is_exact.then(|| claim.look.to_string()),
        };
        claim.cause = Some(stream.feeder.note(ME, Subject::of_task(&claim.task), None, kind));
    }

    /// Checks whether an input in the work folder is stable.
    pub(super) fn check_taken(&mut self, id: u32, ctx: &mut Context<Self>) {
        let Some(claim) = self.claims.get_mut(&id) else { return };
        let event = match self.store.find(&claim.place, &claim.relative) {
            Ok(Some(found)) => {
                self.bytes = self.bytes - claim.look.size_bytes + found.look.size_bytes;
                claim.look = found.look;
                ArrivalEvent::Looked { look: found.look, whole: false }
            }
            Ok(None) => ArrivalEvent::Gone,
            Err(error @ PlaceError::Refused { may_pass: true, .. }) => {
                tracing::warn!(%error, "the input is checked again");
                // It may have changed meanwhile: that is noticed when it can be read.
                let look = FileSnapshot { modified_ns: -1, ..claim.look };
                ArrivalEvent::Looked { look, whole: false }
            }
            Err(error) => {
                claim.is_exact = false;
                ArrivalEvent::Unreadable(error.to_string())
            }
        };
        self.happened(id, event, ctx);
    }

    /// Removes a file from its run because it was changed after the claim; the results of its task have
    /// another content.
    pub(super) fn changed(&mut self, id: u32) {
        let Some(claim) = self.claims.get_mut(&id) else { return };
        let ArrivalState::Unsettled { look, .. } = claim.state else { return };
        let (run, task) = (std::mem::take(&mut claim.run), std::mem::take(&mut claim.task));
        let folder = claim.report.folder.take().unwrap_or_else(|| task.clone());
        let cause = claim.cause.take();
        self.bytes = self.bytes - claim.look.size_bytes + look.size_bytes;
        (claim.look, claim.is_exact) = (look, true);
        (claim.report, claim.key, claim.same_as) = (TaskReport::default(), None, None);
        let name = text_of(&claim.relative);
        self.counts.changed += 1;
        self.by_task.remove(&(run.clone(), task.clone()));
        if let Some(stream) = self.streams.get_mut(&run) {
            stream.open.remove(&id);
            let reason = "it was changed after it was claimed: it waits until it is stable".to_owned();
            stream.feeder.note(ME, Subject::of_task(&task), cause, EventKind::FileWithdrawn { reason });
        }
        self.store.discard_results(&run, &folder);
        self.say(format!(
            "{name}: it was written to after it was taken; it is done again once it stands still"
        ));
    }

    /// Reports ended runs whose files are all in their final places.
    fn close_leftovers(&mut self) {
        let done: Vec<String> = self
            .leftovers
            .iter()
            .filter(|(_, ids)| !ids.iter().any(|id| self.claims.contains_key(id)))
            .map(|(run, _)| run.clone())
            .collect();
        for run in done {
            self.leftovers.remove(&run);
            self.store.close_run(&run);
            self.mill.do_send(LeftoverDone(run));
        }
    }

    /// Adds a file's task to its run.
    pub(super) fn submit(&mut self, id: u32) {
        let Some(claim) = self.claims.get(&id) else { return };
        let item = (self.make)(&NewItem {
            task: claim.task.clone(),
            relative: text_of(&claim.relative),
            source: self.store.source(&claim.place, &claim.relative),
            size_bytes: claim.look.size_bytes,
            whole_folder: self.rules.unit() == Unit::Directory,
            run: claim.run.clone(),
        });
        match self.feeder(&claim.run) {
            Some(feeder) => {
                feeder.add(item);
            }
            None => self.unassigned.push_back(id),
        }
    }

    /// Assigns a run to the claims whose run has ended.
    pub(super) fn assign_runs(&mut self, ctx: &mut Context<Self>) {
        if self.unassigned.is_empty() {
            return;
        }
        let Some(run) = self.stream() else { return };
        let mut housed = vec![];
        for _ in 0..self.room_in(&run) {
            let Some(id) = self.unassigned.pop_front() else { break };
            let Some(claim) = self.claims.get(&id) else { continue };
            let (relative, look) = (claim.relative.clone(), claim.look);
            let task = self.task_name(&run, &relative, &look);
            let Some(claim) = self.claims.get_mut(&id) else { continue };
            self.by_task.remove(&(claim.run.clone(), claim.task.clone()));
            if let Some(stream) = self.streams.get_mut(&claim.run) {
                stream.open.remove(&id);
            }
            (claim.run, claim.task, claim.report) = (run.clone(), task.clone(), TaskReport::default());
            let place = claim.place.clone();
            self.by_task.insert((run.clone(), task), id);
            if let Some(stream) = self.streams.get_mut(&run) {
                stream.open.insert(id);
            }
            self.note_claim(id, place);
            housed.push(id);
        }
        let Some(feeder) = self.feeder(&run).cloned() else { return };
        let recorded = async move { feeder.durable().await };
        ctx.spawn(recorded.into_actor(self).map(move |durable, folder, _| {
            for id in housed {
                match durable {
                    true => folder.submit(id),
                    false => folder.unassigned.push_back(id),
                }
            }
        }));
    }

    pub(super) fn closed(&mut self, id: u32, last: LastWord, ctx: &mut Context<Self>) {
        let Some(claim) = self.claims.get_mut(&id) else { return };
        claim.report.stderr_tail = last.stderr_tail;
        let cause = last.cause.unwrap_or_default();
        let closing = match last.verdict {
            Verdict::Succeeded => Closing::Succeeded,
            // This also applies to a task that ran: a result that cannot be delivered is computed again, once
            // the service responds.
            Verdict::Failed if last.may_pass => Closing::Untried(cause),
            Verdict::Failed if claim.report.ended.is_some() => Closing::Failed(cause),
            Verdict::Failed => Closing::Refused(cause),
            Verdict::Unfinished => Closing::Untried(cause),
        };
        self.happened(id, ArrivalEvent::Closed(closing), ctx);
    }

    /// Reports the number of waiting and running tasks, which determines the size of the pool.
    pub(super) fn report_backlog(&mut self) {
        let backlog = u32::try_from(self.claims.len() + self.queue.len()).unwrap_or(u32::MAX);
        let Some(stream) = self.current.as_ref().and_then(|run| self.streams.get_mut(run)) else { return };
        if backlog > stream.backlog {
            stream.backlog = backlog;
            stream.feeder.backlog(backlog);
        }
    }

    /// Ends runs that accept no more files, once all their files are in their final places.
    pub(super) fn close_streams(&mut self) {
        for (run, stream) in &mut self.streams {
            let takes = self.current.as_ref() == Some(run) && !self.draining;
            if !takes && stream.open.is_empty() && !std::mem::replace(&mut stream.closed, true) {
                stream.feeder.close();
            }
        }
    }

    /// Ends the current run after a time without files, so that the pool may shrink.
    pub(super) fn watch_idleness(&mut self, ctx: &mut Context<Self>) {
        let quiet = self.claims.is_empty() && self.queue.is_empty() && self.current.is_some();
        if !quiet {
            if let Some(handle) = self.idle.take() {
                ctx.cancel_future(handle);
            }
        } else if self.idle.is_none() {
            self.idle = Some(ctx.run_later(self.settings.idle, |folder, ctx| {
                folder.idle = None;
                folder.current = None;
                folder.go_on(ctx);
            }));
        }
    }

    /// Leaves claims that wait for a run or a retry in the work folder, where the next process of the daemon
    /// finds them.
    pub(super) fn park(&mut self) {
        self.unassigned.clear();
        let resting = |claim: &Claim| {
            matches!(claim.state, ArrivalState::Returning { .. } | ArrivalState::Unsettled { .. })
        };
        let without_run = |claim: &Claim| !self.streams.contains_key(&claim.run);
        let parked: Vec<u32> = self
            .claims
            .iter()
            .filter(|(_, claim)| {
                let working = matches!(claim.state, ArrivalState::Working { .. });
                resting(claim) || (working && without_run(claim))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in parked {
            self.let_go(id);
        }
    }
}

impl Handler<StreamEvent> for DropFolder {
    type Result = ();
    fn handle(&mut self, StreamEvent(event): StreamEvent, ctx: &mut Context<Self>) {
        let Some(task) = event.subject.task() else { return };
        let Some(&id) = self.by_task.get(&(event.run.clone(), task.to_owned())) else { return };
        let Some(claim) = self.claims.get_mut(&id) else { return };
        claim.cause = Some(event.seq);
        match event.kind {
            EventKind::TaskEnded(ending) => claim.report.ended = Some(ending),
            EventKind::OutputDelivered { folder, files, .. } => {
                (claim.report.folder, claim.report.files) = (Some(folder), files);
            }
            EventKind::TaskClosed { verdict, cause, stderr_tail, undelivered, may_pass } => {
                self.closed(id, LastWord { verdict, undelivered, may_pass, cause, stderr_tail }, ctx);
            }
            _ => {}
        }
    }
}

impl Handler<StreamEnded> for DropFolder {
    type Result = ();
    fn handle(&mut self, StreamEnded { run, reason }: StreamEnded, ctx: &mut Context<Self>) {
        let open = self.streams.remove(&run).map(|stream| stream.open).unwrap_or_default();
        if self.current.as_ref() == Some(&run) {
            self.current = None;
        }
        for id in open {
            // A task that the run has not closed will never be closed.
            self.happened(id, ArrivalEvent::Closed(Closing::Untried(reason.clone())), ctx);
        }
        self.store.close_run(&run);
        self.go_on(ctx);
    }
}

impl Handler<Leftover> for DropFolder {
    type Result = ();
    fn handle(&mut self, Leftover { run, tasks }: Leftover, ctx: &mut Context<Self>) {
        let ids: BTreeSet<u32> =
            tasks.into_iter().filter_map(|(task, past)| self.take_up(&run, task, past, ctx)).collect();
        let open = ids.into_iter().filter(|id| self.claims.contains_key(id)).collect();
        self.leftovers.insert(run, open);
        self.close_leftovers();
        self.go_on(ctx);
    }
}

impl Handler<Adopt> for DropFolder {
    type Result = ();
    fn handle(&mut self, Adopt { relative, place, attempts }: Adopt, ctx: &mut Context<Self>) {
        let found = self.store.find(&place, &relative);
        let found = found.inspect_err(|error| tracing::error!(%error, %place, "cannot restore the file"));
        let Ok(Some(found)) = found else { return };
        let state = ArrivalState::Unsettled { look: found.look, since: self.now() };
        let task = place.clone();
        let claim = Claim { relative, task, attempts, ..Claim::new(state, place, found.look, self.now()) };
        let state = claim.state.clone();
        let id = self.claim(claim);
        self.shells.set_alarm(id, &state);
        self.go_on(ctx);
    }
}
