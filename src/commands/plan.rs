//! `dropmill plan`: shows what `run` would do. Makes no network calls.

use super::load_all;
use crate::{
    again::{own_results, whys},
    cli::PlanArgs,
    plan::{
        self, Depth, Examined,
        capacity::{Nodes, capacity},
    },
    render::{
        policy,
        say::{self, length, shown, size},
    },
    settings::{Loaded, Located, Problems},
    state::State,
};
use anyhow::Result;
use dropmill_lifecycle::plan::{Item, RunPlan};
use serde::Serialize;
use serde_json::json;

/// Largest number of files of the application that are listed.
const MOST_FILES: usize = 5;
/// Largest number of tasks that are listed.
const MOST_LINES: usize = 20;

/// Number of characters of a command that are shown.
const MOST_LETTERS: usize = 400;

/// A plan as JSON: the plan itself, and what was found. Without a plan, only that.
#[derive(Serialize)]
struct Planned<'a> {
    #[serde(flatten)]
    plan: Option<&'a RunPlan>,
    findings: Vec<Finding<'a>>,
}

/// An error or a warning as JSON.
#[derive(Serialize)]
struct Finding<'a> {
    severity: &'static str,
    key: &'a str,
    file: Option<String>,
    line: Option<usize>,
    message: &'a str,
}

impl<'a> Finding<'a> {
    fn new(severity: &'static str, Located { file, line, problem }: &'a Located) -> Self {
        let file = file.as_ref().map(|file| file.display().to_string());
        Self { severity, key: &problem.key, file, line: *line, message: &problem.what }
    }
}

/// Shows the plan of every file, and everything that is wrong with any.
pub fn plan(arguments: &PlanArgs, state: &State) -> Result<u8> {
    let mut wrong = Problems::default();
    for loaded in load_all(&arguments.files)? {
        let run = format!("{}-planned", loaded.settings.run.name);
        let Examined { plan, warnings } =
            plan::examine(&loaded, &run, &|_| true, state.folder(), Depth::Plan);
        if arguments.json && !arguments.skip_done {
            let errors = plan.as_ref().err().map_or(&[][..], |problems| &problems.found);
            let errors = errors.iter().map(|error| Finding::new("error", error));
            let warnings = warnings.iter().map(|warning| Finding::new("warning", warning));
            say::json(&Planned { plan: plan.as_ref().ok(), findings: errors.chain(warnings).collect() });
        } else {
            say::notes(warnings.iter().map(|warning| warning.as_warning().to_string()));
        }
        match plan {
            Ok(plan) if arguments.skip_done => {
                print_what_is_done(&plan, state, arguments.check_content, arguments.json)?;
            }
            Ok(plan) if !arguments.json => print(&loaded, &plan, state)?,
            Ok(_) => {}
            Err(problems) => wrong.found.extend(problems.found),
        }
    }
    if wrong.found.is_empty() { Ok(0) } else { Err(wrong.into()) }
}

/// Prints a line for each input: done, or run again and why. As JSON, prints one object for each.
fn print_what_is_done(plan: &RunPlan, state: &State, check_content: bool, json: bool) -> Result<()> {
    let own = own_results(plan, state)?;
    let mut again = 0;
    for (item, why) in plan.items.iter().zip(whys(plan, &own, check_content)) {
        let why = why.map(|why| why.to_string());
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
    let is_local = plan.service == "embedded";
    let place = if is_local { "this machine" } else { "Azure Batch" };
    line(format!("{} on {place}", plan.name));
    let nodes = match (pool.nodes, pool.spot_nodes) {
        (nodes, 0) => count(nodes, "node"),
        (0, spot) => count(spot, "spot node"),
        (nodes, spot) => format!("{} and {}", count(nodes, "node"), count(spot, "spot node")),
    };
    let of_size = if is_local { String::new() } else { format!(" of {}", pool.vm_size) };
    line(format!(
        "pool      {nodes}{of_size}, {} each{}, {}",
        count(pool.slots_per_node, "slot"),
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
    disk(plan, state);
    tasks(plan, &line);
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
    Ok(())
}

/// Shows what the run needs of the disks, and where.
fn disk(plan: &RunPlan, state: &State) {
    let (place, output) = (state.folder().display(), &plan.output.directory);
    let space = plan::machine::space;
    if plan.service == "embedded"
        && let Some(room) = plan::machine::room(plan, state.folder())
    {
        let (needs, free) = (size(room.needs_bytes), size(room.free_bytes));
        say::line(&format!(
            "disk      {needs} at most for inputs in {place}, {free} free; results need space there too"
        ));
    }
    let (Some(results), here) = (space(output), space(state.folder())) else { return };
    let same = here.is_some_and(|here| here.device == results.device) && plan.service == "embedded";
    let free = if same { "the same disk".into() } else { format!("{} free", size(results.free_bytes)) };
    say::line(&format!("          all results in {}, {free}", output.display()));
}

fn count(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Prints the tasks as they are submitted.
fn tasks(plan: &RunPlan, line: &dyn Fn(String)) {
    let single = |item: &&Item| plan.chunk_of(item.index).is_none();
    let all = || plan.chunks.iter().chain(plan.items.iter().filter(single));
    let count = all().count();
    line(match plan.grouping.as_ref() {
        None => format!("tasks     {count}"),
        Some(grouping) => {
            format!("tasks     {count} for {} inputs, at most {} each", plan.items.len(), grouping.per_task)
        }
    });
    for item in all().take(MOST_LINES) {
        let inputs = item.members().map(|chunk| format!("{} inputs, ", chunk.count)).unwrap_or_default();
        line(format!(
            "          {} ({inputs}{}): {}",
            shown(&item.relative),
            size(item.size_bytes),
            shortened(&shown(&item.command_line))
        ));
    }
    if count > MOST_LINES {
        line(format!("          … and {} more", count - MOST_LINES));
    }
}

/// Returns a command shortened to what a person can read.
fn shortened(command: &str) -> String {
    match command.char_indices().nth(MOST_LETTERS) {
        Some((at, _)) => format!("{}… ({} bytes)", &command[..at], command.len()),
        None => command.to_owned(),
    }
}

/// Returns a value as the run file writes it.
fn word(choice: impl Serialize) -> String {
    serde_json::to_value(choice).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
