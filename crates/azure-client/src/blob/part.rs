//! Reads a part of a blob.

use super::BlobApi;
use crate::{
    error::{BlobError, CallError},
    operation::Operation as Op,
};
use bytes::Bytes;
use dropmill_azure_wire::blob::header;

impl BlobApi {
    /// Returns up to `bytes` bytes of a blob from offset `first`: none after its end, and `None` if there is no such blob.
    /// The content is not checked against an MD5.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub async fn get_blob_part(
        &self,
        container: &str,
        name: &str,
        first: u64,
        bytes: u32,
    ) -> Result<Option<Bytes>, BlobError> {
        let last = first.saturating_add(bytes.max(1).into()) - 1;
        let call = self.blob_call(Op::GetBlob, container, name, None).ok(&[206]);
        let call = call.text_header(header::RANGE, &format!("bytes={first}-{last}"))?;
        match self.caller.exchange(call).await {
            Ok(response) => Ok(Some(response.body)),
            Err(CallError::Refused(refused)) if refused.status == 416 => Ok(Some(Bytes::new())),
            Err(CallError::Refused(refused)) if refused.status == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
