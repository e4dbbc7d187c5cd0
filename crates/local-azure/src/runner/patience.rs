//! What a full disk keeps from being done is done when there is room again.
//!
//! Azure's nodes fail such a task (`DiskFull`). Here the disk is the one of whoever waits for the task, who can make
//! room: nothing is lost, and the log says what is waited for.

use super::{control::Handle, failures};
use crate::orders::NodeFailure;
use std::time::Duration;

/// How long to wait before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Does something until it succeeds, fails for another reason than a full disk, or the launch is asked to end.
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
                    tracing::error!(what = ?failure.details, "the disk is full: a task waits until there is room");
                }
                handle.wait_unless_asked(asked, AGAIN);
            }
            outcome => {
                if said && outcome.is_ok() {
                    tracing::info!("there is room again: the task goes on");
                }
                return outcome;
            }
        }
    }
}
