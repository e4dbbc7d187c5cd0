//! Operations on the tasks of a job.

use super::{BatchApi, with_json};
use crate::{error::BatchError, operation::Operation as Op};
use dropmill_azure_wire::batch::{
    Task, TaskAdd, TaskAddCollectionResult, TaskAddResult, TaskCountsResult, TaskStatus, limit,
};
use serde::Serialize;

impl BatchApi {
    /// Adds 1 to 100 tasks. Returns one result per task, in any order. A result with `TaskExists` may be due
    /// to an earlier request whose response was lost. A task without a result has an unknown outcome.
    ///
    /// # Errors
    /// `RequestBodyTooLarge` above 1 MiB: send fewer at once; see [`BatchError`].
    pub async fn add_tasks(&self, job: &str, tasks: &[TaskAdd]) -> Result<Vec<TaskAddResult>, BatchError> {
        /// The collection as JSON, without a copy of the tasks.
        #[derive(Serialize)]
        struct Collection<'a> {
            value: &'a [TaskAdd],
        }
        let call = self.call(Op::AddTasks, job.to_owned(), &[job]);
        if !(1..=limit::TASKS_PER_COLLECTION).contains(&tasks.len()) {
            return Err(call.unsendable(
                "InvalidPropertyValue",
                format!("expected 1 to 100 tasks, found {}", tasks.len()),
            ));
        }
        let call = with_json(call, &Collection { value: tasks });
        if call.body.len() > limit::BODY_BYTES {
            // A service may close the connection in the middle of it, without a reason.
            let problem =
                format!("{} tasks have {} bytes, expected at most 1 MiB", tasks.len(), call.body.len());
            return Err(call.unsendable("RequestBodyTooLarge", problem));
        }
        Ok(self.read::<TaskAddCollectionResult>(call).await?.value)
    }

    /// Returns a task.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_task(&self, job: &str, task: &str) -> Result<Task, BatchError> {
        let ids = [job, task];
        self.entity(self.call(Op::GetTask, format!("{job}/{task}"), &ids), task, |task: &Task| &task.id).await
    }

    /// Returns all tasks of a job that match `filter`, with the properties in `select`, usually
    /// [`dropmill_azure_wire::batch::TASK_STATUS_SELECT`]. Pages are created at different times: a task may
    /// occur twice, or not at all.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn list_tasks(
        &self,
        job: &str,
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Vec<TaskStatus>, BatchError> {
        self.list(Op::ListTasks, job.to_owned(), &[job], filter, select).await
    }

    /// Returns the number of tasks in each state; it may be some seconds old.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn task_counts(&self, job: &str) -> Result<TaskCountsResult, BatchError> {
        self.read(self.call(Op::TaskCounts, job.to_owned(), &[job])).await
    }

    /// Terminates a task.
    ///
    /// # Errors
    /// `TaskCompleted` if it has ended; see [`BatchError`].
    pub async fn terminate_task(&self, job: &str, task: &str) -> Result<(), BatchError> {
        let ids = [job, task];
        let call = self.call(Op::TerminateTask, format!("{job}/{task}"), &ids);
        self.done(call.ok(&[204])).await
    }

    /// Deletes a task and its files on the node.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn delete_task(&self, job: &str, task: &str) -> Result<(), BatchError> {
        let ids = [job, task];
        self.done(self.call(Op::DeleteTask, format!("{job}/{task}"), &ids)).await
    }

    /// Queues a failed task again.
    ///
    /// # Errors
    /// `TaskSucceeded`, `TaskNotCompleted`; see [`BatchError`].
    pub async fn reactivate_task(&self, job: &str, task: &str) -> Result<(), BatchError> {
        let ids = [job, task];
        let call = self.call(Op::ReactivateTask, format!("{job}/{task}"), &ids);
        self.done(call.ok(&[204])).await
    }
}
