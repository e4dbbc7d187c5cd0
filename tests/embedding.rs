//! The example of docs/embedding.rs does what it says, and a program that embeds us stays master of itself.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use dropmill::Run;
use std::{path::Path, process::Command};

#[test]
fn the_example_processes_a_file_and_a_drop_folder() {
    let desk = Desk::new();
    let built = Path::new(env!("CARGO_BIN_EXE_dropmill")).with_file_name("examples").join("embedding");
    let output = Command::new(built).arg(desk.path("work")).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 of 1 succeeded") && told.ends_with("letter.txt\n2\n"), "{told}");
    assert_eq!(desk.read("work/out/data/poem.txt/lines.txt").trim(), "3");
}

#[test]
fn runs_of_one_program_go_side_by_side_and_mistakes_come_back_as_errors() {
    let desk = Desk::new();
    desk.write("a.txt", "1\n").write("b.txt", "1\n2\n");
    let run_file = |name: &str| {
        format!(
            "[run]\nname = \"{name}\"\n[input]\nfiles = [\"{name}.txt\"]\n[task]\ncommand = [\"wc\", \"-l\", \"{{input}}\"]\n\
             [output]\ndirectory = \"out-{name}\"\n"
        )
    };
    desk.write("a.toml", run_file("a")).write("b.toml", run_file("b"));
    let start = |file: &str| Run::of_file(desk.path(file)).state(desk.path("state")).start();
    let (one, events) = start("a.toml").unwrap();
    let (other, _) = start("b.toml").unwrap();
    let told: Vec<_> = std::iter::from_fn(|| events.recv_blocking().ok()).collect();
    assert_eq!(told.last().unwrap().seq as usize, told.len(), "every event, in order");
    for run in [one, other] {
        let report = run.finished_blocking().unwrap();
        assert_eq!((report.tasks.succeeded, report.tasks.total), (1, 1));
    }
    assert!(desk.read("out-b/b.txt/stdout.txt").starts_with("2 "));
    desk.write("bad.toml", "[run]\nnmae = 3\n");
    let wrong = start("bad.toml").err().unwrap().to_string();
    assert!(wrong.contains("bad.toml:2") && wrong.contains("nmae"), "{wrong}");
}
