//! Filters for downloaded standard output and error: remember the end for the report, and leave out the
//! middle of a long one.

use md5::{Digest, Md5};
use std::io::{self, Write};

/// Maximum number of bytes of a task's standard error in the report.
const TAIL_BYTES: usize = 2048;
/// Maximum number of its lines in the report.
const TAIL_LINES: usize = 10;

/// Passes bytes on and remembers the last ones.
pub struct Tail<W> {
    writer: W,
    tail: Vec<u8>,
    is_wanted: bool,
}

impl<W: Write> Tail<W> {
    /// Creates the filter; it remembers nothing if `is_wanted` is `false`.
    pub fn new(writer: W, is_wanted: bool) -> Self {
        Self { writer, tail: vec![], is_wanted }
    }

    /// Returns the last bytes.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Returns the inner writer.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

impl<W: Write> Write for Tail<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        if self.is_wanted {
            self.tail.extend_from_slice(&bytes[..written]);
            let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
            self.tail.drain(..surplus);
        }
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Passes on the beginning and the end of a file of known length, with a line between them that contains the
/// number of missing bytes.
pub struct Shortened<W> {
    writer: W,
    /// Position of the next byte.
    at: u64,
    /// End of the first part and start of the last part; `None` if nothing is left out.
    gap: Option<(u64, u64)>,
    bytes: u64,
    hash: Md5,
}

/// A shortened file.
#[derive(Debug, PartialEq, Eq)]
pub struct Short {
    /// Length in bytes.
    pub bytes: u64,
    /// MD5 of its content, 32 hex digits.
    pub md5: String,
    /// Number of missing bytes of the original.
    pub left_out_bytes: u64,
}

impl<W: Write> Shortened<W> {
    /// Creates the filter for `length_bytes` bytes, of which `kept_bytes` are kept.
    pub fn new(writer: W, length_bytes: u64, kept_bytes: u64) -> Self {
        let head = kept_bytes / 2;
        let gap = (length_bytes > kept_bytes).then(|| (head, length_bytes - (kept_bytes - head)));
        Self { writer, at: 0, gap, bytes: 0, hash: Md5::new() }
    }

    /// Returns the shortened file, if something was left out.
    pub fn ended(self) -> Option<Short> {
        let (from, to) = self.gap?;
        let md5 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Short { bytes: self.bytes, md5, left_out_bytes: to - from })
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl<W: Write> Write for Shortened<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((from, to)) = self.gap else { return self.writer.write(bytes) };
        // The number of bytes up to the next boundary.
        let border = [from, to].into_iter().find(|border| *border > self.at).unwrap_or(u64::MAX);
        let count = usize::try_from(border - self.at).unwrap_or(usize::MAX).min(bytes.len());
        if self.at < from || self.at >= to {
            self.pass(&bytes[..count])?;
        }
        self.at += count as u64;
        if self.at == to && count > 0 {
            self.pass(format!("\n[... {} bytes left out: limits.stream_bytes ...]\n", to - from).as_bytes())?;
        }
        Ok(count)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Returns the last lines of a text.
pub fn last_lines(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(TAIL_BYTES);
    let text = String::from_utf8_lossy(&bytes[from..]);
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
        let tail = last_lines(text.as_bytes());
        assert!(tail.starts_with("line 90\n") && tail.ends_with("line 99"), "{tail}");
        assert_eq!(last_lines(b""), "");
    }

    #[test]
    fn beginning_and_end_of_a_long_file_are_kept_with_any_chunks() {
        let text: Vec<u8> = (0..100u8).collect();
        for part in [1, 3, 100] {
            for kept in [0, 1, 10, 99, 100, 1000] {
                let mut kept_text = vec![];
                let mut writer = Shortened::new(&mut kept_text, 100, kept);
                for bytes in text.chunks(part) {
                    writer.write_all(bytes).unwrap();
                }
                let short = writer.ended();
                if kept >= 100 {
                    assert_eq!((short, &kept_text), (None, &text));
                    continue;
                }
                let (head, left_out) = (kept as usize / 2, 100 - kept as usize);
                let line = format!("\n[... {left_out} bytes left out: limits.stream_bytes ...]\n");
                let expected = [&text[..head], line.as_bytes(), &text[head + left_out..]].concat();
                assert_eq!(kept_text, expected, "{kept} in parts of {part}");
                let short = short.unwrap();
                assert_eq!((short.bytes, short.left_out_bytes), (expected.len() as u64, left_out as u64));
                let md5: String = Md5::digest(&expected).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(short.md5, md5);
            }
        }
    }
}
