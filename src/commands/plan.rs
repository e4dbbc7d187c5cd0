//! `dropmill plan`: shows what `run` would do. Makes no network calls.

use super::load_all;
use crate::{
    again::{own_results, why},
    cli::PlanArgs,
    plan::{
        self,
        capacity::{Nodes, capacity},
        variables,
    },
    render::{
        policy,
        say::{self, length, shown, size},
    },
    settings::Loaded,
    state::State,
};
use anyhow::Result;
use dropmill_lifecycle::plan::RunPlan;
use serde::Serialize;
use serde_json::json;

/// Largest number of files of the application that are listed.
const MOST_FILES: usize = 5;
/// Largest number of tasks that are listed.
const MOST_LINES: usize = 20;

/// Shows the plan of every file.
pub fn plan(arguments: &PlanArgs, state: &State) -> Result<u8> {
    for loaded in load_all(&arguments.files)? {
        let run = format!("{}-planned", loaded.settings.run.name);
        let plan = plan::plan(&loaded, &run, &|_| true)?;
        plan::machine::check(&loaded, &plan, state.folder())?;
        plan::machine::keys(&loaded)?;
        match (arguments.skip_done, arguments.json) {
            (true, json) => print_what_is_done(&plan, state, arguments.check_content, json)?,
            (false, true) => {
                say::json(&plan);
            }
            (false, false) => print(&loaded, &plan, state)?,
        }
    }
    Ok(0)
}

/// Prints a line for each input: done, or run again and why. As JSON, prints one object for each.
fn print_what_is_done(plan: &RunPlan, state: &State, check_content: bool, json: bool) -> Result<()> {
    let own = own_results(plan, state)?;
    let mut again = 0;
    for item in &plan.items {
        let why = why(item, plan, &own, check_content).map(|why| why.to_string());
        again += usize::from(why.is_some());
        if json {
            say::json(&json!({ "input": item.relative, "done": why.is_none(), "why": why }));
            continue;
        }
        say::line(&match why {
            None => format!("done      {}", shown(&item.relative)),
            Some(why) => format!("run       {}: {}", shown(&item.relative), shown(&why)),
        });
    }
    if !json {
        let (name, all) = (&plan.name, plan.items.len());
        say::line(&format!("{name}: {again} of {all} inputs to run, {} done", all - again));
    }
    Ok(())
}

fn print(loaded: &Loaded, plan: &RunPlan, state: &State) -> Result<()> {
    let pool = &plan.pool;
    let capacity = capacity(&loaded.settings, Nodes::of(loaded)).map_err(|found| loaded.problems(found))?;
    let bytes: u64 = plan.items.iter().map(|item| item.size_bytes).sum();
    let application: u64 = plan.application.iter().map(|file| file.size_bytes).sum();
    let line = |text: String| {
        say::line(&text);
    };
    line(format!("{} on {}", plan.name, plan.service));
    line(format!(
        "pool      {} nodes and {} spot nodes of {}, {} slots each{}, {}",
        pool.nodes,
        pool.spot_nodes,
        pool.vm_size,
        pool.slots_per_node,
        capacity.why_slots.map(|why| format!(" ({why})")).unwrap_or_default(),
        if pool.own { "created for this run" } else { "shared: created if missing, never deleted" }
    ));
    if plan.job.required_slots > 1 {
        line(format!(
            "          a task takes {} slots{}; DROPMILL_SLOT is the lowest of them",
            plan.job.required_slots,
            capacity.why_required.map(|why| format!(" ({why})")).unwrap_or_default()
        ));
    }
    if let Some(start_task) = &pool.start_task {
        line(format!("start     {}", shown(start_task)));
    }
    line(format!("upload    {} application files ({})", plan.application.len(), size(application)));
    for file in plan.application.iter().take(MOST_FILES) {
        line(format!(
            "            {}{}",
            shown(&file.name),
            if file.executable { " (executable)" } else { "" }
        ));
    }
    if plan.application.len() > MOST_FILES {
        line(format!("            … and {} more", plan.application.len() - MOST_FILES));
    }
    line(format!("          {} inputs ({})", plan.items.len(), size(bytes)));
    for note in &plan.notes {
        line(format!("          {}", shown(note)));
    }
    if plan.service == "embedded"
        && let Some(room) = plan::machine::room(plan, state.folder())
    {
        let (needs, free) = (size(room.needs_bytes), size(room.free_bytes));
        let place = state.folder().display();
        line(format!(
            "disk      at most {needs} for inputs in {place}, plus results that are being downloaded; {free} free"
        ));
    }
    line(format!("tasks     {}", plan.items.len()));
    for item in plan.items.iter().take(MOST_LINES) {
        line(format!(
            "          {} ({}): {}",
            shown(&item.relative),
            size(item.size_bytes),
            shown(&item.command_line)
        ));
    }
    if plan.items.len() > MOST_LINES {
        line(format!("          … and {} more", plan.items.len() - MOST_LINES));
    }
    for text in policy::lines(plan) {
        line(text);
    }
    line(format!(
        "results   {} (layout {}, existing {})",
        plan.output.directory.display(),
        word(plan.output.layout),
        word(plan.output.existing)
    ));
    let whole =
        |length_of: std::time::Duration| length(u64::try_from(length_of.as_millis()).unwrap_or(u64::MAX));
    line(format!(
        "deadlines run {}, allocation {}, start task {}, cleanup {}",
        whole(plan.deadlines.run),
        whole(plan.deadlines.allocation),
        whole(plan.deadlines.start_task),
        whole(plan.deadlines.cleanup)
    ));
    line(format!(
        "cleanup   pool {}, job {}, containers {}",
        word(plan.cleanup.pool),
        word(plan.cleanup.job),
        word(plan.cleanup.containers)
    ));
    for note in variables::notes(loaded) {
        line(format!("note      {}: {}", note.key, shown(&note.what)));
    }
    Ok(())
}

/// Returns a value as the run file writes it.
fn word(choice: impl Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
