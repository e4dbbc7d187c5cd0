//! The pools of a daemon, known over all its lives: with a run file that changed it asks for another one, and the old one
//! would cost for ever.

use anyhow::{Context, Result};
use dropmill_actors::Services;
use dropmill_azure_wire::batch as wire;
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
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Remembers one, before it is asked for.
    pub fn remember(&self, id: &str) -> Result<()> {
        let path = self.folder.join(id);
        let made = File::create(&path).and_then(|_| File::open(&self.folder)?.sync_all());
        made.with_context(|| format!("write {}", path.display()))
    }

    /// Those that may be there.
    pub fn known(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Deletes one, and the container of its application. It stays known until the service heard it.
    pub async fn delete(&self, services: &Services, id: &str, application: &str) -> Result<(), String> {
        match services.batch.delete_pool(id).await {
            Err(error) if !error.is_not_found() && error.code() != Some("PoolBeingDeleted") => {
                return Err(format!("pool {id} was not deleted: {error}"));
            }
            _ => {}
        }
        match services.blob.delete_container(application).await {
            Err(error) if !error.is_not_found() => {
                return Err(format!("container {application} was not deleted: {error}"));
            }
            _ => {}
        }
        let _ = fs::remove_file(self.folder.join(id));
        Ok(())
    }

    /// Takes its nodes away. The next run finds that they are missing, and asks for them.
    pub async fn release(&self, services: &Services, id: &str) -> Result<(), String> {
        let none = wire::PoolResize {
            target_dedicated_nodes: Some(0),
            target_low_priority_nodes: Some(0),
            ..Default::default()
        };
        match services.batch.resize_pool(id, &none).await {
            Err(error) if !error.is_not_found() => {
                Err(format!("pool {id}: its nodes were not taken away: {error}"))
            }
            _ => Ok(()),
        }
    }
}
