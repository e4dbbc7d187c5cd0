//! Notifications of the file system: hints that make the drop folder look at once.

use super::{DropFolder, messages::LookNow};
use actix::Addr;
use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// More paths than this are not remembered: the whole folder is looked at.
const MOST: usize = 4096;

/// Paths at which something may have happened since they were last taken.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    paths: BTreeSet<PathBuf>,
    overflown: bool,
    /// Somebody was told and has not looked yet.
    told: bool,
}

impl Hints {
    /// The paths; none if there were too many to remember.
    pub fn take(&self) -> Option<BTreeSet<PathBuf>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { paths, overflown, .. } = std::mem::take(&mut *inner);
        (!overflown).then_some(paths)
    }

    /// Remembers paths; whether somebody must be told.
    fn add(&self, paths: Vec<PathBuf>, all: bool) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.paths.extend(paths);
        if all || inner.paths.len() > MOST {
            inner.overflown = true;
            inner.paths.clear();
        }
        !std::mem::replace(&mut inner.told, true)
    }
}

/// Watches a folder for as long as the answer lives.
///
/// # Errors
/// When the file system does not notify: then looks alone have to do.
pub fn watch(
    folder: &Path,
    recursive: bool,
    hints: Hints,
    to: Addr<DropFolder>,
) -> Result<impl Watcher + use<>, notify::Error> {
    let heard = move |event: Result<Event, notify::Error>| {
        let (paths, all) = match event {
            Ok(event) if event.need_rescan() => (vec![], true),
            Ok(event) => match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => (event.paths, false),
                EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => (event.paths, false),
                // A folder may hold files already.
                EventKind::Create(CreateKind::Folder) => (vec![], true),
                // Reading, and writing that goes on, completes nothing.
                _ => return,
            },
            Err(_) => (vec![], true),
        };
        if hints.add(paths, all) {
            to.do_send(LookNow);
        }
    };
    let mut watcher = notify::recommended_watcher(heard)?;
    let mode = if recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
    watcher.watch(folder, mode)?;
    Ok(watcher)
}
