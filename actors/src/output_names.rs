//! From the name of a blob to the place of a result: a hostile name never leaves the result's folder.

/// The path below a task's result folder for blob `name` of `task`: `<task>/stdout.txt` becomes `stdout.txt`,
/// `<task>/wd/a/b` becomes `a/b`. An output of the task that is called like its standard output or error
/// keeps its `wd/`.
///
/// # Errors
/// Names the segment that no file may have.
pub fn result_path(task: &str, name: &str) -> Result<String, String> {
    let inner = name
        .strip_prefix(task)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| format!("blob {name:?} does not belong to task {task}"))?;
    let path = match inner.strip_prefix("wd/") {
        Some("stdout.txt" | "stderr.txt") | None => inner,
        Some(output) => output,
    };
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
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_lie_flat_beside_the_streams_and_nothing_escapes() {
        let good = [
            ("t/stdout.txt", "stdout.txt"),
            ("t/wd/lines.txt", "lines.txt"),
            ("t/wd/a/b c.txt", "a/b c.txt"),
            ("t/wd/stdout.txt", "wd/stdout.txt"),
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
}
