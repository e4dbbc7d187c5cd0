//! Commands that show runs, and the local service on sockets.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, Served, on_sockets, run_file};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

fn text(desk: &Desk, arguments: &[&str]) -> String {
    let output = desk.output(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn schema(of: &str) -> jsonschema::Validator {
    let path = format!("{}/docs/schemas/{of}.json", env!("CARGO_MANIFEST_DIR"));
    jsonschema::validator_for(&serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).unwrap()
}

#[track_caller]
fn assert_valid(schema: &jsonschema::Validator, value: &Value) {
    let errors: Vec<_> = schema.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?} in {value:#}");
}

#[test]
fn a_run_can_be_listed_shown_and_traced() {
    let desk = Desk::new();
    desk.write("data/a.txt", "1\n").write("data/b.txt", "");
    let command = r#"["/bin/sh", "-c", "test -s \"$DROPMILL_INPUT\" || { echo empty >&2; exit 3; }"]"#;
    desk.write("run.toml", run_file(command, ""));
    let said = desk.run("run.toml");
    said.exited(1);
    let (events, report) = (schema("event"), schema("report"));
    said.events.iter().for_each(|event| assert_valid(&events, event));
    assert_valid(&report, &said.report);
    let run = said.report["run"].as_str().unwrap();

    let table = text(&desk, &["runs"]);
    let columns: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(columns[..2], [run, "tasks_failed"], "{table}");
    assert_eq!(columns[columns.len() - 3..], ["1", "1", "2"], "{table}");
    let listed: Value = serde_json::from_str(text(&desk, &["runs", "--json"]).trim()).unwrap();
    assert_eq!(listed["run"], run);

    let shown = text(&desk, &["show", run]);
    assert!(
        shown.contains("data/b.txt") && shown.contains("exit code 3") && shown.contains("| empty"),
        "{shown}"
    );
    let shown: Value = serde_json::from_str(&text(&desk, &["show", run, "--json"])).unwrap();
    assert_eq!(shown, said.report);

    let traced: Vec<Value> = text(&desk, &["trace", "lines", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(traced, said.events, "the journal holds what was said");
    assert!(text(&desk, &["trace", run]).contains("task_monitor"));

    let missing = desk.output(&["show", "nothing"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no run nothing"));
}

#[test]
fn the_same_run_twice_has_the_same_outline() {
    let desk = Desk::new();
    for index in 0..12 {
        desk.write(format!("data/{index}.txt"), "x");
    }
    let command = r#"["/bin/sh", "-c", "case \"$DROPMILL_INPUT\" in *7*) exit 1;; esac"]"#;
    desk.write("run.toml", run_file(command, ""));
    let outlines = [(); 2].map(|()| {
        let said = desk.run("run.toml");
        said.exited(1);
        let outline = text(&desk, &["trace", said.report["run"].as_str().unwrap(), "--outline"]);
        // The run may end before a poll shows all nodes ready.
        outline.replace(" > ready (3 nodes)", "")
    });
    assert_eq!(outlines[0], outlines[1]);
    assert!(outlines[0].contains("11 x task"), "equal histories are one line:\n{}", outlines[0]);
    assert!(outlines[0].contains("exit code 1"), "{}", outlines[0]);
}

#[test]
fn a_report_can_be_read_without_json() {
    let desk = Desk::new();
    desk.write("data/a.txt", "1\n").write("run.toml", run_file(r#"["/bin/true"]"#, ""));
    let output = desk.output(&["run", "run.toml", "--quiet"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("succeeded: 1 of 1 tasks succeeded"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let shown = text(&desk, &["show", "latest"]);
    assert!(shown.starts_with("ok          data/a.txt"), "{shown}");
}

#[test]
fn a_closed_standard_output_does_not_stop_the_run() {
    let desk = Desk::new();
    desk.write("data/a.txt", "").write("run.toml", run_file(r#"["/bin/true"]"#, ""));
    let mut child = desk
        .dropmill(&["run", "run.toml", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(desk.files("out"), ["data/a.txt/stderr.txt", "data/a.txt/stdout.txt"]);
}

#[test]
fn env_without_a_service_explains_how_to_start_one() {
    let desk = Desk::new();
    let output = desk.output(&["env"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("dropmill serve"));
}

#[test]
fn a_run_uses_a_service_of_another_process_over_sockets() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    desk.write("data/a.txt", "1\n2\n").write("data/b.txt", "1\n");
    let command = r#"["/bin/sh", "-c", "wc -l < \"$DROPMILL_INPUT\" > lines.txt"]"#;
    let file =
        run_file(command, &on_sockets(&served)).replace("command =", "outputs = [\"lines.txt\"]\ncommand =");
    desk.write("run.toml", file);
    let mut command = desk.dropmill(&["run", "run.toml", "--json"]);
    command.env("BATCH_KEY", served.text("/batch/key")).env("STORAGE_KEY", served.text("/blob/key"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(desk.read("out/data/a.txt/lines.txt").trim(), "2");
    assert_eq!(desk.read("out/data/b.txt/lines.txt").trim(), "1");
    let mut command = desk.dropmill(&["run", "run.toml"]);
    command.env("BATCH_KEY", "d3Jvbmc=").env("STORAGE_KEY", served.text("/blob/key"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("AuthenticationFailed"), "{said}");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn env_prints_exports_that_a_shell_can_read_and_only_the_owner_can_read_the_keys() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    let mode = fs::metadata(desk.path("state/service/connection.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let exports = text(&desk, &["env"]);
    let script = format!(
        "{exports}\nprintf '%s|%s|%s|%s' \"$AZURE_BATCH_ACCOUNT\" \"$AZURE_BATCH_ACCESS_KEY\" \"$AZURE_BATCH_ENDPOINT\" \"$AZURE_STORAGE_CONNECTION_STRING\""
    );
    let read = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    let expected = ["/batch/account", "/batch/key", "/batch/endpoint", "/connection_string"];
    let expected: Vec<_> = expected.iter().map(|pointer| served.text(pointer)).collect();
    assert_eq!(String::from_utf8_lossy(&read.stdout), expected.join("|"));
    let json: serde_json::Value = serde_json::from_str(&text(&desk, &["env", "--shell", "json"])).unwrap();
    assert_eq!(
        (json["AZURE_BATCH_ACCOUNT"].as_str(), json.as_object().unwrap().len()),
        (Some(expected[0]), 4)
    );
    let running = desk.output(&["env"]);
    assert_eq!(String::from_utf8_lossy(&running.stderr), "");
    served.kill();
    let over = desk.output(&["env", "--shell", "fish"]);
    assert!(over.status.success());
    assert!(String::from_utf8_lossy(&over.stderr).contains("start it with `dropmill serve`"));
    assert!(String::from_utf8_lossy(&over.stdout).starts_with("set -gx AZURE_BATCH_ACCOUNT '"));
}

#[test]
fn serve_rejects_addresses_that_others_can_reach_and_ports_in_use() {
    let desk = Desk::new();
    let output = desk.output(&["serve", "--batch", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("only loopback"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = desk.output(&["serve", "--batch", &address]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("port 0 takes any free one"));
    let output = desk.output(&["serve", "--batch", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_second_service_on_a_state_folder_names_the_process_that_uses_it() {
    let desk = Desk::new();
    let served = Served::on(&desk);
    let output = desk.output(&["serve", "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("in use by pid {}", served.child.id())), "{said}");
}
