//! Files on nodes.

use crate::{shape::wire_struct, time::Timestamp};
use serde::{Deserializer, de};
use std::fmt;

wire_struct! {
    /// An entry of a list of files of a task or a node.
    #[derive(Default)]
    pub struct NodeFile {
        /// Path: of a task below its folder, of a node below its root.
        pub name: Option<String>,
        /// Its URL.
        pub url: Option<String>,
        /// Whether it is a folder.
        pub is_directory: Option<bool>,
        /// Of files only.
        pub properties: Option<FileProperties>,
    }

    /// What is known of a file.
    pub struct FileProperties {
        /// When it was made; on Windows nodes.
        pub creation_time: Option<Timestamp>,
        /// When it changed last.
        pub last_modified: Timestamp,
        /// Its length in bytes; a JSON text on the wire.
        #[serde(deserialize_with = "number_or_text")]
        pub content_length: u64,
        /// `text/plain`, `application/octet-stream`.
        pub content_type: Option<String>,
        /// `0o100644`; on Linux nodes.
        pub file_mode: Option<String>,
    }
}

pub(super) fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Either;
    impl de::Visitor<'_> for Either {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or a text that holds one")
        }
        fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Either)
}
