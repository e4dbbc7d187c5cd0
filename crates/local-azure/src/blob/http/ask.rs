//! An authorized request with parsed and checked headers and query.

use super::answer::{Refusal, invalid_md5, not_here, refuse};
use crate::{
    blob::{
        Inner,
        address::Address,
        authorize::Rights,
        store::{ContentHeaders, Described, Kind},
        sums::is_md5,
    },
    reception::Spelling,
};
use dropmill_azure_wire::{
    blob::{Metadata, header as name, is_valid_metadata_name, limit},
    uri,
};
use http::HeaderMap;
use std::{net::IpAddr, sync::Arc};

/// The context of a request.
pub struct Ask<'a> {
    /// The service that handles it.
    pub inner: &'a Arc<Inner>,
    /// Headers of the request.
    pub headers: &'a HeaderMap,
    /// Query as it was sent.
    pub query: &'a str,
    /// Spelling of its metadata names, if it arrived over a socket.
    pub spelling: Option<&'a Spelling>,
    /// The resource that its path names.
    pub address: &'a Address,
    /// Rights of the client.
    pub rights: Rights,
    /// Address of the client.
    pub from: IpAddr,
}

/// Headers that change the meaning of a request and that this service does not support: ignoring them
/// silently would be wrong.
const NOT_OBEYED: &[&str] = &[
    "x-ms-encryption-key",
    "x-ms-encryption-scope",
    "x-ms-if-tags",
    "x-ms-source-if-tags",
    "x-ms-structured-body",
    "x-ms-immutability-policy-until-date",
    "x-ms-legal-hold",
    "x-ms-seal-blob",
];

impl Ask<'_> {
    /// Rejects a request with unsupported parts.
    ///
    /// # Errors
    /// Returns an error that names the unsupported part.
    pub fn check(&self) -> Result<(), Refusal> {
        if let Some(header) = NOT_OBEYED.iter().find(|header| self.headers.contains_key(**header)) {
            return Err(not_here(&format!("the header {header}")));
        }
        let of_blocks = ["block", "appendblock"].contains(&&*self.value("comp"));
        if self.headers.contains_key("x-ms-source-range") && !of_blocks {
            return Err(not_here("the header x-ms-source-range"));
        }
        if !self.value("snapshot").is_empty() || !self.value("versionid").is_empty() {
            // There are no snapshots, so none with this name.
            return Err(refuse(
                404,
                "BlobNotFound",
                "The specified blob does not exist: no snapshots or versions here.",
            ));
        }
        Ok(())
    }

    /// Returns a header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns a decoded value of the query; empty if it is missing.
    pub fn value(&self, name: &str) -> String {
        uri::value(self.query, name).unwrap_or_default().into_owned()
    }

    /// Returns the requested page size.
    ///
    /// # Errors
    /// Fails if it is not a number, or 0.
    pub fn page_size(&self) -> Result<usize, Refusal> {
        match (self.value("maxresults").as_str(), limit::PAGE as usize) {
            ("", most) => Ok(most),
            (text, most) => match text.parse::<usize>() {
                Err(_) => Err(refuse(
                    400,
                    "InvalidQueryParameterValue",
                    "Value for one of the query parameters specified in the request URI is invalid: maxresults.",
                )),
                Ok(0) => Err(refuse(
                    400,
                    "OutOfRangeQueryParameterValue",
                    "One of the query parameters specified in the request URI is outside the permissible range: \
                     maxresults.",
                )),
                Ok(size) => Ok(size.min(most)),
            },
        }
    }

    /// Returns `maxresults` as responses repeat it.
    pub fn asked_size(&self) -> Option<u32> {
        self.value("maxresults").parse().ok()
    }

    /// Returns the metadata to store.
    ///
    /// # Errors
    /// Fails if it is invalid.
    pub fn metadata(&self) -> Result<Metadata, Refusal> {
        let mut metadata = Metadata::new();
        for header in self.headers.keys().filter(|header| header.as_str().starts_with(name::METADATA_PREFIX))
        {
            let spelled = self.spelling.map_or(header.as_str(), |spelling| spelling.spell(header.as_str()));
            // As in Azure: if a name occurs more than once, in any case, its values are joined.
            let values = self.headers.get_all(header).iter();
            let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            metadata.insert(spelled.split_at(name::METADATA_PREFIX.len()).1.to_owned(), values.join(","));
        }
        if let Some(name) = metadata.keys().find(|name| !is_valid_metadata_name(name)) {
            let words = format!(
                "The metadata specified is invalid. It has characters that are not permitted: {name:?}."
            );
            return Err(refuse(400, "InvalidMetadata", &words));
        }
        let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > limit::METADATA_BYTES {
            let words = "The specified metadata exceeds the maximum size permitted (8K).";
            return Err(refuse(400, "MetadataTooLarge", words));
        }
        Ok(metadata)
    }

    /// Returns the blob properties of a put; `plain` headers count if the `x-ms-blob-` one is missing.
    ///
    /// # Errors
    /// Fails if a property is invalid.
    pub fn described(&self, plain: bool) -> Result<Described, Refusal> {
        let either = |own: &str, other: &str| {
            let other = || self.header(other).filter(|_| plain);
            self.header(own).or_else(other).filter(|text| !text.is_empty()).map(Into::into)
        };
        let md5 = self.header(name::BLOB_CONTENT_MD5).filter(|text| !text.is_empty());
        if md5.is_some_and(|md5| !is_md5(md5)) {
            return Err(invalid_md5());
        }
        let headers = ContentHeaders {
            content_type: either(name::BLOB_CONTENT_TYPE, "content-type"),
            encoding: either(name::BLOB_CONTENT_ENCODING, "content-encoding"),
            language: either(name::BLOB_CONTENT_LANGUAGE, "content-language"),
            disposition: either(name::BLOB_CONTENT_DISPOSITION, "content-disposition"),
            cache_control: either(name::BLOB_CACHE_CONTROL, "cache-control"),
            md5: md5.map(Into::into),
        };
        let (metadata, tier, tags) = (self.metadata()?, self.tier()?, self.tags()?);
        Ok(Described { headers, metadata, tier, tags, copied: None, kind: Kind::Block })
    }

    /// Returns the requested tier.
    ///
    /// # Errors
    /// Fails if it is invalid, or if its blobs could not be read.
    pub fn tier(&self) -> Result<Option<Box<str>>, Refusal> {
        match self.header(name::ACCESS_TIER) {
            None => Ok(None),
            Some(tier @ ("Hot" | "Cool" | "Cold")) => Ok(Some(tier.into())),
            Some("Archive") => Err(not_here("the tier Archive")),
            Some(other) => Err(refuse(
                400,
                "InvalidHeaderValue",
                &format!(
                    "The value for one of the HTTP headers is not in the correct format: {other:?} is no tier."
                ),
            )),
        }
    }
}
