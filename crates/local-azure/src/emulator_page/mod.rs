//! Generates `docs/emulator.md` from the responses of the service: the text is in `docs/emulator/page.md`, in
//! which each line `{{…}}` is replaced by a generated table. `UPDATE_DOCS=1 cargo test -p
//! dropmill-local-azure emulator_page` writes it.

mod declared;
mod described;
mod fields;
mod operations;
mod probe;
mod recorded;
mod values;

use crate::batch_http::operations::operations;
use described::Described;
use dropmill_azure_wire::operation::{Family, Operation};
use std::path::Path;

#[tokio::test(start_paused = true)]
async fn the_page_matches_the_responses_of_the_service() {
    let seen = probe::all().await;
    let faults = declared::faults(&seen);
    assert!(faults.is_empty(), "{} fields:\n{}", faults.len(), faults.join("\n"));
    let made = page(&fields::Fields::of(&seen));
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let there = std::fs::read_to_string(docs.join("emulator.md")).unwrap_or_default();
    if made == there {
        return;
    }
    let wanted = std::env::var_os("UPDATE_DOCS").is_some() && std::env::var_os("CI").is_none();
    if wanted {
        return std::fs::write(docs.join("emulator.md"), made).unwrap();
    }
    let line = made.lines().zip(there.lines()).find(|(made, there)| made != there);
    panic!("docs/emulator.md is another than what is made: UPDATE_DOCS=1 writes it. First: {line:#?}");
}

#[test]
fn every_operation_with_a_body_is_tested_and_every_remark_has_an_operation() {
    assert_eq!(operations::faults(), [""; 0]);
    for body in probe::BODIES {
        let known = operations().any(|(method, path, _)| format!("{method} {path}") == body.operation);
        assert!(known, "{} is no operation", body.operation);
    }
    // A collection of tasks contains tasks; certificates are retired.
    let elsewhere = ["TaskAddCollectionParameter", "CertificateAddParameter"];
    let described = Described::of_20();
    for name in described.names().filter(|name| name.ends_with("Parameter") && !elsewhere.contains(name)) {
        assert!(probe::BODIES.iter().any(|body| body.definition == name), "nothing is asked with {name}");
    }
}

fn page(fields: &fields::Fields) -> String {
    let mut page = String::new();
    for line in include_str!("../../../../docs/emulator/page.md").lines() {
        match line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}")) {
            Some(what) => page.push_str(table(what, fields).trim_end()),
            None => page.push_str(line),
        }
        page.push('\n');
    }
    page
}

fn table(what: &str, fields: &fields::Fields) -> String {
    let (kind, of) = what.split_once(' ').unwrap_or((what, ""));
    match kind {
        "operations" => operations::table(|path| subject(path) == of),
        "fields" if of == "parts" => fields.parts(),
        "fields" => fields.bodies(|operation| subject(operation.split_once(' ').unwrap().1) == of),
        "reasons" => fields::reasons(),
        "states" => states(of),
        "recorded" => recorded::table(),
        other => panic!("{other} is no table"),
    }
}

/// The name that `page.md` has for the family of the operations on a path.
fn subject(path: &str) -> &'static str {
    let operation = Operation::ALL.iter().find(|operation| operation.path() == path);
    match operation.unwrap_or_else(|| panic!("{path} is the path of no operation")).family() {
        Family::Nodes => "nodes",
        Family::Pools => "pools",
        Family::Tasks => "tasks",
        Family::Jobs => "jobs",
        Family::Schedules => "schedules",
        Family::Account => "account",
        Family::Blobs => "blobs",
    }
}

/// Returns the responses in each state, from the table that tests the model.
fn states(of: &str) -> String {
    let file = format!("../batch-model/states/{}.txt", of.replace(' ', "-"));
    let table = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file));
    let table = table.unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line: Vec<_> = line.split('|').map(str::trim).collect();
        let shown = |cell: &&str| match *cell {
            _ if number == 0 => (*cell).to_owned(),
            "ok" => "yes".to_owned(),
            code if code.ends_with("NotFound") => format!("404 `{code}`"),
            code => format!("`{code}`"),
        };
        let answers: Vec<_> = line[1..].iter().map(shown).collect();
        text.push_str(&format!("| {} | {} |\n", line[0], answers.join(" | ")));
        if number == 0 {
            text.push_str(&format!("{}|\n", "|---".repeat(line.len())));
        }
    }
    text
}
