//! One line that shows the progress of a run: redrawn on a terminal, printed from time to time elsewhere. Each failure gets
//! its own line when it happens.

use super::say::{self, length, shown};
use dropmill_journal::{
    event::{Event, EventKind, Verdict},
    progress::Progress,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    collections::HashMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Milliseconds between two plain lines.
const PLAIN_EVERY_MS: u64 = 30_000;
/// Failures that have a line as they happen; the report lists all.
const MAX_FAILURES: u32 = 5;
/// A rate over less time than this would say nothing.
const MIN_RATE_MS: u64 = 2_000;

/// Shows progress on standard error.
pub struct Shown {
    progress: Progress,
    bar: Option<ProgressBar>,
    plain: bool,
    /// When a plain line was printed, in milliseconds since the run began, and of which phase.
    printed: Option<(u64, &'static str)>,
    failures: u32,
    /// Inputs of open tasks.
    inputs: HashMap<String, String>,
    /// The last event, by the time of the run and of this process.
    last: Option<(u64, Instant)>,
}

impl Shown {
    /// Creates a line that is redrawn on a terminal, plain lines elsewhere, or no output.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self {
            progress: Progress::default(),
            bar,
            plain: !quiet && !terminal,
            printed: None,
            failures: 0,
            inputs: HashMap::new(),
            last: None,
        }
    }

    /// Applies an event that an earlier process of the run recorded, without printing.
    pub fn recall(&mut self, event: &Event) {
        self.progress.apply(event);
        self.name_input(event);
    }

    /// Applies an event and prints.
    pub fn apply(&mut self, event: &Event) {
        self.progress.apply(event);
        self.last = Some((event.elapsed_ms, Instant::now()));
        self.name_input(event);
        if let EventKind::TaskClosed { verdict, cause, .. } = &event.kind {
            let task = event.subject.task().unwrap_or_default();
            let input = self.inputs.remove(task).unwrap_or_else(|| task.to_owned());
            if *verdict == Verdict::Failed {
                self.failed(&event.run, task, &input, cause.as_deref().unwrap_or("no cause is known"));
            }
        }
        self.draw(event.elapsed_ms);
    }

    /// Shows that time has passed without an event.
    pub fn tick(&mut self) {
        if let Some((elapsed_ms, at)) = self.last {
            let since = u64::try_from(at.elapsed().as_millis()).unwrap_or(0);
            self.draw(elapsed_ms + since);
        }
    }

    fn name_input(&mut self, event: &Event) {
        let (EventKind::InputUploaded { input, .. } | EventKind::FileClaimed { input, .. }) = &event.kind
        else {
            return;
        };
        if let Some(task) = event.subject.task() {
            self.inputs.insert(task.to_owned(), input.clone());
        }
    }

    fn failed(&mut self, run: &str, task: &str, input: &str, cause: &str) {
        self.failures += 1;
        if self.failures <= MAX_FAILURES {
            self.print(&format!("failed  {input}: {cause}; dropmill logs {run} {task} --stderr"));
        }
        if self.failures == MAX_FAILURES {
            self.print("further failures are listed at the end");
        }
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(shown(line)),
            None if self.plain => say::note(line),
            None => {}
        }
    }

    fn draw(&mut self, now_ms: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(shown(&line(&self.progress, now_ms)));
        } else if self.plain {
            let phase = self.progress.phase();
            let is_due = match self.printed {
                None => true,
                Some((at_ms, of_phase)) => of_phase != phase || now_ms >= at_ms + PLAIN_EVERY_MS,
            };
            if is_due {
                self.printed = Some((now_ms, phase));
                say::note(&line(&self.progress, now_ms));
            }
        }
    }

    /// Removes the line.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Returns the line at a time, in milliseconds since the run began.
fn line(progress: &Progress, now_ms: u64) -> String {
    let done = progress.succeeded + progress.failed;
    let total = progress.total.max(progress.closed());
    let mut line = format!("{:>6}  {:<14} {done}/{total} done", length(now_ms), progress.phase());
    for (count, word) in
        [(progress.failed, "failed"), (progress.running, "running"), (progress.unfinished, "not finished")]
    {
        if count > 0 {
            line.push_str(&format!(", {count} {word}"));
        }
    }
    let since_ready = progress.ready_ms.map_or(0, |ready| now_ms.saturating_sub(ready));
    if done > 1 && since_ready >= MIN_RATE_MS {
        let rate = done as f64 * 1000.0 / since_ready as f64;
        line.push_str(&format!(", {rate:.1}/s"));
        if let Some(left) = progress.remaining_ms().filter(|left| *left > 0) {
            line.push_str(&format!(", {} left", length(left)));
        }
    }
    if progress.nodes_ready() > 0 {
        line.push_str(&format!(", {} nodes", progress.nodes_ready()));
    }
    if let Some(what) = progress.waiting_for() {
        line.push_str(&format!("; {what}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_what_is_done_and_gives_no_rate_too_early() {
        let mut progress = Progress::default();
        (progress.total, progress.ready_ms) = (10, Some(1000));
        (progress.succeeded, progress.failed, progress.unfinished) = (3, 1, 2);
        let early = line(&progress, 1500);
        assert!(early.contains("4/10 done, 1 failed, 2 not finished;"), "{early}");
        assert!(line(&progress, 5000).contains(", 1.0/s"), "{}", line(&progress, 5000));
        // A drop folder's run has no total.
        progress.total = 0;
        assert!(line(&progress, 0).contains("4/6 done"));
    }
}
