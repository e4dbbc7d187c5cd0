//! Parses the command line of a task as a Linux node does: it is split into arguments and not run by a shell.
//!
//! Rules:
//!
//! - white space (space, tab, newline, carriage return, form feed, vertical tab) separates arguments;
//! - text in single quotes is literal;
//! - text in double quotes is literal except `\"` and `\\`, which mean `"` and `\`;
//! - elsewhere a backslash makes the next character literal;
//! - adjacent quoted and unquoted parts form one argument, and `''` or `""` is an empty argument;
//! - nothing is expanded: no variables, wildcards, `~`, comments or pipes.
//!
//! [`split`] returns the arguments that were given to [`quote`]; POSIX shells parse its output the same way.

/// The reason why a command line cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote is not closed.
    #[error("the {quote} at byte {at} is not closed")]
    Unclosed {
        /// Quote character, `'` or `"`.
        quote: char,
        /// Byte offset from the start of the line.
        at: usize,
    },
    /// The line ends with a backslash.
    #[error("a backslash at the end of the line")]
    LoneBackslash,
    /// The line contains a NUL, which ends an argument for every program.
    #[error("NUL character at byte {at}")]
    Nul {
        /// Byte offset from the start of the line.
        at: usize,
    },
}

/// Splits a command line into its arguments, of which the first is the program. The list is empty for a blank
/// line.
///
/// # Errors
/// Fails if a quote is not closed, or the line ends with a backslash or contains a NUL.
pub fn split(line: &str) -> Result<Vec<String>, SplitError> {
    if let Some(at) = line.find('\0') {
        return Err(SplitError::Nul { at });
    }
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut rest = line.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => arguments.extend(current.take()),
            '\'' | '"' => {
                let argument = current.get_or_insert_default();
                loop {
                    match rest.next().ok_or(SplitError::Unclosed { quote: character, at })? {
                        (_, end) if end == character => break,
                        (_, '\\') if character == '"' => {
                            argument.push(
                                rest.next_if(|(_, next)| matches!(next, '"' | '\\')).map_or('\\', |c| c.1),
                            );
                        }
                        (_, inner) => argument.push(inner),
                    }
                }
            }
            '\\' => {
                let (_, literal) = rest.next().ok_or(SplitError::LoneBackslash)?;
                current.get_or_insert_default().push(literal);
            }
            plain => current.get_or_insert_default().push(plain),
        }
    }
    arguments.extend(current);
    Ok(arguments)
}

/// Joins arguments into a command line, with quotes where needed. Arguments must not contain NUL, which no
/// process can receive.
pub fn quote<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> String {
    let mut line = String::new();
    for argument in arguments {
        let argument = argument.as_ref();
        if !line.is_empty() {
            line.push(' ');
        }
        if !argument.is_empty() && argument.bytes().all(needs_no_quotes) {
            line.push_str(argument);
        } else {
            line.push('\'');
            line.push_str(&argument.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    line
}

fn needs_no_quotes(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_rule_holds() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \t\r\n\u{b}\u{c} ", &[]),
            ("wc -l a.txt", &["wc", "-l", "a.txt"]),
            ("  wc\t-l\na.txt  ", &["wc", "-l", "a.txt"]),
            ("/bin/sh -c 'a b  c'", &["/bin/sh", "-c", "a b  c"]),
            (
                r#"/bin/sh -c "echo 'x' \"y\" \\ \n $HOME `z`""#,
                &["/bin/sh", "-c", r#"echo 'x' "y" \ \n $HOME `z`"#],
            ),
            (r#"'\' '\"' '"'"#, &[r"\", r#"\""#, "\""]),
            (r#""'""#, &["'"]),
            (r"a\ b \'c\' \\ \n \$", &["a b", "'c'", r"\", "n", "$"]),
            ("a\\\nb", &["a\nb"]),
            (r#"a'b'"c"\d"#, &["abcd"]),
            (r#"'' "" a"" ''b"#, &["", "", "a", "b"]),
            (
                "$HOME ~ *.txt | # & ; > x %PATH%",
                &["$HOME", "~", "*.txt", "|", "#", "&", ";", ">", "x", "%PATH%"],
            ),
            ("a\u{a0}b\u{3000}c é", &["a\u{a0}b\u{3000}c", "é"]),
            (r#""\"#, &["!"]),
            ("'a", &["!"]),
            (r#"x "a'b"#, &["!"]),
            (r"a \", &["!"]),
            ("a\0b", &["!"]),
        ];
        for (line, expected) in table {
            match split(line) {
                Ok(arguments) => assert_eq!(arguments, *expected, "{line:?}"),
                Err(error) => assert_eq!(*expected, ["!"], "{line:?}: {error}"),
            }
        }
    }

    #[test]
    fn an_error_contains_the_position() {
        assert_eq!(split("é 'a"), Err(SplitError::Unclosed { quote: '\'', at: 3 }));
        assert_eq!(split(r"a \"), Err(SplitError::LoneBackslash));
        assert_eq!(split("ab\0"), Err(SplitError::Nul { at: 2 }));
        assert_eq!(split("'a").unwrap_err().to_string(), "the ' at byte 0 is not closed");
    }

    #[test]
    fn plain_words_stay_readable() {
        let arguments = ["/bin/sh", "-c", "echo $x", "", "it's", "a=b", "50%"];
        assert_eq!(quote(arguments), r"/bin/sh -c 'echo $x' '' 'it'\''s' a=b 50%");
        assert_eq!(quote(Vec::<String>::new()), "");
    }

    proptest! {
        #[test]
        fn quoted_arguments_are_split_back(arguments in prop::collection::vec("[^\0]{0,12}", 0..6)) {
            prop_assert_eq!(split(&quote(&arguments)).unwrap(), arguments);
        }

        #[test]
        fn special_characters_are_quoted(arguments in prop::collection::vec("[ \t\n\r'\"\\\\$`a]{0,10}", 0..6)) {
            prop_assert_eq!(split(&quote(&arguments)).unwrap(), arguments);
        }

        #[test]
        fn any_text_is_split_or_rejected(line in ".*") {
            let _ = split(&line);
        }
    }
}
