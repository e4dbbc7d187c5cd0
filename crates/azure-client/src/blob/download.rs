//! Downloads: all bytes of a blob, in order, checked against the length and MD5 that the service reports.

use super::{
    BlobApi, BlobListing,
    digest::{BodyHasher, Md5Sum},
};
use crate::{
    call::{Call, Uncollected, broken, collect},
    error::{BlobError, CallError},
    operation::{CallInfo, Operation as Op},
};
use bytes::Bytes;
use dropmill_azure_wire::{
    blob::header,
    etag::ETag,
    transport::{ResponseBody, TransportError},
};
use http::{HeaderMap, HeaderValue, Response, header as http_header};
use http_body_util::BodyExt;
use std::{io::Write, time::Duration};
use tokio::time::timeout;

/// Longest time without data before a download counts as interrupted. The total time has no limit.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);
/// Maximum number of times that an interrupted download is resumed before it fails.
pub const RESUMES: u32 = 5;

/// The result of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Length in bytes.
    pub bytes: u64,
    /// MD5 of the content in hex.
    pub md5: String,
    /// ETag of the blob.
    pub etag: String,
}

/// Properties of a blob from the first response.
struct Whole {
    length: u64,
    etag: String,
    md5: Option<Md5Sum>,
}

impl BlobApi {
    /// Downloads a blob into memory. Checks its length, and its MD5 if the service knows it.
    ///
    /// # Errors
    /// [`CallError::TooLarge`] above `limit_bytes`; [`BlobError::Corrupt`]; see [`BlobError`].
    pub async fn get_blob(&self, container: &str, name: &str, limit_bytes: u64) -> Result<Bytes, BlobError> {
        let call = self.blob_call(Op::GetBlob, container, name, None);
        let tried = call.tried.clone();
        let response = self.caller.stream(call).await?;
        let whole = whole_of(&tried, &response)?;
        if whole.length > limit_bytes {
            return Err(CallError::TooLarge { tried, limit_bytes }.into());
        }
        let unreachable = |problem: String| CallError::Unreachable {
            tried: tried.clone(),
            source: TransportError::Broken(problem),
        };
        let deadline = self.caller.timeout + Duration::from_secs(whole.length / (64 << 10));
        let body = match timeout(deadline, collect(response.into_body(), limit_bytes)).await {
            Ok(Ok(body)) => body,
            Ok(Err(Uncollected::Broken(problem))) => return Err(unreachable(problem).into()),
            Ok(Err(Uncollected::TooLong)) => return Err(CallError::TooLarge { tried, limit_bytes }.into()),
            Err(_) => return Err(CallError::TimedOut { tried, waited: deadline }.into()),
        };
        if body.len() as u64 != whole.length {
            return Err(unreachable(format!("{} of {} bytes arrived", body.len(), whole.length)).into());
        }
        if whole.md5.is_some() {
            let bytes = body.clone();
            let sum = self.file_reads.run(whole.length, move || Md5Sum::of(&bytes)).await;
            check(&tried, sum.expect("computing a checksum does not panic"), &whole)?;
        }
        Ok(body)
    }

    /// Writes all bytes of a blob to `writer`, in order. Checks the length, and the MD5 if the service knows
    /// it. An interrupted download is resumed up to [`RESUMES`] times if the blob is unchanged.
    ///
    /// # Errors
    /// [`BlobError::Corrupt`], `ConditionNotMet` if the blob changed meanwhile: start again with an empty
    /// writer; [`BlobError::Target`]; see [`BlobError`].
    pub async fn download_to<W: Write + ?Sized>(
        &self,
        container: &str,
        name: &str,
        writer: &mut W,
    ) -> Result<Downloaded, BlobError> {
        self.download(container, name, None, writer).await
    }

    /// Writes the bytes of a listed blob as [`BlobApi::download_to`] does. Checks the length of the list, and
    /// its MD5 if the response has none.
    ///
    /// # Errors
    /// [`BlobError::OtherLength`] if the response has another length, before anything is written; otherwise
    /// as [`BlobApi::download_to`].
    pub async fn download_listed<W: Write + ?Sized>(
        &self,
        container: &str,
        blob: &BlobListing,
        writer: &mut W,
    ) -> Result<Downloaded, BlobError> {
        self.download(container, &blob.name, Some(blob), writer).await
    }

    async fn download<W: Write + ?Sized>(
        &self,
        container: &str,
        name: &str,
        listed: Option<&BlobListing>,
        writer: &mut W,
    ) -> Result<Downloaded, BlobError> {
        let call = self.blob_call(Op::GetBlob, container, name, None);
        let tried = call.tried.clone();
        let response = self.caller.stream(call).await?;
        let mut whole = whole_of(&tried, &response)?;
        if let Some(listed) = listed {
            whole.agree_with(listed, &tried)?;
        }
        let mut hasher = BodyHasher::new(whole.length, self.file_reads);
        let mut arrived = 0;
        let mut broke =
            self.pour(&tried, response.into_body(), &whole, &mut arrived, &mut hasher, writer).await?;
        let mut resumed = 0;
        while let Some(problem) = broke {
            if resumed == RESUMES {
                let source = TransportError::Broken(problem);
                return Err(CallError::Unreachable { tried, source }.into());
            }
            resumed += 1;
            tracing::debug!(call = %tried, arrived, of = whole.length, problem, "download interrupted, resuming");
            broke = match self.rest(container, name, arrived, &whole).await {
                Ok(body) => self.pour(&tried, body, &whole, &mut arrived, &mut hasher, writer).await?,
                Err(CallError::Unreachable { source: TransportError::Broken(problem), .. }) => Some(problem),
                Err(error) => return Err(error.into()),
            };
        }
        let sum = hasher.sum().await.map_err(|source| BlobError::Target { tried: tried.clone(), source })?;
        check(&tried, sum, &whole)?;
        Ok(Downloaded { bytes: arrived, md5: sum.hex(), etag: whole.etag })
    }

    /// Copies a body to the writer; returns the reason if it ended too early.
    async fn pour<W: Write + ?Sized>(
        &self,
        tried: &CallInfo,
        mut body: ResponseBody,
        whole: &Whole,
        arrived: &mut u64,
        hasher: &mut BodyHasher,
        writer: &mut W,
    ) -> Result<Option<String>, BlobError> {
        loop {
            let frame = match timeout(STALLED_AFTER, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                // The body is complete; only the end of the connection failed.
                Ok(Some(Err(_))) if *arrived == whole.length => return Ok(None),
                Ok(Some(Err(error))) => return Ok(Some(error.to_string())),
                Ok(None) if *arrived == whole.length => return Ok(None),
                Ok(None) => return Ok(Some(format!("{arrived} of {} bytes arrived", whole.length))),
                Err(_) => return Ok(Some(format!("nothing arrived for {STALLED_AFTER:?}"))),
            };
            let Ok(data) = frame.into_data() else { continue };
            *arrived += data.len() as u64;
            if *arrived > whole.length {
                let problem = format!("more than the {} bytes of its Content-Length", whole.length);
                return Err(broken(tried, 200, &HeaderMap::new(), problem).into());
            }
            let target = |source| BlobError::Target { tried: tried.clone(), source };
            writer.write_all(&data).map_err(target)?;
            hasher.update(data).await.map_err(target)?;
        }
    }

    /// Requests the rest of the same blob.
    async fn rest(
        &self,
        container: &str,
        name: &str,
        from: u64,
        whole: &Whole,
    ) -> Result<ResponseBody, CallError> {
        let call: Call = self.blob_call(Op::GetBlob, container, name, None).ok(&[206]);
        let tried = call.tried.clone();
        let call = call
            .text_header(header::RANGE, &format!("bytes={from}-"))?
            .text_header("if-match", &ETag::new(&whole.etag).quoted())?;
        let response = self.caller.stream(call).await?;
        let range = response.headers().get(http_header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let expected = format!("bytes {from}-{}/{}", whole.length - 1, whole.length);
        if range != Some(&expected) {
            return Err(broken(&tried, 206, response.headers(), format!("expected the range {expected}")));
        }
        Ok(response.into_body())
    }
}

impl Whole {
    /// Compares the response with the list: a proxy may have changed either of them.
    fn agree_with(&mut self, listed: &BlobListing, tried: &CallInfo) -> Result<(), BlobError> {
        if self.length != listed.size_bytes {
            let (listed_bytes, named_bytes) = (listed.size_bytes, self.length);
            return Err(BlobError::OtherLength { tried: tried.clone(), listed_bytes, named_bytes });
        }
        self.md5 = self.md5.or_else(|| Md5Sum::from_hex(listed.md5.as_deref()?));
        Ok(())
    }
}

fn whole_of(tried: &CallInfo, response: &Response<ResponseBody>) -> Result<Whole, CallError> {
    let headers = response.headers();
    let text = |name: &str| headers.get(name).map(HeaderValue::to_str).and_then(Result::ok);
    let (Some(length), Some(etag)) =
        (text("content-length").and_then(|text| text.parse().ok()), text("etag"))
    else {
        return Err(broken(tried, response.status().as_u16(), headers, "no Content-Length or no ETag"));
    };
    let md5 = text("content-md5").or_else(|| text(header::BLOB_CONTENT_MD5)).and_then(Md5Sum::from_base64);
    Ok(Whole { length, etag: ETag::new(etag).as_str().to_owned(), md5 })
}

fn check(tried: &CallInfo, sum: Md5Sum, whole: &Whole) -> Result<(), BlobError> {
    match whole.md5 {
        Some(kept) if kept != sum => {
            Err(BlobError::Corrupt { tried: tried.clone(), arrived: sum.hex(), kept: kept.hex() })
        }
        _ => Ok(()),
    }
}
