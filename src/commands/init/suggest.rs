//! Which inputs a folder offers, and the run file for them. Pure: the folder was listed before.

use std::collections::{BTreeMap, BTreeSet};

/// Extensions of programs and run files, which are no inputs.
const NO_INPUTS: [&str; 17] = [
    "bash", "class", "exe", "jl", "js", "lock", "log", "md", "o", "pl", "py", "pyc", "r", "rb", "rs", "sh",
    "toml",
];

/// Extensions of compressed files, which belong to the extension before them.
const COMPRESSED: [&str; 5] = ["bz2", "gz", "xz", "zip", "zst"];

/// Interpreters by the extension of their scripts.
const INTERPRETERS: [(&str, &str); 7] = [
    ("jl", "julia"),
    ("js", "node"),
    ("pl", "perl"),
    ("py", "python3"),
    ("r", "Rscript"),
    ("rb", "ruby"),
    ("sh", "sh"),
];

/// Extensions of tables that can be `input.table`.
const TABLES: [&str; 3] = ["csv", "jsonl", "tsv"];

/// The inputs of a run file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inputs {
    /// A pattern of files.
    Files {
        /// Pattern relative to the folder.
        glob: String,
        /// The letter case of extensions differs.
        ignore_case: bool,
        /// Number of files.
        count: usize,
    },
    /// Two patterns of files that belong together.
    Pairs {
        /// Pattern of the first part, with `{sample}`.
        first: String,
        /// Pattern of the second part.
        second: String,
        /// Number of complete pairs.
        count: usize,
        /// A file has no partner.
        incomplete: bool,
    },
    /// There are no files.
    None,
}

/// Returns the inputs that a folder offers. `files` are relative paths.
pub fn inputs(files: &[String]) -> Inputs {
    let files: Vec<&str> = files.iter().map(String::as_str).filter(|file| is_possible(file)).collect();
    pairs(&files).or_else(|| most_frequent(&files)).unwrap_or(Inputs::None)
}

/// Returns tables among the files of the folder.
pub fn tables(files: &[String]) -> Vec<&str> {
    let is_table = |file: &&str| TABLES.iter().any(|known| extension(file).eq_ignore_ascii_case(known));
    files.iter().map(String::as_str).filter(is_table).collect()
}

/// Returns scripts in the folder itself, with their interpreters.
pub fn scripts(files: &[String]) -> Vec<(&str, &'static str)> {
    let interpreter = |file: &str| {
        let extension = extension(file).to_lowercase();
        INTERPRETERS.iter().find(|(known, _)| *known == extension).map(|(_, program)| *program)
    };
    let top = files.iter().map(String::as_str).filter(|file| !file.contains('/'));
    top.filter_map(|file| interpreter(file).map(|program| (file, program))).collect()
}

fn name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

fn is_possible(file: &str) -> bool {
    let last = extension(file).to_lowercase();
    !name(file).is_empty() && !NO_INPUTS.contains(&last.as_str())
}

/// Returns the extension of a file without its dot: `fastq.gz`, or nothing.
fn extension(file: &str) -> &str {
    let name = name(file);
    let Some(last) = name.rfind('.').filter(|dot| *dot > 0) else { return "" };
    if COMPRESSED.contains(&name[last + 1..].to_lowercase().as_str())
        && let Some(before) = name[..last].rfind('.').filter(|dot| *dot > 0)
    {
        return &name[before + 1..];
    }
    &name[last + 1..]
}

/// Finds pairs such as `a_R1.fastq.gz` and `a_R2.fastq.gz`: the most frequent pattern with at least one complete pair.
fn pairs(files: &[&str]) -> Option<Inputs> {
    let all: BTreeSet<&str> = files.iter().copied().collect();
    let mut patterns: BTreeMap<(String, String), usize> = BTreeMap::new();
    for file in files {
        let own = name(file);
        let folder = &file[..file.len() - own.len()];
        for (one, two) in [("_R1", "_R2"), ("_1", "_2"), (".R1", ".R2"), ("_r1", "_r2")] {
            for (at, _) in own.match_indices(one) {
                let rest = &own[at + one.len()..];
                let partner = format!("{folder}{}{two}{rest}", &own[..at]);
                if at > 0
                    && !rest.starts_with(|next: char| next.is_ascii_digit())
                    && all.contains(partner.as_str())
                {
                    let pattern = |mark: &str| format!("{folder}{{sample}}{mark}{rest}");
                    *patterns.entry((pattern(one), pattern(two))).or_default() += 1;
                }
            }
        }
    }
    let ((first, second), count) = patterns.into_iter().max_by_key(|(_, count)| *count)?;
    let is_plain =
        |pattern: &str| !pattern.replace("{sample}", "").contains(['{', '}', '*', '?', '[', ']', '\\']);
    let matching = |pattern: &str| {
        let (before, after) = pattern.split_once("{sample}").unwrap_or_default();
        let inner = |file: &&&str| {
            let middle = file.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            middle.is_some_and(|middle| !middle.is_empty() && !middle.contains('/'))
        };
        files.iter().filter(inner).count()
    };
    if !is_plain(&first) || count * 4 < files.len() {
        return None;
    }
    let incomplete = matching(&first) != count || matching(&second) != count;
    Some(Inputs::Pairs { first, second, count, incomplete })
}

fn most_frequent(files: &[&str]) -> Option<Inputs> {
    let mut counts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in files {
        counts.entry(extension(file).to_lowercase()).or_default().push(file);
    }
    // Among equally frequent ones, what is no table: a table is more often a list of the inputs.
    let rank = |(extension, files): &(&String, &Vec<&str>)| {
        (!extension.is_empty(), files.len(), !TABLES.contains(&extension.as_str()))
    };
    let (lower, files) = counts.iter().max_by_key(rank)?;
    let folder_of = |file: &str| file[..file.len() - name(file).len()].to_owned();
    let folders: BTreeSet<String> = files.iter().map(|file| folder_of(file)).collect();
    let common = folders.iter().cloned().reduce(|one, other| common_folder(&one, &other)).unwrap_or_default();
    let depth = if folders.len() > 1 { "**/" } else { "" };
    let spellings: BTreeSet<&str> = files.iter().map(|file| extension(file)).collect();
    let ending = match (lower.as_str(), spellings.len()) {
        ("", _) if common.is_empty() => return None,
        ("", _) => "*".into(),
        (_, 1) => format!("*.{}", globset::escape(spellings.first()?)),
        (lower, _) => format!("*.{}", globset::escape(lower)),
    };
    let glob = format!("{}{depth}{ending}", globset::escape(&common));
    Some(Inputs::Files { glob, ignore_case: spellings.len() > 1, count: files.len() })
}

/// Returns the folder that two folders have in common, with a slash at its end, or nothing.
fn common_folder(one: &str, other: &str) -> String {
    let pairs = one.split_inclusive('/').zip(other.split_inclusive('/'));
    pairs.take_while(|(one, other)| one == other).map(|(segment, _)| segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(files: &[&str]) -> Inputs {
        inputs(&files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_most_frequent_extension_is_the_input() {
        for (files, expected, differs) in [
            (vec!["data/a.txt", "data/b.txt", "x.csv"], "data/*.txt", false),
            (vec!["a.tar.gz", "b.tar.gz"], "*.tar.gz", false),
            (vec!["d/a/1.JPG", "d/b/2.jpg", "run.toml", "x.py"], "d/**/*.jpg", true),
            (vec!["a/1.tif", "b/1.tif"], "**/*.tif", false),
            (vec!["a [x]/1.tif"], "a [[]x[]]/*.tif", false),
            (vec!["samples.csv", "bam/a.bam"], "bam/*.bam", false),
            (vec!["samples.csv"], "*.csv", false),
            (vec!["logs/access", "logs/error"], "logs/*", false),
        ] {
            match offered(&files) {
                Inputs::Files { glob, ignore_case, .. } => {
                    assert_eq!((glob.as_str(), ignore_case), (expected, differs))
                }
                other => panic!("{files:?}: {other:?}"),
            }
        }
        for files in [vec![], vec!["run.toml", "work.py", "README.md"], vec!["Makefile"]] {
            assert_eq!(offered(&files), Inputs::None, "{files:?}");
        }
    }

    #[test]
    fn pairs_are_recognised() {
        let pair = |first: &str, second: &str, count, incomplete| Inputs::Pairs {
            first: first.into(),
            second: second.into(),
            count,
            incomplete,
        };
        for (files, expected) in [
            (
                vec!["r/a_R1.fastq.gz", "r/a_R2.fastq.gz", "r/b_R1.fastq.gz", "r/b_R2.fastq.gz", "ref.fa"],
                pair("r/{sample}_R1.fastq.gz", "r/{sample}_R2.fastq.gz", 2, false),
            ),
            (
                vec!["a_S1_L001_R1_001.fq", "a_S1_L001_R2_001.fq", "b_S2_L001_R1_001.fq"],
                pair("{sample}_R1_001.fq", "{sample}_R2_001.fq", 1, true),
            ),
            (vec!["a_1.fq.gz", "a_2.fq.gz"], pair("{sample}_1.fq.gz", "{sample}_2.fq.gz", 1, false)),
        ] {
            assert_eq!(offered(&files), expected);
        }
        // Numbers of pages are no parts.
        assert!(matches!(
            offered(&["p_1.tif", "p_2.tif", "p_3.tif", "p_4.tif", "p_5.tif"]),
            Inputs::Files { .. }
        ));
        assert!(matches!(offered(&["p_10.tif", "p_20.tif"]), Inputs::Files { .. }));
    }
}
