//! Whole runs on the embedded service, with real processes, as users start them.

mod common;

use common::{Desk, run_file};
use rustix::process::Signal;

const COUNT: &str = r#"["/bin/sh", "-c", "wc -l < \"$DROPMILL_INPUT\" > lines.txt; echo counted >&2"]"#;

fn counting(more: &str) -> String {
    run_file(COUNT, more).replace("command =", "outputs = [\"lines.txt\"]\ncommand =")
}

#[test]
fn every_input_has_its_result_and_nothing_is_left() {
    let desk = Desk::new();
    desk.write("data/a.txt", "1\n2\n3\n").write("data/deep/b.txt", "1\n").write("data/empty.txt", "");
    desk.write("run.toml", counting(""));
    let said = desk.run("run.toml");
    said.exited(0);
    for (input, lines) in [("a.txt", "3"), ("deep/b.txt", "1"), ("empty.txt", "0")] {
        assert_eq!(desk.read(format!("out/data/{input}/lines.txt")).trim(), lines, "{input}");
        assert_eq!(desk.read(format!("out/data/{input}/stdout.txt")), "");
        assert_eq!(desk.read(format!("out/data/{input}/stderr.txt")), "counted\n");
    }
    assert_eq!(desk.files("out").len(), 9, "{:?}", desk.files("out"));
    assert_eq!(said.report["outcome"], "succeeded");
    assert_eq!(said.report["tasks"]["succeeded"], 3);
    assert_eq!(said.of("task_closed").len(), 3);
    for kind in ["job_deleted", "pool_deleted"] {
        assert_eq!(said.of(kind).len(), 1, "{kind}");
    }
    assert_eq!(said.of("container_deleted").len(), 2);
    assert_eq!(desk.processes(), Vec::<String>::new());
    let left: Vec<_> = desk.files("state").into_iter().filter(|file| file.contains("/service/")).collect();
    assert_eq!(left, Vec::<String>::new(), "the embedded service left files");
}

#[test]
fn a_second_run_and_two_concurrent_runs_do_not_affect_each_other() {
    let desk = Desk::new();
    desk.write("data/a.txt", "1\n2\n");
    desk.write("run.toml", counting(""));
    desk.run("run.toml").exited(0);
    desk.run("run.toml").exited(0);
    assert_eq!(desk.files("out"), ["data/a.txt/lines.txt", "data/a.txt/stderr.txt", "data/a.txt/stdout.txt"]);
    let (one, other) = (desk.start("run.toml"), desk.start("run.toml"));
    let (one, other) = (one.end(), other.end());
    one.exited(0);
    other.exited(0);
    assert_ne!(one.report["run"], other.report["run"]);
}

#[test]
fn results_that_differ_are_kept_side_by_side() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    let command = r#"["/bin/sh", "-c", "echo $DROPMILL_RUN > run.txt"]"#;
    desk.write(
        "run.toml",
        run_file(command, "existing = \"keep-both\"")
            .replace("command =", "outputs = [\"*.txt\"]\ncommand ="),
    );
    let first = desk.run("run.toml");
    let second = desk.run("run.toml");
    assert_eq!(desk.read("out/data/a.txt/run.txt").trim(), first.exited(0).report["run"].as_str().unwrap());
    assert_eq!(
        desk.read("out/data/a.txt~2/run.txt").trim(),
        second.exited(0).report["run"].as_str().unwrap()
    );
}

#[test]
fn hostile_file_names_are_never_executed() {
    let desk = Desk::new();
    let names = [
        "a & whoami $(id) 'x\" %PATH% ü.txt",
        "-rf",
        "line\nbreak.txt",
        "`touch canary`;touch canary.txt",
        "x/a.txt",
        "y/a.txt",
        "y/A.txt",
        "{input}.txt",
        "tab\there",
        " leading and trailing ",
        "back\\slash",
    ];
    for name in names {
        desk.write(format!("data/{name}"), name);
    }
    let command = r#"["/bin/sh", "-c", "cat \"$DROPMILL_INPUT\" > copy.txt; printf %s \"$1\" > argument.txt", "sh", "{input}"]"#;
    desk.write("run.toml", run_file(command, "").replace("command =", "outputs = [\"*.txt\"]\ncommand ="));
    let said = desk.run("run.toml");
    said.exited(0);
    for name in names {
        assert_eq!(desk.read(format!("out/data/{name}/copy.txt")), name, "{name:?}");
        let argument = desk.read(format!("out/data/{name}/argument.txt"));
        let base = name.rsplit('/').next().unwrap();
        assert_eq!(argument.strip_prefix("./").unwrap_or(&argument), base, "{name:?}");
    }
    let canaries: Vec<_> = desk.files("").into_iter().filter(|file| file.ends_with("/canary")).collect();
    assert_eq!(canaries, Vec::<String>::new(), "a name was run by a shell");
}

#[test]
fn no_output_reaches_the_staging_folder_of_another_task_and_none_is_lost() {
    for layout in ["flat", "by-input"] {
        let desk = Desk::new();
        desk.write("data/a.txt", "a").write("data/b.txt", "b").write("data/.dropmill-x/c.txt", "c");
        // Each task writes files to the staging folders of all others, in several spellings.
        let command = r#"["/bin/sh", "-c", "for task in $TASKS; do for ours in .dropmill .DROPMILL; do mkdir -p $ours-$DROPMILL_RUN/$task; cp \"$DROPMILL_INPUT\" $ours-$DROPMILL_RUN/$task/$DROPMILL_INPUT_NAME; cp \"$DROPMILL_INPUT\" $ours-$DROPMILL_RUN/$task/stdout.txt; done; done; cp \"$DROPMILL_INPUT\" own-$DROPMILL_INPUT_NAME"]"#;
        let file = run_file(command, &format!("layout = \"{layout}\"\n[task.env]\nTASKS = \"none\"\n"));
        let file = file
            .replace("command =", "outputs = [\".dropmill-*/**\", \".DROPMILL-*/**\", \"own-*\"]\ncommand =");
        let file = file.replace("**/*\"]", "**/*\", \"data/.dropmill-x/*\"]");
        desk.write("run.toml", &file);
        let plan = desk.output(&["plan", "run.toml", "--json"]);
        let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
        let tasks = plan["items"].as_array().unwrap().iter().map(|item| item["task"].as_str().unwrap());
        let tasks: Vec<&str> = tasks.collect();
        assert_eq!(tasks.len(), 3, "{plan:#}");
        desk.write("run.toml", file.replace("\"none\"", &format!("\"{}\"", tasks.join(" "))));
        let said = desk.run("run.toml");
        said.exited(0);
        let run = said.report["run"].as_str().unwrap();
        let (mut expected, found) = (vec![], desk.files("out"));
        for (name, input) in [("a.txt", "a.txt"), ("b.txt", "b.txt"), ("c.txt", "%2Edropmill-x/c.txt")] {
            let folder = if layout == "flat" { String::new() } else { format!("data/{input}/") };
            for task in &tasks {
                for ours in ["%2Edropmill", "%2EDROPMILL"] {
                    expected.push(format!("{folder}{ours}-{run}/{task}/{name}"));
                    if layout == "by-input" {
                        expected.push(format!("{folder}{ours}-{run}/{task}/stdout.txt"));
                    }
                }
            }
            expected.push(format!("{folder}own-{name}"));
            let stream = if layout == "flat" { format!("{name}.") } else { folder };
            expected.extend(["stdout.txt", "stderr.txt"].map(|kind| format!("{stream}{kind}")));
        }
        if layout == "flat" {
            // All three tasks have this file: all versions are kept under different names.
            for (task, ours) in tasks.iter().flat_map(|task| [(task, "%2Edropmill"), (task, "%2EDROPMILL")]) {
                let stdout = ["stdout.txt", "stdout~2.txt", "stdout~3.txt"];
                expected.extend(stdout.map(|name| format!("{ours}-{run}/{task}/{name}")));
            }
        }
        expected.sort();
        assert_eq!(found, expected, "{layout}");
        for path in found.iter().filter(|path| path.ends_with("/a.txt") || path.contains("own-a")) {
            assert_eq!(desk.read(format!("out/{path}")), "a", "{layout} {path}");
        }
    }
}

#[test]
fn a_failed_task_reports_the_cause_and_its_outputs_are_delivered() {
    let desk = Desk::new();
    desk.write("data/good.txt", "good").write("data/bad.txt", "bad");
    let command = r#"["/bin/sh", "-c", "echo said; echo wrong >&2; echo kept > part.txt; grep -q good \"$DROPMILL_INPUT\" || exit 3"]"#;
    desk.write("run.toml", run_file(command, "").replace("command =", "outputs = [\"part.txt\"]\ncommand ="));
    let said = desk.run("run.toml");
    said.exited(1);
    assert_eq!(desk.read("out/data/bad.txt/part.txt"), "kept\n");
    assert_eq!(desk.read("out/data/bad.txt/stdout.txt"), "said\n");
    assert_eq!(desk.read("out/data/bad.txt/stderr.txt"), "wrong\n");
    assert_eq!(said.report["outcome"], "tasks_failed");
    assert_eq!(
        (said.report["tasks"]["succeeded"].as_u64(), said.report["tasks"]["failed"].as_u64()),
        (Some(1), Some(1))
    );
    let failed = said.of("task_closed").into_iter().find(|closed| closed["verdict"] == "failed").unwrap();
    assert_eq!(failed["cause"], "exit code 3");
    assert_eq!(failed["stderr_tail"], "wrong");
    let people = desk.output(&["run", "run.toml"]);
    let text =
        String::from_utf8_lossy(&people.stdout).into_owned() + &String::from_utf8_lossy(&people.stderr);
    for word in ["data/bad.txt", "exit code 3", "wrong"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

/// Fails twice and leaves a file each time, then succeeds with its own result; prints what it found before.
const THIRD_TIME_LUCKY: &str = r#"["/bin/sh", "-c", """
echo x >> COUNTER; try=$(wc -l < COUNTER)
found=$(ls); echo "$found" > found-$try.txt; echo $try > r.txt
echo tried $try >&2; test $try -ge 3 || exit 7
"""]"#;

#[test]
fn each_attempt_begins_in_an_empty_folder_and_only_the_last_result_is_delivered() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    desk.write("tries", "");
    let command = THIRD_TIME_LUCKY.replace("COUNTER", &desk.path("tries").display().to_string());
    let keys = "outputs = [\"found-*\", \"r.txt\"]\nmax_retries = 3\ncommand =";
    desk.write("run.toml", run_file(&command, "").replace("command =", keys));
    let said = desk.run("run.toml");
    said.exited(0);
    let retries: Vec<_> = said.of("task_ended").iter().map(|ended| ended["retries"].clone()).collect();
    assert_eq!(retries, [0, 1, 2]);
    let retried: Vec<_> = said
        .of("task_retried")
        .iter()
        .map(|retry| (retry["attempt"].clone(), retry["cause"].clone()))
        .collect();
    assert_eq!(retried, [(2.into(), "exit code 7".into()), (3.into(), "exit code 7".into())]);
    assert_eq!(said.report["results"][0]["retries"], 2);
    let folder = desk.path("out/data/a.txt");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let streams = ["1.stderr", "1.stdout", "2.stderr", "2.stdout"].map(|of| format!("attempt-{of}.txt"));
    let last = ["found-3.txt", "r.txt", "stderr.txt", "stdout.txt"].map(str::to_owned);
    assert_eq!(names, [&streams[..], &last[..]].concat());
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    // The input is there, and nothing from an earlier attempt.
    assert_eq!(read("found-3.txt"), "a.txt\n");
    assert_eq!(
        ["attempt-1.stderr.txt", "attempt-2.stderr.txt", "stderr.txt"].map(read),
        ["tried 1\n", "tried 2\n", "tried 3\n"]
    );
}

#[test]
fn after_its_last_attempt_a_task_has_failed_and_its_streams_are_kept() {
    let desk = Desk::new();
    for name in ["a.txt", "b.txt"] {
        desk.write(format!("data/{name}"), "");
    }
    let command = r#"["/bin/sh", "-c", "echo $AZ_BATCH_TASK_ID >&2; exit 7"]"#;
    let flat = "[output]\nlayout = \"flat\"\ndirectory = \"out\"";
    let text = run_file(command, "").replace("command =", "max_retries = 1\ncommand =");
    let text = text.replace("[output]\ndirectory = \"out\"", flat);
    desk.write("run.toml", &text);
    let said = desk.run("run.toml");
    said.exited(1);
    assert_eq!(said.of("task_retried").len(), 2);
    assert_eq!(said.of("task_closed")[0]["cause"], "exit code 7");
    let folder = desk.path("out/.failed/data/a.txt");
    let id = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap().trim().to_owned();
    let first = id("attempt-1.stderr.txt");
    assert_eq!(id("stderr.txt"), format!("{first}-2"));
}

#[test]
fn a_start_task_that_fails_ends_the_run_with_its_stderr() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    let application = "[application]\nstart_task = \"echo no licence >&2; exit 7\"";
    desk.write("run.toml", counting(application));
    let said = desk.run("run.toml");
    said.exited(3);
    let failed = said.of("start_task_failed");
    assert!(!failed.is_empty());
    assert_eq!(failed[0]["exit_code"], 7);
    assert_eq!(failed[0]["stderr_tail"], "no licence");
    assert_eq!(said.of("pool_deleted").len(), 1);
    assert_eq!(said.of("deadline_passed").len(), 0, "it was seen, not waited for");
}

#[test]
fn a_missing_command_and_a_missing_output_fail_with_their_names() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    // Only a start task lets a run begin whose program does not exist: it may install it.
    let start_task = "[application]\nstart_task = \"true\"";
    desk.write("missing.toml", run_file(r#"["/no/such/program"]"#, start_task));
    let said = desk.run("missing.toml");
    said.exited(1);
    let cause = said.of("task_closed")[0]["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains("CommandProgramNotFound") && cause.contains("/no/such/program"), "{cause}");
    desk.write(
        "short.toml",
        run_file(r#"["/bin/true"]"#, "").replace("command =", "outputs = [\"*.csv\"]\ncommand ="),
    );
    let said = desk.run("short.toml");
    said.exited(1);
    let cause = said.of("task_closed")[0]["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains("*.csv"), "{cause}");
}

#[test]
fn a_task_is_ended_at_its_time_limit() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    let command = r#"["/bin/sh", "-c", "sleep 600 & sleep 600"]"#;
    desk.write("run.toml", run_file(command, "").replace("command =", "timeout = \"1s\"\ncommand ="));
    let said = desk.run("run.toml");
    said.exited(1);
    assert_eq!(said.of("task_ended")[0]["failure_code"], "TaskEnded");
    assert_eq!(desk.processes(), Vec::<String>::new());
}

#[test]
fn a_deadline_ends_the_run_and_finished_results_are_delivered() {
    let desk = Desk::new();
    desk.write("data/quick.txt", "").write("data/slow.txt", "slow");
    let command = r#"["/bin/sh", "-c", "if test -s \"$DROPMILL_INPUT\"; then sleep 600; fi; echo done"]"#;
    desk.write(
        "run.toml",
        run_file(command, "").replace("name = \"lines\"", "name = \"lines\"\ndeadline = \"3s\""),
    );
    let said = desk.run("run.toml");
    said.exited(4);
    assert_eq!(desk.read("out/data/quick.txt/stdout.txt"), "done\n");
    assert_eq!(said.report["outcome"], "deadline");
    assert_eq!(said.of("pool_deleted").len(), 1);
    assert_eq!(desk.processes(), Vec::<String>::new());
}

#[test]
fn ctrl_c_ends_tasks_and_pool_and_delivers_finished_results() {
    let desk = Desk::new();
    desk.write("data/quick.txt", "").write("data/slow.txt", "slow");
    let command = r#"["/bin/sh", "-c", "if test -s \"$DROPMILL_INPUT\"; then sleep 600; fi; echo done"]"#;
    desk.write("run.toml", run_file(command, ""));
    let mut going = desk.start("run.toml");
    going.until("output_delivered");
    going.signal(Signal::INT);
    let said = going.end();
    said.exited(130);
    assert_eq!(desk.read("out/data/quick.txt/stdout.txt"), "done\n");
    assert_eq!(said.of("pool_deleted").len(), 1);
    assert_eq!(said.report["tasks"]["unfinished"], 1);
    assert_eq!(desk.processes(), Vec::<String>::new());
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    let desk = Desk::new();
    desk.write("data/slow.txt", "slow");
    // It ignores the request to end.
    let command = r#"["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"]"#;
    desk.write("run.toml", run_file(command, ""));
    let mut going = desk.start("run.toml");
    going.until("task_submitted");
    going.until("task_running");
    going.signal(Signal::INT);
    going.until("end_asked");
    going.signal(Signal::INT);
    going.end().exited(130);
    assert_eq!(desk.processes(), Vec::<String>::new());
}

#[test]
fn a_task_with_too_many_output_files_fails_with_that_reason() {
    let desk = Desk::new();
    desk.write("data/few.txt", "3").write("data/many.txt", "4");
    let command = r#"["/bin/sh", "-c", "for i in $(seq $(cat \"$DROPMILL_INPUT\")); do : > $i.out; done"]"#;
    let text = run_file(command, "[limits]\nresult_files = 5\n");
    desk.write("run.toml", text.replace("[pool]", "outputs = [\"*.out\"]\n[pool]"));
    // Standard output and error count too.
    let said = desk.run("run.toml");
    said.exited(1);
    assert_eq!(desk.files("out").iter().filter(|path| path.ends_with(".out")).count(), 3);
    let results = said.report["results"].as_array().unwrap();
    let many = results.iter().find(|result| result["input"].as_str().unwrap().contains("many")).unwrap();
    assert!(many["cause"].as_str().unwrap().contains("more than 5 output files"), "{many:#}");
}
