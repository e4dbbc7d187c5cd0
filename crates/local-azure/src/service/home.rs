//! The state folder: made for its owner alone, used by one service at a time, keeper of the account keys.

use super::ServiceSettings;
use base64::{Engine, engine::general_purpose::STANDARD};
use dropmill_azure_wire::{
    secret::Secret,
    time::{Timestamp, iso_seconds},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another service has it open.
    #[error("state folder {}: in use by {holder}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// `pid 12 since 2026-03-02T10:11:12Z`, as the holder wrote it.
        holder: String,
    },
    /// It cannot be read or written.
    #[error("state folder: cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// The file of keys is not one.
    #[error("{} does not hold the two account keys: {reason}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; shows none of it.
        reason: String,
    },
}

/// A state folder, held.
pub(super) struct Home {
    folder: PathBuf,
    /// Held open: closing it lets the next service in.
    _lock: File,
}

/// The keys of the two accounts, in base64.
#[derive(Serialize, Deserialize)]
pub(super) struct Keys {
    pub batch: Secret,
    pub blob: Secret,
}

impl Home {
    /// Makes the folder if needed and takes hold of it.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, HomeError> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::Io { doing, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make", folder))?;
        let folder = fs::canonicalize(folder).map_err(failed("find", folder))?;
        let path = folder.join("lock");
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut lock = open.map_err(failed("open", &path))?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            let mut holder = String::new();
            return Err(match (io::Error::from(error).kind(), lock.read_to_string(&mut holder)) {
                (io::ErrorKind::WouldBlock, Ok(_)) => {
                    HomeError::InUse { folder, holder: holder.trim().to_owned() }
                }
                _ => failed("lock", &path)(error.into()),
            });
        }
        let told = lock.set_len(0).and_then(|()| {
            writeln!(lock, "pid {} since {}", std::process::id(), iso_seconds(now))?;
            lock.sync_all()
        });
        told.map_err(failed("write", &path))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The keys: given ones first, then kept ones, then new ones, which are kept.
pub(super) fn keys(home: Option<&Home>, settings: &ServiceSettings) -> Result<Keys, HomeError> {
    let kept = match home {
        Some(home) => kept_keys(&home.folder().join("keys.json"))?,
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

fn kept_keys(path: &Path) -> Result<Keys, HomeError> {
    let failed = |doing| move |source| HomeError::Io { doing, path: path.to_owned(), source };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| HomeError::Keys {
            path: path.to_owned(),
            reason: format!("line {} column {}", error.line(), error.column()),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [[0; 64]; 2];
            let random = File::open("/dev/urandom")
                .and_then(|mut source| bytes.iter_mut().try_for_each(|key| source.read_exact(key)));
            random.map_err(failed("draw random bytes for"))?;
            let keys = of_bytes(bytes);
            write_new(path, &serde_json::to_vec(&keys).expect("two texts are JSON"))
                .map_err(failed("write"))?;
            Ok(keys)
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// Whole or not at all: under another name first.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_has_one_holder_who_is_named_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let now = "2026-03-02T10:11:12Z".parse().unwrap();
        let first = Home::open(&folder.path().join("state"), now).unwrap();
        let second = Home::open(first.folder(), now).err().unwrap().to_string();
        let holder = format!("in use by pid {} since 2026-03-02T10:11:12Z", std::process::id());
        assert!(second.ends_with(&holder), "{second}");
        let path = first.folder().to_owned();
        drop(first);
        assert!(Home::open(&path, now).is_ok());
    }

    #[test]
    fn keys_are_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let settings = ServiceSettings::at(&path);
        let home = Home::open(&path, Timestamp::UNIX_EPOCH).unwrap();
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
    fn a_damaged_file_of_keys_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        fs::write(folder.path().join("keys.json"), "{\"batch\": \"c2VjcmV0\"").unwrap();
        let error = keys(Some(&home), &ServiceSettings::at(folder.path())).err().unwrap().to_string();
        assert!(error.contains("keys.json") && !error.contains("c2VjcmV0"), "{error}");
    }
}
