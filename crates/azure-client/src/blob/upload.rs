//! Uploads: bytes and files become blobs. A blob exists completely or not at all.

use super::{
    BlobApi,
    digest::{Hasher, Md5Sum},
    files::{FileSource, Unread},
};
use crate::{
    call::{ApiResponse, Call},
    error::{BlobError, tried},
    operation::{CallInfo, Operation as Op},
};
use bytes::Bytes;
use dropmill_azure_wire::{
    blob::{BlockList, Metadata, header, limit, put_metadata, write_block_choices},
    etag::ETag,
    uri::encode,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{HeaderValue, header as http_header};
use std::{collections::BTreeMap, path::Path};

/// Default maximum length of a file that is uploaded in one request, from memory.
pub const LONGEST_IN_ONE: u64 = 64 << 20;
/// Default block length for longer files; larger if 50,000 blocks would not be enough.
pub const BLOCK_BYTES: u64 = 8 << 20;
/// Maximum number of blocks that are in memory and being uploaded at the same time.
pub const BLOCKS_IN_FLIGHT: usize = 4;

/// Options for storing a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Fails with `BlobAlreadyExists` if a blob of that name exists.
    pub only_if_absent: bool,
    /// Content type; `application/octet-stream` by default.
    pub content_type: Option<String>,
    /// User-defined metadata of the blob.
    pub metadata: Metadata,
}

/// The result of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Length in bytes.
    pub bytes: u64,
    /// MD5 of the content in hex.
    pub md5: String,
    /// ETag of the blob; empty if the service sent none.
    pub etag: String,
}

impl BlobApi {
    /// Stores bytes as a blob, in one request. The service checks their MD5.
    ///
    /// # Errors
    /// `BlobAlreadyExists` if the options forbid replacing a blob; see [`BlobError`].
    pub async fn put_blob(
        &self,
        container: &str,
        name: &str,
        bytes: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Stored, BlobError> {
        let bytes = bytes.into();
        let sum = {
            let bytes = bytes.clone();
            let length = bytes.len() as u64;
            self.file_reads.run(length, move || Md5Sum::of(&bytes)).await
        };
        let sum = sum.expect("computing a checksum does not panic");
        self.put_whole(container, name, bytes, sum, &options).await
    }

    /// Stores a file as a blob: in one request if it is short, otherwise in blocks. Blocks that an
    /// interrupted upload of the same file left are not sent again. Nothing is stored if the file changes
    /// meanwhile.
    ///
    /// # Errors
    /// [`BlobError::SourceChanged`], [`BlobError::Source`]; see [`BlobError`].
    pub async fn put_file(
        &self,
        container: &str,
        name: &str,
        path: &Path,
        options: PutOptions,
    ) -> Result<Stored, BlobError> {
        self.put_source(container, name, (path, FileSource::open(path)), options).await
    }

    /// Stores a source that the caller has opened, as [`BlobApi::put_file`] does. The path names the source
    /// if it could not be opened.
    ///
    /// # Errors
    /// As [`BlobApi::put_file`].
    pub async fn put_source(
        &self,
        container: &str,
        name: &str,
        (path, source): (&Path, std::io::Result<FileSource>),
        options: PutOptions,
    ) -> Result<Stored, BlobError> {
        let operation = if options.only_if_absent { Op::PutNewBlob } else { Op::PutBlob };
        let tried = tried(operation, format!("{container}/{name}"));
        let unread = |unread| match unread {
            Unread::Changed => BlobError::SourceChanged { tried: tried.clone(), path: path.to_owned() },
            Unread::Failed(source) => {
                BlobError::Source { tried: tried.clone(), path: path.to_owned(), source }
            }
        };
        let source = source.map_err(|error| unread(error.into()))?;
        if source.length() > self.longest_in_one_bytes {
            return self.put_blocks(container, name, source, &options, &unread).await;
        }
        let length = source.length();
        let read = self.file_reads.run(length, move || {
            let bytes = source.read_at(0, length)?;
            let sum = Md5Sum::of(&bytes);
            source.stood_still()?;
            Ok((bytes, sum))
        });
        let (bytes, sum) = read.await.unwrap_or_else(|error| Err(error.into())).map_err(unread)?;
        self.put_whole(container, name, bytes.into(), sum, &options).await
    }

    async fn put_whole(
        &self,
        container: &str,
        name: &str,
        bytes: Bytes,
        sum: Md5Sum,
        options: &PutOptions,
    ) -> Result<Stored, BlobError> {
        let operation = if options.only_if_absent { Op::PutNewBlob } else { Op::PutBlob };
        let length = bytes.len() as u64;
        let mut call = self.blob_call(operation, container, name, None).ok(&[201]);
        call = call.body("application/octet-stream", bytes);
        call = call.text_header(header::BLOB_TYPE, "BlockBlob")?.text_header("content-md5", &sum.base64())?;
        if let Some(kind) = &options.content_type {
            call = call.text_header("content-type", kind)?;
        }
        let answer = self.caller.exchange(with_options(call, options)).await?;
        Ok(stored(&answer, length, sum))
    }

    async fn put_blocks(
        &self,
        container: &str,
        name: &str,
        source: FileSource,
        options: &PutOptions,
        unread: &impl Fn(Unread) -> BlobError,
    ) -> Result<Stored, BlobError> {
        let blocks = Blocks::of(&source, self.block_bytes);
        let left = self.blocks_left(container, name).await?;
        let mut hasher = Hasher::default();
        let mut in_flight = FuturesUnordered::new();
        for number in 0..blocks.count {
            let (offset, length) = blocks.place(number);
            let read = {
                let source = source.clone();
                let mut hasher = std::mem::take(&mut hasher);
                self.file_reads.run(length, move || {
                    let bytes = source.read_at(offset, length)?;
                    hasher.update(&bytes);
                    Ok((bytes, hasher))
                })
            };
            // Uploads in flight continue while the next block is read.
            let read = drive(read, &mut in_flight).await?;
            let (bytes, updated) = read.unwrap_or_else(|error| Err(error.into())).map_err(unread)?;
            hasher = updated;
            let id = blocks.id(number);
            if left.get(&id) == Some(&length) {
                continue;
            }
            if in_flight.len() == BLOCKS_IN_FLIGHT
                && let Some(sent) = in_flight.next().await
            {
                sent?;
            }
            in_flight.push(self.put_block(container, name, id, bytes.into()));
        }
        while let Some(sent) = in_flight.next().await {
            sent?;
        }
        source.stood_still().map_err(unread)?;
        let sum = hasher.sum();
        let ids: Vec<String> = (0..blocks.count).map(|number| blocks.id(number)).collect();
        let operation = if options.only_if_absent { Op::CommitNewBlob } else { Op::CommitBlob };
        let mut call = self.blob_call(operation, container, name, Some("comp=blocklist")).ok(&[201]);
        call = call.body("application/xml", write_block_choices(ids.iter().map(String::as_str)));
        call = call.text_header(header::BLOB_CONTENT_MD5, &sum.base64())?;
        if let Some(kind) = &options.content_type {
            call = call.text_header(header::BLOB_CONTENT_TYPE, kind)?;
        }
        let answer = self.caller.exchange(with_options(call, options)).await?;
        Ok(stored(&answer, source.length(), sum))
    }

    /// A block has no checksum of its own: TLS protects it on its way, and the MD5 of the whole is stored
    /// with the blob.
    async fn put_block(
        &self,
        container: &str,
        name: &str,
        id: String,
        bytes: Bytes,
    ) -> Result<(), BlobError> {
        let query = format!("comp=block&blockid={}", encode(&id));
        let call = self.blob_call(Op::PutBlock, container, name, Some(&query)).ok(&[201]);
        self.caller.exchange(call.body("application/octet-stream", bytes)).await?;
        Ok(())
    }

    /// Returns the uncommitted blocks, with their lengths.
    async fn blocks_left(&self, container: &str, name: &str) -> Result<BTreeMap<String, u64>, BlobError> {
        let query = Some("comp=blocklist&blocklisttype=uncommitted");
        let call = self.blob_call(Op::GetBlockList, container, name, query);
        let tried: CallInfo = call.tried.clone();
        let answer = match self.caller.exchange(call).await {
            Ok(answer) => answer,
            // There is neither a blob nor a block. A missing container is reported by the first block.
            Err(error) if error.is_not_found() => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let list = BlockList::read(&answer.body)
            .map_err(|error| answer.broken(&tried, crate::shown::shown(&error.to_string())))?;
        Ok(list.uncommitted.into_iter().flatten().map(|block| (block.id, block.size_bytes)).collect())
    }
}

/// Waits for `read` while the requests in flight continue; fails if one of them fails.
async fn drive<T, F: Future<Output = Result<(), BlobError>>>(
    read: impl Future<Output = T>,
    in_flight: &mut FuturesUnordered<F>,
) -> Result<T, BlobError> {
    let mut read = std::pin::pin!(read);
    loop {
        tokio::select! {
            biased;
            done = &mut read => return Ok(done),
            Some(sent) = in_flight.next() => sent?,
        }
    }
}

fn with_options(mut call: Call, options: &PutOptions) -> Call {
    put_metadata(&options.metadata, &mut call.headers);
    if options.only_if_absent {
        call = call.header(http_header::IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    call
}

fn stored(answer: &ApiResponse, bytes: u64, sum: Md5Sum) -> Stored {
    let etag =
        answer.headers.get(http_header::ETAG).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Stored { bytes, md5: sum.hex(), etag: ETag::new(etag).as_str().to_owned() }
}

/// How a file is divided into blocks.
struct Blocks {
    length: u64,
    block_bytes: u64,
    count: u64,
    /// Identifies the content of the file in block ids, so that blocks of an earlier attempt with the same
    /// content are recognised. All ids of a blob must have the same length.
    mark: String,
}

impl Blocks {
    fn of(source: &FileSource, block_bytes: u64) -> Self {
        Self::cut(source.length(), block_bytes, Md5Sum::of(source.fingerprint().as_bytes()).hex())
    }

    fn cut(length: u64, block_bytes: u64, mark: String) -> Self {
        let least = length.div_ceil(limit::BLOCKS as u64);
        // A multiple of 1 MiB, so that block lists are easy to read.
        let block_bytes = if least <= block_bytes { block_bytes } else { least.next_multiple_of(1 << 20) };
        Self { length, block_bytes, count: length.div_ceil(block_bytes), mark }
    }

    fn place(&self, number: u64) -> (u64, u64) {
        let offset = number * self.block_bytes;
        (offset, self.block_bytes.min(self.length - offset))
    }

    fn id(&self, number: u64) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        // The position of a block depends on the block length, so the length is part of the id.
        STANDARD.encode(format!("{}-{:010}-{number:06}", &self.mark[..16], self.block_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_file_is_cut_into_at_most_50_000_blocks_without_gap_or_overlap(
            length in 1u64..=limit::BLOCKS as u64 * (limit::BLOCK_BYTES - (1 << 20)),
        ) {
            let blocks = Blocks::cut(length, BLOCK_BYTES, "m".repeat(32));
            prop_assert!(blocks.count <= limit::BLOCKS as u64);
            prop_assert!(blocks.block_bytes <= limit::BLOCK_BYTES);
            let (last_offset, last_length) = blocks.place(blocks.count - 1);
            prop_assert_eq!(last_offset + last_length, length);
            prop_assert!(last_length > 0 && last_length <= blocks.block_bytes);
            prop_assert_eq!(blocks.place(0).0, 0);
        }
    }

    #[test]
    fn ids_are_of_one_length_and_within_the_limit() {
        let blocks = Blocks::cut(1 << 40, BLOCK_BYTES, "0123456789abcdef0123456789abcdef".into());
        assert_eq!(blocks.id(0).len(), blocks.id(49_999).len());
        assert!(blocks.id(0).len() <= limit::BLOCK_ID_BYTES);
    }
}
