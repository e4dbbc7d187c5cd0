//! A parcel: a result or a failure, with its note, to be published.

use crate::place::{LONGEST_NAME, PlaceError, beside};
use dropmill_lifecycle::arrival::FileSnapshot;
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The target of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// The folder of results.
    Done,
    /// The folder of failures.
    Failed,
}

/// A result or a failure to be published.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The run that created it, and the folder below that run's results; the folder need not exist.
    pub results: (String, String),
    /// Place of the input in the work folder.
    pub input: String,
    /// Path of the input below the drop folder, which is also the name of the parcel below its root.
    pub relative: PathBuf,
    /// Metadata of the input at the claim; `None` if unknown.
    pub look: Option<FileSnapshot>,
    /// Whether the input is published with the parcel; otherwise it is removed afterwards.
    pub with_input: bool,
    /// Folder to which it is published.
    pub root: Root,
    /// The note beside the results; its `run` and `task` identify a parcel that was already published.
    pub note: Value,
}

/// The reason why a parcel was not published. The input and the results stay where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPublished {
    /// The input was changed after the claim; contains its current metadata.
    Changed(FileSnapshot),
    /// The file system reports an error.
    Refused(PlaceError),
}

impl From<PlaceError> for NotPublished {
    fn from(error: PlaceError) -> Self {
        Self::Refused(error)
    }
}

impl Parcel {
    /// Returns the possible names of the note, in order of preference: an output of the task keeps its name.
    pub(super) fn note_names(&self) -> [&'static str; 2] {
        match self.root {
            Root::Done => ["result.json", "result.json~note"],
            Root::Failed => ["reason.json", "reason.json~note"],
        }
    }

    /// Returns the name of the note: the second one if the task has an output with the first.
    pub(super) fn note_name(&self) -> &'static str {
        let [usual, other] = self.note_names();
        match self.has_output(usual) {
            true => other,
            false => usual,
        }
    }

    /// Returns whether the task has an output with that name, or a folder with files in it.
    fn has_output(&self, name: &str) -> bool {
        let files = self.note["files"].as_array().map_or(&[][..], Vec::as_slice);
        let paths = files.iter().filter_map(|file| file["path"].as_str());
        paths.map(|path| path.split('/').next().unwrap_or(path)).any(|first| first == name)
    }

    /// Returns the name of the input beside the results: `NAME~input` if an output has its name.
    pub(super) fn input_name(&self) -> OsString {
        let name = self.relative.file_name().unwrap_or(OsStr::new("input"));
        let mut candidate = name.to_owned();
        for number in 1u32.. {
            let taken = candidate
                .to_str()
                .is_some_and(|text| self.has_output(text) || self.note_names().contains(&text));
            if !taken {
                return candidate;
            }
            let suffix = if number == 1 { "~input".to_owned() } else { format!("~input{number}") };
            let mut bytes = name.as_bytes().to_vec();
            bytes.truncate(LONGEST_NAME - suffix.len());
            bytes.extend_from_slice(suffix.as_bytes());
            candidate = OsString::from_vec(bytes);
        }
        candidate
    }

    /// Returns whether a note belongs to this parcel.
    pub(super) fn is_mine(&self, note: &[u8]) -> bool {
        let found: Option<Value> = serde_json::from_slice(note).ok();
        found.is_some_and(|note| note["task"] == self.note["task"] && note["run"] == self.note["run"])
    }
}

/// Returns `name`, `name~2`, `name~3`, …: a folder's whole name is its stem.
pub(super) fn beside_path(relative: &Path, tries: u32) -> PathBuf {
    match relative.to_str() {
        Some(text) => beside(text, tries, true).into(),
        None => {
            let mut bytes = relative.as_os_str().as_bytes().to_vec();
            if tries > 0 {
                let number = format!("~{}", tries + 1);
                let name = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                bytes.truncate(name + LONGEST_NAME - number.len());
                bytes.extend_from_slice(number.as_bytes());
            }
            OsString::from_vec(bytes).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parcel(root: Root, relative: &str, files: &[&str]) -> Parcel {
        let files: Vec<_> = files.iter().map(|path| json!({ "path": path })).collect();
        Parcel {
            results: ("r".into(), "t".into()),
            input: "r/t".into(),
            relative: relative.into(),
            look: None,
            with_input: true,
            root,
            note: json!({ "run": "r", "task": "t", "files": files }),
        }
    }

    #[test]
    fn outputs_always_keep_their_names() {
        let table = [
            (Root::Done, "a.txt", &["out.txt"][..], "result.json", "a.txt"),
            (Root::Done, "a.txt", &["result.json"], "result.json~note", "a.txt"),
            (Root::Done, "a.txt", &["result.json/x"], "result.json~note", "a.txt"),
            (Root::Done, "a.txt", &["reason.json", "a.txt"], "result.json", "a.txt~input"),
            (Root::Failed, "a.txt", &["reason.json"], "reason.json~note", "a.txt"),
            (Root::Done, "a.txt", &["a.txt", "a.txt~input"], "result.json", "a.txt~input2"),
            (Root::Done, "result.json", &["out"], "result.json", "result.json~input"),
            (
                Root::Done,
                "d/result.json~note",
                &["result.json"],
                "result.json~note",
                "result.json~note~input",
            ),
        ];
        for (root, relative, files, note, input) in table {
            let parcel = parcel(root, relative, files);
            assert_eq!(parcel.note_name(), note, "{relative} {files:?}");
            assert_eq!(parcel.input_name(), input, "{relative} {files:?}");
        }
        let long = "n".repeat(255);
        let named = parcel(Root::Done, &long, &[&long]).input_name();
        assert_eq!((named.len(), named.to_str().map(|name| name.ends_with("n~input"))), (255, Some(true)));
    }

    #[test]
    fn a_parcel_knows_its_note() {
        let mine = parcel(Root::Done, "a", &[]);
        assert!(mine.is_mine(br#"{"run":"r","task":"t","more":1}"#));
        assert!(!mine.is_mine(br#"{"run":"r","task":"u"}"#) && !mine.is_mine(b"torn"));
    }
}
