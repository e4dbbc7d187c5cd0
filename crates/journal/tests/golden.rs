//! This version reads the journals of earlier versions. `golden/` contains one journal for each released
//! format or set of event kinds, and one that a killed process left. Journals are only added. `GOLDEN=NAME
//! cargo test -p dropmill-journal --test golden -- --ignored` writes a new one, with every kind of event.
#![allow(clippy::unwrap_used)]

use dropmill_journal::{
    Damage, Journal, JournalError, RunHeader,
    event::{Event, EventKind},
    past::RecoveredRun,
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

/// Returns every closed journal of the folder. They are copied, because opening one creates files beside it.
fn journals() -> BTreeMap<String, (RunHeader, Vec<Event>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "db") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let copy = folder.path().join(&name).with_extension("db");
            fs::copy(&path, &copy).unwrap();
            found.insert(name, Journal::read(&copy).unwrap());
        }
    }
    found
}

/// Copies a journal as a killed process left it; returns the path of the copy.
fn interrupted(name: &str, to: &Path) -> PathBuf {
    for entry in fs::read_dir(golden().join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    to.join("journal.db")
}

fn lines(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
}

#[test]
fn journals_of_earlier_versions_can_be_read() {
    let journals = journals();
    for format in ["format-1", "format-2"] {
        assert!(journals.contains_key(format), "{format}");
    }
    for (name, (header, events)) in journals {
        assert_eq!(header.run, "golden-run", "{name}");
        let written = fs::read_to_string(golden().join(format!("{name}.jsonl"))).unwrap();
        assert_eq!(lines(&events), written.lines().collect::<Vec<_>>(), "{name}");
        // The events can also be folded, traced and resumed.
        assert!(ReportFold::of(&events).outcome.is_some(), "{name}");
        assert_eq!(RecoveredRun::of(&events).last, events.len() as u64, "{name}");
        assert!(!trace::outline(&events).is_empty(), "{name}");
    }
}

#[test]
fn interrupted_runs_of_earlier_versions_are_resumed_and_then_protected() {
    for name in ["format-1-interrupted", "format-2-interrupted"] {
        let folder = tempfile::tempdir().unwrap();
        let path = interrupted(name, folder.path());
        let written = fs::read_to_string(folder.path().join("journal.jsonl")).unwrap();
        let (journal, header, events) = Journal::open(&path).unwrap();
        assert_eq!((header.run.as_str(), header.needs.len()), ("golden-run", 0), "{name}");
        assert_eq!(lines(&events), written.lines().collect::<Vec<_>>(), "{name}");
        let seq = events.len() as u64 + 1;
        let next = Event { seq, kind: EventKind::JobDeleted {}, ..events[0].clone() };
        append(&journal, std::slice::from_ref(&next));
        assert_eq!(Journal::read(&path).unwrap().1.last(), Some(&next), "{name}");
        // A killed process, and its log is missing.
        let killed = tempfile::tempdir().unwrap();
        let copy = killed.path().join("journal.db");
        for ending in ["", "-mark"] {
            fs::copy(format!("{}{ending}", path.display()), format!("{}{ending}", copy.display())).unwrap();
        }
        let lost = Journal::read(&copy);
        assert!(
            matches!(lost, Err(JournalError::Broken { damage: Damage::LogMissing, .. })),
            "{name}: {lost:?}"
        );
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().2.last(), Some(&next), "{name}");
    }
}

#[test]
fn every_kind_of_event_is_in_a_golden_journal() {
    let kept: BTreeSet<String> = journals().values().flat_map(|(_, events)| events).map(kind_of).collect();
    let all: BTreeSet<String> = kinds().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(all.difference(&kept).collect::<Vec<_>>(), Vec::<&String>::new(), "add a golden journal");
}

#[test]
#[ignore = "writes golden journals after a change of the format or a new kind of event"]
fn golden_journals_are_written() {
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
            kind: happening,
        })
        .collect();
    let header = RunHeader::new("golden-run", "golden", "2026-11-28T10:00:00Z".parse().unwrap(), "0123");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Journal::create(&path, &header).unwrap();
    append(&journal, &events);
    drop(journal);
    // Closing copied the log into the database.
    fs::copy(&path, golden().join(format!("{name}.db"))).unwrap();
    fs::write(golden().join(format!("{name}.jsonl")), lines(&events).join("\n") + "\n").unwrap();

    let kept = golden().join(format!("{name}-interrupted"));
    fs::create_dir(&kept).unwrap();
    let (path, events) = (folder.path().join("other.db"), &events[..events.len() - 1]);
    let journal = Journal::create(&path, &header).unwrap();
    events.chunks(7).for_each(|some| append(&journal, some));
    for ending in ["", "-wal", "-mark"] {
        fs::copy(format!("{}{ending}", path.display()), kept.join(format!("journal.db{ending}"))).unwrap();
    }
    fs::write(kept.join("journal.jsonl"), lines(events).join("\n") + "\n").unwrap();
}

fn append(journal: &Journal, events: &[Event]) {
    let mut committed = pin!(journal.append(events.to_vec()));
    while committed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        std::thread::yield_now();
    }
}

fn kind_of(event: &Event) -> String {
    serde_json::to_value(event).unwrap()["kind"].as_str().unwrap().to_owned()
}

/// Returns one event of every kind in the schema, with a value in every field; `run_ended` is the last.
fn kinds() -> Vec<(String, EventKind)> {
    let schema = serde_json::to_value(schema::event()).unwrap();
    let definitions = schema["$defs"].clone();
    let mut kinds: Vec<(String, EventKind)> = schema["oneOf"]
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

/// Returns a value that matches a schema.
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
                "started" | "ended" | "again_at" => (name.clone(), json!("2026-11-28T10:00:00Z")),
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
