//! Compresses a text against a pattern that has the same structure, in one pass over both.
//!
//! Texts of the same structure differ within their strings only, so that the next quotation mark of both is the same
//! place. This finds what an LZ4 encoder finds with a table of the whole pattern, several times faster. What comes out
//! is an LZ4 block, which any decoder reads with the pattern as its dictionary. Texts of other structures come out
//! large; the caller then compresses them with the library.

use memchr::memchr;

/// Shortest copy that LZ4 has.
const SHORTEST: usize = 4;
/// The last bytes of a block are always literals.
const LAST_LITERALS: usize = 5;
/// Largest distance that LZ4 has.
const FARTHEST: usize = u16::MAX as usize;
/// How many literals of a text are compared with later ones: names that a text holds several times.
const REMEMBERED: usize = 8;

/// Appends a text as an LZ4 block to `block`. Returns false, with a part of it appended, if that is longer than `most`,
/// or if text and pattern are too long.
pub fn compress(text: &[u8], pattern: &[u8], most: usize, block: &mut Vec<u8>) -> bool {
    if text.len() + pattern.len() > FARTHEST {
        return false;
    }
    let most = block.len() + most;
    let end = text.len().saturating_sub(LAST_LITERALS);
    let (mut at, mut there, mut literals_from) = (0, 0, 0);
    let mut writer = Writer { block, text, remembered: [(0, 0); REMEMBERED], next: 0 };
    while at < end && writer.block.len() <= most {
        let same = common_prefix(&text[at..end], &pattern[there..]);
        if same >= SHORTEST {
            writer.sequence(literals_from, at, (pattern.len() - there + at, same));
            literals_from = at + same;
        }
        (at, there) = (at + same, there + same);
        let (Some(quote), Some(quote_there)) = (memchr(b'"', &text[at..]), memchr(b'"', &pattern[there..]))
        else {
            break;
        };
        let ends = common_suffix(&text[at..at + quote], &pattern[there..there + quote_there]);
        (at, there) = (at + quote - ends, there + quote_there - ends);
    }
    writer.literals(literals_from, text.len(), 0);
    writer.block.len() <= most
}

struct Writer<'a> {
    block: &'a mut Vec<u8>,
    text: &'a [u8],
    /// Start and end of literals in the text; empty ones are unused.
    remembered: [(usize, usize); REMEMBERED],
    next: usize,
}

impl Writer<'_> {
    /// Writes literals, and a copy with this distance and length.
    fn sequence(&mut self, from: usize, to: usize, copy: (usize, usize)) {
        let literals = &self.text[from..to];
        let known = |(start, end): &&(usize, usize)| self.text[*start..*end] == *literals;
        let earlier = (literals.len() > SHORTEST).then(|| self.remembered.iter().find(known)).flatten();
        match earlier.copied() {
            Some((start, _)) => {
                self.part(to, to, (from - start, to - from));
                self.part(to, to, copy);
            }
            None => {
                self.remembered[self.next % REMEMBERED] = (from, to);
                self.next += 1;
                self.part(from, to, copy);
            }
        }
    }

    fn part(&mut self, from: usize, to: usize, (distance, length): (usize, usize)) {
        self.literals(from, to, nibble(length - SHORTEST));
        // Checked at the start: no distance is longer than pattern and text.
        self.block.extend_from_slice(&(distance as u16).to_le_bytes());
        self.more_of_length(length - SHORTEST);
    }

    /// Writes a token with this lower half, and literals.
    fn literals(&mut self, from: usize, to: usize, lower: u8) {
        self.block.push(nibble(to - from) << 4 | lower);
        self.more_of_length(to - from);
        self.block.extend_from_slice(&self.text[from..to]);
    }

    /// Writes the part of a length that does not fit into a token.
    fn more_of_length(&mut self, length: usize) {
        let Some(mut rest) = length.checked_sub(15) else { return };
        while rest >= 255 {
            self.block.push(255);
            rest -= 255;
        }
        self.block.push(rest as u8);
    }
}

fn nibble(length: usize) -> u8 {
    length.min(15) as u8
}

/// Bytes that are compared at once.
const STEP: usize = size_of::<u64>();

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let ((steps, _), (other_steps, _)) = (one.as_chunks::<STEP>(), other.as_chunks::<STEP>());
    for (at, (step, other)) in steps.iter().zip(other_steps).enumerate() {
        let differ = u64::from_le_bytes(*step) ^ u64::from_le_bytes(*other);
        if differ != 0 {
            return at * STEP + differ.trailing_zeros() as usize / 8;
        }
    }
    let from = steps.len().min(other_steps.len()) * STEP;
    from + one[from..].iter().zip(&other[from..]).take_while(|(one, other)| one == other).count()
}

fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let ((_, steps), (_, other_steps)) = (one.as_rchunks::<STEP>(), other.as_rchunks::<STEP>());
    for (at, (step, other)) in steps.iter().rev().zip(other_steps.iter().rev()).enumerate() {
        let differ = u64::from_le_bytes(*step) ^ u64::from_le_bytes(*other);
        if differ != 0 {
            return at * STEP + differ.leading_zeros() as usize / 8;
        }
    }
    let whole = steps.len().min(other_steps.len()) * STEP;
    let (rest, other_rest) = (&one[..one.len() - whole], &other[..other.len() - whole]);
    whole + rest.iter().rev().zip(other_rest.iter().rev()).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::block::decompress_with_dict;
    use proptest::prelude::*;

    fn round(text: &str, pattern: &str) -> usize {
        let mut block = Vec::new();
        assert!(compress(text.as_bytes(), pattern.as_bytes(), usize::MAX / 2, &mut block));
        let read = decompress_with_dict(&block, text.len(), pattern.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), text);
        block.len()
    }

    #[test]
    fn texts_of_one_structure_become_what_differs() {
        let task = |name: &str, retries: u32| {
            format!(
                r#"{{"id":"{name}","commandLine":"/bin/cp {name}.txt copy","resourceFiles":[{{"httpUrl":"http://127.0.0.1:10000/store/run-input/{name}/{name}.txt?sv=2022-11-02&sig=xxxxxxxxxxxxxxxxxxxxxxxxx","filePath":"{name}.txt","fileMode":"0644"}}],"constraints":{{"maxTaskRetryCount":{retries}}},"requiredSlots":1}}"#
            )
        };
        let pattern = task("a-name-of-a-task", 0);
        for (text, most) in [
            (pattern.clone(), 16),
            (task("a-name-of-b-task", 0), 48),
            (task("another-name-0123456789abcdef", 12), 140),
            (task("", 3), 60),
            (task(r#"\"\""#, 3), 300),
        ] {
            let size = round(&text, &pattern);
            assert!(size <= most, "{size} of {text}");
        }
    }

    #[test]
    fn what_grows_beyond_the_limit_is_given_up() {
        let mut block = vec![1, 2, 3, 4];
        assert!(!compress(&[b'x'; 100], b"a pattern", 50, &mut block));
        assert!(!compress(&[b'x'; 100], &[b'y'; FARTHEST], 1000, &mut block));
    }

    proptest! {
        #[test]
        fn common_ends_are_as_long_as_they_are(one in "[ab]{0,30}", other in "[ab]{0,30}", same in ".{0,30}") {
            let same_bytes = |one: &mut dyn Iterator<Item = u8>, other: &mut dyn Iterator<Item = u8>| {
                one.zip(other).take_while(|(one, other)| one == other).count()
            };
            let (first, second) = (format!("{same}{one}"), format!("{same}{other}"));
            prop_assert_eq!(common_prefix(first.as_bytes(), second.as_bytes()), same_bytes(&mut first.bytes(), &mut second.bytes()));
            let (first, second) = (format!("{one}{same}"), format!("{other}{same}"));
            prop_assert_eq!(common_suffix(first.as_bytes(), second.as_bytes()), same_bytes(&mut first.bytes().rev(), &mut second.bytes().rev()));
        }

        #[test]
        fn what_was_compressed_comes_out_as_it_went_in(
            strings in prop::collection::vec(("[ab]{0,40}", "[ab\"]{0,40}"), 0..20),
        ) {
            let text: Vec<_> = strings.iter().map(|(one, _)| one.as_str()).collect();
            let pattern: Vec<_> = strings.iter().map(|(_, other)| other.as_str()).collect();
            round(&text.join("\",\""), &pattern.join("\",\""));
            round(&pattern.join("\",\""), &text.join("\",\""));
        }
    }
}
