//! What tasks find on the nodes of the embedded service: slots, variables, files of the application.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Desk, Served,
    mill::{self, COUNT, Mill},
    on_sockets,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Tasks of the test of slots: in a test build as many as take a few seconds. `DROPMILL_TEST_TASKS=1000` for more.
fn tasks() -> usize {
    std::env::var("DROPMILL_TEST_TASKS").ok().and_then(|number| number.parse().ok()).unwrap_or(60)
}

#[test]
fn no_two_tasks_hold_a_slot_at_the_same_time() {
    let desk = Desk::new();
    let list: String = (0..tasks()).map(|number| format!("{number}\n")).collect();
    desk.write("list.txt", list);
    fs::create_dir(desk.path("locks")).unwrap();
    // Every third task leaves a process behind that keeps the lock until the service has ended it.
    let script = r#"exec 9> "$LOCKS/slot.$DROPMILL_NODE.$DROPMILL_SLOT"; flock --exclusive --nonblock 9 || exit 9; test $(($1 % 3)) = 0 && sleep 60 & test $(($1 % 3)) = 1 && sleep 0.05; exit 0"#;
    let command = serde_json::to_string(&["sh", "-c", script, "sh", "{line}"]).unwrap();
    let locks = desk.path("locks");
    desk.write(
        "run.toml",
        format!(
            "[run]\nname = \"slots\"\n[input]\nlines = \"list.txt\"\nname = \"{{line}}\"\n[task]\ncommand = {command}\n\
             env = {{ LOCKS = {locks:?} }}\n[pool]\nnodes = 2\nslots_per_node = 8\n"
        ),
    );
    let said = desk.run("run.toml");
    assert_eq!(said.exited(0).report["tasks"]["succeeded"], tasks(), "{:#}", said.report);
    let locks = desk.files("locks");
    let slots = |slot: usize| locks.iter().filter(|file| file.ends_with(&format!(".{slot}"))).count();
    // Both nodes, and no slot beyond those that there are.
    assert_eq!((slots(0), locks.len() <= 16 && locks.len() > 8), (2, true), "{locks:?}");
}

#[test]
fn a_task_with_several_slots_gets_the_lowest_and_plan_says_how_many_and_why() {
    let desk = Desk::new();
    desk.write("list.txt", "a\nb\nc\n");
    desk.write(
        "run.toml",
        "[input]\nlines = \"list.txt\"\nname = \"{line}\"\n[task]\nrequired_slots = 4\noutputs = [\"slot\"]\n\
         shell = \"echo $DROPMILL_SLOT > slot\"\n[pool]\nslots_per_node = 8\n",
    );
    desk.run("run.toml").exited(0);
    for name in ["a", "b", "c"] {
        let slot = desk.read(format!("out/{name}/slot"));
        assert!(["0", "4"].contains(&slot.trim()), "{name}: {slot}");
    }
    let plan = desk.output(&["plan", "run.toml"]);
    let printed = String::from_utf8(plan.stdout).unwrap();
    assert!(printed.contains("8 slots each, "), "{printed}");
    assert!(printed.contains("a task takes 4 slots; DROPMILL_SLOT is the lowest of them"), "{printed}");
}

#[test]
fn auto_is_a_number_in_the_plan_and_the_reason_is_shown() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    let file = |more: &str| format!("[input]\nfiles = [\"data/*\"]\n[task]\ncommand = [\"true\"]\n{more}");
    desk.write("run.toml", file("[pool]\nslots_per_node = \"auto\"\n"));
    let processors = std::thread::available_parallelism().unwrap().get().min(256);
    let printed = String::from_utf8(desk.output(&["plan", "run.toml"]).stdout).unwrap();
    let expected = format!("{processors} slots each (this machine has {processors} processor");
    assert!(printed.contains(&expected), "{printed}");
    let json: serde_json::Value =
        serde_json::from_slice(&desk.output(&["plan", "run.toml", "--json"]).stdout).unwrap();
    assert_eq!(json["pool"]["slots_per_node"], processors);

    desk.write("run.toml", file("memory = \"1000TiB\"\n[pool]\nslots_per_node = \"auto\"\n"));
    let (code, printed) = desk.refused(&["plan", "run.toml"]);
    assert_eq!(code, Some(2));
    assert!(
        printed.contains("task.memory: 1000TiB is more than a node has, about ")
            && printed.contains("write at most"),
        "{printed}"
    );
}

/// Whether a file holds a text.
fn holds(path: &Path, text: &str) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|part| part == text.as_bytes())
}

/// Every file below a folder, whatever its name.
fn all_files(folder: PathBuf) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder], vec![]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    files
}

/// A text whose letters were turned by 13, turned back.
fn turned(text: &str) -> String {
    let turn = |letter: char| {
        let first = if letter.is_ascii_lowercase() { b'a' } else { b'A' };
        match letter.is_ascii_alphabetic() {
            true => char::from((letter as u8 - first + 13) % 26 + first),
            false => letter,
        }
    };
    text.chars().map(turn).collect()
}

const NAMED: &str = "canary-that-is-named";
const UNNAMED: &str = "canary-that-is-not-named";
const SECRET: &str = "canary-that-is-secret";

#[test]
fn only_variables_that_are_named_reach_tasks_and_no_value_is_kept_or_shown() {
    let desk = Desk::new();
    desk.write("list.txt", "$(id)\n${TOKEN}\n");
    // Turned by 13 letters, so that what the service keeps of the results holds no value as it is.
    let script = "env | tr 'a-zA-Z' 'n-za-mN-ZA-M' > env.txt";
    desk.write(
        "run.toml",
        format!(
            "[input]\nlines = \"list.txt\"\nname = \"{{index}}\"\n[application]\nstart_task = \"true\"\n\
             [task]\nshell = {script:?}\noutputs = [\"env.txt\"]\ninherit = [\"PATH\", \"CUDA_*\"]\n\
             [task.env]\nPATH = \"/opt/own:${{PATH}}\"\nAUTH = \"Bearer ${{TOKEN}} {{line}}\"\nPLAIN = \"{{line}} ${{OTHER}}\"\n\
             [task.secret_env]\nTOKEN = {{ env = \"TOKEN\" }}\n\
             [cleanup]\npool = \"never\"\njob = \"never\"\ncontainers = \"never\"\n"
        ),
    );
    let with_canaries = |arguments: &[&str]| {
        let mut command = desk.dropmill(arguments);
        command.env("CUDA_HOME", NAMED).env("OTHER", UNNAMED).env("CUD", UNNAMED).env("TOKEN", SECRET);
        command.env("DROPMILL_X", UNNAMED).env("AZ_BATCH_X", UNNAMED).env("RUST_LOG", "trace");
        command.output().unwrap()
    };
    let record = desk.path("rec");
    let run = with_canaries(&["run", "run.toml", "--json", "--record", record.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stdout));
    let lines = |index: usize| -> Vec<String> {
        desk.read(format!("out/{index}/env.txt")).lines().map(turned).collect()
    };
    let path = std::env::var("PATH").unwrap();
    for (index, line) in ["$(id)", "${TOKEN}"].iter().enumerate() {
        let found = lines(index);
        for expected in [
            format!("CUDA_HOME={NAMED}"),
            format!("TOKEN={SECRET}"),
            format!("PATH=/opt/own:{path}"),
            format!("AUTH=Bearer {SECRET} {line}"),
            format!("PLAIN={line} ${{OTHER}}"),
        ] {
            assert!(found.contains(&expected), "{expected}: {found:#?}");
        }
        assert!(
            !found.iter().any(|line| line.contains(UNNAMED) || line.contains("DROPMILL_REFERENCES")),
            "{found:#?}"
        );
        assert!(
            !found.iter().any(|line| line.starts_with("HOME=/root") || line.starts_with("USER=")),
            "{found:#?}"
        );
    }
    // Everything that Dropmill keeps and prints: plan, journal, events, recording, batch.db, blobs, logs.
    let plan = with_canaries(&["plan", "run.toml", "--json"]);
    let printed = with_canaries(&["plan", "run.toml"]);
    for output in [&run, &plan, &printed] {
        for canary in [NAMED, UNNAMED, SECRET] {
            for stream in [&output.stdout, &output.stderr] {
                assert!(!String::from_utf8_lossy(stream).contains(canary), "{canary}");
            }
        }
    }
    let printed = String::from_utf8(printed.stderr).unwrap();
    assert!(printed.contains("task.env: PLAIN: ${OTHER} stays as it is"), "{printed}");
    let kept: Vec<_> = all_files(desk.path("state")).into_iter().chain(all_files(record)).collect();
    for name in ["plan.json", "journal.db", "batch.db", "exchanges.jsonl"] {
        assert!(kept.iter().any(|file| file.ends_with(name)), "{name} is searched, too: {kept:#?}");
    }
    for file in &kept {
        for canary in [NAMED, UNNAMED, SECRET] {
            assert!(!holds(file, canary), "{} holds {canary}", file.display());
        }
    }
}

#[test]
fn nothing_is_inherited_if_the_list_is_empty_and_a_missing_secret_is_found_before_the_run() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    let file = |task: &str| {
        format!(
            "[input]\nfiles = [\"data/*\"]\n[task]\nshell = \"echo $PATH > path\"\noutputs = [\"path\"]\n{task}\n"
        )
    };
    desk.write("run.toml", file("inherit = []"));
    desk.run("run.toml").exited(0);
    assert_eq!(
        desk.read("out/data/a.txt/path").trim(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );

    desk.write("run.toml", file("secret_env = { TOKEN = { env = \"NO_SUCH_TOKEN\" } }"));
    for command in ["run", "plan"] {
        let (code, printed) = desk.refused(&[command, "run.toml"]);
        assert_eq!(code, Some(2), "{printed}");
        assert!(
            printed.contains("task.secret_env.TOKEN: the environment has no variable NO_SUCH_TOKEN"),
            "{printed}"
        );
    }
    let azure = "[service]\nkind = \"azure\"\n";
    for (more, expected) in [
        ("env = { DROPMILL_X = \"1\" }", "names that begin with AZ_BATCH_ or DROPMILL_ are reserved"),
        (
            "secret_env = { AZ_BATCH_X = { env = \"PATH\" } }",
            "names that begin with AZ_BATCH_ or DROPMILL_ are reserved",
        ),
        ("secret_env = { TOKEN = \"canary\" }", "a secret must not stand in a run file"),
        ("inherit = [\"DROPMILL_RUN\"]", "belongs to the service or to Dropmill"),
        ("inherit = [\"A=B\"]", "is no name or pattern of a variable"),
        ("env = { A = \"1\" }\nsecret_env = { A = { env = \"PATH\" } }", "A is in task.env, too"),
        (
            &format!("secret_env = {{ A = {{ env = \"PATH\" }} }}\n{azure}"),
            "tasks on Azure would get it in their descriptions",
        ),
        (&format!("env = {{ PATH = \"/x:${{PATH}}\" }}\n{azure}"), "PATH: nothing replaces ${PATH} on Azure"),
    ] {
        desk.write("run.toml", file(more));
        let (code, printed) = desk.refused(&["plan", "run.toml"]);
        assert_eq!(code, Some(2), "{more}: {printed}");
        assert!(printed.contains(expected) && !printed.contains("canary"), "{more}: {printed}");
    }
}

#[test]
fn a_run_takes_secrets_from_the_environment_that_it_is_resumed_in() {
    let desk = Desk::new();
    desk.write("data/a.txt", "").write("data/b.txt", "");
    let wait = desk.path("go");
    desk.write(
        "run.toml",
        format!(
            "[input]\nfiles = [\"data/*\"]\n[task]\nshell = \"while ! test -e $GO; do sleep 0.02; done; echo $TOKEN > token\"\n\
             outputs = [\"token\"]\nenv = {{ GO = {wait:?} }}\nsecret_env = {{ TOKEN = {{ env = \"TOKEN\" }} }}\n\
             [pool]\nslots_per_node = 2\n"
        ),
    );
    let mut going = desk.start_in(&["run", "run.toml", "--json"], &[("TOKEN", "first")]);
    going.until("task_running");
    going.kill();
    let missing = desk.output(&["run", "run.toml", "--resume"]);
    let printed = String::from_utf8_lossy(&missing.stderr);
    assert!(printed.contains("task.secret_env.TOKEN: the environment has no variable TOKEN"), "{printed}");
    assert_eq!(missing.status.code(), Some(2), "{printed}");
    desk.write("go", "");
    let resumed =
        desk.dropmill(&["run", "run.toml", "--resume", "-q"]).env("TOKEN", "second").output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
    for name in ["a", "b"] {
        assert_eq!(desk.read(format!("out/data/{name}.txt/token")).trim(), "second");
    }
}

#[test]
fn files_of_the_application_keep_their_folders_and_their_executable_bits() {
    let desk = Desk::new();
    desk.write("data/a.txt", "1\n2\n")
        .write("mypkg/sub/part.sh", "echo part of $1\n")
        .write("mypkg/main.sh", "exit 5");
    desk.write("tool.sh", "#!/bin/sh\n. mypkg/sub/part.sh\n");
    fs::set_permissions(desk.path("tool.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let common = "[input]\nfiles = [\"data/*\"]\n[application]\nfiles = [\"mypkg/**\", \"./tool.sh\"]\n";
    desk.write("run.toml", format!("{common}[task]\ncommand = [\"./tool.sh\", \"{{input}}\"]\n"));
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/data/a.txt/stdout.txt"), "part of a.txt\n");
    let printed = String::from_utf8(desk.output(&["plan", "run.toml"]).stdout).unwrap();
    for line in ["mypkg/main.sh\n", "mypkg/sub/part.sh\n", "tool.sh (executable)\n"] {
        assert!(printed.contains(line), "{printed}");
    }
    // With a start task they lie once on each node.
    let start = "start_task = \"cp -r . $AZ_BATCH_NODE_SHARED_DIR\"\n";
    let task = "[task]\nshell = \"cd $AZ_BATCH_NODE_SHARED_DIR && ./tool.sh all\"\n";
    desk.write("run.toml", format!("{common}{start}{task}"));
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/data/a.txt/stdout.txt"), "part of all\n");
    // An input must not lie in the place of such a file.
    desk.write("elsewhere/tool.sh", "");
    desk.write(
        "run.toml",
        format!("{common}[task]\ncommand = [\"./tool.sh\"]\n").replace("data/*", "elsewhere/*"),
    );
    let (code, printed) = desk.refused(&["plan", "run.toml"]);
    assert_eq!(code, Some(2));
    assert!(
        printed.contains(
            "application.files: a file of the application and a file of the input elsewhere/tool.sh"
        ),
        "{printed}"
    );
}

#[test]
fn a_program_of_a_virtual_environment_is_found_and_one_below_home_with_home() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    let program = |path: &str, text: &str| {
        desk.write(path, format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(desk.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("venv/bin/python", "echo the python of $0");
    program("home/.local/bin/tool", "cat \"$HOME/.toolrc\"");
    desk.write("home/.toolrc", "settings of the tool\n");
    let run = |task: &str| {
        desk.write("run.toml", format!("[input]\nfiles = [\"data/*\"]\n[task]\n{task}\n"));
        let path = format!("{}:{}", desk.path("venv/bin").display(), std::env::var("PATH").unwrap());
        let mut command = desk.dropmill(&["run", "run.toml", "-q"]);
        command.env("PATH", path).env("HOME", desk.path("home")).output().unwrap().status.code()
    };
    assert_eq!(run("command = [\"python\", \"{input}\"]"), Some(0));
    let python = desk.path("venv/bin/python");
    assert_eq!(desk.read("out/data/a.txt/stdout.txt"), format!("the python of {}\n", python.display()));
    let tool = "shell = \"$HOME/.local/bin/tool\"";
    assert_eq!(run(tool), Some(1), "HOME is the folder of the task");
    assert_eq!(run(&format!("{tool}\ninherit = [\"PATH\", \"HOME\"]")), Some(0));
    assert_eq!(desk.read("out/data/a.txt/stdout.txt"), "settings of the tool\n");
}

/// The search path of a node that inherits none.
const OWN_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn a_daemon_passes_on_only_what_is_named() {
    let desk = mill::desk();
    let task = "shell = \"echo $PATH $CUDA_HOME > path\"\noutputs = [\"path\"]";
    let (before, after) = COUNT.split_once("shell = ").unwrap();
    let after = &after[after.find("[pool]").unwrap()..];
    for (inherit, expected) in
        [("", OWN_PATH.to_owned()), ("inherit = [\"CUDA_*\"]", format!("{OWN_PATH} {NAMED}"))]
    {
        desk.write("run.toml", format!("{before}{task}\n{inherit}\n{after}"));
        let mut mill = Mill::start_with(&desk, "daemon", &[], &[("CUDA_HOME", NAMED.as_ref())]);
        let name = format!("{}.txt", inherit.len());
        mill::put(&desk, &name, "");
        assert_eq!(mill.finished(1)[&name], "done");
        assert_eq!(mill.end(), Some(0));
        assert_eq!(desk.read(format!("done/{name}/path")).trim(), expected);
    }
}

#[test]
fn serve_passes_on_only_what_is_named_and_plan_says_what_azure_does_not_do() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    for (more, expected) in
        [(&[][..], OWN_PATH.to_owned()), (&["--inherit", "PATH"], std::env::var("PATH").unwrap())]
    {
        let served = Served::with(&desk, more);
        let task = "[task]\nshell = \"echo $PATH $DROPMILL_SLOT > path\"\noutputs = [\"path\"]\ninherit = [\"PATH\"]\n";
        desk.write("run.toml", format!("[input]\nfiles = [\"data/*\"]\n{task}{}", on_sockets(&served)));
        let with_keys = |command: &str| {
            let mut command = desk.dropmill(&[command, "run.toml"]);
            command.env("BATCH_KEY", served.text("/batch/key"));
            command.env("STORAGE_KEY", served.text("/blob/key")).output().unwrap()
        };
        let run = with_keys("run");
        assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
        assert_eq!(desk.read("out/data/a.txt/path").trim(), format!("{expected} 0"));
        let printed = String::from_utf8(with_keys("plan").stderr).unwrap();
        for expected in [
            "warning: task.inherit: nothing: nodes on Azure get no variable of this machine",
            "warning: task.shell: DROPMILL_SLOT is not set on Azure",
        ] {
            assert!(printed.contains(expected), "{printed}");
        }
    }
    let (code, printed) = desk.refused(&["serve", "--inherit", "A=B"]);
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("is no name or pattern of a variable"), "{printed}");
}
