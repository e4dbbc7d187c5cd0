//! Checks the bytes of a write-ahead log of SQLite, before SQLite reads them.
//!
//! SQLite ends a log at its first invalid frame and does not report what follows it. That is right for a
//! transaction that a crash interrupted, and wrong for damage: committed transactions vanish. [`walk`] distinguishes
//! the two cases. It only reads.
//!
//! The format is described in <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>. A log begins
//! with a header that names the page size and two random numbers, the salts. Each frame repeats the salts and
//! ends its own header with a checksum over everything before it. A frame that commits a transaction names
//! the size of the database.
//!
//! **What proves damage.** The writer begins a transaction only after the one before it was flushed
//! (`synchronous=FULL`). So everything up to a commit was on the disk when the next transaction began. If
//! frame `b` is invalid, and a complete transaction begins after some commit at or behind `b`, then `b` was
//! flushed once and has changed since.
//!
//! **What does not.** A power loss may leave any subset of the frames of a transaction that was never
//! flushed, even its last frame without its first. So a valid frame behind `b` proves nothing, and neither
//! does a commit: it may end the transaction of `b`. What is left of such a transaction stays in the file
//! until later transactions overwrite it. There is at most one such commit, which is why damage takes two.
//!
//! **Why a frame behind `b` can be trusted.** Checksums are cumulative, but each frame stores its own. So a
//! frame is checked against the one that its predecessor stores, whatever came before. 64 bits of checksum
//! and 64 bits of salts do not match by chance. Only the invalid frame cannot be checked. If its salts match,
//! its commit flag is accepted if the database size in it is plausible: a journal never shrinks, and grows by
//! no more pages than the transaction has frames.
//!
//! Frames with other salts are from an earlier use of the file. SQLite overwrites them from the front once
//! everything in them is in the database.

use std::io::{self, ErrorKind, Read};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The only version of the WAL format.
const VERSION: u32 = 3_007_000;
/// First word of a header, without its last bit. The last bit means that checksums read big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// The state of a log, derived from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalState {
    /// The log has no bytes.
    Empty,
    /// The header is incomplete or invalid: SQLite ignores everything behind it.
    BadHeader,
    /// The log ends with a commit, or before its first frame.
    Whole {
        /// Number of frames up to the last commit.
        committed: u64,
    },
    /// A transaction that was never committed follows the last commit, as a crash leaves it.
    Torn {
        /// Number of frames up to the last commit.
        committed: u64,
    },
    /// A frame is invalid, and a transaction that was committed later is complete.
    Damaged {
        /// Number of the invalid frame, from 1.
        frame: u64,
    },
}

/// Returns what the bytes of a log show. It needs memory for one frame, at most 64 KiB, whatever the log says of itself.
///
/// # Errors
/// Fails if the log cannot be read.
pub fn walk(mut log: impl Read) -> io::Result<WalState> {
    let mut header = [0; HEADER];
    match fill(&mut log, &mut header)? {
        0 => return Ok(WalState::Empty),
        HEADER => {}
        _ => return Ok(WalState::BadHeader),
    }
    let Some((mut scan, page_bytes)) = Scan::begin(&header) else { return Ok(WalState::BadHeader) };
    let mut frame = vec![0; FRAME_HEADER + page_bytes];
    loop {
        let filled = fill(&mut log, &mut frame)?;
        if filled < frame.len() {
            return Ok(scan.end(filled > 0));
        }
        if let Some(frame) = scan.take(&frame) {
            return Ok(WalState::Damaged { frame });
        }
    }
}

/// The position and state of a walk along the frames.
struct Scan {
    big_endian: bool,
    salts: [u8; 8],
    /// The checksum that the last frame, or the header, stores.
    sum: [u32; 2],
    /// Number of frames so far.
    number: u64,
    /// Number of frames up to the last commit before any invalid frame, and the pages of the database then.
    committed: u64,
    pages: u32,
    /// Number of the first invalid frame.
    invalid: Option<u64>,
    /// A later frame has the salts of this log.
    has_more: bool,
    /// After an invalid frame, there was a commit, and each frame since then is valid.
    since_commit: bool,
}

impl Scan {
    fn begin(header: &[u8; HEADER]) -> Option<(Self, usize)> {
        let [magic, version, page_bytes] = [0, 4, 8].map(|at| word(header, at));
        let big_endian = magic & 1 == 1;
        let page_bytes = usize::try_from(page_bytes).ok()?;
        let fits = magic & !1 == MAGIC
            && version == VERSION
            && page_bytes.is_power_of_two()
            && (512..=65_536).contains(&page_bytes);
        let sum = [word(header, 24), word(header, 28)];
        if !fits || checksum([0, 0], &header[..24], big_endian) != sum {
            return None;
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        let scan = Self {
            big_endian,
            salts,
            sum,
            number: 0,
            committed: 0,
            pages: 0,
            invalid: None,
            has_more: false,
            since_commit: false,
        };
        Some((scan, page_bytes))
    }

    /// Processes the next frame. Returns the number of the first invalid frame once it is proved that it was
    /// valid before.
    fn take(&mut self, frame: &[u8]) -> Option<u64> {
        self.number += 1;
        let ours = frame[8..16] == self.salts;
        let pages = word(frame, 4);
        let commits = ours && pages != 0;
        let sum = checksum(self.sum, &frame[..8], self.big_endian);
        let sum = checksum(sum, &frame[FRAME_HEADER..], self.big_endian);
        let stored = [word(frame, 16), word(frame, 20)];
        let valid = ours && word(frame, 0) != 0 && sum == stored;
        self.sum = stored;
        match self.invalid {
            None if valid && commits => (self.committed, self.pages) = (self.number, pages),
            None if valid => {}
            None => {
                self.invalid = Some(self.number);
                self.since_commit = commits && self.is_plausible(pages);
            }
            Some(frame) if valid && commits && self.since_commit => return Some(frame),
            Some(_) if valid && self.since_commit => {}
            Some(_) => self.since_commit = commits && self.is_plausible(pages),
        }
        self.has_more |= self.invalid.is_some() && ours;
        None
    }

    /// Returns whether the database may have this size, given the last known commit. Before the first commit,
    /// any size is plausible.
    fn is_plausible(&self, pages: u32) -> bool {
        let most = u64::from(self.pages) + (self.number - self.committed);
        self.committed == 0 || (self.pages <= pages && u64::from(pages) <= most)
    }

    fn end(&self, has_rest: bool) -> WalState {
        let committed = self.committed;
        let torn = match self.invalid {
            Some(frame) => self.has_more || frame > committed + 1,
            None => has_rest || self.number > committed,
        };
        if torn { WalState::Torn { committed } } else { WalState::Whole { committed } }
    }
}

/// Reads until the buffer is full or the input ends; returns the number of bytes read.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's checksum over a multiple of 8 bytes, continued from `sum`.
fn checksum(sum: [u32; 2], bytes: &[u8], big_endian: bool) -> [u32; 2] {
    let [mut first, mut second] = sum;
    for pair in bytes.chunks_exact(8) {
        let read = |at: usize| {
            let word = word(pair, at);
            if big_endian { word } else { word.swap_bytes() }
        };
        first = first.wrapping_add(read(0)).wrapping_add(second);
        second = second.wrapping_add(read(4)).wrapping_add(first);
    }
    [first, second]
}

#[cfg(test)]
#[path = "wal_tests.rs"]
mod tests;
