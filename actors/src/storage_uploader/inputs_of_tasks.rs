//! Decides when the files of a task are uploaded, and what follows.

use super::{
    ME, StorageUploader, What,
    awaited::{SharedFile, Wanted, own_files, shared_files},
    grouped,
    uploading::blob_name,
};
use crate::task_monitor::TaskHappened;
use dropmill_journal::event::{ChunkInput, EventKind};
use dropmill_lifecycle::{Failure, plan::Item, task::TaskEvent};
use std::rc::Rc;

impl StorageUploader {
    /// Whether a task is submitted: not if it is for one of several inputs of another task, unless that failed.
    pub(super) fn is_submitted(&self, item: &Item) -> bool {
        let Some(number) = self.plan.chunk_of(item.index).filter(|_| item.members().is_none()) else {
            return true;
        };
        let past = self.past.tasks.get(&self.plan.chunks[number].task).and_then(|past| past.chunk.as_ref());
        past.is_some_and(|chunk| chunk.is_split) || self.singles.contains(&item.index)
    }

    /// Records which inputs a task is for.
    fn note_chunk(&self, item: &Item) {
        let Some(chunk) = item.members() else { return };
        let member = |index| self.item_list.item(index);
        let input = |item: Rc<Item>| ChunkInput { task: item.task.clone(), input: item.relative.clone() };
        let inputs = chunk.range().map(member).map(input).collect();
        let kind = EventKind::ChunkFormed { input: item.relative.clone(), inputs };
        self.record.note(ME, self.subject(What::Input(item.index)), Some(self.started), kind);
    }

    /// Uploads the files of an open task, or reports that they exist.
    pub(super) fn want_input(&mut self, item: &Item) {
        if !self.is_submitted(item) {
            return;
        }
        let past = self.past.tasks.get(&item.task);
        if past.is_some_and(|past| past.closed.is_some() || past.is_past_chunk()) {
            return;
        }
        if past.is_none_or(|past| past.chunk.is_none()) {
            self.note_chunk(item);
        }
        let recorded = past.and_then(|past| past.uploaded.as_ref());
        let has_own = match item.more_files.is_empty() {
            _ if item.chunk.is_some() => {
                let files = grouped::own_files(&self.plan, item);
                let is_there =
                    |file: &grouped::OwnFile| self.found.get(&file.blob) == Some(&file.size_bytes());
                !(recorded.is_some() && files.iter().all(is_there))
            }
            true => {
                item.source.is_some() && item.blob.is_none() && !self.is_there(&blob_name(item), recorded)
            }
            false => {
                let is_there = |(blob, bytes): &(String, u64)| self.found.get(blob) == Some(bytes);
                let own = own_files(item);
                let is_there = recorded.is_some() && own.iter().all(is_there);
                !own.is_empty() && !is_there
            }
        };
        let shared = shared_files(item);
        let has_shared = !shared.is_empty();
        let (past_files, found) = (&self.past.shared_files, &self.found);
        let is_there = |file: &SharedFile| {
            let recorded = past_files.get(&file.blob);
            recorded.is_some() && recorded == found.get(&file.blob)
        };
        match self.awaited.want(item.index, has_own, shared, is_there) {
            Wanted::Failed(failure) => self.input_failed(item.index, failure),
            Wanted::Nothing if recorded.is_none() && has_shared => self.input_ready(item.index, false, true),
            Wanted::Nothing => {
                let cause = past.and_then(|past| past.cause).or(Some(self.started));
                self.to.tasks.do_send(TaskHappened {
                    index: item.index,
                    event: TaskEvent::InputReady,
                    cause,
                });
            }
            Wanted::Uploads(begin) => {
                for file in begin {
                    self.shared.push(file);
                    let index = u32::try_from(self.shared.len() - 1).unwrap_or(u32::MAX);
                    let number = self.add(What::Shared(index));
                    self.queue.push_back(number);
                }
                if has_own {
                    let number = self.add(What::Input(item.index));
                    self.queue.push_back(number);
                }
            }
        }
    }

    /// Reports that all files of a task are uploaded; says whether its own were uploaded just now.
    pub(super) fn input_ready(&self, index: u32, uploaded_own: bool, skipped: bool) {
        let item = self.item_list.item(index);
        let past = self.past.tasks.get(&item.task);
        let mut cause = past.and_then(|past| past.cause).or(Some(self.started));
        if uploaded_own || past.is_none_or(|past| past.uploaded.is_none()) {
            let (input, bytes) = (item.relative.clone(), self.size(What::Input(index)));
            let kind = EventKind::InputUploaded { input, bytes, skipped };
            cause = Some(self.record.note(ME, self.subject(What::Input(index)), Some(self.started), kind));
        }
        self.to.tasks.do_send(TaskHappened { index, event: TaskEvent::InputReady, cause });
    }

    pub(super) fn input_failed(&self, index: u32, failure: Failure) {
        let event = TaskEvent::InputFailed(failure);
        self.to.tasks.do_send(TaskHappened { index, event, cause: Some(self.started) });
    }
}
