//! No key and no signature appears anywhere: logs, events, reports, results, process lists, tasks.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, Served, on_sockets, run_file};
use std::fs;

/// A task that reads every process's command line, its own environment and its own files.
const SPY: &str = r#"["/bin/sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' > ps.txt; env > env.txt; find .. -type f | xargs cat > seen.txt; echo done; exit 3"]"#;

/// Texts in a `sig` of a URL or in a header that signs a request.
const SIGNATURES: [&str; 3] = ["sig=", "SharedKey", "sr=c&"];

#[track_caller]
fn assert_silent(what: &str, said: &[u8], keys: &[&str]) {
    let said = String::from_utf8_lossy(said);
    for word in keys.iter().chain(&SIGNATURES) {
        if let Some(at) = said.find(word) {
            let around = &said.as_bytes()[at.saturating_sub(300)..(at + 60).min(said.len())];
            panic!("{what} holds {word}:\n{}", String::from_utf8_lossy(around));
        }
    }
}

fn search(desk: &Desk, output: &std::process::Output, keys: &[&str]) {
    assert_silent("standard output", &output.stdout, keys);
    assert_silent("the log", &output.stderr, keys);
    assert!(output.stderr.len() > 10_000, "it was a log of everything");
    let mut searched = 0;
    for file in desk.files("out") {
        assert_silent(&file, &fs::read(desk.path("out").join(&file)).unwrap(), keys);
        searched += 1;
    }
    assert!(searched > 0, "there are results");
    for run in fs::read_dir(desk.path("state/runs")).unwrap() {
        let run = run.unwrap().path();
        for name in ["journal.db", "plan.json", "lock"] {
            assert_silent(name, &fs::read(run.join(name)).unwrap(), keys);
        }
        for more in [&["--json"][..], &["--outline"], &[]] {
            let name = run.file_name().unwrap().to_str().unwrap();
            let printed = desk.output(&[&["trace", name], more].concat());
            assert_silent("the trace", &printed.stdout, keys);
        }
    }
}

#[test]
fn a_run_over_sockets_exposes_no_key_and_no_signature() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    let (batch, blob) = (served.text("/batch/key"), served.text("/blob/key"));
    desk.write("data/a.txt", "a").write("tool", "#!/bin/sh\n");
    let application = "[application]\nfiles = [\"tool\"]\nstart_task = \"true\"\n";
    let file = run_file(SPY, &format!("{application}{}", on_sockets(&served)));
    desk.write("run.toml", file.replace("command =", "outputs = [\"*.txt\"]\ncommand ="));
    let mut command = desk.dropmill(&["run", "run.toml", "--json"]);
    command.env("RUST_LOG", "trace").env("BATCH_KEY", batch).env("STORAGE_KEY", blob);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(desk.read("out/data/a.txt/ps.txt").contains("run.toml"), "the spy sees processes");
    search(&desk, &output, &[batch, blob]);
}

#[test]
fn an_embedded_run_exposes_no_signature() {
    let desk = Desk::new();
    desk.write("data/a.txt", "a").write("tool", "#!/bin/sh\n");
    let application = "[application]\nfiles = [\"tool\"]\nstart_task = \"true\"\n";
    let file = run_file(SPY, application).replace("command =", "outputs = [\"*.txt\"]\ncommand =");
    desk.write("run.toml", file);
    let mut command = desk.dropmill(&["run", "run.toml", "--json", "--log-json"]);
    let output = command.env("RUST_LOG", "trace").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    search(&desk, &output, &[]);
}

#[test]
fn a_failing_start_task_and_a_rejected_key_expose_no_secret() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    let (batch, blob) = (served.text("/batch/key"), served.text("/blob/key"));
    desk.write("data/a.txt", "a").write("tool", "#!/bin/sh\n");
    let application = "[application]\nfiles = [\"tool\"]\nstart_task = \"env >&2; exit 1\"\n";
    desk.write("run.toml", run_file(SPY, &format!("{application}{}", on_sockets(&served))));
    for batch_key in [batch, "Y2FuYXJ5Y2FuYXJ5"] {
        let mut command = desk.dropmill(&["run", "run.toml", "--json"]);
        command.env("RUST_LOG", "trace").env("BATCH_KEY", batch_key).env("STORAGE_KEY", blob);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stdout));
        assert_silent("standard output", &output.stdout, &[batch, blob, batch_key]);
        assert_silent("the log", &output.stderr, &[batch, blob, batch_key]);
    }
}

/// A task that reads the environment of every process, and tries to read the memory of the process with this
/// command line.
const PRY: &str = r#"["/bin/sh", "-c", "cat /proc/[0-9]*/environ 2> denied.txt | tr '\\0' '\\n' > seen.txt; for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline 2> /dev/null | grep -q 'dropmill [r]un run.toml'; then echo of $p >> denied.txt; cat $p/environ $p/maps $p/auxv 2>> denied.txt >> memory.txt; fi; done; true"]"#;

#[test]
fn a_task_reads_neither_environment_nor_memory_of_the_program() {
    const FOUND: &str = "of-a-process-that-hides-nothing";
    const HIDDEN: &str = "of-the-program-itself";
    let desk = Desk::new();
    desk.write("run.toml", run_file(PRY, "").replace("command =", "outputs = [\"*.txt\"]\ncommand ="));
    desk.write("data/a.txt", "a");
    // Root may read everything, so another user runs program and tasks.
    let mut bystander = by_a_user(&desk, &std::process::Command::new("/bin/cat"));
    let bystander = bystander.env("SECRET", FOUND).stdin(std::process::Stdio::piped());
    let _bystander = common::Ending(bystander.spawn().unwrap());
    let mut run = by_a_user(&desk, &desk.dropmill(&["run", "run.toml", "-q"]));
    let output = run.env("SECRET", HIDDEN).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let result = |name: &str| desk.read(format!("out/data/a.txt/{name}"));
    let (seen, denied) = (result("seen.txt"), result("denied.txt"));
    // The output is not printed: it contains the environment of everything that this user runs.
    assert!(seen.contains(FOUND), "a task sees the environment of another process of its user");
    assert!(!seen.contains(HIDDEN), "a task sees the environment of the program");
    assert!(denied.contains("of /proc/"), "the program was found: {denied}");
    let memory = fs::read(desk.path("out/data/a.txt/memory.txt")).unwrap();
    assert!(
        memory.is_empty(),
        "a task reads the environment or the layout of the memory of the program: {denied}"
    );
}

/// Returns the same command as a user who is not root and owns the folder.
fn by_a_user(desk: &Desk, command: &std::process::Command) -> std::process::Command {
    let mut other = std::process::Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        let mut folders = vec![desk.path(".")];
        while let Some(folder) = folders.pop() {
            std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
            let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            folders.extend(entries.filter(|path| path.is_dir()));
        }
        other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    other.arg(command.get_program()).args(command.get_args()).current_dir(desk.path("."));
    other
}
