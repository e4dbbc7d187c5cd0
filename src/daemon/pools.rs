//! The pools that a daemon created, remembered across restarts: if the run file changes, the daemon needs
//! another pool, and the old one must not cost money forever.

use anyhow::{Context, Result};
use dropmill_private_files as private_files;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A file for each pool, named by its id.
pub(super) struct Pools {
    folder: PathBuf,
}

impl Pools {
    pub fn of(home: &Path) -> Result<Self> {
        let folder = home.join("pools");
        private_files::folder(&folder)?;
        Ok(Self { folder })
    }

    /// Records a pool before it is created.
    pub fn remember(&self, id: &str) -> Result<()> {
        let path = self.folder.join(id);
        private_files::open_or_create(&path)?;
        let made = File::open(&self.folder).and_then(|folder| folder.sync_all());
        made.with_context(|| format!("write {}", path.display()))
    }

    /// Returns the pools that may exist.
    pub fn known(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Removes the record of a pool that the service has deleted.
    pub fn forget(&self, id: &str) {
        let _ = fs::remove_file(self.folder.join(id));
    }
}
