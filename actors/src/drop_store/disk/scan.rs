//! Scans the drop folder on disk: which entries exist, and which of them are inputs.

use crate::{
    drop_store::{
        EntryState, Rules, Survey, Unit,
        rules::{Ownership, is_ours},
    },
    folder::{Facts, Folder, FolderError, Kind, Tree, TreeError},
};
use std::path::{Path, PathBuf};

/// Lists the entries of a folder with their states.
///
/// # Errors
/// Fails if the folder itself cannot be read.
pub fn all(root: &Folder, rules: &Rules) -> Result<Vec<(PathBuf, EntryState)>, FolderError> {
    let mut found = vec![];
    each(root, rules, |relative, state| match state {
        EntryState::Gone | EntryState::Ignored(_) => {}
        state => found.push((relative, state)),
    })?;
    Ok(found)
}

/// Counts the inputs to be claimed in a folder, and other entries by reason.
///
/// # Errors
/// Fails if the folder itself cannot be read.
pub fn survey(root: &Folder, rules: &Rules) -> Result<Survey, FolderError> {
    let mut survey = Survey::default();
    each(root, rules, |relative, state| {
        let why = match state {
            EntryState::Input(_, marked) if marked || !rules.has_markers() => {
                survey.waiting += 1;
                return;
            }
            EntryState::Input(..) => "its marker is missing".into(),
            EntryState::Refused(why) => why,
            EntryState::Ignored(why) => why.into(),
            EntryState::Gone => return,
        };
        // Markers belong to other entries, and internal files are temporary.
        let counts = relative.file_name().is_some_and(|name| !is_ours(name) && !rules.is_marker(name));
        if counts {
            *survey.left_alone.entry(why.into_owned()).or_default() += 1;
        }
    })?;
    Ok(survey)
}

/// Passes on every entry of a folder, and of the folders below it that are searched.
fn each(root: &Folder, rules: &Rules, mut pass: impl FnMut(PathBuf, EntryState)) -> Result<(), FolderError> {
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let listed = root.folder(&below).and_then(|folder| Ok((folder.entries()?, folder)));
        let (entries, folder) = match listed {
            Ok(listed) => listed,
            // A subfolder that was removed or replaced, or is not readable, hides only its own entries.
            Err(_) if !below.as_os_str().is_empty() => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let relative = below.join(&entry.name);
            if rules.unit() == Unit::File && entry.kind == Kind::Folder {
                match folder_state(rules, &relative) {
                    None => folders.push(relative),
                    Some(state) => pass(relative, state),
                }
                continue;
            }
            let state = entry_state(&folder, Path::new(&entry.name), rules, &relative);
            pass(relative, state);
        }
    }
    Ok(())
}

/// Returns the state of a folder if files are inputs; `None` if it is searched.
fn folder_state(rules: &Rules, relative: &Path) -> Option<EntryState> {
    match (rules.why_ignored(relative, true), rules.why_no_folder()) {
        (Some(why), _) => Some(EntryState::Ignored(why)),
        (None, Some(why)) => Some(EntryState::Refused(why.into())),
        (None, None) => None,
    }
}

/// Checks one entry.
pub fn one(root: &Folder, rules: &Rules, relative: &Path) -> EntryState {
    if rules.unit() == Unit::File && root.facts(relative).is_ok_and(|facts| facts.kind == Kind::Folder) {
        return folder_state(rules, relative).unwrap_or(EntryState::Ignored("a folder that is searched"));
    }
    entry_state(root, relative, rules, relative)
}

/// Checks the entry with the path `at` below a folder, and `relative` below the drop folder.
fn entry_state(folder: &Folder, at: &Path, rules: &Rules, relative: &Path) -> EntryState {
    if let Some(why) = rules.why_ignored(relative, false) {
        return EntryState::Ignored(why);
    }
    let Ok(facts) = folder.facts(at) else { return EntryState::Gone };
    let refused = |why: &'static str| EntryState::Refused(why.into());
    match (facts.kind, rules.unit()) {
        // It has changed its kind since it was listed or checked.
        (Kind::Folder, Unit::File) => EntryState::Gone,
        (Kind::Folder, Unit::Directory) => whole(folder, at, rules),
        (Kind::Link, _) => refused("a symbolic link: links are not followed, put the file itself here"),
        (Kind::File, Unit::Directory) => refused("a file, and watch.unit = \"directory\" takes folders"),
        (Kind::File, Unit::File) => file(folder, at, rules, &facts),
        (Kind::Fifo, _) => refused("a FIFO"),
        (Kind::Socket, _) => refused("a socket"),
        (Kind::Device, _) => refused("a device"),
    }
}

fn file(folder: &Folder, at: &Path, rules: &Rules, facts: &Facts) -> EntryState {
    if let Some(why) = rules.why_short(facts.size_bytes) {
        return EntryState::Ignored(why);
    }
    if let Some(why) = rejected(rules, facts.size_bytes, [facts]) {
        return EntryState::Refused(why.into());
    }
    if !folder.is_readable(at) {
        return EntryState::Refused("not readable: its permissions forbid it".into());
    }
    EntryState::Input(facts.look(), is_marked(folder, at, rules))
}

fn whole(folder: &Folder, at: &Path, rules: &Rules) -> EntryState {
    let tree = match folder.tree(at) {
        Ok(tree) => tree,
        // Another process is changing it: the next check finds the result.
        Err(error) if error.is_gone() => return EntryState::Gone,
        Err(error @ (TreeError::NoInput { .. } | TreeError::Folder(_))) => {
            return EntryState::Refused(error.to_string().into());
        }
    };
    let size_bytes = tree.look().size_bytes;
    if tree.files().is_empty() {
        return EntryState::Refused("an empty folder: it is claimed once it contains a file".into());
    }
    if let Some(why) = rules.why_short(size_bytes) {
        return EntryState::Ignored(why);
    }
    if let Some(why) = rejected(rules, size_bytes, tree.files().iter().map(|file| &file.facts)) {
        return EntryState::Refused(why.into());
    }
    if let Some(why) = fixed(&tree) {
        return EntryState::Refused(why.into());
    }
    EntryState::Input(tree.look(), is_marked(folder, at, rules))
}

/// Returns why the files of a folder cannot be moved to their result, if they cannot.
fn fixed(tree: &Tree) -> Option<String> {
    let below = tree.unchangeable()?;
    Some(match below.as_os_str().is_empty() {
        true => "its permissions do not allow moving its files".to_owned(),
        false => {
            let what = "a folder whose permissions do not allow moving its files".to_owned();
            TreeError::NoInput { path: below.to_owned(), what }.to_string()
        }
    })
}

fn rejected<'a>(
    rules: &Rules,
    size_bytes: u64,
    files: impl IntoIterator<Item = &'a Facts>,
) -> Option<&'static str> {
    let owners = files.into_iter().map(|facts| Ownership { uid: facts.owner, links: facts.links });
    rules.why_rejected(size_bytes, owners, rustix::process::geteuid().as_raw())
}

/// Returns whether the marker exists, of any kind; it is neither read nor followed.
fn is_marked(folder: &Folder, at: &Path, rules: &Rules) -> bool {
    let marker = rules.marker_of(at).and_then(|marker| folder.facts(marker).ok());
    marker.is_some_and(|facts| facts.kind != Kind::Folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop_store::{RulesSettings, text_of};
    use std::fs;

    fn rules(change: impl FnOnce(&mut RulesSettings)) -> Rules {
        let mut settings = RulesSettings {
            unit: Unit::File,
            recursive: false,
            ignore: [".*", "*~", "*.tmp", "*.part"].map(str::to_owned).to_vec(),
            include: vec![],
            marker: None,
            min_file_bytes: 0,
            max_file_bytes: u64::MAX,
            take_foreign: true,
        };
        change(&mut settings);
        Rules::new(settings)
    }

    fn all(root: &Path, rules: &Rules) -> Vec<(PathBuf, EntryState)> {
        super::all(&Folder::open(root).unwrap(), rules).unwrap()
    }

    fn one(root: &Path, rules: &Rules, relative: &Path) -> EntryState {
        super::one(&Folder::open(root).unwrap(), rules, relative)
    }

    fn names(root: &Path, rules: &Rules) -> Vec<String> {
        let mut names: Vec<_> = all(root, rules).iter().map(|(path, _)| text_of(path)).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_found_and_partial_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        for name in ["a.txt", "b.part", ".hidden", "c~", "deep/d.txt", "deep/e.tmp"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let flat = rules(|_| {});
        assert_eq!(names(folder.path(), &flat), ["a.txt", "deep"]);
        // A folder gets the same reason in a listing and in a single check.
        let named = EntryState::Refused(flat.why_no_folder().unwrap().into());
        assert!(all(folder.path(), &flat).contains(&("deep".into(), named.clone())));
        assert_eq!(one(folder.path(), &flat, Path::new("deep")), named);
        let deep = rules(|settings| settings.recursive = true);
        assert_eq!(names(folder.path(), &deep), ["a.txt", "deep/d.txt"]);
        assert!(matches!(one(folder.path(), &deep, Path::new("deep")), EntryState::Ignored(_)));
        assert_eq!(one(folder.path(), &deep, Path::new("nothing")), EntryState::Gone);
    }

    #[test]
    fn internal_names_are_never_inputs_and_are_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".dropmill-t1", ".dropmill-probe", ".coming", ".other"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let all_names = rules(|settings| settings.ignore.clear());
        assert_eq!(names(folder.path(), &all_names), [".other"]);
        let found = survey(&Folder::open(folder.path()).unwrap(), &all_names).unwrap();
        assert_eq!((found.waiting, found.left_alone.len()), (1, 0));
    }

    #[test]
    fn a_file_is_an_input_once_it_is_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let long = rules(|settings| settings.min_file_bytes = 2);
        for (content, is_input) in [("", false), ("1", false), ("12", true)] {
            fs::write(folder.path().join("a"), content).unwrap();
            let found = one(folder.path(), &long, Path::new("a"));
            assert_eq!(matches!(found, EntryState::Input(..)), is_input, "{content:?}: {found:?}");
        }
    }

    #[test]
    fn a_marker_declares_its_file_complete() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "x").unwrap();
        let marked = rules(|settings| settings.marker = Some(".done".into()));
        assert!(matches!(one(folder.path(), &marked, Path::new("a.txt")), EntryState::Input(_, false)));
        fs::write(folder.path().join("a.txt.done"), "").unwrap();
        assert!(matches!(one(folder.path(), &marked, Path::new("a.txt")), EntryState::Input(_, true)));
        assert_eq!(names(folder.path(), &marked), ["a.txt"]);
    }

    #[test]
    fn entries_that_are_not_regular_files_are_rejected_and_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        let plain = rules(|_| {});
        let one = |name: &str| one(folder.path(), &plain, Path::new(name));
        assert!(matches!(one("link"), EntryState::Refused(why) if why.contains("link")));
        assert!(matches!(one("pipe"), EntryState::Refused(why) if why == "a FIFO"));
    }

    #[test]
    fn folders_are_inputs_as_a_whole_if_the_unit_is_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let whole = rules(|settings| {
            settings.unit = Unit::Directory;
            settings.marker = Some(".done".into());
        });
        fs::create_dir_all(folder.path().join("album/deep")).unwrap();
        fs::create_dir_all(folder.path().join("empty")).unwrap();
        fs::create_dir_all(folder.path().join(".coming")).unwrap();
        fs::write(folder.path().join("album/deep/one"), "1").unwrap();
        fs::write(folder.path().join("plain"), "1").unwrap();
        assert_eq!(names(folder.path(), &whole), ["album", "empty", "plain"]);
        let one = |name: &str| one(folder.path(), &whole, Path::new(name));
        assert!(matches!(one("album"), EntryState::Input(look, false) if look.size_bytes == 1));
        fs::write(folder.path().join("album.done"), "").unwrap();
        assert!(matches!(one("album"), EntryState::Input(_, true)));
        assert!(matches!(one("empty"), EntryState::Refused(why) if why.contains("empty")));
        assert!(matches!(one("plain"), EntryState::Refused(why) if why.contains("takes folders")));
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("album/link")).unwrap();
        assert!(matches!(one("album"), EntryState::Refused(why) if why.contains("contains link, ")));
    }

    #[test]
    fn large_files_and_other_users_files_are_rejected_according_to_the_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let sparse = fs::File::create(path("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        fs::write(path("small"), "x").unwrap();
        fs::hard_link(path("small"), path("linked")).unwrap();
        fs::write(path("own"), "x").unwrap();
        let lenient = rules(|_| {});
        let strict = rules(|settings| (settings.max_file_bytes, settings.take_foreign) = (1 << 30, false));
        for (name, why) in [
            ("sparse", Some("larger than")),
            ("small", Some("hard link")),
            ("linked", Some("hard link")),
            ("own", None),
        ] {
            let found = one(folder.path(), &lenient, Path::new(name));
            assert!(matches!(found, EntryState::Input(..)), "{name}");
            match (one(folder.path(), &strict, Path::new(name)), why) {
                (EntryState::Refused(message), Some(why)) => {
                    assert!(message.contains(why), "{name}: {message}")
                }
                (EntryState::Input(..), None) => {}
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
