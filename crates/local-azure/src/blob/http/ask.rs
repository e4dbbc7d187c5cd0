//! One request whose sender is known: its headers and query, read and checked.

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

/// A request.
pub struct Ask<'a> {
    /// The service.
    pub inner: &'a Arc<Inner>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its query as sent.
    pub query: &'a str,
    /// How the names of its metadata are spelled, if it came over a socket.
    pub spelling: Option<&'a Spelling>,
    /// What its path names.
    pub address: &'a Address,
    /// What its sender may do.
    pub rights: Rights,
    /// Where it came from.
    pub from: IpAddr,
}

/// Headers that change what a request means and that this service does not obey: to ignore them would be wrong in
/// silence.
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
    /// Refuses what this service would misunderstand.
    ///
    /// # Errors
    /// Naming it.
    pub fn check(&self) -> Result<(), Refusal> {
        if let Some(header) = NOT_OBEYED.iter().find(|header| self.headers.contains_key(**header)) {
            return Err(not_here(&format!("the header {header}")));
        }
        let of_blocks = ["block", "appendblock"].contains(&&*self.value("comp"));
        if self.headers.contains_key("x-ms-source-range") && !of_blocks {
            return Err(not_here("the header x-ms-source-range"));
        }
        if !self.value("snapshot").is_empty() || !self.value("versionid").is_empty() {
            // There are none, so none of this name.
            return Err(refuse(
                404,
                "BlobNotFound",
                "The specified blob does not exist: no snapshots or versions here.",
            ));
        }
        Ok(())
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A value of the query, decoded; empty if it is not there.
    pub fn value(&self, name: &str) -> String {
        uri::value(self.query, name).unwrap_or_default().into_owned()
    }

    /// Entries of a page that are asked for.
    ///
    /// # Errors
    /// When that is no number, or 0.
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

    /// `maxresults` as answers repeat it.
    pub fn asked_size(&self) -> Option<u32> {
        self.value("maxresults").parse().ok()
    }

    /// The metadata to keep.
    ///
    /// # Errors
    /// When it may not be such.
    pub fn metadata(&self) -> Result<Metadata, Refusal> {
        let mut metadata = Metadata::new();
        for header in self.headers.keys().filter(|header| header.as_str().starts_with(name::METADATA_PREFIX))
        {
            let spelled = self.spelling.map_or(header.as_str(), |spelling| spelling.spell(header.as_str()));
            // As Azure does: of a name that is given more than once, whatever its case, the values are joined.
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

    /// What the headers of a put say of the blob; `plain` ones count where no `x-ms-blob-` one is given.
    ///
    /// # Errors
    /// When something may not be kept.
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

    /// The tier that is asked for.
    ///
    /// # Errors
    /// When it is none, or one whose blobs cannot be read.
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
