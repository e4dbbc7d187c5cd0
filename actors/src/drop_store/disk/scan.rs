//! Checks of the drop folder on disk: which entries are there, and which of them are inputs.

use crate::drop_store::{
    EntryState, Rules, Unit,
    rules::Ownership,
    tree::{self, TreeError, modified_ns},
};
use dropmill_lifecycle::arrival::Look;
use rustix::fs::{Access, CWD};
use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Lists the entries of a folder that are inputs or cannot be inputs.
///
/// # Errors
/// Fails if the folder itself cannot be read.
pub fn all(root: &Path, rules: &Rules) -> io::Result<Vec<(PathBuf, EntryState)>> {
    let mut found = vec![];
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            // A subfolder that was removed meanwhile, or is not readable, hides only what is in it.
            Err(_) if !folder.as_os_str().is_empty() => continue,
            Err(error) => return Err(error),
        };
        for entry in entries.flatten() {
            let relative = folder.join(entry.file_name());
            if rules.unit() == Unit::File && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if rules.descends(&relative) {
                    folders.push(relative);
                }
                continue;
            }
            match one(root, rules, &relative) {
                EntryState::Gone | EntryState::Ignored => {}
                state => found.push((relative, state)),
            }
        }
    }
    Ok(found)
}

/// Checks one entry.
pub fn one(root: &Path, rules: &Rules, relative: &Path) -> EntryState {
    if rules.why_ignored(relative, false).is_some() {
        return EntryState::Ignored;
    }
    let path = root.join(relative);
    let facts = match fs::symlink_metadata(&path) {
        Ok(facts) => facts,
        Err(_) => return EntryState::Gone,
    };
    let kind = facts.file_type();
    let refused = |why: &'static str| EntryState::Refused(why.into());
    if kind.is_dir() {
        return match rules.unit() {
            Unit::File => EntryState::Ignored,
            Unit::Directory => whole(root, rules, relative),
        };
    }
    if kind.is_symlink() {
        return refused("a symbolic link: links are not followed, put the file itself here");
    }
    if !kind.is_file() {
        return refused(match () {
            () if kind.is_fifo() => "a FIFO",
            () if kind.is_socket() => "a socket",
            () => "a device",
        });
    }
    if rules.unit() == Unit::Directory {
        return refused("a file, and watch.unit = \"directory\" takes folders");
    }
    if rules.is_short(facts.len()) {
        return EntryState::Ignored;
    }
    if let Some(why) = rejected(rules, facts.len(), [&facts]) {
        return refused(why);
    }
    if rustix::fs::accessat(CWD, &path, Access::READ_OK, rustix::fs::AtFlags::EACCESS).is_err() {
        return refused("not readable: its permissions forbid it");
    }
    EntryState::Input(look_of(&facts), is_marked(root, rules, relative))
}

fn rejected<'a>(
    rules: &Rules,
    size_bytes: u64,
    files: impl IntoIterator<Item = &'a Metadata>,
) -> Option<&'static str> {
    let owners = files.into_iter().map(|facts| Ownership { uid: facts.uid(), links: facts.nlink() });
    rules.why_rejected(size_bytes, owners, rustix::process::geteuid().as_raw())
}

fn whole(root: &Path, rules: &Rules, relative: &Path) -> EntryState {
    match tree::look(&root.join(relative)) {
        Ok((_, files)) if files.is_empty() => {
            EntryState::Refused("an empty folder: it is taken once a file is in it".into())
        }
        Ok((look, _)) if rules.is_short(look.size_bytes) => EntryState::Ignored,
        Ok((look, files)) => match rejected(rules, look.size_bytes, files.iter().map(|file| &file.facts)) {
            Some(why) => EntryState::Refused(why.into()),
            None => EntryState::Input(look, is_marked(root, rules, relative)),
        },
        // Another process is changing it: the next check finds what came of it.
        Err(error) if error.is_gone() => EntryState::Gone,
        Err(error @ (TreeError::NoInput { .. } | TreeError::Io { .. })) => {
            EntryState::Refused(error.to_string().into())
        }
    }
}

fn is_marked(root: &Path, rules: &Rules, relative: &Path) -> bool {
    rules.marker_of(relative).is_some_and(|marker| root.join(marker).exists())
}

/// Returns what changes when a file is written to.
pub fn look_of(facts: &Metadata) -> Look {
    Look { size_bytes: facts.len(), modified_ns: modified_ns(facts), inode: facts.ino() }
}

/// Returns how an input, file or folder, looks now.
///
/// # Errors
/// Fails if it is not there or cannot be read.
pub fn look_at(path: &Path) -> io::Result<Look> {
    let facts = fs::symlink_metadata(path)?;
    match facts.is_dir() {
        false => Ok(look_of(&facts)),
        true => tree::look(path).map(|(look, _)| look).map_err(|error| match error {
            TreeError::Io { source, .. } => source,
            error @ TreeError::NoInput { .. } => io::Error::new(io::ErrorKind::InvalidInput, error),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::drop_store::{RulesSettings, text_of};

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

    fn names(root: &Path, rules: &Rules) -> Vec<String> {
        let mut names: Vec<_> = all(root, rules).unwrap().iter().map(|(path, _)| text_of(path)).collect();
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
        assert_eq!(names(folder.path(), &rules(|_| {})), ["a.txt"]);
        let deep = rules(|settings| settings.recursive = true);
        assert_eq!(names(folder.path(), &deep), ["a.txt", "deep/d.txt"]);
        assert_eq!(one(folder.path(), &deep, Path::new("deep")), EntryState::Ignored);
        assert_eq!(one(folder.path(), &deep, Path::new("nothing")), EntryState::Gone);
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
    fn entries_that_are_no_plain_files_are_refused_by_name_and_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
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
        assert!(matches!(one("album"), EntryState::Refused(why) if why.contains("holds link")));
    }

    #[test]
    fn large_files_and_other_users_files_are_refused_if_the_settings_say_so() {
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
