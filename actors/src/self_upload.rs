//! Containers for tasks that upload their results themselves (`task.upload = "self"`).
//!
//! Each attempt of a task has its own container, and a SAS that can only create blobs in it. A SAS for a prefix of a shared
//! container does not exist in accounts without a hierarchical namespace, and a task that is started again in a shared
//! container could not distinguish its results from those of others.

use crate::output_names::result_path;
use dropmill_azure_client::blob::{BlobApi, BlobListing};
use dropmill_azure_wire::{secret::Secret, time::Timestamp};
use dropmill_lifecycle::{Code, Failure, plan::RunPlan};
use futures_util::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};

/// The variable with the URL of a task's container and its SAS.
pub const SELF_UPLOAD_VARIABLE: &str = "OUTPUT_CONTAINER_URL";
/// Number of containers that are created or deleted at the same time.
const AT_ONCE: usize = 16;
/// Digits in a container's name that identify the attempt. With the longest name of a run, the name has 63
/// characters.
const DIGITS: usize = 15;

/// Returns the name of the container of an attempt.
pub fn container(plan: &RunPlan, attempt: &str) -> String {
    let digest: String = Md5::digest(attempt).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}", plan.run, &digest[..DIGITS])
}

/// Returns the URL of the container of an attempt, with a SAS that only allows creating blobs.
pub fn url(plan: &RunPlan, blob: &BlobApi, attempt: &str, expiry: Timestamp) -> Secret {
    blob.container_sas(&container(plan, attempt), "c", expiry)
}

/// Creates the containers of attempts. Those that exist were created by a previous process, or by a call whose response was
/// lost.
///
/// # Errors
/// Returns the first failure.
pub async fn create(blob: &BlobApi, plan: &RunPlan, attempts: Vec<String>) -> Result<(), Failure> {
    if !plan.job.self_upload {
        return Ok(());
    }
    let create = |attempt: String| async move {
        let created = blob.create_container(&container(plan, &attempt)).await;
        created.map(|_| ()).map_err(|error| error.failure())
    };
    stream::iter(attempts).map(create).buffer_unordered(AT_ONCE).try_collect().await
}

/// Deletes all existing containers of the attempts of a run.
///
/// # Errors
/// Returns the first failure.
pub async fn delete_all(blob: &BlobApi, plan: &RunPlan) -> Result<(), Failure> {
    if !plan.job.self_upload {
        return Ok(());
    }
    let prefix = format!("{}-", plan.run);
    let found = blob.list_containers(&prefix).await.map_err(|error| error.failure())?;
    let is_of_an_attempt = |name: &String| {
        let digits = name.strip_prefix(&prefix).unwrap_or_default();
        digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    let delete = |name: String| async move {
        match blob.delete_container(&name).await {
            Err(error) if !error.is_not_found() && error.code() != Some(Code::ContainerBeingDeleted) => {
                Err(error.failure())
            }
            _ => Ok(()),
        }
    };
    let found = found.into_iter().filter(is_of_an_attempt);
    stream::iter(found).map(delete).buffer_unordered(AT_ONCE).try_collect().await
}

/// Returns the blobs in the container of an attempt, each with its path below the result of its task. At most one more than
/// `most` are returned.
///
/// # Errors
/// Fails if the service rejects the request, cannot be reached, or a blob has a name that no file may have.
pub async fn list(
    blob: &BlobApi,
    plan: &RunPlan,
    attempt: &str,
    most: usize,
) -> Result<Vec<(BlobListing, String)>, Failure> {
    let found = match blob.list_some_blobs(&container(plan, attempt), "", most).await {
        // It was deleted with everything in it, or the task was never submitted.
        Err(error) if error.is_not_found() => vec![],
        found => found.map_err(|error| error.failure())?,
    };
    let with_path = |blob: BlobListing| {
        let path = result_path(attempt, &format!("{attempt}/wd/{}", blob.name));
        path.map(|path| (blob, path)).map_err(|reason| Failure::permanent(Code::HostileName, reason))
    };
    found.into_iter().map(with_path).collect()
}
