//! `dropmill why`: what a run or one of its tasks waits for.

use crate::{
    render::say::{self, length, shown},
    state::{State, is_held},
    stored_run::StoredRun,
};
use anyhow::{Result, bail};
use dropmill_azure_wire::time::{Clock, WallClock};
use dropmill_journal::{
    event::EventKind,
    tasks::{TaskRow, TaskState},
    why::{Cause, WaitDeadlines, WhyFold},
};
use serde_json::json;

/// Prints the causes, the dominant one first.
pub fn why(state: &State, run: &str, task: Option<&str>, as_json: bool) -> Result<u8> {
    let stored = StoredRun::find(run, state)?;
    let table = stored.tasks();
    let fold = WhyFold::of(&stored.events);
    let deadlines = &stored.plan.deadlines;
    let deadlines = WaitDeadlines {
        run: deadlines.run,
        allocation: deadlines.allocation,
        start_task: deadlines.start_task,
        queue: deadlines.queue,
    };
    let now_ms = now_ms(&stored);
    let row = match task {
        Some(name) => {
            let task = stored.find_task(&table, name)?;
            let Some(row) = table.get(&task) else { bail!("the task has no row") };
            Some(row)
        }
        None => None,
    };
    let causes = match row {
        Some(row) => fold.task(row, &table, &deadlines, now_ms),
        None => fold.run(&table, &deadlines, now_ms),
    };
    let name = &stored.header.run;
    let is_live = is_held(&stored.path);
    let has_ended = stored.past().ended.is_some();
    if as_json {
        say::json(&json!({ "run": name, "live": is_live, "ended": has_ended, "causes": causes }));
        return Ok(0);
    }
    match row {
        Some(row) => say::line(&format!("{}: {}", title(row), state_of(row))),
        None if has_ended => say::line(&format!("{name} has ended; `dropmill show {name}` shows its report")),
        None if is_live => say::line(&format!("{name} is running")),
        None => say::line(&format!("{name} was interrupted; `dropmill resume {name}` continues it")),
    };
    say::lines(causes.iter().flat_map(lines));
    if causes.is_empty() && !has_ended && row.is_none_or(|row| !row.state.is_closed()) {
        say::line("nothing is in the way, as far as the events show");
    }
    Ok(0)
}

/// Returns the time of a run: of a live one by this machine's clock, of any other that of its last event.
fn now_ms(stored: &StoredRun) -> u64 {
    let last = stored.events.last().map_or(0, |event| event.elapsed_ms);
    let began = |event: &&dropmill_journal::event::Event| {
        matches!(event.kind, EventKind::RunStarted { .. } | EventKind::RunResumed { .. })
    };
    // A resumed run counts on from where it was interrupted.
    match stored.events.iter().rfind(began) {
        Some(event) if is_held(&stored.path) => {
            let since = WallClock.now().duration_since(event.at).as_millis();
            (event.elapsed_ms + u64::try_from(since).unwrap_or(0)).max(last)
        }
        _ => last,
    }
}

fn title(row: &TaskRow) -> String {
    row.input.clone().unwrap_or_else(|| row.task.clone())
}

/// Returns the state of a task in a few words.
fn state_of(row: &TaskRow) -> String {
    let cause = row.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    match row.state {
        TaskState::Failed => format!("failed{cause}"),
        TaskState::Unfinished => format!("not finished{cause}"),
        state => state.as_str().to_owned(),
    }
}

fn lines(cause: &Cause) -> Vec<String> {
    let since = match cause.since_ms {
        0..1000 => String::new(),
        since => format!(" (for {})", length(since)),
    };
    let mut lines = vec![format!("- {}{since}", cause.text)];
    lines.extend(cause.evidence.iter().map(|line| format!("  {}", shown(line))));
    lines.extend(cause.next.iter().map(|next| format!("  next: {next}")));
    lines
}
