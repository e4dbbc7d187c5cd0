//! `dropmill trace`: what happened in a run.

use crate::{error::UsageError, render::say, state::State};
use anyhow::{Context, Result};
use dropmill_journal::{Journal, compare, event::Event, trace as canonical};
use std::{fs, path::Path};

/// Prints every event, or the outline, or JSON.
pub fn trace(state: &State, run: &str, outline: bool, json: bool) -> Result<u8> {
    let (_, events) = Journal::read(&state.find_run(run)?.join("journal.db"))?;
    if json {
        for event in &events {
            if !say::json(event) {
                break;
            }
        }
    } else {
        let text = if outline { canonical::outline(&events) } else { canonical::full(&events) };
        say::lines(text.lines());
    }
    Ok(0)
}

/// Prints the differences between two runs; the exit code is 1 if there are any.
pub fn compare(state: &State, one: &Path, other: Option<&Path>) -> Result<u8> {
    let other = other.ok_or_else(|| UsageError::Argument {
        argument: "trace compare A B".into(),
        problem: "the second run is missing".into(),
    })?;
    let difference = compare::runs(&events(state, one)?, &events(state, other)?);
    if difference.is_empty() {
        say::line("no differences");
        return Ok(0);
    }
    say::lines([format!("- only {}", one.display()), format!("+ only {}", other.display())]);
    say::lines(difference.lines());
    Ok(1)
}

/// Returns the events of a run, or of a file of events.
fn events(state: &State, of: &Path) -> Result<Vec<Event>> {
    if !of.is_file() {
        return Ok(Journal::read(&state.find_run(&of.to_string_lossy())?.join("journal.db"))?.1);
    }
    let text = fs::read_to_string(of).with_context(|| of.display().to_string())?;
    let wrong = |(at, error): (usize, serde_json::Error)| {
        let problem = format!("line {}: {error}; it should hold events as --json prints them", at + 1);
        UsageError::File { path: of.to_owned(), problem }
    };
    let mut events = vec![];
    for (at, line) in text.lines().enumerate() {
        // The last line of `run --json` is the report.
        if line.starts_with("{\"kind\":\"report\"") || line.contains("\"kind\":\"report\"") {
            continue;
        }
        events.push(serde_json::from_str(line).map_err(|error| wrong((at, error)))?);
    }
    Ok(events)
}
