//! Journals that earlier versions wrote are read by this one. `golden/` holds one for each format, or set of kinds, that
//! was ever released: they are only added to. `GOLDEN=NAME cargo test -p dropmill-journal --test golden -- --ignored`
//! writes another, with every kind of event that there is then.
#![allow(clippy::unwrap_used)]

use dropmill_journal::{
    Journal, RunHeader,
    event::{Event, Happening},
    past::Past,
    report::ReportFold,
    schema, trace,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Waker},
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every journal of the folder, copied: to open one makes files beside it.
fn journals() -> BTreeMap<String, (RunHeader, Vec<Event>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "db") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let copy = folder.path().join("journal.db");
            fs::copy(&path, &copy).unwrap();
            found.insert(name, Journal::read(&copy).unwrap());
        }
    }
    found
}

#[test]
fn journals_of_earlier_versions_are_read_as_they_were_written() {
    let journals = journals();
    assert!(journals.contains_key("format-1"), "today's format");
    for (name, (header, events)) in journals {
        assert_eq!(header.run, "golden-run", "{name}");
        let told: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let written = fs::read_to_string(golden().join(format!("{name}.jsonl"))).unwrap();
        assert_eq!(told, written.lines().collect::<Vec<_>>(), "{name}");
        // And understood: folded, told, and gone on with.
        assert!(ReportFold::of(&events).outcome.is_some(), "{name}");
        assert_eq!(Past::of(&events).last, events.len() as u64, "{name}");
        assert!(!trace::outline(&events).is_empty(), "{name}");
    }
}

#[test]
fn every_kind_of_event_is_in_a_journal_that_is_kept() {
    let kept: BTreeSet<String> = journals().values().flat_map(|(_, events)| events).map(kind_of).collect();
    let all: BTreeSet<String> = kinds().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(all.difference(&kept).collect::<Vec<_>>(), Vec::<&String>::new(), "keep another journal");
}

#[test]
#[ignore = "writes a journal to be kept, for whoever changes the format or adds a kind of event"]
fn a_journal_to_be_kept_is_written() {
    let name = std::env::var("GOLDEN").unwrap();
    let events: Vec<Event> = kinds()
        .into_iter()
        .enumerate()
        .map(|(at, (_, happening))| Event {
            seq: at as u64 + 1,
            at: "2026-11-28T10:00:00Z".parse().unwrap(),
            elapsed_ms: at as u64 * 7,
            run: "golden-run".into(),
            actor: "task_monitor".into(),
            subject: "task/a-txt-0123456789ab".into(),
            cause: (at > 0).then_some(at as u64),
            happening,
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let header = RunHeader::of("golden-run", "golden", "2026-11-28T10:00:00Z".parse().unwrap(), "0123");
    let journal = Journal::create(&path, &header).unwrap();
    let mut committed = pin!(journal.append(events.clone()));
    while committed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        std::thread::yield_now();
    }
    drop(journal);
    // Closing folded the log into the file.
    fs::copy(&path, golden().join(format!("{name}.db"))).unwrap();
    let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    fs::write(golden().join(format!("{name}.jsonl")), lines.join("\n") + "\n").unwrap();
}

fn kind_of(event: &Event) -> String {
    serde_json::to_value(event).unwrap()["kind"].as_str().unwrap().to_owned()
}

/// One event of every kind that the schema knows, with something in every field; `run_ended` is the last.
fn kinds() -> Vec<(String, Happening)> {
    let schema = serde_json::to_value(schema::event()).unwrap();
    let definitions = schema["$defs"].clone();
    let mut kinds: Vec<(String, Happening)> = schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let kind = one["properties"]["kind"]["const"].as_str().unwrap().to_owned();
            let payload = sample(&one["properties"]["payload"], &definitions);
            let happening = serde_json::from_value(json!({ "kind": kind, "payload": payload }));
            (kind.clone(), happening.unwrap_or_else(|error| panic!("{kind}: {error}")))
        })
        .collect();
    kinds.sort_by_key(|(kind, _)| (kind == "run_ended", kind != "run_started"));
    kinds
}

/// A value that fits a schema.
fn sample(schema: &Value, definitions: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return sample(&definitions[name.rsplit('/').next().unwrap()], definitions);
    }
    if let Some(all) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        return sample(&all[0], definitions);
    }
    if let Some(constant) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return constant.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let fields = schema["properties"].as_object().cloned().unwrap_or_default();
            let filled = fields.iter().map(|(name, of)| match name.as_str() {
                "started" | "ended" => (name.clone(), json!("2026-11-28T10:00:00Z")),
                _ => (name.clone(), sample(of, definitions)),
            });
            Value::Object(filled.collect())
        }
        Some("array") => json!([sample(&schema["items"], definitions)]),
        Some("integer") => json!(7),
        Some("boolean") => json!(true),
        Some("string") => json!("some text, ünïcødé"),
        other => panic!("{other:?}: {schema}"),
    }
}
