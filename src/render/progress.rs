//! One line that tells where a run stands: redrawn on a terminal, a plain line now and then elsewhere.

use super::say::{self, length, shown};
use dropmill_journal::{event::Event, progress::Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{io::IsTerminal, time::Duration};

/// Milliseconds between two plain lines.
const PLAIN_EVERY_MS: u64 = 10_000;

/// Shows progress on standard error.
pub struct Shown {
    progress: Progress,
    bar: Option<ProgressBar>,
    plain: bool,
    said_ms: u64,
    said_phase: &'static str,
}

impl Shown {
    /// On a terminal a line that is redrawn, elsewhere plain lines, or nothing.
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
        Self { progress: Progress::default(), bar, plain: !quiet && !terminal, said_ms: 0, said_phase: "" }
    }

    /// Takes in an event of an earlier life of the run, without a word.
    pub fn recall(&mut self, event: &Event) {
        self.progress.apply(event);
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: &Event) {
        self.progress.apply(event);
        if let Some(bar) = &self.bar {
            bar.set_message(shown(&line(&self.progress)));
        } else if self.plain {
            let phase = self.progress.phase();
            let due = self.progress.elapsed_ms >= self.said_ms + PLAIN_EVERY_MS;
            if due || phase != self.said_phase {
                (self.said_ms, self.said_phase) = (self.progress.elapsed_ms, phase);
                say::note(&line(&self.progress));
            }
        }
    }

    /// Leaves the line.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    let mut line = format!(
        "{:>6}  {:<14} {}/{} done",
        length(progress.elapsed_ms),
        progress.phase(),
        progress.closed(),
        progress.total
    );
    for (count, word) in
        [(progress.failed, "failed"), (progress.running, "running"), (progress.unfinished, "unfinished")]
    {
        if count > 0 {
            line.push_str(&format!(", {count} {word}"));
        }
    }
    let since_ready = progress.ready_ms.map(|ready| progress.elapsed_ms.saturating_sub(ready)).unwrap_or(0);
    if progress.closed() > 0 && since_ready > 0 {
        let rate = progress.closed() as f64 * 1000.0 / since_ready as f64;
        line.push_str(&format!(", {rate:.1}/s"));
    }
    if let Some(left) = progress.remaining_ms().filter(|left| *left > 0) {
        line.push_str(&format!(", {} left", length(left)));
    }
    if progress.nodes_ready() > 0 {
        line.push_str(&format!(", {} nodes", progress.nodes_ready()));
    }
    if let Some(what) = progress.waiting_for() {
        line.push_str(&format!("; {what}"));
    }
    line
}
