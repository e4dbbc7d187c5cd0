//! Problems that `plan` and `run` report before the first task, in realistic folders.

mod common;

use common::{Desk, run_file};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, os::unix::fs::symlink};

const COPY: &str = r#"["/bin/sh", "-c", "cat \"$DROPMILL_INPUT\" > copy.txt"]
outputs = ["copy.txt"]"#;

#[test]
fn a_name_that_is_not_utf_8_is_an_input_and_survives_a_resume() {
    let desk = Desk::new();
    desk.write("data/plain.txt", "plain");
    let name = OsStr::from_bytes(b"caf\xe9 %FF.txt");
    desk.write(std::path::Path::new("data").join(name), "odd");
    desk.write("run.toml", run_file(COPY, ""));
    let plan = desk.output(&["plan", "run.toml"]);
    assert!(plan.status.success(), "{}", String::from_utf8_lossy(&plan.stderr));
    let mut run = desk.start("run.toml");
    run.until("run_started");
    run.kill();
    desk.run_with(&["run", "run.toml", "--resume", "--json"]).exited(0);
    assert_eq!(desk.read("out/data/caf%E9 %25FF.txt/copy.txt"), "odd");
    assert_eq!(desk.read("out/data/plain.txt/copy.txt"), "plain");
}

#[test]
fn links_are_followed_and_entries_that_are_not_files_are_reported_once() {
    let desk = Desk::new();
    desk.write("elsewhere/a.txt", "a").write("elsewhere/deep/b.txt", "b").write("data/plain.txt", "plain");
    for number in 0..2000 {
        symlink("nowhere", desk.path(format!("data/dangling{number}.txt"))).unwrap();
    }
    symlink("../elsewhere", desk.path("data/folder")).unwrap();
    symlink("../elsewhere/a.txt", desk.path("data/link.txt")).unwrap();
    let fifo = desk.path("data/pipe.txt");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    desk.write("run.toml", run_file(COPY, ""));
    let output = desk.output(&["run", "run.toml"]);
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let about: Vec<&str> = printed.lines().filter(|line| line.contains("left out")).collect();
    assert_eq!(about.len(), 2, "{printed}");
    assert!(
        about
            .iter()
            .any(|line| line.contains("2000 entries") && line.contains("whose target does not exist")),
        "{printed}"
    );
    assert!(about.iter().any(|line| line.contains("pipe.txt is a FIFO")), "{printed}");
    for (input, content) in [("plain", "plain"), ("link", "a"), ("folder/a", "a"), ("folder/deep/b", "b")] {
        assert_eq!(desk.read(format!("out/data/{input}.txt/copy.txt")), content);
    }
    // A folder that is a link is a folder.
    symlink("elsewhere", desk.path("linked")).unwrap();
    desk.write("run.toml", run_file(COPY, "").replace("data/**/*", "linked/*"));
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/linked/a.txt/copy.txt"), "a");
}

#[test]
fn plan_and_run_reject_impossible_settings_with_a_correction() {
    let desk = Desk::new();
    desk.write("data/a.txt", "a").write("blocked", "a file");
    let good = run_file(COPY, "");
    let azure = "[service]\nkind = \"azure\"\nbatch_endpoint = \"http://127.0.0.1:9\"\nbatch_account = \"a\"\n\
                 batch_key = { env = \"NO_SUCH_KEY\" }\nblob_endpoint = \"http://127.0.0.1:9/a\"\nstorage_account = \"a\"\n\
                 storage_key = { file = \"no.key\" }\n";
    let shell = |line: &str| {
        let (from, to) = (good.find("command =").unwrap(), good.find("outputs =").unwrap());
        format!("{}shell = {line:?}\n{}", &good[..from], &good[to..])
    };
    let outputs = |pattern: &str| good.replace("[\"copy.txt\"]", &format!("[{pattern:?}]"));
    let output = |folder: &str| good.replace("\"out\"", &format!("{folder:?}"));
    for (file, said) in [
        (outputs("./r.txt"), "write \"r.txt\""),
        (outputs("d//r.txt"), "write \"d/r.txt\""),
        (outputs("results/"), "names a folder"),
        (shell("wc -l {input} > copy.txt"), "write \"$DROPMILL_INPUT\""),
        (good.replace("nodes = 3", "nodes = 5000"), "has at most 1000"),
        (output("blocked"), "blocked is not a folder"),
        (output("blocked/deeper"), "blocked is not a folder"),
        (output("/dev/full/x"), "/dev/full is not a folder"),
        (azure.to_owned() + &good, "no variable NO_SUCH_KEY"),
        (azure.to_owned() + &good, "no.key"),
        (good.replace("data/**/*", "data"), "is a folder: write \"data/*\""),
    ] {
        desk.write("run.toml", &file);
        for command in ["plan", "run"] {
            let (exit, stderr) = desk.refused(&[command, "run.toml"]);
            // A run without a key cannot reach its service, and exits with the code for that.
            let code = if command == "run" && file.starts_with("[service]") { 3 } else { 2 };
            let named = stderr.contains(said) || (code == 3 && stderr.contains("service."));
            assert!(exit == Some(code) && named, "{command} {said}: {exit:?} {stderr}");
        }
        let begun = desk.path("state/runs").exists() && !file.starts_with("[service]");
        assert!(!begun, "{said}: a run was begun");
        let _ = fs::remove_dir_all(desk.path("state"));
    }
}

#[test]
fn an_output_folder_without_write_permission_is_rejected_before_the_first_task() {
    let desk = Desk::new();
    desk.write("data/a.txt", "a");
    fs::create_dir(desk.path("theirs")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(desk.path("theirs"), fs::Permissions::from_mode(0o555)).unwrap();
    desk.write("run.toml", run_file(COPY, "").replace("\"out\"", "\"theirs/out\""));
    if rustix::process::geteuid().is_root() {
        // Root may write anywhere, so the command runs as another user, who may access everything except this
        // folder.
        fs::set_permissions(desk.path("."), fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(desk.path("theirs"), fs::Permissions::from_mode(0o555)).unwrap();
        let command = desk.dropmill(&["plan", "run.toml"]);
        let mut other = std::process::Command::new("setpriv");
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        other.arg(command.get_program()).args(command.get_args()).current_dir(desk.path("."));
        let output = other.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && printed.contains("cannot write to"), "{printed}");
    } else {
        let (exit, printed) = desk.refused(&["plan", "run.toml"]);
        assert!(exit == Some(2) && printed.contains("cannot write to"), "{exit:?} {printed}");
    }
}
