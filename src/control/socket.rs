//! The place of the socket. The address of a socket has at most 107 bytes, and the path of a run's folder
//! may be longer. So the folder is opened, and the address names it by its file descriptor. On a file system
//! without sockets, the socket is in the user's runtime folder.

use rustix::fs::{CWD, Mode, OFlags, openat};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt, unix::net},
    path::{Path, PathBuf},
};

/// The name of the socket in the folder of a run.
pub const SOCKET: &str = "control.sock";

/// Listens in a folder that this process has locked. A socket that a previous process left is replaced.
///
/// # Errors
/// Fails if the socket can be created neither in the folder nor in the user's runtime folder.
pub fn listen(folder: &Path) -> io::Result<(net::UnixListener, PathBuf)> {
    let in_folder = bind(&folder.join(SOCKET));
    match (in_folder, in_runtime_folder(folder)) {
        (Ok(listener), _) => Ok((listener, folder.join(SOCKET))),
        (Err(_), Some(path)) => {
            if let Some(parent) = path.parent() {
                dropmill_private_files::folder(parent).map_err(io::Error::other)?;
            }
            Ok((bind(&path)?, path))
        }
        (Err(error), None) => Err(error),
    }
}

/// Connects to the process that listens in a folder.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` if no process listens.
pub fn connect(folder: &Path) -> io::Result<net::UnixStream> {
    let through = |path: &Path| with_short_path(path, |short| net::UnixStream::connect(short));
    match (through(&folder.join(SOCKET)), in_runtime_folder(folder)) {
        (Err(error), Some(path)) if error.kind() == io::ErrorKind::NotFound => through(&path),
        (outcome, _) => outcome,
    }
}

fn bind(path: &Path) -> io::Result<net::UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = with_short_path(path, |short| net::UnixListener::bind(short))?;
    // Only the owner can enter the folder; the mode of the socket restricts it again.
    fs::set_permissions(path, fs::Permissions::from_mode(dropmill_private_files::FILE))?;
    Ok(listener)
}

/// Calls `use_path` with a short address, even if the path is long.
fn with_short_path<T>(path: &Path, use_path: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = openat(CWD, folder, flags, Mode::empty())?;
    use_path(&Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()).join(name))
}

/// Returns the path of the socket of a folder whose file system has no sockets.
fn in_runtime_folder(folder: &Path) -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty())?;
    let folder = fs::canonicalize(folder).ok()?;
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(Path::new(&runtime).join("dropmill").join(name + ".sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_long_path_has_a_socket_and_a_stale_one_is_replaced() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&folder).unwrap();
        let first = connect(&folder).unwrap_err();
        assert_eq!(first.kind(), io::ErrorKind::NotFound);
        let (listener, path) = listen(&folder).unwrap();
        assert_eq!(path, folder.join(SOCKET));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        connect(&folder).unwrap();
        drop(listener);
        assert_eq!(connect(&folder).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let _again = listen(&folder).unwrap();
        connect(&folder).unwrap();
    }
}
