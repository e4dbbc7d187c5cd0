//! The folders of a daemon: their paths and their contents.

use crate::{
    plan,
    settings::{DuplicatePolicy, Loaded, Problem, TakeOrder, WatchUnit},
};
use anyhow::Result;
use dropmill_actors::{
    drop_folder::{DropSettings, Duplicates, Order},
    drop_store::{DiskDropStore, DropFolders, Rules, RulesSettings, Unit},
};
use dropmill_lifecycle::{arrival::ArrivalLimits, delays::Delays, plan::AppFile};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Returns the name of a daemon in the state folder, which depends on the name of its run file and on its
/// folder.
pub(super) fn name_of(loaded: &Loaded, folders: &Folders) -> String {
    let hash = Sha256::digest(folders.directory.as_os_str().as_encoded_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", dropmill_lifecycle::plan::slug(&loaded.settings.run.name, 24))
}

/// The folders of a daemon, absolute.
pub(super) struct Folders {
    pub directory: PathBuf,
    pub done: PathBuf,
    pub failed: PathBuf,
    pub work: PathBuf,
}

impl Folders {
    pub fn of(loaded: &Loaded) -> Result<Self> {
        let watch = &loaded.settings.watch;
        let problem = |key: &str, what: String| loaded.problems(vec![Problem::new(key, what)]);
        let Some(directory) = &watch.directory else {
            return Err(problem("watch.directory", "name the folder that files are put into".into()).into());
        };
        if watch.unit == WatchUnit::Directory && watch.recursive {
            let what = "with unit = \"directory\" a folder is taken as one input: remove recursive";
            return Err(problem("watch.recursive", what.into()).into());
        }
        let directory = plan::normal(&loaded.base.join(directory));
        let beside = directory.parent().unwrap_or(&directory).to_path_buf();
        let folder = |given: &Option<PathBuf>, name: &str| match given {
            Some(given) => plan::normal(&loaded.base.join(given)),
            None => beside.join(name),
        };
        let (done, failed) = (folder(&watch.done, "done"), folder(&watch.failed, "failed"));
        let work = folder(&watch.work, "work");
        let all = [("directory", &directory), ("done", &done), ("failed", &failed), ("work", &work)];
        for (at, (key, one)) in all.iter().enumerate() {
            for (other_key, other) in &all[..at] {
                if one.starts_with(other) || other.starts_with(one) {
                    let what = format!("{} and watch.{other_key} overlap", one.display());
                    return Err(problem(&format!("watch.{key}"), what).into());
                }
            }
        }
        for (key, patterns) in [("ignore", &watch.ignore), ("include", &watch.include)] {
            for pattern in patterns {
                if let Err(error) = globset::Glob::new(pattern) {
                    let what = format!("{pattern:?} is not a valid glob pattern: {}", error.kind());
                    return Err(problem(&format!("watch.{key}"), what).into());
                }
            }
        }
        Ok(Self { directory, done, failed, work })
    }

    /// Checks that the daemon would not take as inputs what it needs itself: the run file, files of the
    /// application, its state.
    pub fn check_own_files(&self, loaded: &Loaded, application: &[AppFile], state: &Path) -> Result<()> {
        let settings = drop_settings(loaded, self);
        let rules = Rules::new(settings.rules);
        let directory = resolved(&self.directory);
        let run_file = loaded.file.iter().map(|file| ("the run file", file.as_path()));
        let own = run_file.chain([("the state folder", state)]);
        let application = application.iter().map(|file| ("a file of the application", file.source.as_path()));
        for (what, path) in own.chain(application) {
            let path = resolved(path);
            let Ok(below) = path.strip_prefix(&directory) else { continue };
            let entry = match rules.unit() {
                Unit::File => below,
                Unit::Directory => {
                    Path::new(below.components().next().map_or(below.as_os_str(), |first| first.as_os_str()))
                }
            };
            let is_folder = rules.unit() == Unit::File && path.is_dir();
            if is_folder || rules.why_ignored(entry, false).is_none() {
                let what = format!(
                    "{what} ({}) is in the drop folder and would be taken as an input: name another folder",
                    path.display()
                );
                return Err(loaded.problems(vec![Problem::new("watch.directory", what)]).into());
            }
        }
        Ok(())
    }

    /// Opens the store over these folders; `work` is this daemon's own folder below the work folder.
    pub fn store(&self, work: &Path) -> Result<DiskDropStore> {
        Ok(DiskDropStore::open(&DropFolders {
            directory: self.directory.clone(),
            done: self.done.clone(),
            failed: self.failed.clone(),
            work: work.to_owned(),
        })?)
    }
}

/// Returns a path with its links resolved, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    match known {
        Some((above, real)) => real.join(path.strip_prefix(above).unwrap_or(Path::new(""))),
        None => path,
    }
}

pub(super) fn drop_settings(loaded: &Loaded, folders: &Folders) -> DropSettings {
    let watch = &loaded.settings.watch;
    let stable_for = watch.stable_for.0;
    DropSettings {
        directory: folders.directory.clone(),
        rules: RulesSettings {
            unit: match watch.unit {
                WatchUnit::File => Unit::File,
                WatchUnit::Directory => Unit::Directory,
            },
            recursive: watch.recursive,
            ignore: watch.ignore.clone(),
            include: watch.include.clone(),
            marker: watch.marker.clone(),
            min_file_bytes: watch.min_bytes.0,
            max_file_bytes: watch.max_file_bytes.map_or(u64::MAX, |size| size.0),
            take_foreign: watch.take_foreign,
        },
        close_is_enough: stable_for.is_zero(),
        order: match watch.order {
            TakeOrder::Fifo => Order::Fifo,
            TakeOrder::Name => Order::Name,
            TakeOrder::Mtime => Order::Mtime,
            TakeOrder::Size => Order::Size,
        },
        max_files: watch.max_files.max(1) as usize,
        max_bytes: watch.max_bytes.0,
        disk_floor: loaded.settings.limits.disk_floor.0,
        rescan: watch.rescan.0,
        poll: watch.poll.0,
        gather: watch.gather.map(|length| length.0),
        roll_after: watch.roll_after.max(1),
        idle: watch.idle.0,
        keep_input: watch.keep_input,
        duplicates: match watch.duplicates {
            DuplicatePolicy::Rerun => Duplicates::Rerun,
            DuplicatePolicy::Skip => Duplicates::Skip,
            DuplicatePolicy::Quarantine => Duplicates::Quarantine,
        },
        limits: ArrivalLimits {
            // A file without a marker may still be open for writing, however short `stable_for` is.
            stable_for: stable_for.max(Duration::from_secs(1)),
            tries: watch.tries.max(1),
            delays: Delays { steps: [1, 2, 5, 10, 30, 60].map(Duration::from_secs).to_vec(), for_ever: true },
        },
    }
}

/// Returns for how many seconds files are remembered.
pub(super) fn remember(loaded: &Loaded) -> i64 {
    i64::try_from(loaded.settings.watch.remember.0.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the id that distinguishes this daemon's files in the work folder from those of other daemons, if
/// it has one yet.
///
/// # Errors Fails if its file cannot be read.
pub(super) fn known_id(home: &Path) -> Result<Option<String>> {
    match dropmill_private_files::read(&home.join("id")) {
        Ok(id) => Ok(Some(String::from_utf8_lossy(&id).trim().to_owned())),
        Err(error) if error.io_kind() == Some(std::io::ErrorKind::NotFound) => Ok(None),
        // With a new id, files that were taken under the old one would be left behind.
        Err(error) => Err(error.into()),
    }
}

/// Returns the id of this daemon, which is created at its first start.
///
/// # Errors Fails if its file cannot be read or written.
pub(super) fn own_id(home: &Path) -> Result<String> {
    if let Some(id) = known_id(home)? {
        return Ok(id);
    }
    let id = crate::state::random_name(4);
    crate::state::write_private(&home.join("id"), id.as_bytes())?;
    Ok(id)
}
