//! Lists the blobs of a container.

use super::{BlobApi, digest::Md5Sum};
use crate::{error::BlobError, operation::Operation as Op};
use dropmill_azure_wire::{
    blob::{BlobList, Entry, FileMetadata},
    uri::encode,
};
use std::collections::BTreeSet;

/// Maximum number of pages, more than any container of this project needs: 100 million blobs.
const MOST_PAGES: usize = 20_000;

/// A blob in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobListing {
    /// Name of the blob; may contain any character.
    pub name: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// MD5 of its content in hex, if the service knows it.
    pub md5: Option<String>,
    /// Changes with every change of the blob.
    pub etag: String,
    /// Metadata of the file from which the blob was made.
    pub file: FileMetadata,
}

impl BlobApi {
    /// Returns the blobs whose names begin with `prefix` (empty: all), in the service's order, without
    /// duplicates.
    ///
    /// # Errors
    /// `ContainerNotFound`; see [`BlobError`].
    pub async fn list_blobs(&self, container: &str, prefix: &str) -> Result<Vec<BlobListing>, BlobError> {
        self.list_some_blobs(container, prefix, usize::MAX).await
    }

    /// Returns the same, but requests no further page once there are more than `most` blobs: a longer result
    /// means that there are too many.
    ///
    /// # Errors
    /// As [`BlobApi::list_blobs`].
    pub async fn list_some_blobs(
        &self,
        container: &str,
        prefix: &str,
        most: usize,
    ) -> Result<Vec<BlobListing>, BlobError> {
        let mut query = "&comp=list&include=metadata".to_owned();
        if !prefix.is_empty() {
            query.push_str("&prefix=");
            query.push_str(&encode(prefix));
        }
        let mut all = vec![];
        let mut names = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut marker = String::new();
        loop {
            let here =
                if marker.is_empty() { query.clone() } else { format!("{query}&marker={}", encode(&marker)) };
            let call = self.container_call(Op::ListBlobs, container, &here);
            let tried = call.tried.clone();
            let answer = self.caller.exchange(call).await?;
            let page = BlobList::read(&answer.body)
                .map_err(|error| answer.broken(&tried, crate::shown::shown(&error.to_string())))?;
            let next = page.next_marker.clone();
            let entries = page.entries.into_iter().filter_map(listing);
            all.extend(entries.filter(|entry: &BlobListing| names.insert(entry.name.clone())));
            let Some(next) = next.filter(|_| all.len() <= most) else { return Ok(all) };
            seen.insert(std::mem::replace(&mut marker, next));
            if seen.contains(&marker) || seen.len() > MOST_PAGES {
                let problem = format!("the list has no end after {} pages", seen.len());
                return Err(answer.broken(&tried, problem).into());
            }
        }
    }
}

fn listing(entry: Entry) -> Option<BlobListing> {
    let Entry::Blob(blob) = entry else { return None };
    Some(BlobListing {
        name: blob.name,
        size_bytes: blob.properties.content_length,
        md5: blob.properties.content_md5.as_deref().and_then(Md5Sum::from_base64).map(Md5Sum::hex),
        etag: blob.properties.etag.as_str().to_owned(),
        file: blob.metadata.as_ref().map(FileMetadata::from_blob_metadata).unwrap_or_default(),
    })
}
