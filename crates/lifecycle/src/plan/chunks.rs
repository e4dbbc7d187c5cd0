//! Tasks for several inputs each (`input.per_task`).
//!
//! An item is one input with a verdict of its own. Neighbouring items are grouped into chunks, and each chunk is submitted
//! as one task. If the command of a chunk fails, its items follow as tasks of their own. Such a task is a chunk of one: it
//! gets its input in the same way.

use super::{Item, RunPlan};
use serde::{Deserialize, Serialize};

/// Folder of the lists of inputs, below the folder of the inputs.
pub const LISTS: &str = ".dropmill";
/// Name of the list with a line for each input.
pub const INPUTS: &str = "inputs";
/// Name of the list in which a NUL follows each input.
pub const INPUTS0: &str = "inputs0";
/// Name of the list with a JSON object for each input.
pub const ROWS: &str = "rows.jsonl";

/// How a task gets its inputs if the run file groups them.
///
/// All its files come by one prefix of the container of the inputs: they are in the task's working folder below
/// `<task>/`, together with lists of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Index of its first item; a task for one input names itself.
    pub first: u32,
    /// Number of its items.
    pub count: u32,
    /// Each input has a result of its own. Otherwise the task has one result for all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_results: bool,
    /// Names of the item's files (its source, then the others) and so of the keys in the list of rows. Without names,
    /// the inputs are listed as texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// How a run groups its inputs. The chunks of a plan follow from it and from the items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grouping {
    /// Most inputs of one task.
    pub per_task: u32,
    /// Program and arguments; at a word that is none, each input is an argument.
    pub command: Vec<Option<String>>,
    /// Variables of `task.env`.
    pub environment: Vec<(String, String)>,
    /// Patterns that fit the outputs of all inputs, one for each of `task.outputs`, if each input has results of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wide_outputs: Vec<String>,
}

impl Chunk {
    /// Returns the indexes of its items.
    pub fn range(&self) -> std::ops::Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

impl Item {
    /// Returns the items that a task for several inputs is for; none for other tasks.
    pub fn members(&self) -> Option<&Chunk> {
        self.chunk.as_ref().filter(|chunk| chunk.count > 1)
    }

    /// Returns the text that stands for this item among the inputs of a task: the path of its file in the working folder
    /// of that task, or its line.
    pub fn as_input_of(&self, task: &str) -> String {
        match (&self.source, self.values.first()) {
            (Some(_), _) => format!("{task}/{}", self.file_name),
            (None, Some((_, line))) => line.clone(),
            (None, None) => String::new(),
        }
    }

    /// Returns the patterns of this item's outputs in the working folder of a task that is for several inputs.
    pub fn outputs_in(&self, task: &str) -> Vec<String> {
        let own = format!("{}/", self.task);
        let outputs = self.outputs.iter().flatten();
        outputs.map(|pattern| pattern.replace(&own, &format!("{task}/"))).collect()
    }

    /// Returns where an output lies in this item's result: a file beside the input is named by its own name, and not by
    /// the path of the input in the working folder of its task.
    pub fn place_in_result<'a>(&self, task: &str, path: &'a str) -> &'a str {
        if self.chunk.is_none() {
            return path;
        }
        let Some(below) = path.strip_prefix(task).and_then(|rest| rest.strip_prefix('/')) else {
            return path;
        };
        let folder = self.file_name.rsplit_once('/').map_or("", |(folder, _)| folder);
        below.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).unwrap_or(below)
    }
}

impl RunPlan {
    /// Returns the number of the chunk that an item belongs to.
    pub fn chunk_of(&self, index: u32) -> Option<usize> {
        let after = self.chunks.partition_point(|chunk| first(chunk) <= index);
        let number = after.checked_sub(1)?;
        self.chunks[number]
            .chunk
            .as_ref()
            .is_some_and(|chunk| chunk.range().contains(&index))
            .then_some(number)
    }
}

fn first(chunk: &Item) -> u32 {
    chunk.chunk.as_ref().map_or(u32::MAX, |chunk| chunk.first)
}
