//! Files of tasks and nodes.

use crate::{shape::wire_struct, time::Timestamp};
use serde::{Deserializer, de};
use std::fmt;

wire_struct! {
    /// An entry of a list of files of a task or a node.
    #[derive(Default)]
    pub struct NodeFile {
        /// Path, relative to the task's directory or the node's root.
        pub name: Option<String>,
        /// URL of the file.
        pub url: Option<String>,
        /// `true` for a directory.
        pub is_directory: Option<bool>,
        /// Properties of the file; absent for a directory.
        pub properties: Option<FileProperties>,
    }

    /// The properties of a file.
    pub struct FileProperties {
        /// Creation time; on Windows nodes only.
        pub creation_time: Option<Timestamp>,
        /// Time of the last change of the content.
        pub last_modified: Timestamp,
        /// Length in bytes; a JSON string on the wire.
        #[serde(deserialize_with = "number_or_text")]
        pub content_length: u64,
        /// Media type: `text/plain`, `application/octet-stream`.
        pub content_type: Option<String>,
        /// File mode such as `0o100644`; on Linux nodes only.
        pub file_mode: Option<String>,
    }
}

pub(super) fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Either;
    impl de::Visitor<'_> for Either {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or a string that contains one")
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
