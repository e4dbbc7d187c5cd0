//! Tasks for several inputs (`input.per_task`), as whole runs.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use serde_json::Value;
use std::{fs, io::Write, process::Stdio};

/// A run file around an `[input]` section and a `[task]` section.
fn run_file(input: &str, task: &str) -> String {
    format!(
        "[run]\nname = \"job\"\n[input]\n{input}\n[task]\n{task}\n[pool]\nslots_per_node = 4\n[output]\ndirectory = \"out\"\n"
    )
}

/// Writes each input in capitals as `<stem>.up`; an input that holds `bad` fails the whole command.
const UPPER: &str = "command = [\"sh\", \"-c\", \"for f; do grep -q bad \\\"$f\\\" && exit 3; b=$(basename \\\"$f\\\" .txt); tr a-z A-Z < \\\"$f\\\" > \\\"$b.up\\\"; done; \
                     echo $#\", \"sh\", \"{inputs}\"]\noutputs = [\"{stem}.up\"]";

fn desk_with(names: &[&str]) -> Desk {
    let desk = Desk::new();
    for name in names {
        desk.write(format!("d/{name}.txt"), format!("{name}\n"));
    }
    desk
}

fn inputs_of(events: &[&Value]) -> Vec<String> {
    events.iter().map(|event| event["input"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_input_of_a_task_has_its_own_result_and_a_bad_one_fails_alone() {
    let desk = desk_with(&["a", "b b", "c", "e", "f"]);
    desk.write("d/-bad.txt", "bad\n").write("d/sub/g.txt", "g\n");
    desk.write("run.toml", run_file("files = [\"d/**/*.txt\"]\nper_task = 3", UPPER));
    let said = desk.run("run.toml");
    said.exited(1);
    let tasks = &said.report["tasks"];
    assert_eq!((&tasks["total"], &tasks["succeeded"], &tasks["failed"]), (&7.into(), &6.into(), &1.into()));
    let chunks = &said.report["chunks"];
    assert_eq!((&chunks["total"], &chunks["inputs"], &chunks["split"]), (&2.into(), &6.into(), &1.into()));
    // Three tasks in place of seven; the bad input and the two beside it follow as tasks of their own.
    assert_eq!(said.of("task_submitted").len(), 3 + 3);
    assert_eq!((said.of("task_split").len(), said.of("chunk_closed").len()), (1, 1));
    assert_eq!(
        (desk.read("out/d/a.txt/a.up"), desk.read("out/d/b b.txt/b b.up")),
        ("A\n".into(), "B B\n".into())
    );
    assert_eq!(desk.read("out/d/sub/g.txt/g.up"), "G\n");
    let failed =
        said.report["results"].as_array().unwrap().iter().filter(|result| result["verdict"] == "failed");
    let failed: Vec<_> =
        failed.map(|result| (result["input"].clone(), result["exit_code"].clone())).collect();
    assert_eq!(failed, [("d/-bad.txt".into(), 3.into())]);
    assert!(desk.files("out").iter().all(|path| !path.ends_with("-bad.up")), "{:?}", desk.files("out"));
    assert_eq!(desk.read("out/d/c.txt..f.txt/stdout.txt"), "3\n", "the streams are the task's");

    // Each input has a task of its own afterwards: the bad one is run again, the others are done.
    let done = desk.output(&["plan", "run.toml", "--skip-done"]);
    let done = String::from_utf8(done.stdout).unwrap();
    assert!(done.contains("1 of 7 inputs to run, 6 done"), "{done}");
    desk.write("d/-bad.txt", "good\n").write("d/a.txt", "changed\n");
    let again = desk.run_with(&["run", "run.toml", "--skip-done", "--json"]);
    again.exited(0);
    assert_eq!(inputs_of(&again.of("input_uploaded")), ["d/-bad.txt..a.txt"], "the two are one task now");
    assert_eq!(desk.read("out/d/a.txt/a.up"), "CHANGED\n");
}

#[test]
fn retry_groups_what_failed_anew() {
    let desk = desk_with(&["a", "b", "c", "e"]);
    for name in ["a", "e"] {
        desk.write(format!("d/{name}.txt"), "bad\n");
    }
    desk.write("run.toml", run_file("files = [\"d/*.txt\"]\nper_task = 2", UPPER));
    let said = desk.run("run.toml");
    said.exited(1);
    assert_eq!(said.of("task_split").len(), 2);
    for name in ["a", "e"] {
        desk.write(format!("d/{name}.txt"), "good\n");
    }
    let run = said.report["run"].as_str().unwrap().to_owned();
    let retried = desk.run_with(&["retry", &run, "--json"]);
    retried.exited(0);
    assert_eq!(inputs_of(&retried.of("input_uploaded")), ["d/a.txt..e.txt"]);
    assert_eq!(
        (desk.read("out/d/a.txt/a.up"), desk.read("out/d/b.txt/b.up")),
        ("GOOD\n".into(), "B\n".into())
    );
    assert!(desk.files("out").iter().all(|path| !path.contains('~')), "{:?}", desk.files("out"));
}

#[test]
fn without_a_placeholder_in_outputs_the_result_is_that_of_the_task() {
    let desk = desk_with(&["a", "b", "c"]);
    let task = "shell = \"while read -r f; do cat \\\"$f\\\"; done < \\\"$DROPMILL_INPUTS\\\" > all; \
                xargs -0 -n1 basename < \\\"$DROPMILL_INPUTS0\\\" > names\"\noutputs = [\"all\", \"names\"]";
    desk.write("run.toml", run_file("files = [\"d/*.txt\"]\nper_task = 2", task));
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/d/a.txt..b.txt/all"), "a\nb\n");
    assert_eq!(desk.read("out/d/a.txt..b.txt/names"), "a.txt\nb.txt\n");
    assert_eq!(desk.read("out/d/c.txt/all"), "c\n", "a task for one input is that input's");
    let done = || String::from_utf8(desk.output(&["plan", "run.toml", "--skip-done"]).stdout).unwrap();
    assert!(done().contains("0 of 3 inputs to run"), "{}", done());
    desk.write("d/b.txt", "changed\n");
    assert!(done().contains("2 of 3 inputs to run"), "one result is made of both: {}", done());
}

#[test]
fn an_output_beside_its_input_belongs_to_it() {
    let desk = desk_with(&["a", "[b]"]);
    desk.write("d/sub/a.txt", "sub\n");
    let task = "command = [\"sh\", \"-c\", \"for f; do cp \\\"$f\\\" \\\"$f.copy\\\"; done\", \"sh\", \"{inputs}\"]\noutputs = [\"{input}.copy\"]";
    desk.write("run.toml", run_file("files = [\"d/**/*.txt\"]\nper_task = 2", task));
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/d/a.txt/a.txt.copy"), "a\n");
    assert_eq!(desk.read("out/d/[b].txt/[b].txt.copy"), "[b]\n");
    assert_eq!(desk.read("out/d/sub/a.txt/a.txt.copy"), "sub\n", "alone in its task");
}

#[test]
fn lines_are_arguments_and_rows_are_a_list_of_objects() {
    let desk = Desk::new();
    let task = "command = [\"sh\", \"-c\", \"for l; do echo \\\"<$l>\\\" > \\\"r-$l\\\"; done\", \"sh\", \"{inputs}\"]\noutputs = [\"r-{line}\"]";
    desk.write("lines.toml", run_file("lines = \"-\"\nper_task = 10", task));
    let mut command = desk.dropmill(&["run", "lines.toml", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one two\n$(id)\n-n\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        (desk.read("out/one two/r-one two"), desk.read("out/$(id)/r-$(id)")),
        ("<one two>\n".into(), "<$(id)>\n".into())
    );

    desk.write("s.csv", "sample,bam\nA,in/a.bam\nB,in/b.bam\n")
        .write("in/a.bam", "aa")
        .write("in/b.bam", "bb");
    let input = "table = \"s.csv\"\ntable_files = [\"bam\"]\nper_task = 2\n[input.sweep]\nx = [1, 2]";
    desk.write(
        "rows.toml",
        run_file(
            input,
            "shell = \"cp \\\"$DROPMILL_ROWS\\\" rows; cat */in/a.bam > a\"\noutputs = [\"rows\", \"a\"]",
        ),
    );
    let said = desk.run("rows.toml");
    said.exited(1);
    let files = desk.files("out");
    let rows = files
        .iter()
        .find(|path| path.ends_with("x=2/rows") || path.contains("..") && path.ends_with("/rows"));
    let rows =
        fs::read_to_string(desk.path("out").join(rows.unwrap_or_else(|| panic!("{files:?}")))).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["sample"], &rows[0]["x"], &rows[1]["x"]), (&"A".into(), &"1".into(), &"2".into()));
    assert!(rows[0]["bam"].as_str().unwrap().ends_with("/in/a.bam"), "{rows:?}");
    assert_eq!(said.report["tasks"]["failed"], 2, "the rows of B have no a.bam");
}

#[test]
fn a_run_goes_on_after_a_kill_between_its_tasks() {
    let desk = desk_with(&["a", "b", "c", "bad"]);
    desk.write("d/bad.txt", "bad\n").write("gate", "");
    let gate = desk.path("gate").display().to_string();
    let task = UPPER
        .replace("for f; do", &format!("for f; do while [ -e {gate} ] && [ $# = 1 ]; do sleep 0.05; done;"));
    desk.write("run.toml", run_file("files = [\"d/*.txt\"]\nper_task = 4", &task));
    let mut going = desk.start("run.toml");
    going.until("task_split");
    going.kill();
    fs::remove_file(gate).unwrap();
    let said = desk.run_with(&["run", "run.toml", "--resume", "--json"]);
    said.exited(1);
    assert_eq!((&said.report["tasks"]["succeeded"], &said.report["tasks"]["failed"]), (&3.into(), &1.into()));
    assert_eq!(said.report["chunks"]["split"], 1);
    assert_eq!(desk.read("out/d/c.txt/c.up"), "C\n");
}

#[test]
fn what_a_task_for_several_inputs_cannot_have_is_refused_all_at_once() {
    let desk = desk_with(&["a", "b"]);
    desk.write("d/x/a.txt", "").write("l.txt", "x\n").write("s.csv", "k,v\n1,2\n");
    for (input, task, expected) in [
        (
            "files = [\"d/*.txt\"]\nper_task = 0",
            "command = [\"true\"]",
            vec!["input.per_task: it must be from 1 to 10000"],
        ),
        (
            "files = [\"d/*.txt\"]\nper_task = 2",
            "command = [\"true\", \"{input}\", \"--in={inputs}\", \"{stm}\"]\nenv = { A = \"{stem}\" }",
            vec![
                "argument 1: a task has several inputs (input.per_task), so {input} has no single value: use {inputs} as an argument",
                "argument 2: {inputs} stands for several arguments",
                "did you mean {stem}?",
                "A: a task has several inputs",
            ],
        ),
        (
            "files = [\"d/*.txt\"]\nper_task = 2",
            "command = [\"true\", \"{inputs}\"]\nupload = \"self\"",
            vec!["input.per_task: it cannot be combined with task.upload = \"self\": remove one of the two"],
        ),
        (
            "files = [\"d/*.txt\"]\nper_task = 2",
            "command = [\"sh\", \"-c\", \"{inputs}\"]",
            vec!["use \"$@\" there"],
        ),
        (
            "files = [\"d/*.txt\"]\nper_task = 2",
            "shell = \"cat {inputs}\"",
            vec!["read the list that $DROPMILL_INPUTS names"],
        ),
        (
            "files = [\"d/*.txt\"]\nper_task = 2",
            "command = [\"true\"]\noutputs = [\"{stem}.up\", \"log\"]",
            vec!["\"log\" is the same for all inputs of a task"],
        ),
        (
            "files = [\"d/**/*.txt\"]\nper_task = 2",
            "command = [\"true\"]\noutputs = [\"{stem}.up\"]",
            vec!["d/a.txt and d/x/a.txt may be inputs of one task", "the outputs of both would be \"a.up\""],
        ),
        (
            "table = \"s.csv\"\nper_task = 2",
            "command = [\"true\", \"{inputs}\", \"{k}\"]",
            vec![
                "these inputs have several values: read the list that $DROPMILL_ROWS names",
                "{k} has no single value",
            ],
        ),
        ("files = [\"d/*.txt\"]", "command = [\"true\", \"{inputs}\"]", vec!["unknown placeholder {inputs}"]),
    ] {
        desk.write("run.toml", run_file(input, task));
        let (code, errors) = desk.refused(&["plan", "run.toml"]);
        assert_eq!(code, Some(2), "{input}: {errors}");
        for expected in expected {
            assert!(errors.contains(expected), "{input}: {expected}: {errors}");
        }
    }
    let text =
        run_file("per_task = 2", "command = [\"true\", \"{input}\"]") + "[watch]\ndirectory = \"drop\"\n";
    desk.write("drop/x", "").write("watch.toml", text);
    let (code, errors) = desk.refused(&["watch", "watch.toml"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("input.per_task: `dropmill watch` makes one task for each file"), "{errors}");
}

#[test]
fn the_plan_lists_tasks_as_they_are_submitted() {
    let desk = desk_with(&["a", "b", "c"]);
    desk.write("run.toml", run_file("files = [\"d/*.txt\"]\nper_task = 2", UPPER));
    let listed = String::from_utf8(desk.output(&["plan", "run.toml"]).stdout).unwrap();
    assert!(listed.contains("tasks     2 for 3 inputs, at most 2 each"), "{listed}");
    assert!(listed.contains("d/a.txt..b.txt (2 inputs, 4 B"), "{listed}");
    assert!(listed.contains("d/c.txt (2 B"), "{listed}");
}
