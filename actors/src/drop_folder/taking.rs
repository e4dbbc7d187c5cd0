//! Claims stable files: records the intent, moves them into the work folder, and reads their metadata.

use super::{
    Blocker, DropFolder, Duplicates,
    claims::{Claim, ME},
};
use crate::{
    drop_store::{NotTaken, Take, Taken, text_of},
    shell::DrivesMany,
};
use actix::prelude::*;
use dropmill_journal::event::{EventKind, Subject};
use dropmill_lifecycle::{
    Code, Failure,
    arrival::{ArrivalEvent, ArrivalState, FileSnapshot, Outcome},
    plan::slug,
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

impl DropFolder {
    /// Claims stable files, up to the limits.
    pub(super) fn take_some(&mut self, ctx: &mut Context<Self>) {
        if self.draining || self.queue.is_empty() {
            self.took(0);
            return;
        }
        let open = self.gathering.open(self.waiting(), self.now());
        if open == 0 {
            return;
        }
        let Some(run) = self.stream() else { return };
        let short = self.short_of_space();
        let is_short = short.is_some();
        self.wait_for(Blocker::Space, short);
        if is_short {
            return;
        }
        let mut taken = vec![];
        let mut room = self.room_in(&run).min(open);
        while let Some((_, relative)) = self.queue.first().cloned() {
            let Some((ArrivalState::Settled { look }, _)) = self.seen.get(&relative) else {
                self.queue.pop_first();
                continue;
            };
            let look = *look;
            let fits = self.claims.is_empty() || self.bytes + look.size_bytes <= self.settings.max_bytes;
            if self.claims.len() >= self.settings.max_files || !fits || room == 0 {
                break;
            }
            room -= 1;
            self.queue.pop_first();
            self.seen.remove(&relative);
            if let Some(meanwhile) = &mut self.looking {
                meanwhile.insert(relative.clone());
            }
            taken.push(self.intend(&run, relative, look));
        }
        if taken.is_empty() {
            return;
        }
        self.took(taken.len());
        let Some(feeder) = self.feeder(&run).cloned() else { return };
        let takes: Vec<_> = taken.iter().filter_map(|id| self.order_of(*id)).collect();
        let store = self.store.clone();
        let moved = async move {
            match feeder.durable().await {
                true => store.take(takes).await,
                false => vec![],
            }
        };
        ctx.spawn(moved.into_actor(self).map(move |outcomes: Vec<Taken>, folder, ctx| {
            for Taken { id, outcome, key } in outcomes {
                folder.happened(id, ArrivalEvent::Durable, ctx);
                folder.was_taken(id, outcome, key, ctx);
            }
            folder.go_on(ctx);
        }));
    }

    /// Counts claimed files: a batch that is complete gets its own run.
    fn took(&mut self, count: usize) {
        if self.gathering.taken(u32::try_from(count).unwrap_or(u32::MAX), self.waiting()) {
            self.current = None;
        }
    }

    /// Records the intent to claim a file.
    fn intend(&mut self, run: &str, relative: PathBuf, look: FileSnapshot) -> u32 {
        let task = self.task_name(run, &relative, &look);
        let place = format!("{run}/{task}");
        let claim = Claim {
            relative,
            run: run.to_owned(),
            task,
            ..Claim::new(ArrivalState::Intended { look }, place.clone(), look, self.now())
        };
        let id = self.claim(claim);
        self.note_claim(id, place);
        id
    }

    /// Returns a task id that depends on the run, the name, the metadata, and how often the run has claimed
    /// the file.
    pub(super) fn task_name(&self, run: &str, relative: &Path, look: &FileSnapshot) -> String {
        use std::os::unix::ffi::OsStrExt;
        let name = relative.file_name().map(Path::new).unwrap_or(relative);
        let slug = slug(&text_of(name), 40);
        for again in 0u32.. {
            let mut hash = Sha256::new();
            hash.update(relative.as_os_str().as_bytes());
            hash.update(look.size_bytes.to_le_bytes());
            hash.update(look.modified_ns.to_le_bytes());
            hash.update(look.inode.to_le_bytes());
            hash.update(again.to_le_bytes());
            let hash: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            let task = if slug.is_empty() { hash } else { format!("{slug}-{hash}") };
            let used = self.streams.get(run).is_some_and(|stream| stream.feeder.has(&task))
                || self.by_task.contains_key(&(run.to_owned(), task.clone()));
            if !used {
                return task;
            }
        }
        unreachable!("a run has fewer than 2^32 tasks")
    }

    /// Returns a message if there is too little free space.
    fn short_of_space(&self) -> Option<String> {
        let (free, floor) = (self.store.free_bytes()?, self.settings.disk_floor);
        (free < floor).then(|| {
            format!(
                "the work folder's file system has {} MiB of free space, limits.disk_floor asks for {}",
                free >> 20,
                floor >> 20
            )
        })
    }

    fn order_of(&self, id: u32) -> Option<Take> {
        let claim = self.claims.get(&id)?;
        Some(Take {
            id,
            relative: claim.relative.clone(),
            place: claim.place.clone(),
            look: claim.look,
            marker: self.rules.marker_of(&claim.relative),
            hash: self.settings.duplicates != Duplicates::Rerun,
        })
    }

    fn was_taken(
        &mut self,
        id: u32,
        outcome: Result<(), NotTaken>,
        key: Option<String>,
        ctx: &mut Context<Self>,
    ) {
        let event = match outcome {
            Ok(()) => {
                self.wait_for(Blocker::Move, None);
                self.known(id, key).map_or(ArrivalEvent::Taken, ArrivalEvent::Known)
            }
            Err(why) => {
                if let NotTaken::Refused(error) = &why {
                    self.wait_for(Blocker::Move, Some(error.to_string()));
                }
                let message = match why {
                    NotTaken::Gone => "it was removed".to_owned(),
                    NotTaken::Changed => "it was written to".to_owned(),
                    NotTaken::Refused(error) => error.to_string(),
                };
                // If it still exists, the next scan finds it.
                ArrivalEvent::NotTaken(Failure::transient(Code::NotTaken, message))
            }
        };
        self.happened(id, event, ctx);
    }

    /// Decides about a file that was processed before.
    fn known(&mut self, id: u32, key: Option<String>) -> Option<Outcome> {
        let claim = self.claims.get_mut(&id)?;
        claim.key = key;
        let found = self.known.find(claim.key.as_ref()?);
        let found = found.inspect_err(|error| tracing::error!(%error, "cannot check for duplicates")).ok()?;
        claim.same_as = found;
        let (run, task) = claim.same_as.as_ref()?;
        match self.settings.duplicates {
            Duplicates::Rerun => None,
            Duplicates::Skip => Some(Outcome::Duplicate),
            Duplicates::Quarantine => {
                let cause = format!("it was processed before, as task {task} of run {run}");
                Some(Outcome::Failed { cause })
            }
        }
    }

    pub(super) fn withdraw(&mut self, id: u32) {
        let Some(claim) = self.claims.get(&id) else { return };
        self.counts.withdrawn += 1;
        if let Some(feeder) = self.feeder(&claim.run) {
            let reason = "it was removed or changed before it was claimed".into();
            let kind = EventKind::FileWithdrawn { reason };
            feeder.note(ME, Subject::of_task(&claim.task), claim.cause, kind);
        }
        self.store.release(&claim.place);
    }
}
