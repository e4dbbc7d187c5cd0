//! Tests on a real file system. Those that need another user are effective only if run as root.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn message<T>(outcome: Result<T, PrivateError>) -> String {
    outcome.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn new_folders_and_files_are_private() {
    let home = tempfile::tempdir().unwrap();
    let deep = home.path().join("above/state");
    folder(&deep).unwrap();
    folder(&deep).unwrap();
    assert_eq!((mode_of(&deep), mode_of(deep.parent().unwrap())), (0o700, 0o700));
    let path = deep.join("f");
    open_or_create(&path).unwrap().write_all(b"kept").unwrap();
    drop(open_or_create(&path).unwrap());
    assert_eq!((mode_of(&path), fs::read_to_string(&path).unwrap()), (0o600, "kept".into()));
    assert_eq!(create_new(&path).err().unwrap().io_kind(), Some(io::ErrorKind::AlreadyExists));
}

#[test]
fn read_access_of_other_users_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let (state, file) = (home.path().join("state"), home.path().join("state/f"));
    fs::create_dir(&state).unwrap();
    fs::write(&file, "kept").unwrap();
    set_mode(&state, 0o755);
    set_mode(&file, 0o644);
    folder(&state).unwrap();
    drop(open_or_create(&file).unwrap());
    assert_eq!((mode_of(&state), mode_of(&file)), (0o700, 0o600));
    set_mode(&state, 0o755);
    folder_of_user(&state).unwrap();
    assert_eq!(mode_of(&state), 0o755, "the mode of a user's folder is kept");
}

#[test]
fn paths_writable_by_others_are_rejected_with_the_command_to_fix_them() {
    let home = tempfile::tempdir().unwrap();
    let (state, file) = (home.path().join("state"), home.path().join("f"));
    fs::create_dir(&state).unwrap();
    fs::write(&file, "").unwrap();
    set_mode(&state, 0o770);
    set_mode(&file, 0o666);
    for rejected in [message(folder(&state)), message(folder_of_user(&state))] {
        let fix = format!("`chmod -R go-w {}`", state.display());
        assert!(rejected.contains("mode 0770") && rejected.contains(&fix), "{rejected}");
    }
    let rejected = message(open_or_create(&file));
    assert!(rejected.contains("mode 0666"), "{rejected}");
    assert_eq!((mode_of(&state), mode_of(&file)), (0o770, 0o666), "a rejected path is not changed");
    fs::write(home.path().join("d.db-wal"), "").unwrap();
    set_mode(&home.path().join("d.db-wal"), 0o660);
    assert!(message(database(&home.path().join("d.db"))).contains("d.db-wal"));
}

#[test]
fn links_are_not_followed() {
    let home = tempfile::tempdir().unwrap();
    let (target, link) = (home.path().join("target"), home.path().join("link"));
    fs::write(&target, "mine").unwrap();
    symlink(&target, &link).unwrap();
    assert!(message(open_or_create(&link)).contains("symbolic link"));
    assert!(message(database(&link)).contains("symbolic link"));
    // Also if the link has the name of the temporary file.
    symlink(&target, home.path().join("kept.new")).unwrap();
    replace(&home.path().join("kept"), b"new", File::sync_all).unwrap();
    replace(&link, b"new", File::sync_all).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    for path in ["kept", "link"] {
        let path = home.path().join(path);
        assert_eq!((mode_of(&path), fs::read_to_string(&path).unwrap()), (0o600, "new".into()));
    }
    let second = home.path().join("second");
    fs::hard_link(&target, &second).unwrap();
    assert!(message(open_or_create(&second)).contains("2 names"));
}

#[test]
fn only_links_of_this_user_to_folders_are_followed() {
    let home = tempfile::tempdir().unwrap();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    folder(&real).unwrap();
    symlink(&real, &link).unwrap();
    folder(&link).unwrap();
    folder(&link.join("runs")).unwrap();
    assert_eq!(database(&link.join("d.db")).unwrap(), fs::canonicalize(&real).unwrap().join("d.db"));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (us, other) = (rustix::process::geteuid().as_raw(), 12_345);
    std::os::unix::fs::lchown(&link, Some(other), None).unwrap();
    assert!(message(folder(&link)).contains("symbolic link"));
    std::os::unix::fs::chown(&real, Some(other), None).unwrap();
    let rejected = message(folder(&real));
    let expected = format!("it belongs to user {other}, this process runs as user {us}");
    assert!(rejected.contains(&expected) && rejected.contains("--state DIR"), "{rejected}");
    let file = home.path().join("f");
    fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(other), None).unwrap();
    assert!(message(open_or_create(&file)).contains("belongs to user 12345"));
}

#[test]
fn other_kinds_of_files_are_rejected_without_blocking() {
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(message(open_or_create(&pipe)).contains("found a device, socket or FIFO"));
    assert!(message(folder(&pipe)).contains("expected a folder"));
    let inner = home.path().join("inner");
    folder(&inner).unwrap();
    assert!(message(open_or_create(&inner)).contains("found a folder"));
}

#[test]
fn a_secret_accessible_to_others_is_rejected_with_the_command_to_fix_it() {
    let home = tempfile::tempdir().unwrap();
    let (key, link) = (home.path().join("key.pem"), home.path().join("link.pem"));
    fs::write(&key, "secret").unwrap();
    symlink(&key, &link).unwrap();
    for (mode, is_used) in [
        (0o600, true),
        (0o400, true),
        (0o700, true),
        (0o640, false),
        (0o604, false),
        (0o620, false),
        (0o602, false),
        (0o601, false),
        (0o644, false),
        (0o777, false),
    ] {
        set_mode(&key, mode);
        for path in [&key, &link] {
            let rejected = message(open_secret(path));
            let fix = format!("(mode {mode:04o}); run `chmod 600 {}`", path.display());
            assert_eq!(rejected.contains(&fix), !is_used, "{mode:o}: {rejected}");
        }
        assert_eq!(mode_of(&key), mode, "a rejected path is not changed");
    }
    assert!(message(open_secret(&home.path().join("none"))).contains("cannot open"));
}
