//! Receives request bodies: short ones into memory, long ones into a file of the store, with a few batches in
//! memory. Writing and hashing run in parallel on a blocking thread.

use super::answer::{Refusal, internal, invalid_md5, mismatch, refuse, too_large};
use crate::blob::{
    StoreError,
    store::{IN_DATABASE, Incoming, NewFile, Store},
    sums::{Made, Sums, is_md5},
};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use std::{io::Write, mem::take};
use tokio::task::JoinHandle;

/// Number of bytes per batch: one batch is written while the next arrives.
const BATCH: usize = 1 << 20;

/// A received body.
#[derive(Debug)]
pub struct Taken {
    /// Bytes of the body.
    pub bytes: Incoming,
    /// The requested checksums.
    pub sums: Made,
}

/// Receives a body, and checks it against the length and the checksums in the headers.
///
/// # Errors
/// Fails if it is too long, interrupted, or does not match the headers.
pub async fn take_in(
    store: &Store,
    headers: &HeaderMap,
    body: &mut Body,
    longest: u64,
    sums: Sums,
) -> Result<Taken, Refusal> {
    let length = declared(headers)?;
    if length > longest {
        return Err(too_large());
    }
    let md5 = given_md5(headers)?;
    let file = if length > IN_DATABASE as u64 { store.new_file()? } else { None };
    let (bytes, made) = match file {
        Some(file) => into_file(body, length, file, sums).await?,
        None => into_memory(body, length, sums).await?,
    };
    let crc64 = headers.get("x-ms-content-crc64").map(|value| value.to_str().unwrap_or_default());
    let differs = |given: Option<&str>, made: &Option<String>| given.is_some() && given != made.as_deref();
    if differs(md5, &made.md5) {
        return Err(mismatch("MD5"));
    }
    if differs(crc64, &made.crc64) {
        return Err(mismatch("CRC64"));
    }
    Ok(Taken { bytes, sums: made })
}

/// Receives a body of limited length into memory.
///
/// # Errors
/// Fails if it is longer, or interrupted.
pub async fn small(body: &mut Body, longest: usize) -> Result<Bytes, Refusal> {
    match http_body_util::Limited::new(body, longest).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(broken_off()),
    }
}

/// Returns the declared length. Azure requires it for every request with a content.
///
/// # Errors
/// Returns 411 if it is missing, 400 if it is not a number.
pub fn declared(headers: &HeaderMap) -> Result<u64, Refusal> {
    match headers.get(http::header::CONTENT_LENGTH).map(|value| value.to_str().unwrap_or_default().parse()) {
        Some(Ok(length)) => Ok(length),
        Some(Err(_)) => Err(refuse(400, "InvalidHeaderValue", "Content-Length is not a number.")),
        None => {
            Err(refuse(411, "MissingContentLengthHeader", "The Content-Length header was not specified."))
        }
    }
}

/// Returns the MD5 of the body from the headers.
///
/// # Errors
/// Returns 400 if it is not a valid MD5.
pub fn given_md5(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let given = headers.get("content-md5").map(|value| value.to_str().unwrap_or_default());
    if given.is_some_and(|text| !is_md5(text)) { Err(invalid_md5()) } else { Ok(given) }
}

/// Returns the error for a block without content.
pub fn no_content() -> Refusal {
    let words = "The value for one of the HTTP headers is not in the correct format: Content-Length is 0, and a block \
                 has at least one byte.";
    refuse(400, "InvalidHeaderValue", words)
}

fn broken_off() -> Refusal {
    refuse(400, "InvalidInput", "The request body is shorter or longer than its Content-Length.")
}

async fn frame(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| broken_off())?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

async fn into_memory(body: &mut Body, length: u64, mut sums: Sums) -> Result<(Incoming, Made), Refusal> {
    let (mut bytes, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(data) = frame(body).await? {
        if (bytes.len() + whole.len() + data.len()) as u64 > length {
            return Err(broken_off());
        }
        // A body often arrives in one frame, which need not be copied.
        if bytes.is_empty() && whole.is_empty() {
            bytes = data;
        } else {
            whole.extend_from_slice(&take(&mut bytes));
            whole.extend_from_slice(&data);
        }
    }
    let bytes = if whole.is_empty() { bytes } else { whole.freeze() };
    if bytes.len() as u64 != length {
        return Err(broken_off());
    }
    sums.update(&bytes);
    Ok((Incoming::Bytes(bytes), sums.made()))
}

/// A file and the checksums of what was written to it.
struct Sink {
    file: NewFile,
    sums: Sums,
}

impl Sink {
    fn write(mut self, batch: &[Bytes]) -> Result<Self, StoreError> {
        for bytes in batch {
            self.sums.update(bytes);
            let written = self.file.file.write_all(bytes);
            written.map_err(|error| StoreError::new("write", &self.file.path, &error))?;
        }
        Ok(self)
    }

    /// Must be called before the file is referenced.
    fn sync(self) -> Result<Self, StoreError> {
        let synced = self.file.settle();
        synced.map_err(|error| StoreError::new("sync", &self.file.path, &error))?;
        Ok(self)
    }
}

async fn done(writing: JoinHandle<Result<Sink, StoreError>>) -> Result<Sink, Refusal> {
    Ok(writing.await.map_err(|_| internal())??)
}

async fn into_file(
    body: &mut Body,
    length: u64,
    file: NewFile,
    sums: Sums,
) -> Result<(Incoming, Made), Refusal> {
    let (mut arrived, mut gathered, mut batch) = (0, 0, Vec::new());
    let mut writing = tokio::task::spawn_blocking(move || Ok(Sink { file, sums }));
    while let Some(data) = frame(body).await? {
        arrived += data.len() as u64;
        gathered += data.len();
        if arrived > length {
            return Err(broken_off());
        }
        batch.push(data);
        if gathered >= BATCH {
            let (sink, batch) = (done(writing).await?, take(&mut batch));
            gathered = 0;
            writing = tokio::task::spawn_blocking(move || sink.write(&batch));
        }
    }
    let sink = done(writing).await?;
    if arrived != length {
        return Err(broken_off());
    }
    let writing = tokio::task::spawn_blocking(move || sink.write(&batch).and_then(Sink::sync));
    let Sink { file, sums } = done(writing).await?;
    Ok((Incoming::File(file, length), sums.made()))
}
