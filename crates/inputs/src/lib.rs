//! The inputs of tasks: files, sets of files, rows, lines and sweeps become named drafts.
//!
//! A run makes one task for each [`Draft`]: named files and named values. A source makes drafts, and a sweep multiplies
//! them. Use this crate to make tasks from inputs in the same way as the section `input` of a run file does. All functions
//! are pure: the caller reads the files, and a function returns all problems ([`Problem`]) at once.
//!
//! - [`parts`] and [`companions`]: sets of files that belong together
//! - [`table`] and [`lines`]: rows of CSV, TSV and JSON Lines files, and lines of a text
//! - [`sweep`] and [`drafts::multiply`]: combinations of values
//! - [`template`]: placeholders in commands and paths
//!
//! # Examples
//!
//! Pairs files by their sample, and makes a task for each pair and seed:
//!
//! ```
//! use dropmill_inputs::{parts::{self, Incomplete, Part}, sweep::Axis, drafts};
//!
//! let parts = [("r1", "reads/{sample}_R1.fq"), ("r2", "reads/{sample}_R2.fq")];
//! let files = ["reads/a_R1.fq", "reads/a_R2.fq", "reads/b_R1.fq", "reads/b_R2.fq"];
//! let parts = parts.map(|(name, pattern)| Part::new(name, pattern, files).unwrap());
//! let pairs = parts::join(&parts, Incomplete::Error).drafts;
//! let tasks = drafts::multiply(pairs, &[Axis::new("seed", ["1", "2"])]);
//! let names: Vec<_> = tasks.iter().map(|draft| draft.name.as_str()).collect();
//! assert_eq!(names, ["a/seed=1", "a/seed=2", "b/seed=1", "b/seed=2"]);
//! ```

pub mod companions;
pub mod drafts;
pub mod lines;
pub mod names;
pub mod parts;
pub mod pattern;
pub mod sweep;
pub mod table;
pub mod template;

pub use drafts::{Draft, NamedFile};

/// A problem with a value of the run file, or with what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key of the run file, for example `input.table`.
    pub key: String,
    /// What is wrong, where, and what to write instead.
    pub message: String,
}

impl Problem {
    /// Creates a problem of a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}
