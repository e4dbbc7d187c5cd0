//! The example of docs/embedding.rs works, and a program that embeds Dropmill keeps control of its own
//! process.

mod common;

use common::Desk;
use dropmill::{Error, NothingToDo, Run, StateError, UsageError, settings::Settings};
use std::{path::Path, process::Command};

#[test]
fn the_example_processes_a_file_and_a_drop_folder() {
    let desk = Desk::new();
    let built = Path::new(env!("CARGO_BIN_EXE_dropmill")).with_file_name("examples").join("embedding");
    let output = Command::new(built).arg(desk.path("work")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("1 of 1 succeeded") && printed.ends_with("letter.txt\n2\n"), "{printed}");
    assert_eq!(desk.read("work/out/data/poem.txt/lines.txt").trim(), "3");
}

#[test]
fn runs_of_one_program_work_concurrently_and_mistakes_are_returned_as_errors() {
    let desk = Desk::new();
    desk.write("a.txt", "1\n").write("b.txt", "1\n2\n");
    let run_file = |name: &str| {
        format!(
            "[run]\nname = \"{name}\"\n[input]\nfiles = [\"{name}.txt\"]\n[task]\ncommand = [\"wc\", \"-l\", \"{{input}}\"]\n\
             [output]\ndirectory = \"out-{name}\"\n"
        )
    };
    desk.write("a.toml", run_file("a")).write("b.toml", run_file("b"));
    let start = |file: &str| Run::from_file(desk.path(file)).state(desk.path("state")).start();
    let (one, events) = start("a.toml").unwrap();
    let (other, _) = start("b.toml").unwrap();
    let received: Vec<_> = std::iter::from_fn(|| events.recv_blocking().ok()).collect();
    assert_eq!(received.last().unwrap().seq as usize, received.len(), "every event, in order");
    for run in [one, other] {
        let report = run.finished_blocking().unwrap();
        assert_eq!((report.tasks.succeeded, report.tasks.total), (1, 1));
    }
    assert!(desk.read("out-b/b.txt/stdout.txt").starts_with("2 "));
    desk.write("bad.toml", "[run]\nnmae = 3\n");
    let wrong = start("bad.toml").err().unwrap().to_string();
    assert!(wrong.contains("bad.toml:2") && wrong.contains("nmae"), "{wrong}");
}

/// Returns settings with the inputs `a.txt` and `b.txt`; a task fails while `fail-NAME` is in the folder.
fn settings(desk: &Desk) -> Settings {
    let mut settings = Settings::default();
    settings.run.name = "in code".into();
    settings.input.files = vec!["data/*.txt".into()];
    settings.pool.nodes = 2;
    let script = "test ! -e \"$0/fail-$1\" && wc -l < \"$1\"".into();
    let folder = desk.path(".").display().to_string();
    settings.task.command = Some(vec!["/bin/sh".into(), "-c".into(), script, folder, "{input}".into()]);
    desk.write("data/a.txt", "1\n").write("data/b.txt", "1\n2\n");
    settings
}

#[test]
fn a_run_made_in_code_is_retried_and_its_done_inputs_are_skipped() {
    let desk = Desk::new();
    let settings = settings(&desk);
    desk.write("fail-b.txt", "");
    let run = || Run::from_settings(settings.clone(), desk.path(".")).state(desk.path("state"));
    assert_eq!(run().plan().unwrap().items.len(), 2);
    let (first, events) = run().set("task.max_retries=0").start().unwrap();
    drop(events);
    let name = first.name().to_owned();
    let report = first.finished_blocking().unwrap();
    assert_eq!((report.tasks.succeeded, report.tasks.failed), (1, 1));

    std::fs::remove_file(desk.path("fail-b.txt")).unwrap();
    let retry = || Run::retry(&*name).state(desk.path("state"));
    let (again, events) = retry().only_failed().start().unwrap();
    drop(events);
    let second = again.name().to_owned();
    let report = again.finished_blocking().unwrap();
    assert_eq!((report.tasks.succeeded, report.tasks.total), (1, 1));
    assert_eq!(desk.read("out/data/b.txt/stdout.txt").trim(), "2");

    let nothing = run().skip_done().check_content().start().err();
    assert!(
        matches!(nothing, Some(Error::NothingToDo(NothingToDo::AllDone { inputs: 2, .. }))),
        "{nothing:?}"
    );
    desk.write("data/c.txt", "");
    let (third, events) = run().skip_done().start().unwrap();
    drop(events);
    assert_eq!(third.finished_blocking().unwrap().tasks.total, 1);

    let nothing = Run::retry(&*second).state(desk.path("state")).start().err();
    assert!(matches!(nothing, Some(Error::NothingToDo(NothingToDo::AllSucceeded { .. }))), "{nothing:?}");
    let ended = Run::resume(&*name).state(desk.path("state")).start().err();
    assert!(matches!(ended, Some(Error::Usage(UsageError::Ended { .. }))), "{ended:?}");
    let unknown = Run::resume("nothing").state(desk.path("state")).start().err();
    assert!(matches!(unknown, Some(Error::Usage(UsageError::UnknownRun { .. }))), "{unknown:?}");
    // The program `dropmill` knows the run, too.
    let output = desk.output(&["retry", &name]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn errors_of_settings_and_of_a_state_in_use_can_be_matched() {
    let desk = Desk::new();
    let mut settings = settings(&desk);
    settings.task.command = Some(["sleep", "1000"].map(String::from).into());
    let run =
        |settings: &Settings| Run::from_settings(settings.clone(), desk.path(".")).state(desk.path("state"));
    let (running, events) = run(&settings).start().unwrap();
    while !events.recv_blocking().unwrap().subject.to_string().starts_with("task/") {}
    let in_use = Run::resume(running.name()).state(desk.path("state")).start().err();
    assert!(matches!(in_use, Some(Error::State(StateError::InUse { .. }))), "{in_use:?}");
    let early = Run::retry(running.name()).state(desk.path("state")).start().err();
    assert!(matches!(early, Some(Error::Usage(UsageError::NotEnded { .. }))), "{early:?}");
    drop(events);
    running.cancel("the test ends");
    running.finished_blocking().unwrap();

    settings.pool.nodes = 0;
    let Some(Error::Settings(problems)) = run(&settings).start().err() else { panic!("no mistake") };
    assert_eq!((problems.found[0].file.as_ref(), &*problems.found[0].problem.key), (None, "pool.nodes"));
    let Some(Error::Settings(problems)) = run(&settings).set("pool.nodse=2").plan().err() else {
        panic!("no mistake")
    };
    assert!(problems.to_string().starts_with("settings: pool.nodse: "), "{problems}");
}
