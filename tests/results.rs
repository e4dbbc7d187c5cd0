//! Results as tasks wrote them: modes, times, and streams that are too long.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Desk, Served, run_file};
use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::{Duration, SystemTime},
};

/// Returns a time in the distant past.
fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(981_173_106, 500_000_000)
}

/// Returns the run file for the embedded service, and for a service of another process.
fn everywhere(desk: &Desk, file: &str) -> (Served, [&'static str; 2]) {
    let served = Served::on(desk);
    desk.write("embedded.toml", file.replace("\"out\"", "\"out-embedded\""));
    for (file, key) in [("batch.key", "/batch/key"), ("storage.key", "/blob/key")] {
        desk.write(file, served.text(key));
        fs::set_permissions(desk.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let elsewhere = common::on_sockets(&served)
        .replace("env = \"BATCH_KEY\"", "file = \"batch.key\"")
        .replace("env = \"STORAGE_KEY\"", "file = \"storage.key\"")
        + &file.replace("\"out\"", "\"out-elsewhere\"");
    desk.write("elsewhere.toml", elsewhere);
    (served, ["embedded", "elsewhere"])
}

#[test]
fn modes_and_times_of_inputs_and_results_are_kept() {
    let desk = Desk::new();
    desk.write("data/tool.sh", "#!/bin/sh\necho hello\n").write("data/plain.txt", "x");
    for (name, mode) in [("tool.sh", 0o750), ("plain.txt", 0o640)] {
        let path = desk.path(format!("data/{name}"));
        File::options().write(true).open(&path).unwrap().set_modified(long_ago()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let command = r#"["/bin/sh", "-c", "stat -c '%a %Y' \"$DROPMILL_INPUT\" > seen; cp -p \"$DROPMILL_INPUT\" copy; mkdir deep; cp -p \"$DROPMILL_INPUT\" deep/copy; chmod 444 deep/copy; : > new"]
outputs = ["seen", "copy", "deep/*", "new"]"#;
    let (_served, services) = everywhere(&desk, &run_file(command, ""));
    for service in services {
        desk.run(&format!("{service}.toml")).exited(0);
        for (input, mode) in [("tool.sh", 0o750), ("plain.txt", 0o640)] {
            let folder = format!("out-{service}/data/{input}");
            assert_eq!(desk.read(format!("{folder}/seen")), format!("{mode:o} 981173106\n"), "{service}");
            for (file, mode) in [("copy", mode), ("deep/copy", 0o444)] {
                let facts = fs::metadata(desk.path(format!("{folder}/{file}"))).unwrap();
                assert_eq!(facts.mode() & 0o7777, mode, "{service} {input} {file}");
                assert_eq!(facts.modified().unwrap(), long_ago(), "{service} {input} {file}");
            }
            let new = fs::metadata(desk.path(format!("{folder}/new"))).unwrap().modified().unwrap();
            assert!(new > long_ago() + Duration::from_secs(1_000_000), "{service}");
        }
    }
}

#[test]
fn the_middle_of_a_long_stream_is_left_out_and_reported_everywhere() {
    let desk = Desk::new();
    desk.write("data/a.txt", "");
    let command = r#"["/bin/sh", "-c", "echo begins; seq 100000; echo ends; echo no >&2"]"#;
    let (_served, services) = everywhere(&desk, &run_file(command, "[limits]\nstream_bytes = \"64KiB\"\n"));
    for service in services {
        let said = desk.run(&format!("{service}.toml"));
        said.exited(0);
        let stdout = desk.read(format!("out-{service}/data/a.txt/stdout.txt"));
        assert!(stdout.len() < 70_000 && stdout.len() > 60_000, "{service}: {}", stdout.len());
        assert!(stdout.starts_with("begins\n1\n") && stdout.ends_with("100000\nends\n"), "{service}");
        assert!(stdout.contains(" bytes left out"), "{service}");
        let delivered = &said.of("output_delivered")[0]["files"];
        let of = |path: &str| delivered.as_array().unwrap().iter().find(|file| file["path"] == path).unwrap();
        let left_out = of("stdout.txt")["left_out"].as_u64().unwrap();
        assert!((500_000..600_000).contains(&left_out), "{service}: {left_out}");
        assert_eq!(of("stdout.txt")["bytes"].as_u64(), Some(stdout.len() as u64), "{service}");
        assert!(of("stderr.txt").get("left_out").is_none(), "{service}");
        assert_eq!(said.report["results"][0]["left_out"].as_u64(), Some(left_out), "{service}");
        let shown = desk.output(&["show", said.report["run"].as_str().unwrap()]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("of its streams left out"), "{service}: {shown}");

        let failed =
            desk.run_with(&["run", &format!("{service}.toml"), "--json", "--set", "limits.on_overflow=fail"]);
        failed.exited(1);
        let cause = failed.report["results"][0]["cause"].as_str().unwrap();
        assert!(cause.contains("stdout.txt is longer than limits.stream_bytes"), "{service}: {cause}");
    }
}
