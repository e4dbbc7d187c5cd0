//! Names of values and of tasks.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Maximum length of a task name in bytes; a longer name ends in a hash.
pub const LONGEST: usize = 100;

/// Built-in names of values, and names that a key of the run file would hide.
pub const BUILT_IN: [&str; 6] = ["input", "inputs", "name", "stem", "relative", "index"];

/// Returns whether a text can name a value: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns the value as one segment of a path: `/`, `%`, control characters and a leading dot become `%XX`.
pub fn segment(value: &str) -> String {
    let mut segment = String::with_capacity(value.len());
    for (at, letter) in value.char_indices() {
        match letter {
            '/' | '%' | '\\' => push_escaped(&mut segment, letter),
            '.' if at == 0 => push_escaped(&mut segment, letter),
            letter if letter.is_control() => push_escaped(&mut segment, letter),
            letter => segment.push(letter),
        }
    }
    segment
}

fn push_escaped(to: &mut String, letter: char) {
    let mut buffer = [0; 4];
    for byte in letter.encode_utf8(&mut buffer).bytes() {
        let _ = write!(to, "%{byte:02X}");
    }
}

/// Returns a name of at most [`LONGEST`] bytes: a longer one is cut and ends in `~` and eight hexadecimal digits of a
/// hash of the whole.
pub fn bounded(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut end = LONGEST - 1 - hash.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}~{hash}", name[..end].trim_end_matches('/'))
}

/// Returns the last segment of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the name without its extension: `a.tar.gz` is `a.tar`, `.hidden` stays.
pub fn stem(file_name: &str) -> &str {
    match file_name.rfind('.') {
        Some(dot) if dot > 0 => &file_name[..dot],
        _ => file_name,
    }
}

/// Returns what is wrong with the name of a value, if anything is: it cannot be written between braces, or hides another.
pub fn problem_of(name: &str) -> Option<String> {
    if !is_name(name) {
        Some(format!("{name:?} cannot name a value: use letters, digits and _, and no digit first"))
    } else if BUILT_IN.contains(&name) {
        Some(format!("{name:?} is the name of a built-in value: choose another"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_becomes_one_segment_of_a_path() {
        for (value, expected) in [
            ("a b", "a b"),
            ("a/b", "a%2Fb"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("100%", "100%25"),
            ("a\nb\0", "a%0Ab%00"),
            ("é", "é"),
            ("$(id)", "$(id)"),
        ] {
            assert_eq!(segment(value), expected, "{value:?}");
        }
    }

    #[test]
    fn different_values_never_become_the_same_segment() {
        let values = ["a/b", "a%2Fb", "a%252Fb", ".", "%2E", "..", "%2E."];
        let segments: std::collections::BTreeSet<_> = values.iter().map(|value| segment(value)).collect();
        assert_eq!(segments.len(), values.len());
    }

    #[test]
    fn a_long_name_is_cut_and_stays_unique() {
        let (one, other) = (bounded("é".repeat(80) + "1"), bounded("é".repeat(80) + "2"));
        assert!(one.len() <= LONGEST && one != other, "{one}");
        assert_eq!(bounded("short".into()), "short");
        assert!(!bounded("x".repeat(91) + "/" + &"y".repeat(20)).contains("/~"));
    }

    #[test]
    fn names_are_identifiers_and_hide_nothing() {
        for (name, is_fine) in [
            ("sample", true),
            ("Sample_2", true),
            ("_x", true),
            ("2x", false),
            ("a-b", false),
            ("", false),
            ("input", false),
            ("name", false),
        ] {
            assert_eq!(problem_of(name).is_none(), is_fine, "{name}");
        }
    }
}
