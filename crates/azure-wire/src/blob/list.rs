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
    /// URL of the account, with a slash at its end.
    pub service_endpoint: String,
    /// The container.
    pub container: String,
    /// Only names that begin so.
    pub prefix: Option<String>,
    /// Where this page began.
    pub marker: Option<String>,
    /// The longest page that was asked for.
    pub max_results: Option<u32>,
    /// Names are cut after this.
    pub delimiter: Option<String>,
    /// Blobs and prefixes, in the order of names.
    pub entries: Vec<Entry>,
    /// Where the next page begins, in characters that XML can hold; none: this was the last.
    pub next_marker: Option<String>,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A blob.
    Blob(Box<BlobItem>),
    /// What blobs with longer names have in common, up to the delimiter.
    Prefix(String),
}

/// A blob in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct BlobItem {
    /// Its name; may hold any character.
    pub name: String,
    /// Its properties.
    pub properties: BlobProperties,
    /// Its metadata, if it was asked for.
    pub metadata: Option<Metadata>,
    /// Its tags, if they were asked for.
    pub tags: Option<Tags>,
}

impl From<BlobItem> for Entry {
    fn from(blob: BlobItem) -> Self {
        Self::Blob(Box::new(blob))
    }
}

impl BlobList {
    /// The blobs of the page.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobItem> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Blob(blob) => Some(&**blob),
            Entry::Prefix(_) => None,
        })
    }

    /// The page as the body of an answer.
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

    /// Reads the body of an answer.
    ///
    /// # Errors
    /// When it is not such a list, or a blob lacks its name, Etag or Last-Modified.
    pub fn read(body: &[u8]) -> Result<Self, BadXml> {
        let root = Element::read(body, ROOT)?;
        let bad = |reason: &str| BadXml { of: ROOT, reason: reason.into() };
        let blobs = root.child("Blobs").ok_or_else(|| bad("there is no <Blobs>"))?;
        let mut entries = Vec::with_capacity(blobs.children().len());
        for element in blobs.children() {
            let name =
                || element.child("Name").map(Element::as_name).ok_or_else(|| bad("an entry without <Name>"));
            match element.name() {
                "Blob" => entries.push(Entry::from(BlobItem {
                    name: name()?,
                    properties: element
                        .child("Properties")
                        .and_then(BlobProperties::from_xml)
                        .ok_or_else(|| bad("a blob without Etag or Last-Modified"))?,
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
