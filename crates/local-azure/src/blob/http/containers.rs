//! Containers, and lists of containers and blobs.

use super::{
    Answered,
    answer::{empty, not_here, put, put_named, refuse, tagged, xml},
    ask::Ask,
    conditions::Conditions,
};
use crate::blob::{
    lease,
    store::{ContainerFacts, Listing},
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use dropmill_azure_wire::blob::{BlobItem, BlobList, ContainerItem, ContainerList, Entry, header as name};
use http::StatusCode;

const NO_POLICIES: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers />";

impl Ask<'_> {
    fn endpoint(&self) -> String {
        format!("{}/", self.inner.endpoint)
    }

    pub(super) async fn list_containers(&self) -> Answered {
        let (prefix, marker, size) = (self.value("prefix"), self.value("marker"), self.page_size()?);
        let with_metadata = self.value("include").split(',').any(|what| what == "metadata");
        let (found, next_marker) = self.inner.store.containers(&prefix, &marker, size).durable().await?;
        let now = self.inner.clock.now();
        let containers = found.into_iter().map(|(name, facts)| {
            let state = lease::state(facts.lease.as_deref(), now);
            ContainerItem {
                name,
                last_modified: facts.modified,
                etag: facts.etag(),
                lease_status: Some(state.status().into()),
                lease_state: Some(state.as_str().into()),
                lease_duration: lease::duration(facts.lease.as_deref(), now).map(Into::into),
                metadata: with_metadata.then_some(facts.metadata),
            }
        });
        let some = |text: String| (!text.is_empty()).then_some(text);
        let list = ContainerList {
            service_endpoint: self.endpoint(),
            prefix: some(prefix),
            marker: some(marker),
            max_results: self.asked_size(),
            containers: containers.collect(),
            next_marker,
        };
        Ok(xml(list.write()))
    }

    pub(super) async fn create_container(&self) -> Answered {
        if self.headers.contains_key(name::PUBLIC_ACCESS) {
            let words = "Public access is not permitted on this storage account.";
            return Err(refuse(409, "PublicAccessNotPermitted", words));
        }
        let facts =
            self.inner.store.create_container(&self.address.container, self.metadata()?).durable().await?;
        Ok(tagged(StatusCode::CREATED, &facts.etag(), facts.modified))
    }

    pub(super) async fn container(&self) -> Answered {
        let named = self.named_lease()?;
        let facts = self.inner.store.container(&self.address.container).durable().await?;
        named.allow_use(&facts)?;
        let (lease, now) = (facts.lease.as_deref(), self.inner.clock.now());
        let mut answer = tagged(StatusCode::OK, &facts.etag(), facts.modified);
        put_named(&mut answer, &facts.metadata);
        put(&mut answer, name::LEASE_STATUS, lease::state(lease, now).status());
        put(&mut answer, name::LEASE_STATE, lease::state(lease, now).as_str());
        lease::duration(lease, now).into_iter().for_each(|kind| put(&mut answer, name::LEASE_DURATION, kind));
        put(&mut answer, name::HAS_IMMUTABILITY_POLICY, "false");
        put(&mut answer, name::HAS_LEGAL_HOLD, "false");
        Ok(answer)
    }

    /// There are no stored access policies, and no public access.
    pub(super) async fn container_policies(&self) -> Answered {
        let named = self.named_lease()?;
        let facts = self.inner.store.container(&self.address.container).durable().await?;
        named.allow_use(&facts)?;
        let mut answer = xml(NO_POLICIES.into());
        let tags = tagged(StatusCode::OK, &facts.etag(), facts.modified);
        answer.headers_mut().extend(tags.headers().clone());
        Ok(answer)
    }

    pub(super) async fn set_container_metadata(&self) -> Answered {
        let (conditions, named) = (Conditions::of(self.headers)?, self.named_lease()?);
        let allow = |found: &ContainerFacts| {
            conditions.allow_moment(Some(found.modified))?;
            named.allow_use(found)
        };
        let (container, metadata) = (&self.address.container, self.metadata()?);
        let facts = self.inner.store.set_container_metadata(container, metadata, &allow).durable().await?;
        Ok(tagged(StatusCode::OK, &facts.etag(), facts.modified))
    }

    pub(super) async fn delete_container(&self) -> Answered {
        let (conditions, named) = (Conditions::of(self.headers)?, self.named_lease()?);
        let allow = |found: &ContainerFacts| {
            conditions.allow_moment(Some(found.modified))?;
            named.allow_deletion(found)
        };
        self.inner.store.delete_container(&self.address.container, &allow).durable().await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    pub(super) async fn list_blobs(&self) -> Answered {
        let (prefix, delimiter) = (self.value("prefix"), self.value("delimiter"));
        let (marker, size) = (self.value("marker"), self.page_size()?);
        let include = self.value("include");
        let included = |what: &str| include.split(',').any(|asked| asked == what);
        if included("uncommittedblobs") {
            return Err(not_here("lists of uncommitted blobs"));
        }
        let from = match marker.as_str() {
            "" => self.value("startFrom"),
            // A marker is a name; a name may contain characters that are invalid in XML.
            marker => URL_SAFE.decode(marker).ok().and_then(|name| String::from_utf8(name).ok()).ok_or_else(
                || refuse(400, "InvalidQueryParameterValue", "The marker was not issued by this service."),
            )?,
        };
        let listing = Listing { prefix: &prefix, delimiter: &delimiter, from: &from, limit: size };
        let page = self.inner.store.blobs(&self.address.container, &listing).durable().await?;
        let now = self.inner.clock.now();
        let entries = page.entries.into_iter().map(|(name, blob)| match blob {
            None => Entry::Prefix(name),
            Some(blob) => {
                let mut properties = blob.properties(now);
                properties.copy = properties.copy.filter(|_| included("copy"));
                let metadata = included("metadata").then(|| blob.facts.metadata.to_metadata());
                let tags = included("tags").then(|| blob.facts.tags.clone()).filter(|tags| !tags.is_empty());
                Entry::Blob(BlobItem { name, properties, metadata, tags }.into())
            }
        });
        let some = |text: String| (!text.is_empty()).then_some(text);
        let list = BlobList {
            service_endpoint: self.endpoint(),
            container: self.address.container.clone(),
            prefix: some(prefix),
            marker: some(marker),
            max_results: self.asked_size(),
            delimiter: some(delimiter),
            entries: entries.collect(),
            next_marker: page.next.map(|name| URL_SAFE.encode(name)),
        };
        Ok(xml(list.write()))
    }
}
