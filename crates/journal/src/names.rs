//! Names of actors, subjects and outcomes of files: written as text, compared as types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The actor that records an event.
///
/// A name that this release does not know, for example of a later release, is kept unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Role {
    /// Uploads application and inputs; deletes the containers.
    StorageUploader,
    /// Creates, monitors and deletes the pool.
    PoolKeeper,
    /// Creates the job and adds tasks to it.
    JobSubmitter,
    /// Polls the tasks.
    TaskMonitor,
    /// Downloads results of tasks.
    OutputFetcher,
    /// Starts and ends the run.
    RunKeeper,
    /// Writes events to the journal.
    ResultCollector,
    /// Claims files from a drop folder and publishes results.
    DropFolder,
    /// An actor of another release.
    Other(String),
}

impl Role {
    const KNOWN: [Self; 8] = [
        Self::StorageUploader,
        Self::PoolKeeper,
        Self::JobSubmitter,
        Self::TaskMonitor,
        Self::OutputFetcher,
        Self::RunKeeper,
        Self::ResultCollector,
        Self::DropFolder,
    ];

    /// Returns the name as it is written in events.
    pub fn as_str(&self) -> &str {
        match self {
            Self::StorageUploader => "storage_uploader",
            Self::PoolKeeper => "pool_keeper",
            Self::JobSubmitter => "job_submitter",
            Self::TaskMonitor => "task_monitor",
            Self::OutputFetcher => "output_fetcher",
            Self::RunKeeper => "run_keeper",
            Self::ResultCollector => "result_collector",
            Self::DropFolder => "drop_folder",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for Role {
    fn from(name: String) -> Self {
        Self::KNOWN.into_iter().find(|role| role.as_str() == name).unwrap_or(Self::Other(name))
    }
}

impl From<&str> for Role {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        match role {
            Role::Other(name) => name,
            known => known.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The subject of an event.
///
/// A subject that this release does not know, for example of a later release, is kept unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Subject {
    /// The run as a whole.
    Run,
    /// A container, by its name.
    Container(String),
    /// All containers of the run.
    Containers,
    /// A file of the application, by its name.
    File(String),
    /// The pool of the run.
    Pool,
    /// A node, by its id.
    Node(String),
    /// The job of the run.
    Job,
    /// A task, by its id.
    Task(String),
    /// A subject of another release.
    Other(String),
}

impl Subject {
    /// Returns the subject of a task.
    pub fn of_task(id: &str) -> Self {
        Self::Task(id.to_owned())
    }

    /// Returns the id of the task that the event is about, if it is about one.
    pub fn task(&self) -> Option<&str> {
        match self {
            Self::Task(id) => Some(id),
            _ => None,
        }
    }

    /// Returns the id of the node that the event is about, if it is about one.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Node(id) => Some(id),
            _ => None,
        }
    }

    /// Returns the first word of the text: `task`, `container`, `run`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Run => "run",
            Self::Container(_) => "container",
            Self::Containers => "containers",
            Self::File(_) => "file",
            Self::Pool => "pool",
            Self::Node(_) => "node",
            Self::Job => "job",
            Self::Task(_) => "task",
            Self::Other(text) => text.split('/').next().unwrap_or_default(),
        }
    }
}

impl From<String> for Subject {
    fn from(text: String) -> Self {
        match text.split_once('/') {
            None => match &*text {
                "run" => Self::Run,
                "containers" => Self::Containers,
                "pool" => Self::Pool,
                "job" => Self::Job,
                _ => Self::Other(text),
            },
            Some(("container", name)) => Self::Container(name.to_owned()),
            Some(("file", name)) => Self::File(name.to_owned()),
            Some(("node", id)) => Self::Node(id.to_owned()),
            Some(("task", id)) => Self::Task(id.to_owned()),
            Some(_) => Self::Other(text),
        }
    }
}

impl From<&str> for Subject {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Other(text) => text,
            known => known.to_string(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container/{name}"),
            Self::File(name) => write!(f, "file/{name}"),
            Self::Node(id) => write!(f, "node/{id}"),
            Self::Task(id) => write!(f, "task/{id}"),
            Self::Other(text) => f.pad(text),
            Self::Run | Self::Containers | Self::Pool | Self::Job => f.pad(self.kind()),
        }
    }
}

/// The outcome of a file of the drop folder.
///
/// A word that this release does not know, for example of a later release, is kept unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FileOutcome {
    /// The file was processed, and its result is delivered.
    Done,
    /// The file was processed before.
    Duplicate,
    /// The file's task failed.
    Failed,
    /// A word of another release.
    Other(String),
}

impl FileOutcome {
    /// Returns the outcome as it is written in events.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Done => "done",
            Self::Duplicate => "duplicate",
            Self::Failed => "failed",
            Self::Other(word) => word,
        }
    }
}

impl From<String> for FileOutcome {
    fn from(word: String) -> Self {
        match &*word {
            "done" => Self::Done,
            "duplicate" => Self::Duplicate,
            "failed" => Self::Failed,
            _ => Self::Other(word),
        }
    }
}

impl From<FileOutcome> for String {
    fn from(outcome: FileOutcome) -> Self {
        outcome.as_str().to_owned()
    }
}

impl fmt::Display for FileOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_parsed_from_its_own_text() {
        for role in Role::KNOWN.into_iter().chain([Role::Other("a_later_one".into())]) {
            assert_eq!(Role::from(role.to_string()), role);
            assert_eq!(serde_json::to_value(&role).expect("a role is text"), role.as_str());
        }
    }

    #[test]
    fn outcomes_of_files_are_parsed_from_their_own_text() {
        for word in ["done", "duplicate", "failed", "of a later release"] {
            assert_eq!(FileOutcome::from(word.to_owned()).to_string(), word);
        }
        assert_eq!(FileOutcome::from("failed".to_owned()), FileOutcome::Failed);
    }

    #[test]
    fn subjects_are_parsed_from_text() {
        for (text, subject) in [
            ("run", Subject::Run),
            ("pool", Subject::Pool),
            ("job", Subject::Job),
            ("containers", Subject::Containers),
            ("container/r-1-app", Subject::Container("r-1-app".into())),
            ("file/a/b.txt", Subject::File("a/b.txt".into())),
            ("node/tvm-1", Subject::Node("tvm-1".into())),
            ("task/a-txt-0123", Subject::Task("a-txt-0123".into())),
            ("task/", Subject::Task(String::new())),
            ("task", Subject::Other("task".into())),
            ("pool/p", Subject::Other("pool/p".into())),
            ("", Subject::Other(String::new())),
        ] {
            assert_eq!(Subject::from(text), subject);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_parsed_text_is_written_unchanged(text in "(run|pool|job|containers?|file|node|task|x)?/?[a-z/]{0,9}") {
            let subject = Subject::from(text.as_str());
            proptest::prop_assert_eq!(subject.to_string(), text.clone());
            proptest::prop_assert_eq!(text.split('/').next().unwrap_or_default(), subject.kind());
            proptest::prop_assert_eq!(String::from(subject), text);
        }
    }
}
