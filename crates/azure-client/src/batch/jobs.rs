//! Operations on jobs.

use super::{BatchApi, with_json};
use crate::{error::BatchError, operation::Operation as Op};
use dropmill_azure_wire::batch::{DisableTasks, Job, JobAdd, JobDisable, JobPatch, JobTerminate};

impl BatchApi {
    /// Adds a job. Tasks can be added when this returns.
    ///
    /// # Errors
    /// `JobExists` if a job of that name exists, whether this or another; see [`BatchError`].
    pub async fn create_job(&self, job: &JobAdd) -> Result<(), BatchError> {
        let call = self.call(Op::CreateJob, job.id.clone(), &[]);
        self.done(with_json(call, job).ok(&[201])).await
    }

    /// Returns a job.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_job(&self, job: &str) -> Result<Job, BatchError> {
        self.entity(self.call(Op::GetJob, job.to_owned(), &[job]), job, |job: &Job| &job.id).await
    }

    /// Changes the properties that are set in `patch`.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn patch_job(&self, job: &str, patch: &JobPatch) -> Result<(), BatchError> {
        let call = self.call(Op::PatchJob, job.to_owned(), &[job]);
        self.done(with_json(call, patch)).await
    }

    /// Disables a job: it starts no task any more. `tasks` says what becomes of those that run.
    ///
    /// # Errors
    /// `JobNotActive` if it has ended or ends; see [`BatchError`].
    pub async fn disable_job(&self, job: &str, tasks: DisableTasks) -> Result<(), BatchError> {
        let call = self.call(Op::DisableJob, job.to_owned(), &[job]);
        self.done(with_json(call, &JobDisable { disable_tasks: tasks }).ok(&[202])).await
    }

    /// Terminates a job: running tasks are terminated, active ones stay active for ever. The job shows
    /// `reason` afterwards (`UserTerminate` by default).
    ///
    /// # Errors
    /// `JobCompleted` or `JobBeingTerminated` if it has ended or is ending; see [`BatchError`].
    pub async fn terminate_job(&self, job: &str, reason: Option<&str>) -> Result<(), BatchError> {
        let call = self.call(Op::TerminateJob, job.to_owned(), &[job]);
        let call = match reason {
            Some(reason) => with_json(call, &JobTerminate { terminate_reason: Some(reason.into()) }),
            None => call,
        };
        self.done(call.ok(&[202])).await
    }

    /// Deletes a job with its tasks and their files. It is listed as `deleting` until that is done.
    ///
    /// # Errors
    /// `JobNotFound` if it does not exist, `JobBeingDeleted` if the deletion has begun; see [`BatchError`].
    pub async fn delete_job(&self, job: &str) -> Result<(), BatchError> {
        self.done(self.call(Op::DeleteJob, job.to_owned(), &[job]).ok(&[202])).await
    }

    /// Returns all jobs that match `filter`, with the properties in `select`.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn list_jobs(
        &self,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Vec<Job>, BatchError> {
        self.list(Op::ListJobs, String::new(), &[], filter, select).await
    }
}
