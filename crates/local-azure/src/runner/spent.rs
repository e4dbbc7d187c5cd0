//! The resource usage of a process and its children, reported by the kernel when the process is reaped.

use super::control::lock;
use crate::orders::Spent;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use std::sync::Mutex;

/// The kernel has one counter for all children that this process ever reaped: its increase belongs to one
/// child only while no other thread reaps. So there is one lock for the whole process, for any number of
/// services.
static REAPING: Mutex<()> = Mutex::new(());

/// Reaps a child that is already dead, and returns its resource usage, including its own children that it
/// waited for.
pub(super) fn measured<T>(reap: impl FnOnce() -> T) -> (T, Spent) {
    let _alone = lock(&REAPING);
    let before = of_children();
    let outcome = reap();
    (outcome, of_children() - before)
}

/// Returns the usage of all children that this process ever reaped.
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
