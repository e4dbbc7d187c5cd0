//! `dropmill trace`: what happened in a run.

use crate::{render::say, state::State};
use anyhow::Result;
use dropmill_journal::{Journal, trace as canonical};

/// Tells every event, or the outline, or JSON.
pub fn trace(state: &State, run: &str, outline: bool, json: bool) -> Result<u8> {
    let (_, events) = Journal::read(&state.find_run(run)?.join("journal.db"))?;
    if json {
        for event in &events {
            if !say::line(&serde_json::to_string(event)?) {
                break;
            }
        }
    } else {
        let text = if outline { canonical::outline(&events) } else { canonical::full(&events) };
        say::line(text.trim_end());
    }
    Ok(0)
}
