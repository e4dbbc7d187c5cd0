//! Retries work that failed because of a full disk.
//!
//! Azure's nodes fail such a task (`DiskFull`). Here the user of the task owns the disk and can free space:
//! nothing is lost, and the log shows the reason for the wait.

use super::{control::Handle, failures};
use crate::orders::NodeFailure;
use std::time::Duration;

/// Delay before the next attempt.
const AGAIN: Duration = Duration::from_secs(1);

/// Repeats work until it succeeds, fails for another reason than a full disk, or the launch is asked to end.
pub(super) fn while_full<T>(
    handle: &Handle,
    mut work: impl FnMut() -> Result<T, NodeFailure>,
) -> Result<T, NodeFailure> {
    let asked = handle.asked();
    let mut said = false;
    loop {
        match work() {
            Err(failure) if failures::is_disk_full(&failure) && handle.asked() == asked => {
                if !std::mem::replace(&mut said, true) {
                    tracing::error!(what = ?failure.details, "the disk is full: a task waits for free space");
                }
                handle.wait_unless_asked(asked, AGAIN);
            }
            outcome => {
                if said && outcome.is_ok() {
                    tracing::info!("the disk has free space again: the task continues");
                }
                return outcome;
            }
        }
    }
}
