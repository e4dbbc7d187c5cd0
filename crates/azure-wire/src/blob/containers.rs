//! A page of the list of an account's containers.

use super::{
    BadXml, Metadata,
    properties::{read_metadata, write_metadata},
};
use crate::{
    etag::ETag,
    time::{Timestamp, http_date, parse_http_date},
    xml::{Document, Element},
};

const ROOT: &str = "EnumerationResults";

/// A page of the list of an account's containers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerList {
    /// URL of the account, with a slash at its end.
    pub service_endpoint: String,
    /// Only names that begin so.
    pub prefix: Option<String>,
    /// Where this page began.
    pub marker: Option<String>,
    /// The longest page that was asked for.
    pub max_results: Option<u32>,
    /// The containers, in the order of names.
    pub containers: Vec<ContainerItem>,
    /// Where the next page begins, in characters that XML can hold; none: this was the last.
    pub next_marker: Option<String>,
}

/// A container in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerItem {
    /// Its name.
    pub name: String,
    /// When it changed last (its blobs do not count).
    pub last_modified: Timestamp,
    /// Changes with every change.
    pub etag: ETag,
    /// `unlocked` or `locked`.
    pub lease_status: Option<String>,
    /// `available`, `leased`, ….
    pub lease_state: Option<String>,
    /// `infinite` or `fixed`, while it is leased.
    pub lease_duration: Option<String>,
    /// Its metadata, if it was asked for.
    pub metadata: Option<Metadata>,
}

impl ContainerList {
    /// The page as the body of an answer.
    pub fn write(&self) -> String {
        let mut xml = Document::new(ROOT, &[("ServiceEndpoint", &self.service_endpoint)]);
        xml.leaf_if("Prefix", self.prefix.as_ref());
        xml.leaf_if("Marker", self.marker.as_ref());
        xml.leaf_if("MaxResults", self.max_results.map(|max| max.to_string()));
        xml.open("Containers");
        for container in &self.containers {
            xml.open("Container");
            xml.leaf("Name", &container.name);
            xml.open("Properties");
            xml.leaf("Last-Modified", &http_date(container.last_modified));
            xml.leaf("Etag", &container.etag.quoted());
            xml.leaf_if("LeaseStatus", container.lease_status.as_ref());
            xml.leaf_if("LeaseState", container.lease_state.as_ref());
            xml.leaf_if("LeaseDuration", container.lease_duration.as_ref());
            xml.leaf("HasImmutabilityPolicy", "false");
            xml.leaf("HasLegalHold", "false");
            xml.close("Properties");
            if let Some(metadata) = &container.metadata {
                write_metadata(metadata, &mut xml);
            }
            xml.close("Container");
        }
        xml.close("Containers");
        match &self.next_marker {
            Some(marker) => xml.leaf("NextMarker", marker),
            None => xml.empty("NextMarker"),
        }
        xml.end(ROOT)
    }

    /// Reads the body of an answer.
    ///
    /// # Errors
    /// When it is not such a list, or a container lacks its name, Etag or Last-Modified.
    pub fn read(body: &[u8]) -> Result<Self, BadXml> {
        let root = Element::read(body, ROOT)?;
        let bad = |reason: &str| BadXml { of: ROOT, reason: reason.into() };
        let containers = root.child("Containers").ok_or_else(|| bad("there is no <Containers>"))?;
        let item = |element: &Element<'_>| {
            let properties = element.child("Properties")?;
            let text = |name: &str| properties.leaf(name).map(str::to_owned);
            Some(ContainerItem {
                name: element.leaf("Name")?.into(),
                last_modified: parse_http_date(properties.leaf("Last-Modified")?)?,
                etag: properties.leaf("Etag").and_then(ETag::told)?,
                lease_status: text("LeaseStatus"),
                lease_state: text("LeaseState"),
                lease_duration: text("LeaseDuration"),
                metadata: element.child("Metadata").map(read_metadata),
            })
        };
        let items = containers.children().iter().filter(|element| element.name() == "Container");
        let items: Option<Vec<_>> = items.map(item).collect();
        let text = |name: &str| root.leaf(name).map(str::to_owned);
        Ok(Self {
            service_endpoint: root.attribute("ServiceEndpoint").unwrap_or_default(),
            prefix: text("Prefix"),
            marker: text("Marker"),
            max_results: root.parse("MaxResults"),
            containers: items.ok_or_else(|| bad("a container without name, Etag or Last-Modified"))?,
            next_marker: text("NextMarker"),
        })
    }
}
