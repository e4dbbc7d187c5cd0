//! Splits a stream of bytes into words, separated by Unicode white space.
//!
//! The input need not be UTF-8: invalid bytes are part of a word, so that nothing is lost. A byte order mark
//! at the start of the input is skipped.

use std::io::{self, ErrorKind, Read};

/// Number of bytes to read at a time. The buffer grows for a longer word.
const BLOCK: usize = 64 << 10;

/// Number of readable bytes after every word, so that callers can load a fixed number of bytes.
pub const PADDING: usize = 16;

/// The words of a block as start and length in the buffer.
pub type Places = Vec<(u32, u32)>;

/// Length limit of a word in bytes, because places have 32 bits.
const LONGEST: usize = 1 << 30;

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Reads `input` to its end and calls `take` for each block, with the buffer (with [`PADDING`] readable bytes
/// after every word) and the places of the words in order.
///
/// # Errors
/// Fails if the input cannot be read or contains a word longer than 1 GiB.
pub fn each_block(mut input: impl Read, mut take: impl FnMut(&[u8], &Places)) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK + PADDING];
    let mut places = Places::new();
    let mut filled = 0;
    let mut scan = Scan::default();
    let mut begun = false;
    loop {
        let room = buffer.len() - PADDING;
        let read = match input.read(&mut buffer[filled..room]) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        filled += read;
        let at_end = read == 0;
        if !begun {
            // A byte order mark may be incomplete so far.
            if filled < MARK.len() && MARK.starts_with(&buffer[..filled]) && !at_end {
                continue;
            }
            begun = true;
            if buffer[..filled].starts_with(MARK) {
                scan = Scan { word: MARK.len(), next: MARK.len() };
            }
        }
        scan.run(&buffer[..filled], at_end, &mut places);
        take(&buffer, &places);
        places.clear();
        if at_end {
            return Ok(());
        }
        buffer.copy_within(scan.word..filled, 0);
        filled -= scan.word;
        scan = Scan { word: 0, next: scan.next - scan.word };
        if filled > LONGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, "a word is longer than 1 GiB"));
        }
        // Double the buffer if a word fills most of it, to keep the total work linear.
        if filled > (buffer.len() - PADDING) / 2 {
            buffer.resize(buffer.len() * 2, 0);
        }
    }
}

/// The state of the search.
#[derive(Debug, Default)]
struct Scan {
    /// Start of the current word.
    word: usize,
    /// Index of the first byte that was not examined.
    next: usize,
}

impl Scan {
    /// Examines the rest of `text`. At the end of the input, the remaining bytes are a word too.
    fn run(&mut self, text: &[u8], at_end: bool, places: &mut Places) {
        while let Some(block) =
            text.get(self.next..self.next + 64).and_then(|block| block.first_chunk::<64>())
        {
            let mut marks = marks(block);
            let base = self.next;
            while marks != 0 {
                let at = base + marks.trailing_zeros() as usize;
                marks &= marks - 1;
                if text[at] < 0x80 {
                    // The most frequent case, inlined.
                    if at > self.word {
                        places.push((self.word as u32, (at - self.word) as u32));
                    }
                    self.word = at + 1;
                } else if !self.end_word_at_white_space(text, at, at_end, places) {
                    self.next = at;
                    return;
                }
            }
            self.next = base + 64;
        }
        while self.next < text.len() {
            let at = self.next;
            if is_mark(text[at]) && !self.end_word_at_white_space(text, at, at_end, places) {
                return;
            }
            self.next = at + 1;
        }
        if at_end && self.word < text.len() {
            places.push(((self.word) as u32, (text.len() - self.word) as u32));
            self.word = text.len();
        }
    }

    /// Ends the word at `at` if white space begins there. Returns `false` if more bytes are needed to decide.
    fn end_word_at_white_space(&mut self, text: &[u8], at: usize, at_end: bool, places: &mut Places) -> bool {
        let width = match white_space(&text[at..]) {
            Space::No => return true,
            Space::Perhaps => return at_end,
            Space::Yes(width) => width,
        };
        if at > self.word {
            places.push((self.word as u32, (at - self.word) as u32));
        }
        self.word = at + width;
        true
    }
}

/// Returns one bit for each byte that is, or may start, white space. Written so that the compiler vectorises
/// the comparisons.
fn marks(block: &[u8; 64]) -> u64 {
    let mut found = [0_u8; 64];
    for (found, byte) in found.iter_mut().zip(block) {
        *found = u8::from(is_mark(*byte));
    }
    // Multiplication by this collects the lowest bits of eight bytes in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (eights, _) = found.as_chunks::<8>();
    eights
        .iter()
        .enumerate()
        .map(|(index, eight)| (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << (index * 8))
        .fold(0, |marks, eight| marks | eight)
}

/// Returns `true` for ASCII white space and for the first byte of other white space.
#[inline(always)]
fn is_mark(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(9) < 5) | (byte == 0xC2) | (byte.wrapping_sub(0xE1) < 3)
}

enum Space {
    Yes(usize),
    No,
    Perhaps,
}

/// Returns whether `text` starts with white space (Unicode property `White_Space`), and its length in bytes.
#[inline(always)]
fn white_space(text: &[u8]) -> Space {
    if text[0] < 0x80 {
        return Space::Yes(1);
    }
    wide_space(text)
}

fn wide_space(text: &[u8]) -> Space {
    match *text {
        // U+0085, U+00A0
        [0xC2, 0x85 | 0xA0, ..] => Space::Yes(2),
        // U+1680; U+2000 to U+200A, U+2028, U+2029, U+202F; U+205F; U+3000
        [0xE1, 0x9A, 0x80, ..]
        | [0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF, ..]
        | [0xE2, 0x81, 0x9F, ..]
        | [0xE3, 0x80, 0x80, ..] => Space::Yes(3),
        [0xC2] | [0xE1] | [0xE1, 0x9A] | [0xE2] | [0xE2, 0x80 | 0x81] | [0xE3] | [0xE3, 0x80] => {
            Space::Perhaps
        }
        _ => Space::No,
    }
}

#[cfg(test)]
#[path = "words/tests.rs"]
mod tests;
