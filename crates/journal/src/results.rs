//! The results in an output folder that the runs of a run file put there, and the data from which each was
//! made.
//!
//! Each run file has one record in the output folder, `.dropmill/results-<16 hex digits>.jsonl`, with one
//! line per result in the order of delivery. It outlives the journals of the runs. A line is written before
//! its result is put in place, so it is a claim, not a proof: a result belongs to the run file only if the
//! files still match the line.

use crate::event::DeliveredFile;
use dropmill_private_files::{self as private_files, PrivateError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the folder of the records, in the output folder.
pub const FOLDER: &str = ".dropmill";
/// Number of replaced lines from which the record is rewritten.
const SPARE_LINES: usize = 1_000;
/// Version of the record's format.
const FORMAT: u32 = 1;

/// One result, as it was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnResult {
    /// Path of its input, as in the plan.
    pub input: String,
    /// Name of the run.
    pub run: String,
    /// Whether the task succeeded.
    pub success: bool,
    /// Folder of the result below the output folder; empty if its files are not in a common folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
    /// Files of the result; paths are relative to its folder.
    pub files: Vec<DeliveredFile>,
    /// The data from which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_from: Option<MadeFrom>,
}

/// The data from which a result was made. If all of it is unchanged, the task would produce the same result
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFrom {
    /// Length of the input.
    pub bytes: u64,
    /// Modification time of the input, from the file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// A digest of each part of the run file that affects the result (`command`, `environment`,
    /// `application`, `outputs`).
    pub recipe: BTreeMap<String, String>,
}

/// First line of a record.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    /// Path of the run file.
    file: PathBuf,
}

/// The record of one run file in one output folder.
#[derive(Debug)]
pub struct OwnResults {
    path: PathBuf,
    run_file: PathBuf,
    file: Option<File>,
    results: Vec<Arc<OwnResult>>,
    by_input: HashMap<String, Vec<usize>>,
    by_place: HashMap<String, Vec<usize>>,
    keeps_new: bool,
}

/// The reason why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system reports an error, or other users can access the record.
    #[error(transparent)]
    File(#[from] PrivateError),
    /// Reading or writing the record failed.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Path of the record.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
    },
    /// A later release wrote the record.
    #[error(
        "{path} has format {format}, and this release knows formats up to {FORMAT}: use the release that wrote it, or \
         move the file away (results that are there are then kept beside new ones)",
        path = path.display()
    )]
    Format {
        /// Path of the record.
        path: PathBuf,
        /// Version of its format.
        format: u32,
    },
}

impl OwnResults {
    /// Reads the record of `run_file` (a canonical path) in `output`; it is empty if the file does not exist.
    /// `keeps_new` says whether added results can be queried, which takes memory.
    ///
    /// # Errors
    /// Fails if the record cannot be read, or if a later release wrote it.
    pub fn open(output: &Path, run_file: &Path, keeps_new: bool) -> Result<Self, RecordError> {
        let path = Self::path(output, run_file);
        let mut own = Self {
            path,
            run_file: run_file.to_owned(),
            file: None,
            results: vec![],
            by_input: HashMap::new(),
            by_place: HashMap::new(),
            keeps_new,
        };
        let content = match private_files::read(&own.path) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => return Ok(own),
            Err(error) => return Err(error.into()),
        };
        let mut lines = content.lines();
        if let Some(header) = lines.next().and_then(|line| serde_json::from_str::<Header>(line).ok())
            && header.format > FORMAT
        {
            return Err(RecordError::Format { path: own.path, format: header.format });
        }
        // A line that was cut off by a crash is ignored.
        for result in lines.filter_map(|line| serde_json::from_str::<OwnResult>(line).ok()) {
            own.learn(Arc::new(result));
        }
        Ok(own)
    }

    /// Returns the path of the record of a run file.
    pub fn path(output: &Path, run_file: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        // FNV-1a: only the file's own name depends on it, and the header names the run file.
        let hash = run_file.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        output.join(FOLDER).join(format!("results-{hash:016x}.jsonl"))
    }

    /// Returns whether the record has no results.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Returns the results made from an input, the latest first.
    pub fn of_input(&self, input: &str) -> impl Iterator<Item = &Arc<OwnResult>> {
        self.by_input.get(input).into_iter().flatten().rev().map(|at| &self.results[*at])
    }

    /// Returns the results recorded for a place below the output folder, the latest first. The place is a
    /// folder or a single file.
    pub fn at_place(&self, place: &str) -> impl Iterator<Item = &Arc<OwnResult>> {
        self.by_place.get(place).into_iter().flatten().rev().map(|at| &self.results[*at])
    }

    /// Records a result before it is put in place. The record is durable only after [`OwnResults::sync`].
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn add(&mut self, result: OwnResult) -> Result<(), RecordError> {
        let mut line =
            serde_json::to_vec(&result).map_err(io::Error::from).map_err(|error| self.failed(error))?;
        line.push(b'\n');
        if self.file.is_none() {
            self.file = Some(self.begin()?);
        }
        if let Some(file) = &mut self.file {
            let written = file.write_all(&line);
            written.map_err(|error| self.failed(error))?;
        }
        if self.keeps_new {
            self.learn(Arc::new(result));
        }
        Ok(())
    }

    /// Makes the recorded results durable.
    ///
    /// # Errors
    /// Fails on an error of the file system.
    pub fn sync(&self) -> Result<(), RecordError> {
        self.file.as_ref().map_or(Ok(()), File::sync_data).map_err(|error| self.failed(error))
    }

    /// Opens the record for appending; rewrites it if most of it is out of date.
    fn begin(&self) -> Result<File, RecordError> {
        if let Some(folder) = self.path.parent() {
            private_files::folder(folder)?;
        }
        let current = self.current();
        if self.results.len() > 2 * current.len() + SPARE_LINES {
            let mut content = self.header()?;
            for at in current {
                let line = serde_json::to_string(&*self.results[at]).map_err(io::Error::from);
                content.push_str(&line.map_err(|error| self.failed(error))?);
                content.push('\n');
            }
            private_files::replace(&self.path, content.as_bytes(), File::sync_all)?;
        }
        let mut file = private_files::open_or_create(&self.path)?;
        let begun = (|| {
            let end = file.seek(SeekFrom::End(0))?;
            if end == 0 {
                return Ok(true);
            }
            // A line that was cut off by a crash must stay a line of its own.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != [b'\n'] { file.write_all(b"\n").map(|()| false) } else { Ok(false) }
        })();
        if begun.map_err(|error| self.failed(error))? {
            file.write_all(self.header()?.as_bytes()).map_err(|error| self.failed(error))?;
        }
        Ok(file)
    }

    fn header(&self) -> Result<String, RecordError> {
        let header = Header { format: FORMAT, file: self.run_file.clone() };
        let line = serde_json::to_string(&header).map_err(io::Error::from);
        Ok(line.map_err(|error| self.failed(error))? + "\n")
    }

    /// Returns the last two successes and the last two failures of each input: a crash may have come after
    /// the last was recorded and before it was put in place.
    fn current(&self) -> Vec<usize> {
        let mut current = vec![];
        for of_input in self.by_input.values() {
            for success in [true, false] {
                let same = of_input.iter().rev().filter(|at| self.results[**at].success == success);
                current.extend(same.take(2).copied());
            }
        }
        current.sort_unstable();
        current
    }

    /// Adds a result in memory, without recording it.
    pub fn learn(&mut self, result: Arc<OwnResult>) {
        let at = self.results.len();
        self.by_input.entry(result.input.clone()).or_default().push(at);
        for place in result.places() {
            self.by_place.entry(place.to_owned()).or_default().push(at);
        }
        self.results.push(result);
    }

    fn failed(&self, source: io::Error) -> RecordError {
        RecordError::Io { path: self.path.clone(), source }
    }
}

impl OwnResult {
    /// Returns the places below the output folder that the result takes: its folder, or each of its files.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        let singly = self.folder.is_empty();
        let folder = (!singly).then_some(self.folder.as_str());
        folder.into_iter().chain(self.files.iter().filter(move |_| singly).map(|file| file.path.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn result(input: &str, folder: &str, success: bool, md5: &str) -> OwnResult {
        let files =
            vec![DeliveredFile { path: "o".into(), bytes: 1, md5: md5.into(), ..DeliveredFile::default() }];
        OwnResult {
            input: input.into(),
            run: "r".into(),
            success,
            folder: folder.into(),
            files,
            made_from: None,
        }
    }

    fn pairs<'a>(results: impl Iterator<Item = &'a Arc<OwnResult>>) -> Vec<(String, String)> {
        results.map(|own| (own.folder.clone(), own.files[0].md5.clone())).collect()
    }

    #[test]
    fn recorded_results_are_found_by_input_and_by_place_the_latest_first() {
        let folder = tempfile::tempdir().unwrap();
        let run_file = Path::new("/x/run.toml");
        let mut own = OwnResults::open(folder.path(), run_file, false).unwrap();
        assert!(own.is_empty());
        own.add(result("a", "a", true, "1")).unwrap();
        own.add(result("a", "a~2", false, "2")).unwrap();
        own.add(result("b", "", true, "3")).unwrap();
        own.sync().unwrap();
        assert!(own.is_empty(), "added results take no memory unless they can be queried");
        let own = OwnResults::open(folder.path(), run_file, false).unwrap();
        assert_eq!(pairs(own.of_input("a")), [("a~2".into(), "2".into()), ("a".into(), "1".into())]);
        assert_eq!(pairs(own.at_place("a")), [("a".into(), "1".into())]);
        assert_eq!(pairs(own.at_place("o")), [(String::new(), "3".into())]);
        let other = OwnResults::open(folder.path(), Path::new("/x/other.toml"), false).unwrap();
        assert!(other.is_empty(), "the results of another run file are not included");
    }

    #[test]
    fn a_line_that_was_cut_off_is_ignored_and_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let run_file = Path::new("/x/run.toml");
        let mut own = OwnResults::open(folder.path(), run_file, true).unwrap();
        own.add(result("a", "a", true, "1")).unwrap();
        assert_eq!(pairs(own.at_place("a")).len(), 1);
        drop(own);
        let path = OwnResults::path(folder.path(), run_file);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"input\":\"b\",\"run\":").unwrap();
        let mut own = OwnResults::open(folder.path(), run_file, false).unwrap();
        own.add(result("c", "c", true, "2")).unwrap();
        let own = OwnResults::open(folder.path(), run_file, false).unwrap();
        assert_eq!((pairs(own.of_input("a")).len(), pairs(own.of_input("c")).len()), (1, 1));
    }

    #[test]
    fn a_record_that_is_mostly_out_of_date_is_rewritten_without_losing_current_results() {
        let folder = tempfile::tempdir().unwrap();
        let run_file = Path::new("/x/run.toml");
        let mut own = OwnResults::open(folder.path(), run_file, false).unwrap();
        for number in 0..SPARE_LINES + 10 {
            own.add(result("a", "a", true, &number.to_string())).unwrap();
        }
        own.add(result("b", "b", false, "b")).unwrap();
        let mut own = OwnResults::open(folder.path(), run_file, false).unwrap();
        own.add(result("a", "a", true, "last")).unwrap();
        let own = OwnResults::open(folder.path(), run_file, false).unwrap();
        let last = (SPARE_LINES + 9).to_string();
        let before = (SPARE_LINES + 8).to_string();
        let expected = ["last", &last, &before].map(|md5| ("a".to_owned(), md5.to_owned()));
        assert_eq!(pairs(own.of_input("a")), expected);
        assert_eq!(pairs(own.of_input("b")).len(), 1);
    }

    #[test]
    fn a_record_of_a_later_release_is_rejected_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let run_file = Path::new("/x/run.toml");
        let path = OwnResults::path(folder.path(), run_file);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "{\"format\":2,\"file\":\"/x/run.toml\"}\n").unwrap();
        let refused = OwnResults::open(folder.path(), run_file, false).unwrap_err().to_string();
        assert!(refused.contains("has format 2") && refused.contains("results-"), "{refused}");
    }
}
