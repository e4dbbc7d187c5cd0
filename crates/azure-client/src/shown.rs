//! Prepares foreign text for an error or a log line: one line, limited length, no secrets.

/// Maximum number of characters that are shown.
const LONGEST: usize = 600;

/// Texts that precede a secret when a service echoes a request: signatures of a SAS, Authorization headers.
const BEFORE_SECRETS: [&str; 5] =
    ["sig=", "sharedkey ", "bearer ", "the mac signature found in the http request '", "accountkey="];

/// Returns the text in one line, without control characters, with `***` for possible secrets.
pub(crate) fn shown(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() || is_direction(c) { ' ' } else { c })
        .take(4 * LONGEST)
        .collect();
    for mark in BEFORE_SECRETS {
        line = masked(&line, mark);
    }
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line.trim().to_owned()
}

/// Returns whether a character changes the direction of writing, which can make a line look different from
/// its content.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn masked(line: &str, mark: &str) -> String {
    // Only ASCII letters become lower case, so that byte positions stay the same.
    let lower = line.to_ascii_lowercase();
    let mut out = String::with_capacity(line.len());
    let mut from = 0;
    while let Some(found) = lower[from..].find(mark) {
        let secret = from + found + mark.len();
        out.push_str(&line[from..secret]);
        let rest = &line[secret..];
        let end = rest.find(['&', ' ', '\'', '"', '<', ',', ';']).unwrap_or(rest.len());
        if end > 0 {
            out.push_str("***");
        }
        from = secret + end;
    }
    out.push_str(&line[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_secrets_are_masked() {
        for (text, line) in [
            ("http://h/c?sv=1&sig=S3CRET%3D&se=2 refused", "http://h/c?sv=1&sig=***&se=2 refused"),
            ("SIG=S3CRET", "SIG=***"),
            ("Authorization: SharedKey acct:S3CRET=", "Authorization: SharedKey ***"),
            ("bearer S3CRET, and sig=S3CRET'", "bearer ***, and sig=***'"),
            ("sig=", "sig="),
            ("signal and design = good", "signal and design = good"),
        ] {
            assert_eq!(shown(text), line);
        }
    }

    #[test]
    fn a_text_becomes_one_line_of_limited_length() {
        assert_eq!(shown("a\nb\r\u{1b}[31mred\u{202e}x"), "a b  [31mred x");
        assert_eq!(shown(&"ä".repeat(5000)).chars().count(), LONGEST + 1);
    }
}
