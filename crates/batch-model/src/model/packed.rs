//! Compresses texts that are similar to each other by storing the difference from a common pattern.
//!
//! The tasks of a job are created by one program: they differ in a name, a file, a signature. So the first
//! text of a kind becomes a pattern, and others are compressed against it as LZ4 blocks: by `aligned` if they
//! have the structure of the pattern, by the library otherwise. Each packed text holds a reference to its
//! pattern, so it does not depend on the packer, and a pattern is freed with the last text that needs it.

mod aligned;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use std::sync::Arc;

/// Maximum number of patterns: one for each kind of task of a job (a manager, two steps of the work).
const MOST_PATTERNS: usize = 3;
/// If a text is compressed to less than one of this many parts, no better pattern is tried.
const ALIKE: usize = 4;
/// The same limit when the packer has no room for another pattern.
const SIMILAR: usize = 2;

/// A text, packed or unchanged.
#[derive(Debug, Clone)]
pub struct Packed(Form);

#[derive(Debug, Clone)]
enum Form {
    Plain(Box<str>),
    Like(Arc<Pattern>, Box<[u8]>),
}

#[derive(Debug)]
struct Pattern(Box<[u8]>);

/// Packs texts, and remembers the patterns of the last ones.
#[derive(Debug, Clone, Default)]
pub struct Packer {
    /// The last used pattern comes first.
    patterns: Vec<Arc<Pattern>>,
    /// Reused buffer for the compressed text.
    room: Vec<u8>,
}

impl Packed {
    /// Creates an unpacked text.
    pub fn plain(text: impl Into<Box<str>>) -> Self {
        Self(Form::Plain(text.into()))
    }

    /// Returns the text.
    pub fn text(&self) -> String {
        match &self.0 {
            Form::Plain(text) => text.to_string(),
            Form::Like(pattern, bytes) => {
                let text = decompress_size_prepended_with_dict(bytes, &pattern.0);
                let text = text.expect("the bytes were packed with this pattern by this program");
                String::from_utf8(text).expect("packed content is text")
            }
        }
    }
}

impl Packer {
    /// Packs a text if it is not packed.
    pub fn pack(&mut self, packed: &mut Packed) {
        if let Form::Plain(text) = &packed.0 {
            *packed = self.packed(text);
        }
    }

    /// Packs a text.
    pub fn packed(&mut self, text: &str) -> Packed {
        let most = text.len() / ALIKE;
        let mut bytes = std::mem::take(&mut self.room);
        let aligned = self.patterns.iter().position(|pattern| {
            bytes.clear();
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            aligned::compress(text.as_bytes(), &pattern.0, most.saturating_sub(bytes.len()), &mut bytes)
        });
        let packed = match aligned {
            Some(at) => {
                self.patterns[..=at].rotate_right(1);
                bytes.as_slice().into()
            }
            None => self.compressed(text).into(),
        };
        self.room = bytes;
        Packed(Form::Like(self.patterns[0].clone(), packed))
    }

    /// Compresses a text against the best pattern, which moves to the front, or makes the text a pattern.
    fn compressed(&mut self, text: &str) -> Vec<u8> {
        let mut best: Option<(usize, Vec<u8>)> = None;
        for (at, pattern) in self.patterns.iter().enumerate() {
            let bytes = compress_prepend_size_with_dict(text.as_bytes(), &pattern.0);
            let is_enough = bytes.len() <= text.len() / ALIKE;
            if best.as_ref().is_none_or(|(_, best)| bytes.len() < best.len()) {
                best = Some((at, bytes));
            }
            if is_enough {
                break;
            }
        }
        let most = if self.patterns.len() < MOST_PATTERNS { ALIKE } else { SIMILAR };
        match best.filter(|(_, bytes)| bytes.len() <= text.len() / most) {
            Some((at, bytes)) => {
                self.patterns[..=at].rotate_right(1);
                bytes
            }
            None => {
                self.patterns.truncate(MOST_PATTERNS - 1);
                self.patterns.insert(0, Arc::new(Pattern(text.as_bytes().into())));
                compress_prepend_size_with_dict(text.as_bytes(), text.as_bytes())
            }
        }
    }

    /// Removes all patterns.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(packer: &mut Packer, text: &str) -> Packed {
        let mut packed = Packed::plain(text);
        packer.pack(&mut packed);
        packed
    }

    fn size(packed: &Packed) -> usize {
        match &packed.0 {
            Form::Plain(text) => text.len(),
            Form::Like(_, bytes) => bytes.len(),
        }
    }

    #[test]
    fn texts_of_a_few_kinds_are_small_in_any_order() {
        let mut packer = Packer::default();
        let letter = |at: u32| char::from_u32(u32::from('a') + at % 26).unwrap_or('a');
        let kinds: Vec<String> =
            [7, 9, 11].map(|kind| (0..90).map(|at| letter(at * at / kind)).collect()).to_vec();
        for round in 0..10 {
            for kind in &kinds {
                let text = format!("{kind}{round}{kind}");
                let packed = packed(&mut packer, &text);
                assert_eq!(packed.text(), text);
                assert!(size(&packed) < 32, "{} of {text}", size(&packed));
            }
        }
        assert_eq!(packer.patterns.len(), kinds.len());
    }

    #[test]
    fn a_pattern_is_freed_with_the_last_text_that_needs_it() {
        let mut packer = Packer::default();
        let text =
            |word: &str| format!("a text that is like others but for one {word}, as tasks are; ").repeat(5);
        let first = packed(&mut packer, &text("word"));
        let pattern = Arc::downgrade(&packer.patterns[0]);
        let second = packed(&mut packer, &text("name"));
        packer.clear();
        drop(first);
        assert!(pattern.upgrade().is_some());
        assert_eq!(second.text(), text("name"));
        drop(second);
        assert!(pattern.upgrade().is_none());
    }

    proptest! {
        #[test]
        fn unpacking_returns_the_packed_text(texts in prop::collection::vec(".{0,200}", 1..20)) {
            let mut packer = Packer::default();
            let all: Vec<Packed> = texts.iter().map(|text| packed(&mut packer, text)).collect();
            prop_assert!(packer.patterns.len() <= MOST_PATTERNS);
            for (text, packed) in texts.iter().zip(all) {
                prop_assert_eq!(&packed.text(), text);
            }
        }
    }
}
