//! Escapes names, paths and messages before they are shown in a terminal, a log or a text response.
//!
//! Users can give files any name, and services and tasks send any text. Such a text could move the cursor,
//! begin a line that looks like output of this program, or change the direction of writing. Every such
//! character becomes an escape: `\n`, `\u{1b}`. Escaping a text again does not change it.

use std::fmt::{self, Display, Write};

/// Returns a text on one line, with an escape for every character that a reader would not see as it is.
///
/// ```
/// assert_eq!(dropmill_journal::shown("a\n\u{1b}[2Jb ü"), "a\\n\\u{1b}[2Jb ü");
/// ```
pub fn shown(text: &str) -> String {
    Shown(text).to_string()
}

/// Escapes a value as [`shown`] does, in a format string: `format!("{}", Shown(path.display()))`.
#[derive(Debug, Clone, Copy)]
pub struct Shown<T>(pub T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for letter in text.chars() {
                    match is_hidden(letter) {
                        true => write!(self.0, "{}", letter.escape_default())?,
                        false => self.0.write_char(letter)?,
                    }
                }
                Ok(())
            }
        }
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes the characters in a JSON text that control a terminal; the meaning of the JSON stays the same.
pub fn shown_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_hidden(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Returns whether a character is invisible or has an effect: control characters, those that change the
/// direction of writing or begin another line, and those without width. Joiners and variation selectors are
/// allowed, because writing systems need them.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_cannot_move_the_cursor_begin_a_line_or_change_the_direction() {
        for (text, expected) in [
            ("a b ü 漢 👩\u{200d}👧 ﷽", "a b ü 漢 👩\u{200d}👧 ﷽"),
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\nb\r\tc\u{b}\u{c}", "a\\nb\\r\\tc\\u{b}\\u{c}"),
            ("\u{85}\u{2028}\u{2029}", "\\u{85}\\u{2028}\\u{2029}"),
            ("\u{8}\u{7f}\0\u{7}", "\\u{8}\\u{7f}\\u{0}\\u{7}"),
            ("\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}", "\\u{202e}gpj.exe\\u{2066}\\u{200f}\\u{61c}"),
            ("\u{200b}\u{feff}\u{2060}\u{e0041}", "\\u{200b}\\u{feff}\\u{2060}\\u{e0041}"),
            ("back\\slash", "back\\slash"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
            assert_eq!(shown(expected), expected, "shown again");
            assert_eq!(format!("{}", Shown(format_args!("{}{}", text, ""))), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn escaped_json_means_the_same_and_has_no_hidden_characters(text in ".*[\u{80}-\u{9f}\u{202e}\u{e0041}\u{7f}]?.*") {
            let json = serde_json::Value::String(text).to_string();
            let shown = shown_json(&json);
            proptest::prop_assert!(!shown.chars().any(is_hidden));
            let (one, other): (serde_json::Value, serde_json::Value) =
                (serde_json::from_str(&json).expect("it is JSON"), serde_json::from_str(&shown).expect("it is JSON"));
            proptest::prop_assert_eq!(one, other);
        }
    }
}
