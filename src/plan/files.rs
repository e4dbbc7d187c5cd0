//! Finding files by patterns, in an order that depends on their names alone.

use crate::settings::Problem;
use dropmill_azure_wire::time::Timestamp;
use globset::{GlobBuilder, GlobMatcher};
use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Component, Path, PathBuf},
};

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Relative to the run file's folder, `/` between segments; a byte that is not UTF-8 as `%XX`.
    pub relative: String,
    /// Folder of a task's working folder that it is put into, `/` at its end; empty for the working folder itself.
    pub below: String,
    /// Its length now.
    pub size_bytes: u64,
    /// When its content was last changed.
    pub modified: Option<Timestamp>,
    /// Whether its owner may execute it.
    pub executable: bool,
}

impl Found {
    /// Its own name.
    pub fn name(&self) -> &str {
        self.relative.rsplit('/').next().unwrap_or(&self.relative)
    }

    /// Its path in a task's working folder. What is put into a folder there goes by the names of its blobs, which have no
    /// control characters.
    pub fn place(&self) -> String {
        match self.below.as_str() {
            "" => self.name().to_owned(),
            below => format!("{below}{}", self.name().replace(char::is_control, "_")),
        }
    }
}

struct Pattern {
    text: String,
    matcher: GlobMatcher,
    /// The folder below which anything can match.
    top: PathBuf,
    /// Its own dots: only where it says so is something hidden meant.
    hidden: bool,
}

/// Files that match any of the patterns, sorted by their relative paths. Links are not followed. A pattern that finds
/// nothing is a mistake.
pub fn find(
    key: &str,
    patterns: &[String],
    base: &Path,
    output: &Path,
    problems: &mut Vec<Problem>,
) -> Vec<Found> {
    let mut found: Vec<Found> = vec![];
    for text in patterns {
        let pattern = match pattern(text, base) {
            Ok(pattern) => pattern,
            Err(what) => {
                problems.push(Problem::new(key, what));
                continue;
            }
        };
        let before = found.len();
        let mut walk = Walk { key, base, output, pattern: &pattern, found: &mut found, problems };
        walk.folder(&pattern.top.clone());
        if found.len() == before && !problems.iter().any(|problem| problem.key == key) {
            let what = format!("{text:?} matches no file below {}", pattern.top.display());
            problems.push(Problem::new(key, what));
        }
    }
    found.sort_by(|one, other| one.relative.cmp(&other.relative));
    found.dedup_by(|one, other| one.path == other.path);
    found
}

fn pattern(text: &str, base: &Path) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("a pattern is empty".into());
    }
    // Folders before the first wildcard need not be searched for, and what their names hold is no pattern.
    let mut top = normal(base);
    let mut rest: Vec<String> = vec![];
    for component in Path::new(text).components() {
        match component {
            Component::CurDir | Component::Prefix(_) => {}
            Component::RootDir => top = PathBuf::from("/"),
            Component::ParentDir if rest.is_empty() => {
                top.pop();
            }
            Component::ParentDir => {
                rest.pop();
            }
            Component::Normal(name) => match name.to_string_lossy() {
                plain if rest.is_empty() && !plain.contains(['*', '?', '[', '{', '\\']) => top.push(name),
                name => rest.push(name.into_owned()),
            },
        }
    }
    let mut whole = globset::escape(&top.to_string_lossy());
    for segment in &rest {
        whole.push('/');
        whole.push_str(segment);
    }
    let glob = GlobBuilder::new(&whole)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| format!("{text:?} is no pattern: {}", error.kind()))?;
    let hidden = text.split('/').any(|segment| segment.starts_with('.') && segment != "." && segment != "..");
    Ok(Pattern { text: text.to_owned(), matcher: glob.compile_matcher(), top, hidden })
}

/// A path without `.` and `..`.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

struct Walk<'a> {
    key: &'a str,
    base: &'a Path,
    output: &'a Path,
    pattern: &'a Pattern,
    found: &'a mut Vec<Found>,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn wrong(&mut self, what: String) {
        self.problems.push(Problem::new(self.key, what));
    }

    fn folder(&mut self, path: &Path) {
        let facts = match fs::symlink_metadata(path) {
            Ok(facts) => facts,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.wrong(format!("{}: {error}", path.display())),
        };
        if !facts.is_dir() {
            return self.file(path, &facts);
        }
        // Results of an earlier run are no inputs of the next.
        if path.starts_with(self.output) {
            return;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.wrong(format!("{}: {error}", path.display())),
        };
        for entry in entries {
            match entry {
                Ok(entry) if entry.file_name().as_bytes().starts_with(b".") && !self.pattern.hidden => {}
                Ok(entry) => self.folder(&entry.path()),
                Err(error) => self.wrong(format!("{}: {error}", path.display())),
            }
        }
    }

    fn file(&mut self, path: &Path, facts: &fs::Metadata) {
        if !self.pattern.matcher.is_match(path) {
            return;
        }
        let shown = path.display();
        if facts.is_symlink() {
            return self
                .wrong(format!("{shown} is a link, and links are not followed: name the file itself"));
        }
        if !facts.is_file() {
            return self
                .wrong(format!("{shown} is neither a file nor a folder (pattern {:?})", self.pattern.text));
        }
        if let Err(error) = fs::File::open(path) {
            return self.wrong(format!("{shown} cannot be read: {error}"));
        }
        let relative = relative(path, self.base);
        let executable = facts.permissions().mode() & 0o100 != 0;
        let modified = facts.modified().ok().and_then(|moment| Timestamp::try_from(moment).ok());
        let size_bytes = facts.len();
        let below = String::new();
        self.found.push(Found { path: path.to_owned(), relative, below, size_bytes, modified, executable });
    }
}

/// The path below `base`, or for a file elsewhere its path below their common folder.
fn relative(path: &Path, base: &Path) -> String {
    let below = path.strip_prefix(base).unwrap_or_else(|_| {
        let mut above = base;
        while let Some(next) = above.parent() {
            above = next;
            if let Ok(below) = path.strip_prefix(above) {
                return below;
            }
        }
        path
    });
    let segments: Vec<String> =
        below.components().map(|component| text_of(component.as_os_str().as_bytes())).collect();
    segments.join("/")
}

/// A name as text: bytes that are not UTF-8 become `%XX`, and so does a `%` that could be taken for one.
fn text_of(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) => text.to_owned(),
        Err(_) => name
            .utf8_chunks()
            .flat_map(|chunk| {
                let valid = chunk.valid().replace('%', "%25");
                let invalid: String = chunk.invalid().iter().map(|byte| format!("%{byte:02X}")).collect();
                [valid, invalid]
            })
            .collect(),
    }
}

/// What is wrong with a pattern of `task.outputs`, if anything is.
pub fn bad_output(pattern: &str) -> Option<String> {
    if pattern.is_empty() || pattern.starts_with('/') || pattern.split('/').any(|segment| segment == "..") {
        return Some(format!("{pattern:?} does not lie in the task's working folder"));
    }
    let built = GlobBuilder::new(pattern).literal_separator(true).build();
    built.err().map(|error| format!("{pattern:?} is no pattern: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn search(folder: &Path, patterns: &[&str]) -> (Vec<String>, Vec<Problem>) {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let mut problems = vec![];
        let found = find("input.files", &patterns, folder, &folder.join("out"), &mut problems);
        (found.into_iter().map(|found| found.relative).collect(), problems)
    }

    #[test]
    fn patterns_find_files_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("[x] {y}*").join("work");
        let folder = base.parent().unwrap();
        for path in [
            "work/b.txt",
            "work/a.txt",
            "work/d/c.txt",
            "work/d/.hidden.txt",
            "work/out/a.txt/x.txt",
            "other/z.txt",
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        assert_eq!(search(&base, &["*.txt"]).0, ["a.txt", "b.txt"]);
        assert_eq!(search(&base, &["**/*.txt", "a.txt"]).0, ["a.txt", "b.txt", "d/c.txt"]);
        assert_eq!(search(&base, &["d/.*"]).0, ["d/.hidden.txt"]);
        assert_eq!(search(&base, &["../other/*"]).0, ["other/z.txt"]);
        assert_eq!(search(&base, &["./d/../a.txt"]).0, ["a.txt"]);
        let (found, problems) = search(&base, &["*.csv"]);
        assert!(found.is_empty() && problems[0].what.contains("*.csv"), "{problems:?}");
    }

    #[test]
    fn what_is_no_plain_file_is_said_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.txt")).unwrap();
        let (found, problems) = search(folder.path(), &["*.txt"]);
        assert!(found.is_empty() && problems[0].what.contains("link.txt"), "{problems:?}");
    }

    #[test]
    fn names_that_are_no_text_keep_every_byte() {
        assert_eq!(text_of(b"a\xffb%.txt"), "a%FFb%25.txt");
        assert_eq!(text_of("ü 100%".as_bytes()), "ü 100%");
    }
}
