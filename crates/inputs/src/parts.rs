//! Sets of files that belong together: files with the same wildcard values are one task.

use crate::{
    Draft, NamedFile, Problem,
    names::{self, file_name, segment},
    pattern::{Pattern, Wildcards},
};
use std::collections::{BTreeMap, BTreeSet};

const KEY: &str = "input.parts";
/// Maximum number of sets that a problem lists.
const MOST_SHOWN: usize = 5;

/// How to handle a set that lacks a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Incomplete {
    /// Report a problem.
    #[default]
    Error,
    /// Create no task.
    Skip,
}

/// A named pattern with the files that match it.
#[derive(Debug, Clone)]
pub struct Part {
    name: String,
    pattern: Pattern,
    files: Vec<(String, Wildcards)>,
}

impl Part {
    /// Creates a part from all files that were listed; those that do not match are left out.
    ///
    /// # Errors
    /// Returns what is wrong with the name or the pattern.
    pub fn new<'a>(
        name: &str,
        pattern: &str,
        files: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Problem> {
        let key = format!("{KEY}.{name}");
        if let Some(problem) = names::problem_of(name) {
            return Err(Problem::new(key, problem));
        }
        let parsed = Pattern::parse(pattern).map_err(|error| Problem::new(&key, error))?;
        if let Some(problem) = parsed.wildcards().find_map(names::problem_of) {
            return Err(Problem::new(key, problem));
        }
        let found = |path: &str| parsed.values(path).map(|values| (path.to_owned(), values));
        let files: BTreeMap<_, _> = files.into_iter().filter_map(found).collect();
        Ok(Self { name: name.to_owned(), pattern: parsed, files: files.into_iter().collect() })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of its wildcards.
    pub fn wildcards(&self) -> BTreeSet<&str> {
        self.pattern.wildcards().collect()
    }
}

/// What became of the parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// A draft for each complete set, ordered by its wildcard values.
    pub drafts: Vec<Draft>,
    /// Sets that were skipped, one line each.
    pub skipped: Vec<String>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Joins the files of parts. The parts that have all wildcards make the sets; a part with fewer (for example one reference
/// for all samples) gives each set the file with the same values.
pub fn join(parts: &[Part], incomplete: Incomplete) -> Joined {
    let mut joined = Joined::default();
    let all: BTreeSet<&str> = parts.iter().flat_map(Part::wildcards).collect();
    if all.is_empty() {
        joined.problems.push(Problem::new(
            KEY,
            "no part has a wildcard: write for example r1 = \"reads/{sample}_R1.fq\"",
        ));
        return joined;
    }
    if !parts.iter().any(|part| part.wildcards() == all) {
        let names: Vec<_> = all.iter().map(|name| format!("{{{name}}}")).collect();
        joined.problems.push(Problem::new(
            KEY,
            format!("no part has all of {}: nothing says which files belong together", names.join(", ")),
        ));
        return joined;
    }
    for part in parts {
        if all.contains(part.name.as_str()) {
            joined
                .problems
                .push(Problem::new(format!("{KEY}.{}", part.name), "a wildcard has the same name"));
        }
        if part.files.is_empty() {
            joined.problems.push(Problem::new(
                format!("{KEY}.{}", part.name),
                format!("no file matches {:?}", part.pattern.glob()),
            ));
        }
    }
    let indexed: Vec<BTreeMap<Vec<&str>, Vec<&str>>> = parts.iter().map(by_values).collect();
    let mut sets: BTreeSet<Vec<&str>> = BTreeSet::new();
    for (part, index) in parts.iter().zip(&indexed) {
        if part.wildcards() == all {
            sets.extend(index.keys().cloned());
        }
    }
    let mut missing: Vec<String> = vec![];
    for set in sets {
        let values: BTreeMap<&str, &str> = all.iter().copied().zip(set.iter().copied()).collect();
        match files_of(parts, &indexed, &values) {
            Err(problem) => joined.problems.push(problem),
            Ok((files, lacks)) if lacks.is_empty() => joined.drafts.push(draft(files, &values)),
            Ok((_, lacks)) => missing.push(format!("{} has no {}", shown(&values), lacks.join(" and no "))),
        }
    }
    match incomplete {
        Incomplete::Skip => joined.skipped = missing,
        Incomplete::Error if !missing.is_empty() && joined.problems.is_empty() => {
            let more = missing.len().saturating_sub(MOST_SHOWN);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let list = missing.iter().take(MOST_SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
            let message = format!(
                "sets are incomplete: {list}{more}. Add the files, or set input.incomplete = \"skip\""
            );
            joined.problems.push(Problem::new(KEY, message));
        }
        Incomplete::Error => {}
    }
    joined
}

/// The files of a part by the values of its wildcards, which are in the order of their names.
fn by_values(part: &Part) -> BTreeMap<Vec<&str>, Vec<&str>> {
    let mut index: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
    for (path, values) in &part.files {
        index.entry(values.values().map(String::as_str).collect()).or_default().push(path);
    }
    index
}

/// The files of a set, by part, and the names of the parts that it lacks.
type Files<'a> = (Vec<(&'a str, &'a str)>, Vec<&'a str>);

fn files_of<'a>(
    parts: &'a [Part],
    indexed: &[BTreeMap<Vec<&'a str>, Vec<&'a str>>],
    values: &BTreeMap<&str, &str>,
) -> Result<Files<'a>, Problem> {
    let (mut files, mut lacks) = (vec![], vec![]);
    for (part, index) in parts.iter().zip(indexed) {
        let own: Vec<&str> = part.wildcards().iter().filter_map(|name| values.get(name).copied()).collect();
        match index.get(&own).map(Vec::as_slice) {
            None | Some([]) => lacks.push(part.name.as_str()),
            Some([path]) => files.push((part.name.as_str(), *path)),
            Some([one, other, ..]) => {
                let message = format!(
                    "{one} and {other} both match for {}: add a wildcard that distinguishes them",
                    shown(values)
                );
                return Err(Problem::new(format!("{KEY}.{}", part.name), message));
            }
        }
    }
    Ok((files, lacks))
}

fn draft(files: Vec<(&str, &str)>, values: &BTreeMap<&str, &str>) -> Draft {
    let file = |(part, path): (&str, &str)| NamedFile {
        name: Some(part.to_owned()),
        path: path.to_owned(),
        place: file_name(path).to_owned(),
    };
    Draft {
        name: values.values().map(|value| segment(value)).collect::<Vec<_>>().join(","),
        files: files.into_iter().map(file).collect(),
        values: values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        origin: shown(values),
    }
}

fn shown(values: &BTreeMap<&str, &str>) -> String {
    values.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(parts: &[(&str, &str)], files: &[&str], incomplete: Incomplete) -> Joined {
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, pattern)| Part::new(name, pattern, files.iter().copied()).unwrap())
            .collect();
        join(&parts, incomplete)
    }

    const PAIRS: [(&str, &str); 2] = [("r1", "reads/{sample}_R1.fq"), ("r2", "reads/{sample}_R2.fq")];

    #[test]
    fn files_with_the_same_values_are_one_task() {
        let files = ["reads/a_R1.fq", "reads/a_R2.fq", "reads/b_R2.fq", "reads/b_R1.fq", "reads/readme.txt"];
        let found = joined(&PAIRS, &files, Incomplete::Error);
        assert_eq!(found.problems, []);
        let [a, b] = &found.drafts[..] else { panic!("{:?}", found.drafts) };
        assert_eq!((a.name.as_str(), b.name.as_str()), ("a", "b"));
        assert_eq!(b.value("r1", 0).as_deref(), Some("b_R1.fq"), "in the task's folder");
        assert_eq!((b.files[1].path.as_str(), b.value("sample", 0).as_deref()), ("reads/b_R2.fq", Some("b")));
    }

    #[test]
    fn incomplete_sets_are_reported_at_once_or_skipped() {
        let files = ["reads/a_R1.fq", "reads/b_R1.fq", "reads/b_R2.fq", "reads/c_R2.fq"];
        let found = joined(&PAIRS, &files, Incomplete::Error);
        let [problem] = &found.problems[..] else { panic!("{:?}", found.problems) };
        assert!(problem.message.contains("sample=a has no r2; sample=c has no r1."), "{}", problem.message);
        let found = joined(&PAIRS, &files, Incomplete::Skip);
        assert_eq!((found.drafts.len(), found.problems.len()), (1, 0));
        assert_eq!(found.skipped, ["sample=a has no r2", "sample=c has no r1"]);
    }

    #[test]
    fn a_part_with_fewer_wildcards_is_shared() {
        let parts =
            [("bam", "{run}/{sample}.bam"), ("sheet", "{run}/sheet.txt"), ("reference", "ref/genome.fa")];
        let files = ["1/a.bam", "1/b.bam", "2/c.bam", "1/sheet.txt", "2/sheet.txt", "ref/genome.fa"];
        let found = joined(&parts, &files, Incomplete::Error);
        assert_eq!(found.problems, []);
        let paths: Vec<Vec<_>> = found
            .drafts
            .iter()
            .map(|draft| draft.files.iter().map(|file| file.path.as_str()).collect())
            .collect();
        assert_eq!(paths[2], ["2/c.bam", "2/sheet.txt", "ref/genome.fa"]);
        assert_eq!(found.drafts[0].name, "1,a");
    }

    #[test]
    fn sets_that_cannot_be_joined_are_reported() {
        let two = joined(&[("r", "{s}_*.fq")], &["a_1.fq", "a_2.fq"], Incomplete::Skip);
        assert!(
            two.problems[0].message.contains("a_1.fq and a_2.fq both match for s=a"),
            "{:?}",
            two.problems
        );
        let apart = joined(&[("x", "{a}.x"), ("y", "{b}.y")], &["1.x", "2.y"], Incomplete::Error);
        assert!(apart.problems[0].message.contains("no part has all of {a}, {b}"));
        let none = joined(&[("x", "x.txt")], &["x.txt"], Incomplete::Error);
        assert!(none.problems[0].message.contains("no part has a wildcard"));
        let nothing = joined(&PAIRS, &["reads/a_R1.fq"], Incomplete::Error);
        assert_eq!(nothing.problems.len(), 1, "the part without files says all: {:?}", nothing.problems);
        let hidden = joined(&[("s", "{s}.x")], &["1.x"], Incomplete::Error);
        assert!(hidden.problems[0].message.contains("a wildcard has the same name"));
        assert!(Part::new("input", "{s}.x", []).is_err() && Part::new("x", "{name}.x", []).is_err());
    }
}
