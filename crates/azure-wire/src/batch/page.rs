//! Envelopes of response bodies: a page of a list, and a single entity with its metadata URL.

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// Metadata URL, `{base}/$metadata#tasks`.
    #[serde(rename = "odata.metadata", default, skip_serializing_if = "Option::is_none")]
    pub odata_metadata: Option<String>,
    /// Entries of the page.
    #[serde(default = "Vec::new")]
    pub value: Vec<T>,
    /// Absolute URL of the next page, to be requested unchanged; absent on the last page.
    #[serde(rename = "odata.nextLink", default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

/// An entity as a response body: `odata.metadata`, then the properties of the entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResponseBody<'a, T> {
    /// Metadata URL, `{base}/$metadata#tasks/@Element`.
    #[serde(rename = "odata.metadata")]
    pub odata_metadata: &'a str,
    /// Entity whose properties follow.
    #[serde(flatten)]
    pub entity: &'a T,
}
