//! Mistakes in settings: all of them at once, each with its file and line.

use dropmill_journal::Shown;
use std::{fmt, path::PathBuf};

/// A mistake in a run file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key with the mistake, such as `task.command`; empty if it concerns the file as a whole.
    pub key: String,
    /// What is wrong, and how to correct it.
    pub what: String,
}

impl From<dropmill_inputs::Problem> for Problem {
    fn from(problem: dropmill_inputs::Problem) -> Self {
        Self { key: problem.key, what: problem.message }
    }
}

impl Problem {
    /// Creates a mistake at a key.
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}

/// A mistake and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The run file; none for settings that were made in code.
    pub file: Option<PathBuf>,
    /// The line in it, if it is known.
    pub line: Option<usize>,
    /// The mistake itself.
    pub problem: Problem,
}

/// All mistakes in the settings of one or several runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// Each mistake, by file and line.
    pub found: Vec<Located>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, located) in self.found.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            located.write(f, "")?;
        }
        Ok(())
    }
}

impl Located {
    fn write(&self, f: &mut fmt::Formatter<'_>, kind: &str) -> fmt::Result {
        let Self { file, line, problem } = self;
        match (file, line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}", Shown(file.display()))?,
            (Some(file), None) => write!(f, "{}", Shown(file.display()))?,
            (None, _) => f.write_str("settings")?,
        }
        f.write_str(kind)?;
        match problem.key.is_empty() {
            true => write!(f, ": {}", Shown(&problem.what)),
            false => write!(f, ": {}: {}", Shown(&problem.key), Shown(&problem.what)),
        }
    }

    /// Returns the line for a problem that does not prevent a run.
    pub fn as_warning(&self) -> impl fmt::Display {
        struct Warning<'a>(&'a Located);
        impl fmt::Display for Warning<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, ": warning")
            }
        }
        Warning(self)
    }
}

/// Returns the name among `known` that is most similar to `wrong`, if any is.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &&str| distance(wrong, name);
    let best = known.into_iter().min_by_key(near)?;
    (distance(wrong, best) <= 1 + wrong.len() / 3).then_some(best)
}

/// Returns how many letters must be changed, added or removed (Levenshtein distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (to, found) in other.iter().enumerate() {
            let changed = diagonal + usize::from(*found != letter);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(row[to] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_shown_with_its_own_file() {
        let located = |file: Option<&str>, line, key: &str| Located {
            file: file.map(PathBuf::from),
            line,
            problem: Problem::new(key, "wrong"),
        };
        let found = vec![
            located(Some("a.toml"), Some(3), "run.name"),
            located(Some("b.toml"), None, ""),
            located(None, None, "pool.nodes"),
        ];
        let shown = Problems { found }.to_string();
        assert_eq!(shown, "a.toml:3: run.name: wrong\nb.toml: wrong\nsettings: pool.nodes: wrong");
    }

    #[test]
    fn a_typing_mistake_is_recognised() {
        let known = ["nodes", "spot_nodes", "vm_size"];
        assert_eq!(nearest("node", known), Some("nodes"));
        assert_eq!(nearest("spotnodes", known), Some("spot_nodes"));
        assert_eq!(nearest("VMSIZE", known), Some("vm_size"));
        assert_eq!(nearest("elephant", known), None);
    }
}
