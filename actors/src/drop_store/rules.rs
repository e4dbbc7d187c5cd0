//! Decides which entries of a drop folder are inputs, from their names and metadata only.

use crate::output_names::OURS;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Name of a growing copy from another file system in the work folder.
pub const COMING: &str = ".coming";

/// The unit of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Each file is an input.
    File,
    /// Each folder directly in the drop folder is an input, with its content.
    Directory,
}

/// The settings for [`Rules`].
#[derive(Debug, Clone)]
pub struct RulesSettings {
    /// Unit of an input.
    pub unit: Unit,
    /// Whether files in subfolders are inputs too.
    pub recursive: bool,
    /// Patterns of names that are never inputs.
    pub ignore: Vec<String>,
    /// Patterns of names that are inputs; empty: all.
    pub include: Vec<String>,
    /// Suffix of the markers that declare inputs complete.
    pub marker: Option<String>,
    /// Minimum length of an input in bytes.
    pub min_file_bytes: u64,
    /// Maximum length of an input in bytes.
    pub max_file_bytes: u64,
    /// Whether hard links and other users' files are inputs too.
    pub take_foreign: bool,
}

/// The checked rules; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules {
    settings: std::sync::Arc<RulesSettings>,
    ignored: GlobSet,
    included: GlobSet,
}

/// Owner and number of hard links of a file.
#[derive(Debug, Clone, Copy)]
pub struct Ownership {
    /// User id of its owner.
    pub uid: u32,
    /// Number of its hard links.
    pub links: u64,
}

impl Rules {
    /// Creates the rules. Invalid patterns were rejected when the settings were read.
    pub fn new(settings: RulesSettings) -> Self {
        let set = |patterns: &[String]| {
            let mut builder = GlobSetBuilder::new();
            for pattern in patterns {
                if let Ok(glob) = GlobBuilder::new(pattern).literal_separator(true).build() {
                    builder.add(glob);
                }
            }
            builder.build().unwrap_or_else(|_| GlobSet::empty())
        };
        let (ignored, included) = (set(&settings.ignore), set(&settings.include));
        Self { settings: std::sync::Arc::new(settings), ignored, included }
    }

    /// Returns the unit of an input.
    pub fn unit(&self) -> Unit {
        self.settings.unit
    }

    /// Returns whether files in subfolders are inputs.
    pub fn is_recursive(&self) -> bool {
        self.settings.recursive
    }

    /// Returns whether only markers declare inputs complete.
    pub fn has_markers(&self) -> bool {
        self.settings.marker.is_some()
    }

    /// Returns whether a name is that of a marker.
    pub fn is_marker(&self, name: &OsStr) -> bool {
        self.settings.marker.as_ref().is_some_and(|marker| name.as_bytes().ends_with(marker.as_bytes()))
    }

    /// Returns the path of an input's marker below the drop folder.
    pub fn marker_of(&self, relative: &Path) -> Option<PathBuf> {
        let mut path = relative.as_os_str().to_owned();
        path.push(self.settings.marker.as_ref()?);
        Some(path.into())
    }

    /// Returns the input that a changed path belongs to: a marker belongs to the file that it marks.
    pub fn about(&self, relative: &Path) -> Option<PathBuf> {
        let name = relative.file_name()?.as_bytes();
        let meant = match &self.settings.marker {
            Some(marker) => name.strip_suffix(marker.as_bytes()).unwrap_or(name),
            None => name,
        };
        (!meant.is_empty()).then(|| relative.with_file_name(OsStr::from_bytes(meant)))
    }

    /// Returns whether a subfolder is searched for inputs.
    pub fn descends(&self, folder: &Path) -> bool {
        self.settings.unit == Unit::File
            && self.settings.recursive
            && self.why_ignored(folder, true).is_none()
    }

    /// Returns why an entry with that name is ignored without further checks.
    pub fn why_ignored(&self, relative: &Path, is_folder_to_search: bool) -> Option<&'static str> {
        let Some(name) = relative.file_name() else { return Some("no name") };
        if relative.components().any(|part| is_ours(part.as_os_str())) {
            return Some("an internal file of dropmill");
        }
        if !self.settings.recursive && relative.components().count() > 1 {
            return Some("in a subfolder, and watch.recursive is false");
        }
        if relative.components().any(|part| self.ignored.is_match(part.as_os_str())) {
            return Some("matches watch.ignore");
        }
        if self.is_marker(name) {
            return Some("a marker");
        }
        let included = self.settings.include.is_empty()
            || is_folder_to_search
            || self.included.is_match(name)
            || self.included.is_match(relative);
        (!included).then_some("does not match watch.include")
    }

    /// Returns why an input of this length is not complete yet, if it is not.
    pub fn why_short(&self, size_bytes: u64) -> Option<&'static str> {
        (size_bytes < self.settings.min_file_bytes).then_some("smaller than watch.min_bytes")
    }

    /// Returns why a folder is not an input if files are, and what would change that; `None` if it is
    /// searched.
    pub fn why_no_folder(&self) -> Option<&'static str> {
        (self.settings.unit == Unit::File && !self.settings.recursive).then_some(
            "a folder: watch.recursive = true looks into it, watch.unit = \"directory\" takes it whole",
        )
    }

    /// Returns why an input with these files is rejected. `own` is the user id of this process.
    pub fn why_rejected(
        &self,
        size_bytes: u64,
        files: impl IntoIterator<Item = Ownership>,
        own: u32,
    ) -> Option<&'static str> {
        if size_bytes > self.settings.max_file_bytes {
            return Some("larger than watch.max_file_bytes");
        }
        if self.settings.take_foreign {
            return None;
        }
        files.into_iter().find_map(|file| match () {
            () if file.links > 1 => {
                Some("a hard link: it has another name elsewhere, and watch.take_foreign is false")
            }
            () if file.uid != own => Some("it belongs to another user, and watch.take_foreign is false"),
            () => None,
        })
    }
}

/// Returns whether a name is one that the drop folder or the work folder uses internally: for example for a
/// file that is copied to another file system.
pub fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().starts_with(OURS.as_bytes()) || name == OsStr::new(COMING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl FnOnce(&mut RulesSettings)) -> Rules {
        let mut settings = RulesSettings {
            unit: Unit::File,
            recursive: false,
            ignore: [".*", "*~", "*.tmp"].map(str::to_owned).to_vec(),
            include: vec![],
            marker: None,
            min_file_bytes: 0,
            max_file_bytes: u64::MAX,
            take_foreign: true,
        };
        change(&mut settings);
        Rules::new(settings)
    }

    #[test]
    fn names_are_ignored_included_and_searched_according_to_the_settings() {
        let plain = rules(|_| {});
        let all = rules(|settings| settings.ignore.clear());
        let deep = rules(|settings| settings.recursive = true);
        let pdf = rules(|settings| {
            settings.recursive = true;
            settings.include = vec!["*.pdf".into(), "scans/*.png".into()];
        });
        let table = [
            (&plain, "a.txt", None),
            (&plain, ".a", Some("matches watch.ignore")),
            (&all, ".dropmill-kept-t", Some("an internal file of dropmill")),
            (&all, ".a", None),
            (&plain, "d/a.txt", Some("in a subfolder, and watch.recursive is false")),
            (&deep, "d/a.txt", None),
            (&deep, ".git/a.txt", Some("matches watch.ignore")),
            (&pdf, "d/a.pdf", None),
            (&pdf, "scans/a.png", None),
            (&pdf, "other/a.png", Some("does not match watch.include")),
            (&pdf, "Thumbs.db", Some("does not match watch.include")),
        ];
        for (rules, name, why) in table {
            assert_eq!(rules.why_ignored(Path::new(name), false), why, "{name}");
        }
        assert!(pdf.descends(Path::new("d")) && !pdf.descends(Path::new(".git")));
        assert!(!plain.descends(Path::new("d")));
    }

    #[test]
    fn a_marker_belongs_to_its_input_and_is_not_an_input() {
        let marked = rules(|settings| settings.marker = Some(".done".into()));
        assert_eq!(marked.about(Path::new("a.txt.done")), Some("a.txt".into()));
        assert_eq!(marked.about(Path::new("a.txt")), Some("a.txt".into()));
        assert_eq!(marked.marker_of(Path::new("d/a.txt")), Some("d/a.txt.done".into()));
        assert_eq!(marked.why_ignored(Path::new("a.txt.done"), false), Some("a marker"));
        assert_eq!(marked.about(Path::new(".done")), None);
    }

    #[test]
    fn lengths_and_owners_are_checked_for_every_file_of_an_input() {
        let own = Ownership { uid: 7, links: 1 };
        let strict = rules(|settings| {
            (settings.max_file_bytes, settings.min_file_bytes, settings.take_foreign) = (10, 2, false);
        });
        assert_eq!(strict.why_rejected(10, [own], 7), None);
        assert_eq!(strict.why_rejected(11, [own], 7), Some("larger than watch.max_file_bytes"));
        let linked = strict.why_rejected(1, [own, Ownership { links: 2, ..own }], 7);
        assert!(linked.is_some_and(|why| why.starts_with("a hard link")));
        let foreign = strict.why_rejected(1, [Ownership { uid: 8, ..own }], 7);
        assert!(foreign.is_some_and(|why| why.contains("another user")));
        assert!(strict.why_short(1).is_some() && strict.why_short(2).is_none());
        assert_eq!(rules(|_| {}).why_rejected(11, [Ownership { uid: 8, links: 9 }], 7), None);
    }
}
