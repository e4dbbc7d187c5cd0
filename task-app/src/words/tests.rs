use super::*;
use proptest::prelude::*;

/// A reader that returns few bytes at a time, to test every position of a block boundary.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (now, later) = self.0.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

fn words(text: &[u8], step: usize) -> Vec<Vec<u8>> {
    let mut found = vec![];
    each_block(Drip(text, step), |buffer, places| {
        for (start, length) in places {
            assert!(buffer.len() >= (start + length) as usize + PADDING);
            found.push(buffer[*start as usize..][..*length as usize].to_vec());
        }
    })
    .unwrap();
    found
}

#[test]
fn exactly_unicode_white_space_separates_words() {
    for character in '\0'..=char::MAX {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).as_bytes();
        let found =
            is_mark(bytes[0]) && matches!(white_space(bytes), Space::Yes(width) if width == bytes.len());
        assert_eq!(found, character.is_whitespace(), "U+{:04X}", u32::from(character));
    }
}

#[test]
fn bytes_that_are_not_utf8_belong_to_words() {
    let found = words(b"\xFFa \xE2\x80 b\xE2\x80\x28 \xC2", 1);
    assert_eq!(found, [&b"\xFFa"[..], b"\xE2\x80", b"b\xE2\x80\x28", b"\xC2"]);
}

#[test]
fn only_a_byte_order_mark_at_the_start_is_skipped() {
    for step in 1..5 {
        assert_eq!(words("\u{FEFF}a \u{FEFF}b".as_bytes(), step), ["a".as_bytes(), "\u{FEFF}b".as_bytes()]);
        assert_eq!(words(b"\xEF\xBB", step), [b"\xEF\xBB"]);
        assert_eq!(words("\u{FEFF}".as_bytes(), step), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn a_word_longer_than_the_buffer_is_not_split() {
    let long = vec![b'x'; 3 * BLOCK + 17];
    let text = [&b"a "[..], &long, b" b"].concat();
    assert_eq!(words(&text, 100_000), [b"a".to_vec(), long, b"b".to_vec()]);
}

proptest! {
    #[test]
    fn words_are_those_of_the_standard_library(
        text in "([a-zäß語\u{1F600}]{0,9}[ \t\r\n\u{85}\u{A0}\u{2003}\u{2028}\u{3000}]{0,2}){0,60}",
        step in 1_usize..200,
    ) {
        let expected: Vec<_> = text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        prop_assert_eq!(words(text.as_bytes(), step), expected);
    }
}
