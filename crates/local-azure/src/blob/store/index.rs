//! The index in memory: it answers every query except for bytes.

use super::{
    content::Content,
    facts::{Blob, ContainerFacts, Piece},
    queue::{Marks, Ticket},
};
use dropmill_azure_wire::{
    blob::{TagFilter, Tags},
    time::Timestamp,
};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// All containers of the account.
#[derive(Debug, Default)]
pub struct Index {
    /// Containers by name.
    pub containers: BTreeMap<String, Container>,
    /// The last assigned numbers and times.
    pub marks: Marks,
    /// Ticket of the last change.
    pub latest: Ticket,
    /// Ticket of the last removal of a container or blob: "not found" may only be returned after it.
    pub removal: Ticket,
}

/// A container and its content.
#[derive(Debug)]
pub struct Container {
    /// Its number, which no other container ever gets.
    pub id: i64,
    /// Properties of the container.
    pub facts: ContainerFacts,
    /// Ticket of its last change.
    pub ticket: Ticket,
    /// Its blobs by name.
    pub blobs: BTreeMap<String, Entry>,
    /// Uncommitted blocks, by blob name.
    pub staged: BTreeMap<String, Staged>,
}

/// A blob, and when it is durable.
#[derive(Debug)]
pub struct Entry {
    /// The blob and its content.
    pub blob: Arc<Blob>,
    /// Ticket of its last change.
    pub ticket: Ticket,
}

/// Uncommitted blocks of one blob name, by block id.
#[derive(Debug, Default)]
pub struct Staged(pub BTreeMap<Box<str>, Piece>);

impl Staged {
    /// Returns the contents of the blocks.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        self.0.values().map(|piece| &piece.content)
    }
}

/// Which blobs to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listing<'a> {
    /// Only names with this prefix.
    pub prefix: &'a str,
    /// Names are cut after it, and the common part is returned once; empty: none.
    pub delimiter: &'a str,
    /// Only names from this one on.
    pub from: &'a str,
    /// Maximum number of entries.
    pub limit: usize,
}

/// A page of a list: names with their blobs (`None` for a common prefix).
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// Entries sorted by name.
    pub entries: Vec<(String, Option<Arc<Blob>>)>,
    /// Start of the next page; `None` on the last.
    pub next: Option<String>,
}

impl Index {
    /// Returns a number that was never used before.
    pub fn next_id(&mut self) -> i64 {
        self.marks.id += 1;
        self.marks.id
    }

    /// Returns a time that no earlier change has, even if the clock goes back: ETags are made from it.
    pub fn next_moment(&mut self, now: Timestamp) -> Timestamp {
        let least = self.marks.change.as_nanosecond() + 100;
        let ticks = (now.as_nanosecond().div_euclid(100) * 100).max(least);
        self.marks.change = Timestamp::from_nanosecond(ticks).unwrap_or(Timestamp::MAX);
        self.marks.change
    }

    /// Implementation of [`super::Store::tagged`].
    #[allow(clippy::type_complexity)]
    pub fn tagged(
        &self,
        container: &str,
        filter: &TagFilter,
        from: (&str, &str),
        limit: usize,
    ) -> (Vec<(String, String, Tags)>, Option<(String, String)>) {
        let containers =
            self.containers.iter().filter(|(name, _)| container.is_empty() || *name == container);
        let blobs = containers
            .flat_map(|(con, found)| found.blobs.iter().map(move |(name, entry)| (con, name, entry)));
        let blobs = blobs.skip_while(|(con, name, _)| (con.as_str(), name.as_str()) < from);
        let mut found = blobs.filter(|(con, _, Entry { blob, .. })| {
            !blob.facts.tags.is_empty() && filter.matches(con, &blob.facts.tags)
        });
        let page = found.by_ref().take(limit);
        let page = page
            .map(|(con, name, entry)| (con.clone(), name.clone(), entry.blob.facts.tags.clone()))
            .collect();
        (page, found.next().map(|(con, name, _)| (con.clone(), name.clone())))
    }

    /// Returns containers whose names begin with `prefix`, from `from` on, at most `limit`; and the start of
    /// the next page.
    pub fn containers(
        &self,
        prefix: &str,
        from: &str,
        limit: usize,
    ) -> (Vec<(String, ContainerFacts)>, Option<String>) {
        let from = from.max(prefix);
        let found = self.containers.range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let mut found = found.take_while(|(name, _)| name.starts_with(prefix));
        let page =
            found.by_ref().take(limit).map(|(name, found)| (name.clone(), found.facts.clone())).collect();
        (page, found.next().map(|(name, _)| name.clone()))
    }
}

impl Container {
    /// Creates an empty container.
    pub fn new(id: i64, facts: ContainerFacts, ticket: Ticket) -> Self {
        Self { id, facts, ticket, blobs: BTreeMap::new(), staged: BTreeMap::new() }
    }

    /// Returns a page of its blobs.
    pub fn page(&self, listing: &Listing<'_>) -> Page {
        let Listing { prefix, delimiter, from, limit } = *listing;
        let from = from.max(prefix);
        let mut found = self.blobs.range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let mut page = Page::default();
        while let Some((name, entry)) = found.next().filter(|(name, _)| name.starts_with(prefix)) {
            if page.entries.len() == limit {
                page.next = Some(name.clone());
                break;
            }
            let cut = (!delimiter.is_empty()).then(|| name[prefix.len()..].find(delimiter)).flatten();
            let Some(cut) = cut else {
                page.entries.push((name.clone(), Some(entry.blob.clone())));
                continue;
            };
            let common = &name[..prefix.len() + cut + delimiter.len()];
            page.entries.push((common.to_owned(), None));
            match past(common) {
                Some(past) => found = self.blobs.range::<str, _>((Bound::Included(&*past), Bound::Unbounded)),
                None => break,
            }
        }
        page
    }
}

/// Returns the smallest text that is greater than every text with this prefix; `None` if there is none.
fn past(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // `char` has no values between these two, the surrogates.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_of_a_prefix_is_after_every_longer_name() {
        for (prefix, expected) in [
            ("a", Some("b")),
            ("a/", Some("a0")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(past(prefix).as_deref(), expected, "{prefix:?}");
        }
    }

    proptest! {
        #[test]
        fn no_other_name_is_between_a_prefix_and_its_end(prefix in ".{1,3}", name in ".{0,4}") {
            if let Some(past) = past(&prefix) {
                prop_assert!(prefix.clone() + &name < past);
                prop_assert_eq!(name >= prefix && name < past, name.starts_with(&prefix));
            }
        }
    }
}
