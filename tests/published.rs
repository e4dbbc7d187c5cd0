//! Published documents agree with the program.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use dropmill::settings;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_schemas_in_docs_are_up_to_date() {
    let desk = Desk::new();
    for of in ["run-file", "event", "report"] {
        let output = desk.output(&["schema", of]);
        assert!(output.status.success());
        let path = project().join(format!("docs/schemas/{of}.json"));
        let published = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == String::from_utf8_lossy(&output.stdout),
            "docs/schemas/{of}.json is out of date: dropmill schema {of} > docs/schemas/{of}.json"
        );
    }
}

/// Collects every `section.key` of a JSON schema whose objects are `$ref`s.
fn keys(schema: &Value, at: &Value, above: &str, found: &mut BTreeSet<String>) {
    let at = match at["$ref"].as_str() {
        Some(reference) => schema.pointer(reference.trim_start_matches('#')).unwrap(),
        None => at,
    };
    let properties = at["properties"].as_object();
    if properties.is_none() && !above.is_empty() {
        found.insert(above.to_owned());
    }
    for (key, value) in properties.into_iter().flatten() {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        keys(schema, value, &path, found);
    }
}

#[test]
fn default_toml_contains_exactly_the_known_keys() {
    let mut known = BTreeSet::new();
    let schema = serde_json::to_value(settings::schema()).unwrap();
    keys(&schema, &schema, "", &mut known);
    assert!(known.remove("$schema"), "it names the schema for editors and is not a setting");
    // A key without a default appears as a comment, `# key = …`.
    let mut section = String::new();
    let mut listed = BTreeSet::new();
    for line in settings::DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            if ["task.env", "task.secret_env"].contains(&name) {
                listed.insert(name.to_owned());
            }
        }
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            // Azure defines the keys of an image: any of them may appear there.
            listed.insert(if section == "pool.image" { section.clone() } else { format!("{section}.{key}") });
        }
    }
    assert_eq!(listed, known);
}

#[test]
fn every_run_file_of_the_project_can_be_planned() {
    let desk = Desk::new();
    // `config/top-words.toml` names the built application, which has another path in the tests' build.
    let copy = desk.path("project");
    for folder in ["config", "docs"] {
        copy_folder(&project().join(folder), &copy.join(folder));
    }
    for file in ["README.md", "CHANGELOG.md"] {
        fs::copy(project().join(file), copy.join(file)).unwrap();
    }
    desk.write("project/target/release/top-words", "");
    let mut planned = 0;
    for entry in fs::read_dir(copy.join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == "default.toml" {
            continue;
        }
        let output = desk.output(&["plan", path.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        planned += 1;
    }
    assert!(planned >= 2);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn the_run_file_that_init_writes_can_be_planned_and_is_never_overwritten() {
    let desk = Desk::new();
    desk.write("data/a.txt", "x");
    assert!(desk.output(&["init"]).status.success());
    let output = desk.output(&["plan", "run.toml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let before = desk.read("run.toml");
    let again = desk.output(&["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(desk.read("run.toml"), before);
}

#[test]
fn completions_know_the_commands() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = desk.output(&["completions", shell]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(["run", "plan", "serve", "trace"].iter().all(|command| text.contains(command)), "{shell}");
    }
}
