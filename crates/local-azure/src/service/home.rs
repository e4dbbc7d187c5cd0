//! The state folder: accessible only to its owner, used by one service at a time; contains the account keys.

use super::ServiceSettings;
use crate::durability::Durability;
use base64::{Engine, engine::general_purpose::STANDARD};
use dropmill_azure_wire::{
    secret::Secret,
    time::{Timestamp, iso_seconds},
};
use dropmill_private_files::{self as private_files, PrivateError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The reason why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another service is using it.
    #[error("state folder {}: in use by {holder}", folder.display())]
    InUse {
        /// Path of the folder.
        folder: PathBuf,
        /// `pid 12 since 2026-03-02T10:11:12Z`, as the other process wrote it.
        holder: String,
    },
    /// It cannot be read or written.
    #[error("state folder: cannot {doing} {}: {source}", path.display())]
    Io {
        /// Attempted operation, as a verb for the message.
        doing: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Other users have access to it.
    #[error("state folder: {0}")]
    Private(#[from] PrivateError),
    /// The file of keys is invalid.
    #[error("{} does not contain the two account keys: {reason}", path.display())]
    Keys {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it, without its content.
        reason: String,
    },
}

/// A state folder, locked by this process.
pub(super) struct Home {
    folder: PathBuf,
    /// Held open; released when this is dropped.
    lock: File,
}

impl Drop for Home {
    fn drop(&mut self) {
        // Closing alone is not enough: a child process has the file too until it executes its program.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// The keys of the two accounts, in base64.
#[derive(Serialize, Deserialize)]
pub(super) struct Keys {
    pub batch: Secret,
    pub blob: Secret,
}

impl Home {
    /// Creates the folder if needed and locks it.
    pub fn open(folder: &Path, durability: Durability, now: Timestamp) -> Result<Self, HomeError> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::Io { doing, path, source }
        };
        private_files::folder(folder)?;
        let folder = fs::canonicalize(folder).map_err(failed("find", folder))?;
        let path = folder.join("lock");
        let mut lock = private_files::open_or_create(&path)?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            let mut holder = String::new();
            return Err(match (io::Error::from(error).kind(), lock.read_to_string(&mut holder)) {
                (io::ErrorKind::WouldBlock, Ok(_)) => {
                    HomeError::InUse { folder, holder: holder.trim().to_owned() }
                }
                _ => failed("lock", &path)(error.into()),
            });
        }
        let written = lock.set_len(0).and_then(|()| {
            writeln!(lock, "pid {} since {}", std::process::id(), iso_seconds(now))?;
            durability.settle(&lock)
        });
        written.map_err(failed("write", &path))?;
        if durability == Durability::Process {
            let path = folder.join("boot");
            forget_earlier_boot(&folder, &path).map_err(failed("reset", &path))?;
        }
        Ok(Self { folder, lock })
    }

    /// Returns the absolute path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Discards files that need not survive a restart of the machine, because they may be incomplete. The mark is
/// removed last, so that a crash during this is noticed.
fn forget_earlier_boot(folder: &Path, mark: &Path) -> io::Result<()> {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match fs::read(mark) {
        Ok(before) if before == boot => return Ok(()),
        Ok(_) => {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                match path.file_name().and_then(|name| name.to_str()) {
                    Some("lock" | "boot") => {}
                    _ if path.is_dir() => fs::remove_dir_all(&path)?,
                    _ => fs::remove_file(&path)?,
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(private_files::replace(mark, &boot, |_| Ok(()))?)
}

/// Returns the keys: given ones first, then stored ones, then new ones, which are stored.
pub(super) fn keys(home: Option<&Home>, settings: &ServiceSettings) -> Result<Keys, HomeError> {
    let kept = match home {
        Some(home) => kept_keys(&home.folder().join("keys.json"), settings.durability)?,
        None => {
            let mut bytes = [[0; 64]; 2];
            let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
            bytes.iter_mut().for_each(|key| random.fill_bytes(key));
            of_bytes(bytes)
        }
    };
    Ok(Keys {
        batch: settings.batch_key.clone().unwrap_or(kept.batch),
        blob: settings.blob_key.clone().unwrap_or(kept.blob),
    })
}

fn of_bytes([batch, blob]: [[u8; 64]; 2]) -> Keys {
    Keys { batch: STANDARD.encode(batch).into(), blob: STANDARD.encode(blob).into() }
}

fn kept_keys(path: &Path, durability: Durability) -> Result<Keys, HomeError> {
    let failed = |doing| move |source| HomeError::Io { doing, path: path.to_owned(), source };
    match private_files::open_existing(path) {
        Ok(mut file) => {
            let mut text = vec![];
            file.read_to_end(&mut text).map_err(failed("read"))?;
            serde_json::from_slice(&text).map_err(|error| HomeError::Keys {
                path: path.to_owned(),
                reason: format!("line {} column {}", error.line(), error.column()),
            })
        }
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
            let mut bytes = [[0; 64]; 2];
            let random = File::open("/dev/urandom")
                .and_then(|mut source| bytes.iter_mut().try_for_each(|key| source.read_exact(key)));
            random.map_err(failed("draw random bytes for"))?;
            let keys = of_bytes(bytes);
            let text = serde_json::to_vec(&keys).expect("two texts are JSON");
            private_files::replace(path, &text, |file| durability.settle(file))?;
            Ok(keys)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_used_by_one_process_which_is_named_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let now = "2026-03-02T10:11:12Z".parse().unwrap();
        let first = Home::open(&folder.path().join("state"), Durability::Power, now).unwrap();
        let second = Home::open(first.folder(), Durability::Power, now).err().unwrap().to_string();
        let holder = format!("in use by pid {} since 2026-03-02T10:11:12Z", std::process::id());
        assert!(second.ends_with(&holder), "{second}");
        let path = first.folder().to_owned();
        drop(first);
        assert!(Home::open(&path, Durability::Power, now).is_ok());
    }

    #[test]
    fn keys_are_created_once_and_only_for_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let settings = ServiceSettings::at(&path);
        let home = Home::open(&path, Durability::Power, Timestamp::UNIX_EPOCH).unwrap();
        let made = keys(Some(&home), &settings).unwrap();
        let kept = keys(Some(&home), &settings).unwrap();
        assert_eq!((&made.batch, &made.blob), (&kept.batch, &kept.blob));
        assert_ne!(made.batch, made.blob);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path.clone()), mode(path.join("keys.json"))), (0o700, 0o600));
        let given = ServiceSettings { batch_key: Some("a2V5".into()), ..settings };
        assert_eq!(keys(Some(&home), &given).unwrap().batch.expose(), "a2V5");
    }

    #[test]
    fn a_damaged_key_file_is_rejected_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), Durability::Power, Timestamp::UNIX_EPOCH).unwrap();
        fs::write(folder.path().join("keys.json"), "{\"batch\": \"c2VjcmV0\"").unwrap();
        let error = keys(Some(&home), &ServiceSettings::at(folder.path())).err().unwrap().to_string();
        assert!(error.contains("keys.json") && !error.contains("c2VjcmV0"), "{error}");
    }

    #[test]
    fn temporary_state_is_discarded_after_a_restart_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Home::open(folder.path(), Durability::Process, Timestamp::UNIX_EPOCH).unwrap();
        drop(open());
        fs::create_dir_all(folder.path().join("nodes/a")).unwrap();
        fs::write(folder.path().join("batch.db"), "kept").unwrap();
        drop(open());
        assert!(folder.path().join("batch.db").exists(), "the same boot: a process that ended loses nothing");
        fs::write(folder.path().join("boot"), "another").unwrap();
        drop(open());
        let mut left: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["boot", "lock"]);
    }
}
