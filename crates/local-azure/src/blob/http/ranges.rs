//! Byte ranges of requests.

/// A part of a content: start and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Position of the first byte.
    pub from: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Parses `bytes=a-b`, `bytes=a-` or `bytes=-n` for a content of `length` bytes. `None`: the range is not
/// valid, so the whole content is returned. `Some(None)`: the range is outside the content.
pub fn parse(text: &str, length: u64) -> Option<Option<Range>> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let suffix = last.parse::<u64>().ok()?.min(length);
        return Some((suffix > 0).then_some(Range { from: length - suffix, length: suffix }));
    }
    let from = first.parse::<u64>().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    if last < from {
        return None;
    }
    let end = last.saturating_add(1).min(length);
    Some((from < length).then(|| Range { from, length: end - from }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_content() {
        let range = |from, length| Some(Some(Range { from, length }));
        let table = [
            ("bytes=0-9", range(0, 10)),
            ("bytes=0-0", range(0, 1)),
            ("bytes=5-", range(5, 95)),
            ("bytes=90-200", range(90, 10)),
            ("bytes=99-99", range(99, 1)),
            ("bytes=-10", range(90, 10)),
            ("bytes=-1000", range(0, 100)),
            ("bytes=100-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=9-5", None),
            ("bytes=a-b", None),
            ("bytes=0-9,20-29", None),
            ("items=0-9", None),
            ("bytes=18446744073709551615-", Some(None)),
            ("bytes=0-18446744073709551615", range(0, 100)),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, 100), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Some(None));
    }
}
