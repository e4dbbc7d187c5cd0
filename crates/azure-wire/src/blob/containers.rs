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
    /// URL of the account, with a trailing slash.
    pub service_endpoint: String,
    /// Prefix of the listed names.
    pub prefix: Option<String>,
    /// Marker with which this page was requested.
    pub marker: Option<String>,
    /// Page size that the request asked for.
    pub max_results: Option<u32>,
    /// Containers, sorted by name.
    pub containers: Vec<ContainerItem>,
    /// Marker of the next page, of characters that XML can represent; `None` on the last page.
    pub next_marker: Option<String>,
}

/// A container in a list response.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerItem {
    /// Name of the container.
    pub name: String,
    /// Time of the last change of the container itself, not of its blobs.
    pub last_modified: Timestamp,
    /// Entity tag, which changes with every update.
    pub etag: ETag,
    /// Lease status: `unlocked` or `locked`.
    pub lease_status: Option<String>,
    /// Lease state: `available`, `leased`, ….
    pub lease_state: Option<String>,
    /// `infinite` or `fixed` while leased, else `None`.
    pub lease_duration: Option<String>,
    /// Metadata, if the request included it.
    pub metadata: Option<Metadata>,
}

impl ContainerList {
    /// Returns the page as a response body.
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

    /// Parses the response body.
    ///
    /// # Errors
    /// Fails if the body is not a list of containers, or a container has no name, Etag or Last-Modified.
    pub fn read(body: &[u8]) -> Result<Self, BadXml> {
        let root = Element::read(body, ROOT)?;
        let bad = |reason: &str| BadXml { root: ROOT, reason: reason.into() };
        let containers = root.child("Containers").ok_or_else(|| bad("<Containers> is missing"))?;
        let item = |element: &Element<'_>| {
            let properties = element.child("Properties")?;
            let text = |name: &str| properties.leaf(name).map(str::to_owned);
            Some(ContainerItem {
                name: element.leaf("Name")?.into(),
                last_modified: parse_http_date(properties.leaf("Last-Modified")?)?,
                etag: properties.leaf("Etag").and_then(ETag::from_text)?,
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
            containers: items.ok_or_else(|| bad("a container has no name, Etag or Last-Modified"))?,
            next_marker: text("NextMarker"),
        })
    }
}
