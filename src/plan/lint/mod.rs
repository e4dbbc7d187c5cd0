//! Checks of a run file that need more than the file itself: whether the nodes find the program and its scripts, and which keys have
//! no effect.
//!
//! The rules are functions of the settings, of the files that the tasks get, and of [`Machine`], which answers questions
//! about this machine. They change nothing.

mod arguments;
mod effects;
mod machine;
mod program;
mod sizes;

pub use machine::{FileFacts, Machine, on_this_machine};

use crate::settings::{Loaded, Problem, Settings};
use dropmill_lifecycle::plan::{AppFile, Item};

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Every task would fail: the run does not start.
    Error,
    /// The run starts; its results may not be the expected ones.
    Warning,
}

/// A problem that a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How serious the problem is.
    pub severity: Severity,
    /// The key and the message.
    pub problem: Problem,
}

impl Finding {
    fn error(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, problem: Problem::new(key, what) }
    }

    fn warning(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, problem: Problem::new(key, what) }
    }
}

/// What the rules judge.
pub struct Subject<'a> {
    /// The settings of the run.
    pub settings: &'a Settings,
    /// Files of the application that were found.
    pub application: &'a [AppFile],
    /// Items of the run; empty if they are not known.
    pub items: &'a [Item],
    /// Machine that makes the plan.
    pub machine: Machine<'a>,
}

impl Subject<'_> {
    /// Returns `true` if every task finds a file of this name in its working folder, or some task may.
    fn is_in_working_folder(&self, name: &str) -> bool {
        let of_application = self.application_file(name).is_some() && !self.has_start_task();
        let of_item =
            |item: &Item| item.file_name == name || item.more_files.iter().any(|file| file.place == name);
        let input = &self.settings.input;
        let has_more = !input.with.is_empty() || !input.parts.is_empty() || !input.table_files.is_empty();
        let may_be = self.items.is_empty() && has_more;
        of_application || may_be || self.items.iter().any(of_item)
    }

    /// Returns the file of the application with this name.
    fn application_file(&self, name: &str) -> Option<&AppFile> {
        self.application.iter().find(|file| file.name == name)
    }

    fn has_start_task(&self) -> bool {
        self.settings.application.start_task.is_some()
    }
}

/// Applies all rules.
pub fn findings(loaded: &Loaded, subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = program::check(subject);
    found.extend(arguments::check(subject));
    found.extend(sizes::check(subject));
    found.extend(effects::check(&loaded.settings, &loaded.given));
    found
}

/// A path as the nodes see it: without `./` at the beginning. Returns `None` for an absolute path, one that leaves its
/// folder, and one with a placeholder.
fn relative_name(word: &str) -> Option<&str> {
    let name = word.trim_start_matches("./");
    let leaves = name.starts_with('/') || name.split('/').any(|segment| segment == "..");
    (!name.is_empty() && !leaves && !name.contains(['{', '\n'])).then_some(name)
}

#[cfg(test)]
mod tests;
