//! Application packages on a node: unpacked in a temporary folder and moved to their place as a whole, so
//! that no command ever sees an incomplete one, even after a crash.
//!
//! A zip file is not trusted. Its entries are unpacked only if their names are below the package's folder;
//! links are rejected; and its unpacked size is limited.

use super::{control::lock, failures, place::beneath};
use crate::orders::{NodeFailure, PackageOrder};
use dropmill_private_files as private_files;
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Mutex,
    time::UNIX_EPOCH,
};
use zip::ZipArchive;

/// Maximum number of entries of a package.
const MOST_ENTRIES: usize = 200_000;
/// Maximum ratio of the unpacked size to the length of the file: text is compressed to a twentieth, a zip
/// bomb to a thousandth.
const MOST_TIMES: u64 = 200;
/// Unpacked size that is always allowed.
const ALWAYS_BYTES: u64 = 64 << 20;
/// Folder for unpacking a package before it is moved to its place; no application has this name.
const STAGING: &str = "applications/.unpacking";

/// Installs packages on nodes, one at a time.
#[derive(Default)]
pub(super) struct Packages {
    turn: Mutex<()>,
}

impl Packages {
    /// Makes sure that packages are installed on the node with this root. `renew`: unpack changed ones again;
    /// only for a node on which nothing runs.
    ///
    /// # Errors
    /// Returns the failure of the first package that cannot be installed.
    pub fn provide(&self, root: &Path, packages: &[PackageOrder], renew: bool) -> Result<(), NodeFailure> {
        for package in packages {
            let failed = |what: &str| failures::package(&package.application, &package.version, what);
            let place = root.join(package.directory());
            if !renew && place.is_dir() {
                continue;
            }
            let Some(source) = &package.source else {
                return Err(failed("the service was started without this package"));
            };
            let _turn = lock(&self.turn);
            let outcome = identity(source).and_then(|identity| {
                let stamp = place.with_file_name(format!(".{}", package.version));
                let known = || fs::read_to_string(&stamp).ok() == identity && identity.is_some();
                if place.is_dir() && (!renew || known()) {
                    return Ok(());
                }
                put(source, root, &place)?;
                identity.as_ref().map_or(Ok(()), |identity| {
                    Ok(private_files::replace(&stamp, identity.as_bytes(), |_| Ok(()))?)
                })
            });
            outcome.map_err(|error| failed(&format!("{}: {error}", source.display())))?;
        }
        Ok(())
    }
}

/// Checks whether a path is a package: a folder, or a zip file with valid entries only.
///
/// # Errors
/// Returns the reason why it is not.
pub fn check(source: &Path) -> io::Result<()> {
    if fs::metadata(source)?.is_dir() {
        return Ok(());
    }
    let mut archive = open(source)?;
    for number in 0..archive.len() {
        Entry::of(&archive.by_index_raw(number)?)?;
    }
    Ok(())
}

/// Returns the identity of a zip file: path, length, modification time. A folder always counts as changed.
fn identity(source: &Path) -> io::Result<Option<String>> {
    let metadata = fs::metadata(source)?;
    if metadata.is_dir() {
        return Ok(None);
    }
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(format!("{} {} {}", source.display(), metadata.len(), changed.as_nanos())))
}

/// Installs a package. If that fails, nothing of it stays on the node: a file that is rejected late would
/// fill the disk of each node.
fn put(source: &Path, root: &Path, place: &Path) -> io::Result<()> {
    let staging = root.join(STAGING);
    clear(&staging)?;
    let outcome = stage(source, &staging).and_then(|()| {
        clear(place)?;
        place.parent().map_or(Ok(()), private_files::create_folders)?;
        fs::rename(&staging, place)
    });
    if outcome.is_err()
        && let Err(error) = clear(&staging)
    {
        let folder = staging.display();
        tracing::warn!(%folder, %error, "cannot remove the unpacked part of a rejected package");
    }
    outcome
}

fn stage(source: &Path, staging: &Path) -> io::Result<()> {
    private_files::create_folders(staging)?;
    if fs::metadata(source)?.is_dir() { copy(source, staging) } else { unpack(source, staging) }
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Copies a folder. Its links belong to its owner and are copied unchanged; nothing is written through them,
/// because a link has nothing below it in the original.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, place) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&place)?;
            copy(&entry.path(), &place)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &place)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}

fn open(source: &Path) -> io::Result<ZipArchive<File>> {
    let archive = ZipArchive::new(File::open(source)?)?;
    if archive.len() > MOST_ENTRIES {
        return Err(refused(&format!("expected at most {MOST_ENTRIES} entries, found {}", archive.len())));
    }
    Ok(archive)
}

fn unpack(source: &Path, to: &Path) -> io::Result<()> {
    let mut archive = open(source)?;
    let mut left = fs::metadata(source)?.len().saturating_mul(MOST_TIMES).max(ALWAYS_BYTES);
    for number in 0..archive.len() {
        let mut packed = archive.by_index(number)?;
        let entry = Entry::of(&packed)?;
        let place = to.join(&entry.below);
        if entry.is_folder {
            fs::create_dir_all(&place)?;
            continue;
        }
        place.parent().map_or(Ok(()), fs::create_dir_all)?;
        // Created new, so that nothing is written twice.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place)?;
        // The lengths in the archive are not trusted.
        let written = io::copy(&mut packed.by_ref().take(left.saturating_add(1)), &mut file)?;
        left = left.checked_sub(written).ok_or_else(|| refused("its unpacked size is too large"))?;
        file.flush()?;
        fs::set_permissions(&place, Permissions::from_mode(entry.mode))?;
    }
    Ok(())
}

/// An entry that can be unpacked.
struct Entry {
    below: PathBuf,
    is_folder: bool,
    mode: u32,
}

impl Entry {
    fn of<R: Read>(packed: &zip::read::ZipFile<'_, R>) -> io::Result<Self> {
        let name = String::from_utf8_lossy(packed.name_raw()).into_owned();
        // Some Windows programs write backslashes.
        let below = beneath(&name.replace('\\', "/")).filter(|_| !has_drive(&name));
        let below = below.ok_or_else(|| refused(&format!("the entry {name:?} leads out of it")))?;
        let mode = packed.unix_mode();
        let kind = mode.map_or(0, |mode| mode & 0o170_000);
        if packed.is_symlink() || !matches!(kind, 0 | 0o100_000 | 0o040_000) {
            return Err(refused(&format!("the entry {name:?} is neither file nor folder")));
        }
        if packed.encrypted() {
            return Err(refused(&format!("the entry {name:?} is encrypted")));
        }
        let is_folder = packed.is_dir() || name.ends_with('\\') || kind == 0o040_000;
        if !is_folder && below.as_os_str().is_empty() {
            return Err(refused(&format!("the entry {name:?} has no name")));
        }
        // Without set-user-id; an archive without modes may contain programs.
        let permissions = mode.map(|mode| mode & 0o777).filter(|mode| *mode != 0).unwrap_or(0o755);
        Ok(Self { below, is_folder, mode: permissions | 0o600 })
    }
}

fn has_drive(name: &str) -> bool {
    name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic()
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
