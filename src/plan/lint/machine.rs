//! Facts about this machine for the rules.

use crate::{
    plan::variables,
    settings::{Loaded, ServiceKind},
};
use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Bytes at the beginning of a file that show what can execute it.
const HEAD_BYTES: u64 = 256;

/// A regular file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// The caller may execute the file.
    pub is_executable: bool,
    /// The first bytes.
    pub head: Vec<u8>,
}

/// The machine that makes the plan.
pub struct Machine<'a> {
    /// Returns the facts of a regular file, `None` if there is no such file.
    pub file: &'a dyn Fn(&Path) -> Option<FileFacts>,
    /// Folder of the run file.
    pub base: PathBuf,
    /// The tasks' search path for programs, if tasks run on this machine.
    pub task_path: Option<String>,
    /// The caller's search path.
    pub caller_path: String,
    /// The caller's home folder, if tasks get another one.
    pub hidden_home: Option<PathBuf>,
}

impl Machine<'_> {
    /// Returns the facts of a file beside the run file.
    pub fn beside(&self, name: &str) -> Option<FileFacts> {
        (self.file)(&self.base.join(name))
    }

    /// Looks for a program in a search path: an executable file if there is one, else any file.
    pub fn search(&self, path: &str, name: &str) -> Option<(PathBuf, FileFacts)> {
        let found = || {
            let folders = path.split(':').filter(|folder| folder.starts_with('/'));
            folders.filter_map(|folder| {
                let file = Path::new(folder).join(name);
                (self.file)(&file).map(|facts| (file, facts))
            })
        };
        found().find(|(_, facts)| facts.is_executable).or_else(|| found().next())
    }
}

/// Asks this machine.
pub fn on_this_machine(loaded: &Loaded) -> Machine<'static> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_local = loaded.settings.service.kind == ServiceKind::Embedded;
    let task = &loaded.settings.task;
    let caller_path = variable("PATH");
    let path = variables::value_in_tasks(task, "PATH", caller_path.as_deref(), &default_path());
    let has_home = task.env.contains_key("HOME") || variables::inherits(task, "HOME");
    Machine {
        file: &file_facts,
        base: super::super::normal(&loaded.base),
        task_path: is_local.then_some(path),
        caller_path: caller_path.unwrap_or_default(),
        hidden_home: variable("HOME").filter(|_| is_local && !has_home).map(PathBuf::from),
    }
}

/// The search path that tasks of the embedded service have by default.
#[cfg(feature = "embedded")]
fn default_path() -> String {
    let all = dropmill_local_azure::runner::default_environment();
    all.into_iter().find(|(name, _)| name == "PATH").map(|(_, path)| path).unwrap_or_default()
}

#[cfg(not(feature = "embedded"))]
fn default_path() -> String {
    "/usr/local/bin:/usr/bin:/bin".into()
}

fn file_facts(path: &Path) -> Option<FileFacts> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut head = vec![];
    if let Ok(file) = fs::File::open(path) {
        // A file that cannot be read can still be executed.
        let _ = file.take(HEAD_BYTES).read_to_end(&mut head);
    }
    Some(FileFacts { is_executable: metadata.permissions().mode() & 0o111 != 0, head })
}
