//! A page of the list of a container's blobs.

use super::{
    BadXml, BlobProperties, Metadata,
    properties::{read_metadata, write_metadata},
    tags::{Tags, read_set, write_set},
};
use crate::xml::{Document, Element};

const ROOT: &str = "EnumerationResults";

/// A page of the list of a container's blobs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlobList {
    /// URL of the account, with a trailing slash.
    pub service_endpoint: String,
    /// Name of the container.
    pub container: String,
    /// Prefix of the listed names.
    pub prefix: Option<String>,
    /// Marker with which this page was requested.
    pub marker: Option<String>,
    /// Page size that the request asked for.
    pub max_results: Option<u32>,
    /// Delimiter after which names are merged into a prefix.
    pub delimiter: Option<String>,
    /// Blobs and prefixes, sorted by name.
    pub entries: Vec<Entry>,
    /// Marker of the next page, of characters that XML can represent; `None` on the last page.
    pub next_marker: Option<String>,
}

/// A blob or a common prefix in a list response.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A single blob.
    Blob(Box<BlobItem>),
    /// Common prefix of several blobs, up to and including the delimiter.
    Prefix(String),
}

/// A blob in a list response.
#[derive(Debug, Clone, PartialEq)]
pub struct BlobItem {
    /// Name of the blob, which may contain any character.
    pub name: String,
    /// Properties of the blob.
    pub properties: BlobProperties,
    /// Metadata, if the request included it.
    pub metadata: Option<Metadata>,
    /// Tags, if the request included them.
    pub tags: Option<Tags>,
}

impl From<BlobItem> for Entry {
    fn from(blob: BlobItem) -> Self {
        Self::Blob(Box::new(blob))
    }
}

impl BlobList {
    /// Returns the blobs of the page, without the prefixes.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobItem> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Blob(blob) => Some(&**blob),
            Entry::Prefix(_) => None,
        })
    }

    /// Returns the page as a response body.
    pub fn write(&self) -> String {
        let attributes = [("ServiceEndpoint", &*self.service_endpoint), ("ContainerName", &*self.container)];
        let mut xml = Document::new(ROOT, &attributes);
        if let Some(prefix) = &self.prefix {
            xml.name("Prefix", prefix);
        }
        xml.leaf_if("Marker", self.marker.as_ref());
        xml.leaf_if("MaxResults", self.max_results.map(|max| max.to_string()));
        if let Some(delimiter) = &self.delimiter {
            xml.name("Delimiter", delimiter);
        }
        xml.open("Blobs");
        for entry in &self.entries {
            match entry {
                Entry::Blob(blob) => blob.write(&mut xml),
                Entry::Prefix(prefix) => {
                    xml.open("BlobPrefix");
                    xml.name("Name", prefix);
                    xml.close("BlobPrefix");
                }
            }
        }
        xml.close("Blobs");
        match &self.next_marker {
            Some(marker) => xml.leaf("NextMarker", marker),
            None => xml.empty("NextMarker"),
        }
        xml.end(ROOT)
    }

    /// Parses the response body.
    ///
    /// # Errors
    /// Fails if the body is not a list of blobs, or a blob has no name, Etag or Last-Modified.
    pub fn read(body: &[u8]) -> Result<Self, BadXml> {
        let root = Element::read(body, ROOT)?;
        let bad = |reason: &str| BadXml { root: ROOT, reason: reason.into() };
        let blobs = root.child("Blobs").ok_or_else(|| bad("<Blobs> is missing"))?;
        let mut entries = Vec::with_capacity(blobs.children().len());
        for element in blobs.children() {
            let name =
                || element.child("Name").map(Element::as_name).ok_or_else(|| bad("an entry has no <Name>"));
            match element.name() {
                "Blob" => entries.push(Entry::from(BlobItem {
                    name: name()?,
                    properties: element
                        .child("Properties")
                        .and_then(BlobProperties::from_xml)
                        .ok_or_else(|| bad("a blob has no Etag or Last-Modified"))?,
                    metadata: element.child("Metadata").map(read_metadata),
                    tags: element.child("Tags").and_then(read_set),
                })),
                "BlobPrefix" => entries.push(Entry::Prefix(name()?)),
                _ => {}
            }
        }
        let named = |name: &str| root.child(name).map(Element::as_name).filter(|text| !text.is_empty());
        Ok(Self {
            service_endpoint: root.attribute("ServiceEndpoint").unwrap_or_default(),
            container: root.attribute("ContainerName").unwrap_or_default(),
            prefix: named("Prefix"),
            marker: named("Marker"),
            max_results: root.parse("MaxResults"),
            delimiter: named("Delimiter"),
            entries,
            next_marker: named("NextMarker"),
        })
    }
}

impl BlobItem {
    fn write(&self, xml: &mut Document) {
        xml.open("Blob");
        xml.name("Name", &self.name);
        self.properties.write_xml(xml);
        if let Some(metadata) = &self.metadata {
            write_metadata(metadata, xml);
        }
        if let Some(tags) = &self.tags {
            xml.open("Tags");
            write_set(tags, xml);
            xml.close("Tags");
        }
        xml.empty("OrMetadata");
        xml.close("Blob");
    }
}
