//! Finds files by patterns, in an order that depends only on their names.

use crate::settings::Problem;
use dropmill_azure_wire::time::Timestamp;
use globset::{GlobBuilder, GlobMatcher};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Component, Path, PathBuf},
};

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// The path of the file.
    pub path: PathBuf,
    /// Path relative to the run file's folder, with `/` between segments; a byte that is not UTF-8 as `%XX`.
    pub relative: String,
    /// Its length when it was found.
    pub size_bytes: u64,
    /// When its content was last changed.
    pub modified: Option<Timestamp>,
    /// Its permissions, if they are known.
    pub mode: Option<u32>,
}

impl InputFile {
    /// Whether its owner may execute it.
    pub fn is_executable(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o100 != 0)
    }

    /// Returns the last segment of its path.
    pub fn name(&self) -> &str {
        self.relative.rsplit('/').next().unwrap_or(&self.relative)
    }
}

struct Pattern {
    matcher: GlobMatcher,
    /// The folder below which all matches are.
    top: PathBuf,
    /// Whether the pattern itself names hidden files: only then are hidden files found.
    hidden: bool,
}

/// Entries that match a pattern and cannot be inputs, grouped by what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<&'static str, Vec<PathBuf>>);

impl LeftOut {
    fn add(&mut self, what: &'static str, path: &Path) {
        self.0.entry(what).or_default().push(path.to_owned());
    }

    /// Adds what another search left out.
    pub fn extend(&mut self, other: Self) {
        for (what, paths) in other.0 {
            self.0.entry(what).or_default().extend(paths);
        }
    }

    /// Returns a line for each kind: how many entries there are, and the first of them.
    pub fn lines(&self) -> Vec<String> {
        let line = |(what, paths): (&&str, &Vec<PathBuf>)| {
            let first = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
            match paths.len() {
                1 => format!("left out: {first} is {what}"),
                count => format!("left out: {count} entries, of which each is {what}, for example {first}"),
            }
        };
        self.0.iter().map(line).collect()
    }
}

/// Where and how files are searched for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The key that contains the patterns.
    pub key: &'a str,
    /// The folder that patterns are relative to.
    pub base: &'a Path,
    /// The folder of results, which is not searched.
    pub output: &'a Path,
    /// Whether links are followed.
    pub follow_links: bool,
    /// Patterns of files and folders that are left out.
    pub exclude: &'a [String],
    /// Whether patterns ignore the case of letters.
    pub ignore_case: bool,
}

/// Returns files that match any of the patterns, sorted by their relative paths, and matching entries that
/// are left out. A pattern that matches nothing is a mistake.
pub fn find(
    search: Search<'_>,
    patterns: &[String],
    problems: &mut Vec<Problem>,
) -> (Vec<InputFile>, LeftOut) {
    let Search { key, base, ignore_case, .. } = search;
    let mut excluded = vec![];
    for text in search.exclude {
        match pattern(text, base, ignore_case) {
            Ok(pattern) => excluded.push(pattern.matcher),
            Err(what) => problems.push(Problem::new("input.exclude", what)),
        }
    }
    let mut found: Vec<InputFile> = vec![];
    let mut left_out = LeftOut::default();
    for text in patterns {
        let pattern = match pattern(text, base, ignore_case) {
            Ok(pattern) => pattern,
            Err(what) => {
                problems.push(Problem::new(key, what));
                continue;
            }
        };
        let before = found.len();
        let mut walk = Walk {
            search,
            pattern: &pattern,
            excluded: &excluded,
            found: &mut found,
            left_out: &mut left_out,
            above: vec![],
            problems,
        };
        walk.entry(&pattern.top.clone());
        if found.len() == before && !problems.iter().any(|problem| problem.key == key) {
            let mut what = format!("{text:?} matches no file below {}", pattern.top.display());
            if pattern.top.is_dir() && !text.contains(['*', '?', '[', '{']) {
                what =
                    format!("{text:?} is a folder: write {:?}", format!("{}/*", text.trim_end_matches('/')));
            }
            for line in left_out.lines() {
                what.push_str("; ");
                what.push_str(&line);
            }
            problems.push(Problem::new(key, what));
        }
    }
    found.sort_by(|one, other| one.relative.cmp(&other.relative));
    found.dedup_by(|one, other| one.path == other.path);
    (found, left_out)
}

fn pattern(text: &str, base: &Path, ignore_case: bool) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("a pattern is empty".into());
    }
    // Folders before the first wildcard are literal names: they need no search, and special characters in
    // them have no effect.
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
                plain if rest.is_empty() && !ignore_case && !plain.contains(['*', '?', '[', '{', '\\']) => {
                    top.push(name)
                }
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
        .case_insensitive(ignore_case)
        .build()
        .map_err(|error| format!("{text:?} is not a valid pattern: {}", error.kind()))?;
    let hidden = text.split('/').any(|segment| segment.starts_with('.') && segment != "." && segment != "..");
    Ok(Pattern { matcher: glob.compile_matcher(), top, hidden })
}

/// Returns a path without `.` and `..`.
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
    search: Search<'a>,
    pattern: &'a Pattern,
    excluded: &'a [GlobMatcher],
    found: &'a mut Vec<InputFile>,
    left_out: &'a mut LeftOut,
    /// The parent folders, by device and inode: a link to one of them forms a cycle.
    above: Vec<(u64, u64)>,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn wrong(&mut self, what: String) {
        self.problems.push(Problem::new(self.search.key, what));
    }

    fn matches(&self, path: &Path) -> bool {
        self.pattern.matcher.is_match(path)
    }

    fn entry(&mut self, path: &Path) {
        if self.excluded.iter().any(|excluded| excluded.is_match(path)) {
            return;
        }
        let facts = match fs::symlink_metadata(path) {
            Ok(facts) => facts,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.wrong(format!("{}: {error}", path.display())),
        };
        if !facts.is_symlink() {
            return self.plain(path, &facts);
        }
        if !self.search.follow_links {
            return self.leave(path, "a link, and input.follow_links is false");
        }
        match fs::metadata(path) {
            // Results of a run are not inputs of the next run, even if a link leads to them.
            Ok(facts) if facts.is_dir() && leads_below(path, self.search.output) => {}
            Ok(facts) => self.plain(path, &facts),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.leave(path, "a link whose target does not exist")
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                self.leave(path, "a link that forms a cycle");
            }
            Err(error) => self.wrong(format!("{}: {error}", path.display())),
        }
    }

    /// Records a matching entry that is left out.
    fn leave(&mut self, path: &Path, what: &'static str) {
        if self.matches(path) {
            self.left_out.add(what, path);
        }
    }

    fn plain(&mut self, path: &Path, facts: &fs::Metadata) {
        if !facts.is_dir() {
            return self.file(path, facts);
        }
        // Results of an earlier run are not inputs of the next run.
        if path.starts_with(self.search.output) {
            return;
        }
        let this = (facts.dev(), facts.ino());
        if self.above.contains(&this) {
            self.left_out.add("a link that forms a cycle", path);
            return;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.wrong(format!("{}: {error}", path.display())),
        };
        self.above.push(this);
        for entry in entries {
            match entry {
                Ok(entry) if entry.file_name().as_bytes().starts_with(b".") && !self.pattern.hidden => {}
                Ok(entry) => self.entry(&entry.path()),
                Err(error) => self.wrong(format!("{}: {error}", path.display())),
            }
        }
        self.above.pop();
    }

    fn file(&mut self, path: &Path, facts: &fs::Metadata) {
        if !self.matches(path) {
            return;
        }
        if !facts.is_file() {
            return self.left_out.add(kind_of(facts), path);
        }
        let shown = path.display();
        if let Err(error) = fs::File::open(path) {
            return self.wrong(format!("{shown} cannot be read: {error}"));
        }
        self.found.push(found(path, self.search.base, facts));
    }
}

/// Returns the path of a file of the application on a node: its path in the run file's folder, or for a file elsewhere the path
/// below the folders that its pattern names without a wildcard.
pub fn place_on_node(file: &InputFile, patterns: &[String], base: &Path) -> String {
    if file.path.starts_with(normal(base)) {
        return file.relative.clone();
    }
    let patterns = patterns.iter().filter_map(|text| pattern(text, base, false).ok());
    let matching = patterns.filter(|pattern| pattern.matcher.is_match(&file.path));
    let below = matching.filter_map(|pattern| file.path.strip_prefix(&pattern.top).map(text).ok());
    // A pattern without a wildcard names the file itself.
    below
        .min_by_key(String::len)
        .filter(|below| !below.is_empty())
        .unwrap_or_else(|| file.path.file_name().map(|name| text_of(name.as_bytes())).unwrap_or_default())
}

/// Returns one file that a table names.
///
/// # Errors Returns why it cannot be an input.
pub fn one(path: &Path, base: &Path) -> Result<InputFile, String> {
    let facts = fs::metadata(path).map_err(|error| error.to_string())?;
    if !facts.is_file() {
        return Err("it is not a regular file".into());
    }
    fs::File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    Ok(found(path, base, &facts))
}

fn found(path: &Path, base: &Path, facts: &fs::Metadata) -> InputFile {
    InputFile {
        path: path.to_owned(),
        relative: relative(path, base),
        size_bytes: facts.len(),
        modified: facts.modified().ok().and_then(|moment| Timestamp::try_from(moment).ok()),
        mode: Some(facts.permissions().mode() & 0o777),
    }
}

/// Returns a pattern of absolute paths; special characters in the name of the folder have no effect.
pub fn absolute_pattern(base: &Path, pattern: &str) -> String {
    let mut folder = normal(base);
    let mut rest: Vec<&str> = vec![];
    for segment in pattern.split('/') {
        match segment {
            "." => {}
            "" if rest.is_empty() => folder = PathBuf::from("/"),
            ".." if rest.is_empty() => drop(folder.pop()),
            ".." => drop(rest.pop()),
            segment => rest.push(segment),
        }
    }
    let folder = globset::escape(&text(&folder));
    format!("{}/{}", folder.trim_end_matches('/'), rest.join("/"))
}

/// Returns a path as text, as names of inputs contain it.
pub fn text(path: &Path) -> String {
    text_of(path.as_os_str().as_bytes())
}

/// Returns whether a link leads to the folder of results or into it.
fn leads_below(link: &Path, output: &Path) -> bool {
    match (fs::canonicalize(link), fs::canonicalize(output)) {
        (Ok(target), Ok(output)) => target.starts_with(output),
        _ => false,
    }
}

fn kind_of(facts: &fs::Metadata) -> &'static str {
    let kind = facts.file_type();
    match () {
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "no plain file",
    }
}

/// Returns the path below `base`, or for a file elsewhere its path below their common folder.
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

/// Returns a name as text: bytes that are not UTF-8 become `%XX`, and so does a `%` that looks like such an
/// escape.
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

/// Returns what is wrong with a pattern of `task.outputs`, if anything is.
pub fn bad_output(pattern: &str) -> Option<String> {
    if pattern.is_empty() || pattern.starts_with('/') || pattern.split('/').any(|segment| segment == "..") {
        return Some(format!("{pattern:?} is outside the task's working folder"));
    }
    if let Some(folder) = pattern.strip_suffix('/') {
        return Some(format!(
            "{pattern:?} names a folder: {:?} means all files in it",
            format!("{folder}/**")
        ));
    }
    let plain: Vec<&str> = pattern.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    if plain.len() != pattern.split('/').count() {
        return Some(format!("{pattern:?} would match nothing on a node: write {:?}", plain.join("/")));
    }
    let built = GlobBuilder::new(pattern).literal_separator(true).build();
    built.err().map(|error| format!("{pattern:?} is not a valid pattern: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(folder: &Path, patterns: &[&str]) -> (Vec<String>, Vec<Problem>) {
        let (found, _, problems) = search_with(folder, patterns, true);
        (found, problems)
    }

    fn search_with(
        folder: &Path,
        patterns: &[&str],
        follow_links: bool,
    ) -> (Vec<String>, Vec<String>, Vec<Problem>) {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let mut problems = vec![];
        let output = folder.join("out");
        let search = Search {
            key: "input.files",
            base: folder,
            output: &output,
            follow_links,
            exclude: &[],
            ignore_case: false,
        };
        let (found, left_out) = find(search, &patterns, &mut problems);
        let shown = |line: String| line.replace(&format!("{}/", folder.display()), "");
        (
            found.into_iter().map(|found| found.relative).collect(),
            left_out.lines().into_iter().map(shown).collect(),
            problems,
        )
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
    fn links_are_followed_and_entries_that_are_not_files_are_left_out_and_counted() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        for path in ["data/a.txt", "elsewhere/b.txt", "elsewhere/deep/c.txt", "out/result.txt"] {
            let path = base.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        for (target, link) in [
            ("../elsewhere/b.txt", "data/link.txt"),
            ("../elsewhere", "data/folder"),
            ("..", "data/circle"),
            ("nowhere", "data/dangling.txt"),
            ("self.txt", "data/self.txt"),
            ("../out", "data/results"),
        ] {
            symlink(target, base.join(link)).unwrap();
        }
        for number in 0..3 {
            let path = base.join(format!("data/pipe{number}.txt"));
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        }
        let _socket = std::os::unix::net::UnixListener::bind(base.join("data/socket.txt")).unwrap();
        let (found, left_out, problems) = search_with(base, &["data/**/*.txt"], true);
        assert_eq!(problems, []);
        let expected = ["data/a.txt", "data/folder/b.txt", "data/folder/deep/c.txt", "data/link.txt"];
        assert_eq!(
            found.iter().filter(|path| !path.contains("circle")).collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
        let expected = [
            "left out: 3 entries, of which each is a FIFO, for example data/pipe0.txt",
            "left out: data/self.txt is a link that forms a cycle",
            "left out: data/dangling.txt is a link whose target does not exist",
            "left out: data/socket.txt is a socket",
        ];
        for line in expected.iter().filter(|line| !line.contains("entries") && !line.contains("cycle")) {
            assert!(left_out.contains(&(*line).to_owned()), "{left_out:?}");
        }
        assert!(left_out.iter().any(|line| line.contains("FIFO")), "{left_out:?}");
        assert!(left_out.iter().any(|line| line.contains("forms a cycle")), "{left_out:?}");
        let (found, left_out, _) = search_with(base, &["data/**/*.txt"], false);
        assert_eq!(found, ["data/a.txt"]);
        assert!(
            left_out.iter().any(|line| line.contains("3 entries") && line.contains("follow_links")),
            "{left_out:?}"
        );
        // The folder itself may be a link.
        symlink("elsewhere", base.join("linked")).unwrap();
        assert_eq!(search(base, &["linked/*"]).0, ["linked/b.txt"]);
        let (_, problems) = search(base, &["linked"]);
        assert!(problems[0].what.contains("is a folder: write \"linked/*\""), "{problems:?}");
        let (_, problems) = search(base, &["data/dangling.txt"]);
        assert!(problems[0].what.contains("whose target does not exist"), "{problems:?}");
    }

    #[test]
    fn output_patterns_that_match_nothing_are_reported_with_a_correction() {
        for (pattern, said) in [
            ("./r.txt", "write \"r.txt\""),
            ("d//r.txt", "write \"d/r.txt\""),
            ("d/./r", "write \"d/r\""),
            ("d/", "\"d/**\" means all files"),
            ("/etc/x", "is outside"),
            ("../x", "is outside"),
            ("", "is outside"),
        ] {
            let what = bad_output(pattern).unwrap_or_default();
            assert!(what.contains(said), "{pattern}: {what}");
        }
        for pattern in ["r.txt", "d/r.txt", "**", "d/**/*.txt", ".hidden", "...", "a..b"] {
            assert_eq!(bad_output(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_keep_every_byte() {
        assert_eq!(text_of(b"a\xffb%.txt"), "a%FFb%25.txt");
        assert_eq!(text_of("ü 100%".as_bytes()), "ü 100%");
    }
}
