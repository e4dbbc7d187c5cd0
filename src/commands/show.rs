//! `dropmill show`: shows the report of a run, or its state while it is running.

use crate::{
    render::{
        live::{self, LiveView},
        report,
        say::{self, Screen},
    },
    state::{State, holder},
};
use anyhow::Result;
use dropmill_azure_wire::time::{Clock, WallClock};
use dropmill_journal::{
    Journal,
    event::Event,
    progress::Progress,
    report::{Report, ReportFold},
    tasks::TaskTable,
};
use dropmill_lifecycle::plan::RunPlan;
use std::{path::Path, thread, time::Duration};

/// Time between two updates with `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shows the report of a run, or its state if it has not ended; with `watch` until it ends.
pub fn show(state: &State, run: &str, json: bool, watch: bool) -> Result<u8> {
    let folder = state.find_run(run)?;
    let plan = std::fs::read(folder.join("plan.json")).ok();
    let plan: Option<RunPlan> = plan.and_then(|text| serde_json::from_slice(&text).ok());
    let mut screen = watch.then(Screen::new);
    let mut run = Folds::default();
    loop {
        run.read(&folder)?;
        let found = run.report.report();
        let has_ended = found.outcome.is_some();
        if json {
            say::json(&found);
        } else if has_ended {
            screen.take().into_iter().for_each(Screen::end);
            say::lines(report::lines(&found, plan.as_ref().map(|plan| plan.output.directory.as_path())));
        } else {
            let lines = run.live_lines(&folder, &found, plan.as_ref());
            match &screen {
                Some(screen) => screen.show(&lines),
                None => _ = say::lines(lines),
            }
        }
        if !watch || has_ended || holder(&folder).is_none() {
            screen.into_iter().for_each(Screen::end);
            return Ok(0);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// What was read of a run.
#[derive(Default)]
struct Folds {
    report: ReportFold,
    table: TaskTable,
    progress: Progress,
}

impl Folds {
    /// Takes in what was recorded since.
    fn read(&mut self, folder: &Path) -> Result<()> {
        let journal = folder.join("journal.db");
        let events: Vec<Event> = match self.table.last() {
            0 => Journal::read(&journal)?.1,
            last => Journal::read_after(&journal, last)?,
        };
        for event in &events {
            self.report.apply(event);
            self.table.apply(event);
            self.progress.apply(event);
        }
        Ok(())
    }

    fn live_lines(&mut self, folder: &Path, report: &Report, plan: Option<&RunPlan>) -> Vec<String> {
        for item in plan.iter().flat_map(|plan| &plan.items) {
            self.table.expect(&item.task, &item.relative);
        }
        let since = report.started.map(|started| WallClock.now().duration_since(started).as_millis());
        live::lines(&LiveView {
            report,
            table: &self.table,
            progress: &self.progress,
            holder: holder(folder),
            now_ms: u64::try_from(since.unwrap_or(0)).unwrap_or(0),
        })
    }
}
