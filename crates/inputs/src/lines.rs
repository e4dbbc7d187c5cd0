//! Lines of a text: one task each.

use crate::{Draft, Problem, names::segment};

/// Reads a text; empty lines are skipped, and a task has the value `line`.
///
/// # Errors
/// Returns every line that cannot be a value.
pub fn drafts(source: &str, bytes: &[u8]) -> Result<Vec<Draft>, Vec<Problem>> {
    let (mut drafts, mut problems) = (vec![], vec![]);
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let origin = format!("{source} line {}", number + 1);
        match std::str::from_utf8(line) {
            Ok(line) if !line.contains('\0') => {
                let values = vec![("line".to_owned(), line.to_owned())];
                drafts.push(Draft { name: segment(line), values, origin, files: vec![] });
            }
            Ok(_) => problems.push(Problem::new(
                "input.lines",
                format!("{origin} has a zero byte, which no argument can have"),
            )),
            Err(_) => problems.push(Problem::new("input.lines", format!("{origin} is not UTF-8"))),
        }
    }
    if drafts.is_empty() && problems.is_empty() {
        problems.push(Problem::new("input.lines", format!("{source} has no line that is not empty")));
    }
    if problems.is_empty() { Ok(drafts) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_that_is_not_empty_is_a_task() {
        let drafts = drafts("list.txt", "\u{feff}a b\r\n\r\n$(id) ;x\nhttp://h/p?q".as_bytes()).unwrap();
        let lines: Vec<_> = drafts.iter().map(|draft| draft.value("line", 0).unwrap()).collect();
        assert_eq!(lines, ["a b", "$(id) ;x", "http://h/p?q"]);
        assert_eq!(
            (drafts[1].origin.as_str(), drafts[2].name.as_str()),
            ("list.txt line 3", "http:%2F%2Fh%2Fp?q")
        );
    }

    #[test]
    fn lines_that_cannot_be_values_are_reported_at_once() {
        let problems = drafts("-", b"a\nb\0\n\xFF\n").unwrap_err();
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(
            messages,
            ["- line 2 has a zero byte, which no argument can have", "- line 3 is not UTF-8"]
        );
        assert_eq!(drafts("l", b"\n\n").unwrap_err()[0].message, "l has no line that is not empty");
    }
}
