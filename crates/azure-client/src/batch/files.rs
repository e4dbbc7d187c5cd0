//! Files of tasks on nodes, such as their standard output and error.

use super::BatchApi;
use crate::{
    call::ApiResponse,
    error::{BatchError, CallError},
    operation::Operation as Op,
};
use bytes::Bytes;
use dropmill_azure_wire::batch::{NodeFile, header};
use http::{HeaderValue, header as http_header};

/// The part of a file to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole file.
    Whole,
    /// The bytes from the first to the last position, both included, counted from 0.
    Range(u64, u64),
    /// The last bytes, or the whole file if it has fewer. Needs two requests, because the service does not
    /// support ranges that count from the end.
    Tail(u64),
}

impl BatchApi {
    /// Returns the files of a task, with paths relative to its folder: `stdout.txt`, `wd/out.bin`.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn list_task_files(
        &self,
        job: &str,
        task: &str,
        recursive: bool,
    ) -> Result<Vec<NodeFile>, BatchError> {
        let ids = [job, task];
        let more = if recursive { "&recursive=true" } else { "" };
        let subject = format!("{job}/{task}");
        self.pages(self.call_with(Op::ListTaskFiles, subject, &ids, more)).await
    }

    /// Returns a file of a task; `file` is relative to the task's folder.
    ///
    /// # Errors
    /// [`CallError::TooLarge`] above 64 MiB; see [`BatchError`].
    pub async fn get_task_file(&self, job: &str, task: &str, file: &str) -> Result<Bytes, BatchError> {
        self.get_task_file_part(job, task, file, Part::Whole).await
    }

    /// Returns the last `bytes` of a file of a task.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_task_file_tail(
        &self,
        job: &str,
        task: &str,
        file: &str,
        bytes: u64,
    ) -> Result<Bytes, BatchError> {
        self.get_task_file_part(job, task, file, Part::Tail(bytes)).await
    }

    /// Returns a part of a file of a task.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_task_file_part(
        &self,
        job: &str,
        task: &str,
        file: &str,
        part: Part,
    ) -> Result<Bytes, BatchError> {
        let ids = [job, task, file];
        self.file_part((Op::GetTaskFile, Op::HeadTaskFile), format!("{job}/{task}/{file}"), &ids, part).await
    }

    /// Returns the length of a file of a task in bytes.
    ///
    /// # Errors
    /// `FileNotFound` if it does not exist; see [`BatchError`].
    pub async fn get_task_file_size(&self, job: &str, task: &str, file: &str) -> Result<u64, BatchError> {
        self.file_length(Op::HeadTaskFile, format!("{job}/{task}/{file}"), &[job, task, file]).await
    }

    /// Deletes a file or a folder of a task, with its content; `file` is relative to the task's folder.
    ///
    /// # Errors
    /// `FileNotFound` if it does not exist; see [`BatchError`].
    pub async fn delete_task_file(&self, job: &str, task: &str, file: &str) -> Result<(), BatchError> {
        let ids = [job, task, file];
        let subject = format!("{job}/{task}/{file}");
        let call = self.call_with(Op::DeleteTaskFile, subject, &ids, "&recursive=true");
        self.done(call.ok(&[200])).await
    }

    /// Returns a file of a node; `file` is relative to the node's root: `startup/stderr.txt`.
    ///
    /// # Errors
    /// [`CallError::TooLarge`] above 64 MiB; see [`BatchError`].
    pub async fn get_node_file(&self, pool: &str, node: &str, file: &str) -> Result<Bytes, BatchError> {
        self.get_node_file_part(pool, node, file, Part::Whole).await
    }

    /// Returns the last `bytes` of a file of a node.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_node_file_tail(
        &self,
        pool: &str,
        node: &str,
        file: &str,
        bytes: u64,
    ) -> Result<Bytes, BatchError> {
        self.get_node_file_part(pool, node, file, Part::Tail(bytes)).await
    }

    /// Returns a part of a file of a node.
    ///
    /// # Errors
    /// See [`BatchError`].
    pub async fn get_node_file_part(
        &self,
        pool: &str,
        node: &str,
        file: &str,
        part: Part,
    ) -> Result<Bytes, BatchError> {
        let ids = [pool, node, file];
        self.file_part((Op::GetNodeFile, Op::HeadNodeFile), format!("{pool}/{node}/{file}"), &ids, part).await
    }

    async fn file_part(
        &self,
        (op, head): (Op, Op),
        subject: String,
        ids: &[&str],
        part: Part,
    ) -> Result<Bytes, CallError> {
        let (first, last) = match part {
            Part::Whole => return self.file(op, subject, ids, None).await,
            Part::Range(first, last) => (first, last.max(first)),
            Part::Tail(bytes) => {
                let length = self.file_length(head, subject.clone(), ids).await?;
                if length == 0 || bytes == 0 {
                    return Ok(Bytes::new());
                }
                // The file may have grown since: the range was its tail at that time.
                (length.saturating_sub(bytes), length - 1)
            }
        };
        self.file(op, subject, ids, Some((first, last))).await
    }

    async fn file(
        &self,
        operation: Op,
        subject: String,
        ids: &[&str],
        range: Option<(u64, u64)>,
    ) -> Result<Bytes, CallError> {
        let call = self.call(operation, subject, ids).ok(&[200, 206]);
        let call = call.header(http_header::ACCEPT, HeaderValue::from_static("application/octet-stream"));
        let Some((first, last)) = range else { return Ok(self.exchange(call).await?.body) };
        let call = call.text_header(header::OCP_RANGE, &format!("bytes={first}-{last}"))?;
        let ApiResponse { status, body, .. } = self.exchange(call).await?;
        let wanted = (last - first).saturating_add(1).try_into().unwrap_or(usize::MAX);
        // Services use either status for ranges; a body longer than the range is the whole file.
        if status == 200 && body.len() > wanted {
            let first = usize::try_from(first).unwrap_or(usize::MAX).min(body.len());
            let end = first.saturating_add(wanted).min(body.len());
            return Ok(body.slice(first..end));
        }
        Ok(body)
    }

    async fn file_length(&self, operation: Op, subject: String, ids: &[&str]) -> Result<u64, CallError> {
        let call = self.call(operation, subject, ids);
        let tried = call.tried.clone();
        let answer = self.exchange(call).await?;
        let length = answer.headers.get(http_header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        length.and_then(|text| text.parse().ok()).ok_or_else(|| answer.broken(&tried, "no Content-Length"))
    }
}
