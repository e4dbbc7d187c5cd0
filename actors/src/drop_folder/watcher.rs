//! Change notifications of the file system, after which the drop folder is scanned at once; and whether they
//! work.

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

/// Maximum number of remembered paths: above it, the whole folder is scanned.
const MOST: usize = 4096;
/// Name of the file that tests the notifications.
const PROBE: &str = ".dropmill-probe";

/// Paths that may have changed since they were last read.
#[derive(Debug, Clone, Default)]
pub struct ChangedPaths {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Paths, each with whether its last notification was that it was closed after writing, or moved here.
    paths: BTreeMap<PathBuf, bool>,
    overflown: bool,
    /// The drop folder was notified and has not scanned yet.
    notified: bool,
    /// At least one notification was received.
    heard: bool,
}

/// The content of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    /// These paths changed; with whether each is complete, as far as known from its writer.
    Paths(Vec<(PathBuf, bool)>),
    /// Too many paths changed.
    Everything,
    /// No path was completed.
    Nothing,
}

impl ChangedPaths {
    /// Returns the paths, each with whether it was closed or moved here; `None` if there were too many.
    pub fn take(&self) -> Option<BTreeMap<PathBuf, bool>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = std::mem::take(&mut inner.paths);
        inner.notified = false;
        (!std::mem::take(&mut inner.overflown)).then_some(paths)
    }

    /// Returns whether any notification was received.
    pub fn any(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).heard
    }

    /// Notes that a path has changed; returns whether the drop folder must be notified.
    pub fn changed(&self, path: PathBuf, complete: bool) -> bool {
        self.add(Heard::Paths(vec![(path, complete)]))
    }

    /// Remembers a notification; returns whether the drop folder must be notified.
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
        !std::mem::replace(&mut inner.notified, true)
    }
}

/// Interprets a notification.
fn meaning(event: Event) -> Heard {
    let all = |whole: bool| move |path: PathBuf| (path, whole);
    let paths = |whole| Heard::Paths(event.paths.iter().cloned().map(all(whole)).collect());
    if event.need_rescan() {
        return Heard::Everything;
    }
    match event.kind {
        notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
        | notify::EventKind::Modify(ModifyKind::Name(RenameMode::To)) => paths(true),
        // Both halves are also reported separately.
        notify::EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => Heard::Nothing,
        // This does not complete the file that has the name now.
        notify::EventKind::Modify(ModifyKind::Name(_)) | notify::EventKind::Remove(_) => paths(false),
        // A folder may already contain files.
        notify::EventKind::Create(CreateKind::Folder) => Heard::Everything,
        // Reading and continued writing complete nothing.
        _ => Heard::Nothing,
    }
}

/// Watches a folder until the returned value is dropped.
///
/// # Errors
/// Fails if the file system does not send notifications: then only scans find files.
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
    // A link in a drop folder may lead to a folder with millions of files.
    let config = notify::Config::default().with_follow_symlinks(false);
    let mut watcher = notify::RecommendedWatcher::new(heard, config)?;
    let mode = if recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
    watcher.watch(folder, mode)?;
    Ok(watcher)
}

/// Creates a file in the folder and removes it: working notifications report that.
///
/// # Errors
/// Fails if the folder is not writable.
pub fn write_probe_file(folder: &Folder) -> Result<(), FolderError> {
    // Left by a process that was killed between the two steps; whatever has this name, nothing is written
    // through it.
    folder.remove(PROBE)?;
    folder.create_file(PROBE, 0o600)?;
    folder.remove_file(PROBE)
}

/// Returns why notifications of a folder's file system are unreliable, if they are.
///
/// A network share reports changes of this machine but not of others, so a test with an own file proves
/// nothing.
pub fn unreliable_fs(folder: &Path) -> Option<&'static str> {
    let facts = rustix::fs::statfs(folder).ok()?;
    #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
    shared(facts.f_type as i64)
}

/// Returns the name of a file system that other machines write to, by its number from Linux's `magic.h` or
/// its own headers.
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
    fn network_shares_are_polled_and_local_disks_are_watched() {
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
    fn only_closing_and_moving_here_complete_a_file() {
        let about = |kind| meaning(Event::new(kind).add_path("/d/a".into()));
        let paths = |whole| Heard::Paths(vec![("/d/a".into(), whole)]);
        let name = |mode| notify::EventKind::Modify(ModifyKind::Name(mode));
        assert_eq!(about(notify::EventKind::Access(AccessKind::Close(AccessMode::Write))), paths(true));
        assert_eq!(about(name(RenameMode::To)), paths(true));
        // Another file may have the name now, and may be written to.
        assert_eq!(about(name(RenameMode::From)), paths(false));
        assert_eq!(about(notify::EventKind::Remove(notify::event::RemoveKind::File)), paths(false));
        assert_eq!(about(notify::EventKind::Create(CreateKind::File)), Heard::Nothing);
        assert_eq!(about(notify::EventKind::Create(CreateKind::Folder)), Heard::Everything);
        assert_eq!(about(notify::EventKind::Modify(ModifyKind::Any)), Heard::Nothing);
    }

    #[test]
    fn too_many_paths_mean_a_full_scan_with_one_notification() {
        let hints = ChangedPaths::default();
        assert!(!hints.any());
        assert!(hints.add(Heard::Paths(vec![("a".into(), true)])));
        assert!(!hints.add(Heard::Paths(vec![("a".into(), false)])), "it was notified already");
        assert_eq!(hints.take().unwrap().into_iter().collect::<Vec<_>>(), [("a".into(), false)]);
        let many = (0..=MOST).map(|number| (PathBuf::from(number.to_string()), true)).collect();
        assert!(hints.add(Heard::Paths(many)));
        assert_eq!(hints.take(), None);
        assert!(hints.any());
        assert_eq!(hints.take().unwrap().len(), 0);
    }
}
