//! Prints everything: nothing else in this program writes to standard output or standard error.
//!
//! Text stays on its line and cannot move the cursor, whatever it contains: see [`shown`]. The reader of
//! standard output may close it at any time; the program continues.

pub use crate::settings::readable_size as size;
pub use dropmill_journal::shown;

use dropmill_journal::shown_json;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Writes one line to standard output; returns whether it is still read.
pub fn line(text: &str) -> bool {
    out(&(shown(text) + "\n"))
}

/// Returns whether standard output is a terminal, so that a person reads it.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes lines to standard output; returns whether it is still read.
pub fn lines<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> bool {
    out(&joined(lines))
}

/// Writes a value as one line of JSON to standard output; returns whether it is still read.
pub fn json(value: &impl Serialize) -> bool {
    match serde_json::to_string(value) {
        Ok(json) => out(&(shown_json(&json) + "\n")),
        Err(error) => {
            note(&format!("cannot write as JSON: {error}"));
            true
        }
    }
}

/// Writes a fixed text of this program to standard output unchanged; it contains no name and no message.
pub fn own_text(text: &str) -> bool {
    out(&format!("{}\n", text.trim_end()))
}

/// Writes one line to standard error.
pub fn note(text: &str) {
    notes([text]);
}

/// Writes lines to standard error.
pub fn notes<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) {
    let _ = io::stderr().lock().write_all(joined(lines).as_bytes());
}

/// Writes a question to standard error, without an end of line.
pub fn question(text: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{} ", shown(text)).and_then(|()| err.flush());
}

fn joined<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> String {
    lines.into_iter().map(|line| shown(line.as_ref()) + "\n").collect()
}

fn out(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Lines on standard error that are redrawn in place; on anything but a terminal nothing is drawn.
pub struct Screen(indicatif::ProgressBar);

impl Screen {
    /// Creates an empty screen.
    pub fn new() -> Self {
        let target = indicatif::ProgressDrawTarget::stderr_with_hz(8);
        let bar = indicatif::ProgressBar::with_draw_target(None, target);
        let style = indicatif::ProgressStyle::with_template("{msg}");
        bar.set_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()));
        Self(bar)
    }

    /// Draws these lines in place of those before.
    pub fn show<T: AsRef<str>>(&self, lines: impl IntoIterator<Item = T>) {
        self.0.set_message(joined(lines));
    }

    /// Removes the lines.
    pub fn end(self) {
        self.0.finish_and_clear();
    }
}

/// The output of a task, on standard output. On a terminal, control characters other than line ends and tabs
/// are shown as visible text; elsewhere every byte is written as it is.
#[derive(Debug, Default)]
pub struct TextStream {
    /// The first bytes of a character whose last bytes have not arrived.
    rest: Vec<u8>,
}

impl TextStream {
    /// Writes bytes; returns whether standard output is still read.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let mut out = io::stdout().lock();
        let written = match out.is_terminal() {
            true => out.write_all(self.visible(bytes).as_bytes()),
            false => out.write_all(bytes),
        };
        written.and_then(|()| out.flush()).is_ok()
    }

    fn visible(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.rest);
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            for (place, line) in chunk.valid().split('\n').enumerate() {
                text += if place > 0 { "\n" } else { "" };
                let parts: Vec<String> = line.trim_end_matches('\r').split('\t').map(shown).collect();
                text += &parts.join("\t");
            }
            text += if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
        }
        // The rest of the character may come with the next bytes.
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            text.pop();
            self.rest = bytes[error.valid_up_to()..].to_vec();
        }
        text
    }
}

/// A log on standard error: one line for each event, whatever the event contains.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// Its lines are JSON.
    pub json: bool,
}

impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let line = if self.json { shown_json(text) } else { shown(text) };
        io::stderr().lock().write_all((line + "\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Returns a length of time for people.
pub fn length(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{}.{}s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_control_characters_stays_on_one_line() {
        assert_eq!(joined(["a\nok: forged", "\x1b[2Jb"]), "a\\nok: forged\n\\u{1b}[2Jb\n");
    }

    #[test]
    fn output_of_a_task_cannot_move_the_cursor_and_keeps_its_characters() {
        let mut stream = TextStream::default();
        assert_eq!(stream.visible(b"a\tb\r\n\x1b[2J\n"), "a\tb\n\\u{1b}[2J\n");
        assert_eq!(stream.visible(b"x\xc3"), "x");
        assert_eq!(stream.visible(b"\xbc\xff!"), "\u{fc}\u{fffd}!");
    }

    #[test]
    fn sizes_and_lengths_are_for_people() {
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(
            (length(950), length(61_000), length(3_720_000)),
            ("950 ms".into(), "1m 01s".into(), "1h 02m".into())
        );
    }
}
