//! Envelopes: a page of a list, and an entity with the name of its shape.

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// `{base}/$metadata#tasks`.
    #[serde(rename = "odata.metadata", default, skip_serializing_if = "Option::is_none")]
    pub odata_metadata: Option<String>,
    /// The entries.
    #[serde(default = "Vec::new")]
    pub value: Vec<T>,
    /// Absolute URL of the next page; GET it as it is. Absent on the last page.
    #[serde(rename = "odata.nextLink", default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

/// An entity as the body of an answer: its properties after `odata.metadata`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer<'a, T> {
    /// `{base}/$metadata#tasks/@Element`.
    #[serde(rename = "odata.metadata")]
    pub odata_metadata: &'a str,
    /// The entity.
    #[serde(flatten)]
    pub entity: &'a T,
}
