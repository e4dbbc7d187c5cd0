//! Notifications of the file system: hints that make the drop folder look at once; and whether there are any.

use super::{DropFolder, messages::RescanNow};
use crate::folder::{Folder, FolderError};
use actix::Addr;
use notify::{
    Event, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// More paths than this are not remembered: the whole folder is looked at.
const MOST: usize = 4096;
/// Name of the file that is made to hear of it.
const PROBE: &str = ".dropmill-probe";

/// Paths at which something may have happened since they were last taken.
#[derive(Debug, Clone, Default)]
pub struct ChangedPaths {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each with whether its latest news is that it was closed after writing, or moved here.
    paths: BTreeMap<PathBuf, bool>,
    overflown: bool,
    /// Somebody was told and has not looked yet.
    told: bool,
    /// Something was heard, ever.
    heard: bool,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    /// Of these; whether each is complete now, as far as its writer is concerned.
    Paths(Vec<(PathBuf, bool)>),
    /// Of more than it can tell.
    Everything,
    /// Nothing that completes anything.
    Nothing,
}

impl ChangedPaths {
    /// The paths, each with whether it was closed or moved here; none if there were too many to remember.
    pub fn take(&self) -> Option<BTreeMap<PathBuf, bool>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = std::mem::take(&mut inner.paths);
        inner.told = false;
        (!std::mem::take(&mut inner.overflown)).then_some(paths)
    }

    /// Whether the file system has ever said anything.
    pub fn any(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).heard
    }

    /// Notes that a path has changed; returns whether the drop folder must be notified.
    pub fn changed(&self, path: PathBuf, complete: bool) -> bool {
        self.add(Heard::Paths(vec![(path, complete)]))
    }

    /// Remembers what was heard; whether somebody must be told.
    fn add(&self, heard: Heard) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.heard = true;
        match heard {
            Heard::Nothing => return false,
            Heard::Paths(paths) => inner.paths.extend(paths),
            Heard::Everything => inner.overflown = true,
        }
        inner.overflown |= inner.paths.len() > MOST;
        if inner.overflown {
            inner.paths.clear();
        }
        !std::mem::replace(&mut inner.told, true)
    }
}

/// What follows from a notification.
fn meaning(event: Event) -> Heard {
    let all = |whole: bool| move |path: PathBuf| (path, whole);
    let paths = |whole| Heard::Paths(event.paths.iter().cloned().map(all(whole)).collect());
    if event.need_rescan() {
        return Heard::Everything;
    }
    match event.kind {
        notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
        | notify::EventKind::Modify(ModifyKind::Name(RenameMode::To)) => paths(true),
        // Its two halves are told of one by one, too.
        notify::EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => Heard::Nothing,
        // Whatever has that name now was not completed by this.
        notify::EventKind::Modify(ModifyKind::Name(_)) | notify::EventKind::Remove(_) => paths(false),
        // A folder may hold files already.
        notify::EventKind::Create(CreateKind::Folder) => Heard::Everything,
        // Reading, and writing that goes on, completes nothing.
        _ => Heard::Nothing,
    }
}

/// Watches a folder for as long as the answer lives.
///
/// # Errors
/// When the file system does not notify: then looks alone have to do.
pub fn watch(
    folder: &Path,
    recursive: bool,
    hints: ChangedPaths,
    to: Addr<DropFolder>,
) -> Result<impl Watcher + use<>, notify::Error> {
    let heard = move |event: Result<Event, notify::Error>| {
        if hints.add(event.map_or(Heard::Everything, meaning)) {
            to.do_send(RescanNow);
        }
    };
    // A link in a drop folder may lead to a folder of millions.
    let config = notify::Config::default().with_follow_symlinks(false);
    let mut watcher = notify::RecommendedWatcher::new(heard, config)?;
    let mode = if recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
    watcher.watch(folder, mode)?;
    Ok(watcher)
}

/// Creates a file in the folder and removes it: a working change notification reports that.
///
/// # Errors
/// When the folder is not writable.
pub fn write_probe_file(folder: &Folder) -> Result<(), FolderError> {
    // Of a process that was killed between the two; whatever else has this name, nothing is written through it.
    folder.remove(PROBE)?;
    folder.create_file(PROBE, 0o600)?;
    folder.remove_file(PROBE)
}

/// Why notifications of a folder's file system cannot be relied on; nothing where they can.
///
/// A share tells of what this machine writes and not of what others write to it, so that hearing a file of one's own
/// proves nothing there.
pub fn unreliable_fs(folder: &Path) -> Option<&'static str> {
    let facts = rustix::fs::statfs(folder).ok()?;
    #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
    shared(facts.f_type as i64)
}

/// Numbers of file systems that other machines write to, from Linux's `magic.h` and their own headers.
fn shared(kind: i64) -> Option<&'static str> {
    Some(match kind & 0xffff_ffff {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x0bd0_0bd0 => "Lustre",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x786f_4256 => "a virtual machine's shared folder",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_looked_at_and_disks_are_listened_to() {
        assert_eq!(shared(0x6969), Some("NFS"));
        assert_eq!(
            shared(0xff53_4d42_u32 as i32 as i64),
            Some("SMB"),
            "also where the number is a signed one"
        );
        for disk in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630] {
            assert_eq!(shared(disk), None, "{disk:x}");
        }
    }

    #[test]
    fn only_closing_and_moving_here_say_that_a_file_is_complete() {
        let about = |kind| meaning(Event::new(kind).add_path("/d/a".into()));
        let paths = |whole| Heard::Paths(vec![("/d/a".into(), whole)]);
        let name = |mode| notify::EventKind::Modify(ModifyKind::Name(mode));
        assert_eq!(about(notify::EventKind::Access(AccessKind::Close(AccessMode::Write))), paths(true));
        assert_eq!(about(name(RenameMode::To)), paths(true));
        // Another file may have the name by now, and be written to.
        assert_eq!(about(name(RenameMode::From)), paths(false));
        assert_eq!(about(notify::EventKind::Remove(notify::event::RemoveKind::File)), paths(false));
        assert_eq!(about(notify::EventKind::Create(CreateKind::File)), Heard::Nothing);
        assert_eq!(about(notify::EventKind::Create(CreateKind::Folder)), Heard::Everything);
        assert_eq!(about(notify::EventKind::Modify(ModifyKind::Any)), Heard::Nothing);
    }

    #[test]
    fn more_than_can_be_remembered_is_everything_and_is_told_once() {
        let hints = ChangedPaths::default();
        assert!(!hints.any());
        assert!(hints.add(Heard::Paths(vec![("a".into(), true)])));
        assert!(!hints.add(Heard::Paths(vec![("a".into(), false)])), "somebody was told already");
        assert_eq!(hints.take().unwrap().into_iter().collect::<Vec<_>>(), [("a".into(), false)]);
        let many = (0..=MOST).map(|number| (PathBuf::from(number.to_string()), true)).collect();
        assert!(hints.add(Heard::Paths(many)));
        assert_eq!(hints.take(), None);
        assert!(hints.any());
        assert_eq!(hints.take().unwrap().len(), 0);
    }
}
