//! Converts the name of a blob to the path of a result: a malicious name never leaves the result's folder,
//! and never reaches an internal folder.
//!
//! Staging folders are named `.dropmill-<run>` and are in the output folder. A segment of a name that begins
//! like one is [`guarded`]: its dot is written as `%2E`. So no name of a task or input can reach a staging
//! folder, even on file systems that are case-insensitive or ignore invisible characters.

/// Prefix of the names of internal folders in an output folder.
pub(crate) const OURS: &str = ".dropmill";

/// Names of a task's standard output and error at the service.
pub const STREAMS: [&str; 2] = ["stdout.txt", "stderr.txt"];

/// Returns the path below a task's result folder for the standard output or error of an earlier attempt:
/// `attempt-1.stderr.txt`.
pub fn earlier_stream(attempt: u32, stream: &str) -> String {
    format!("attempt-{attempt}.{stream}")
}

/// Returns whether a path below a task's result folder is standard output or error, of any attempt.
pub fn is_stream(path: &str) -> bool {
    let stream = match path.strip_prefix("attempt-").and_then(|rest| rest.split_once('.')) {
        Some((number, stream)) if number.parse::<u32>().is_ok() => stream,
        _ => path,
    };
    STREAMS.contains(&stream)
}

/// Returns the path below a task's result folder for blob `name` of attempt `task`: `<task>/stdout.txt`
/// becomes `stdout.txt`, `<task>/wd/a/b` becomes `a/b`. An output with the name of standard output or error
/// keeps its `wd/`.
///
/// # Errors
/// Names the segment that is not a valid file name.
pub fn result_path(task: &str, name: &str) -> Result<String, String> {
    let inner = name
        .strip_prefix(task)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| format!("blob {name:?} does not belong to task {task}"))?;
    let path = match inner.strip_prefix("wd/") {
        Some(output) if !is_stream(output) => output,
        Some(_) | None => inner,
    };
    let path = guarded(path);
    for segment in path.split('/') {
        if segment.is_empty()
            || segment == "."
            || segment == ".."
            || segment.contains('\0')
            || segment.len() > 255
        {
            return Err(format!("output {name:?} has a segment {segment:?} that no file may have"));
        }
    }
    Ok(path)
}

/// Returns a result's path in the form of `task.outputs`.
pub fn output_name(path: &str) -> String {
    let name = path.strip_prefix("wd/").unwrap_or(path);
    each_segment(name, |segment| match kind(segment) {
        // The first `%` is the one that replaced a dot, or was doubled.
        Kind::Escaped => match segment.split_once('%') {
            Some((before, after)) if after.starts_with("25") => format!("{before}%{}", &after[2..]),
            Some((before, after)) => format!("{before}.{}", after.strip_prefix("2E").unwrap_or(after)),
            None => segment.to_owned(),
        },
        Kind::Ours | Kind::Plain => segment.to_owned(),
    })
}

/// Returns a path that cannot reach an internal folder: `.dropmill-x` becomes `%2Edropmill-x`, and a name
/// that already has this form becomes `%252Edropmill-x`, so that different names stay different.
pub(crate) fn guarded(path: &str) -> String {
    each_segment(path, |segment| match kind(segment) {
        Kind::Ours => segment.replacen('.', "%2E", 1),
        Kind::Escaped => segment.replacen('%', "%25", 1),
        Kind::Plain => segment.to_owned(),
    })
}

fn each_segment(path: &str, change: impl Fn(&str) -> String) -> String {
    path.split('/').map(change).collect::<Vec<_>>().join("/")
}

enum Kind {
    /// A file system may treat it as an internal folder.
    Ours,
    /// It has the form of a guarded name.
    Escaped,
    Plain,
}

fn kind(segment: &str) -> Kind {
    let seen = as_file_systems_see_it(segment);
    if seen.starts_with(OURS) {
        return Kind::Ours;
    }
    let mut rest = seen.strip_prefix('%').unwrap_or_default();
    while let Some(inner) = rest.strip_prefix("25") {
        rest = inner;
    }
    match rest.strip_prefix("2e").is_some_and(|rest| rest.starts_with(&OURS[1..])) {
        true => Kind::Escaped,
        false => Kind::Plain,
    }
}

/// Returns a name in lower case without characters that some file systems ignore: soft hyphens, joiners,
/// direction marks, variation selectors, tags.
fn as_file_systems_see_it(name: &str) -> String {
    let ignored = |letter: &char| {
        matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
    };
    name.chars().filter(|letter| !ignored(letter)).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_beside_the_streams_and_nothing_escapes() {
        let good = [
            ("t/stdout.txt", "stdout.txt"),
            ("t/wd/lines.txt", "lines.txt"),
            ("t/wd/a/b c.txt", "a/b c.txt"),
            ("t/wd/stdout.txt", "wd/stdout.txt"),
            ("t/wd/attempt-1.stderr.txt", "wd/attempt-1.stderr.txt"),
            ("t/wd/attempt-x.stderr.txt", "attempt-x.stderr.txt"),
            ("t/wd/attempt-1.txt", "attempt-1.txt"),
            ("t/wd/wd/x", "wd/x"),
            ("t/wd/C:\\x", "C:\\x"),
        ];
        for (name, path) in good {
            assert_eq!(result_path("t", name).as_deref(), Ok(path), "{name}");
        }
        for name in
            ["t/../x", "t/wd/../../x", "t//x", "t/wd/", "t/", "t", "u/x", "tt/x", "t/wd/.", "t/wd/a\0b"]
        {
            assert!(result_path("t", name).is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn no_name_reaches_an_internal_folder_and_different_names_stay_different() {
        let table = [
            (".dropmill-run-1/t2/x", "%2Edropmill-run-1/t2/x"),
            (".DropMill-RUN-1/t2/x", "%2EDropMill-RUN-1/t2/x"),
            ("deep/.dropmill-run-1/x", "deep/%2Edropmill-run-1/x"),
            ("a/b/.dropmill", "a/b/%2Edropmill"),
            (".drop\u{200c}mill-x", "%2Edrop\u{200c}mill-x"),
            ("\u{feff}.dropmill-x", "\u{feff}%2Edropmill-x"),
            ("%2Edropmill-x", "%252Edropmill-x"),
            ("%2edropmill-x", "%252edropmill-x"),
            ("%252Edropmill-x", "%25252Edropmill-x"),
            (".dropmill%25", "%2Edropmill%25"),
            (".drop", ".drop"),
            ("dropmill-x", "dropmill-x"),
            ("..dropmill", "..dropmill"),
            ("%2Edrop", "%2Edrop"),
            ("%25", "%25"),
            ("100%.txt", "100%.txt"),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (name, expected) in table {
            let guarded = guarded(name);
            assert_eq!(guarded, expected, "{name:?}");
            assert!(seen.insert(guarded.clone()), "{name:?} became another's name");
            assert!(guarded.split('/').all(|segment| !matches!(kind(segment), Kind::Ours)), "{name:?}");
            assert_eq!(
                output_name(&guarded),
                name,
                "patterns of outputs are about the name that the task gave"
            );
        }
        // Too long with its escape: the task fails with a reason.
        let long = format!("t/wd/.dropmill{}", "x".repeat(245));
        assert!(result_path("t", &long).is_err_and(|why| why.contains("no file may have")));
    }

    proptest::proptest! {
        #[test]
        fn every_name_has_its_own_place(
            one in "[%25eE.\u{200c}]{0,6}(dropmill|DROPmill)?[/x]{0,3}",
            other in "[%25eE.\u{200c}]{0,6}(dropmill|DROPmill)?[/x]{0,3}",
        ) {
            let (a, b) = (guarded(&one), guarded(&other));
            proptest::prop_assert_eq!(one == other, a == b, "{:?} {:?}", one, other);
            proptest::prop_assert!(a.split('/').all(|segment| !as_file_systems_see_it(segment).starts_with(OURS)));
            proptest::prop_assert_eq!(output_name(&a), one.strip_prefix("wd/").unwrap_or(&one));
        }
    }
}
