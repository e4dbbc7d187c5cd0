//! Checks rules that hold for every drop folder, whatever goes wrong: every file is complete, in exactly one
//! place, and is published exactly once.

use super::{Found, Violation, numbered, without_secrets};
use crate::drop::SimulatedMill;
use dropmill_actors::drop_store::Root;
use dropmill_journal::event::{Event, EventKind, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// Checks all rules and returns the violations.
pub fn check(mill: &SimulatedMill) -> Vec<Violation> {
    let mut found = Found(vec![]);
    places(mill, &mut found);
    results(mill, &mut found);
    claims(mill, &mut found);
    for run in &mill.runs {
        numbered(mill.events.iter().filter(|event| event.run == *run), &mut found);
        ends(run, mill, &mut found);
    }
    without_secrets(&mill.events, &mut found);
    let kept = mill.plan.keeps_pools || mill.pools.is_empty();
    found.unless(kept, "no pool is left", || format!("{:?}", mill.pools));
    found.0
}

/// Checks that every file was in one place at all times, and is in the right place at the end.
fn places(mill: &SimulatedMill, found: &mut Found) {
    let rule = "a file is in exactly one place";
    mill.misplaced.iter().for_each(|what| found.unless(false, rule, || what.clone()));
    for (inode, places) in mill.store.whereabouts() {
        let Some(name) = mill.put.get(&inode) else { continue };
        let ended = |place: &String| ["Done/", "Failed/", "removed"].iter().any(|end| place.starts_with(end));
        found.unless(places.iter().all(ended), "every file is published", || {
            format!("{} is in {places:?}", name.display())
        });
    }
}

/// Checks that every result has its complete input, and that there is one result per file.
fn results(mill: &SimulatedMill, found: &mut Found) {
    let mut inputs = BTreeMap::new();
    for ((root, place), shelf) in mill.store.shelves() {
        let named = || format!("{root:?}/{}", place.display());
        let task = shelf.note["task"].as_str().unwrap_or_default().to_owned();
        let Some(input) = &shelf.input else {
            found.unless(!mill.plan.settings.keep_input, "a result has its input", named);
            continue;
        };
        let before = inputs.insert(input.inode, place.clone());
        found.unless(before.is_none(), "a file is published once", || format!("{before:?} and {place:?}"));
        if root == Root::Done && shelf.note["outcome"] == "done" {
            let read = mill.fetched.get(&task);
            found.unless(read == Some(&shelf.published), "a result is made from the complete file", || {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                format!(
                    "{}: the task read {:?}, the file held {:?}",
                    named(),
                    read.map(|read| text(read)),
                    text(&shelf.published)
                )
            });
        }
    }
    let mut names: BTreeMap<_, u64> = BTreeMap::new();
    let removed: BTreeSet<u64> = mill
        .store
        .whereabouts()
        .into_iter()
        .filter(|(_, places)| places.iter().any(|place| place == "removed"))
        .map(|(inode, _)| inode)
        .collect();
    for (inode, name) in &mill.put {
        if !removed.contains(inode) || !mill.plan.settings.keep_input {
            *names.entry(name.clone()).or_default() += 1;
        }
    }
    let wanted: u64 = names.values().sum();
    let there = mill.store.shelves().len() as u64;
    found.unless(there <= wanted, "a file is published once", || {
        let places: Vec<_> = mill.store.shelves().into_keys().map(|(_, place)| place).collect();
        format!("{wanted} files, {there} results: {places:?}")
    });
}

/// Checks that a file with a published result is not claimed again, and that its result is published once.
fn claims(mill: &SimulatedMill, found: &mut Found) {
    let mut place_of: BTreeMap<(&str, &Subject), &str> = BTreeMap::new();
    let mut published = BTreeSet::new();
    for Event { run, subject, kind, .. } in &mill.events {
        match kind {
            EventKind::FileClaimed { place, .. } => {
                place_of.insert((run, subject), place);
                found.unless(
                    !published.contains(place.as_str()),
                    "a published file is not claimed again",
                    || format!("{subject} of {run} claims {place}"),
                );
            }
            EventKind::FilePublished { place: to, .. } => {
                let Some(place) = place_of.get(&(run.as_str(), subject)) else { continue };
                found.unless(published.insert(*place), "a file is published once", || {
                    format!("{subject} of {run} as {to}")
                });
            }
            _ => {}
        }
    }
}

fn ends(run: &str, mill: &SimulatedMill, found: &mut Found) {
    let own = mill.events.iter().filter(|event| event.run == run);
    let ends = own.clone().filter(|event| matches!(event.kind, EventKind::RunEnded { .. })).count();
    // A run that crashed before its first event was durable does not need to end.
    let wanted = usize::from(own.count() > 0);
    found.unless(ends == wanted, "a run ends once", || format!("{run}: {ends} ends"));
}
