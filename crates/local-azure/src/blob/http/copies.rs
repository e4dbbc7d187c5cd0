//! Blobs and blocks made of other blobs of the same account.

use super::{
    Answered,
    answer::{Refusal, put, refuse, written},
    ask::Ask,
    conditions::Conditions,
    outflow::body_of,
    ranges::{self, Range},
};
use crate::blob::{
    address::{Address, inside_url},
    authorize::{Rights, sas_rights},
    store::{Blob, BlobFacts, Copied, Incoming, Kind, Refused},
};
use axum::{body::Body, response::Response};
use dropmill_azure_wire::{blob::header as name, sas::Action, secret::without_query};
use http::{HeaderMap, HeaderName, StatusCode, header};
use std::sync::Arc;

impl Ask<'_> {
    /// Copies within the account, at once: both blobs share their bytes. With a type of blob it is a put whose body
    /// is another blob's, and no copy that the new blob would tell of.
    pub(super) async fn copy_blob(&self) -> Answered {
        let is_put = self.headers.contains_key(name::BLOB_TYPE);
        if self.header(name::BLOB_TYPE).is_some_and(|kind| kind != "BlockBlob") {
            return Err(refuse(400, "InvalidHeaderValue", "Only block blobs are put from a URL."));
        }
        let (source, found) = self.found_source().await?;
        let mut described = self.described(false)?;
        // A copy is of its source's kind, a put of the kind it names.
        described.kind = if is_put { Kind::Block } else { found.facts.kind };
        let keeps = |text: &str| text.eq_ignore_ascii_case("false");
        if !self.header("x-ms-copy-source-blob-properties").is_some_and(keeps) {
            described.headers = found.facts.headers.clone();
        }
        if described.metadata.is_empty() {
            described.metadata = found.facts.metadata.clone();
        }
        let copies = |text: &str| text.eq_ignore_ascii_case("copy");
        if self.header("x-ms-copy-source-tag-option").is_some_and(copies) {
            described.tags = found.facts.tags.clone();
        }
        let at = self.inner.clock.now();
        let id = format!("{:032x}", at.as_nanosecond().unsigned_abs());
        described.copied = (!is_put).then(|| Box::new(Copied { id: id.clone(), source, at }));
        let (may, kind, Address { container, blob }) = (self.allow()?, described.kind, self.address);
        let allow = |old: Option<&BlobFacts>| {
            may(old)?;
            let other = old.is_some_and(|old| !is_put && old.kind != kind);
            if other { Err(Refused::OtherKind) } else { Ok(()) }
        };
        let bytes = Incoming::Of(found.body.clone());
        let copy = self.inner.store.put_blob(container, blob, bytes, described, &allow).told().await?;
        if is_put {
            return Ok(written(StatusCode::CREATED, &copy));
        }
        let mut answer: Response = written(StatusCode::ACCEPTED, &copy);
        answer.headers_mut().remove(HeaderName::from_static(name::REQUEST_SERVER_ENCRYPTED));
        put(&mut answer, name::COPY_ID, &id);
        put(&mut answer, name::COPY_STATUS, "success");
        Ok(answer)
    }

    /// A block whose bytes are part of another blob: taken in as if they had been sent.
    pub(super) async fn put_block_from_url(&self) -> Answered {
        let (headers, mut body) = self.sourced().await?;
        self.put_block_of(&headers, &mut body).await
    }

    /// The part of another blob that the request names, as a body with headers of its own.
    pub(super) async fn sourced(&self) -> Result<(HeaderMap, Body), Refusal> {
        let (_, found) = self.found_source().await?;
        let length = found.length();
        let range = match self.header("x-ms-source-range").map(|text| ranges::parse(text, length)) {
            None => Range { from: 0, length },
            Some(Some(Some(range))) => range,
            Some(_) => {
                let words = "The range specified is invalid for the current size of the source.";
                return Err(refuse(416, "InvalidRange", words));
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, range.length.into());
        for (given, as_sent) in
            [("x-ms-source-content-md5", "content-md5"), ("x-ms-source-content-crc64", name::CONTENT_CRC64)]
        {
            headers
                .extend(self.headers.get(given).map(|sum| (HeaderName::from_static(as_sent), sum.clone())));
        }
        let body = body_of(self.inner.store.read(&found.body, range.from, range.length)).await?;
        Ok((headers, body))
    }

    /// The blob that the request names as its source, and its URL without what is secret in it.
    async fn found_source(&self) -> Result<(String, Arc<Blob>), Refusal> {
        let source = self.header(name::COPY_SOURCE).unwrap_or_default();
        let (from, query) = self.source(source)?;
        from.check()?;
        if let Rights::Sas(_) = self.rights {
            sas_rights(self.inner, query, &from, Action::ReadBlob, self.from)?;
        }
        let of_source = Conditions::of_source(self.headers)?;
        let lease = self.lease_named_by(name::SOURCE_LEASE_ID)?;
        let found = self.inner.store.blob(&from.container, &from.blob).told().await?;
        lease.allow_read(Some(&found.facts))?;
        if of_source.allow_read(&found.facts).is_err() {
            let words = "The source condition specified using HTTP conditional header(s) is not met.";
            return Err(refuse(412, "SourceConditionNotMet", words));
        }
        Ok((without_query(source).to_owned(), found))
    }

    /// What a source's URL names, and its query. It is ours if it begins as our endpoint does, or as the address does
    /// that this very request was sent to.
    fn source<'u>(&self, url: &'u str) -> Result<(Address, &'u str), Refusal> {
        let words = "The copy source is not a blob of this service: copies from elsewhere are not supported.";
        let foreign = || refuse(404, "CannotVerifyCopySource", words);
        let (endpoint, account) = (self.inner.endpoint.as_str(), self.inner.key.account());
        let host = self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let scheme = endpoint.split_once("://").map_or("http", |(scheme, _)| scheme);
        let reached = host.map(|host| format!("{scheme}://{host}/{account}"));
        let mut bases = std::iter::once(endpoint).chain(reached.as_deref());
        let inside = bases.find_map(|base| inside_url(base, account, url)).ok_or_else(foreign)?;
        let (path, query) = inside.split_once('?').unwrap_or((inside, ""));
        let address = Address::read(path)?;
        if address.blob.is_empty() { Err(foreign()) } else { Ok((address, query)) }
    }
}
