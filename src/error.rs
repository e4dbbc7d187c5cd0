//! Errors as types that a caller can match: each says what was tried, on what, and what to do next.

use crate::{plan::stored::PlanError, settings::Problems};
use dropmill_actors::RunError;
use dropmill_journal::{JournalError, results::RecordError};
use dropmill_private_files::PrivateError;
use std::{fmt, path::PathBuf, sync::Arc};

/// The caller made a mistake; the service was not called.
const WRONG_INPUT: u8 = 2;
/// The service, its credentials, or this machine failed.
const INFRASTRUCTURE: u8 = 3;

/// Why a run or a daemon could not start, or did not end normally.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings have mistakes.
    #[error(transparent)]
    Settings(#[from] Problems),
    /// The caller asks for something that is not possible.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Everything that was asked for is done already.
    #[error(transparent)]
    NothingToDo(#[from] NothingToDo),
    /// The settings need a part of Dropmill that was not built.
    #[error(transparent)]
    MissingFeature(#[from] MissingFeature),
    /// The state folder cannot be used now.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file of the state folder is not safe to use, or the file system reports an error.
    #[error(transparent)]
    File(Arc<PrivateError>),
    /// The journal of a run cannot be read or written.
    #[error(transparent)]
    Journal(Arc<JournalError>),
    /// The stored plan of a run cannot be used.
    #[error(transparent)]
    Plan(Arc<PlanError>),
    /// The record of delivered results cannot be read or written.
    #[error(transparent)]
    Record(Arc<RecordError>),
    /// The run ended without a report.
    #[error(transparent)]
    Run(Arc<RunError>),
    /// The thread of a run or daemon ended before it could answer.
    #[error("the thread of the {0} has ended, a defect of this program: its journal shows how far it came")]
    ThreadEnded(&'static str),
    /// Any other error, with its causes.
    #[error(transparent)]
    Other(Failure),
}

/// The caller asks for something that is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// The environment names no state folder.
    #[error("there is neither XDG_STATE_HOME nor HOME: name a state folder with --state DIR")]
    NoStateFolder,
    /// No run has this name.
    #[error("there is no run {run} in {}: `dropmill runs` lists them", state.display())]
    UnknownRun {
        /// The name, or the prefix of a name.
        run: String,
        /// The state folder.
        state: PathBuf,
    },
    /// Several runs begin with this prefix.
    #[error("{count} runs begin with {run}: write more of the name. The latest of them is {latest}")]
    AmbiguousRun {
        /// The prefix that was given.
        run: String,
        /// How many runs begin with it.
        count: usize,
        /// The latest of them.
        latest: String,
    },
    /// No task of the run has this id or input.
    #[error("run {run} has no task {task}: `dropmill show {run}` lists its tasks")]
    UnknownTask {
        /// The name of the run.
        run: String,
        /// What was given for a task.
        task: String,
    },
    /// Several tasks of the run have such an id or input.
    #[error("{count} tasks of run {run} match {task}, for example {}: write more of the name", examples.join(", "))]
    AmbiguousTask {
        /// The name of the run.
        run: String,
        /// What was given for a task.
        task: String,
        /// How many tasks match.
        count: usize,
        /// Some of them.
        examples: Vec<String>,
    },
    /// Something would be lost with the folder of the run.
    #[error("run {run} is not removed: {why}; --force removes it in any case")]
    NotRemoved {
        /// The name of the run.
        run: String,
        /// What would be lost.
        why: String,
    },
    /// No process works on the run.
    #[error("no process works on run {run}: {next}")]
    NotLive {
        /// The name of the run.
        run: String,
        /// What to do.
        next: String,
    },
    /// The run has not ended, and only an ended run can be retried or delivered.
    #[error("run {run} has not ended; resume it with `dropmill resume {run}`")]
    NotEnded {
        /// The name of the run.
        run: String,
    },
    /// The run has ended, so that there is nothing to resume.
    #[error("run {run} has ended; run what failed again with `dropmill retry {run}`")]
    Ended {
        /// The name of the run.
        run: String,
    },
    /// The settings changed after the run was interrupted, and the run cannot apply the change.
    #[error(
        "{run} was interrupted, and in {settings} {} changed since: `dropmill resume {run}` resumes it as it was planned, \
         `dropmill run {settings}` starts a new run",
        changed.join(", ")
    )]
    SettingsChanged {
        /// The name of the run.
        run: String,
        /// The run file.
        settings: String,
        /// Parts that changed since the run started.
        changed: Vec<&'static str>,
    },
    /// The settings now name another service than the run used.
    #[error(
        "run {run} uses {was}, the run file now names {now}: what the run created is not there, so it cannot be resumed"
    )]
    ServiceChanged {
        /// The name of the run.
        run: String,
        /// The service of the run.
        was: String,
        /// The service that the settings name now.
        now: String,
    },
    /// An input that is to be retried no longer exists.
    #[error("{input} did not succeed in {run}, and {settings} no longer finds it: restore it")]
    InputGone {
        /// The path of the input, relative to the folder of the run file.
        input: String,
        /// The name of the run.
        run: String,
        /// The run file.
        settings: String,
    },
    /// A recording cannot be replayed without the inputs of its run.
    #[error("{} is missing: a replay reads the inputs that the run read", path.display())]
    RecordedInputGone {
        /// Path of the input.
        path: PathBuf,
    },
    /// A file that the caller names cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why it cannot be used, and what to do.
        problem: String,
    },
    /// An argument has a value that is not possible.
    #[error("{argument}: {problem}")]
    Argument {
        /// The argument, with its value if that matters.
        argument: String,
        /// Why it is not possible, and what is.
        problem: String,
    },
}

/// Everything that was asked for is done already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NothingToDo {
    /// The results of all inputs exist (`skip_done`).
    #[error("{name}: nothing to do, all {inputs} inputs are done")]
    AllDone {
        /// `run.name` of the settings.
        name: String,
        /// How many inputs there are.
        inputs: usize,
    },
    /// There is no task to retry.
    #[error("{run}: nothing to retry, every task succeeded")]
    AllSucceeded {
        /// The name of the run.
        run: String,
    },
    /// There is no failed task to retry, only unfinished ones.
    #[error("{run}: nothing failed, and {unfinished} are unfinished: `dropmill retry {run}` runs them")]
    NoneFailed {
        /// The name of the run.
        run: String,
        /// How many tasks were not finished.
        unfinished: u64,
    },
}

/// The settings need a part of Dropmill that was not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed_by} needs the feature `{feature}`: add it to the features of `dropmill` in Cargo.toml, then build again"
)]
pub struct MissingFeature {
    /// The Cargo feature.
    pub feature: &'static str,
    /// The setting that needs it.
    pub needed_by: &'static str,
}

/// The state folder cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process uses it.
    #[error("{} is in use by {holder}", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// `pid 12 since 2026-03-02T10:11:12Z`.
        holder: String,
    },
    /// It was removed or replaced while it was in use.
    #[error(
        "{} was removed or replaced: what is kept there would be lost, so nothing more is begun; \
         put it back and start again",
        folder.display()
    )]
    Removed {
        /// Path of the folder.
        folder: PathBuf,
    },
}

/// An error with its causes, as one line.
#[derive(Debug, Clone)]
pub struct Failure(Arc<anyhow::Error>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Failure {}

impl Error {
    /// Returns the exit code of the program for this error: 0 if there was nothing to do, 2 if the caller asked for
    /// something wrong, 3 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NothingToDo(_) => 0,
            Self::Settings(_) | Self::Usage(_) | Self::MissingFeature(_) => WRONG_INPUT,
            Self::State(_)
            | Self::File(_)
            | Self::Journal(_)
            | Self::Plan(_)
            | Self::Record(_)
            | Self::Run(_)
            | Self::ThreadEnded(_)
            | Self::Other(_) => INFRASTRUCTURE,
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        let known = outermost::<Self>(error)
            .or_else(|error| outermost::<Problems>(error).map(Self::from))
            .or_else(|error| outermost::<UsageError>(error).map(Self::from))
            .or_else(|error| outermost::<NothingToDo>(error).map(Self::from))
            .or_else(|error| outermost::<MissingFeature>(error).map(Self::from))
            .or_else(|error| outermost::<StateError>(error).map(Self::from))
            .or_else(|error| outermost(error).map(|error| Self::File(Arc::new(error))))
            .or_else(|error| outermost(error).map(|error| Self::Journal(Arc::new(error))))
            .or_else(|error| outermost(error).map(|error| Self::Plan(Arc::new(error))))
            .or_else(|error| outermost(error).map(|error| Self::Record(Arc::new(error))))
            .or_else(|error| outermost(error).map(|error| Self::Run(Arc::new(error))));
        known.unwrap_or_else(|error| Self::Other(Failure(Arc::new(error))))
    }
}

/// Returns the error as its type, unless a context was added, which is part of the message.
fn outermost<E: std::error::Error + Send + Sync + 'static>(error: anyhow::Error) -> Result<E, anyhow::Error> {
    match error.chain().next().is_some_and(|outermost| outermost.is::<E>()) {
        true => error.downcast(),
        false => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    fn usage() -> UsageError {
        UsageError::NotEnded { run: "r".into() }
    }

    #[test]
    fn the_exit_code_follows_from_the_type_of_the_error() {
        let removed = StateError::Removed { folder: "/state".into() };
        let in_use = StateError::InUse { path: "/state/lock".into(), holder: "pid 1".into() };
        let private = PrivateError::Link { path: "/state".into() };
        let none = std::io::Error::from(std::io::ErrorKind::NotFound);
        let table: [(anyhow::Error, u8); 12] = [
            (Problems::default().into(), 2),
            (usage().into(), 2),
            (UsageError::NoStateFolder.into(), 2),
            (MissingFeature { feature: "tls", needed_by: "notify.url" }.into(), 2),
            (NothingToDo::AllSucceeded { run: "r".into() }.into(), 0),
            (removed.into(), 3),
            (in_use.into(), 3),
            (private.into(), 3),
            (RunError::ActorLost { actor: dropmill_journal::event::Role::RunKeeper }.into(), 3),
            (PlanError::Newer { path: "plan.json".into(), found: 9 }.into(), 3),
            (none.into(), 3),
            (Error::ThreadEnded("run").into(), 3),
        ];
        for (error, expected) in table {
            let message = format!("{error:#}");
            let typed = Error::from(error);
            assert_eq!(typed.exit_code(), expected, "{typed:?}");
            assert_eq!(typed.to_string(), message, "{typed:?}");
            assert_eq!(matches!(typed, Error::Other(_)), message.contains("not found"), "{typed:?}");
        }
    }

    #[test]
    fn a_context_stays_part_of_the_message() {
        let error = Err::<(), _>(anyhow!(usage())).context("cannot deliver").map_err(Error::from);
        let message = "cannot deliver: run r has not ended; resume it with `dropmill resume r`";
        assert_eq!(error.map_err(|error| error.to_string()), Err(message.to_owned()));
    }
}
