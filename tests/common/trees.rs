//! Tasks whose processes try to get away.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Four ways to get away at once. Each process has `TOKEN` in its command line and nothing else in common with the
/// task: no environment, no folder, no open file, no session, and no parent. Then the task itself does nothing for
/// long.
const ESCAPES: &str = "(exec < /dev/null > /dev/null 2>&1
cd /
env -i sleep TOKEN &
env -i setsid sleep TOKEN &
env -i sh -c '(setsid sleep TOKEN &)' &
env -i setsid sh -c 'chain() { chain & exit; }; chain TOKEN' &
)
sleep 1000";

/// A word that no other process of this machine has in its command line, and that `sleep` takes for a length of time.
pub fn token() -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    format!("8{:07}.{:04}", std::process::id(), USED.fetch_add(1, Ordering::Relaxed))
}

/// A run file with a task for `input.txt` or a file that is dropped, whose processes get away.
pub fn run_file(token: &str) -> String {
    let script = ESCAPES.replace("TOKEN", token);
    format!(
        "[run]\nname = \"trees\"\n[input]\nfiles = [\"input.txt\"]\n[task]\nshell = '''\n{script}\n'''\n\
         [watch]\ndirectory = \"drop\"\nstable_for = \"0s\"\n"
    )
}

/// The names of the living processes with a word in their command line.
pub fn with_token(token: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(token)
        })
        .map(|entry| fs::read_to_string(entry.path().join("comm")).unwrap_or_default())
        .collect()
}

/// Waits until all escapes of a script got away: three that sleep, and the chain. The task's own shell has the word in
/// its command line, too.
pub fn until_escaped(token: &str) {
    until("everything escapes", || {
        let (sleeping, others): (Vec<_>, Vec<_>) =
            with_token(token).into_iter().partition(|name| name == "sleep\n");
        sleeping.len() == 3 && others.len() >= 2
    });
}

/// Waits until no process has the word in its command line.
pub fn until_gone(token: &str) {
    until("all processes end", || with_token(token).is_empty());
}

/// Waits for a state; the only limit is that of a failing test.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}
