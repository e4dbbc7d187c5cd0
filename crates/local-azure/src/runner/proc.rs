//! Information about processes, read from `/proc`.

use rustix::{
    process::Pid,
    time::{ClockId, clock_gettime},
};
use std::fs;

/// The fields of `/proc/<pid>/stat` that the runner uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub dead: bool,
    pub parent: i32,
    pub group: i32,
    pub start: u64,
}

/// A time in clock ticks since the machine started, as the kernel counts start times of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks(u64);

impl Ticks {
    /// Returns the current time. A tick is 10 ms wherever programs can see it, whatever the kernel's own
    /// clock.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(now.tv_sec.unsigned_abs() * 100 + now.tv_nsec.unsigned_abs() / 10_000_000)
    }

    /// Returns the start time of a process that was started between then and now. Often that is the same
    /// tick, and then `/proc` need not be read: for a new process, that costs more than creating its folders.
    pub fn start_of(self, pid: Pid) -> Option<u64> {
        if self == Self::now() { Some(self.0) } else { start_time(pid) }
    }
}

/// Returns the start time of a process, in clock ticks since the machine started.
pub(super) fn start_time(pid: Pid) -> Option<u64> {
    stat(raw(pid)).map(|stat| stat.start)
}

/// Returns the number of a process.
pub(super) fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// Returns all processes of the machine.
pub(super) fn everybody() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the state of a process; `None` if it does not exist.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // A process chooses the name in parentheses: it may contain anything, even `) R 1`.
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<&str> = str::from_utf8(&text[after_name..]).ok()?.split_ascii_whitespace().collect();
    let field = |index: usize| fields.get(index);
    Some(Stat {
        dead: matches!(*field(0)?, "Z" | "X" | "x"),
        parent: field(1)?.parse().ok()?,
        group: field(2)?.parse().ok()?,
        start: field(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[test]
    fn the_name_of_a_process_cannot_fake_other_fields() {
        let line = b"42 (a) R 1 1 1 (x) S 7 40 40 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(parse_stat(line), Some(Stat { dead: false, parent: 7, group: 40, start: 987_654 }));
        assert_eq!(parse_stat(b"42 (a"), None);
        assert_eq!(parse_stat(b"42 (a) Z 1"), None);
    }

    #[test]
    fn this_process_is_found_with_its_start() {
        let own = stat(raw(getpid())).expect("/proc exists");
        assert!(own.start > 0 && !own.dead);
        assert_eq!(start_time(getpid()), Some(own.start));
    }
}
