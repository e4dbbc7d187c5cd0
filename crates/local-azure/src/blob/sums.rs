//! Checksums of contents, and their form in headers.

use super::crc64::Crc64;
use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};

/// The requested checksums, being computed.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    md5: Option<Md5>,
    crc64: Option<Crc64>,
}

/// Computed checksums, in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// MD5, if it was requested.
    pub md5: Option<String>,
    /// CRC-64, if it was requested.
    pub crc64: Option<String>,
}

impl Sums {
    /// Starts the requested checksums.
    pub fn wanting(md5: bool, crc64: bool) -> Self {
        Self { md5: md5.then(Md5::default), crc64: crc64.then(Crc64::default) }
    }

    /// Adds bytes to the checksums.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(crc64) = &mut self.crc64 {
            crc64.update(bytes);
        }
    }

    /// Finishes the computation.
    pub fn made(self) -> Made {
        let md5 = self.md5.map(|md5| STANDARD.encode(md5.finalize()));
        Made { md5, crc64: self.crc64.map(|crc64| STANDARD.encode(crc64.bytes())) }
    }
}

/// Returns the MD5 of bytes, in base64.
pub fn md5_of(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

/// Returns whether a header is a valid MD5: base64 of 16 bytes.
pub fn is_md5(text: &str) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 16)
}
