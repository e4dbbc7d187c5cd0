//! Blobs and blocks copied from other blobs of the same account.

use super::{
    Answered,
    answer::{Refusal, no_such_range, of_source, put, refuse, written},
    ask::Ask,
    conditions::Conditions,
    outflow::body_of,
    ranges::{self, Range},
    resource::{self, Resource},
};
use crate::blob::{
    address::{Address, inside_source},
    authorize::{Rights, sas_rights},
    store::{Blob, BlobFacts, Copied, Incoming, Kind, Refused},
};
use axum::{body::Body, response::Response};
use dropmill_azure_wire::{
    blob::header as name,
    sas::{self, Action},
    secret::without_query,
    uri,
};
use http::{HeaderMap, HeaderName, StatusCode, header};
use std::sync::Arc;

impl Ask<'_> {
    /// Copies within the account, at once: both blobs share their bytes. With a blob type it is a put with
    /// the body of another blob, and the new blob has no copy properties.
    pub(super) async fn copy_blob(&self) -> Answered {
        let is_put = self.headers.contains_key(name::BLOB_TYPE);
        if self.header(name::BLOB_TYPE).is_some_and(|kind| kind != "BlockBlob") {
            return Err(refuse(400, "InvalidHeaderValue", "Only block blobs are put from a URL."));
        }
        let is_sync = self.header(name::REQUIRES_SYNC).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let copies_tags = self.copies_tags()?;
        let access = if is_put || is_sync { Access::OfUrl } else { Access::OfRequest };
        let (source, found) = self.found_source(access, copies_tags).await?;
        let mut described = self.described(false)?;
        // A copy has the kind of its source, a put the requested kind.
        described.kind = if is_put { Kind::Block } else { found.facts.kind };
        let keeps = |text: &str| text.eq_ignore_ascii_case("false");
        if !self.header("x-ms-copy-source-blob-properties").is_some_and(keeps) {
            described.headers = found.facts.headers.clone();
        }
        if described.metadata.is_empty() {
            described.metadata = found.facts.metadata.to_metadata();
        }
        if copies_tags {
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
        let copy = self.inner.store.put_blob(container, blob, bytes, described, &allow).durable().await?;
        if is_put {
            return Ok(written(StatusCode::CREATED, &copy));
        }
        let mut answer: Response = written(StatusCode::ACCEPTED, &copy);
        answer.headers_mut().remove(HeaderName::from_static(name::REQUEST_SERVER_ENCRYPTED));
        put(&mut answer, name::COPY_ID, &id);
        put(&mut answer, name::COPY_STATUS, "success");
        Ok(answer)
    }

    /// Rejects Abort Copy Blob: a copy is complete when its request is answered, so none is ever pending.
    pub(super) async fn abort_copy(&self) -> Answered {
        if !self.header("x-ms-copy-action").is_some_and(|action| action.eq_ignore_ascii_case("abort")) {
            let message =
                "An HTTP header that's mandatory for this request is not specified: x-ms-copy-action: abort.";
            return Err(refuse(400, "MissingRequiredHeader", message));
        }
        if self.value("copyid").is_empty() {
            let message = "A query parameter that's mandatory for this request is not specified: copyid.";
            return Err(refuse(400, "MissingRequiredQueryParameter", message));
        }
        self.inner.store.blob(&self.address.container, &self.address.blob).durable().await?;
        Err(refuse(409, "NoPendingCopyOperation", "There is currently no pending copy operation."))
    }

    /// Stores a block with the bytes of a part of another blob, as if they had been sent.
    pub(super) async fn put_block_from_url(&self) -> Answered {
        let (headers, mut body) = self.sourced().await?;
        self.put_block_of(&headers, &mut body).await
    }

    /// Returns the part of another blob that the request names, as a body with its own headers.
    pub(super) async fn sourced(&self) -> Result<(HeaderMap, Body), Refusal> {
        let (_, found) = self.found_source(Access::OfUrl, false).await?;
        let length = found.length();
        let range = match self.header("x-ms-source-range").map(|text| ranges::parse(text, length)) {
            None => Range { from: 0, length },
            Some(Some(Some(range))) => range,
            Some(Some(None)) => return Err(of_source(no_such_range(length))),
            Some(None) => {
                let words =
                    "The value for one of the HTTP headers is not in the correct format: x-ms-source-range.";
                return Err(refuse(400, "InvalidHeaderValue", words));
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

    /// Returns whether the copy gets the source's tags.
    ///
    /// # Errors
    /// Returns 409 if the request also has its own tags, 400 if the option is invalid.
    fn copies_tags(&self) -> Result<bool, Refusal> {
        let option = self.header("x-ms-copy-source-tag-option").unwrap_or("REPLACE");
        if option.eq_ignore_ascii_case("replace") {
            return Ok(false);
        }
        if !option.eq_ignore_ascii_case("copy") {
            let words = "The value for one of the HTTP headers is not in the correct format: x-ms-copy-source-tag-option.";
            return Err(refuse(400, "InvalidHeaderValue", words));
        }
        if self.headers.contains_key(name::TAGS) {
            let words = "x-ms-tags must not be given when x-ms-copy-source-tag-option is COPY.";
            return Err(refuse(409, "BothUserTagsAndSourceTagsCopyPresentException", words));
        }
        self.rights.check_tags()?;
        Ok(true)
    }

    /// Returns the blob that the request names as its source, and its URL without secrets.
    async fn found_source(&self, access: Access, with_tags: bool) -> Result<(String, Arc<Blob>), Refusal> {
        let source = self.header(name::COPY_SOURCE).unwrap_or_default();
        let (from, query) = self.source(source)?;
        from.check().map_err(|bad| of_source(bad.into()))?;
        let rights = self.rights_to_source(access, query, &from).map_err(of_source)?;
        if with_tags {
            rights.check_tags().map_err(of_source)?;
        }
        let of_conditions = Conditions::of_source(self.headers)?;
        let lease = self.lease_named_by(name::SOURCE_LEASE_ID)?;
        let found = self.inner.store.blob(&from.container, &from.blob).durable().await;
        let found = found.map_err(|refused| match (access, refused) {
            (Access::OfRequest, Refused::NoBlob) => Refused::NoBlob.into(),
            (_, refused) => of_source(refused.into()),
        })?;
        lease.allow_read(Some(&found.facts))?;
        if of_conditions.allow_read(&found.facts).is_err() {
            let words = "The source condition specified using HTTP conditional header(s) is not met.";
            return Err(refuse(412, "SourceConditionNotMet", words));
        }
        Ok((without_query(source).to_owned(), found))
    }

    /// Returns the rights to the source, if it may be read: as for a request with the query of its URL.
    fn rights_to_source(&self, access: Access, query: &str, from: &Address) -> Result<Rights, Refusal> {
        let value = |name| uri::value(query, name).unwrap_or_default();
        if !value("snapshot").is_empty() || !value("versionid").is_empty() {
            return Err(Refused::NoBlob.into());
        }
        match (access, self.rights) {
            (Access::OfRequest, Rights::Owner) => Ok(Rights::Owner),
            _ if sas::is_present(query) => {
                // Tools that build a URL from the account's name use HTTPS, and so does its SAS.
                let https = self.inner.https
                    || self.header(name::COPY_SOURCE).is_some_and(|url| url.starts_with("https://"));
                sas_rights(self.inner, query, from, Action::ReadBlob, self.from, https)
            }
            _ => Err(refuse(
                401,
                "NoAuthenticationInformation",
                "Server failed to authenticate the request: the URL of the source has no SAS that allows to read it.",
            )),
        }
    }

    /// Returns what a source's URL names, and its query. It belongs to this service if it begins with the
    /// endpoint or with the address of this request, or if its host is `ACCOUNT.blob.SUFFIX`.
    fn source<'u>(&self, url: &'u str) -> Result<(Address, &'u str), Refusal> {
        let words = "The copy source is not a blob of this service: copies from elsewhere are not supported.";
        let foreign = || refuse(404, "CannotVerifyCopySource", words);
        let (endpoint, account) = (self.inner.endpoint.as_str(), self.inner.key.account());
        let host = self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let scheme = endpoint.split_once("://").map_or("http", |(scheme, _)| scheme);
        let reached = host.map(|host| format!("{scheme}://{host}/{account}"));
        let mut bases = std::iter::once(endpoint).chain(reached.as_deref());
        let inside = bases.find_map(|base| inside_source(base, account, url)).ok_or_else(foreign)?;
        let (path, query) = inside.split_once('?').unwrap_or((inside, ""));
        let address = Address::read(path).map_err(|bad| of_source(bad.into()))?;
        match resource::named(path, "") {
            Ok(Resource::Blob) => Ok((address, query)),
            Ok(Resource::BlobOfRoot) => Ok((resource::in_root(address), query)),
            _ => Err(foreign()),
        }
    }
}

/// The rights with which an operation reads its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The rights of the request itself if it is signed with the account's key, otherwise those of the SAS in
    /// the source's URL: Copy Blob.
    OfRequest,
    /// The rights of the SAS in the source's URL, for every client: all synchronous operations.
    OfUrl,
}
