//! Jobs.

use super::{BatchApi, with_json};
use crate::{error::BatchError, operation::Operation as Op};
use dropmill_azure_wire::batch::{Job, JobAdd, JobPatch, JobTerminate};
use http::Method;

impl BatchApi {
    /// Adds a job. Tasks can be added when this returns.
    ///
    /// # Errors
    /// `JobExists` if there is one of that name, this or another; see [`BatchError`].
    pub async fn create_job(&self, job: &JobAdd) -> Result<(), BatchError> {
        let call = self.call(Op::CreateJob, Method::POST, job.id.clone(), &["jobs"]);
        self.done(with_json(call, job).ok(&[201])).await
    }

    /// A job.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_job(&self, job: &str) -> Result<Job, BatchError> {
        self.entity(self.call(Op::GetJob, Method::GET, job.to_owned(), &["jobs", job]), job, |job: &Job| {
            &job.id
        })
        .await
    }

    /// Changes the properties that `patch` names.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn patch_job(&self, job: &str, patch: &JobPatch) -> Result<(), BatchError> {
        let call = self.call(Op::PatchJob, Method::PATCH, job.to_owned(), &["jobs", job]);
        self.done(with_json(call, patch)).await
    }

    /// Ends a job: running tasks are ended, active ones stay active for ever. `reason` is what the job shows
    /// afterwards (`UserTerminate` if none is given).
    ///
    /// # Errors
    /// `JobCompleted` or `JobBeingTerminated` if it has ended or ends already; see [`BatchError`].
    pub async fn terminate_job(&self, job: &str, reason: Option<&str>) -> Result<(), BatchError> {
        let call = self.call(Op::TerminateJob, Method::POST, job.to_owned(), &["jobs", job, "terminate"]);
        let call = match reason {
            Some(reason) => with_json(call, &JobTerminate { terminate_reason: Some(reason.into()) }),
            None => call,
        };
        self.done(call.ok(&[202])).await
    }

    /// Deletes a job with its tasks and their files. It is listed as `deleting` until that is done.
    ///
    /// # Errors
    /// `JobNotFound` if it is gone, `JobBeingDeleted` if it was told before; see [`BatchError`].
    pub async fn delete_job(&self, job: &str) -> Result<(), BatchError> {
        self.done(self.call(Op::DeleteJob, Method::DELETE, job.to_owned(), &["jobs", job]).ok(&[202])).await
    }

    /// All jobs that `filter` lets pass, with the properties that `select` names.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn list_jobs(
        &self,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Vec<Job>, BatchError> {
        self.list(Op::ListJobs, String::new(), &["jobs"], filter, select).await
    }
}
