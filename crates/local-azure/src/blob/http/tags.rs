//! Blob index tags: set, read, and used to find blobs.

use super::{
    Answered,
    answer::{Refusal, empty, refuse, xml},
    ask::Ask,
    intake::small,
};
use crate::blob::store::BlobFacts;
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE};
use dropmill_azure_wire::blob::{
    FoundByTags, TagFilter, Tags, are_valid_tags, header as name, parse_tags_header, read_tags, write_tags,
};
use http::StatusCode;

/// Maximum length of the body: 10 tags have 4 KB.
const BODY: usize = 64 << 10;

impl Ask<'_> {
    /// Returns the tags for a new blob. A SAS must allow setting tags, not only writing.
    ///
    /// # Errors
    /// Fails if the tags are invalid or not allowed.
    pub fn tags(&self) -> Result<Tags, Refusal> {
        let Some(text) = self.header(name::TAGS) else { return Ok(Tags::new()) };
        self.rights.check_tags()?;
        valid(parse_tags_header(text))
    }

    pub(super) async fn set_tags(&self, body: &mut Body) -> Answered {
        let body = small(body, BODY).await?;
        let words = |error| format!("The specified XML is not syntactically valid: {error}.");
        let tags = read_tags(&body).map_err(|error| refuse(400, "InvalidXmlDocument", &words(error)))?;
        let (tags, lease) = (valid(Some(tags))?, self.named_lease()?);
        let allow = |found: Option<&BlobFacts>| lease.allow_write(found);
        let (container, blob) = (&self.address.container, &self.address.blob);
        let set = |facts: &mut BlobFacts| facts.tags = tags;
        self.inner.store.annotate_blob(container, blob, &allow, set).durable().await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    pub(super) async fn blob_tags(&self) -> Answered {
        let lease = self.named_lease()?;
        let blob = self.inner.store.blob(&self.address.container, &self.address.blob).durable().await?;
        lease.allow_read(Some(&blob.facts))?;
        Ok(xml(write_tags(&blob.facts.tags)))
    }

    /// Finds blobs in the container of the path, or in all containers.
    pub(super) async fn find_by_tags(&self) -> Answered {
        let (asked, marker, limit) = (self.value("where"), self.value("marker"), self.page_size()?);
        let bad = |what: &str| {
            let words = "Value for one of the query parameters specified in the request URI is invalid";
            refuse(400, "InvalidQueryParameterValue", &format!("{words}: {what}."))
        };
        let filter = TagFilter::read(&asked).ok_or_else(|| bad("where"))?;
        let from = URL_SAFE.decode(marker).ok().and_then(|from| String::from_utf8(from).ok());
        let from = from.ok_or_else(|| bad("marker"))?;
        // The name of a container has no slash.
        let from = from.split_once('/').unwrap_or_default();
        let (blobs, next) =
            self.inner.store.tagged(&self.address.container, &filter, from, limit).durable().await?;
        let next_marker = next.map(|(container, name)| URL_SAFE.encode(format!("{container}/{name}")));
        let service_endpoint = format!("{}/", self.inner.endpoint);
        Ok(xml(FoundByTags { service_endpoint, filter: asked, blobs, next_marker }.write()))
    }
}

fn valid(tags: Option<Tags>) -> Result<Tags, Refusal> {
    let words =
        "The tags specified are invalid: a blob has at most 10, of letters, digits, spaces and +-./:=_.";
    tags.filter(are_valid_tags).ok_or_else(|| refuse(400, "InvalidTags", words))
}
