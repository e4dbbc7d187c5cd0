//! Creates and opens files and folders that only their owner can use, independent of the umask.
//!
//! Dropmill uses this crate for all its internal files (journals, keys, databases, locks, node folders), so
//! that one place decides their modes: 0700 for a folder, 0600 for a file. Existing ones are checked on an
//! open handle before use: they must belong to the user of this process, and other users must not have write
//! access. Read access of other users is removed. Links of other users and links to files are never followed,
//! and a file is replaced by a rename, never by truncation.
//!
//! Results are created elsewhere: users read them, so they get the modes that the umask allows.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! let state = home.path().join("state");
//! dropmill_private_files::folder(&state)?;
//! dropmill_private_files::replace(&state.join("keys.json"), b"{}", std::fs::File::sync_all)?;
//! # Ok(())
//! # }
//! ```

mod owner;

use owner::{Entry, Verdict, verdict};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, open, statat},
    io::Errno,
};
use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

/// Mode of a folder that only its owner can use.
pub const FOLDER: u32 = 0o700;
/// Mode of a file that only its owner can use.
pub const FILE: u32 = 0o600;
/// The permissions of the group and of other users.
const OTHERS: u32 = 0o077;

/// The reason why an internal file or folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Another user owns the path and can read and change its content.
    #[error(
        "cannot use {}: it belongs to user {owner}, this process runs as user {user}; \
         run as user {owner}, or choose another state folder with --state DIR",
        path.display()
    )]
    Foreign {
        /// Path of the file or folder.
        path: PathBuf,
        /// Numeric user id of the owner.
        owner: u32,
        /// Numeric user id of this process.
        user: u32,
    },
    /// Other users have write access to the path.
    #[error(
        "cannot use {0}: other users can write to it (mode {mode:04o}); check that its content is yours, then run \
         `chmod -R go-w {0}`",
        path.display()
    )]
    Writable {
        /// Path of the file or folder.
        path: PathBuf,
        /// Permission bits of the path.
        mode: u32,
    },
    /// Other users can read a secret.
    #[error("cannot use {0}: other users can read it (mode {mode:04o}); run `chmod 600 {0}`", path.display())]
    Readable {
        /// Path of the file.
        path: PathBuf,
        /// Permission bits of the path.
        mode: u32,
    },
    /// The path is a symbolic link, which may lead to a file of another user.
    #[error("cannot use {}: it is a symbolic link; remove it, nothing is written through it", path.display())]
    Link {
        /// Path of the link.
        path: PathBuf,
    },
    /// The file has several hard links, so another user may own one of its names.
    #[error(
        "cannot use {}: it has {names} names (hard links); replace it by a copy, so that no other file changes with it",
        path.display()
    )]
    Names {
        /// Path of the file.
        path: PathBuf,
        /// Number of hard links.
        names: u64,
    },
    /// The path exists but is of another kind.
    #[error("cannot use {}: expected a {expected}, found {found}; move it away", path.display())]
    Kind {
        /// Path that was opened.
        path: PathBuf,
        /// `file` or `folder`.
        expected: &'static str,
        /// Kind that was found, with its article.
        found: &'static str,
    },
    /// An operation of the file system failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// Attempted operation, as a verb for the message.
        doing: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

impl PrivateError {
    /// Returns the kind of the underlying I/O error, if there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

impl From<PrivateError> for io::Error {
    fn from(error: PrivateError) -> Self {
        let kind = error.io_kind().unwrap_or(io::ErrorKind::PermissionDenied);
        Self::new(kind, error)
    }
}

/// Creates a folder and its missing parents. Checks an existing folder and removes the access of other users.
///
/// The last segment can be a link if the user of this process or root created it, because users move state
/// folders to larger disks.
///
/// # Errors
/// Fails if another user owns the folder or can write to it, if it is not a folder, or on an I/O error.
pub fn folder(path: &Path) -> Result<(), PrivateError> {
    existing_folder_or_new(path, ExistingMode::Tighten)
}

/// Creates a folder like [`folder`], but does not change the mode of an existing one. Use it for folders that
/// users may also use for other purposes, such as the folder of a recording.
///
/// # Errors
/// Fails under the same conditions as [`folder`].
pub fn folder_of_user(path: &Path) -> Result<(), PrivateError> {
    existing_folder_or_new(path, ExistingMode::Keep)
}

/// Creates a new folder inside an existing internal folder. Skips the checks of [`folder`], because thousands
/// of folders are created this way.
///
/// # Errors
/// Fails if the path exists, or on an I/O error.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER).create(path)
}

/// Creates a folder and its missing parents inside an existing internal folder. Accepts an existing folder
/// without checks.
///
/// # Errors
/// Fails on an I/O error.
pub fn create_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Creates a new file and opens it for reading and writing.
///
/// # Errors
/// Fails if the path exists ([`io::ErrorKind::AlreadyExists`]), or on another I/O error.
pub fn create_new(path: &Path) -> Result<File, PrivateError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let created = open(path, flags, Mode::from_raw_mode(FILE)).map_err(failed("create", path))?;
    // A umask can even remove the owner's permissions.
    let metadata = fstat(&created).map_err(failed("check", path))?;
    if mode(&metadata) != FILE {
        fchmod(&created, Mode::from_raw_mode(FILE)).map_err(failed("set the mode of", path))?;
    }
    Ok(created.into())
}

/// Reads a file; does not follow a link. Accepts any owner, so that root can read the state of other users.
///
/// # Errors
/// Fails if the path is a link or not a regular file, or on an I/O error.
pub fn read(path: &Path) -> Result<Vec<u8>, PrivateError> {
    let mut content = vec![];
    let read = open_to_read(path)?.read_to_end(&mut content);
    read.map_err(|source| PrivateError::Io { doing: "read", path: path.to_owned(), source })?;
    Ok(content)
}

/// Opens a file for reading, with the checks of [`read`].
///
/// # Errors
/// Fails under the same conditions as [`read`].
pub fn open_to_read(path: &Path) -> Result<File, PrivateError> {
    opened(path, OFlags::RDONLY).map(|(file, _)| file)
}

/// Opens a file for reading and writing; creates it if it does not exist. Does not truncate it.
///
/// # Errors
/// Fails if the file is a link, belongs to another user, is writable by others or has several hard links, or
/// on an I/O error.
pub fn open_or_create(path: &Path) -> Result<File, PrivateError> {
    match open_existing(path) {
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => match create_new(path) {
            // Another process created the file in the meantime.
            Err(error) if error.io_kind() == Some(io::ErrorKind::AlreadyExists) => open_existing(path),
            created => created,
        },
        opened => opened,
    }
}

/// Replaces the content of a file atomically: writes a temporary file next to it and renames that. `settle`
/// makes the result as durable as the caller needs; it is called with the file before the rename and with its
/// folder afterwards.
///
/// # Errors
/// Fails on an I/O error, or if `settle` fails.
pub fn replace(
    path: &Path,
    content: &[u8],
    settle: impl Fn(&File) -> io::Result<()>,
) -> Result<(), PrivateError> {
    let temporary = with_ending(path, ".new");
    // Remove a temporary file that a crash left behind. This also removes a link instead of following it.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PrivateError::Io { doing: "remove", path: temporary, source: error });
        }
        _ => {}
    }
    let mut file = create_new(&temporary)?;
    let written = file.write_all(content).and_then(|()| settle(&file));
    written.map_err(|source| PrivateError::Io { doing: "write", path: temporary.clone(), source })?;
    let named = fs::rename(&temporary, path)
        .and_then(|()| path.parent().map_or(Ok(()), |folder| settle(&File::open(folder)?)));
    named.map_err(|source| PrivateError::Io { doing: "replace", path: path.to_owned(), source })
}

/// Creates or checks the file of an SQLite database before SQLite opens it: SQLite would create it with the
/// mode of the umask, and gives its auxiliary files the mode of the database. Returns the path without links,
/// so that the caller can open it with `SQLITE_OPEN_NOFOLLOW`.
///
/// # Errors
/// Fails under the same conditions as [`open_or_create`], for the database and for the auxiliary files of
/// SQLite.
pub fn database(path: &Path) -> Result<PathBuf, PrivateError> {
    drop(open_or_create(path)?);
    for ending in ["-wal", "-shm", "-journal"] {
        let beside = with_ending(path, ending);
        match open_existing(&beside) {
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {}
            outcome => drop(outcome?),
        }
    }
    without_links(path)
}

/// Resolves the links in a path, except for its last segment.
///
/// # Errors
/// Fails if the parent folder cannot be resolved.
pub fn without_links(path: &Path) -> Result<PathBuf, PrivateError> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = fs::canonicalize(above).map_err(|source| PrivateError::Io {
        doing: "find",
        path: above.to_owned(),
        source,
    })?;
    Ok(above.join(path.file_name().unwrap_or_default()))
}

/// How to handle the mode of an existing folder that other users can read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExistingMode {
    Tighten,
    Keep,
}

fn existing_folder_or_new(path: &Path, existing: ExistingMode) -> Result<(), PrivateError> {
    let created = create_folder(path).or_else(|error| match path.parent() {
        Some(above) if error.kind() == io::ErrorKind::NotFound && !above.as_os_str().is_empty() => {
            create_folders(above)?;
            create_folder(path)
        }
        _ => Err(error),
    });
    let is_new = created.is_ok();
    if let Some(source) = created.err().filter(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        return Err(PrivateError::Io { doing: "create folder", path: path.to_owned(), source });
    }
    let handle = open_folder(path)?;
    let metadata = fstat(&handle).map_err(failed("check", path))?;
    match verdict(&entry(&metadata), rustix::process::geteuid().as_raw(), FOLDER) {
        Verdict::Usable => Ok(()),
        Verdict::Tighten if existing == ExistingMode::Keep && !is_new => Ok(()),
        Verdict::Tighten => {
            // Keep the set-group-ID and sticky bits, which the user may have set.
            let mode = (metadata.st_mode & 0o7000) | FOLDER;
            fchmod(&handle, Mode::from_raw_mode(mode)).map_err(failed("set the mode of", path))
        }
        Verdict::Reject => Err(ownership_error(path, &metadata)),
    }
}

/// Opens a folder for reading. Follows a link only if this user or root created it.
fn open_folder(path: &Path) -> Result<impl AsFd + use<>, PrivateError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let followed = match open(path, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let metadata = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("check", path))?;
            if FileType::from_raw_mode(metadata.st_mode) != FileType::Symlink {
                return Err(PrivateError::Kind {
                    path: path.to_owned(),
                    expected: "folder",
                    found: kind(&metadata),
                });
            }
            if ![0, rustix::process::geteuid().as_raw()].contains(&metadata.st_uid) {
                return Err(PrivateError::Link { path: path.to_owned() });
            }
            open(path, flags, Mode::empty())
        }
        outcome => outcome,
    };
    followed.map_err(failed("open folder", path))
}

/// Opens a regular file; does not follow a link.
fn opened(path: &Path, access: OFlags) -> Result<(File, Stat), PrivateError> {
    // Non-blocking, because opening a FIFO would otherwise wait for a writer.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(PrivateError::Link { path: path.to_owned() }),
        // An error that names the owner is more helpful than "permission denied".
        Err(Errno::ACCESS) => {
            let metadata = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("check", path))?;
            return Err(match metadata.st_uid == rustix::process::geteuid().as_raw() {
                true => failed("open", path)(Errno::ACCESS),
                false => ownership_error(path, &metadata),
            });
        }
        Err(Errno::ISDIR) => {
            return Err(PrivateError::Kind { path: path.to_owned(), expected: "file", found: "a folder" });
        }
        outcome => outcome.map_err(failed("open", path))?,
    };
    let metadata = fstat(&file).map_err(failed("check", path))?;
    if FileType::from_raw_mode(metadata.st_mode) != FileType::RegularFile {
        return Err(PrivateError::Kind { path: path.to_owned(), expected: "file", found: kind(&metadata) });
    }
    Ok((file.into(), metadata))
}

/// Opens an existing file for reading and writing.
///
/// # Errors
/// Fails under the same conditions as [`open_or_create`], and with [`io::ErrorKind::NotFound`] if the file
/// does not exist.
pub fn open_existing(path: &Path) -> Result<File, PrivateError> {
    let (file, metadata) = opened(path, OFlags::RDWR)?;
    match verdict(&entry(&metadata), rustix::process::geteuid().as_raw(), FILE) {
        Verdict::Usable => {}
        Verdict::Tighten => {
            fchmod(&file, Mode::from_raw_mode(FILE)).map_err(failed("set the mode of", path))?;
        }
        Verdict::Reject => return Err(ownership_error(path, &metadata)),
    }
    if metadata.st_nlink > 1 {
        #[allow(clippy::useless_conversion, reason = "the type differs between architectures")]
        return Err(PrivateError::Names { path: path.to_owned(), names: metadata.st_nlink.into() });
    }
    Ok(file)
}

/// Opens a secret file of the user, such as a private key, for reading. Follows links and does not change the
/// mode, but requires that neither the group nor other users have any access.
///
/// # Errors
/// Fails if the file cannot be opened, or the group or other users have access to it.
pub fn open_secret(path: &Path) -> Result<File, PrivateError> {
    let file: File =
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", path))?.into();
    let metadata = fstat(&file).map_err(failed("check", path))?;
    match mode(&metadata) & OTHERS {
        0 => Ok(file),
        _ => Err(PrivateError::Readable { path: path.to_owned(), mode: mode(&metadata) }),
    }
}

fn ownership_error(path: &Path, metadata: &Stat) -> PrivateError {
    let (path, user) = (path.to_owned(), rustix::process::geteuid().as_raw());
    match metadata.st_uid == user {
        true => PrivateError::Writable { path, mode: mode(metadata) },
        false => PrivateError::Foreign { path, owner: metadata.st_uid, user },
    }
}

fn entry(metadata: &Stat) -> Entry {
    Entry { owner: metadata.st_uid, mode: mode(metadata) }
}

fn mode(metadata: &Stat) -> u32 {
    metadata.st_mode & 0o777
}

fn kind(metadata: &Stat) -> &'static str {
    match FileType::from_raw_mode(metadata.st_mode) {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        _ => "a device, socket or FIFO",
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> PrivateError + use<> {
    let path = path.to_owned();
    move |error| PrivateError::Io { doing, path, source: error.into() }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests;
