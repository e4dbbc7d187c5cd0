//! Sends contents: a short one at once, a long one in parts, reading the next part while one is sent.

use super::answer::Refusal;
use crate::blob::{StoreError, store::Reading};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes per read. Each response has two such parts in memory.
const PART: usize = 256 << 10;

/// Returns the body of a response.
///
/// # Errors
/// Fails if the first bytes cannot be read; a later error interrupts the body.
pub async fn body_of(reading: Reading) -> Result<Body, Refusal> {
    if reading.left() <= PART as u64 {
        return Ok(Body::from(bytes_of(reading).await?));
    }
    let (first, rest) = start(reading).take().await?;
    Ok(Body::from_stream(stream::unfold(Part::Ready(first, rest), |part| async {
        match part {
            Part::Ready(bytes, rest) => Some((Ok::<_, StoreError>(bytes), after(rest))),
            Part::Coming(coming) => match coming.take().await {
                Ok((bytes, rest)) => Some((Ok(bytes), after(rest))),
                Err(error) => Some((Err(error), Part::Over)),
            },
            Part::Over => None,
        }
    })))
}

/// Reads a content into memory.
///
/// # Errors
/// Fails if it cannot be read.
pub async fn bytes_of(reading: Reading) -> Result<Bytes, Refusal> {
    let whole = usize::try_from(reading.left()).unwrap_or(usize::MAX);
    let (first, mut rest) = start(reading).take().await?;
    if first.len() == whole {
        return Ok(first);
    }
    let mut bytes = BytesMut::with_capacity(whole);
    bytes.extend_from_slice(&first);
    while rest.left() > 0 {
        let next;
        (next, rest) = start(rest).take().await?;
        bytes.extend_from_slice(&next);
    }
    Ok(bytes.freeze())
}

/// A part that is being read, or was read.
enum Coming {
    Here(Box<(Result<Bytes, StoreError>, Reading)>),
    There(JoinHandle<(Result<Bytes, StoreError>, Reading)>),
}

enum Part {
    Ready(Bytes, Reading),
    Coming(Coming),
    Over,
}

fn after(reading: Reading) -> Part {
    if reading.left() == 0 { Part::Over } else { Part::Coming(start(reading)) }
}

/// Starts to read: a file on a blocking thread, everything else at once.
fn start(mut reading: Reading) -> Coming {
    if reading.is_from_file() {
        Coming::There(spawn_blocking(move || (reading.next(PART), reading)))
    } else {
        Coming::Here(Box::new((reading.next(PART), reading)))
    }
}

impl Coming {
    async fn take(self) -> Result<(Bytes, Reading), StoreError> {
        let (bytes, reading) = match self {
            Self::Here(read) => *read,
            Self::There(reading) => {
                reading.await.map_err(|error| StoreError::new("read", "a blob", &error))?
            }
        };
        Ok((bytes?, reading))
    }
}
