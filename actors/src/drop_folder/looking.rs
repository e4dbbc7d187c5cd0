//! Scans of the drop folder: the whole folder at intervals, a single entry after a notification.

use super::{Blocker, DropFolder, Order};
use crate::{
    drop_store::{EntryState, text_of},
    shell::DrivesMany,
};
use actix::prelude::*;
use dropmill_lifecycle::arrival::{ArrivalEvent, ArrivalState, FileSnapshot};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// Time within which the notification of an own file must arrive, otherwise notifications do not work.
const HEARING: Duration = Duration::from_secs(2);

impl DropFolder {
    /// Notifications are only used where they are reliable.
    pub(super) fn listen(&mut self, ctx: &mut Context<Self>) {
        let folder = self.settings.directory.display().to_string();
        let polls = |folder: &mut Self, why: String| {
            folder.polls = true;
            let message = format!("{why}; polling every {:?} instead", folder.settings.poll);
            folder.say(message);
        };
        if let Some(why) = self.store.unreliable() {
            return polls(self, why);
        }
        if let Err(error) = self.store.probe() {
            tracing::warn!(%error, "the drop folder is not writable");
        }
        ctx.run_later(HEARING, move |me, ctx| {
            if !me.hints.any() {
                polls(me, format!("{folder}: no change notifications"));
                me.look_at_all(ctx);
            }
        });
    }

    /// Scans the whole folder in the background, and plans the next scan.
    pub(super) fn look_at_all(&mut self, ctx: &mut Context<Self>) {
        if self.looking.is_some() {
            self.look_again = true;
            return;
        }
        if let Some(handle) = self.rescan.take() {
            ctx.cancel_future(handle);
        }
        self.looking = Some(BTreeSet::new());
        let (began, newest) = (Instant::now(), self.next_seen);
        let scan = self.store.scan(&self.rules);
        ctx.spawn(scan.into_actor(self).map(move |found, folder, ctx| {
            let meanwhile = folder.looking.take().unwrap_or_default();
            // A folder with a million files must not be scanned continuously.
            let longest = if folder.polls { folder.settings.poll } else { folder.settings.rescan };
            let rest = longest.min(folder.settings.rescan).max(began.elapsed() * 20);
            if std::mem::take(&mut folder.look_again) {
                return folder.look_at_all(ctx);
            }
            folder.saw_all(found, newest, &meanwhile);
            folder.rescan = Some(ctx.run_later(rest, |folder, ctx| folder.look_at_all(ctx)));
            folder.go_on(ctx);
        }));
    }

    /// Processes the result of a full scan. `newest` is the last file seen when the scan began: the scan may
    /// have missed later ones. Files that were claimed `meanwhile` may still be in its result.
    fn saw_all(
        &mut self,
        found: io::Result<Vec<(PathBuf, EntryState)>>,
        newest: u64,
        meanwhile: &BTreeSet<PathBuf>,
    ) {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                // An empty mount point does not mean that all files were deleted: known files are kept and
                // checked again.
                let why = format!("{}: {error}", self.settings.directory.display());
                return self.wait_for(Blocker::Folder, Some(why));
            }
        };
        self.wait_for(Blocker::Folder, None);
        self.recognise();
        let there: BTreeSet<&PathBuf> = found.iter().map(|(path, _)| path).collect();
        let gone = self.seen.iter().filter(|(path, (_, number))| *number <= newest && !there.contains(path));
        let gone: Vec<_> = gone.map(|(path, _)| path.clone()).collect();
        self.refused.retain(|path, _| there.contains(path));
        for path in gone {
            self.shown(&path, EntryState::Gone, false);
        }
        for (path, shown) in found.into_iter().filter(|(path, _)| !meanwhile.contains(path)) {
            self.shown(&path, shown, false);
        }
    }

    /// Reports that another folder is now at the path. Files in it are handled normally, and claimed files
    /// are in the work folder; but a user who mounts something there must know.
    fn recognise(&mut self) {
        let now = self.store.identity();
        if self.identity.is_some() && now != self.identity {
            let directory = self.settings.directory.display();
            let message = format!(
                "{directory}: another folder is in its place, mounted or moved there; files are taken from that one, \
                 and found by polling every {:?}",
                self.settings.rescan
            );
            tracing::warn!("{message}");
            self.say(message);
        }
        self.identity = now.or(self.identity);
    }

    pub(super) fn look_at(&mut self, relative: &Path, closed: bool) {
        let shown = self.store.check(&self.rules, relative);
        self.shown(relative, shown, closed);
    }

    /// Processes the state of an entry; `closed` says that its writer has closed it, or moved it here.
    fn shown(&mut self, relative: &Path, shown: EntryState, closed: bool) {
        let now = self.now();
        let event = match shown {
            EntryState::Input(look, marked) => {
                self.refused.remove(relative);
                let immediate = closed && self.settings.close_is_enough && !self.rules.has_markers();
                if !self.seen.contains_key(relative) {
                    self.next_seen += 1;
                    let first = ArrivalState::first(look, now);
                    self.seen.insert(relative.to_owned(), (first, self.next_seen));
                    self.counts.seen += 1;
                }
                ArrivalEvent::Looked { look, whole: marked || immediate }
            }
            EntryState::Refused(why) => {
                if self.refused.get(relative) != Some(&why) {
                    tracing::warn!(file = %text_of(relative), %why, "left in the drop folder");
                    self.say(format!("left in the drop folder: {}: {why}", text_of(relative)));
                    self.refused.insert(relative.to_owned(), why);
                }
                ArrivalEvent::Gone
            }
            EntryState::Ignored(_) | EntryState::Gone => {
                self.refused.remove(relative);
                ArrivalEvent::Gone
            }
        };
        let Some((mut state, number)) = self.seen.remove(relative) else { return };
        self.forget_plans(relative, &state, number);
        let was_settled = matches!(state, ArrivalState::Settled { .. });
        // With markers, time alone does not complete a file.
        let waits_for_marker =
            self.rules.has_markers() && matches!(event, ArrivalEvent::Looked { whole: false, .. });
        if !waits_for_marker {
            // An unclaimed file has only the command `Queue`, which follows from its state as well.
            self.shells.apply_unnumbered(&mut state, event, now);
        }
        if state == ArrivalState::Over {
            return;
        }
        if let ArrivalState::Settled { look } = &state {
            if !was_settled {
                self.gathering.came(now);
            }
            self.queue.insert((self.rank(look, relative, number), relative.to_owned()));
        } else if !waits_for_marker && let Some(moment) = state.wakes_at(&self.settings.limits) {
            self.looks.insert((moment, relative.to_owned()));
        }
        self.seen.insert(relative.to_owned(), (state, number));
    }

    fn forget_plans(&mut self, relative: &Path, state: &ArrivalState, number: u64) {
        match state {
            ArrivalState::Settled { look } => {
                self.queue.remove(&(self.rank(look, relative, number), relative.to_owned()));
            }
            other => {
                if let Some(moment) = other.wakes_at(&self.settings.limits) {
                    self.looks.remove(&(moment, relative.to_owned()));
                }
            }
        }
    }

    fn rank(&self, look: &FileSnapshot, relative: &Path, number: u64) -> (i128, PathBuf) {
        let name = || relative.to_owned();
        match self.settings.order {
            Order::Fifo => (number.into(), PathBuf::new()),
            Order::Name => (0, name()),
            Order::Mtime => (look.modified_ns, name()),
            Order::Size => (look.size_bytes.into(), name()),
        }
    }
}
