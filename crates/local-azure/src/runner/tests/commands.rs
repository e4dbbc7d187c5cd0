//! Tests the environment of a command, and how its end is reported.

use super::*;
use std::os::unix::fs::PermissionsExt;

#[test]
fn exit_codes_and_signals_are_reported() {
    let mut rig = Rig::new();
    for (script, expected) in [
        ("true", 0),
        ("exit 1", 1),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("kill -SEGV $$", 139),
        ("kill -PIPE $$", 141),
    ] {
        let launch = rig.shell(script);
        let ending = rig.run(&launch);
        assert_eq!((ending.exit_code, ending.failure), (Some(expected), None), "{script}");
        assert!(ending.started <= ending.ended);
    }
}

#[test]
fn a_start_reports_the_process_and_its_start_time() {
    let mut rig = Rig::new();
    for _ in 0..50 {
        let launch = rig.shell("read -r line < /proc/$$/stat; echo $line");
        rig.order(&launch);
        let (pid, start) = rig.started(&launch);
        rig.ended(&launch);
        let line = rig.output(&launch);
        let fields: Vec<&str> = line.split(' ').collect();
        assert_eq!((fields[0], fields[21]), (&*pid.to_string(), &*start.to_string()));
    }
}

#[test]
fn a_command_that_cannot_be_started_has_a_reason() {
    let mut rig = Rig::new();
    let home = rig
        .shell("printf '#!/nowhere/sh\n' > bad; printf 'echo' > plain; echo text > text; chmod 755 bad text");
    rig.run(&home);
    let place = rig.path(&home, "wd");
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let table = [
        (command_line::quote(["no-such-program"]), "CommandProgramNotFound", "no-such-program"),
        (command_line::quote(["/no/such/program"]), "CommandProgramNotFound", "/no/such/program"),
        (command_line::quote(["./missing"]), "CommandProgramNotFound", "./missing"),
        (command_line::quote([""]), "CommandProgramNotFound", ""),
        (command_line::quote([at("bad")]), "CommandLaunchFailed", "interpreter"),
        (command_line::quote([at("plain")]), "CommandLaunchFailed", "ermission denied"),
        (command_line::quote([at("text")]), "CommandLaunchFailed", "xec format error"),
        (command_line::quote(["/tmp"]), "CommandLaunchFailed", "ermission denied"),
        ("echo 'x".into(), "CommandLaunchFailed", "not closed"),
        ("  ".into(), "CommandLaunchFailed", "empty"),
    ];
    for (line, code, message) in table {
        let mut launch = rig.launch(&[]);
        launch.command_line = line.clone();
        rig.order(&launch);
        let NodeEvent::Ended { ending, .. } = rig.event() else { panic!("{line} was started") };
        let failure = ending.failure.expect(&line);
        assert_eq!((ending.exit_code, failure.user_error, &*failure.code), (None, true, code), "{line}");
        assert_eq!(failure.details[0], ("CommandLine".into(), line.clone()));
        assert!(failure.details[1].1.contains(message), "{line}: {failure:?}");
        for stream in ["stdout.txt", "stderr.txt"] {
            assert_eq!(fs::read(rig.path(&launch, stream)).unwrap(), b"", "{line}: {stream}");
        }
    }
}

#[test]
fn the_resource_usage_of_a_command_is_reported_with_its_end() {
    let mut rig = Rig::new();
    let idle = rig.shell("true");
    // A child does the work, and the shell waits for it.
    let busy = rig.shell("sh -c 'n=0; while [ $n -lt 300000 ]; do n=$((n + 1)); done'; true");
    let took = |spent: crate::orders::Spent| spent.user_us + spent.kernel_us;
    let (idle, busy) = (took(rig.run(&idle).spent), took(rig.run(&busy).spent));
    assert!(idle > 0 && busy > 2 * idle, "{idle} us and {busy} us");
}

#[test]
fn an_invalid_variable_is_a_failure() {
    let mut rig = Rig::new();
    let mut launch = rig.shell("true");
    launch.environment = vec![("A".into(), "x\0y".into())];
    let ending = rig.run(&launch);
    assert_eq!(ending.failure.unwrap().code, "CommandLaunchFailed");
}

#[test]
fn a_bare_name_is_looked_up_on_the_tasks_own_path() {
    let mut rig = Rig::new();
    let home =
        rig.shell("mkdir a b; echo > a/tool; printf '#!/bin/sh\necho tool $0 $1' > b/tool; chmod 755 b/tool");
    rig.run(&home);
    let place = rig.path(&home, "wd").to_str().unwrap().to_owned();
    let mut launch = rig.launch(&["tool", "x y"]);
    launch.environment = vec![("PATH".into(), format!("{place}/none:{place}/a:{place}/b:/bin"))];
    assert_eq!(rig.run(&launch).exit_code, Some(0));
    assert_eq!(rig.output(&launch), format!("tool {place}/b/tool x y\n"));
    launch.environment = vec![("PATH".into(), format!("{place}/a"))];
    let ending = rig.again(&launch);
    assert_eq!(ending.failure.unwrap().code, "CommandLaunchFailed", "it is there but nobody may execute it");
}

#[test]
fn no_shell_interprets_the_command_line() {
    let mut rig = Rig::new();
    let mut launch = rig.launch(&[]);
    launch.command_line = r#"printf '%s\n' $HOME * "a  b" | ; > x && `id` $(id)"#.into();
    assert_eq!(rig.run(&launch).exit_code, Some(0));
    assert_eq!(rig.output(&launch), "$HOME\n*\na  b\n|\n;\n>\nx\n&&\n`id`\n$(id)\n");
    assert_eq!(fs::read_dir(rig.path(&launch, "wd")).unwrap().count(), 0);
}

#[test]
fn standard_input_is_empty_and_the_outputs_are_files() {
    let mut rig = Rig::new();
    let launch = rig.shell("cat; echo out; echo err >&2; pwd");
    assert_eq!(rig.run(&launch).exit_code, Some(0));
    let place = rig.path(&launch, "wd");
    assert_eq!(rig.output(&launch), format!("out\n{}\n", place.display()));
    assert_eq!(rig.error(&launch), "err\n");
    assert_eq!(fs::metadata(place).unwrap().permissions().mode() & 0o700, 0o700);
}

#[test]
fn only_the_three_standard_handles_are_passed_on() {
    let inherited = rustix::io::dup(fs::File::open("/dev/null").unwrap()).unwrap();
    assert!(!rustix::io::fcntl_getfd(&inherited).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let mut rig = Rig::new();
    let mut launch = rig.launch(&["/bin/ls", "/proc/self/fd"]);
    rig.run(&launch);
    // The fourth is that of the folder that `ls` reads.
    assert_eq!(rig.output(&launch), "0\n1\n2\n3\n");
    launch.command_line = command_line::quote(["/bin/sh", "-c", "cd /proc/$$/fd; readlink 0 1 2"]);
    rig.again(&launch);
    let directory = rig.path(&launch, "");
    let directory = directory.to_str().unwrap();
    assert_eq!(rig.output(&launch), format!("/dev/null\n{directory}stdout.txt\n{directory}stderr.txt\n"));
}

#[test]
fn the_environment_has_variables_of_node_and_launch_but_not_of_the_service() {
    let mut rig = Rig::with(|settings| settings.environment.push(("SITE".into(), "here".into())));
    let mut launch = rig.launch(&["/usr/bin/env"]);
    let set = [
        ("AZ_BATCH_TASK_ID", "t"),
        ("TWICE", "first"),
        ("TWICE", "second"),
        ("HOME", "/elsewhere"),
        ("LINES", "a\nb"),
        ("AZ_BATCH_JOB_PREP_DIR", "workitems/job/job-1/prep"),
        ("AZ_BATCH_JOB_PREP_WORKING_DIR", "workitems/job/job-1/prep/wd"),
    ];
    launch.environment = set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    rig.run(&launch);
    let root = rig.node().to_str().unwrap().to_owned();
    let output = rig.output(&launch).replace(&root, "ROOT").replace("a\nb", "a|b");
    let mut lines: Vec<&str> = output.lines().filter(|line| !line.starts_with("DROPMILL_LAUNCH=")).collect();
    lines.sort_unstable();
    let expected = [
        "AZ_BATCH_ACCOUNT_NAME=local",
        "AZ_BATCH_ACCOUNT_URL=http://127.0.0.1:1",
        "AZ_BATCH_CERTIFICATES_DIR=ROOT/startup/certs",
        "AZ_BATCH_JOB_PREP_DIR=ROOT/workitems/job/job-1/prep",
        "AZ_BATCH_JOB_PREP_WORKING_DIR=ROOT/workitems/job/job-1/prep/wd",
        "AZ_BATCH_NODE_MOUNTS_DIR=ROOT/fsmounts",
        "AZ_BATCH_NODE_ROOT_DIR=ROOT",
        "AZ_BATCH_NODE_SHARED_DIR=ROOT/shared",
        "AZ_BATCH_NODE_STARTUP_DIR=ROOT/startup",
        "AZ_BATCH_TASK_DIR=ROOT/workitems/job/job-1/task1",
        "AZ_BATCH_TASK_ID=t",
        "AZ_BATCH_TASK_WORKING_DIR=ROOT/workitems/job/job-1/task1/wd",
        "HOME=/elsewhere",
        "LANG=C.UTF-8",
        "LINES=a|b",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SITE=here",
        "TWICE=second",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_working_folder_is_reused_and_the_outputs_are_new() {
    let mut rig = Rig::new();
    let script = "ls; echo x >> tries; ln -sf /etc/passwd ../stdout.txt; wc -c < tries >&2";
    let first = rig.shell(script);
    rig.run(&first);
    assert_eq!(rig.error(&first), "2\n");
    let mut second = rig.shell(script);
    second.directory = first.directory.clone();
    second.command_line = command_line::quote(["/bin/sh", "-c", "ls; cat tries"]);
    assert_eq!(rig.run(&second).exit_code, Some(0));
    assert_eq!(rig.output(&second), "tries\nx\n", "and the link was not written through");
    assert_eq!(rig.error(&second), "");
}

#[test]
fn a_command_may_delete_its_own_folders() {
    let mut rig = Rig::new();
    let mut launch = rig.shell("rm -rf ../../task1; echo gone; exit 3");
    launch.output_files = vec![output("../std*.txt", "x"), output("**/*", "x")];
    let ending = rig.run(&launch);
    assert_eq!((ending.exit_code, ending.failure), (Some(3), None));
    assert_eq!(rig.prints("echo still here"), "still here\n");
}

#[test]
fn a_long_output_keeps_its_beginning_and_end() {
    let mut rig = Rig::with(|settings| settings.max_output_bytes = 64 * 1024);
    let launch = rig.shell("echo first; yes | head -c 3000000; echo last; echo short >&2");
    assert_eq!(rig.run(&launch).exit_code, Some(0));
    let kept = rig.output(&launch);
    assert!(kept.len() < 66 * 1024, "{}", kept.len());
    assert!(kept.starts_with("first\ny\n") && kept.ends_with("y\nlast\n") && kept.contains("bytes left out"));
    assert_eq!(rig.error(&launch), "short\n");
}

#[test]
fn endless_output_does_not_fill_the_disk() {
    use std::os::unix::fs::MetadataExt;
    let mut rig = Rig::with(|settings| settings.max_output_bytes = 1 << 20);
    let launch = rig.shell("while :; do head -c 100000 /dev/zero; sleep 0.005; done");
    rig.order(&launch);
    rig.started(&launch);
    let out = rig.path(&launch, "stdout.txt");
    loop {
        let metadata = fs::metadata(&out).unwrap();
        if metadata.len() > 4 << 20 && metadata.blocks() * 512 < metadata.len() / 2 {
            break;
        }
        std::thread::yield_now();
    }
    rig.kill(&launch);
    rig.ended(&launch);
    assert!(fs::metadata(&out).unwrap().len() < (1 << 20) + 100);
}

#[test]
fn folders_that_lead_elsewhere_are_rejected() {
    let mut rig = Rig::new();
    for directory in ["", "..", "workitems/../../x", "/tmp/x", "a\0b"] {
        let mut launch = rig.shell("true");
        launch.directory = directory.into();
        let ending = rig.run(&launch);
        assert_eq!(ending.failure.unwrap().code, "ResourceDirectoryCreateFailed", "{directory:?}");
    }
    let mut launch = rig.shell("pwd");
    launch.node = NodeRef { pool: "../../p".into(), node: "/etc".into() };
    assert_eq!(rig.run(&launch).exit_code, Some(0));
    assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 1);
}

#[test]
fn two_hundred_launches_run_in_parallel() {
    let mut rig = Rig::new();
    let folder = rig.folder.path().join("meet");
    fs::create_dir(&folder).unwrap();
    // Each waits for all others: none would end if they did not run at the same time.
    let script = format!(
        "cd {}; : > $$; while [ \"$(ls | wc -l)\" -lt 200 ]; do [ -e stop ] && exit 0; sleep 0.05; done; : > stop",
        folder.display()
    );
    let launches: Vec<_> = (0..200).map(|_| rig.shell(&script)).collect();
    launches.iter().for_each(|launch| rig.order(launch));
    let (mut started, mut ended) = (0, 0);
    while ended < 200 {
        match rig.event() {
            NodeEvent::Started { .. } => started += 1,
            NodeEvent::Ended { ending, .. } => {
                assert_eq!(started, 200, "the first ended before all had started");
                assert_eq!(ending.exit_code, Some(0));
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_free_memory_the_kernel_kills_a_task_before_the_service() {
    let mut rig = Rig::new();
    // The value is set just after the start, so the command may be faster; its children inherit it.
    let script = "until [ \"$(cat /proc/$$/oom_score_adj)\" -ge 500 ]; do :; done; sh -c 'cat /proc/self/oom_score_adj'";
    let task: i32 = rig.prints(script).trim().parse().unwrap();
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert!(task >= 500 && task > own, "task {task}, service {own}");
}
