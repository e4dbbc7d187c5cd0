//! Writes of blobs: at once or in blocks; their properties; their deletion.

use super::{
    Answered,
    answer::{Refusal, empty, mismatch, not_here, put, refuse, written},
    ask::Ask,
    conditions::Conditions,
    intake::{declared, given_md5, no_content, small, take_in},
};
use crate::blob::{
    address::Address,
    store::{BlobFacts, Condition, Kind, Refused},
    sums::{Sums, md5_of},
};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use dropmill_azure_wire::blob::{header as name, limit, read_block_choices};
use http::{HeaderMap, StatusCode};

/// Longest XML that is read: 50,000 blocks with the longest ids have 7 MB.
const LONGEST_XML: usize = 8 << 20;

impl Ask<'_> {
    /// Checks whether a write is allowed: as a change, and by its SAS, which may allow new blobs only.
    pub(super) fn allow(
        &self,
    ) -> Result<impl Fn(Option<&BlobFacts>) -> Result<(), Refused> + use<>, Refusal> {
        let (change, may_replace) = (self.allow_change()?, self.rights.may_replace());
        Ok(move |found: Option<&BlobFacts>| {
            change(found)?;
            if found.is_some() && !may_replace { Err(Refused::NotReplaceable) } else { Ok(()) }
        })
    }

    /// Checks whether a change is allowed: by the request's conditions, and by the lease.
    pub(super) fn allow_change(
        &self,
    ) -> Result<impl Fn(Option<&BlobFacts>) -> Result<(), Refused> + use<>, Refusal> {
        let (conditions, lease) = (Conditions::of(self.headers)?, self.named_lease()?);
        Ok(move |found: Option<&BlobFacts>| {
            conditions.allow_write(found)?;
            lease.allow_write(found)
        })
    }

    /// Rejects a request before its body arrives, if it would be rejected afterwards.
    pub(super) async fn foresee(&self, condition: Condition<'_>) -> Result<(), Refusal> {
        match self.inner.store.blob(&self.address.container, &self.address.blob).durable().await {
            Ok(blob) => Ok(condition(Some(&blob.facts))?),
            Err(Refused::NoBlob) => Ok(condition(None)?),
            Err(refused) => Err(refused.into()),
        }
    }

    pub(super) async fn put_blob(&self, body: &mut Body) -> Answered {
        match self.header(name::BLOB_TYPE) {
            Some("BlockBlob") => {}
            Some("AppendBlob") => return self.create_append_blob().await,
            Some("PageBlob") => return Err(not_here("page blobs")),
            Some(other) => {
                let words =
                    format!("The value for one of the HTTP headers is not in the correct format: {other:?}.");
                return Err(refuse(400, "InvalidHeaderValue", &words));
            }
            None => {
                let words =
                    "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type.";
                return Err(refuse(400, "MissingRequiredHeader", words));
            }
        }
        let allow = self.allow()?;
        let mut described = self.described(true)?;
        self.foresee(&allow).await?;
        let store = &self.inner.store;
        let sums = Sums::wanting(true, self.headers.contains_key(name::CONTENT_CRC64));
        let taken = take_in(store, self.headers, body, limit::PUT_BLOB_BYTES, sums).await?;
        if described.headers.md5.is_none() {
            described.headers.md5 = taken.sums.md5.as_deref().map(Into::into);
        }
        let Address { container, blob } = self.address;
        let blob = store.put_blob(container, blob, taken.bytes, described, &allow).durable().await?;
        let mut answer = written(StatusCode::CREATED, &blob);
        taken.sums.md5.iter().for_each(|md5| put(&mut answer, "content-md5", md5));
        taken.sums.crc64.iter().for_each(|crc64| put(&mut answer, name::CONTENT_CRC64, crc64));
        Ok(answer)
    }

    pub(super) async fn put_block(&self, body: &mut Body) -> Answered {
        self.put_block_of(self.headers, body).await
    }

    /// Stores a block from a body with these headers: those of the request, or generated ones for a part of
    /// another blob.
    pub(super) async fn put_block_of(&self, headers: &HeaderMap, body: &mut Body) -> Answered {
        let block = self.value("blockid");
        let id = STANDARD.decode(&block).unwrap_or_default();
        if id.is_empty() || id.len() > limit::BLOCK_ID_BYTES {
            let words =
                "The specified block ID is invalid. The block ID must be Base64-encoded, of 1 to 64 bytes.";
            return Err(refuse(400, "InvalidQueryParameterValue", words));
        }
        if declared(headers)? == 0 {
            return Err(no_content());
        }
        let (store, lease) = (&self.inner.store, self.named_lease()?);
        let allow = |found: Option<&BlobFacts>| lease.allow_write(found);
        self.foresee(&allow).await?;
        // As in Azure: the response has one checksum, the MD5 if it was sent. Computing it costs four times
        // as much as the other.
        let md5 = headers.contains_key("content-md5");
        let sums = Sums::wanting(md5, !md5 || headers.contains_key(name::CONTENT_CRC64));
        let taken = take_in(store, headers, body, limit::BLOCK_BYTES, sums).await?;
        let Address { container, blob } = self.address;
        store.put_block(container, blob, &block, taken.bytes, &allow).durable().await?;
        let mut answer = empty(StatusCode::CREATED);
        taken.sums.md5.iter().for_each(|md5| put(&mut answer, "content-md5", md5));
        taken.sums.crc64.iter().for_each(|crc64| put(&mut answer, name::CONTENT_CRC64, crc64));
        put(&mut answer, name::REQUEST_SERVER_ENCRYPTED, "true");
        Ok(answer)
    }

    pub(super) async fn put_block_list(&self, body: &mut Body) -> Answered {
        let (allow, described) = (self.allow()?, self.described(false)?);
        let (_, md5) = (declared(self.headers)?, given_md5(self.headers)?);
        let body = small(body, LONGEST_XML).await?;
        if md5.is_some_and(|given| given != md5_of(&body)) {
            return Err(mismatch("MD5"));
        }
        let choices = read_block_choices(&body).map_err(|error| {
            refuse(
                400,
                "InvalidXmlDocument",
                &format!("The specified XML is not syntactically valid: {error}."),
            )
        })?;
        if choices.len() > limit::BLOCKS {
            let words = "The block list may not contain more than 50,000 blocks.";
            return Err(refuse(400, "BlockListTooLong", words));
        }
        let Address { container, blob } = self.address;
        let put = self.inner.store.put_block_list(container, blob, &choices, described, &allow);
        Ok(written(StatusCode::CREATED, &*put.durable().await?))
    }

    pub(super) async fn set_metadata(&self) -> Answered {
        let (metadata, allow) = (self.metadata()?, self.allow_change()?);
        self.change(&allow, |facts| facts.metadata = metadata.into()).await
    }

    /// Sets all properties: one that is missing in the request is removed.
    pub(super) async fn set_properties(&self) -> Answered {
        let (headers, allow) = (self.described(false)?.headers, self.allow_change()?);
        self.change(&allow, |facts| facts.headers = headers).await
    }

    pub(super) async fn set_tier(&self) -> Answered {
        let missing = || refuse(400, "MissingRequiredHeader", "The header x-ms-access-tier is missing.");
        let tier = self.tier()?.ok_or_else(missing)?;
        let (conditions, lease) = (Conditions::of(self.headers)?, self.named_lease()?);
        let allow = |found: Option<&BlobFacts>| {
            conditions.allow_write(found)?;
            // A lease does not protect the tier.
            lease.allow_read(found)?;
            if found.is_some_and(|blob| blob.kind == Kind::Append) { Err(Refused::OtherKind) } else { Ok(()) }
        };
        let Address { container, blob } = self.address;
        let now = self.inner.clock.now();
        let set = |facts: &mut BlobFacts| (facts.tier, facts.tier_changed) = (Some(tier), Some(now));
        self.inner.store.annotate_blob(container, blob, &allow, set).durable().await?;
        // The tier does not belong to the blob's content or properties: ETag and time stay unchanged, and are
        // not returned.
        Ok(empty(StatusCode::OK))
    }

    async fn change(&self, allow: Condition<'_>, change: impl FnOnce(&mut BlobFacts)) -> Answered {
        let Address { container, blob } = self.address;
        let changed = self.inner.store.change_blob(container, blob, allow, change);
        Ok(written(StatusCode::OK, &*changed.durable().await?))
    }

    pub(super) async fn delete_blob(&self) -> Answered {
        if self.header(name::DELETE_SNAPSHOTS).is_some_and(|what| what.eq_ignore_ascii_case("only")) {
            return Err(not_here("snapshots, so that they cannot be deleted alone"));
        }
        let allow = self.allow_change()?;
        self.inner.store.delete_blob(&self.address.container, &self.address.blob, &allow).durable().await?;
        let mut answer = empty(StatusCode::ACCEPTED);
        put(&mut answer, "x-ms-delete-type-permanent", "true");
        Ok(answer)
    }
}
