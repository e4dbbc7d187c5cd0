//! What a process and its children took of the machine, told by the kernel at the moment the process is reaped.

use super::control::lock;
use crate::orders::Spent;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use std::sync::Mutex;

/// The kernel has one count for all children this process ever reaped: what it grows by is one child's only while
/// nobody else reaps. Therefore one for the whole process, whatever number of services it has.
static REAPING: Mutex<()> = Mutex::new(());

/// Reaps a child that is dead already, and what it had spent. Of its own children those count that it waited for.
pub(super) fn measured<T>(reap: impl FnOnce() -> T) -> (T, Spent) {
    let _alone = lock(&REAPING);
    let before = of_children();
    let outcome = reap();
    (outcome, of_children() - before)
}

/// What all children took that this process ever reaped.
pub(super) fn of_children() -> Spent {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Spent::default() };
    let microseconds = |time: TimeVal| {
        (time.tv_sec().unsigned_abs() * 1_000_000).saturating_add(time.tv_usec().unsigned_abs())
    };
    Spent {
        user_us: microseconds(usage.user_time()),
        kernel_us: microseconds(usage.system_time()),
        read_blocks: usage.block_reads().unsigned_abs(),
        written_blocks: usage.block_writes().unsigned_abs(),
    }
}
