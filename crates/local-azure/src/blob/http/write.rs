//! Blobs as they are written: whole, in blocks, as copies; their properties; their deletion.

use super::{
    Answered,
    answer::{Refusal, empty, mismatch, not_here, put, refuse, written},
    ask::Ask,
    conditions::Conditions,
    intake::{small, take_in},
};
use crate::blob::{
    address::Address,
    authorize::{Rights, sas_rights},
    store::{BlobFacts, Condition, Copied, Incoming, Refused},
    sums::{Sums, md5_of},
};
use axum::{body::Body, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use dropmill_azure_wire::{
    blob::{header as name, limit, read_block_choices},
    sas::Action,
    secret::without_query,
};
use http::{HeaderName, StatusCode, header};

/// The longest XML that is read: 50,000 blocks with the longest ids have 7 MB.
const LONGEST_XML: usize = 8 << 20;

impl Ask<'_> {
    /// Whether a write may go on: by the request's conditions and by its SAS, which may allow new blobs only.
    fn allow(&self) -> Result<impl Fn(Option<&BlobFacts>) -> Result<(), Refused> + use<>, Refusal> {
        let conditions = Conditions::of(self.headers)?;
        let may_replace = self.rights.may_replace();
        Ok(move |found: Option<&BlobFacts>| {
            conditions.allow_write(found)?;
            if found.is_some() && !may_replace { Err(Refused::NotReplaceable) } else { Ok(()) }
        })
    }

    /// Refuses before the body arrives what would be refused after it, if nothing changes meanwhile.
    async fn foresee(&self, condition: Condition<'_>) -> Result<(), Refusal> {
        match self.inner.store.blob(&self.address.container, &self.address.blob).told().await {
            Ok(blob) => Ok(condition(Some(&blob.facts))?),
            Err(Refused::NoBlob) => Ok(condition(None)?),
            Err(refused) => Err(refused.into()),
        }
    }

    pub(super) async fn put_blob(&self, body: &mut Body) -> Answered {
        match self.header(name::BLOB_TYPE) {
            Some("BlockBlob") => {}
            Some("AppendBlob" | "PageBlob") => return Err(not_here("append and page blobs")),
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
        let blob = store.put_blob(container, blob, taken.bytes, described, &allow).told().await?;
        let mut answer = written(StatusCode::CREATED, &blob);
        taken.sums.md5.iter().for_each(|md5| put(&mut answer, "content-md5", md5));
        taken.sums.crc64.iter().for_each(|crc64| put(&mut answer, name::CONTENT_CRC64, crc64));
        Ok(answer)
    }

    pub(super) async fn put_block(&self, body: &mut Body) -> Answered {
        let block = self.value("blockid");
        let id = STANDARD.decode(&block).unwrap_or_default();
        if id.is_empty() || id.len() > limit::BLOCK_ID_BYTES {
            let words =
                "The specified block ID is invalid. The block ID must be Base64-encoded, of 1 to 64 bytes.";
            return Err(refuse(400, "InvalidQueryParameterValue", words));
        }
        let store = &self.inner.store;
        store.container(&self.address.container).told().await?;
        // As Azure does: one of the two sums is told, MD5 if it was given. It costs four times the other.
        let md5 = self.headers.contains_key("content-md5");
        let sums = Sums::wanting(md5, !md5 || self.headers.contains_key(name::CONTENT_CRC64));
        let taken = take_in(store, self.headers, body, limit::BLOCK_BYTES, sums).await?;
        store.put_block(&self.address.container, &self.address.blob, &block, taken.bytes).told().await?;
        let mut answer = empty(StatusCode::CREATED);
        taken.sums.md5.iter().for_each(|md5| put(&mut answer, "content-md5", md5));
        taken.sums.crc64.iter().for_each(|crc64| put(&mut answer, name::CONTENT_CRC64, crc64));
        put(&mut answer, name::REQUEST_SERVER_ENCRYPTED, "true");
        Ok(answer)
    }

    pub(super) async fn put_block_list(&self, body: &mut Body) -> Answered {
        let (allow, described) = (self.allow()?, self.described(false)?);
        let body = small(body, LONGEST_XML).await?;
        if self.header("content-md5").is_some_and(|given| given != md5_of(&body)) {
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
        Ok(written(StatusCode::CREATED, &*put.told().await?))
    }

    pub(super) async fn set_metadata(&self) -> Answered {
        let metadata = self.metadata()?;
        self.change(|facts| facts.metadata = metadata).await
    }

    /// All of them: one that is not given is not there any more.
    pub(super) async fn set_properties(&self) -> Answered {
        let headers = self.described(false)?.headers;
        self.change(|facts| facts.headers = headers).await
    }

    pub(super) async fn set_tier(&self) -> Answered {
        let missing = || refuse(400, "MissingRequiredHeader", "The header x-ms-access-tier is missing.");
        let tier = self.tier()?.ok_or_else(missing)?;
        self.change(|facts| facts.tier = Some(tier)).await
    }

    async fn change(&self, change: impl FnOnce(&mut BlobFacts)) -> Answered {
        let conditions = Conditions::of(self.headers)?;
        let allow = |found: Option<&BlobFacts>| conditions.allow_write(found);
        let Address { container, blob } = self.address;
        let changed = self.inner.store.change_blob(container, blob, &allow, change);
        Ok(written(StatusCode::OK, &*changed.told().await?))
    }

    pub(super) async fn delete_blob(&self) -> Answered {
        if self.header(name::DELETE_SNAPSHOTS).is_some_and(|what| what.eq_ignore_ascii_case("only")) {
            return Err(not_here("snapshots, so that there are none to delete alone"));
        }
        let conditions = Conditions::of(self.headers)?;
        let allow = |found: Option<&BlobFacts>| conditions.allow_write(found);
        self.inner.store.delete_blob(&self.address.container, &self.address.blob, &allow).told().await?;
        let mut answer = empty(StatusCode::ACCEPTED);
        put(&mut answer, "x-ms-delete-type-permanent", "true");
        Ok(answer)
    }

    /// Copies within the account, at once: both blobs share their bytes.
    pub(super) async fn copy_blob(&self) -> Answered {
        let source = self.header(name::COPY_SOURCE).unwrap_or_default();
        let (from, query) = self.source(source)?;
        from.check()?;
        if let Rights::Sas(_) = self.rights {
            sas_rights(self.inner, query, &from, Action::ReadBlob)?;
        }
        let (allow, of_source) = (self.allow()?, Conditions::of_source(self.headers)?);
        let store = &self.inner.store;
        let found = store.blob(&from.container, &from.blob).told().await?;
        if of_source.allow_read(&found.facts).is_err() {
            let words = "The source condition specified using HTTP conditional header(s) is not met.";
            return Err(refuse(412, "SourceConditionNotMet", words));
        }
        let mut described = self.described(false)?;
        described.headers = found.facts.headers.clone();
        if described.metadata.is_empty() {
            described.metadata = found.facts.metadata.clone();
        }
        let at = self.inner.clock.now();
        let id = format!("{:032x}", at.as_nanosecond().unsigned_abs());
        let source = without_query(source).to_owned();
        described.copied = Some(Box::new(Copied { id: id.clone(), source, at }));
        let Address { container, blob } = self.address;
        let copy = store.put_blob(container, blob, Incoming::Of(found.body.clone()), described, &allow);
        let mut answer: Response = written(StatusCode::ACCEPTED, &*copy.told().await?);
        answer.headers_mut().remove(HeaderName::from_static(name::REQUEST_SERVER_ENCRYPTED));
        put(&mut answer, name::COPY_ID, &id);
        put(&mut answer, name::COPY_STATUS, "success");
        Ok(answer)
    }

    /// What a source's URL names, and its query. It is ours if it begins as our endpoint does, or as the address does
    /// that this very request was sent to.
    fn source<'u>(&self, url: &'u str) -> Result<(Address, &'u str), Refusal> {
        let words = "The copy source is not a blob of this service: copies from elsewhere are not supported.";
        let foreign = || refuse(404, "CannotVerifyCopySource", words);
        let host = self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let reached = host.map(|host| format!("http://{host}/{}", self.inner.key.account()));
        let bases = std::iter::once(&self.inner.endpoint).chain(&reached);
        let inside = bases.filter_map(|base| url.strip_prefix(base.as_str())?.strip_prefix('/')).next();
        let inside = inside.ok_or_else(foreign)?;
        let (path, query) = inside.split_once('?').unwrap_or((inside, ""));
        let address = Address::read(path)?;
        if address.blob.is_empty() { Err(foreign()) } else { Ok((address, query)) }
    }
}
