//! `task.upload = "self"`: tasks upload their results themselves.

mod common;

use common::{Desk, Served, run_file};
use std::{fs, os::unix::fs::PermissionsExt};

/// A task that tries what its SAS allows and writes the status codes to standard output: create, create again, read, list,
/// delete, and create in the container of another task.
const TRIES: &str = r#"
import os, urllib.request, urllib.error
url, sas = os.environ["OUTPUT_CONTAINER_URL"].split("?", 1)
def call(method, url, body=None):
    headers = {"x-ms-version": "2021-08-06"}
    if method == "PUT":
        headers["x-ms-blob-type"] = "BlockBlob"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)).status
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.headers.get('x-ms-error-code')}"
blob = f"{url}/{os.environ['DROPMILL_INPUT_NAME']}.out"
base, own = url.rsplit("/", 1)
run = os.environ["DROPMILL_RUN"]
other = f"{base}/{run}-output/{os.environ['AZ_BATCH_TASK_ID']}/wd/x"
content = open(os.environ["DROPMILL_INPUT"], "rb").read()
print(call("PUT", f"{blob}?{sas}", content))
print(call("PUT", f"{blob}?{sas}", b"replaced"))
print(call("GET", f"{blob}?{sas}"))
print(call("GET", f"{url}?restype=container&comp=list&{sas}"))
print(call("DELETE", f"{blob}?{sas}"))
print(call("PUT", f"{other}?{sas}", b"foreign"))
print(call("PUT", f"{base}/{run}-input/x?{sas}", b"foreign"))
"#;

const SAID: &str = "201\n403 UnauthorizedBlobOverwrite\n403 AuthorizationPermissionMismatch\n403 AuthorizationPermissionMismatch\n\
                    403 AuthorizationPermissionMismatch\n403 AuthenticationFailed\n403 AuthenticationFailed\n";

fn desk(more: &str) -> (Desk, String) {
    let desk = Desk::new();
    desk.write("data/a.txt", "a").write("data/b.txt", "bb").write("tries.py", TRIES);
    let command =
        format!("[\"python3\", \"{}\"]\nupload = \"self\"\n{more}", desk.path("tries.py").display());
    (desk, run_file(&command, ""))
}

#[test]
fn a_task_can_create_its_results_and_do_nothing_else_on_every_service() {
    let (desk, file) = desk("outputs = [\"*.out\"]\n");
    let served = Served::on(&desk);
    desk.write("embedded.toml", &file);
    for (file, key) in [("batch.key", "/batch/key"), ("storage.key", "/blob/key")] {
        desk.write(file, served.text(key));
        fs::set_permissions(desk.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let elsewhere = common::on_sockets(&served)
        .replace("env = \"BATCH_KEY\"", "file = \"batch.key\"")
        .replace("env = \"STORAGE_KEY\"", "file = \"storage.key\"")
        + &file.replace("\"out\"", "\"out-elsewhere\"");
    desk.write("elsewhere.toml", elsewhere);
    for (file, out) in [("embedded.toml", "out"), ("elsewhere.toml", "out-elsewhere")] {
        let said = desk.run(file);
        said.exited(0);
        for (input, content) in [("a.txt", "a"), ("b.txt", "bb")] {
            assert_eq!(desk.read(format!("{out}/data/{input}/{input}.out")), content, "{file}");
            assert_eq!(desk.read(format!("{out}/data/{input}/stdout.txt")), SAID, "{file}");
        }
        assert!(said.report["left_behind"].as_array().is_none_or(Vec::is_empty), "{:#}", said.report);
        let journal = format!("{:?}", said.events);
        assert!(!journal.contains("sig="), "no event has a signature");
    }
}

#[test]
fn a_result_that_a_task_did_not_upload_fails_it_and_each_attempt_has_its_own_container() {
    let (desk, file) = desk("outputs = [\"*.missing\"]\n");
    desk.write("run.toml", &file);
    let said = desk.run("run.toml");
    said.exited(1);
    let results = said.report["results"].to_string();
    assert!(results.contains("*.missing"), "{results}");
    // The first attempt uploads and fails; the second finds its own container empty.
    let (desk, file) = self::desk("outputs = [\"*.out\"]\nmax_retries = 1\n");
    desk.write(
        "tries.py",
        format!("{TRIES}\nraise SystemExit(0 if os.environ['AZ_BATCH_TASK_ID'].endswith('-2') else 3)\n"),
    );
    desk.write("run.toml", &file);
    let said = desk.run("run.toml");
    said.exited(0);
    for stream in ["attempt-1.stdout.txt", "stdout.txt"] {
        assert_eq!(desk.read(format!("out/data/a.txt/{stream}")), SAID);
    }
}

#[test]
fn a_killed_run_is_resumed_with_the_address_that_its_tasks_use() {
    let (desk, file) = desk("outputs = [\"*.out\"]\n");
    let go = desk.path("go");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    // Nobody writes to the FIFO, so that the task blocks; a file in its place is read at once.
    let wait = format!("{TRIES}\nopen({go:?}).read()\n");
    // The task waits before its first upload.
    let (before, after) = wait.split_at(wait.find("print(").unwrap());
    let (uploads, wait) = after.split_at(after.find("\nopen(").unwrap());
    desk.write("tries.py", format!("{before}{wait}{uploads}"));
    desk.write("run.toml", &file);
    let mut run = desk.start("run.toml");
    run.until("task_running");
    run.kill();
    fs::remove_file(&go).unwrap();
    desk.write("go", "");
    let said = desk.run_with(&["run", "run.toml", "--resume", "--json"]);
    said.exited(0);
    assert_eq!(desk.read("out/data/b.txt/b.txt.out"), "bb");
}
