//! Uploads one input, or one file of the application.

use crate::{
    drop_store::text_of,
    inputs::{self, Inputs},
};
use dropmill_azure_client::blob::{BlobApi, PutOptions};
use dropmill_lifecycle::{Code, Failure, plan::Item};
use futures_util::stream::{self, StreamExt};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Maximum number of files of one folder that are uploaded at the same time.
pub(super) const FILES_OF_A_FOLDER: usize = 4;

/// Returns the name of an input's blob; for a folder, the prefix of its files' blobs up to a `/`. Control
/// characters, which are invalid in blob names, are replaced by `_`: the node restores the file name, and a
/// task has only one input.
pub fn blob_name(item: &Item) -> String {
    if let Some(shared) = &item.blob {
        return shared.clone();
    }
    format!("{}/{}", item.task, without_controls(&item.file_name))
}

fn without_controls(name: &str) -> String {
    name.replace(char::is_control, "_")
}

/// Uploads one file of the application.
pub(super) async fn upload(
    blob: BlobApi,
    container: String,
    name: String,
    source: PathBuf,
) -> Result<bool, Failure> {
    let put = blob.put_file(&container, &name, &source, PutOptions::default()).await;
    put.map(|_| false).map_err(|error| error.failure())
}

/// Uploads an input: one file, or all files of a folder under its name. Files that an earlier attempt
/// uploaded are uploaded again.
pub(super) async fn upload_input(
    blob: BlobApi,
    container: String,
    inputs: Arc<dyn Inputs>,
    item: Item,
) -> Result<bool, Failure> {
    let name = blob_name(&item);
    if !item.whole_folder {
        if item.source.is_some() && item.blob.is_none() {
            upload_part(&blob, &container, &*inputs, &item, &name, None).await?;
        }
        let own = item.more_files.iter().filter(|file| is_own(&item, &file.blob));
        let uploads = own.map(|file| put(&blob, &container, &*inputs, &file.blob, &file.source));
        let mut uploads = stream::iter(uploads).buffer_unordered(FILES_OF_A_FOLDER);
        while let Some(uploaded) = uploads.next().await {
            uploaded?;
        }
        return Ok(false);
    }
    let names = names(inputs.files(&item).await?.into_iter())?;
    let parts: Vec<_> = names.into_iter().map(|(below, path)| (format!("{name}/{below}"), path)).collect();
    let uploads =
        parts.iter().map(|(name, path)| upload_part(&blob, &container, &*inputs, &item, name, Some(path)));
    let mut uploads = stream::iter(uploads).buffer_unordered(FILES_OF_A_FOLDER);
    while let Some(uploaded) = uploads.next().await {
        uploaded?;
    }
    Ok(false)
}

/// Returns whether a blob contains a file that only this task has.
pub fn is_own(item: &Item, blob: &str) -> bool {
    blob.strip_prefix(item.task.as_str()).is_some_and(|rest| rest.starts_with('/'))
}

/// Uploads a file that several tasks share.
pub(super) async fn upload_shared(
    blob: BlobApi,
    container: String,
    inputs: Arc<dyn Inputs>,
    (name, source): (String, PathBuf),
) -> Result<bool, Failure> {
    put(&blob, &container, &*inputs, &name, &source).await.map(|()| false)
}

pub(super) async fn put(
    blob: &BlobApi,
    container: &str,
    inputs: &dyn Inputs,
    name: &str,
    path: &Path,
) -> Result<(), Failure> {
    let source = inputs.open_path(path);
    let metadata = source.as_ref().map(|source| source.facts().metadata()).unwrap_or_default();
    let options = PutOptions { metadata, ..PutOptions::default() };
    let put = blob.put_source(container, name, (path, source), options).await;
    put.map(|_| ()).map_err(|error| error.failure())
}

async fn upload_part(
    blob: &BlobApi,
    container: &str,
    inputs: &dyn Inputs,
    item: &Item,
    name: &str,
    below: Option<&Path>,
) -> Result<(), Failure> {
    let path = inputs::path_of(item, below).unwrap_or_default();
    let source = inputs.open(item, below);
    let metadata = source.as_ref().map(|source| source.facts().metadata()).unwrap_or_default();
    let options = PutOptions { metadata, ..PutOptions::default() };
    let put = blob.put_source(container, name, (path.as_path(), source), options).await;
    put.map(|_| ()).map_err(|error| error.failure())
}

/// Returns the names of a folder's files on the node, with their paths.
fn names(paths: impl Iterator<Item = PathBuf>) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut names = BTreeMap::new();
    for path in paths {
        let name = without_controls(&text_of(&path));
        if let Some(other) = names.insert(name.clone(), path.clone()) {
            let (one, other) = (text_of(&path), text_of(&other));
            let message = format!("{one:?} and {other:?} would both be named {name:?} on the node");
            return Err(Failure::permanent(Code::Source, message));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_keep_their_names_without_conflicts() {
        let named = |paths: &[&str]| names(paths.iter().map(PathBuf::from));
        let all: Vec<_> = named(&["a/b", "a\tb", "%"]).unwrap().into_keys().collect();
        assert_eq!(all, ["%25", "a/b", "a_b"]);
        let refused = named(&["a\tb", "a_b"]).unwrap_err();
        assert!(refused.message.contains("would both be named \"a_b\""), "{}", refused.message);
    }
}
