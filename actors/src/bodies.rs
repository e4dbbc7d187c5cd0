//! The bodies of the requests that create a run's pool, job and tasks.

mod job;
mod pool;

pub use job::{Signed, job_add, task_add};
pub use pool::{pool_add, pool_resize};

use dropmill_azure_client::blob::BlobApi;
use dropmill_azure_wire::{batch as wire, time::Timestamp};
use dropmill_lifecycle::plan::RunPlan;
use std::time::Duration;

/// Returns when a SAS expires that is created now: a day after the run's deadlines, so that no task waits
/// longer than its input can be read.
pub fn sas_expiry(now: Timestamp, plan: &RunPlan) -> Timestamp {
    let valid = plan.deadlines.run + plan.deadlines.cleanup + Duration::from_secs(24 * 3600);
    now.checked_add(valid).unwrap_or(Timestamp::MAX)
}

/// Returns a count as the protocol writes it: a signed number.
pub fn signed_count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Returns the application's files as resource files, each with a SAS for reading that blob.
fn application_files(plan: &RunPlan, blob: &BlobApi, expiry: Timestamp) -> Vec<wire::ResourceFile> {
    let container = plan.app_container();
    let files = plan.application.iter().map(|file| wire::ResourceFile {
        file_mode: Some(if file.executable { "0755" } else { "0644" }.into()),
        ..wire::ResourceFile::from_url(blob.blob_sas(&container, &file.name, "r", expiry), &file.name)
    });
    files.collect()
}
