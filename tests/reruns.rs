//! Running the same job again: which tasks run, what is left unchanged, and where results go.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, run_file};
use serde_json::Value;
use std::{collections::BTreeMap, fs};

/// Copies each input, together with texts from the run file and the application.
const COPY: &str = r#"["/bin/sh", "-c", "cat \"$DROPMILL_INPUT\" > copy.txt; . ./say.sh >> copy.txt; echo $WORD >> copy.txt"]"#;

fn desk() -> Desk {
    let desk = Desk::new();
    for name in ["a", "b", "c"] {
        desk.write(format!("data/{name}.txt"), name);
    }
    desk.write("say.sh", "echo one\n");
    write_run(&desk, COPY, "red", "outputs = [\"copy.txt\"]");
    desk
}

fn write_run(desk: &Desk, command: &str, word: &str, outputs: &str) {
    let more = format!("[application]\nfiles = [\"say.sh\"]\n[task.env]\nWORD = \"{word}\"\n");
    desk.write("run.toml", run_file(&format!("{command}\n{outputs}"), &more));
}

/// Returns the reason that `plan --skip-done` prints for each input; none if it is done.
fn reasons(desk: &Desk, more: &[&str]) -> BTreeMap<String, Option<String>> {
    let output = desk.output(&[&["plan", "run.toml", "--skip-done", "--json"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let said = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    said.map(|said| {
        let input = said["input"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (input, said["why"].as_str().map(str::to_owned))
    })
    .collect()
}

/// Runs what `--skip-done` does not leave out; returns the inputs that ran.
fn skip_done(desk: &Desk) -> Vec<String> {
    let said = desk.run_with(&["run", "run.toml", "--skip-done", "--json"]);
    said.exited(0);
    assert_eq!(said.report["beside"].as_u64().unwrap_or(0), 0, "{:#}", said.report);
    let inputs = said.of("input_uploaded");
    let mut ran: Vec<String> = inputs
        .iter()
        .map(|input| input["input"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    ran.sort();
    ran
}

#[test]
fn a_rerun_with_another_command_replaces_every_result_and_reports_the_count() {
    let desk = desk();
    desk.run("run.toml").exited(0);
    write_run(&desk, COPY, "blue", "outputs = [\"copy.txt\"]");
    let said = desk.run("run.toml");
    said.exited(0);
    assert_eq!((said.report["replaced"].as_u64(), said.report["beside"].as_u64()), (Some(3), Some(0)));
    assert_eq!(desk.read("out/data/a.txt/copy.txt"), "aone\nblue\n");
    let files = desk.files("out");
    assert!(!files.iter().any(|file| file.contains('~')), "{files:?}");
    // The text report shows it too; and a file that somebody changed by hand is kept.
    desk.write("out/data/b.txt/copy.txt", "by hand");
    write_run(&desk, COPY, "green", "outputs = [\"copy.txt\"]");
    let output = desk.output(&["run", "run.toml"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("replaced    2 earlier results"), "{printed}");
    assert!(
        printed.contains("1 results were stored as") && printed.contains("data/b.txt is not from a run"),
        "{printed}"
    );
    assert_eq!(desk.read("out/data/b.txt/copy.txt"), "by hand");
    assert_eq!(desk.read("out/data/b.txt~2/copy.txt"), "bone\ngreen\n");
}

#[test]
fn results_are_recognised_as_ours_without_the_state_folder() {
    let desk = desk();
    desk.run("run.toml").exited(0);
    fs::remove_dir_all(desk.path("state")).unwrap();
    assert_eq!(skip_done(&desk), Vec::<String>::new());
    write_run(&desk, COPY, "blue", "outputs = [\"copy.txt\"]");
    assert_eq!(desk.run("run.toml").exited(0).report["replaced"], 3);
}

#[test]
fn results_of_a_release_without_a_record_are_known_from_the_journals_of_its_runs() {
    let desk = desk();
    desk.run("run.toml").exited(0);
    fs::remove_dir_all(desk.path("out/.dropmill")).unwrap();
    write_run(&desk, COPY, "blue", "outputs = [\"copy.txt\"]");
    let said = desk.run("run.toml");
    said.exited(0);
    assert_eq!(said.report["replaced"], 3, "{:#}", said.report);
}

#[test]
fn skip_done_runs_what_changed_and_nothing_else_and_plan_says_why() {
    let desk = desk();
    let all = ["a.txt", "b.txt", "c.txt"];
    assert_eq!(skip_done(&desk), all);
    assert_eq!(skip_done(&desk), Vec::<String>::new(), "nothing changed");
    let one = |input: &str, why: &str, more: &[&str]| {
        let reasons = reasons(&desk, more);
        let again: Vec<_> = reasons.iter().filter_map(|(input, why)| Some((input, why.as_ref()?))).collect();
        assert!(again.len() == 1 && again[0].0 == input && again[0].1.contains(why), "{reasons:?}");
    };
    let every = |why: &str| {
        let reasons = reasons(&desk, &[]);
        assert!(
            reasons.values().all(|said| said.as_deref().is_some_and(|said| said.contains(why))),
            "{reasons:?}"
        );
        assert_eq!(skip_done(&desk), all, "{why}");
        assert_eq!(skip_done(&desk), Vec::<String>::new(), "after {why}");
    };

    fs::remove_dir_all(desk.path("out/data/b.txt")).unwrap();
    one("b.txt", "is missing", &[]);
    assert_eq!(skip_done(&desk), ["b.txt"]);
    desk.write("out/data/c.txt/copy.txt", "");
    one("c.txt", "another length", &[]);
    assert_eq!(skip_done(&desk), ["c.txt"]);
    let content = desk.read("out/data/a.txt/copy.txt");
    desk.write("out/data/a.txt/copy.txt", content.to_uppercase());
    assert_eq!(reasons(&desk, &[]).values().flatten().count(), 0, "lengths alone do not show it");
    one("a.txt", "other content", &["--check-content"]);
    desk.write("out/data/a.txt/copy.txt", content);

    desk.write("data/a.txt", "another a");
    one("a.txt", "the input changed", &[]);
    assert_eq!(skip_done(&desk), ["a.txt"]);
    assert_eq!(desk.read("out/data/a.txt/copy.txt"), "another aone\nred\n");

    write_run(&desk, &COPY.replace("cat ", "tac "), "red", "outputs = [\"copy.txt\"]");
    every("changed since: command");
    write_run(&desk, &COPY.replace("cat ", "tac "), "blue", "outputs = [\"copy.txt\"]");
    every("changed since: environment");
    // The length is the same: only the content differs.
    desk.write("say.sh", "echo two\n");
    every("changed since: application");
    write_run(&desk, &COPY.replace("cat ", "tac "), "blue", "outputs = [\"*.txt\"]");
    every("changed since: outputs");
    desk.write("data/d.txt", "d");
    one("d.txt", "no run succeeded with it", &[]);
    assert_eq!(skip_done(&desk), ["d.txt"]);
}

#[test]
fn an_input_whose_task_failed_since_is_done_if_its_success_is_still_there() {
    let desk = desk();
    desk.run("run.toml").exited(0);
    write_run(
        &desk,
        r#"["/bin/sh", "-c", "echo half > copy.txt; exit 3"]"#,
        "red",
        "outputs = [\"copy.txt\"]",
    );
    let failed = desk.run("run.toml");
    failed.exited(1);
    assert_eq!(failed.report["beside"], 3, "{:#}", failed.report);
    assert_eq!(desk.read("out/data/a.txt/copy.txt"), "aone\nred\n");
    write_run(&desk, COPY, "red", "outputs = [\"copy.txt\"]");
    assert_eq!(skip_done(&desk), Vec::<String>::new());
    // The next success removes the output of the failures.
    desk.run("run.toml").exited(0);
    let files = desk.files("out");
    assert!(!files.iter().any(|file| file.contains('~')), "{files:?}");
}

#[test]
fn two_results_with_the_same_name_are_both_kept_and_reported() {
    for existing in ["replace-own", "replace", "keep-both"] {
        let desk = Desk::new();
        for name in ["x1", "x2", "x3"] {
            desk.write(format!("d/{name}.png"), format!("{name} png"))
                .write(format!("d/{name}.jpg"), format!("{name} jpg"));
        }
        let run = r#"["/bin/sh", "-c", "n=${DROPMILL_INPUT_NAME%.*}; cp \"$DROPMILL_INPUT\" \"$n.webp\""]
outputs = ["*.webp"]"#;
        let more = format!("layout = \"flat\"\nexisting = \"{existing}\"\n");
        desk.write("run.toml", run_file(run, &more).replace("data/**/*", "d/*"));
        let said = desk.run("run.toml");
        said.exited(0);
        let mut contents: Vec<_> = fs::read_dir(desk.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "webp"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        contents.sort();
        assert_eq!(contents, ["x1 jpg", "x1 png", "x2 jpg", "x2 png", "x3 jpg", "x3 png"], "{existing}");
        assert_eq!(said.report["beside"], 3, "{existing}: {:#}", said.report);
        let printed = said.report["results"].to_string();
        assert!(printed.contains("x1.webp is the result of d/x1."), "{printed}");
    }
    // A name that every task uses is a mistake that `plan` finds.
    let desk = desk();
    let text = desk.read("run.toml").replace("directory = \"out\"", "directory = \"out\"\nlayout = \"flat\"");
    desk.write("run.toml", text);
    let (exit, stderr) = desk.refused(&["plan", "run.toml"]);
    assert!(exit == Some(2) && stderr.contains("would both have the result copy.txt"), "{exit:?} {stderr}");
}

#[test]
fn after_an_interruption_each_command_reports_the_rest_and_how_to_run_it() {
    let desk = Desk::new();
    for name in ["a", "b"] {
        desk.write(format!("data/{name}.txt"), name);
    }
    let command = r#"["/bin/sh", "-c", "test -e \"$DESK/go\" || sleep 1000; echo $DROPMILL_INPUT_NAME > o.txt"]
outputs = ["o.txt"]"#;
    let place = desk.path(".").display().to_string();
    desk.write("run.toml", run_file(command, "") + &format!("[task.env]\nDESK = \"{place}\"\n"));
    let mut run = desk.start("run.toml");
    run.until("task_running");
    run.signal(rustix::process::Signal::INT);
    let cut = run.end();
    let name = cut.report["run"].as_str().unwrap().to_owned();
    desk.write("go", "");
    let failed = desk.output(&["retry", &name, "--failed"]);
    let printed = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        printed.contains("2 are unfinished") && printed.contains(&format!("dropmill retry {name}")),
        "{printed}"
    );
    let resumed = desk.output(&["run", "run.toml", "--resume"]);
    let printed = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(
        printed.contains(&format!("{name} was cancelled with 2 tasks undone: this is a new run")),
        "{printed}"
    );
    assert_eq!(desk.read("out/data/a.txt/o.txt"), "a.txt\n");
}
