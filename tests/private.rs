//! Files that Dropmill keeps for itself are accessible only to its user, whatever the umask is; a state
//! folder that others could change is rejected. Runs real commands, and checks all files that they leave.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Served,
    mill::{self, COUNT, Mill, put},
    on_sockets, run_file, under,
};
use rustix::fs::{CWD, FileType, Mode};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Output,
};

fn output(umask: &str, desk: &Desk, arguments: &[&str]) -> Output {
    under(umask, &desk.dropmill(arguments)).output().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the entries below a folder that other users may use, and how many entries were checked. A task's
/// own files are not checked.
fn open_to_others(top: &Path) -> (Vec<String>, usize) {
    let (mut open, mut seen, mut folders) = (vec![], 0, vec![top.to_owned()]);
    let mut look = |path: &Path| {
        // A running service may have deleted the entry since the folder was listed.
        let Ok(entry) = fs::symlink_metadata(path) else { return };
        seen += 1;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        let mode = entry.permissions().mode() & 0o777;
        if mode != expected {
            open.push(format!("{mode:04o} {}", path.display()));
        }
    };
    look(top);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            look(&path);
            if path.is_dir() && !path.ends_with("wd") {
                folders.push(path);
            }
        }
    }
    (open, seen)
}

#[track_caller]
fn is_private(top: PathBuf, at_least: usize) {
    is_private_but(top, at_least, &[]);
}

#[track_caller]
fn is_private_but(top: PathBuf, at_least: usize, names: &[&str]) {
    let (mut open, seen) = open_to_others(&top);
    open.retain(|entry| !names.iter().any(|name| entry.ends_with(&format!("/{name}"))));
    assert!(open.is_empty(), "other users may use:\n{}", open.join("\n"));
    assert!(seen >= at_least, "only {seen} entries below {}", top.display());
}

/// Writes an output file and a folder, and a line to each stream.
const COMMAND: &str =
    r#"["/bin/sh", "-c", "mkdir deep; echo x > deep/a.out; cp deep/a.out b.out; umask; echo e >&2"]"#;

#[test]
fn a_run_its_recording_and_its_service_are_private_whatever_the_umask() {
    for (umask, folder_mode, file_mode) in [("000", 0o777, 0o666), ("022", 0o755, 0o644)] {
        let desk = Desk::new();
        let more = "[cleanup]\npool = \"never\"\njob = \"never\"\ncontainers = \"never\"\n";
        let file = run_file(COMMAND, more).replace("[pool]", "outputs = [\"**/*.out\"]\n[pool]");
        // Longer than contents that the blob store keeps in its database.
        desk.write("run.toml", file).write("data/a.txt", vec![b'x'; 200_000]);
        let ran = output(umask, &desk, &["run", "run.toml", "-q", "--record", "kept"]);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        is_private(desk.path("state"), 30);
        is_private(desk.path("kept"), 4);
        let left = desk.files("state");
        for name in ["journal.db", "plan.json", "lock", "keys.json", "batch.db", "blobs.db", "stdout.txt"] {
            assert!(left.iter().any(|path| path.ends_with(name)), "no {name} in {left:#?}");
        }
        // Results are accessible to others as the umask permits.
        for folder in ["out", "out/data/a.txt", "out/data/a.txt/deep"] {
            assert_eq!(mode(&desk.path(folder)), folder_mode, "{folder}");
        }
        for file in ["deep/a.out", "b.out", "stdout.txt", "stderr.txt"] {
            assert_eq!(mode(&desk.path("out/data/a.txt").join(file)), file_mode, "{file}");
        }
        // The umask of the task is the same as without Dropmill.
        assert_eq!(
            desk.read("out/data/a.txt/stdout.txt").trim().trim_start_matches('0'),
            umask.trim_start_matches('0')
        );
    }
}

#[test]
fn state_and_work_of_a_daemon_are_always_private() {
    for umask in ["000", "022"] {
        let desk = mill::desk();
        let gate = desk.path("gate");
        rustix::fs::mknodat(CWD, &gate, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let waits = format!("timeout 60 cat '{}' > got.txt; wc -c", gate.display());
        desk.write("run.toml", COUNT.replace("wc -c", &waits));
        let more = ["--set", "watch.duplicates=skip", "--set", "notify.command=[\"/bin/true\"]"];
        let mut mill = Mill::start_under(&desk, umask, &more);
        // Two files for two runs of one daemon.
        for name in ["a.txt", "b.txt"] {
            put(&desk, name, name);
            mill.until(|said| said["kind"] == "task_running").unwrap();
            // The file itself keeps the modes that its owner set.
            is_private_but(desk.path("work"), 5, &["a.txt", "b.txt"]);
            // Returns when the task reads it.
            fs::write(&gate, "go on").unwrap();
            mill.finished(1);
            is_private(desk.path("state"), 20);
            is_private(desk.path("work"), 2);
        }
        let state = desk.files("state");
        for name in ["seen.db", "seen.db-wal", "seen.db-shm", "notices.db", "notices.db-wal", "id", "lock"] {
            assert!(state.iter().any(|path| path.ends_with(name)), "no {name} in {state:#?}");
        }
        assert!(state.iter().any(|path| path.contains("/pools/")), "{state:#?}");
        assert_eq!(mill.end(), Some(0));
        is_private(desk.path("state"), 20);
        is_private(desk.path("work"), 2);
        let expected = if umask == "000" { (0o777, 0o666) } else { (0o755, 0o644) };
        let (folder, file) = (desk.path("done/a.txt"), desk.path("done/a.txt/bytes.txt"));
        assert_eq!((mode(&folder), mode(&file)), expected, "results are read by others");
    }
}

#[test]
fn keys_and_nodes_of_a_service_on_sockets_are_private() {
    let desk = Desk::new();
    desk.write("app/tool.sh", "echo tool");
    let served = Served::under(&desk, "000", &["--application", "tool@1=app"]);
    let more = format!("[cleanup]\njob = \"never\"\n{}", on_sockets(&served));
    desk.write("run.toml", run_file(COMMAND, &more)).write("data/a.txt", "x");
    let mut run = under("000", &desk.dropmill(&["run", "run.toml", "-q"]));
    let run = run.env("BATCH_KEY", served.text("/batch/key")).env("STORAGE_KEY", served.text("/blob/key"));
    let ran = run.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    is_private(desk.path("state"), 20);
    let left = desk.files("state");
    for name in ["service/connection.json", "service/keys.json", "service/lock", "service/batch.db-wal"] {
        assert!(left.iter().any(|path| path.ends_with(name)), "no {name} in {left:#?}");
    }
    assert_eq!(served.end(), Some(0));
}

/// Sets these modes on every entry below a folder, as an earlier release with a wide umask would have.
fn loosen(top: &Path, folder_mode: u32, file_mode: u32) {
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(folder_mode)).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => fs::set_permissions(path, fs::Permissions::from_mode(file_mode)).unwrap(),
            }
        }
    }
}

#[test]
fn files_others_can_read_are_made_private_and_files_they_can_write_are_rejected() {
    let desk = mill::desk();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "a.txt", "a");
    mill.finished(1);
    assert_eq!(mill.end(), Some(0));

    loosen(&desk.path("state"), 0o755, 0o644);
    loosen(&desk.path("work"), 0o755, 0o644);
    assert_eq!(Mill::start(&desk, &[]).end(), Some(0));
    let home = fs::read_dir(desk.path("state/watch")).unwrap().next().unwrap().unwrap().path();
    for path in ["state", "state/watch", "work"].map(|path| desk.path(path)).iter().chain([&home]) {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    for name in ["lock", "seen.db", "service/keys.json", "service/batch.db"] {
        assert_eq!(mode(&home.join(name)), 0o600, "{name}");
    }

    let cases = [
        (desk.path("state"), 0o777),
        (desk.path("state/watch"), 0o770),
        (home.clone(), 0o702),
        (home.join("lock"), 0o666),
        (home.join("seen.db"), 0o620),
        (home.join("service"), 0o720),
        (home.join("service/keys.json"), 0o606),
        (home.join("service/batch.db"), 0o660),
        (home.join("pools"), 0o777),
        (desk.path("work"), 0o777),
    ];
    for (path, loose) in cases {
        let before = mode(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
        let (exit, message) = desk.refused(&["watch", "run.toml"]);
        let fix = format!("`chmod -R go-w {}`", fs::canonicalize(&path).unwrap().display());
        assert_eq!(exit, Some(3), "{message}");
        assert!(message.contains("other users can write to it") && message.contains(&fix), "{message}");
        assert_eq!(mode(&path), loose, "what is refused is not changed");
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
    }
    assert_eq!(Mill::start(&desk, &[]).end(), Some(0));
}

#[test]
fn a_state_folder_of_another_user_is_rejected() {
    // Only root can change the owner of files.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let desk = Desk::new();
    desk.write("run.toml", run_file(COMMAND, "")).write("data/a.txt", "x");
    fs::create_dir(desk.path("state")).unwrap();
    std::os::unix::fs::chown(desk.path("state"), Some(12_345), None).unwrap();
    for arguments in [&["run", "run.toml"][..], &["serve", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"]]
    {
        let (exit, message) = desk.refused(arguments);
        assert!(message.contains("it belongs to user 12345") && message.contains("--state DIR"), "{message}");
        assert_eq!(exit, Some(3), "{message}");
    }
    assert!(desk.files("state").is_empty() && !desk.path("out").exists());
}

#[test]
fn nothing_is_written_through_a_link_that_replaces_one_of_our_files() {
    let desk = mill::desk();
    assert_eq!(Mill::start(&desk, &[]).end(), Some(0));
    let home = fs::read_dir(desk.path("state/watch")).unwrap().next().unwrap().unwrap().path();
    desk.write("mine", "mine");
    for name in
        ["lock", "seen.db", "notices.db", "id", "service/lock", "service/batch.db", "service/keys.json"]
    {
        let path = home.join(name);
        let kept = path.with_extension("kept");
        let had = fs::rename(&path, &kept).is_ok();
        symlink(desk.path("mine"), &path).unwrap();
        let notify = "notify.command=[\"/bin/true\"]";
        let (exit, message) = desk.refused(&["watch", "run.toml", "--set", notify]);
        assert!(message.contains("symbolic link") && exit == Some(3), "{name}: {message}");
        assert_eq!(desk.read("mine"), "mine", "{name}");
        fs::remove_file(&path).unwrap();
        if had {
            fs::rename(&kept, &path).unwrap();
        }
    }
}
