//! Tasks of a job.

use super::{BatchApi, with_json};
use crate::{error::BatchError, operation::Operation as Op};
use dropmill_azure_wire::batch::{
    Task, TaskAdd, TaskAddCollectionResult, TaskAddResult, TaskCountsResult, TaskStatus, limit,
};
use http::Method;
use serde::Serialize;

impl BatchApi {
    /// Adds 1 to 100 tasks. What became of each is told one by one, in any order: a result with
    /// `TaskExists` may be the echo of an earlier call whose answer was lost. A task without a result has an
    /// unknown outcome.
    ///
    /// # Errors
    /// `RequestBodyTooLarge` above 1 MiB: send fewer at once; see [`BatchError`].
    pub async fn add_tasks(&self, job: &str, tasks: &[TaskAdd]) -> Result<Vec<TaskAddResult>, BatchError> {
        /// As the wire's collection, without a copy of the tasks.
        #[derive(Serialize)]
        struct Collection<'a> {
            value: &'a [TaskAdd],
        }
        let call = self.call(Op::AddTasks, Method::POST, job.to_owned(), &["jobs", job, "addtaskcollection"]);
        if !(1..=limit::TASKS_PER_COLLECTION).contains(&tasks.len()) {
            return Err(
                call.unsendable("InvalidPropertyValue", format!("{} tasks, not 1 to 100", tasks.len()))
            );
        }
        let call = with_json(call, &Collection { value: tasks });
        if call.body.len() > limit::BODY_BYTES {
            // A service may hang up in the middle of it, and then nobody knows why.
            let problem = format!("{} tasks make {} bytes, more than 1 MiB", tasks.len(), call.body.len());
            return Err(call.unsendable("RequestBodyTooLarge", problem));
        }
        Ok(self.read::<TaskAddCollectionResult>(call).await?.value)
    }

    /// A task.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_task(&self, job: &str, task: &str) -> Result<Task, BatchError> {
        let path = ["jobs", job, "tasks", task];
        self.entity(
            self.call(Op::GetTask, Method::GET, format!("{job}/{task}"), &path),
            task,
            |task: &Task| &task.id,
        )
        .await
    }

    /// All tasks of a job that `filter` lets pass, as far as a follower needs to know; `select` is usually
    /// [`dropmill_azure_wire::batch::TASK_STATUS_SELECT`]. Pages are taken at different moments: a task may
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
        self.list(Op::ListTasks, job.to_owned(), &["jobs", job, "tasks"], filter, select).await
    }

    /// How many tasks are in which state; may lag behind by seconds.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn task_counts(&self, job: &str) -> Result<TaskCountsResult, BatchError> {
        self.read(self.call(Op::TaskCounts, Method::GET, job.to_owned(), &["jobs", job, "taskcounts"])).await
    }

    /// Ends a task.
    ///
    /// # Errors
    /// `TaskCompleted` if it has ended; see [`BatchError`].
    pub async fn terminate_task(&self, job: &str, task: &str) -> Result<(), BatchError> {
        let path = ["jobs", job, "tasks", task, "terminate"];
        let call = self.call(Op::TerminateTask, Method::POST, format!("{job}/{task}"), &path);
        self.done(call.ok(&[204])).await
    }

    /// Deletes a task and its files on the node.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn delete_task(&self, job: &str, task: &str) -> Result<(), BatchError> {
        let path = ["jobs", job, "tasks", task];
        self.done(self.call(Op::DeleteTask, Method::DELETE, format!("{job}/{task}"), &path)).await
    }

    /// Queues a task again that failed.
    ///
    /// # Errors
    /// `TaskSucceeded`, `TaskNotCompleted`; see [`BatchError`].
    pub async fn reactivate_task(&self, job: &str, task: &str) -> Result<(), BatchError> {
        let path = ["jobs", job, "tasks", task, "reactivate"];
        let call = self.call(Op::ReactivateTask, Method::POST, format!("{job}/{task}"), &path);
        self.done(call.ok(&[204])).await
    }
}
