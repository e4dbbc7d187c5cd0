//! Names of files as text from which their bytes can be restored.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Returns a path as text from which its bytes can be restored: `%` and bytes that are not UTF-8 become
/// `%XX`.
pub fn text_of(relative: &Path) -> String {
    let mut text = String::new();
    for chunk in relative.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

/// Returns the path for a text.
pub fn path_of(text: &str) -> PathBuf {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_restored_from_its_text() {
        for name in [&b"a\xffb"[..], b"100%", b"%41", "ü".as_bytes(), b"a\nb", b"%", b"%zz"] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(path_of(&text_of(path)), path, "{}", text_of(path));
        }
        assert_eq!(text_of(Path::new(OsStr::from_bytes(b"a\xff%"))), "a%FF%25");
    }
}
