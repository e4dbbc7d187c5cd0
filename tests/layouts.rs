//! `output.layout`: the places of results, failures and streams.

mod common;

use common::{Desk, run_file};

/// Converts `x.mov` to `x.mp4`, prints a line, and fails if the content is `bad`.
const CONVERT: &str = r#"["/bin/sh", "-c", "cp \"$DROPMILL_INPUT\" \"${DROPMILL_INPUT_NAME%.*}.mp4\"; echo done; ! grep -q bad \"$DROPMILL_INPUT\""]
outputs = ["*.mp4"]"#;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("library/a/film.mov", "one")
        .write("library/b/film.mov", "two")
        .write("library/top.mov", "bad");
    desk.write("run.toml", run_file(CONVERT, "layout = \"mirror\"\n").replace("data/**/*", "library/**/*"));
    desk
}

#[test]
fn mirrored_results_are_in_the_folders_of_their_inputs_without_failures() {
    let desk = desk();
    let said = desk.run("run.toml");
    said.exited(1);
    let failed = [
        ".failed/library/top.mov/stderr.txt",
        ".failed/library/top.mov/stdout.txt",
        ".failed/library/top.mov/top.mp4",
    ];
    let there: Vec<&str> = [&failed[..], &["library/a/film.mp4", "library/b/film.mp4"]].concat();
    assert_eq!(desk.files("out"), there);
    let run = said.report["run"].as_str().unwrap();
    let logs = format!("state/runs/{run}/logs");
    let kept = desk.files(&logs);
    assert_eq!(kept.len(), 2, "one standard output of each success: {kept:?}");
    assert_eq!(desk.read(format!("{logs}/{}", kept[0])), "done\n");
    // The successes are done; the failure is done again, and its success removes the files of the failure.
    desk.write("library/top.mov", "three");
    let said = desk.run_with(&["run", "run.toml", "--skip-done", "--json"]);
    said.exited(0);
    assert_eq!(said.report["results"].as_array().map(Vec::len), Some(1), "{:#}", said.report);
    assert_eq!(desk.files("out"), ["library/a/film.mp4", "library/b/film.mp4", "library/top.mp4"]);
    // The result of a changed input replaces the earlier one; the others are recognized.
    desk.write("library/a/film.mov", "four");
    let said = desk.run("run.toml");
    said.exited(0);
    assert_eq!(desk.files("out"), ["library/a/film.mp4", "library/b/film.mp4", "library/top.mp4"]);
    assert_eq!((desk.read("out/library/a/film.mp4"), &said.report["replaced"]), ("four".into(), &1.into()));
}

#[test]
fn a_name_of_two_results_is_found_before_the_run_or_reported_after_it() {
    let desk = desk();
    desk.write("library/a/film.avi", "other").write("library/top.mov", "fine");
    let said = desk.run("run.toml");
    said.exited(0);
    let results = said.report["results"].to_string();
    assert!(
        said.report["beside"] == 1 && results.contains("library/a/film.mp4 is the result of library/a/film."),
        "{results}"
    );
    assert!(desk.files("out").contains(&"library/a/film~2.mp4".to_owned()), "{:?}", desk.files("out"));
    // With a placeholder in place of a wildcard, the plan reports it.
    let text = desk.read("run.toml").replace("*.mp4", "{stem}.mp4");
    desk.write("run.toml", text);
    let (exit, stderr) = desk.refused(&["plan", "run.toml"]);
    let expected = "library/a/film.avi and library/a/film.mov would both have the result library/a/film.mp4";
    assert!(exit == Some(2) && stderr.contains(expected), "{exit:?} {stderr}");
    std::fs::remove_file(desk.path("library/a/film.avi")).unwrap();
    desk.run("run.toml").exited(0);
}
