//! Application packages on a node: unpacked beside their place and moved there whole, so that no command ever sees
//! half of one, also after a crash.
//!
//! A zip file comes from anywhere. Its entries go where their names say only if that is below the package's folder;
//! links in it are refused; and it may not become much more than it is.

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

/// The most entries of a package.
const MOST_ENTRIES: usize = 200_000;
/// A package may become this many times as long as its file: text compresses to a twentieth, a bomb to a thousandth.
const MOST_TIMES: u64 = 200;
/// What any package may become.
const ALWAYS_BYTES: u64 = 64 << 20;
/// Where a package is unpacked before it is moved to its place; no application has this name.
const STAGING: &str = "applications/.unpacking";

/// Puts packages on nodes, one at a time.
#[derive(Default)]
pub(super) struct Packages {
    turn: Mutex<()>,
}

impl Packages {
    /// Makes sure that packages are on the node with this root. `renew`: those that have changed since are unpacked
    /// anew; only for a node on which nothing runs.
    ///
    /// # Errors
    /// With the failure to show for the first package that cannot be had.
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

/// Looks whether a path leads to a package: a folder, or a zip file whose every entry may be unpacked.
///
/// # Errors
/// Why not.
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

/// What a zip file is now: path, length, when it changed. A folder is taken for changed each time.
fn identity(source: &Path) -> io::Result<Option<String>> {
    let metadata = fs::metadata(source)?;
    if metadata.is_dir() {
        return Ok(None);
    }
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(format!("{} {} {}", source.display(), metadata.len(), changed.as_nanos())))
}

/// Puts a package in its place. If that fails, nothing of it stays on the node: a file that is rejected only when most of
/// it is unpacked would fill the disk of each node.
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
        tracing::warn!(%folder, %error, "cannot remove what was unpacked of a package that is rejected");
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

/// Copies a folder. Its links are its owner's own and are made again as they are; nothing is written through one,
/// because what is a link in the original has nothing below it.
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
        return Err(refused(&format!("it has {} entries, more than {MOST_ENTRIES}", archive.len())));
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
        // New, so that nothing is written twice.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place)?;
        // What the archive says of lengths is not believed.
        let written = io::copy(&mut packed.by_ref().take(left.saturating_add(1)), &mut file)?;
        left = left.checked_sub(written).ok_or_else(|| refused("it becomes too long when it is unpacked"))?;
        file.flush()?;
        fs::set_permissions(&place, Permissions::from_mode(entry.mode))?;
    }
    Ok(())
}

/// An entry that may be unpacked.
struct Entry {
    below: PathBuf,
    is_folder: bool,
    mode: u32,
}

impl Entry {
    fn of<R: Read>(packed: &zip::read::ZipFile<'_, R>) -> io::Result<Self> {
        let name = String::from_utf8_lossy(packed.name_raw()).into_owned();
        // Some programs of Windows write their own separators.
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
        // Without set-user-id; an archive that tells no modes may hold programs.
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
