//! The drop folder: a file is put there, and its result appears; nothing is lost, and nothing is
//! delivered twice.

mod common;

use common::{
    Desk,
    mill::{COUNT, Mill, PATIENCE, desk, names, put},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

#[test]
fn a_dropped_file_gets_its_result_or_the_reason_of_its_failure() {
    let desk = desk();
    put(&desk, "early.txt", "12345");
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "late.txt", "1234567");
    put(&desk, "bad.txt", "x");
    let finished = mill.finished(3);
    assert_eq!(finished["early.txt"], "done");
    assert_eq!(finished["late.txt"], "done");
    assert_eq!(finished["bad.txt"], "failed");
    assert_eq!(desk.read("done/late.txt/bytes.txt").trim(), "7");
    assert_eq!(desk.read("done/late.txt/late.txt"), "1234567", "the input goes with its result");
    let result: Value = serde_json::from_str(&desk.read("done/early.txt/result.json")).unwrap();
    assert_eq!((&result["input"], &result["exit_code"]), (&"early.txt".into(), &0.into()));
    let reason: Value = serde_json::from_str(&desk.read("failed/bad.txt/reason.json")).unwrap();
    assert_eq!((&reason["cause"], &reason["stderr_tail"]), (&"exit code 3".into(), &"no good".into()));
    let status: Value =
        serde_json::from_slice(&desk.output(&["status", "run.toml", "--json"]).stdout).unwrap();
    assert!(status["holder"].as_str().unwrap().starts_with("pid "), "{status}");
    assert_eq!((&status["done"], &status["failed"], &status["at_work"]), (&2.into(), &1.into(), &0.into()));
    // After it is put back under another name, it is a file like any other.
    fs::rename(desk.path("failed/bad.txt/bad.txt"), desk.path("drop/good.txt")).unwrap();
    assert_eq!(mill.finished(1)["good.txt"], "done");
    assert_eq!(mill.end(), Some(0));
    assert!(names(&desk.path("drop")).is_empty());
    assert!(desk.files("work").is_empty(), "{:?}", desk.files("work"));
    assert!(desk.processes().is_empty());
}

#[test]
fn a_second_file_with_the_same_name_replaces_nothing() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &[]);
    // In the longest possible name, the number replaces its last characters.
    let long = "n".repeat(255);
    for content in ["1", "22", "333"] {
        put(&desk, "a.txt", content);
        put(&desk, &long, content);
        mill.finished(2);
    }
    let (second, third) = (format!("{}~2", &long[..253]), format!("{}~3", &long[..253]));
    let expected = ["a.txt", "a.txt~2", "a.txt~3", &*long, &*second, &*third];
    let mut found = names(&desk.path("done"));
    found.sort_by_key(|name| (name.len() > 100, !name.ends_with('n') && name.len() > 100, name.clone()));
    assert_eq!(found, expected);
    assert_eq!(desk.read("done/a.txt~3/bytes.txt").trim(), "3");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn every_file_has_one_result_however_often_the_daemon_is_killed() {
    let desk = desk();
    let files = 40;
    let mut put_so_far = 0;
    // Each process is killed after it has finished a few more files; meanwhile the next files arrive.
    for life in 0..8 {
        for _ in 0..5 {
            put(&desk, format!("{put_so_far:03}.txt"), &"x".repeat(put_so_far));
            put_so_far += 1;
        }
        let mut mill = Mill::start(&desk, &[]);
        if life % 2 == 0 {
            mill.finished(1 + life % 3);
        }
        mill.kill();
    }
    assert_eq!(put_so_far, files);
    let mut mill = Mill::start(&desk, &[]);
    let left = |desk: &Desk| files - names(&desk.path("done")).len();
    while left(&desk) > 0 {
        mill.until(|said| said["kind"] == "finished").unwrap_or_else(|| panic!("{}", mill.stderr()));
    }
    assert_eq!(mill.end(), Some(0));
    let expected: Vec<_> = (0..files).map(|number| format!("{number:03}.txt")).collect();
    assert_eq!(names(&desk.path("done")), expected, "each once, none beside another");
    for number in 0..files {
        let bytes = desk.read(format!("done/{number:03}.txt/bytes.txt"));
        assert_eq!(bytes.trim(), number.to_string());
        assert!(desk.path(format!("done/{number:03}.txt/{number:03}.txt")).exists());
    }
    assert!(desk.files("work").is_empty(), "{:?}", desk.files("work"));
    assert!(names(&desk.path("drop")).is_empty() && names(&desk.path("failed")).is_empty());
    assert!(desk.processes().is_empty());
}

#[test]
fn a_daemon_killed_while_its_pool_has_no_nodes_requests_them_again() {
    let desk = Desk::new();
    desk.write("run.toml", COUNT.replace("[watch]", "[watch]\nidle = \"1ms\""));
    fs::create_dir(desk.path("drop")).unwrap();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "one", "1");
    assert_eq!(mill.finished(1)["one"], "done");
    assert!(mill.until(|said| said["kind"] == "nodes_released").is_some());
    mill.kill();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "two", "2");
    assert_eq!(mill.finished(1)["two"], "done");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn a_pool_grows_with_the_number_of_files() {
    let desk = desk();
    let shell = format!(
        "task.shell=while ! test -e {}; do sleep 0.01; done; echo x > bytes.txt",
        desk.path("gate").display()
    );
    let mut mill = Mill::start(&desk, &["--set", &shell, "--set", "pool.nodes=3"]);
    put(&desk, "a", "x");
    let created = mill.until(|said| said["kind"] == "pool_created").unwrap();
    assert_eq!(created["payload"]["nodes"], 1, "{created}");
    mill.until(|said| said["kind"] == "pool_ready" && said["payload"]["nodes"] == 1).unwrap();
    put(&desk, "b", "x");
    mill.until(|said| said["kind"] == "pool_ready" && said["payload"]["nodes"] == 2).unwrap();
    for name in ["c", "d", "e"] {
        put(&desk, name, "x");
    }
    mill.until(|said| said["kind"] == "pool_ready" && said["payload"]["nodes"] == 3).unwrap();
    desk.write("gate", "");
    mill.finished(5);
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn a_pool_that_is_no_longer_used_is_deleted() {
    let desk = Desk::new();
    let text = COUNT.replace("[watch]", "[watch]\nidle = \"1ms\"");
    desk.write("run.toml", &text);
    fs::create_dir(desk.path("drop")).unwrap();
    let pools = || {
        let found = desk.files("state").into_iter().filter(|path| path.contains("/pools/"));
        found.collect::<Vec<_>>()
    };
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "one", "1");
    assert!(mill.until(|said| said["kind"] == "nodes_released").is_some());
    mill.kill();
    let before = pools();
    assert_eq!(before.len(), 1);
    desk.write("run.toml", text.replace("nodes = 2", "nodes = 2\nvm_size = \"STANDARD_D4S_V3\""));
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "two", "2");
    for _ in 0..2 {
        assert!(mill.until(|said| said["kind"] == "nodes_released").is_some());
    }
    assert!(pools().len() == 1 && pools() != before, "{:?}", pools());
    assert_eq!(mill.end(), Some(0));
    assert_eq!(pools(), Vec::<String>::new());
}

#[test]
fn a_reloaded_run_file_applies_to_the_next_run_and_names_keys_for_the_next_start() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &[]);
    put(&desk, "one", "1");
    assert_eq!(mill.finished(1)["one"], "done");
    let text = COUNT
        .replace("wc -c <", "echo changed; wc -c <")
        .replace("directory = \"drop\"", "directory = \"other\"");
    desk.write("run.toml", text);
    mill.signal(Signal::HUP);
    let reloaded = mill.until(|said| said["kind"] == "reloaded").unwrap();
    assert_eq!(reloaded["later"], serde_json::json!(["watch.directory"]));
    put(&desk, "two", "2");
    assert_eq!(mill.finished(1)["two"], "done");
    assert_eq!(desk.read("done/one/stdout.txt"), "");
    assert_eq!(desk.read("done/two/stdout.txt"), "changed\n");
    // A run file with mistakes changes nothing.
    desk.write("run.toml", "[pool");
    mill.signal(Signal::HUP);
    put(&desk, "three", "3");
    assert_eq!(mill.finished(1)["three"], "done");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn a_service_manager_is_notified_of_ready_healthy_and_stopping() {
    let desk = desk();
    let path = desk.path("manager");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let variables: [(&str, &OsStr); 2] =
        [("NOTIFY_SOCKET", path.as_os_str()), ("WATCHDOG_USEC", OsStr::new("2000"))];
    let mill = Mill::start_with(&desk, "state", &[], &variables);
    let hear = |wanted: &str| loop {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).unwrap();
        if std::str::from_utf8(&message[..length]).unwrap().lines().any(|line| line.starts_with(wanted)) {
            return;
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("STATUS=0 waiting, 0 running");
    let ending = std::thread::spawn(|| mill.end());
    hear("STOPPING=1");
    assert_eq!(ending.join().unwrap(), Some(0));
}

#[test]
fn two_daemons_on_one_folder_share_its_files() {
    let desk = desk();
    let mills = [Mill::start_in(&desk, "one", &[]), Mill::start_in(&desk, "two", &[])];
    let files = 60;
    for number in 0..files {
        put(&desk, format!("{number:02}.txt"), "x");
    }
    let done = desk.path("done");
    let [one, two] = mills;
    // The second daemon takes the files that the first does not take; the number is not predictable.
    while names(&done).len() < files {
        std::thread::yield_now();
    }
    assert_eq!((one.end(), two.end()), (Some(0), Some(0)));
    assert_eq!(names(&done).len(), files, "each once: {:?}", names(&done));
    assert!(!names(&done).iter().any(|name| name.contains('~')));
    // A second daemon with the same state folder reports who uses it.
    let _held = Mill::start_in(&desk, "one", &[]);
    let mut command = desk.dropmill(&["watch", "run.toml"]);
    command.env_remove("DROPMILL_STATE");
    let arguments: Vec<_> = command.get_args().map(OsStr::to_owned).collect();
    let arguments: Vec<_> = arguments
        .into_iter()
        .map(|argument| if argument == desk.path("state") { desk.path("one").into() } else { argument })
        .collect();
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_dropmill"))
        .args(arguments)
        .current_dir(desk.path("."))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by pid"), "{refused:?}");
}

#[test]
fn every_hostile_entry_is_processed_or_reported_and_nothing_else_is_changed() {
    let desk = desk();
    let long = "n".repeat(255);
    let hostile: Vec<PathBuf> = [
        &b"plain.txt"[..],
        b"-rf",
        b"--help",
        b"$(touch pwned)",
        b"`touch pwned`",
        b"a;touch pwned",
        b"quote'\".txt",
        b"two words.txt",
        b"new\nline",
        b"tab\t",
        b"100%25.txt",
        b"\xff\xfe.bin",
        "ünïcødé ☃".as_bytes(),
        "\u{202e}txt.exe".as_bytes(),
        b"A.txt",
        b"a.txt",
        // One letter, composed and decomposed: two names.
        "\u{e9}.txt".as_bytes(),
        "e\u{301}.txt".as_bytes(),
        b"back\\slash",
        b"CON",
        b"dot.",
        b"*?[x]",
        b"~tilde~x",
        b"#hash?query&amp",
        long.as_bytes(),
    ]
    .iter()
    .map(|name| PathBuf::from(OsStr::from_bytes(name)))
    .collect();
    for name in &hostile {
        put(&desk, name, "x");
    }
    put(&desk, "empty", "");
    // Kinds of entries that cannot be inputs, and names that programs use for files in progress.
    let drop = desk.path("drop");
    desk.write("outside.txt", "untouched");
    std::os::unix::fs::symlink(desk.path("outside.txt"), drop.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", drop.join("dangling")).unwrap();
    let everybody = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, drop.join("pipe"), rustix::fs::FileType::Fifo, everybody, 0)
        .unwrap();
    fs::create_dir(drop.join("folder")).unwrap();
    fs::write(drop.join("x.part"), "half").unwrap();
    fs::write(drop.join(".hidden"), "x").unwrap();
    let mut mill = Mill::start(&desk, &[]);
    let finished = mill.finished(hostile.len() + 1);
    assert!(finished.values().all(|outcome| outcome == "done"), "{finished:#?}");
    mill.signal(Signal::TERM);
    while mill.until(|_| true).is_some() {}
    let printed = mill.stderr();
    for name in ["link", "dangling", "pipe"] {
        assert!(printed.contains(&format!("left in the drop folder: {name}: ")), "{name}: {printed}");
    }
    for name in &hostile {
        let place = desk.path("done").join(name);
        assert_eq!(fs::read_to_string(place.join("bytes.txt")).unwrap().trim(), "1", "{}", name.display());
    }
    assert_eq!(names(&drop), [".hidden", "dangling", "folder", "link", "pipe", "x.part"]);
    assert_eq!(desk.read("outside.txt"), "untouched");
    assert!(!desk.files(".").iter().any(|path| path.contains("pwned") && !path.contains("touch")));
}

#[test]
fn with_markers_a_file_is_taken_only_when_its_marker_is_there() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &["--set", "watch.marker=.ready"]);
    put(&desk, "unmarked.txt", "half");
    put(&desk, "marked.txt", "whole");
    put(&desk, "marked.txt.ready", "");
    assert_eq!(mill.finished(1)["marked.txt"], "done");
    assert_eq!(names(&desk.path("drop")), ["unmarked.txt"], "the marker went with its file");
    put(&desk, "unmarked.txt.ready", "");
    assert_eq!(mill.finished(1)["unmarked.txt"], "done");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn a_file_that_was_processed_before_can_be_skipped_or_quarantined() {
    let desk = desk();
    let mut mill = Mill::start(&desk, &["--set", "watch.duplicates=skip"]);
    put(&desk, "a.txt", "same");
    assert_eq!(mill.finished(1)["a.txt"], "done");
    put(&desk, "a.txt", "same");
    assert_eq!(mill.finished(1)["a.txt"], "duplicate");
    put(&desk, "a.txt", "other");
    assert_eq!(mill.finished(1)["a.txt"], "done");
    put(&desk, "b.txt", "same");
    assert_eq!(mill.finished(1)["b.txt"], "done", "another name is another file");
    let first: Value = serde_json::from_str(&desk.read("done/a.txt/result.json")).unwrap();
    let again: Value = serde_json::from_str(&desk.read("done/a.txt~2/result.json")).unwrap();
    assert_eq!(again["same_as"]["task"], first["task"]);
    assert_eq!(mill.end(), Some(0));
    // The file is remembered after a restart.
    let mut mill = Mill::start(&desk, &["--set", "watch.duplicates=quarantine"]);
    put(&desk, "b.txt", "same");
    assert_eq!(mill.finished(1)["b.txt"], "failed");
    assert!(desk.read("failed/b.txt/reason.json").contains("it was processed before"));
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn a_folder_can_be_one_input_with_everything_in_it() {
    let desk = desk();
    let shell = r#"task.shell=find "$DROPMILL_INPUT" -type f -exec cat {} + | wc -c > bytes.txt; test -f "$DROPMILL_INPUT/deep/a b.txt""#;
    let more = ["--set", "watch.unit=directory", "--set", shell, "--set", "watch.duplicates=skip"];
    // A complete folder is moved here with everything in it, as careful producers do.
    let album = |name: &str, content: &str| {
        desk.write("coming/deep/a b.txt", content);
        desk.write("coming/.hidden", "12");
        fs::rename(desk.path("coming"), desk.path("drop").join(name)).unwrap();
    };
    album("early", "12345");
    let mut mill = Mill::start(&desk, &more);
    album("late", "1234567");
    let finished = mill.finished(2);
    assert_eq!((finished["early"].as_str(), finished["late"].as_str()), ("done", "done"));
    assert_eq!(desk.read("done/late/bytes.txt").trim(), "9");
    assert_eq!(desk.read("done/late/late/deep/a b.txt"), "1234567", "the folder goes with its result");
    album("late", "1234567");
    assert_eq!(mill.finished(1)["late"], "duplicate");
    album("late", "other");
    assert_eq!(mill.finished(1)["late"], "done");
    // Entries that cannot be inputs stay and are reported.
    desk.write("coming/file", "x");
    std::os::unix::fs::symlink("/etc/passwd", desk.path("coming/link")).unwrap();
    fs::rename(desk.path("coming"), desk.path("drop/linked")).unwrap();
    put(&desk, "plain.txt", "x");
    album("last", "x");
    assert_eq!(mill.finished(1)["last"], "done");
    let printed = mill.stderr();
    for text in ["linked: it contains link, which is a symbolic link", "plain.txt: a file"] {
        assert!(printed.contains(text), "{text}: {printed}");
    }
    assert_eq!(names(&desk.path("drop")), ["linked", "plain.txt"]);
    let wrong =
        desk.output(&["watch", "run.toml", "--set", "watch.unit=directory", "--set", "watch.recursive=true"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
}

#[test]
fn files_that_are_gathered_make_one_run_and_the_next_ones_another() {
    let desk = desk();
    // No pause of an hour occurs: three files start a batch.
    let more = ["--set", "watch.gather=1h", "--set", "watch.roll_after=3"];
    let mut mill = Mill::start(&desk, &more);
    let run_of = |name: &str| {
        let result: Value = serde_json::from_str(&desk.read(format!("done/{name}/result.json"))).unwrap();
        result["run"].as_str().unwrap().to_owned()
    };
    let mut runs = vec![];
    for batch in ["a", "b"] {
        for number in 1..=3 {
            put(&desk, format!("{batch}{number}"), "x");
        }
        mill.finished(3);
        let all: Vec<_> = (1..=3).map(|number| run_of(&format!("{batch}{number}"))).collect();
        assert_eq!(all, [all[0].as_str(); 3]);
        runs.push(all[0].clone());
    }
    assert_ne!(runs[0], runs[1]);
    put(&desk, "c1", "x");
    assert_eq!(mill.end(), Some(0));
    assert_eq!(names(&desk.path("drop")), ["c1"], "it waits for others");
}

#[test]
fn an_interrupted_notification_is_sent_once_more_with_the_same_id_after_a_restart() {
    let desk = desk();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("notify.url=http://{}/", listener.local_addr().unwrap());
    let more = ["--set", &url, "--set", "notify.timeout=60s"];
    // The receiver of notifications; it responds only if it may finish.
    let heard = |answers: bool| {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut id, mut line) = (String::new(), String::new());
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(found) = line.strip_prefix("webhook-id: ") {
                id = found.trim().to_owned();
            }
        }
        if answers {
            stream
                .write_all(b"HTTP/1.1 204 Taken\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
        (id, stream)
    };
    let mut mill = Mill::start(&desk, &more);
    put(&desk, "a.txt", "x");
    mill.finished(1);
    let (first, held) = heard(false);
    mill.kill();
    drop(held);
    let mut mill = Mill::start(&desk, &more);
    assert_eq!(heard(true).0, first);
    put(&desk, "b.txt", "x");
    mill.finished(1);
    let (second, _) = heard(true);
    assert_ne!(second, first);
    assert_eq!(mill.end(), Some(0));
    // Both notifications were sent: the next one is about the next file.
    let mut mill = Mill::start(&desk, &more);
    put(&desk, "c.txt", "x");
    mill.finished(1);
    let (third, _) = heard(true);
    assert!(third != first && third != second);
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn subfolders_can_be_searched_for_files() {
    let desk = desk();
    desk.write("drop/deep/down/a.txt", "abc");
    let mut mill = Mill::start(&desk, &["--set", "watch.recursive=true"]);
    assert_eq!(mill.finished(1)["deep/down/a.txt"], "done");
    assert_eq!(desk.read("done/deep/down/a.txt/bytes.txt").trim(), "3");
    desk.write("drop/new/b.txt", "ab");
    assert_eq!(mill.finished(1)["new/b.txt"], "done");
    assert_eq!(mill.end(), Some(0));
}

#[test]
fn tasks_that_a_stop_ends_are_done_after_the_next_start() {
    let desk = desk();
    desk.write("run.toml", COUNT.replace("case ", "while test -e $HOLD; do sleep 0.05; done; case "));
    let hold = desk.path("hold");
    fs::write(&hold, "").unwrap();
    let set = format!("task.env.HOLD={}", hold.display());
    let options = ["--set", &set, "--set", "watch.drain=100ms"];
    let mut mill = Mill::start(&desk, &options);
    put(&desk, "held.txt", "1234");
    mill.until(|said| said["kind"] == "task_running" || said["kind"] == "task_submitted").unwrap();
    assert_eq!(mill.end(), Some(0));
    assert!(desk.processes().is_empty(), "no task outlives it");
    assert_eq!(desk.files("work").len(), 1, "{:?}", desk.files("work"));
    fs::remove_file(hold).unwrap();
    let mut mill = Mill::start(&desk, &options);
    assert_eq!(mill.finished(1)["held.txt"], "done");
    assert_eq!(mill.end(), Some(0));
    assert!(desk.files("work").is_empty(), "{:?}", desk.files("work"));
}

#[test]
fn overlapping_folders_are_rejected_before_anything_is_created() {
    let desk = desk();
    for (set, key) in [
        ("watch.done=drop/done", "watch.done"),
        ("watch.work=.", "watch.work"),
        ("watch.failed=done", "watch.failed"),
    ] {
        let refused = desk.output(&["watch", "run.toml", "--set", set]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(key), "{refused:?}");
    }
    assert!(!desk.path("done").exists());
}
