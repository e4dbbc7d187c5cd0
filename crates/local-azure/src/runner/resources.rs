//! Resource files: downloaded into the working folder before a command starts, and nowhere else.

use super::{control::Handle, failures, patience::while_full, place::beneath};
use crate::orders::{BlobAccess, DoorError, GoOn, NodeFailure, ResourceFileOrder, ResourceSource};
use dropmill_azure_wire::blob::FileMetadata;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Default mode of a resource file on Linux in Batch.
const DEFAULT_MODE: u32 = 0o770;
/// Characters that are not encoded in the path of a URL.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A file to download, with its path below the working folder.
pub(super) struct Wanted {
    /// URL of the blob.
    pub url: String,
    /// Path as in the order, for messages.
    pub path: String,
    /// The same path, checked.
    pub below: PathBuf,
}

/// Downloads all files in order; `Ok(false)` if the launch was asked to end. While the disk is full, it waits
/// and retries the current file only.
///
/// # Errors
/// Returns the failure of the first file that could not be downloaded.
pub(super) fn bring(
    files: &[ResourceFileOrder],
    working: &Path,
    door: &dyn BlobAccess,
    handle: &Handle,
) -> Result<bool, NodeFailure> {
    let go_on: GoOn<'_> = &|| handle.asked().is_none();
    for file in files {
        if !go_on() {
            return Ok(false);
        }
        let asked = mode(file)?;
        for wanted in wanted(file, door, go_on)? {
            if !go_on() {
                return Ok(false);
            }
            let local =
                |error: io::Error| failures::resource_path(false, file, &wanted.path, &error.to_string());
            while_full(handle, || {
                let place = make_place(working, &wanted.below).map_err(local)?;
                let facts = door
                    .fetch(&wanted.url, &place, go_on)
                    .map_err(|error| failures::resource(file, &wanted.path, &error))?;
                settle(&place, asked, &facts).map_err(local)
            })?;
        }
    }
    Ok(true)
}

/// Sets the mode of a file: the requested one, or that in the blob's metadata; and the modification time in
/// the metadata.
fn settle(place: &Path, asked: Option<u32>, facts: &FileMetadata) -> io::Result<()> {
    if let Some(modified) = facts.modified {
        // Opened before the mode is set, which may remove the owner's permission to read.
        File::options().write(true).open(place)?.set_modified(modified)?;
    }
    let mode = asked.or(facts.mode).unwrap_or(DEFAULT_MODE);
    fs::set_permissions(place, fs::Permissions::from_mode(mode))
}

/// Returns the files of one order.
///
/// # Errors
/// Returns the failure if a path leads out of the working folder or a container cannot be listed.
pub(super) fn wanted(
    file: &ResourceFileOrder,
    door: &dyn BlobAccess,
    go_on: GoOn<'_>,
) -> Result<Vec<Wanted>, NodeFailure> {
    let refused = |path: &str| {
        failures::resource_path(true, file, path, "the path is empty or leads out of the working folder")
    };
    let folder = beneath(&file.file_path).ok_or_else(|| refused(&file.file_path))?;
    match &file.source {
        ResourceSource::Url(_) if folder.as_os_str().is_empty() => Err(refused(&file.file_path)),
        ResourceSource::Url(url) => {
            Ok(vec![Wanted { url: url.clone(), path: file.file_path.clone(), below: folder }])
        }
        ResourceSource::Container { url, prefix } => {
            let names = door
                .list(url, prefix, go_on)
                .map_err(|error| failures::resource(file, &file.file_path, &error))?;
            // A name that ends in `/` is a folder marker of some tools, without content.
            let names = names.iter().filter(|name| !name.ends_with('/'));
            names
                .map(|name| {
                    let path = format!("{}/{name}", file.file_path.trim_end_matches('/'));
                    let below = beneath(name).filter(|below| !below.as_os_str().is_empty());
                    let below = folder.join(below.ok_or_else(|| refused(&path))?);
                    Ok(Wanted { url: blob_url(url, name), path, below })
                })
                .collect()
        }
    }
}

/// Inserts a blob's name into a container's URL, before the query.
fn blob_url(container: &str, name: &str) -> String {
    let (address, query) = container.split_once('?').map_or((container, None), |(a, q)| (a, Some(q)));
    let name = utf8_percent_encode(name, SEGMENT);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", address.trim_end_matches('/'))
}

/// Creates the folders of a file and removes an existing entry; never follows links.
fn make_place(working: &Path, below: &Path) -> io::Result<PathBuf> {
    let mut folder = working.to_owned();
    for segment in below.parent().into_iter().flatten() {
        folder.push(segment);
        match dropmill_private_files::create_folder(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&folder)?.is_dir() {
                    return Err(io::Error::other(format!(
                        "{} is in the way and no folder",
                        folder.display()
                    )));
                }
            }
            outcome => outcome?,
        }
    }
    let place = working.join(below);
    match fs::symlink_metadata(&place) {
        Ok(metadata) if metadata.is_dir() => {
            Err(io::Error::other(format!("cannot replace the folder {}", place.display())))
        }
        Ok(_) => fs::remove_file(&place).map(|()| place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(place),
        Err(error) => Err(error),
    }
}

/// Returns the permissions only: no set-user-id for a downloaded file.
fn mode(file: &ResourceFileOrder) -> Result<Option<u32>, NodeFailure> {
    let Some(text) = &file.file_mode else { return Ok(None) };
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o7777).map(|mode| mode & 0o777);
    mode.map(Some).ok_or_else(|| {
        let what = format!("expected an octal file mode, found {text}");
        failures::resource_path(true, file, &file.file_path, &what)
    })
}

/// Returns the content of a file for a node without files.
///
/// # Errors
/// Returns the failure if it could not be downloaded.
pub(super) fn content(
    file: &ResourceFileOrder,
    wanted: &Wanted,
    door: &dyn BlobAccess,
) -> Result<Vec<u8>, NodeFailure> {
    mode(file)?;
    let fetched: Result<_, DoorError> = door.fetch_bytes(&wanted.url);
    fetched.map_err(|error| failures::resource(file, &wanted.path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_name_goes_into_the_path_and_not_into_the_query() {
        assert_eq!(
            blob_url("http://h/a/c?sv=1&sig=x%3D", "d/e f?#%.txt"),
            "http://h/a/c/d/e%20f%3F%23%25.txt?sv=1&sig=x%3D"
        );
        assert_eq!(blob_url("http://h/a/c/", "é"), "http://h/a/c/%C3%A9");
    }

    #[test]
    fn modes_are_octal_permissions() {
        let file = |mode: Option<&str>| ResourceFileOrder {
            source: ResourceSource::Url("http://h/a/c/b?sig=x".into()),
            file_path: "b".into(),
            file_mode: mode.map(str::to_owned),
        };
        for (text, expected) in [
            (None, Some(0o770)),
            (Some("0755"), Some(0o755)),
            (Some("644"), Some(0o644)),
            (Some("4755"), Some(0o755)),
            (Some("0888"), None),
            (Some(""), None),
            (Some("rwx"), None),
            (Some("100644"), None),
        ] {
            assert_eq!(mode(&file(text)).ok().map(|mode| mode.unwrap_or(DEFAULT_MODE)), expected, "{text:?}");
        }
    }
}
