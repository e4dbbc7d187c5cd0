//! Patterns with wildcards: `reads/{sample}_R1.fastq.gz`.

use crate::names::is_name;
use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};
use std::collections::BTreeMap;

/// Values of wildcards, by name.
pub type Wildcards = BTreeMap<String, String>;

/// A pattern of relative paths. Beside what a glob has, `{name}` stands for one or more characters of one segment; the
/// same name twice stands for the same characters. The first wildcard takes as much as it can.
#[derive(Debug, Clone)]
pub struct Pattern {
    glob: String,
    regex: Regex,
    /// Names in the order of their groups; a name can be there more than once.
    groups: Vec<String>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Returns what is wrong with it as a glob.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("./").unwrap_or(text);
        let (mut glob, mut source, mut groups) = (String::new(), String::from("(?s-u)^"), vec![]);
        for piece in pieces(text) {
            match piece {
                Piece::Glob(piece) => {
                    glob.push_str(piece);
                    source.push_str(
                        &regex_of(piece)
                            .map_err(|error| format!("{text:?} is not a valid pattern: {error}"))?,
                    );
                }
                Piece::Wildcard(name) => {
                    glob.push('*');
                    source.push_str("([^/]+)");
                    groups.push(name.to_owned());
                }
            }
        }
        source.push('$');
        let regex = RegexBuilder::new(&source).build();
        let regex = regex.map_err(|error| format!("{text:?} is not a valid pattern: {error}"))?;
        Ok(Self { glob, regex, groups })
    }

    /// Returns the glob that matches at least every path that the pattern matches.
    pub fn glob(&self) -> &str {
        &self.glob
    }

    /// Returns the names of the wildcards.
    pub fn wildcards(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }

    /// Returns the values of the wildcards, if the path matches.
    pub fn values(&self, path: &str) -> Option<Wildcards> {
        let found = self.regex.captures(path.as_bytes())?;
        let mut values = Wildcards::new();
        for (name, group) in self.groups.iter().zip(found.iter().skip(1)) {
            let value = String::from_utf8_lossy(group?.as_bytes()).into_owned();
            if values.insert(name.clone(), value.clone()).is_some_and(|before| before != value) {
                return None;
            }
        }
        Some(values)
    }
}

enum Piece<'a> {
    Glob(&'a str),
    Wildcard(&'a str),
}

/// Splits a pattern at its wildcards. `{a,b}` is an alternative of the glob; after a backslash nothing begins.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut from, mut at) = (vec![], 0, 0);
    while let Some(letter) = text[at..].chars().next() {
        let after = at + letter.len_utf8();
        let name = text[after..].split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        match (letter, name) {
            ('\\', _) => at = after + text[after..].chars().next().map_or(0, char::len_utf8),
            ('{', Some(name)) => {
                pieces.push(Piece::Glob(&text[from..at]));
                pieces.push(Piece::Wildcard(name));
                at = after + name.len() + 1;
                from = at;
            }
            _ => at = after,
        }
    }
    pieces.push(Piece::Glob(&text[from..]));
    pieces
}

/// Returns the regular expression of a piece of a glob, without its anchors.
fn regex_of(glob: &str) -> Result<String, String> {
    if glob.is_empty() {
        return Ok(String::new());
    }
    let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
    let regex = built.map_err(|error| error.kind().to_string())?;
    let whole = regex.regex();
    let inner = whole.strip_prefix("(?-u)").unwrap_or(whole).trim_start_matches('^');
    Ok(format!("(?:{})", inner.strip_suffix('$').unwrap_or(inner)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pattern: &str, path: &str) -> Option<String> {
        let found = Pattern::parse(pattern).unwrap().values(path)?;
        Some(found.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn wildcards_stand_for_characters_of_one_segment() {
        for (pattern, path, expected) in [
            ("reads/{sample}_R1.fq", "reads/a_R1.fq", Some("sample=a")),
            ("./reads/{sample}_R1.fq", "reads/a b_R1.fq", Some("sample=a b")),
            ("reads/{sample}_R1.fq", "reads/x/a_R1.fq", None),
            ("reads/{sample}_R1.fq", "reads/_R1.fq", None),
            ("{run}/{lane}_*.fq", "r1/L1_x.fq", Some("lane=L1 run=r1")),
            ("{a}_{b}.txt", "x_y_z.txt", Some("a=x_y b=z")),
            ("{a}/{a}.txt", "x/x.txt", Some("a=x")),
            ("{a}/{a}.txt", "x/y.txt", None),
            ("**/{s}.{png,jpg}", "a/b/c.jpg", Some("s=c")),
            ("**/{s}.{png,jpg}", "c.png", Some("s=c")),
            ("{s}.[ch]", "a.c", Some("s=a")),
            ("\\{s\\}.c", "{s}.c", Some("")),
            ("{2s}.c", "2s.c", Some("")),
            ("a+(b).{e}", "a+(b).x", Some("e=x")),
            ("{s}.txt", "a\nb.txt", Some("s=a\nb")),
            ("ref/genome.fa", "ref/genome.fa", Some("")),
        ] {
            assert_eq!(values(pattern, path).as_deref(), expected, "{pattern} {path:?}");
        }
    }

    #[test]
    fn the_glob_of_a_pattern_finds_what_the_pattern_matches() {
        for (pattern, glob) in [
            ("reads/{sample}_R{read}.fq", "reads/*_R*.fq"),
            ("{a}.{png,jpg}", "*.{png,jpg}"),
            ("plain.txt", "plain.txt"),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().glob(), glob);
        }
        assert!(Pattern::parse("{s}[").unwrap_err().contains("not a valid pattern"));
    }
}
