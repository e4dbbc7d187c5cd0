//! Checks the words of comments, names, messages and documents, which a reader who has never met the project must understand.
//!
//! Words that the project once used for everything, and doc comments that say nothing, are counted. The counts can only go
//! down: after you rewrite a folder, lower its numbers in [`ALLOWED`], or delete its row if nothing is left, and lower
//! [`MAX_TOLD`].
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Folders whose sources are checked.
const ROOTS: [&str; 7] = ["src", "actors", "crates", "task-app", "tests", "docs", "config"];

/// File name extensions of the checked sources.
const EXTENSIONS: [&str; 4] = ["rs", "md", "toml", "py"];

/// Largest number of "told" and "tells" in all sources together, in names too. Write "reports", "returns", "notifies" or
/// "logs".
const MAX_TOLD: usize = 20;

/// Words and phrases to replace: a textbook or the Azure documentation has a plain term for each.
const QUAINT: [&str; 21] = [
    "whoever",
    "befall",
    "befalls",
    "befell",
    "hungry",
    "hunger",
    "homeless",
    "bury",
    "buries",
    "buried",
    "deaf",
    "impatient",
    "errand",
    "errands",
    "manners",
    "come home",
    "comes home",
    "be had",
    "is had",
    "was had",
    "were had",
];

/// Occurrences of [`QUAINT`] that stay: file, word, reason. All occurrences of the word in the file are exempt.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// Fewest words of a doc comment. A shorter one only repeats the name: say more, such as the unit, the default or the
/// source, or drop the comment where `missing_docs` permits.
const FEWEST_WORDS: usize = 3;

/// Allowances per folder: occurrences of [`QUAINT`], and doc comments below [`FEWEST_WORDS`]. A folder that is not listed
/// has none.
const ALLOWED: &[(&str, Counts)] = &[];

/// The numbers of findings in a text or folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    quaint: usize,
    short_docs: usize,
}

#[test]
fn told_and_tells_become_fewer() {
    let found: usize = sources().iter().map(|(_, text)| count(&words(text), &["told", "tells"])).sum();
    assert!(found <= MAX_TOLD, "found {found} times \"told\" or \"tells\", expected at most {MAX_TOLD}");
}

#[test]
fn no_folder_has_more_quaint_words_or_empty_doc_comments_than_allowed() {
    let mut folders = BTreeMap::<String, (Counts, Vec<String>)>::new();
    for (path, text) in sources() {
        let (counts, findings) = folders.entry(folder_of(&path)).or_default();
        let exempt = EXCEPTIONS.iter().filter(|(file, ..)| *file == path).map(|(_, word, _)| *word);
        let (exempt, words): (Vec<&str>, _) = (exempt.collect(), words(&text));
        for word in QUAINT.iter().filter(|word| !exempt.contains(word)) {
            let times = count(&words, &[word]);
            counts.quaint += times;
            findings.extend((times > 0).then(|| format!("{path}: {word:?}, {times} times")));
        }
        if path.ends_with(".rs") {
            let short = short_doc_comments(&text);
            counts.short_docs += short.len();
            findings.extend(short.iter().map(|(line, comment)| format!("{path}:{line}: {comment:?}")));
        }
    }
    for (folder, (found, findings)) in &folders {
        let allowed =
            ALLOWED.iter().find(|(name, _)| name == folder).map_or_else(Counts::default, |row| row.1);
        assert!(
            found.quaint <= allowed.quaint && found.short_docs <= allowed.short_docs,
            "{folder} has {found:?}, expected at most {allowed:?}:\n{}",
            findings.join("\n")
        );
    }
    for (folder, _) in ALLOWED {
        assert!(folders.contains_key(*folder), "{folder} does not exist: delete its row");
    }
}

#[test]
fn words_are_found_in_prose_names_and_across_lines() {
    let found = |text: &str, word: &str| count(&words(text), &[word]);
    assert_eq!(found("/// Whoever asks, and whoever waits.", "whoever"), 2);
    assert_eq!(found("fn befall(errand: Errand) { befall_now() }", "befall"), 2);
    assert_eq!(found("/// A file comes\n    /// home.", "comes home"), 1);
    assert_eq!(found("/// Deafness, buryings and telling.", "deaf"), 0);
    assert_eq!(count(&words("was told, tells, retold, told_at"), &["told", "tells"]), 3);
}

#[test]
fn doc_comments_of_fewer_than_three_words_are_found() {
    let text = "/// Its name.\npub name: String,\n    /// Length in bytes.\npub size: u64,\n//! Tests.\n// Why.\n/// Two\n/// short lines.\n";
    assert_eq!(short_doc_comments(text), [(1, "Its name.".to_owned()), (5, "Tests.".to_owned())]);
}

/// Returns all checked sources as pairs of path and text. Excludes this file, which lists the words.
fn sources() -> Vec<(String, String)> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![];
    for root in ROOTS {
        collect(&project.join(root), &mut paths);
    }
    let sources = paths.into_iter().map(|path| {
        let name = path.strip_prefix(project).unwrap().to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    });
    sources.filter(|(name, _)| name != "tests/plain_english.rs").collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                collect(&path, paths);
            }
        } else if path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
        {
            paths.push(path);
        }
    }
}

/// Returns the folder that a path is counted for: `crates/NAME`, `tests/NAME` or the first segment.
fn folder_of(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').collect();
    match segments[..] {
        ["crates" | "tests", _, _, ..] => segments[..2].join("/"),
        _ => segments[0].to_owned(),
    }
}

/// Returns the words of a text in lower case. Comment markers, punctuation and the underscores in names separate words.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Counts the occurrences of words or phrases in the result of [`words`].
fn count(words: &[String], wanted: &[&str]) -> usize {
    let times = |phrase: &&str| {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        words.windows(phrase.len()).filter(|found| *found == phrase).count()
    };
    wanted.iter().map(times).sum()
}

/// Returns the doc comments below [`FEWEST_WORDS`], with the number of their first line.
fn short_doc_comments(text: &str) -> Vec<(usize, String)> {
    let mut found = vec![];
    let mut comment: Option<(usize, String)> = None;
    for (number, line) in text.lines().chain([""]).enumerate() {
        let line = line.trim();
        if let Some(part) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) {
            let (_, all) = comment.get_or_insert((number + 1, String::new()));
            all.push_str(part);
        } else {
            let complete = comment.take().map(|(first, all)| (first, all.trim().to_owned()));
            found.extend(complete.filter(|(_, all)| all.split_whitespace().count() < FEWEST_WORDS));
        }
    }
    found
}
