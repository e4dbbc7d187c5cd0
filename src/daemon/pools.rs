//! The pools of a daemon, known over all its lives: with a run file that changed it asks for another one, and the old one
//! would cost for ever.

use anyhow::{Context, Result};
use dropmill_private_files as private_files;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A file for each, named by its id.
pub(super) struct Pools {
    folder: PathBuf,
}

impl Pools {
    pub fn of(home: &Path) -> Result<Self> {
        let folder = home.join("pools");
        private_files::folder(&folder)?;
        Ok(Self { folder })
    }

    /// Remembers one, before it is asked for.
    pub fn remember(&self, id: &str) -> Result<()> {
        let path = self.folder.join(id);
        private_files::open_or_create(&path)?;
        let made = File::open(&self.folder).and_then(|folder| folder.sync_all());
        made.with_context(|| format!("write {}", path.display()))
    }

    /// Those that may be there.
    pub fn known(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Forgets one that the service has deleted.
    pub fn forget(&self, id: &str) {
        let _ = fs::remove_file(self.folder.join(id));
    }
}
