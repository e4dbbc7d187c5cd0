//! The sources of task inputs when they are uploaded.

use crate::folder::{Folder, TreeError};
use dropmill_azure_client::blob::FileSource;
use dropmill_lifecycle::{Code, Failure, plan::Item};
use futures_util::future::BoxFuture;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Opens the inputs of tasks.
pub trait Inputs: Send + Sync {
    /// Lists the files of an input that is a folder, by relative path.
    fn files(&self, item: &Item) -> BoxFuture<'static, Result<Vec<PathBuf>, Failure>>;

    /// Opens an input that is a file, or one file of an input that is a folder.
    ///
    /// # Errors
    /// Fails if it does not exist, is not a regular file or may not be read.
    fn open(&self, item: &Item, below: Option<&Path>) -> io::Result<FileSource>;

    /// Opens an additional file of a task, or one that tasks share.
    ///
    /// # Errors
    /// As [`Inputs::open`].
    fn open_path(&self, path: &Path) -> io::Result<FileSource> {
        FileSource::open(path)
    }
}

/// Inputs at the paths of the plan; links are followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PathInputs;

/// Returns the path of an input, or of one of its files.
pub(crate) fn path_of(item: &Item, below: Option<&Path>) -> io::Result<PathBuf> {
    let source = item.source.as_ref().ok_or_else(|| io::Error::other("the task has no input"))?;
    Ok(match below {
        Some(below) => source.join(below),
        None => source.clone(),
    })
}

impl Inputs for PathInputs {
    fn files(&self, item: &Item) -> BoxFuture<'static, Result<Vec<PathBuf>, Failure>> {
        let folder = path_of(item, None);
        Box::pin(async move {
            let folder = folder.map_err(|error| Failure::permanent(Code::Source, error.to_string()))?;
            let list = move || Ok(Folder::open(&folder)?.tree("")?.into_paths());
            let files = tokio::task::spawn_blocking(list).await;
            let files = files.map_err(|error| Failure::transient(Code::Thread, error.to_string()))?;
            files.map_err(|error: TreeError| Failure::permanent(Code::Source, error.to_string()))
        })
    }

    fn open(&self, item: &Item, below: Option<&Path>) -> io::Result<FileSource> {
        FileSource::open(&path_of(item, below)?)
    }
}
