//! Texts with placeholders: `{name}` stands for a value of the task.

use crate::names::is_name;

/// A text with placeholders for declared names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(String),
}

/// What a word in braces means that is not a declared name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// An error if it is in lower case, because it is probably misspelt.
    Error,
    /// It stands for itself.
    Text,
}

impl Template {
    /// Reads a text. `{{word}}` is the word in braces itself; every other brace stands for itself, and so does `${word}`,
    /// which is a variable of a shell.
    ///
    /// # Errors
    /// Returns a message that names the unknown word and what to write instead.
    pub fn parse(text: &str, declared: &[&str], unknown: Unknown) -> Result<Self, String> {
        let (mut pieces, mut plain, mut rest) = (vec![], String::new(), text);
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(name) = after.strip_prefix('{').and_then(word)
                && after[1 + name.len()..].starts_with("}}")
            {
                plain.push_str(&format!("{{{name}}}"));
                rest = &after[name.len() + 3..];
                continue;
            }
            let name = word(after).filter(|_| !plain.ends_with('$'));
            let Some(name) = name.filter(|name| declared.contains(name)) else {
                let misspelt = name.filter(|name| {
                    unknown == Unknown::Error
                        && !name
                            .contains(|letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit())
                });
                if let Some(name) = misspelt {
                    return Err(unknown_word(name, declared));
                }
                plain.push('{');
                rest = after;
                continue;
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Value(name.to_owned()));
            rest = &after[name.len() + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Returns the text with a value for each placeholder.
    pub fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let part = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(name) => value(name),
        };
        self.0.iter().map(part).collect()
    }

    /// Returns the names that it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value(name) => Some(name.as_str()),
        })
    }

    /// Returns whether it is one placeholder alone, and for which name.
    pub fn alone(&self) -> Option<&str> {
        match &self.0[..] {
            [Piece::Value(name)] => Some(name),
            _ => None,
        }
    }
}

/// The name that a text begins with, if a `}` follows.
fn word(text: &str) -> Option<&str> {
    text.split_once('}').map(|(name, _)| name).filter(|name| is_name(name))
}

fn unknown_word(name: &str, declared: &[&str]) -> String {
    let all: Vec<_> = declared.iter().map(|name| format!("{{{name}}}")).collect();
    let hint = match nearest(name, declared.iter().copied()) {
        Some(near) => format!("did you mean {{{near}}}? Known are {}", all.join(", ")),
        None => format!("known are {}", all.join(", ")),
    };
    format!("unknown placeholder {{{name}}}; {hint}; write {{{{{name}}}}} for the word itself")
}

/// Returns the name among `known` that is most like `wrong`, if one is.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.into_iter().min_by_key(|name| distance(wrong, name))?;
    (distance(wrong, best) <= 1 + wrong.len() / 3).then_some(best)
}

/// How many characters must be changed, added or removed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut above = std::mem::replace(&mut row[0], at + 1);
        for (place, against) in other.iter().enumerate() {
            let changed = above + usize::from(letter != *against);
            above = row[place + 1];
            row[place + 1] = changed.min(above + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: [&str; 4] = ["input", "stem", "alpha", "Sample"];

    fn filled(text: &str) -> String {
        let template = Template::parse(text, &DECLARED, Unknown::Error).unwrap();
        template.fill(|name| format!("<{name}>"))
    }

    #[test]
    fn declared_names_are_filled_and_every_other_brace_stands_for_itself() {
        for (text, expected) in [
            ("-n{alpha}", "-n<alpha>"),
            ("{stem}_{Sample}.txt", "<stem>_<Sample>.txt"),
            ("{{input}}", "{input}"),
            ("${input} ${HOME}", "${input} ${HOME}"),
            ("{{.Id}} {print $1} {} { } {a,b} {A} {x2}", "{{.Id}} {print $1} {} { } {a,b} {A} {x2}"),
            ("{", "{"),
            ("", ""),
            ("{input", "{input"),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn a_misspelt_name_is_an_error_where_it_matters() {
        let error = Template::parse("{inptu}", &DECLARED, Unknown::Error).unwrap_err();
        assert!(error.starts_with("unknown placeholder {inptu}; did you mean {input}?"), "{error}");
        assert!(error.ends_with("write {{inptu}} for the word itself"), "{error}");
        let kept = Template::parse("{inptu}", &DECLARED, Unknown::Text).unwrap();
        assert_eq!(kept.fill(|_| unreachable!()), "{inptu}");
    }

    #[test]
    fn a_template_names_what_it_uses() {
        let template = Template::parse("{input}-{stem}", &DECLARED, Unknown::Error).unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["input", "stem"]);
        assert_eq!(template.alone(), None);
        assert_eq!(Template::parse("{input}", &DECLARED, Unknown::Error).unwrap().alone(), Some("input"));
    }
}
