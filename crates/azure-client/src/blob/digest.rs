//! MD5, as Blob keeps it with every content: base64 in headers, hex where people compare it.

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};

/// An MD5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Md5Sum([u8; 16]);

/// MD5 of what came so far.
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

impl Md5Sum {
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.sum()
    }

    /// Reads what a header or a list holds; `None` if it is no MD5.
    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self)
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

    #[test]
    fn the_two_forms_are_those_of_the_same_sum() {
        let sum = Md5Sum::of(b"hello");
        assert_eq!(sum.hex(), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(sum.base64(), "XUFAKrxLKna5cZ2REBfFkg==");
        assert_eq!(Md5Sum::from_base64("XUFAKrxLKna5cZ2REBfFkg=="), Some(sum));
        assert_eq!(Md5Sum::from_base64("XUFA"), None);
    }
}
