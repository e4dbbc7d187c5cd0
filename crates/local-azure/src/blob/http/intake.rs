//! Bodies on their way in: short ones into memory, long ones into a file of the store, whatever their length a few
//! batches in memory. Writing and hashing go on beside the reading, on a thread that may wait for the disk.

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

/// Bytes gathered before they are written: one batch is written while the next arrives.
const BATCH: usize = 1 << 20;

/// What a body became.
#[derive(Debug)]
pub struct Taken {
    /// Its bytes.
    pub bytes: Incoming,
    /// The sums that were wanted.
    pub sums: Made,
}

/// Takes a body in, and checks it against the length and the sums that the headers give.
///
/// # Errors
/// When it is too long, broken off, or not what the headers say.
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

/// A body in memory that may be at most so long.
///
/// # Errors
/// When it is longer or breaks off.
pub async fn small(body: &mut Body, longest: usize) -> Result<Bytes, Refusal> {
    match http_body_util::Limited::new(body, longest).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(broken_off()),
    }
}

/// Returns the length that the headers declare. Azure demands it of every request with a content.
///
/// # Errors
/// Returns 411 when there is none, 400 when it is not a number.
pub fn declared(headers: &HeaderMap) -> Result<u64, Refusal> {
    match headers.get(http::header::CONTENT_LENGTH).map(|value| value.to_str().unwrap_or_default().parse()) {
        Some(Ok(length)) => Ok(length),
        Some(Err(_)) => Err(refuse(400, "InvalidHeaderValue", "Content-Length is no number.")),
        None => {
            Err(refuse(411, "MissingContentLengthHeader", "The Content-Length header was not specified."))
        }
    }
}

/// Returns the MD5 of the body that the headers give.
///
/// # Errors
/// Returns 400 when it cannot be the MD5 of anything.
pub fn given_md5(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let given = headers.get("content-md5").map(|value| value.to_str().unwrap_or_default());
    if given.is_some_and(|text| !is_md5(text)) { Err(invalid_md5()) } else { Ok(given) }
}

/// Returns the refusal of a block without content.
pub fn no_content() -> Refusal {
    let words = "The value for one of the HTTP headers is not in the correct format: Content-Length is 0, and a block \
                 has at least one byte.";
    refuse(400, "InvalidHeaderValue", words)
}

fn broken_off() -> Refusal {
    refuse(400, "InvalidInput", "The request body is shorter or longer than Content-Length says.")
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
        // Mostly a body arrives in one frame, which need not be copied.
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

/// A file and the sums of what was written to it.
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

    /// Nothing may name the file before this.
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
