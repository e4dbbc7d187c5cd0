//! Looking into the drop folder: what lies there, and what of it is meant.

use super::Unit;
use crate::tree::{self, TreeError, modified_ns};
use dropmill_lifecycle::arrival::Look;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fs::{Access, CWD};
use std::{
    borrow::Cow,
    ffi::OsStr,
    fs::{self, Metadata},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// Which entries are meant.
#[derive(Debug, Clone)]
pub struct Scanner {
    root: PathBuf,
    unit: Unit,
    recursive: bool,
    ignored: GlobSet,
    /// Ending of markers; then a file is meant only when its marker is there.
    marker: Option<String>,
    max_file_bytes: u64,
    take_foreign: bool,
}

/// What a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// An input; whether its marker is there.
    Input(Look, bool),
    /// Something that cannot be an input, and why. It stays where it is.
    Refused(Cow<'static, str>),
    /// A name that producers use while they write, or a folder.
    Ignored,
    /// Nothing.
    Gone,
}

impl Scanner {
    /// A scanner; patterns that are none were refused when settings were read.
    pub fn new(root: &Path, unit: Unit, recursive: bool, ignore: &[String], marker: Option<String>) -> Self {
        let mut ignored = GlobSetBuilder::new();
        for pattern in ignore {
            if let Ok(glob) = GlobBuilder::new(pattern).literal_separator(true).build() {
                ignored.add(glob);
            }
        }
        let ignored = ignored.build().unwrap_or_else(|_| GlobSet::empty());
        let (max_file_bytes, take_foreign) = (u64::MAX, true);
        Self { root: root.to_owned(), unit, recursive, ignored, marker, max_file_bytes, take_foreign }
    }

    /// Only files up to a length; and only such that belong to whoever runs this and have no other name, unless foreign
    /// ones are taken too.
    pub fn only(self, max_file_bytes: u64, take_foreign: bool) -> Self {
        Self { max_file_bytes, take_foreign, ..self }
    }

    /// What tells the folder from another that is put in its place, by a mount or a rename; none while it is not there.
    pub fn identity(&self) -> Option<(u64, u64)> {
        fs::metadata(&self.root).ok().map(|facts| (facts.dev(), facts.ino()))
    }

    /// Whether markers say what is complete.
    pub fn has_markers(&self) -> bool {
        self.marker.is_some()
    }

    /// The marker of a file.
    pub fn marker_of(&self, relative: &Path) -> Option<PathBuf> {
        let marker = self.marker.as_ref()?;
        let mut path = self.root.join(relative).into_os_string();
        path.push(marker);
        Some(path.into())
    }

    /// The input that a path in the folder is about, relative to it: a marker is about what it marks.
    pub fn about(&self, path: &Path) -> Option<PathBuf> {
        let relative = path.strip_prefix(&self.root).ok()?;
        let name = relative.file_name()?.as_bytes();
        let meant = match &self.marker {
            Some(marker) => name.strip_suffix(marker.as_bytes()).unwrap_or(name),
            None => name,
        };
        (!meant.is_empty()).then(|| relative.with_file_name(OsStr::from_bytes(meant)))
    }

    /// Everything in the folder that is an input or cannot be one.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn all(&self) -> io::Result<Vec<(PathBuf, Shown)>> {
        let mut found = vec![];
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Ok(entries) => entries,
                // A folder that went meanwhile, or is not ours to read, hides what is in it and nothing else.
                Err(_) if !folder.as_os_str().is_empty() => continue,
                Err(error) => return Err(error),
            };
            for entry in entries.flatten() {
                let relative = folder.join(entry.file_name());
                if self.is_ignored(&relative) {
                    continue;
                }
                if self.unit == Unit::File && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if self.recursive {
                        folders.push(relative);
                    }
                    continue;
                }
                match self.one(&relative) {
                    Shown::Gone | Shown::Ignored => {}
                    shown => found.push((relative, shown)),
                }
            }
        }
        Ok(found)
    }

    /// One entry.
    pub fn one(&self, relative: &Path) -> Shown {
        if self.is_ignored(relative) || (!self.recursive && relative.components().count() > 1) {
            return Shown::Ignored;
        }
        let path = self.root.join(relative);
        let facts = match fs::symlink_metadata(&path) {
            Ok(facts) => facts,
            Err(_) => return Shown::Gone,
        };
        let kind = facts.file_type();
        let refused = |why: &'static str| Shown::Refused(why.into());
        if kind.is_dir() {
            return match self.unit {
                Unit::File => Shown::Ignored,
                Unit::Directory => self.folder(relative, &path),
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
        if self.unit == Unit::Directory {
            return refused("a file, and watch.unit = \"directory\" takes folders");
        }
        if let Some(why) = self.unwanted(facts.len(), [&facts]) {
            return refused(why);
        }
        if rustix::fs::accessat(CWD, &path, Access::READ_OK, rustix::fs::AtFlags::EACCESS).is_err() {
            return refused("not readable: its permissions forbid it");
        }
        Shown::Input(look_of(&facts), self.is_marked(relative))
    }

    /// Why an input of plain files is not wanted.
    fn unwanted<'a>(
        &self,
        size_bytes: u64,
        files: impl IntoIterator<Item = &'a Metadata>,
    ) -> Option<&'static str> {
        if size_bytes > self.max_file_bytes {
            return Some("larger than watch.max_file_bytes");
        }
        if self.take_foreign {
            return None;
        }
        let own = rustix::process::geteuid().as_raw();
        files.into_iter().find_map(|facts| match () {
            () if facts.nlink() > 1 => {
                Some("a hard link: it has another name elsewhere, and watch.take_foreign is false")
            }
            () if facts.uid() != own => Some("it belongs to another user, and watch.take_foreign is false"),
            () => None,
        })
    }

    fn folder(&self, relative: &Path, path: &Path) -> Shown {
        match tree::look(path) {
            Ok((_, files)) if files.is_empty() => {
                Shown::Refused("an empty folder: it is taken once a file is in it".into())
            }
            Ok((look, files)) => match self.unwanted(look.size_bytes, files.iter().map(|file| &file.facts)) {
                Some(why) => Shown::Refused(why.into()),
                None => Shown::Input(look, self.is_marked(relative)),
            },
            // Somebody is at it: the next look tells. Meanwhile it is as if nothing was there.
            Err(error) if error.is_gone() => Shown::Gone,
            Err(error @ (TreeError::NoInput { .. } | TreeError::Io { .. })) => {
                Shown::Refused(error.to_string().into())
            }
        }
    }

    fn is_marked(&self, relative: &Path) -> bool {
        self.marker_of(relative).is_some_and(|marker| marker.exists())
    }

    fn is_ignored(&self, relative: &Path) -> bool {
        let Some(name) = relative.file_name() else { return true };
        let marker = self.marker.as_ref().is_some_and(|marker| name.as_bytes().ends_with(marker.as_bytes()));
        marker || relative.components().any(|part| self.ignored.is_match(part.as_os_str()))
    }
}

/// What tells whether somebody wrote to a file.
pub fn look_of(facts: &Metadata) -> Look {
    Look { size_bytes: facts.len(), modified_ns: modified_ns(facts), inode: facts.ino() }
}

/// How an input, file or folder, looks now.
///
/// # Errors
/// When it is not there, or cannot be looked at.
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

/// A path as text from which its bytes can be had again: bytes that are not UTF-8, and `%`, become `%XX`.
pub fn text_of(relative: &Path) -> String {
    let mut text = String::new();
    for chunk in relative.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

/// The path that a text stands for.
pub fn path_of(text: &str) -> PathBuf {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scanner(root: &Path, recursive: bool, marker: Option<&str>) -> Scanner {
        let ignore = [".*", "*~", "*.tmp", "*.part"].map(str::to_owned);
        Scanner::new(root, Unit::File, recursive, &ignore, marker.map(str::to_owned))
    }

    fn names(scanner: &Scanner) -> Vec<String> {
        let mut names: Vec<_> = scanner.all().unwrap().iter().map(|(path, _)| text_of(path)).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_seen_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        for name in ["a.txt", "b.part", ".hidden", "c~", "deep/d.txt", "deep/e.tmp"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        assert_eq!(names(&scanner(folder.path(), false, None)), ["a.txt"]);
        let deep = scanner(folder.path(), true, None);
        assert_eq!(names(&deep), ["a.txt", "deep/d.txt"]);
        assert_eq!(deep.one(Path::new("deep")), Shown::Ignored);
        assert_eq!(deep.one(Path::new("nothing")), Shown::Gone);
    }

    #[test]
    fn a_marker_says_that_its_file_is_whole_and_is_no_input_itself() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "x").unwrap();
        let scanner = scanner(folder.path(), false, Some(".done"));
        assert!(matches!(scanner.one(Path::new("a.txt")), Shown::Input(_, false)));
        fs::write(folder.path().join("a.txt.done"), "").unwrap();
        assert!(matches!(scanner.one(Path::new("a.txt")), Shown::Input(_, true)));
        assert_eq!(names(&scanner), ["a.txt"]);
        let about = scanner.about(&folder.path().join("a.txt.done"));
        assert_eq!(about, Some(PathBuf::from("a.txt")));
    }

    #[test]
    fn what_is_no_plain_file_is_refused_by_name_and_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        rustix::fs::mknodat(
            CWD,
            folder.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let scanner = scanner(folder.path(), false, None);
        assert!(matches!(scanner.one(Path::new("link")), Shown::Refused(why) if why.contains("link")));
        assert!(matches!(scanner.one(Path::new("pipe")), Shown::Refused(why) if why == "a FIFO"));
    }

    #[test]
    fn folders_are_inputs_as_a_whole_if_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let ignore = [".*".to_owned()];
        let scanner = Scanner::new(folder.path(), Unit::Directory, false, &ignore, Some(".done".into()));
        fs::create_dir_all(folder.path().join("album/deep")).unwrap();
        fs::create_dir_all(folder.path().join("empty")).unwrap();
        fs::create_dir_all(folder.path().join(".coming")).unwrap();
        fs::write(folder.path().join("album/deep/one"), "1").unwrap();
        fs::write(folder.path().join("plain"), "1").unwrap();
        assert_eq!(names(&scanner), ["album", "empty", "plain"]);
        let one = |name: &str| scanner.one(Path::new(name));
        assert!(matches!(one("album"), Shown::Input(look, false) if look.size_bytes == 1));
        fs::write(folder.path().join("album.done"), "").unwrap();
        assert!(matches!(one("album"), Shown::Input(_, true)));
        assert!(matches!(one("empty"), Shown::Refused(why) if why.contains("empty")));
        assert!(matches!(one("plain"), Shown::Refused(why) if why.contains("takes folders")));
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("album/link")).unwrap();
        assert!(matches!(one("album"), Shown::Refused(why) if why.contains("holds link")));
        // Names within it are nobody's business but the task's.
        assert_eq!(scanner.about(&folder.path().join("album")), Some(PathBuf::from("album")));
    }

    #[test]
    fn what_is_too_large_or_of_others_is_refused_if_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let sparse = fs::File::create(path("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        fs::write(path("small"), "x").unwrap();
        fs::hard_link(path("small"), path("linked")).unwrap();
        fs::write(path("own"), "x").unwrap();
        let all = scanner(folder.path(), false, None);
        let some = all.clone().only(1 << 30, false);
        for (name, why) in [
            ("sparse", Some("larger than")),
            ("small", Some("hard link")),
            ("linked", Some("hard link")),
            ("own", None),
        ] {
            assert!(matches!(all.one(Path::new(name)), Shown::Input(..)), "{name}");
            match (some.one(Path::new(name)), why) {
                (Shown::Refused(told), Some(why)) => assert!(told.contains(why), "{name}: {told}"),
                (Shown::Input(..), None) => {}
                (shown, _) => panic!("{name}: {shown:?}"),
            }
        }
    }

    #[test]
    fn every_name_survives_being_text() {
        for name in [&b"a\xffb"[..], b"100%", b"%41", "ü".as_bytes(), b"a\nb", b"%", b"%zz"] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(path_of(&text_of(path)), path, "{}", text_of(path));
        }
        assert_eq!(text_of(Path::new(OsStr::from_bytes(b"a\xff%"))), "a%FF%25");
    }
}
