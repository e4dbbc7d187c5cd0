//! Drafts of tasks: multiplied by a sweep, named, ordered and grouped.

use crate::{
    Problem,
    names::{bounded, segment, stem},
    sweep::Axis,
    template::{Template, Unknown},
};
use std::{collections::BTreeMap, ops::Range};

/// Maximum number of names that a problem lists.
const MOST_SHOWN: usize = 5;

/// The files and values of one task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Its name, unique in the run: segments of a path.
    pub name: String,
    /// Files that it gets.
    pub files: Vec<NamedFile>,
    /// Values, in the order of their declaration.
    pub values: Vec<(String, String)>,
    /// Origin of the draft, for messages: `samples.csv line 3`; empty for files.
    pub origin: String,
}

/// A file of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The name that the run file gives it; `None` for a companion.
    pub name: Option<String>,
    /// Its path as it was listed.
    pub path: String,
    /// Its path in the working folder of the task, `/` between segments.
    pub place: String,
}

impl Draft {
    /// Returns the draft of a task for one file, which it gets under its own name.
    pub fn of_file(path: &str) -> Self {
        let file_name = crate::names::file_name(path);
        let file = NamedFile { name: Some("input".into()), path: path.into(), place: file_name.into() };
        Self { name: path.into(), files: vec![file], ..Self::default() }
    }

    /// Returns the text of a declared name, `index` included; none if the task has no such value.
    pub fn value(&self, name: &str, index: usize) -> Option<String> {
        if let Some((_, value)) = self.values.iter().find(|(other, _)| other == name) {
            return Some(value.clone());
        }
        if let Some(file) = self.files.iter().find(|file| file.name.as_deref() == Some(name)) {
            return Some(file.place.clone());
        }
        let input = || self.files.iter().find(|file| file.name.as_deref() == Some("input"));
        match name {
            "index" => Some(index.to_string()),
            "name" => Some(
                input().map_or_else(|| self.name.clone(), |file| crate::names::file_name(&file.path).into()),
            ),
            "stem" => Some(stem(crate::names::file_name(&input()?.path)).into()),
            "relative" => Some(input()?.path.clone()),
            _ => None,
        }
    }

    /// Returns the names of its files and values.
    pub fn declared(&self) -> Vec<&str> {
        let files = self.files.iter().filter_map(|file| file.name.as_deref());
        files.chain(self.values.iter().map(|(name, _)| name.as_str())).collect()
    }
}

/// Multiplies drafts by every combination of a sweep; the last axis changes fastest. Without drafts, the
/// sweep alone creates them.
pub fn multiply(drafts: Vec<Draft>, axes: &[Axis]) -> Vec<Draft> {
    if axes.is_empty() {
        return drafts;
    }
    let drafts = if drafts.is_empty() { vec![Draft::default()] } else { drafts };
    let mut all = vec![];
    for draft in drafts {
        for number in 0..combinations(axes) {
            let chosen = chosen(axes, number);
            let words: Vec<_> =
                chosen.iter().map(|(name, value)| format!("{name}={}", segment(value))).collect();
            let mut made = draft.clone();
            made.name = match draft.name.as_str() {
                "" => words.join(","),
                name => format!("{name}/{}", words.join(",")),
            };
            made.values.extend(chosen.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
            all.push(made);
        }
    }
    all
}

/// Returns the number of combinations of a sweep.
pub fn combinations(axes: &[Axis]) -> usize {
    axes.iter().fold(1, |product, axis| product.saturating_mul(axis.values.len()))
}

fn chosen(axes: &[Axis], mut number: usize) -> Vec<(&str, &str)> {
    let mut chosen: Vec<(&str, &str)> = vec![];
    for axis in axes.iter().rev() {
        chosen.push((&axis.name, &axis.values[number % axis.values.len()]));
        number /= axis.values.len();
    }
    chosen.reverse();
    chosen
}

/// Names drafts by a template, if there is one, and bounds the length of every name.
///
/// # Errors
/// Returns a problem if the template uses an unknown name.
pub fn name(drafts: &mut [Draft], template: Option<&str>) -> Result<(), Problem> {
    for (index, draft) in drafts.iter_mut().enumerate() {
        if let Some(text) = template {
            let mut declared = draft.declared();
            declared.extend(
                ["index", "name", "stem", "relative"]
                    .into_iter()
                    .filter(|name| draft.value(name, 0).is_some()),
            );
            let template = Template::parse(text, &declared, Unknown::Error)
                .map_err(|error| Problem::new("input.name", error))?;
            draft.name = template.fill(|name| segment(&draft.value(name, index).unwrap_or_default()));
        }
        draft.name = bounded(std::mem::take(&mut draft.name));
    }
    Ok(())
}

/// Returns what is wrong with the names of drafts: one is empty or no path, or two tasks have the same.
pub fn check_names(drafts: &[Draft], has_template: bool) -> Vec<Problem> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut problems = vec![];
    for (index, draft) in drafts.iter().enumerate() {
        let is_path = !draft.name.split('/').any(|part| matches!(part, "" | "." | ".."));
        if !is_path {
            problems.push(Problem::new(
                "input.name",
                format!(
                    "{} would be named {:?}, which is not a valid path",
                    origin(draft, index),
                    draft.name
                ),
            ));
        }
        by_name.entry(&draft.name).or_default().push(index);
    }
    let is_inside = |name: &str| {
        name.match_indices('/')
            .map(|(at, _)| &name[..at])
            .find(|above| by_name.contains_key(above))
            .map(ToOwned::to_owned)
    };
    let inside: Vec<_> =
        by_name.iter().filter_map(|(name, of)| Some((*name, of[0], is_inside(name)?))).collect();
    for (name, index, above) in inside.iter().take(MOST_SHOWN) {
        let message = format!(
            "{} would be named {name:?}, inside the folder of {above:?}: set input.name so that no name is the folder of another",
            origin(&drafts[*index], *index)
        );
        problems.push(Problem::new("input.name", message));
    }
    let twice: Vec<_> = by_name.iter().filter(|(name, of)| of.len() > 1 && !name.is_empty()).collect();
    for (name, of) in twice.iter().take(MOST_SHOWN) {
        let whose: Vec<_> = of.iter().take(MOST_SHOWN).map(|index| origin(&drafts[*index], *index)).collect();
        let more = if of.len() > MOST_SHOWN {
            format!(" and {} more", of.len() - MOST_SHOWN)
        } else {
            String::new()
        };
        let advice = match has_template {
            true => "use more values in input.name",
            false => "set input.name to a template that distinguishes them, for example \"{name}-{index}\"",
        };
        problems.push(Problem::new(
            "input.name",
            format!("{}{more} would all be named {name:?}: {advice}", whose.join(", ")),
        ));
    }
    if twice.len() > MOST_SHOWN {
        problems.push(Problem::new(
            "input.name",
            format!("{} more names are used more than once", twice.len() - MOST_SHOWN),
        ));
    }
    problems
}

fn origin(draft: &Draft, index: usize) -> String {
    match (draft.origin.as_str(), draft.files.first()) {
        ("", Some(file)) => file.path.clone(),
        ("", None) => format!("task {index}"),
        (origin, _) => origin.to_owned(),
    }
}

/// Returns problems of files that would have the same place in the working folder of a task.
pub fn check_places(key: &str, draft: &Draft, index: usize) -> Vec<Problem> {
    let mut places: BTreeMap<&str, &NamedFile> = BTreeMap::new();
    let mut problems = vec![];
    for file in &draft.files {
        match places.insert(&file.place, file) {
            Some(other) if other.path != file.path => problems.push(Problem::new(
                key,
                format!(
                    "{}: {} and {} would both be {:?} in the task's folder",
                    origin(draft, index),
                    other.path,
                    file.path,
                    file.place
                ),
            )),
            _ => {}
        }
    }
    problems
}

/// The order in which tasks are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The order of the source.
    #[default]
    Listed,
    /// The order of names.
    Name,
    /// The largest first, so that no long task starts at the end.
    SizeDescending,
}

/// Orders drafts; `bytes` returns the length of a file by its path.
pub fn order(drafts: &mut [Draft], order: Order, bytes: impl Fn(&str) -> u64) {
    match order {
        Order::Listed => {}
        Order::Name => drafts.sort_by(|one, other| one.name.cmp(&other.name)),
        Order::SizeDescending => {
            drafts.sort_by_cached_key(|draft| {
                std::cmp::Reverse(draft.files.iter().map(|file| bytes(&file.path)).sum::<u64>())
            });
        }
    }
}

/// Groups tasks into chunks of at most `per_task`.
pub fn chunks(count: usize, per_task: usize) -> Vec<Range<usize>> {
    let per_task = per_task.max(1);
    (0..count.div_ceil(per_task))
        .map(|chunk| chunk * per_task..(chunk * per_task + per_task).min(count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(drafts: &[Draft]) -> Vec<&str> {
        drafts.iter().map(|draft| draft.name.as_str()).collect()
    }

    #[test]
    fn a_sweep_multiplies_files_or_creates_tasks_alone() {
        let axes = [Axis::new("alpha", ["0.10", "0.5"]), Axis::new("seed", ["1", "2"])];
        let alone = multiply(vec![], &axes);
        assert_eq!(
            names(&alone),
            ["alpha=0.10,seed=1", "alpha=0.10,seed=2", "alpha=0.5,seed=1", "alpha=0.5,seed=2"]
        );
        let files = multiply(vec![Draft::of_file("d/a.txt"), Draft::of_file("d/b.txt")], &axes);
        assert_eq!(files.len(), 8);
        assert_eq!(files[5].name, "d/b.txt/alpha=0.10,seed=2");
        let values = |name: &str| files[5].value(name, 5);
        assert_eq!(values("alpha").as_deref(), Some("0.10"), "the text of the file is kept");
        assert_eq!((values("stem").as_deref(), values("relative").as_deref()), (Some("b"), Some("d/b.txt")));
        assert_eq!((values("index").as_deref(), values("other")), (Some("5"), None));
    }

    #[test]
    fn values_of_names_are_segments_and_a_template_keeps_its_own_slashes() {
        let draft = |sample: &str| Draft {
            values: vec![("sample".into(), sample.into())],
            origin: "s.csv line 2".into(),
            ..Draft::default()
        };
        let mut drafts = vec![draft("a/b"), draft("../x")];
        assert_eq!(name(&mut drafts, Some("by/{sample}")), Ok(()));
        assert_eq!(names(&drafts), ["by/a%2Fb", "by/%2E.%2Fx"]);
        let error = name(&mut drafts, Some("{smaple}")).map_err(|problem| problem.message);
        assert!(error.as_ref().is_err_and(|error| error.contains("did you mean {sample}?")), "{error:?}");
    }

    #[test]
    fn names_are_unique_and_paths() {
        let draft =
            |name: &str, origin: &str| Draft { name: name.into(), origin: origin.into(), ..Draft::default() };
        let drafts =
            [draft("x", "line 2"), draft("x", "line 3"), draft("", "line 4"), draft("a//b", "line 5")];
        let messages: Vec<_> =
            check_names(&drafts, false).into_iter().map(|problem| problem.message).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].starts_with("line 4 would be named \"\""));
        assert!(messages[2].starts_with("line 2, line 3 would all be named \"x\""), "{messages:?}");
    }

    #[test]
    fn no_name_is_the_folder_of_another() {
        let drafts: Vec<_> = ["a/b", "a", "ab", "c/d"].map(Draft::of_file).into();
        let problems = check_names(&drafts, false);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].message.starts_with("a/b would be named \"a/b\", inside the folder of \"a\""),
            "{problems:?}"
        );
    }

    #[test]
    fn two_files_never_have_the_same_place() {
        let file = |path: &str| NamedFile { name: None, path: path.into(), place: "a.txt".into() };
        let draft =
            Draft { files: vec![file("x/a.txt"), file("y/a.txt"), file("y/a.txt")], ..Draft::default() };
        assert_eq!(check_places("input.table", &draft, 0).len(), 1);
    }

    #[test]
    fn chunks_contain_every_task_once() {
        for (count, per_task, expected) in [(0, 3, 0), (1, 3, 1), (3, 3, 1), (4, 3, 2), (7, 0, 7)] {
            let chunks = chunks(count, per_task);
            assert_eq!(chunks.len(), expected);
            assert!(chunks.into_iter().flatten().eq(0..count));
        }
    }

    #[test]
    fn the_largest_task_goes_first_with_that_order() {
        let mut drafts = vec![Draft::of_file("b"), Draft::of_file("ccc"), Draft::of_file("aa")];
        order(&mut drafts, Order::SizeDescending, |path| path.len() as u64);
        assert_eq!(names(&drafts), ["ccc", "aa", "b"]);
        order(&mut drafts, Order::Name, |_| 0);
        assert_eq!(names(&drafts), ["aa", "b", "ccc"]);
    }
}
