//! Output file patterns as in Batch, and the search for matching files.
//!
//! `*` matches any characters within a name, `?` one character, `[abc]` and `[a-c]` one of them, `[!abc]` one
//! that is not among them, `**` as a whole segment any number of folders, also none. A leading dot must be
//! matched by a dot in the pattern. A `[` without an end is an ordinary character; `[*]` matches a star.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

/// A pattern below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// Any folders: `**`.
    Folders,
    /// A name with wildcards.
    Name(Vec<Token>),
    /// A name without wildcards.
    Plain(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Literal(char),
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// Returns whether a pattern may match several files.
pub(super) fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

impl Pattern {
    /// Parses a pattern of plain segments: no `.`, no `..`, no empty ones.
    pub fn new<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Vec::new();
        for segment in segments {
            let segment = match segment {
                "**" => Segment::Folders,
                name if has_wildcard(name) => Segment::Name(tokens(name)),
                name => Segment::Plain(name.to_owned()),
            };
            // `**/**` is equivalent to `**`, but many of them would make the search slow.
            if segment != Segment::Folders || all.last() != Some(&Segment::Folders) {
                all.push(segment);
            }
        }
        if all.last() == Some(&Segment::Folders) {
            all.push(Segment::Name(vec![Token::Any]));
        }
        Self { segments: all }
    }

    /// Calls `found` with the path below `folder` of every match that is not a folder, sorted by name within
    /// each folder; links to folders are not followed. The search ends when `found` returns `false`.
    pub fn walk(&self, folder: &Path, found: &mut dyn FnMut(&Path) -> bool) -> std::io::Result<()> {
        let mut below = PathBuf::new();
        self.enter(folder, &mut below, &self.with_empty_folders([0]), found).map(drop)
    }

    /// Returns whether a file's path, with `/` between segments, matches.
    pub fn matches(&self, path: &str) -> bool {
        let mut at = self.with_empty_folders([0]);
        for name in path.split('/') {
            at = self.with_empty_folders(at.into_iter().filter_map(|index| self.after(index, name)));
        }
        at.contains(&self.segments.len())
    }

    fn enter(
        &self,
        folder: &Path,
        below: &mut PathBuf,
        at: &BTreeSet<usize>,
        found: &mut dyn FnMut(&Path) -> bool,
    ) -> std::io::Result<bool> {
        for name in self.candidates(&folder.join(&below), at)? {
            let text = name.to_string_lossy();
            let after: BTreeSet<usize> = at.iter().flat_map(|index| self.after(*index, &text)).collect();
            if after.is_empty() {
                continue;
            }
            below.push(&name);
            let Ok(metadata) = fs::symlink_metadata(folder.join(&below)) else {
                below.pop();
                continue;
            };
            let go_on = if metadata.is_dir() {
                self.enter(folder, below, &self.with_empty_folders(after), found)?
            } else {
                !after.contains(&self.segments.len()) || found(below)
            };
            below.pop();
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the names to check: all in the folder, or those that the pattern contains literally.
    fn candidates(&self, folder: &Path, at: &BTreeSet<usize>) -> std::io::Result<Vec<OsString>> {
        let spelled: Option<BTreeSet<OsString>> = at
            .iter()
            .filter_map(|index| self.segments.get(*index))
            .map(|segment| match segment {
                Segment::Plain(name) => Some(OsString::from(name)),
                Segment::Folders | Segment::Name(_) => None,
            })
            .collect();
        if let Some(names) = spelled {
            return Ok(names.into_iter().collect());
        }
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the possible positions before these segments: `**` may also match no folder.
    fn with_empty_folders(&self, at: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let skips = |index: usize| self.segments.get(index) == Some(&Segment::Folders);
        at.into_iter().flat_map(|index| [Some(index), skips(index).then_some(index + 1)]).flatten().collect()
    }

    /// Returns the position after a name.
    fn after(&self, index: usize, name: &str) -> Option<usize> {
        match self.segments.get(index)? {
            Segment::Folders => (!name.starts_with('.')).then_some(index),
            Segment::Plain(plain) => (plain == name).then_some(index + 1),
            Segment::Name(tokens) => matches_name(tokens, name).then_some(index + 1),
        }
    }
}

/// Returns whether a name matches one segment of a pattern.
fn matches_name(tokens: &[Token], name: &str) -> bool {
    if name.starts_with('.') && tokens.first() != Some(&Token::Literal('.')) {
        return false;
    }
    let name: Vec<char> = name.chars().collect();
    // The classic algorithm with one backtracking point, the last star: linear in practice, never
    // exponential.
    let (mut token, mut at, mut retry) = (0, 0, None);
    while at < name.len() {
        match tokens.get(token) {
            Some(Token::Any) => {
                retry = Some((token, at));
                token += 1;
            }
            Some(one) if one.fits(name[at]) => (token, at) = (token + 1, at + 1),
            _ => {
                let Some((star, taken)) = retry else { return false };
                retry = Some((star, taken + 1));
                (token, at) = (star + 1, taken + 1);
            }
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Any)
}

impl Token {
    fn fits(&self, character: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Literal(literal) => *literal == character,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&character)) != *negated
            }
        }
    }
}

fn tokens(name: &str) -> Vec<Token> {
    let characters: Vec<char> = name.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let (token, length) = match characters[at] {
            '*' => (Token::Any, 1),
            '?' => (Token::One, 1),
            '[' => {
                set(&characters[at + 1..]).map_or((Token::Literal('['), 1), |(set, length)| (set, length + 1))
            }
            literal => (Token::Literal(literal), 1),
        };
        if token != Token::Any || tokens.last() != Some(&Token::Any) {
            tokens.push(token);
        }
        at += length;
    }
    tokens
}

/// Parses the characters between `[` and `]`; returns the set and its length including the `]`. A leading `]`
/// is an ordinary character.
fn set(after: &[char]) -> Option<(Token, usize)> {
    let negated = matches!(after.first(), Some('!' | '^'));
    let start = usize::from(negated);
    let end = start + 1 + after.get(start + 1..)?.iter().position(|character| *character == ']')?;
    let mut ranges = Vec::new();
    let mut inner = &after[start..end];
    while let [first, rest @ ..] = inner {
        inner = match rest {
            ['-', last, rest @ ..] => {
                ranges.push((*first, *last));
                rest
            }
            rest => {
                ranges.push((*first, *first));
                rest
            }
        };
    }
    Some((Token::Set { negated, ranges }, end + 1))
}

/// Returns the name as text, if it is valid UTF-8.
pub(super) fn as_text(path: &Path) -> Option<&str> {
    OsStr::to_str(path.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_match_as_documented() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("abc*", &["abc", "abcdef"], &["ab", "xabc"]),
            ("*.gif", &["a.gif", "é.gif"], &[".a.gif", "a.gif.txt", ".gif"]),
            (".*.gif", &[".a.gif"], &["a.gif"]),
            ("a?c", &["abc", "aéc"], &["ac", "abbc"]),
            ("[abc]x", &["ax", "cx"], &["dx", "x", "[abc]x"]),
            ("[a-c]", &["a", "b", "c"], &["d", "-"]),
            ("[!abc]", &["d", "]"], &["a", "b", ".", "dd"]),
            ("[!a-c]*", &["d", "zz"], &["a", "bz", ".d"]),
            ("abc[*]", &["abc*"], &["abcd", "abc"]),
            ("[]]", &["]"], &["a"]),
            ("[!]]", &["a"], &["]"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[abc", &["[abc"], &["a"]),
            ("*a*b*c*", &["abc", "xaxbxcx"], &["acb", "ab"]),
            ("*", &["a", "a b", "*"], &[".a"]),
            ("?", &["a"], &["."]),
            ("a**b", &["ab", "axb"], &["a"]),
        ];
        for (pattern, fitting, others) in table {
            for name in *fitting {
                assert!(matches_name(&tokens(pattern), name), "{pattern} should take {name}");
            }
            for name in *others {
                assert!(!matches_name(&tokens(pattern), name), "{pattern} should leave {name}");
            }
        }
    }

    #[test]
    fn a_walk_finds_all_matches() {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "a.txt",
            ".h.txt",
            "b.csv",
            "d/a.txt",
            "d/e/a.txt",
            "d/e/f/x",
            ".git/a.txt",
            "d/.h/a.txt",
            "a[1].txt",
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("d/dangling.txt")).unwrap();
        let table: &[(&str, &[&str])] = &[
            ("a.txt", &["a.txt"]),
            (".h.txt", &[".h.txt"]),
            ("missing.txt", &[]),
            ("missing/*.txt", &[]),
            ("a.txt/b", &[]),
            ("d", &[]),
            ("*.txt", &["a.txt", "a[1].txt"]),
            ("a[[]1].txt", &["a[1].txt"]),
            ("**/*.txt", &["a.txt", "a[1].txt", "d/a.txt", "d/dangling.txt", "d/e/a.txt"]),
            ("**/**/a.txt", &["a.txt", "d/a.txt", "d/e/a.txt"]),
            (
                "**",
                &["a.txt", "a[1].txt", "b.csv", "d/a.txt", "d/dangling.txt", "d/e/a.txt", "d/e/f/x", "loop"],
            ),
            ("d/**", &["d/a.txt", "d/dangling.txt", "d/e/a.txt", "d/e/f/x"]),
            ("d/**/f/*", &["d/e/f/x"]),
            ("**/e/**/*", &["d/e/a.txt", "d/e/f/x"]),
            (".git/*", &[".git/a.txt"]),
            ("*/a.txt", &["d/a.txt"]),
        ];
        let every = [
            "a.txt",
            ".h.txt",
            "b.csv",
            "d/a.txt",
            "d/e/a.txt",
            "d/e/f/x",
            ".git/a.txt",
            "d/.h/a.txt",
            "loop",
        ];
        for (pattern, expected) in table {
            let mut all = Vec::new();
            let pattern_read = Pattern::new(pattern.split('/'));
            pattern_read
                .walk(folder.path(), &mut |path| {
                    all.push(as_text(path).unwrap().to_owned());
                    true
                })
                .unwrap();
            assert_eq!(all, *expected, "{pattern}");
            for path in every {
                assert_eq!(pattern_read.matches(path), expected.contains(&path), "{pattern} and {path}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_pattern_is_parsed_and_the_match_ends(pattern in "[a*?.!\\[\\]-]{0,24}", name in "[a.\\[\\]!-]{0,24}") {
            let _ = matches_name(&tokens(&pattern), &name);
        }

        #[test]
        fn a_name_without_wildcards_matches_only_itself(name in "[a-c.]{1,6}", other in "[a-c.]{1,6}") {
            prop_assert_eq!(matches_name(&tokens(&name), &other), name == other);
        }
    }
}
