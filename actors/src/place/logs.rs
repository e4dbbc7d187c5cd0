//! Standard output and error of successful tasks, kept in the folder of the run: `logs/<task>/stdout.txt`.
//!
//! They are bounded in length and number, and not flushed, so that they cost little for runs of many tasks.

use super::{PlaceError, disk::refused};
use dropmill_private_files as private_files;
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Maximum number of bytes kept of one stream. The middle of a longer one is omitted.
const STREAM_BYTES: u64 = 1 << 20;
/// Maximum number of bytes kept of all streams of a run. Streams of later tasks are not kept.
const RUN_BYTES: u64 = 256 << 20;

/// The logs of one run.
pub(super) struct Logs {
    folder: PathBuf,
    stream_bytes: u64,
    /// Bytes that can still be written; `None` before the first log.
    left_bytes: Option<u64>,
    run_bytes: u64,
}

impl Logs {
    /// Returns the logs in a folder, which is created for the first of them.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder, stream_bytes: STREAM_BYTES, left_bytes: None, run_bytes: RUN_BYTES }
    }

    /// Keeps a stream of a task, unless it is empty or the logs are full. Replaces an existing copy.
    ///
    /// # Errors
    /// Fails if the stream cannot be read or the copy cannot be written.
    pub fn keep(&mut self, task: &str, name: &str, stream: &Path) -> Result<(), PlaceError> {
        let left_bytes = match self.left_bytes {
            Some(left) => left,
            None => self.begin()?,
        };
        let mut file = File::open(stream).map_err(|error| refused("read", stream, &error))?;
        let length = file.metadata().map_err(|error| refused("read", stream, &error))?.len();
        let folder = self.folder.join(task);
        let place = folder.join(name);
        let there = fs::symlink_metadata(&place).map_or(0, |facts| facts.len());
        let left_bytes = left_bytes.saturating_add(there);
        if length == 0 || left_bytes < length.min(self.stream_bytes) {
            if length > 0 && self.left_bytes != Some(0) {
                let limit = self.run_bytes;
                tracing::warn!(
                    "the logs of this run have reached {limit} B: standard output and error of further tasks are not kept"
                );
                self.left_bytes = Some(0);
            }
            return Ok(());
        }
        let content = shortened(&mut file, length, self.stream_bytes)
            .map_err(|error| refused("read", stream, &error))?;
        private_files::create_folders(&folder).map_err(|error| refused("make folder", &folder, &error))?;
        // It is not flushed: losing a log in a power failure costs less than a flush for every task.
        private_files::replace(&place, &content, |_| Ok(())).map_err(|error| {
            let error = io::Error::new(error.io_kind().unwrap_or(io::ErrorKind::Other), error);
            refused("write", &place, &error)
        })?;
        self.left_bytes = Some(left_bytes.saturating_sub(content.len() as u64));
        Ok(())
    }

    /// Creates the folder and counts what a previous process kept.
    fn begin(&mut self) -> Result<u64, PlaceError> {
        private_files::create_folders(&self.folder)
            .map_err(|error| refused("make folder", &self.folder, &error))?;
        let kept = length_below(&self.folder).map_err(|error| refused("read", &self.folder, &error))?;
        let left = self.run_bytes.saturating_sub(kept);
        self.left_bytes = Some(left);
        Ok(left)
    }
}

fn length_below(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(folder)? {
        for log in fs::read_dir(task?.path())? {
            sum += log?.metadata()?.len();
        }
    }
    Ok(sum)
}

/// Returns the content of a file. If it is too long, returns its first and last bytes with a line between
/// them.
fn shortened(file: &mut File, length: u64, longest: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![];
    if length <= longest {
        file.read_to_end(&mut content)?;
        return Ok(content);
    }
    let half = longest / 2;
    file.by_ref().take(half).read_to_end(&mut content)?;
    let line =
        format!("\n[... {} bytes omitted: a log has at most {longest} bytes ...]\n", length - 2 * half);
    content.extend_from_slice(line.as_bytes());
    file.seek(SeekFrom::Start(length - half))?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_and_all_logs_together_are_bounded_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let stream = folder.path().join("stream");
        let logs =
            || Logs { stream_bytes: 10, run_bytes: 100, ..Logs::in_folder(folder.path().join("logs")) };
        let read = |path: &str| fs::read_to_string(folder.path().join("logs").join(path)).ok();
        let mut first = logs();
        fs::write(&stream, "short").unwrap();
        first.keep("t1", "stdout.txt", &stream).unwrap();
        // The same task again, after a crash: its copy does not count twice.
        first.keep("t1", "stdout.txt", &stream).unwrap();
        assert_eq!((read("t1/stdout.txt").as_deref(), first.left_bytes), (Some("short"), Some(95)));
        fs::write(&stream, "0123456789abcdef").unwrap();
        first.keep("t2", "stderr.txt", &stream).unwrap();
        let cut = "01234\n[... 6 bytes omitted: a log has at most 10 bytes ...]\nbcdef";
        assert_eq!(read("t2/stderr.txt").as_deref(), Some(cut));
        fs::write(&stream, "").unwrap();
        first.keep("t3", "stdout.txt", &stream).unwrap();
        assert_eq!(read("t3/stdout.txt"), None, "an empty stream needs no file");
        drop(first);
        let mut next = logs();
        fs::write(&stream, "0123456789").unwrap();
        for task in 4..10 {
            next.keep(&format!("t{task}"), "stdout.txt", &stream).unwrap();
        }
        assert!(read("t5/stdout.txt").is_some() && read("t9/stdout.txt").is_none());
        assert!(length_below(&folder.path().join("logs")).unwrap() <= 100);
    }
}
