//! MD5 as the Blob service stores it with a content: base64 in headers, hex for people.

use super::FileReads;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use md5::{Digest, Md5};
use std::{io, mem};
use tokio::task::{JoinHandle, spawn_blocking};

/// Number of bytes that are hashed on another thread at a time, enough to make the cost of the switch
/// negligible.
const PIECE_BYTES: usize = 1 << 20;

/// An MD5 checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Md5Sum([u8; 16]);

/// Computes the MD5 of the bytes so far.
#[derive(Clone, Default)]
pub(super) struct Hasher(Md5);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn sum(self) -> Md5Sum {
        Md5Sum(self.0.finalize().into())
    }
}

/// Computes the MD5 of a body that arrives in pieces. A long body is hashed on another thread while it
/// arrives, since MD5 is about as slow as a fast network. At most two pieces wait for it.
pub(super) struct BodyHasher {
    here: Hasher,
    elsewhere: bool,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    at_work: Option<JoinHandle<Hasher>>,
}

impl BodyHasher {
    pub fn new(length: u64, reads: FileReads) -> Self {
        let elsewhere = reads == FileReads::Threads && length > 2 * PIECE_BYTES as u64;
        Self { here: Hasher::default(), elsewhere, waiting: vec![], waiting_bytes: 0, at_work: None }
    }

    pub async fn update(&mut self, bytes: Bytes) -> io::Result<()> {
        if !self.elsewhere {
            self.here.update(&bytes);
            return Ok(());
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        if self.waiting_bytes >= PIECE_BYTES { self.hand_over().await } else { Ok(()) }
    }

    async fn hand_over(&mut self) -> io::Result<()> {
        self.come_back().await?;
        let (mut hasher, pieces) = (mem::take(&mut self.here), mem::take(&mut self.waiting));
        self.waiting_bytes = 0;
        self.at_work = Some(spawn_blocking(move || {
            pieces.iter().for_each(|piece| hasher.update(piece));
            hasher
        }));
        Ok(())
    }

    async fn come_back(&mut self) -> io::Result<()> {
        if let Some(at_work) = self.at_work.take() {
            self.here = at_work.await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub async fn sum(mut self) -> io::Result<Md5Sum> {
        self.come_back().await?;
        self.waiting.iter().for_each(|piece| self.here.update(piece));
        Ok(self.here.sum())
    }
}

impl Md5Sum {
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.sum()
    }

    /// Parses the base64 form of headers and lists; `None` if it is not a valid MD5.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// Parses the output of [`Md5Sum::hex`]; `None` if it is not valid.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        let digits = text.as_bytes().chunks_exact(2).map(std::str::from_utf8);
        let bytes = digits.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect::<Option<Vec<_>>>()?;
        bytes.try_into().ok().map(Self)
    }

    pub fn base64(self) -> String {
        STANDARD.encode(self.0)
    }

    pub fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_hashed_here_or_elsewhere_make_the_same_sum() {
        let bytes: Bytes = (0..5 << 20).map(|number: u32| (number % 251) as u8).collect();
        for reads in [FileReads::Inline, FileReads::Threads] {
            let mut hasher = BodyHasher::new(bytes.len() as u64, reads);
            for start in (0..bytes.len()).step_by(300_000) {
                hasher.update(bytes.slice(start..bytes.len().min(start + 300_000))).await.unwrap();
            }
            assert_eq!(hasher.sum().await.unwrap(), Md5Sum::of(&bytes), "{reads:?}");
        }
    }

    #[test]
    fn the_two_forms_are_those_of_the_same_sum() {
        let sum = Md5Sum::of(b"hello");
        assert_eq!(sum.hex(), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(sum.base64(), "XUFAKrxLKna5cZ2REBfFkg==");
        assert_eq!(Md5Sum::from_base64("XUFAKrxLKna5cZ2REBfFkg=="), Some(sum));
        assert_eq!(Md5Sum::from_base64("XUFA"), None);
        assert_eq!(Md5Sum::from_hex(&sum.hex()), Some(sum));
        for wrong in ["", "5d", "xy41402abc4b2a76b9719d911017c592", "5d41402abc4b2a76b9719d911017c5920"] {
            assert_eq!(Md5Sum::from_hex(wrong), None, "{wrong}");
        }
    }
}
