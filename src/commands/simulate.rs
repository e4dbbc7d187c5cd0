//! `dropmill simulate` and `dropmill trace test`: run files in a simulated world, and their traces as
//! text files.

use super::environment;
use crate::{
    cli::SimulateArgs,
    error::UsageError,
    render::{say, say::length},
    simulate::{Simulated, read_scenario, read_whole, replay},
};
use anyhow::{Context, Result};
use dropmill_journal::{compare, event::Outcome, trace};
use dropmill_lifecycle::plan::RunPlan;
use dropmill_test_kit::{
    Player, Scenario, Simulation, Struck,
    drop::{MillPlan, MillSimulation},
    explore, oracle,
};
use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Suffix of scenario files; the suffix of their outlines is [`OUTLINE`].
const SCENARIO: &str = ".scenario.toml";
/// Suffix of outlines stored beside scenarios.
const OUTLINE: &str = ".outline";

/// Simulates a run file once, or checks many seeds.
pub fn simulate(arguments: &SimulateArgs) -> Result<u8> {
    if let Some(folder) = &arguments.replay {
        return replayed(arguments, folder);
    }
    let file = arguments.file.as_deref().context("give a run file or --replay")?;
    let scenario = match &arguments.scenario {
        Some(path) => read_scenario(path)?.1,
        None => Scenario::uneventful(),
    };
    let plan = Simulated::read(file, &arguments.set, environment(), &scenario)?;
    if let Some(seeds) = &arguments.seeds {
        return many(arguments, plan.player(), &scenario, range(seeds)?);
    }
    match plan {
        Simulated::Run(plan) => one_run(arguments, *plan, scenario),
        Simulated::Mill(plan) => one_mill(arguments, *plan, scenario),
    }
}

/// Simulates the daemon of a drop folder once.
fn one_mill(arguments: &SimulateArgs, plan: MillPlan, scenario: Scenario) -> Result<u8> {
    let began = Instant::now();
    let down = arguments.down.map_or(Duration::ZERO, |down| down.0);
    let simulation = MillSimulation::new(plan).scenario(scenario).seed(arguments.seed);
    let mill = simulation.crash_at(arguments.crash.into_iter().collect()).down_for(down).try_run()?;
    if arguments.json {
        for event in &mill.events {
            say::json(event);
        }
    } else {
        let text = if arguments.outline { mill.outline() } else { mill.trace() };
        say::lines(text.lines());
        struck(&mill.struck);
        say::note(&format!(
            "{} simulated in {}, {} requests",
            milliseconds(mill.lasted),
            milliseconds(began.elapsed()),
            mill.requests
        ));
    }
    let violations = oracle::drop::check(&mill);
    for violation in &violations {
        say::note(&format!("broken rule: {violation}"));
    }
    Ok(if violations.is_empty() { 0 } else { 3 })
}

fn milliseconds(time: Duration) -> String {
    length(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn struck(faults: &[Struck]) {
    for fault in faults {
        let at = milliseconds(fault.at);
        say::note(&format!("fault {} injected at {at}: {} {}", fault.fault, fault.operation, fault.subject));
    }
}

fn one_run(arguments: &SimulateArgs, plan: RunPlan, scenario: Scenario) -> Result<u8> {
    let began = Instant::now();
    let down = arguments.down.map_or(Duration::ZERO, |down| down.0);
    let simulation = Simulation::of(plan).scenario(scenario).seed(arguments.seed);
    let run = simulation.crash_at(arguments.crash.into_iter().collect()).down_for(down).try_run()?;
    let taken = began.elapsed();
    if arguments.json {
        for event in &run.events {
            say::json(event);
        }
        say::json(&run.report);
    } else {
        let text = if arguments.outline { run.outline() } else { run.trace() };
        say::lines(text.lines());
        struck(&run.struck);
        say::note(&format!(
            "{} simulated in {}, {} requests",
            milliseconds(run.lasted),
            milliseconds(taken),
            run.requests
        ));
    }
    let violations = oracle::check(&run);
    for violation in &violations {
        say::note(&format!("broken rule: {violation}"));
    }
    let outcome = run.report.outcome.unwrap_or(Outcome::Infrastructure);
    Ok(if violations.is_empty() { outcome.exit_code() } else { 3 })
}

/// Replays a recording, and compares its trace with the recorded one.
fn replayed(arguments: &SimulateArgs, folder: &Path) -> Result<u8> {
    let (run, recorded) = replay(folder)?;
    let outline = run.outline();
    if arguments.json {
        for event in &run.events {
            say::json(event);
        }
        say::json(&run.report);
    } else {
        let text = if arguments.outline { outline.clone() } else { trace::full(&run.events) };
        say::lines(text.lines());
    }
    for write in &run.unasked {
        say::note(&format!("recorded, but not requested now: {write}"));
    }
    match recorded {
        Some(recorded) if recorded != outline => {
            say::note("differs from the recorded run:");
            say::notes(compare::outlines(&recorded, &outline).lines());
            Ok(1)
        }
        Some(_) => {
            say::note("same as recorded");
            Ok(run.report.outcome.unwrap_or(Outcome::Infrastructure).exit_code())
        }
        None => Ok(run.report.outcome.unwrap_or(Outcome::Infrastructure).exit_code()),
    }
}

fn range(text: &str) -> Result<RangeInclusive<u64>> {
    let wrong = || UsageError::Argument {
        argument: format!("--seeds {text}"),
        problem: "write two numbers as in 1..1000, the smaller one first".into(),
    };
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let (from, to) = (number(from)?, number(to)?);
    if from > to {
        return Err(wrong().into());
    }
    Ok(from..=to)
}

fn many(
    arguments: &SimulateArgs,
    plan: &dyn Player,
    scenario: &Scenario,
    seeds: RangeInclusive<u64>,
) -> Result<u8> {
    let (began, count) = (Instant::now(), seeds.end() - seeds.start() + 1);
    let Some(found) = explore::seeds(plan, scenario, seeds) else {
        let taken = length(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        say::line(&format!("{count} seeds: no rule broken, in {taken}"));
        return Ok(0);
    };
    for violation in &found.violations {
        say::line(&format!("seed {} breaks a rule: {violation}", found.seed));
    }
    let faults: Vec<_> = found.faults.iter().map(u32::to_string).collect();
    say::line(&format!("faults of the scenario that are needed: {}", faults.join(", ")));
    say::line("with only those:");
    say::lines(found.outline.lines());
    let scenario = arguments.scenario.as_ref().map(|path| format!(" --scenario {}", path.display()));
    say::line(&format!(
        "again: dropmill simulate {}{} --seed {}",
        arguments.file.as_deref().unwrap_or(Path::new("")).display(),
        scenario.unwrap_or_default(),
        found.seed
    ));
    Ok(1)
}

/// `trace test DIR` compares the outline of every scenario with the one beside it; `trace accept DIR` writes it there.
pub fn traces(what: &str, folder: &Path) -> Result<u8> {
    let accept = match what {
        "test" => false,
        "crash" => return super::crash::every_scenario(&scenarios(folder)?),
        "accept" if std::env::var_os("CI").is_some() => {
            let problem = "outlines cannot be accepted in CI: accept them locally and review them".into();
            return Err(UsageError::Argument { argument: "trace accept".into(), problem }.into());
        }
        "accept" => true,
        other => {
            let problem = "use `test`, `accept` or `crash`".into();
            return Err(UsageError::Argument { argument: format!("trace {other} DIR"), problem }.into());
        }
    };
    let scenarios = scenarios(folder)?;
    let mut different = 0;
    for path in &scenarios {
        different += usize::from(!one_trace(path, accept)?);
    }
    say::line(&format!("{} scenarios, {different} different", scenarios.len()));
    Ok(u8::from(different > 0))
}

/// Returns the scenarios of a folder, sorted by name.
fn scenarios(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut scenarios: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(SCENARIO))
        .collect();
    scenarios.sort();
    if scenarios.is_empty() {
        let problem = format!("it contains no *{SCENARIO} file");
        return Err(UsageError::File { path: folder.to_owned(), problem }.into());
    }
    Ok(scenarios)
}

/// Returns whether a scenario produces its outline.
fn one_trace(path: &Path, accept: bool) -> Result<bool> {
    let (plan, scenario) = read_whole(path, environment())?;
    let played = plan.player().play(&scenario, 1, vec![], Duration::ZERO);
    let mut outline = format!("{}\n", played.outline.trim_end());
    for violation in played.violations {
        outline.push_str(&format!("broken rule: {violation}\n"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept_at = path.with_file_name(format!("{}{OUTLINE}", name.trim_end_matches(SCENARIO)));
    let kept = fs::read_to_string(&kept_at).unwrap_or_default();
    if kept == outline {
        say::line(&format!("ok         {name}"));
        return Ok(true);
    }
    if accept {
        fs::write(&kept_at, &outline).with_context(|| kept_at.display().to_string())?;
        say::line(&format!("accepted   {name}"));
        return Ok(true);
    }
    say::line(&format!("different  {name}"));
    for line in compare::outlines(&kept, &outline).lines() {
        say::line(&format!("  {line}"));
    }
    Ok(false)
}
