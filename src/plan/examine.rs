//! A plan and everything that is wrong with it, on this machine, at once.

use super::{Ask, Parts, lint, machine, stream, variables};
use crate::settings::{Loaded, Located, Problem, Problems};
use dropmill_lifecycle::plan::RunPlan;
use lint::{Severity, Subject};
use std::path::Path;

/// A plan that was checked.
#[derive(Debug)]
pub struct Examined {
    /// The plan, or all errors.
    pub plan: Result<RunPlan, Problems>,
    /// What may be a mistake; a run starts all the same.
    pub warnings: Vec<Located>,
}

/// Which checks are made in addition to those of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Those that a run does not make later by itself.
    Run,
    /// Also whether keys are available and the state folder can be used, which a run finds out with a message of its own.
    Plan,
}

/// Makes the plan of a run and checks it on this machine.
pub fn examine(loaded: &Loaded, run: &str, ask: Ask<'_>, state: &Path, depth: Depth) -> Examined {
    let mut parts = Parts::of(loaded, run);
    let subject = Subject {
        settings: &loaded.settings,
        application: &parts.application,
        items: &parts.items,
        machine: lint::on_this_machine(loaded),
    };
    let (errors, mut warnings) = split(lint::findings(loaded, &subject));
    parts.problems.extend(errors);
    parts.problems.extend(machine::output_folder(&parts.output_folder));
    parts.problems.extend(variables::secrets(loaded).err().into_iter().flatten());
    warnings.extend(variables::notes(loaded));
    if depth == Depth::Plan {
        parts.problems.extend(machine::keys(loaded));
        parts.problems.extend(machine::state_folder(state));
    }
    let has_errors = !parts.problems.is_empty();
    let mut errors = std::mem::take(&mut parts.problems);
    let plan = match has_errors {
        true => None,
        false => parts.plan(loaded, run, ask).map_err(|problem| errors.push(problem)).ok(),
    };
    if let Some(plan) = &plan {
        errors.extend(machine::short_of_room(loaded, plan, state));
        warnings.extend(machine::nearly_full(plan));
    }
    let plan = plan.filter(|_| errors.is_empty()).ok_or_else(|| loaded.problems(errors));
    Examined { plan, warnings: loaded.problems(warnings).found }
}

/// Checks the settings of a drop folder on this machine. The checked plan has no items.
pub fn examine_stream(loaded: &Loaded, work: &Path) -> Examined {
    let mut plan = stream(loaded, "checked", "checked", work);
    let subject = Subject {
        settings: &loaded.settings,
        application: plan.as_ref().map_or(&[], |plan| &plan.application),
        items: &[],
        machine: lint::on_this_machine(loaded),
    };
    let findings = if plan.is_ok() { lint::findings(loaded, &subject) } else { vec![] };
    let (errors, mut warnings) = split(findings);
    warnings.extend(variables::notes(loaded));
    if !errors.is_empty() {
        plan = Err(loaded.problems(errors));
    }
    Examined { plan, warnings: loaded.problems(warnings).found }
}

fn split(findings: Vec<lint::Finding>) -> (Vec<Problem>, Vec<Problem>) {
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    let problems = |found: Vec<lint::Finding>| found.into_iter().map(|finding| finding.problem).collect();
    (problems(errors), problems(warnings))
}
