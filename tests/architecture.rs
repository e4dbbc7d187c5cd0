//! Checks that the code agrees with the diagram in `docs/architecture.md`: dependencies go in one
//! direction only.
#![allow(clippy::unwrap_used)]

#[path = "architecture/imports.rs"]
mod imports;

use std::{collections::BTreeSet, fs, path::Path};

/// The packages of this project that each package may depend on.
const MAY_USE: &[(&str, &str, &[&str])] = &[
    ("crates/azure-wire", "dropmill-azure-wire", &[]),
    ("crates/azure-client", "dropmill-azure-client", &["dropmill-azure-wire", "dropmill-lifecycle"]),
    ("crates/lifecycle", "dropmill-lifecycle", &[]),
    ("crates/inputs", "dropmill-inputs", &[]),
    ("crates/private-files", "dropmill-private-files", &[]),
    ("crates/journal", "dropmill-journal", &["dropmill-private-files"]),
    ("crates/batch-model", "dropmill-batch-model", &["dropmill-azure-wire"]),
    (
        "crates/local-azure",
        "dropmill-local-azure",
        &["dropmill-azure-wire", "dropmill-batch-model", "dropmill-private-files"],
    ),
    (
        "actors",
        "dropmill-actors",
        &[
            "dropmill-azure-client",
            "dropmill-azure-wire",
            "dropmill-journal",
            "dropmill-lifecycle",
            "dropmill-private-files",
        ],
    ),
    (
        "crates/test-kit",
        "dropmill-test-kit",
        &[
            "dropmill-actors",
            "dropmill-azure-client",
            "dropmill-azure-wire",
            "dropmill-journal",
            "dropmill-lifecycle",
            "dropmill-local-azure",
        ],
    ),
    ("task-app", "top-words", &[]),
];

fn manifest(folder: &str) -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("Cargo.toml");
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn dependencies_point_one_way() {
    for (folder, name, may_use) in MAY_USE {
        let manifest = manifest(folder);
        assert_eq!(manifest["package"]["name"].as_str(), Some(*name));
        let dependencies = manifest["dependencies"].as_table().unwrap().keys();
        let ours: BTreeSet<_> =
            dependencies.filter(|name| name.starts_with("dropmill")).map(String::as_str).collect();
        let allowed: BTreeSet<_> = may_use.iter().copied().collect();
        assert!(ours.is_subset(&allowed), "{folder} uses {:?}", ours.difference(&allowed));
    }
}

#[test]
fn every_folder_of_the_picture_is_there_and_every_package_is_in_it() {
    let root = manifest(".");
    let picture =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    let members = root["workspace"]["members"].as_array().unwrap();
    assert_eq!(members.len(), 3, "actors, crates/*, task-app");
    let crates = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates")).unwrap();
    for entry in crates {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(picture.contains(&format!("  {name}/")), "crates/{name} is not in docs/architecture.md");
        assert!(MAY_USE.iter().any(|(folder, ..)| *folder == format!("crates/{name}")), "crates/{name}");
    }
}

/// State machines and wire formats only compute: they do not wait, read clocks or access files.
#[test]
fn state_machines_have_no_side_effects() {
    for folder in [
        "crates/lifecycle/src",
        "crates/inputs/src",
        "crates/batch-model/src",
        "crates/local-azure/src/blob/lease",
    ] {
        for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            for word in
                ["tokio", "actix", "std::fs", "std::net", "SystemTime", "Instant", "std::thread", "async "]
            {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

/// Our own files are created by `private-files`; otherwise their modes would depend on the umask. The
/// exceptions are sources that write other files: those of users, tasks, the kernel or tests.
#[test]
fn our_own_files_are_created_only_by_private_files() {
    let may = [
        ("src/commands/init/mod.rs", "the user's run file, and its schema beside it"),
        ("src/commands/simulate.rs", "outlines beside the user's scenarios"),
        ("src/daemon.rs", "the user's folders of a daemon"),
        (
            "crates/local-azure/src/blob/door.rs",
            "a resource file, which gets the mode that its task asks for",
        ),
        (
            "crates/local-azure/src/elsewhere/fetch.rs",
            "a resource file, which gets the mode that its task asks for",
        ),
        ("crates/local-azure/src/runner/packages.rs", "contents of packages, which have modes of their own"),
        ("crates/local-azure/src/runner/program.rs", "streams of tasks with our mode; the kernel's files"),
        ("crates/local-azure/src/runner/caps.rs", "opens what exists"),
        ("crates/local-azure/src/emulator_page/mod.rs", "a document, by a test"),
    ];
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let calls =
        ["File::create", "fs::write(", "create_dir", "DirBuilder", "OpenOptions::new", "Connection::open("];
    for folder in ["src", "crates/journal/src", "crates/local-azure/src"] {
        for path in sources(&project.join(folder)) {
            let name = path.strip_prefix(project).unwrap().to_string_lossy().into_owned();
            let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let found = calls.iter().find(|call| code.contains(**call));
            let allowed = is_test || may.iter().any(|(file, _)| *file == name);
            assert!(
                found.is_none() || allowed,
                "{name} has {found:?}: create it with dropmill_private_files"
            );
        }
    }
}

/// All output goes through `render::say`, where no name can move the cursor or start a new line.
#[test]
fn only_say_prints() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in sources(&project.join("src")) {
        if path.ends_with("render/say.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let line = line.replace("stderr().is_terminal()", "");
            for call in ["print!(", "println!(", "dbg!(", "stdout()", "stderr()"] {
                assert!(!line.contains(call), "{} prints: {line}", path.display());
            }
        }
    }
}

/// Pools and jobs are deleted in one place, which handles objects that are already deleted or being deleted.
#[test]
fn only_one_place_deletes_pools_and_jobs() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in sources(&project.join("actors/src")).into_iter().chain(sources(&project.join("src"))) {
        let text = fs::read_to_string(&path).unwrap();
        for call in ["batch.delete_pool(", "batch.delete_job("] {
            assert!(
                path.ends_with("actors/src/deletion.rs") || !text.contains(call),
                "{} calls {call}..)",
                path.display()
            );
        }
    }
}

/// Short files are easier to find things in.
#[test]
fn no_source_file_is_longer_than_600_lines() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "actors", "crates", "task-app", "tests"] {
        for path in sources(&project.join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
        }
    }
}

/// Everything that `docs/faults.md` names exists: functions in their files, commands in their scripts,
/// scenarios. Each fault has a test or a reason for having none, and the counts are correct.
#[test]
fn every_fault_names_its_tests_or_the_reason_for_none() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: &str| fs::read_to_string(project.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let note = read("docs/faults.md");
    let range = |numbers: std::ops::RangeInclusive<u32>| numbers.collect::<Vec<_>>();
    // Rows of the last group come as their faults are mended.
    let mended = range(1..=23).into_iter().filter(|number| note.contains(&format!("\n| W{number} | ")));
    let groups = [
        ("A", range(1..=14)),
        ("B", range(15..=25)),
        ("H", range(94..=115)),
        ("I", range(116..=124)),
        ("J", range(125..=137)),
        ("R", range(1..=22).into_iter().filter(|number| !(10..=12).contains(number)).collect()),
        ("S", range(10..=12)),
        ("W", mended.collect()),
    ];
    let mut rows = note.lines().filter(|line| line.matches(" | ").count() == 3);
    for (group, numbers) in groups {
        let mut counts = [0, 0, 0, 0];
        for number in numbers {
            let start = format!("| {group}{number} | ");
            let row = rows.find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("no row {start}"));
            let by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let (held, not) = by.split_once("Not held: ").map_or((by, None), |(held, not)| (held, Some(not)));
            let names: Vec<&str> = held.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty() || not.is_some_and(|why| why.len() > 20), "{row}");
            for name in &names {
                let is_there = if let Some((file, function)) = name.split_once("::") {
                    read(file).contains(&format!("fn {function}("))
                } else if let Some((script, command)) = name.split_once(".py ") {
                    let function = format!("def {}(", command.replace('-', "_"));
                    read(&format!("{script}.py")).contains(&function)
                } else {
                    *name == "trace crash tests/traces" || project.join(name).is_file()
                };
                assert!(is_there, "{group}{number}: there is no {name}");
            }
            counts[0] += 1;
            counts[if names.is_empty() { 3 } else { usize::from(not.is_some()) + 1 }] += 1;
        }
        let [all, held, part, none] = counts;
        let counts = format!(" | {all} | {held} | {part} | {none} |");
        assert!(
            note.lines().any(|line| line.starts_with(&format!("| {group} ")) && line.ends_with(&counts)),
            "{group}{counts}"
        );
    }
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The modules of the local service, each with the modules of the same crate that it may use: both HTTP
/// interfaces are above the service, and nothing below them uses them.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "service",
        &[
            "batch_core",
            "batch_http",
            "blob",
            "durability",
            "elsewhere",
            "reception",
            "runner",
            "store",
            "turns",
        ],
    ),
    ("batch_http", &["admission", "batch_core", "request_log"]),
    ("request_log", &["reception"]),
    ("batch_core", &["durability", "store"]),
    ("blob", &["admission", "durability", "reception", "room", "turns"]),
    ("elsewhere", &["blob", "room"]),
    ("runner", &["room", "turns"]),
    ("store", &["durability", "turns"]),
    ("reception", &[]),
    ("durability", &[]),
    ("room", &[]),
    ("turns", &[]),
    ("admission", &[]),
];

#[test]
fn rooms_of_the_local_service_use_only_those_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/local-azure/src");
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    for path in imports::sources_without_tests(&source) {
        let name = path.strip_prefix(&source).unwrap().with_extension("");
        let room = name.components().next().unwrap().as_os_str().to_str().unwrap().to_owned();
        if room == "lib" {
            continue;
        }
        let may_use =
            ROOMS.iter().find(|(of, _)| *of == room).unwrap_or_else(|| panic!("{room} is not in ROOMS")).1;
        let text = fs::read_to_string(&path).unwrap();
        for used in own_modules(text.split("#[cfg(test)]").next().unwrap()) {
            let fine = used == room || !rooms.contains(&*used) || may_use.contains(&&*used);
            assert!(fine, "{} uses {used}, which is not below it", path.display());
        }
    }
}

/// Returns the modules of its own crate that a source names with `crate::`, one by one or in a list.
fn own_modules(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut starts = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts = true,
                _ if letter.is_whitespace() => {}
                _ if starts => {
                    found.insert(word(&list[at..]));
                    starts = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn modules_are_found_one_by_one_and_in_lists() {
    let text = "use crate::a::B;\nuse crate::{\n    c::{D, E},\n    f, g::H,\n};\nlet x = crate::i::j();";
    assert_eq!(own_modules(text), ["a", "c", "f", "g", "i"].map(String::from).into());
}
