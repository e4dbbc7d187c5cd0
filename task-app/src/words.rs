//! Cuts a stream of bytes into words: whatever stands between Unicode white space.
//!
//! The input is bytes, not characters: what is not UTF-8 is part of a word like any letter, so that nothing is lost.
//! A byte order mark at the very beginning is not part of the first word.

use std::io::{self, ErrorKind, Read};

/// How much is read at once. A word longer than this makes the buffer grow.
const BLOCK: usize = 64 << 10;

/// What a reader of words may look at beyond a word's end, so that it can take a fixed number of bytes.
pub const PADDING: usize = 16;

/// Words found in one go, as places in the buffer: start and length.
pub type Places = Vec<(u32, u32)>;

/// Longest word, in bytes: places are 32 bits.
const LONGEST: usize = 1 << 30;

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Reads `input` to its end and hands each block's words to `take`: the buffer (with [`PADDING`] readable bytes
/// behind every word) and where the words are, in order.
///
/// # Errors
/// When the input cannot be read, or has a word longer than 1 GiB.
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
            // Fewer than three bytes may still become a mark.
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
            return Err(io::Error::new(ErrorKind::InvalidData, "it has a word longer than 1 GiB"));
        }
        // A word that fills most of the buffer would leave little to read: twice the room keeps the work linear.
        if filled > (buffer.len() - PADDING) / 2 {
            buffer.resize(buffer.len() * 2, 0);
        }
    }
}

/// Where the search stands.
#[derive(Debug, Default)]
struct Scan {
    /// Where the word that is being read began.
    word: usize,
    /// The first byte that was not looked at.
    next: usize,
}

impl Scan {
    /// Looks at the rest of `text`; at the end of the input, what is left is a word too.
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
                    // Nearly always; short enough to stand here rather than in a call.
                    if at > self.word {
                        places.push((self.word as u32, (at - self.word) as u32));
                    }
                    self.word = at + 1;
                } else if !self.border(text, at, at_end, places) {
                    self.next = at;
                    return;
                }
            }
            self.next = base + 64;
        }
        while self.next < text.len() {
            let at = self.next;
            if is_mark(text[at]) && !self.border(text, at, at_end, places) {
                return;
            }
            self.next = at + 1;
        }
        if at_end && self.word < text.len() {
            places.push(((self.word) as u32, (text.len() - self.word) as u32));
            self.word = text.len();
        }
    }

    /// Ends the word at `at` if white space begins there. False when more bytes are needed to tell.
    fn border(&mut self, text: &[u8], at: usize, at_end: bool, places: &mut Places) -> bool {
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

/// One bit for each byte that is, or may begin, white space. Written so that the compiler uses vector instructions
/// for the comparisons.
fn marks(block: &[u8; 64]) -> u64 {
    let mut found = [0_u8; 64];
    for (found, byte) in found.iter_mut().zip(block) {
        *found = u8::from(is_mark(*byte));
    }
    // Gathers the lowest bits of eight bytes in the topmost byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (eights, _) = found.as_chunks::<8>();
    eights
        .iter()
        .enumerate()
        .map(|(index, eight)| (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << (index * 8))
        .fold(0, |marks, eight| marks | eight)
}

/// ASCII white space, or the first byte of white space beyond ASCII.
#[inline(always)]
fn is_mark(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(9) < 5) | (byte == 0xC2) | (byte.wrapping_sub(0xE1) < 3)
}

enum Space {
    Yes(usize),
    No,
    Perhaps,
}

/// Whether `text` begins with white space (Unicode's property `White_Space`), and how many bytes it takes.
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
