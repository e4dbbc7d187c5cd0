//! Counts the occurrences of words and remembers the order of their first appearance.
//!
//! Memory latency dominates the run time, and most words are short. Therefore a word of up to 15 bytes is
//! stored as a pair of integers in its slot of the hash table, next to its count. The slots of a batch of
//! words are read before the first comparison, so that the processor loads them in parallel.

use crate::words::Places;
use std::{cmp::Reverse, collections::HashMap, hint::black_box};

/// A word and the number of its occurrences.
pub type Counted = (Vec<u8>, u64);

/// Length in bytes of the longest word that is stored in a slot.
const SHORT: usize = 15;
/// Initial number of slots, a power of two.
const SLOTS: usize = 1 << 12;
/// Number of words whose slots are loaded in parallel.
const BATCH: usize = 32;

/// A counter of word occurrences.
#[derive(Debug)]
pub struct Counter {
    /// Hash table of the short words, with linear probing.
    slots: Vec<Slot>,
    used: usize,
    long: HashMap<Box<[u8]>, Tally>,
}

// Aligned so that no slot spans two cache lines.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Slot {
    /// All zeros in a free slot.
    word: ShortWord,
    tally: Tally,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    /// Number of distinct words that appeared before this one.
    place: u64,
}

/// A word padded with zeros, with its length in the last byte, so that different words have different values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ShortWord(u64, u64);

impl Default for Counter {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); SLOTS], used: 0, long: HashMap::new() }
    }
}

impl Counter {
    /// Counts the words at `places` of `buffer`, as [`crate::words::each_block`] passes them.
    pub fn add(&mut self, buffer: &[u8], places: &Places) {
        let mut batch = [(ShortWord::default(), 0); BATCH];
        for places in places.chunks(BATCH) {
            // Grow first, because slots must not move while the batch is processed.
            if (self.used + BATCH) * 2 > self.slots.len() {
                self.grow();
            }
            let mask = self.slots.len() - 1;
            for ((start, length), sought) in places.iter().zip(&mut batch) {
                let word = ShortWord::of(buffer, *start as usize, *length as usize);
                *sought = (word, word.hash() as usize & mask);
            }
            // A separate short loop lets the processor execute more iterations in parallel.
            let mut touched = 0;
            for (_, at) in &batch[..places.len()] {
                touched ^= self.slots[*at].word.1;
            }
            black_box(touched);
            for ((start, length), (word, at)) in places.iter().zip(&batch) {
                if *length as usize <= SHORT {
                    self.add_short(*word, *at);
                } else {
                    self.add_long(&buffer[*start as usize..][..*length as usize]);
                }
            }
        }
    }

    /// Returns the `most` most frequent words. Words of equal frequency are in order of first appearance.
    pub fn top(&self, most: usize) -> Vec<Counted> {
        let short = self.slots.iter().filter(|slot| slot.tally.count > 0);
        let mut all: Vec<_> = short
            .map(|slot| (slot.tally, Word::Short(slot.word)))
            .chain(self.long.iter().map(|(word, tally)| (*tally, Word::Long(word))))
            .collect();
        let rank = |(tally, _): &(Tally, Word<'_>)| (Reverse(tally.count), tally.place);
        if most < all.len() {
            all.select_nth_unstable_by_key(most, rank);
            all.truncate(most);
        }
        all.sort_unstable_by_key(rank);
        all.into_iter().map(|(tally, word)| (word.bytes(), tally.count)).collect()
    }

    #[inline(always)]
    fn add_short(&mut self, word: ShortWord, mut at: usize) {
        let mask = self.slots.len() - 1;
        loop {
            let slot = &mut self.slots[at];
            if slot.word == word {
                slot.tally.count += 1;
                return;
            }
            if slot.tally.count == 0 {
                let place = (self.used + self.long.len()) as u64;
                *slot = Slot { word, tally: Tally { count: 1, place } };
                self.used += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    fn add_long(&mut self, word: &[u8]) {
        if let Some(tally) = self.long.get_mut(word) {
            tally.count += 1;
            return;
        }
        let place = (self.used + self.long.len()) as u64;
        self.long.insert(word.into(), Tally { count: 1, place });
    }

    fn grow(&mut self) {
        let slots = vec![Slot::default(); self.slots.len() * 2];
        let mask = slots.len() - 1;
        for slot in std::mem::replace(&mut self.slots, slots).into_iter().filter(|slot| slot.tally.count > 0)
        {
            let mut at = slot.word.hash() as usize & mask;
            while self.slots[at].tally.count > 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }
}

enum Word<'a> {
    Short(ShortWord),
    Long(&'a [u8]),
}

impl Word<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Word::Short(word) => word.bytes(),
            Word::Long(word) => word.to_vec(),
        }
    }
}

/// Bit masks of the two integers by word length. A lookup is faster than shifting both.
static MASKS: [(u64, u64); SHORT + 1] = {
    let mut masks = [(0, 0); SHORT + 1];
    let mut length = 0;
    while length <= SHORT {
        let mask = (1_u128 << (length * 8)) - 1;
        masks[length] = (mask as u64, (mask >> 64) as u64);
        length += 1;
    }
    masks
};

impl ShortWord {
    /// Reads a word from a buffer that has at least [`crate::words::PADDING`] readable bytes after it. A
    /// longer word is truncated.
    #[inline(always)]
    fn of(buffer: &[u8], start: usize, length: usize) -> Self {
        let length = length.min(SHORT);
        let bytes = buffer[start..].first_chunk::<16>().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        let (low, high) = MASKS[length];
        Self(bytes as u64 & low, (bytes >> 64) as u64 & high | (length as u64) << 56)
    }

    fn bytes(self) -> Vec<u8> {
        let bytes = (u128::from(self.0) | u128::from(self.1) << 64).to_le_bytes();
        bytes[..usize::from(bytes[SHORT])].to_vec()
    }

    /// Mixes both halves with one 128-bit multiplication.
    #[inline(always)]
    fn hash(self) -> u64 {
        let mixed = u128::from(self.0 ^ 0x9E37_79B9_7F4A_7C15) * u128::from(self.1 ^ 0xD1B5_4A32_D192_ED03);
        (mixed >> 64) as u64 ^ mixed as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words;
    use proptest::prelude::*;

    fn top(text: &[u8], most: usize) -> Vec<(String, u64)> {
        let mut counter = Counter::default();
        words::each_block(text, |buffer, places| counter.add(buffer, places)).unwrap();
        counter
            .top(most)
            .into_iter()
            .map(|(word, count)| (String::from_utf8_lossy(&word).into_owned(), count))
            .collect()
    }

    #[test]
    fn frequent_words_come_first_and_ties_are_in_order_of_appearance() {
        let found = top(b"b a c a b d seventeen-letters- seventeen-letters-", 4);
        let expected = [("b", 2), ("a", 2), ("seventeen-letters-", 2), ("c", 1)];
        assert_eq!(found, expected.map(|(word, count)| (word.to_owned(), count)));
    }

    #[test]
    fn words_that_differ_in_a_final_nul_or_in_their_last_byte_are_different() {
        assert_eq!(top(b"a a\0 fifteen-letters fifteen-letterz a\0", 9).len(), 4);
        assert_eq!(top(b"a a\0 a\0", 1), [("a\0".to_owned(), 2)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn counts_are_those_of_a_hash_map(words in prop::collection::vec("[a-d]{1,3}|[a-b]{14,18}", 0..1000)) {
            let mut plain: Vec<(String, u64)> = vec![];
            for word in &words {
                match plain.iter_mut().find(|(known, _)| known == word) {
                    Some((_, count)) => *count += 1,
                    None => plain.push((word.clone(), 1)),
                }
            }
            plain.sort_by_key(|(_, count)| Reverse(*count));
            plain.truncate(20);
            prop_assert_eq!(top(words.join(" ").as_bytes(), 20), plain);
        }
    }

    #[test]
    fn the_table_grows_with_the_vocabulary() {
        let text: String = (0..50_000).map(|number| format!("w{number} ")).collect();
        let found = top(format!("{text}{text}w77 ").as_bytes(), 50_001);
        assert_eq!(found.len(), 50_000);
        assert_eq!(found[0], ("w77".to_owned(), 3));
        assert!(found[1..].iter().all(|(_, count)| *count == 2));
    }
}
