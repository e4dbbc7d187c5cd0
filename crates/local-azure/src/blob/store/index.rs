//! What there is, in memory: every question but that for bytes is answered from here.

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
    /// By name.
    pub containers: BTreeMap<String, Container>,
    /// The last numbers and moments given.
    pub marks: Marks,
    /// Of the last change.
    pub latest: Ticket,
    /// Of the last change that removed a container or blob: that something is not there may be told only then.
    pub removal: Ticket,
}

/// A container and what is in it.
#[derive(Debug)]
pub struct Container {
    /// Its number, which no other container ever gets.
    pub id: i64,
    /// What is known of it.
    pub facts: ContainerFacts,
    /// Of its last change.
    pub ticket: Ticket,
    /// Its blobs by name.
    pub blobs: BTreeMap<String, Entry>,
    /// Blocks that wait to be put into a blob, by blob name.
    pub staged: BTreeMap<String, Staged>,
}

/// A blob, and when it may be told of.
#[derive(Debug)]
pub struct Entry {
    /// The blob.
    pub blob: Arc<Blob>,
    /// Of its last change.
    pub ticket: Ticket,
}

/// Blocks of one blob name that wait, by block id.
#[derive(Debug, Default)]
pub struct Staged(pub BTreeMap<Box<str>, Piece>);

impl Staged {
    /// Their contents.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        self.0.values().map(|piece| &piece.content)
    }
}

/// Which blobs to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listing<'a> {
    /// Only names that begin so.
    pub prefix: &'a str,
    /// Longer names are cut after it, and told once; empty: none.
    pub delimiter: &'a str,
    /// Only names from here on.
    pub from: &'a str,
    /// At most so many entries.
    pub limit: usize,
}

/// A page of a list: names with their blobs (none: a prefix that blobs have in common).
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of names.
    pub entries: Vec<(String, Option<Arc<Blob>>)>,
    /// From where the next page goes on; none: this was the last.
    pub next: Option<String>,
}

impl Index {
    /// A number that nothing had before.
    pub fn next_id(&mut self) -> i64 {
        self.marks.id += 1;
        self.marks.id
    }

    /// A moment that no change before had, whatever the clock says: tags are made of it.
    pub fn next_moment(&mut self, now: Timestamp) -> Timestamp {
        let least = self.marks.change.as_nanosecond() + 100;
        let ticks = (now.as_nanosecond().div_euclid(100) * 100).max(least);
        self.marks.change = Timestamp::from_nanosecond(ticks).unwrap_or(Timestamp::MAX);
        self.marks.change
    }

    /// See [`super::Store::tagged`].
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

    /// Containers whose names begin with `prefix`, from `from` on, at most `limit`; and where the next page begins.
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
    /// An empty one.
    pub fn new(id: i64, facts: ContainerFacts, ticket: Ticket) -> Self {
        Self { id, facts, ticket, blobs: BTreeMap::new(), staged: BTreeMap::new() }
    }

    /// A page of its blobs.
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

/// The least text that is greater than every text which begins with `prefix`; `None`: there is none.
fn past(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The step over the surrogates is a gap that `u32` has and `char` has not.
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
    fn what_is_past_a_prefix_is_past_every_longer_name() {
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
        fn nothing_lies_between_a_prefix_and_what_is_past_it(prefix in ".{1,3}", name in ".{0,4}") {
            if let Some(past) = past(&prefix) {
                prop_assert!(prefix.clone() + &name < past);
                prop_assert_eq!(name >= prefix && name < past, name.starts_with(&prefix));
            }
        }
    }
}
