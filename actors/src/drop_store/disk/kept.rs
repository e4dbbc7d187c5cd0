//! The original of an input that was copied to another file system: kept in the drop folder until its result
//! is delivered.
//!
//! A writer that still has the file open writes to the original. So the original is checked before the result
//! is delivered; if it was changed, it is copied again.

use super::shelf::{COMING, parent_of};
use crate::{
    drop_store::{NotPublished, Parcel, Published},
    folder::{Folder, FolderError},
};
use dropmill_lifecycle::arrival::FileSnapshot;
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// An original and its folder.
pub struct Kept {
    parent: Folder,
    name: PathBuf,
}

/// Returns the name of the original of the input in a place.
pub fn kept(place: &Path) -> PathBuf {
    let mut name = OsString::from(".dropmill-kept-");
    name.push(place.file_name().unwrap_or(OsStr::new("input")));
    name.into()
}

impl Kept {
    /// Finds the original of the input in a place, if there is one. An entry with this name that is not an
    /// input, from another user, is ignored.
    pub fn find(directory: &Folder, relative: &Path, place: &str) -> Option<Self> {
        let (parent, _) = parent_of(directory, relative).ok()?;
        let kept = Self { parent, name: kept(Path::new(place)) };
        kept.look().is_some().then_some(kept)
    }

    /// Returns the current metadata of the original.
    pub fn look(&self) -> Option<FileSnapshot> {
        self.parent.look(&self.name).ok()
    }

    /// Copies the original to its place again; replaces an earlier copy in one step.
    pub fn bring(&self, place: &Folder, name: &Path) -> Result<(), FolderError> {
        place.remove(COMING)?;
        self.parent.copy(&self.name, place, COMING)?;
        match place.holds(name) {
            true => place.exchange(COMING, place, name)?,
            false => place.rename_new(COMING, place, name)?,
        }
        place.remove(COMING)?;
        place.sync()
    }

    /// Publishes a parcel whose input is a copy of this original, and removes the original afterwards.
    pub fn publish(
        &self,
        place: impl Fn() -> Result<Folder, FolderError>,
        parcel: &Parcel,
        publish: impl FnOnce(&Parcel) -> Result<Published, NotPublished>,
    ) -> Result<Published, NotPublished> {
        let refused = |error: FolderError| NotPublished::Refused(error.into());
        let name = Path::new(parcel.relative.file_name().unwrap_or_default());
        let changed = || match (self.look(), parcel.look) {
            (Some(now), Some(look)) if now != look => Some(now),
            _ => None,
        };
        if let Some(now) = changed() {
            self.bring(&place().map_err(refused)?, name).map_err(refused)?;
            return Err(NotPublished::Changed(now));
        }
        let published = publish(&Parcel { look: None, ..parcel.clone() })?;
        if changed().is_some() {
            self.bring(&place().map_err(refused)?, name).map_err(refused)?;
            return Ok(Published { left: true, ..published });
        }
        self.parent.remove(&self.name).map_err(refused)?;
        Ok(published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drop_store::Root;
    use std::fs;

    struct Desk {
        folder: tempfile::TempDir,
        drop: Folder,
        place: Folder,
    }

    impl Desk {
        /// Creates an input of two pages that was copied, and its original.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("drop")).unwrap();
            fs::create_dir_all(folder.path().join("work/r/t")).unwrap();
            fs::write(folder.path().join("drop/.dropmill-kept-t"), "two pages").unwrap();
            fs::write(folder.path().join("work/r/t/a.txt"), "two pages").unwrap();
            let open = |below: &str| Folder::open(&folder.path().join(below)).unwrap();
            let (drop, place) = (open("drop"), open("work/r/t"));
            Self { folder, drop, place }
        }

        fn kept(&self) -> Option<Kept> {
            Kept::find(&self.drop, Path::new("a.txt"), "r/t")
        }

        fn parcel(&self) -> Parcel {
            Parcel {
                results: ("r".into(), "t".into()),
                input: "r/t".into(),
                relative: "a.txt".into(),
                look: self.kept().unwrap().look(),
                with_input: true,
                root: Root::Done,
                note: serde_json::Value::Null,
            }
        }

        fn publish(&self, parcel: &Parcel, meanwhile: impl FnOnce()) -> Result<Published, NotPublished> {
            self.kept().unwrap().publish(
                || Ok(self.place.clone()),
                parcel,
                |parcel| {
                    assert_eq!(parcel.look, None, "the copy is not compared");
                    self.place.remove("a.txt").unwrap();
                    meanwhile();
                    Ok(Published { place: "a.txt".into(), left: false })
                },
            )
        }

        fn write_on(&self) {
            fs::write(self.folder.path().join("drop/.dropmill-kept-t"), "two pages and a third").unwrap();
        }

        fn copy(&self) -> Option<String> {
            fs::read_to_string(self.folder.path().join("work/r/t/a.txt")).ok()
        }
    }

    #[test]
    fn an_original_is_removed_once_its_result_is_delivered() {
        let desk = Desk::new();
        let parcel = desk.parcel();
        assert!(!desk.publish(&parcel, || {}).unwrap().left);
        assert!(desk.kept().is_none());
        assert_eq!(desk.copy(), None);
    }

    #[test]
    fn a_changed_original_is_copied_again_before_and_after_the_delivery() {
        let desk = Desk::new();
        let parcel = desk.parcel();
        desk.write_on();
        let changed = desk.publish(&parcel, || panic!("it is published")).unwrap_err();
        assert!(matches!(changed, NotPublished::Changed(look) if look.size_bytes == 21), "{changed:?}");
        assert_eq!(desk.copy().as_deref(), Some("two pages and a third"));
        let desk = Desk::new();
        let parcel = desk.parcel();
        assert!(desk.publish(&parcel, || desk.write_on()).unwrap().left);
        assert_eq!(desk.copy().as_deref(), Some("two pages and a third"));
        assert!(desk.kept().is_some(), "the writer may go on");
    }

    #[test]
    fn a_link_is_not_accepted_as_an_original() {
        let desk = Desk::new();
        let path = desk.folder.path().join("drop/.dropmill-kept-t");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(desk.kept().is_none());
    }
}
