//! Files and folders that only their owner can use, whatever the umask.
//!
//! Everything that Dropmill keeps for itself (journals, keys, databases, locks, node folders) is created and opened here,
//! so that there is one place that decides about modes: 0700 for a folder, 0600 for a file. What exists is checked
//! before it is used, on an open handle: it must belong to the user of this process and other users must not be able to
//! write to it. What other users can only read is tightened. Links of other users and links to files are never followed,
//! and a file is replaced by a rename, never by truncation.
//!
//! Results are not created here: users read them, so they keep the modes that the umask gives.
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

/// A file or folder of ours cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Another user owns it, and can read and change what is in it.
    #[error(
        "cannot use {}: it belongs to user {owner}, this process runs as user {user}; \
         run as user {owner}, or choose another state folder with --state DIR",
        path.display()
    )]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// Numeric id of the user who owns it.
        owner: u32,
        /// Numeric id of the user of this process.
        user: u32,
    },
    /// Other users can change what is in it.
    #[error(
        "cannot use {0}: other users can write to it (mode {mode:04o}); check that its content is yours, then run \
         `chmod -R go-w {0}`",
        path.display()
    )]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Other users can read a secret.
    #[error("cannot use {0}: other users can read it (mode {mode:04o}); run `chmod 600 {0}`", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is a link, which may lead to a file that is not ours.
    #[error("cannot use {}: it is a symbolic link; remove it, nothing is written through it", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// It has a second name, by which it may be somebody else's file.
    #[error(
        "cannot use {}: it has {names} names (hard links); replace it by a copy, so that no other file changes with it",
        path.display()
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// How many names it has.
        names: u64,
    },
    /// Something else has its name.
    #[error("cannot use {}: expected a {expected}, found {found}; move it away", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// `file` or `folder`.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The file system refuses.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl PrivateError {
    /// Returns the kind of the file system's own error, if it was one.
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

/// Creates a folder and those above it that are missing, or checks and tightens the one that exists.
///
/// The last segment may be a link if the user of this process or root made it: people move state folders to larger disks.
///
/// # Errors
/// Fails if another user owns the folder or can write to it, if it is no folder, or if the file system refuses.
pub fn folder(path: &Path) -> Result<(), PrivateError> {
    existing_folder_or_new(path, Keep::Tightened)
}

/// Creates a folder as [`folder`] does, but leaves the mode of one that exists: for folders that users name for other
/// purposes too, such as that of a recording.
///
/// # Errors
/// As [`folder`].
pub fn folder_of_user(path: &Path) -> Result<(), PrivateError> {
    existing_folder_or_new(path, Keep::AsItIs)
}

/// Creates a folder below one of ours: its name must be free, and nothing above it is created. For folders that are made
/// by the thousand; [`folder`] also checks one that exists.
///
/// # Errors
/// Fails if the name is taken, or if the file system refuses.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER).create(path)
}

/// Creates a folder and those above it that are missing, below one of ours. One that exists is used as it is.
///
/// # Errors
/// Fails if the file system refuses.
pub fn create_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Creates a file that must not exist yet, and opens it for reading and writing.
///
/// # Errors
/// Fails if the name is taken ([`io::ErrorKind::AlreadyExists`]), or if the file system refuses.
pub fn create_new(path: &Path) -> Result<File, PrivateError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = open(path, flags, Mode::from_raw_mode(FILE)).map_err(failed("create", path))?;
    // A umask may even take the owner's own rights away.
    let facts = fstat(&made).map_err(failed("check", path))?;
    if mode(&facts) != FILE {
        fchmod(&made, Mode::from_raw_mode(FILE)).map_err(failed("set the mode of", path))?;
    }
    Ok(made.into())
}

/// Reads a file without following a link in its place. Whose it is does not matter: root may read the state of others.
///
/// # Errors
/// Fails if it is a link or no plain file, or if the file system refuses.
pub fn read(path: &Path) -> Result<Vec<u8>, PrivateError> {
    let mut content = vec![];
    let read = open_to_read(path)?.read_to_end(&mut content);
    read.map_err(|source| PrivateError::Io { doing: "read", path: path.to_owned(), source })?;
    Ok(content)
}

/// Opens a file for reading, as [`read`] does.
///
/// # Errors
/// As [`read`].
pub fn open_to_read(path: &Path) -> Result<File, PrivateError> {
    opened(path, OFlags::RDONLY).map(|(file, _)| file)
}

/// Opens a file for reading and writing, or creates it. Its content stays.
///
/// # Errors
/// Fails if the file is a link, belongs to another user, can be written to by others or has a second name; or if the file
/// system refuses.
pub fn open_or_create(path: &Path) -> Result<File, PrivateError> {
    match open_existing(path) {
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => match create_new(path) {
            // Another process was quicker.
            Err(error) if error.io_kind() == Some(io::ErrorKind::AlreadyExists) => open_existing(path),
            made => made,
        },
        opened => opened,
    }
}

/// Replaces a file by one with this content, whole or not at all: the content is written beside it, then renamed.
/// `settle` decides what must be durable; it is called with the file before the rename and with its folder after it.
///
/// # Errors
/// Fails if the file system refuses.
pub fn replace(
    path: &Path,
    content: &[u8],
    settle: impl Fn(&File) -> io::Result<()>,
) -> Result<(), PrivateError> {
    let coming = with_ending(path, ".new");
    // One that a crash left; a link in its place is removed, not followed.
    match fs::remove_file(&coming) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PrivateError::Io { doing: "remove", path: coming, source: error });
        }
        _ => {}
    }
    let mut file = create_new(&coming)?;
    let written = file.write_all(content).and_then(|()| settle(&file));
    written.map_err(|source| PrivateError::Io { doing: "write", path: coming.clone(), source })?;
    let named = fs::rename(&coming, path)
        .and_then(|()| path.parent().map_or(Ok(()), |folder| settle(&File::open(folder)?)));
    named.map_err(|source| PrivateError::Io { doing: "replace", path: path.to_owned(), source })
}

/// Prepares the file of an SQLite database: the file exists with our mode before SQLite opens it, because SQLite creates
/// by umask and gives its other files the mode of the first. Returns the path to open, without links in it, so that
/// SQLite can be told to follow none.
///
/// # Errors
/// As [`open_or_create`], for the database and for the files that SQLite keeps beside it.
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

/// Returns the path with the links above its last segment resolved.
///
/// # Errors
/// Fails if the folder cannot be found.
pub fn without_links(path: &Path) -> Result<PathBuf, PrivateError> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = fs::canonicalize(above).map_err(|source| PrivateError::Io {
        doing: "find",
        path: above.to_owned(),
        source,
    })?;
    Ok(above.join(path.file_name().unwrap_or_default()))
}

/// What becomes of the mode of a folder that others can read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Tightened,
    AsItIs,
}

fn existing_folder_or_new(path: &Path, keep: Keep) -> Result<(), PrivateError> {
    let made = create_folder(path).or_else(|error| match path.parent() {
        Some(above) if error.kind() == io::ErrorKind::NotFound && !above.as_os_str().is_empty() => {
            create_folders(above)?;
            create_folder(path)
        }
        _ => Err(error),
    });
    let is_new = made.is_ok();
    if let Some(source) = made.err().filter(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        return Err(PrivateError::Io { doing: "create folder", path: path.to_owned(), source });
    }
    let handle = open_folder(path)?;
    let facts = fstat(&handle).map_err(failed("check", path))?;
    match verdict(&entry(&facts), rustix::process::geteuid().as_raw(), FOLDER) {
        Verdict::Fits => Ok(()),
        Verdict::Tighten if keep == Keep::AsItIs && !is_new => Ok(()),
        Verdict::Tighten => {
            // That files in it get its group is not ours to change.
            let mode = (facts.st_mode & 0o7000) | FOLDER;
            fchmod(&handle, Mode::from_raw_mode(mode)).map_err(failed("set the mode of", path))
        }
        Verdict::Refuse => Err(refused(path, &facts)),
    }
}

/// Opens a folder for reading. A link in its place is followed only if this user or root made it.
fn open_folder(path: &Path) -> Result<impl AsFd + use<>, PrivateError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let followed = match open(path, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let facts = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("check", path))?;
            if FileType::from_raw_mode(facts.st_mode) != FileType::Symlink {
                return Err(PrivateError::Kind {
                    path: path.to_owned(),
                    expected: "folder",
                    found: kind(&facts),
                });
            }
            if ![0, rustix::process::geteuid().as_raw()].contains(&facts.st_uid) {
                return Err(PrivateError::Link { path: path.to_owned() });
            }
            open(path, flags, Mode::empty())
        }
        outcome => outcome,
    };
    followed.map_err(failed("open folder", path))
}

/// Opens a plain file, and no link to one.
fn opened(path: &Path, access: OFlags) -> Result<(File, Stat), PrivateError> {
    // Non-blocking: a FIFO in its place must not hold us up.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(PrivateError::Link { path: path.to_owned() }),
        // Whose it is says more than that it may not be opened.
        Err(Errno::ACCESS) => {
            let facts = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("check", path))?;
            return Err(match facts.st_uid == rustix::process::geteuid().as_raw() {
                true => failed("open", path)(Errno::ACCESS),
                false => refused(path, &facts),
            });
        }
        Err(Errno::ISDIR) => {
            return Err(PrivateError::Kind { path: path.to_owned(), expected: "file", found: "a folder" });
        }
        outcome => outcome.map_err(failed("open", path))?,
    };
    let facts = fstat(&file).map_err(failed("check", path))?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        return Err(PrivateError::Kind { path: path.to_owned(), expected: "file", found: kind(&facts) });
    }
    Ok((file.into(), facts))
}

/// Opens a file for reading and writing that exists.
///
/// # Errors
/// As [`open_or_create`]; [`io::ErrorKind::NotFound`] if it does not exist.
pub fn open_existing(path: &Path) -> Result<File, PrivateError> {
    let (file, facts) = opened(path, OFlags::RDWR)?;
    match verdict(&entry(&facts), rustix::process::geteuid().as_raw(), FILE) {
        Verdict::Fits => {}
        Verdict::Tighten => {
            fchmod(&file, Mode::from_raw_mode(FILE)).map_err(failed("set the mode of", path))?;
        }
        Verdict::Refuse => return Err(refused(path, &facts)),
    }
    if facts.st_nlink > 1 {
        #[allow(clippy::useless_conversion, reason = "the type differs between architectures")]
        return Err(PrivateError::Names { path: path.to_owned(), names: facts.st_nlink.into() });
    }
    Ok(file)
}

/// Opens a secret of the user's, such as a private key, for reading. It is used as it is, also behind a link, but only if
/// neither its group nor other users can read or change it.
///
/// # Errors
/// Fails if it cannot be opened, or others have rights to it.
pub fn open_secret(path: &Path) -> Result<File, PrivateError> {
    let file: File =
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", path))?.into();
    let facts = fstat(&file).map_err(failed("check", path))?;
    match mode(&facts) & OTHERS {
        0 => Ok(file),
        _ => Err(PrivateError::Readable { path: path.to_owned(), mode: mode(&facts) }),
    }
}

fn refused(path: &Path, facts: &Stat) -> PrivateError {
    let (path, user) = (path.to_owned(), rustix::process::geteuid().as_raw());
    match facts.st_uid == user {
        true => PrivateError::Writable { path, mode: mode(facts) },
        false => PrivateError::Foreign { path, owner: facts.st_uid, user },
    }
}

fn entry(facts: &Stat) -> Entry {
    Entry { owner: facts.st_uid, mode: mode(facts) }
}

fn mode(facts: &Stat) -> u32 {
    facts.st_mode & 0o777
}

fn kind(facts: &Stat) -> &'static str {
    match FileType::from_raw_mode(facts.st_mode) {
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
