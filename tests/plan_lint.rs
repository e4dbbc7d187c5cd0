//! What `plan` and `run` report of mistakes that let every task fail, in folders of people who meet the program for the first time.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt};

/// A run file over `data/*` with these lines in its sections.
fn run_file(task: &str, more: &str) -> String {
    format!("[run]\nname = \"new\"\n\n[input]\nfiles = [\"data/*\"]\n\n[task]\n{task}\n\n{more}\n")
}

fn stderr_of(desk: &Desk, arguments: &[&str], code: i32) -> String {
    let output = desk.output(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    stderr
}

#[test]
fn a_script_that_no_task_gets_stops_the_run_before_anything_starts_and_the_line_to_write_helps() {
    let desk = Desk::new();
    // A shell stands in for Python.
    desk.write("bin/python3", "#!/bin/sh\nexec /bin/sh \"$@\"\n").write("work.py", "cat \"$1\" > r.txt\n");
    fs::set_permissions(desk.path("bin/python3"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("\nenv = {{ PATH = \"{}:/usr/bin:/bin\" }}", desk.path("bin").display());
    for number in 0..200 {
        desk.write(format!("data/{number}.csv"), "a");
    }
    let task = "command = [\"python3\", \"work.py\", \"{input}\"]\noutputs = [\"r.txt\"]".to_owned() + &path;
    desk.write("run.toml", run_file(&task, ""));
    let expected = "run.toml:8: task.command: work.py lies beside the run file, but tasks run in folders of their own and do not get \
                    it: write application.files = [\"work.py\"]\n";
    for command in ["plan", "run"] {
        assert_eq!(stderr_of(&desk, &[command, "run.toml"], 2), expected);
    }
    assert!(!desk.path("state").exists() && !desk.path("out").exists(), "something was begun");
    desk.write(
        "run.toml",
        run_file(&task, "[application]\nfiles = [\"work.py\"]\n\n[pool]\nslots_per_node = 4"),
    );
    let said = desk.run_with(&["run", "run.toml", "--limit", "3", "--json"]);
    said.exited(0);
    assert_eq!(desk.read("out/data/0.csv/r.txt"), "a");
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_lines_and_warnings_stop_nothing() {
    let desk = Desk::new();
    desk.write("data/a", "a").write("tool", "echo\n").write("model.bin", "m").write("blocked", "");
    fs::set_permissions(desk.path("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let task = "command = [\"./tool\", \"{inptu}\", \"model.bin\", \"$DROPMILL_INPUT\"]\noutputs = [\"./x\"]";
    let more = "[application]\nfiles = [\"tool\"]\n\n[output]\ndirectory = \"blocked\"\n\n[service]\nbatch_account = \"a\"\n\n\
                [notify]\nurl = \"http://127.0.0.1:9/\"\nsecret = { env = \"NO_SUCH_SECRET\" }";
    desk.write("run.toml", run_file(task, more));
    let plan = stderr_of(&desk, &["plan", "run.toml"], 2);
    for line in [
        "run.toml:8: task.command: argument 1: unknown placeholder {inptu}; did you mean {input}?",
        "run.toml:8: task.command: tool is a script without a first line such as #!/bin/sh",
        "run.toml:8: warning: task.command: model.bin lies beside the run file",
        "run.toml:8: warning: task.command: ./tool gets \"$DROPMILL_INPUT\" as it stands",
        "run.toml:9: task.outputs: ",
        "run.toml:15: output.directory: ",
        "run.toml:18: warning: service.batch_account: it has no effect with service.kind = \"embedded\"",
        "run.toml:22: notify.secret: the environment has no variable NO_SUCH_SECRET",
    ] {
        assert!(plan.lines().any(|found| found.starts_with(line)), "{line}\n{plan}");
    }
    let output = desk.output(&["plan", "run.toml", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let of = |severity: &str| findings.iter().filter(|finding| finding["severity"] == severity).count();
    assert_eq!((of("error"), of("warning")), (5, 3), "{json:#}");
    assert_eq!(findings[0]["file"], "run.toml");
    assert_eq!((&findings[0]["line"], &findings[0]["key"]), (&8.into(), &"task.command".into()));
    assert!(json.get("items").is_none(), "there is no plan");
}

#[test]
fn a_run_prints_its_warnings_once_and_its_plan_has_them() {
    let desk = Desk::new();
    desk.write("data/a", "a").write("data/b", "b").write("model.bin", "m");
    desk.write("run.toml", run_file("command = [\"echo\", \"{input}\", \"model.bin\"]", ""));
    let warning = "run.toml:8: warning: task.command: model.bin lies beside the run file";
    let stderr = stderr_of(&desk, &["run", "run.toml"], 0);
    assert_eq!(stderr.matches(warning).count(), 1, "{stderr}");
    let output = desk.output(&["plan", "run.toml", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["findings"][0]["severity"], "warning", "{json:#}");
    assert_eq!(json["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_plan_for_this_machine_speaks_of_this_machine() {
    let desk = Desk::new();
    desk.write("data/a", "a")
        .write("run.toml", run_file("command = [\"true\"]", "[pool]\nnodes = 2\nslots_per_node = 1"));
    let plan = |more: &[&str]| {
        let output = desk.output(&[&["plan", "run.toml"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let local = plan(&[]);
    assert!(
        local.starts_with("new on this machine\npool      2 nodes, 1 slot each, created for this run\n"),
        "{local}"
    );
    assert!(!local.contains("STANDARD") && !local.contains("embedded"), "{local}");
    let disk = local.lines().find(|line| line.starts_with("disk")).unwrap();
    assert!(disk.contains(" at most for inputs in ") && disk.contains("/state, "), "{disk}");
    assert!(local.contains(&format!("all results in {}", desk.path("out").display())), "{local}");
    desk.write("key", "a2V5");
    fs::set_permissions(desk.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let set = |pair: &'static str| ["--set", pair];
    let azure = [
        set("service.kind='azure'"),
        set("service.batch_endpoint='https://b.example'"),
        set("service.batch_account='a'"),
        set("service.batch_key={file='key'}"),
        set("service.blob_endpoint='https://s.example'"),
        set("service.storage_account='a'"),
        set("service.storage_key={file='key'}"),
    ];
    let azure = plan(&azure.concat());
    assert!(azure.contains("2 nodes of STANDARD_D2S_V5"), "{azure}");
}

#[test]
fn a_drop_folder_whose_files_would_all_fail_is_not_watched() {
    let desk = Desk::new();
    fs::create_dir(desk.path("drop")).unwrap();
    desk.write("work.py", "");
    desk.write(
        "watch.toml",
        run_file("command = [\"sh\", \"work.py\", \"{input}\"]", "[watch]\ndirectory = \"drop\""),
    );
    let (code, stderr) = desk.refused(&["watch", "watch.toml"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("watch.toml:8: task.command: work.py lies beside the run file"), "{stderr}");
}

#[test]
fn a_state_folder_that_cannot_be_used_is_found_by_the_plan() {
    let desk = Desk::new();
    desk.write("data/a", "a")
        .write("state", "a file")
        .write("run.toml", run_file("command = [\"true\"]", ""));
    let stderr = stderr_of(&desk, &["plan", "run.toml"], 2);
    assert!(
        stderr.contains("run.toml: state folder: ") && stderr.contains("name another with --state"),
        "{stderr}"
    );
}

#[test]
fn an_argument_that_names_one_of_the_inputs_should_be_a_placeholder() {
    let desk = Desk::new();
    desk.write("data/a", "a").write("data/b", "b");
    desk.write("run.toml", run_file("command = [\"true\", \"data/a\"]", ""));
    let stderr = stderr_of(&desk, &["plan", "run.toml"], 0);
    assert!(
        stderr.contains("warning: task.command: data/a is the input of one task")
            && stderr.contains("write {input}"),
        "{stderr}"
    );
    desk.write("run.toml", run_file("shell = \"cat data/a\"", ""));
    let stderr = stderr_of(&desk, &["plan", "run.toml"], 0);
    assert!(stderr.contains("write \"$DROPMILL_INPUT\""), "{stderr}");
}

#[test]
fn a_line_for_another_section_at_the_end_of_a_file_is_reported_with_its_place() {
    let desk = Desk::new();
    desk.write("data/a", "a")
        .write("run.toml", run_file("command = [\"true\"]", "application.files = [\"work.py\"]"));
    let stderr = stderr_of(&desk, &["plan", "run.toml"], 2);
    let expected = "run.toml:10: task.application: unknown key; application is a section of its own: write [application]";
    assert!(stderr.starts_with(expected), "{stderr}");
}
