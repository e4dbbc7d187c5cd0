//! Containers, and the existence and deletion of single blobs.

use super::{BlobApi, BlobInfo, digest::Md5Sum};
use crate::{call::Call, error::BlobError, operation::Operation as Op};
use dropmill_azure_wire::{
    blob::{BlobProperties, ContainerList, metadata_from_headers},
    uri::encode,
};
use dropmill_lifecycle::Code;

/// Maximum number of pages of a list of containers, with 5000 containers each.
const MOST_PAGES: usize = 2_000;

impl BlobApi {
    /// Creates a container; returns `true` if one of that name existed already. After a 409 without an error
    /// code, it checks whether the container exists.
    ///
    /// # Errors
    /// `ContainerBeingDeleted` for half a minute after one of that name was deleted; see [`BlobError`].
    pub async fn create_container(&self, container: &str) -> Result<bool, BlobError> {
        let call = self.container_call(Op::CreateContainer, container, "").ok(&[201]);
        match self.caller.exchange(call).await {
            Ok(_) => Ok(false),
            Err(error) if error.code() == Some(Code::ContainerAlreadyExists) => Ok(true),
            Err(error) if error.is_conflict_without_code() => match self.container_exists(container).await? {
                true => Ok(true),
                false => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a container with all its blobs.
    ///
    /// # Errors
    /// `ContainerNotFound` if it does not exist; see [`BlobError`].
    pub async fn delete_container(&self, container: &str) -> Result<(), BlobError> {
        let call = self.container_call(Op::DeleteContainer, container, "").ok(&[202]);
        self.caller.exchange(call).await?;
        Ok(())
    }

    /// Returns the names of the containers that begin with `prefix`.
    ///
    /// # Errors
    /// Fails if the service rejects the request or cannot be reached: see [`BlobError`].
    pub async fn list_containers(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        let (mut names, mut marker) = (vec![], String::new());
        for _ in 0..MOST_PAGES {
            let base = self.caller.endpoint.base();
            let mut path = format!("{base}/?comp=list&prefix={}", encode(prefix));
            if !marker.is_empty() {
                path = format!("{path}&marker={}", encode(&marker));
            }
            let call = Call::new(Op::ListContainers, prefix, path);
            let tried = call.tried.clone();
            let answer = self.caller.exchange(call).await?;
            let page = ContainerList::read(&answer.body)
                .map_err(|error| answer.broken(&tried, crate::shown::shown(&error.to_string())))?;
            // A service that ignores the prefix must not lead to the containers of others.
            let listed = page.containers.into_iter().map(|container| container.name);
            names.extend(listed.filter(|name| name.starts_with(prefix)));
            match page.next_marker.filter(|next| *next != marker) {
                Some(next) => marker = next,
                None => break,
            }
        }
        Ok(names)
    }

    /// Returns whether a container of that name exists.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn container_exists(&self, container: &str) -> Result<bool, BlobError> {
        let call = self.container_call(Op::ContainerExists, container, "");
        match self.caller.exchange(call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the properties of a blob.
    ///
    /// # Errors
    /// `BlobNotFound` or `ContainerNotFound`; see [`BlobError`].
    pub async fn head_blob(&self, container: &str, name: &str) -> Result<BlobInfo, BlobError> {
        let call = self.blob_call(Op::HeadBlob, container, name, None);
        let tried = call.tried.clone();
        let answer = self.caller.exchange(call).await?;
        let Some(properties) = BlobProperties::from_headers(&answer.headers) else {
            return Err(answer.broken(&tried, "no ETag, Last-Modified or Content-Length").into());
        };
        Ok(BlobInfo {
            size_bytes: properties.content_length,
            md5: properties.content_md5.as_deref().and_then(Md5Sum::from_base64).map(Md5Sum::hex),
            etag: properties.etag.as_str().to_owned(),
            metadata: metadata_from_headers(&answer.headers),
            access_tier: properties.access_tier,
        })
    }

    /// Deletes a blob with its snapshots.
    ///
    /// # Errors
    /// `BlobNotFound` if it does not exist; see [`BlobError`].
    pub async fn delete_blob(&self, container: &str, name: &str) -> Result<(), BlobError> {
        let call = self.blob_call(Op::DeleteBlob, container, name, None).ok(&[202]);
        let call = call.text_header(dropmill_azure_wire::blob::header::DELETE_SNAPSHOTS, "include")?;
        self.caller.exchange(call).await?;
        Ok(())
    }
}
