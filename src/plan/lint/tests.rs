use super::*;
use crate::settings::{ServiceKind, SlotCount, in_code};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// A machine with these files. A name that ends in `*` is executable; the text is the beginning of its content.
fn files(listed: &[(&str, &str)]) -> BTreeMap<PathBuf, FileFacts> {
    let mut all = BTreeMap::new();
    for (path, head) in
        [("/usr/bin/python3*", "\x7fELF\0"), ("/bin/sh*", "\x7fELF\0"), ("/usr/bin/env*", "\x7fELF\0")]
            .iter()
            .chain(listed)
    {
        let facts = FileFacts { is_executable: path.ends_with('*'), head: head.as_bytes().to_vec() };
        all.insert(PathBuf::from(path.trim_end_matches('*')), facts);
    }
    all
}

struct Case<'a> {
    settings: Settings,
    files: &'a [(&'a str, &'a str)],
    application: &'a [&'a str],
}

fn found(case: &Case<'_>) -> Vec<String> {
    let all = files(case.files);
    let look = |path: &Path| all.get(path).cloned();
    let application: Vec<_> = case
        .application
        .iter()
        .map(|name| AppFile {
            source: Path::new("/job").join(name),
            name: (*name).to_owned(),
            size_bytes: 1,
            executable: true,
            digest: None,
        })
        .collect();
    let is_local = case.settings.service.kind == ServiceKind::Embedded;
    let machine = Machine {
        file: &look,
        base: "/job".into(),
        task_path: is_local.then(|| "/usr/bin:/bin".into()),
        caller_path: "/home/me/bin:/usr/bin:/bin".into(),
        hidden_home: Some("/home/me".into()),
    };
    let subject = Subject { settings: &case.settings, application: &application, items: &[], machine };
    let loaded = in_code(&case.settings, Path::new("/job"), &[]).unwrap();
    let shown = |finding: Finding| {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        format!("{severity}: {}: {}", finding.problem.key, finding.problem.what)
    };
    findings(&loaded, &subject).into_iter().map(shown).collect()
}

fn command(words: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.task.command = Some(words.iter().map(|word| (*word).to_owned()).collect());
    settings
}

#[track_caller]
fn check(settings: Settings, files: &[(&str, &str)], application: &[&str], expected: &[&str]) {
    let shown = format!("{:?} {:?}", settings.task.command, settings.task.shell);
    let found = found(&Case { settings, files, application });
    let matches = found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(found.len() == expected.len() && matches, "{shown}: {found:#?}");
}

#[test]
fn a_script_beside_the_run_file_must_be_among_the_application_files() {
    let work = [("/job/work.py", "print()")];
    let said = "error: task.command: work.py lies beside the run file, but tasks run in folders of their own and do not get it: \
                write application.files = [\"work.py\"]";
    check(command(&["python3", "work.py", "{input}"]), &work, &[], &[said]);
    check(command(&["/usr/bin/python3", "-u", "./work.py"]), &work, &[], &[said]);
    check(command(&["python3", "work.py", "{input}"]), &work, &["work.py"], &[]);
    // A script that another argument names is only likely to be one.
    check(
        command(&["python3", "-m", "pkg", "work.py"]),
        &work,
        &[],
        &["warning: task.command: work.py lies"],
    );
    check(command(&["python3", "gone.py"]), &[], &[], &["warning: task.command: there is no gone.py"]);
    check(command(&["python3", "{input}"]), &work, &[], &[]);
    check(command(&["python3", "-c", "print(1)"]), &work, &[], &[]);
    let mut settings = command(&["python3", "work.py"]);
    settings.application.start_task = Some("true".into());
    check(settings, &work, &["work.py"], &["error: task.command: application.start_task gets work.py"]);
    // Where tasks run does not matter.
    let mut settings = command(&["python3", "work.py"]);
    settings.service.kind = ServiceKind::Azure;
    check(settings, &work, &[], &[said]);
}

#[test]
fn other_arguments_that_name_files_beside_the_run_file_are_warned_about() {
    let beside = [("/job/model.bin", "\0"), ("/job/result.txt", "x")];
    let said = "warning: task.command: model.bin lies beside";
    check(command(&["python3", "-c", "x", "model.bin", "model.bin"]), &beside, &[], &[said]);
    check(command(&["python3", "-c", "x", "--model=model.bin"]), &beside, &[], &[said]);
    check(command(&["python3", "-c", "x", "--model", "model.bin"]), &beside, &["model.bin"], &[]);
    let mut settings = command(&["python3", "-c", "x", "result.txt"]);
    settings.task.outputs = vec!["result.txt".into()];
    check(settings, &beside, &[], &[]);
    let mut settings = Settings::default();
    settings.task.shell = Some("python3 x.py model.bin > result.txt".into());
    check(settings, &beside, &[], &["warning: task.shell: model.bin lies beside"]);
    let mut settings = Settings::default();
    settings.task.shell = Some("wrk \"$DROPMILL_INPUT\"".into());
    check(settings, &[], &[], &["warning: task.shell: there is no program wrk in /usr/bin:/bin"]);
}

#[test]
fn programs_are_looked_for_where_tasks_look_for_them() {
    check(command(&["python3"]), &[], &[], &[]);
    check(
        command(&["nothing"]),
        &[],
        &[],
        &["error: task.command: there is no program nothing in /usr/bin:/bin: install"],
    );
    check(
        command(&["tool"]),
        &[("/home/me/bin/tool*", "\x7fELF\0")],
        &[],
        &[
            "error: task.command: tasks do not find tool: it is /home/me/bin/tool, and their PATH is /usr/bin:/bin.",
        ],
    );
    check(
        command(&["wc -l", "{input}"]),
        &[],
        &[],
        &[
            "error: task.command: no program is called \"wc -l\": write each word as an element of its own, [\"wc\", \"-l\", \"{input}\"]",
        ],
    );
    check(
        command(&["tool"]),
        &[("/job/tool*", "#!/bin/sh")],
        &[],
        &["error: task.command: tool lies beside the run file"],
    );
    check(
        command(&["tool"]),
        &[("/job/tool*", "#!/bin/sh")],
        &["tool"],
        &[
            "error: task.command: tool is in application.files, so it is in the working folder of each task: write \"./tool\"",
        ],
    );
    check(command(&["/opt/none"]), &[], &[], &["error: task.command: there is no file /opt/none"]);
    check(
        command(&["/home/me/bin/tool"]),
        &[("/home/me/bin/tool*", "\x7fELF\0")],
        &[],
        &["warning: task.command: /home/me/bin/tool lies below your home folder"],
    );
    let mut settings = command(&["nothing"]);
    settings.application.start_task = Some("install".into());
    check(settings, &[], &[], &["warning: task.command: there is no program nothing"]);
    // What nodes of Azure have is not known here, but a file of this machine they do not have.
    let mut settings = command(&["nothing"]);
    settings.service.kind = ServiceKind::Azure;
    check(settings, &[], &[], &[]);
    let mut settings = command(&["/job/tool"]);
    settings.service.kind = ServiceKind::Azure;
    check(
        settings,
        &[("/job/tool*", "")],
        &[],
        &["error: task.command: /job/tool is on this machine, not on the nodes"],
    );
}

#[test]
fn a_program_of_the_application_must_be_executable() {
    for (file, head, expected) in [
        ("/job/run*", "#!/bin/sh\necho", None),
        ("/job/run*", "#!/usr/bin/env python3\n", None),
        ("/job/run*", "\x7fELF\0\0", None),
        ("/job/run", "#!/bin/sh\n", Some("run is not executable: run chmod +x run")),
        ("/job/run*", "echo\n", Some("run is a script without a first line such as #!/bin/sh")),
        ("/job/run*", "#!/bin/sh\r\n", Some("run has line ends of Windows")),
        (
            "/job/run*",
            "#!/usr/bin/env ruby\n",
            Some("run needs the interpreter of its first line, and ruby is not in /usr/bin:/bin"),
        ),
        (
            "/job/run*",
            "#!/opt/perl -w\n",
            Some("run needs the interpreter of its first line, and there is no /opt/perl"),
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|what| format!("error: task.command: {what}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(command(&["./run", "{input}"]), &[(file, head)], &["run"], &expected);
    }
    check(
        command(&["./run"]),
        &[("/job/run*", "#!/bin/sh\n")],
        &[],
        &["error: task.command: run lies beside the run file"],
    );
    check(
        command(&["bin/none"]),
        &[],
        &[],
        &["error: task.command: there is no bin/none beside the run file"],
    );
    check(command(&["../../shared/x"]), &[], &[], &[]);
}

#[test]
fn what_only_a_shell_understands_is_named_where_there_is_none() {
    check(
        command(&["python3", "-c", "x", ">", "out.txt"]),
        &[],
        &[],
        &["warning: task.command: python3 gets \">\" as an argument, because no shell reads task.command"],
    );
    check(
        command(&["python3", "-c", "x", "$DROPMILL_INPUT"]),
        &[],
        &[],
        &["warning: task.command: python3 gets \"$DROPMILL_INPUT\""],
    );
    check(command(&["sh", "-c", "python3 \"$DROPMILL_INPUT\" > x"]), &[], &[], &[]);
    check(
        command(&["sh", "-c", "cat a.txt > x"]),
        &[("/job/a.txt", "")],
        &[],
        &["warning: task.command: there is no program cat", "warning: task.command: a.txt lies beside"],
    );
}

#[test]
fn slots_that_azure_does_not_give_and_values_that_linux_does_not_pass_are_found() {
    let mut settings = command(&["python3"]);
    settings.service.kind = ServiceKind::Azure;
    settings.pool.slots_per_node = SlotCount::Number(9);
    check(
        settings,
        &[],
        &[],
        &["warning: pool.slots_per_node: 9 slots on a node with 2 processors (STANDARD_D2S_V5)"],
    );
}

#[test]
fn keys_without_effect_are_named_if_the_file_sets_them() {
    let given = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let found = |settings: &Settings, keys: &[&str]| -> Vec<String> {
        effects::check(settings, &given(keys)).into_iter().map(|finding| finding.problem.key).collect()
    };
    let mut settings = Settings::default();
    assert!(found(&settings, &[]).is_empty());
    assert_eq!(found(&settings, &["service.batch_key.env", "pool.nodes"]), ["service.batch_key"]);
    assert_eq!(
        found(&settings, &["input.incomplete", "input.exclude"]),
        ["input.exclude", "input.incomplete"]
    );
    assert_eq!(found(&settings, &["notify.tries"]), ["notify.tries"]);
    settings.task.timeout = Some(crate::settings::Length(Duration::from_secs(25 * 3600)));
    assert_eq!(found(&settings, &["task.timeout"]), ["task.timeout"]);
    settings.pool.id = Some("p".into());
    assert_eq!(found(&settings, &["cleanup.pool"]), ["cleanup.pool"]);
    settings.input.files = vec!["*".into()];
    assert!(found(&settings, &["input.exclude", "input.ignore_case"]).is_empty());
}
