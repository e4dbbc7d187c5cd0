//! The HTTP interface of Blob. All decisions use the raw path, whose percent-encoding is part of the
//! signature; no path of a request ever becomes a path of a file.
//!
//! Not supported, and rejected with a code: snapshots and versions, page blobs, policies, public access,
//! customer-provided encryption keys, the tier Archive, copies from other services.

pub mod answer;
mod appends;
mod ask;
mod batches;
mod conditions;
mod containers;
mod copies;
mod delegation;
mod elsewhere;
mod intake;
mod leases;
mod outflow;
mod ranges;
mod read;
mod resource;
mod tags;
mod write;

use super::{
    Inner,
    address::{Address, inside},
    authorize::{HERE, authorize},
    store::Refused,
};
use crate::reception::Peer;
use answer::{Refusal, dress, empty, internal, not_here, refusal, refuse, xml};
use ask::Ask;
use axum::{body::Body, extract::Request, response::Response};
use dropmill_azure_wire::{blob::header as name, uri};
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use resource::Resource;
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

type Answered = Result<Response, Refusal>;

/// Returns the router of the Blob service.
pub fn router(inner: Arc<Inner>) -> axum::Router {
    let calls = Arc::new(AtomicU64::new(1));
    axum::Router::new().fallback(move |request: Request| {
        let (inner, number) = (inner.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move { serve(&inner, request, number).await }
    })
}

async fn serve(inner: &Arc<Inner>, request: Request, number: u64) -> Response {
    let now = inner.clock.now();
    // Not secret, and unique within this service: the current time and a counter.
    let request_id = format!("{:08x}-0000-4000-8000-{number:012x}", now.as_second() & 0xffff_ffff);
    let (parts, mut body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    // A request that causes a panic must not stop the service.
    let outcome = AssertUnwindSafe(handle(inner, &parts, &mut body, &request_id)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(internal()));
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(refused) => refusal(refused, is_head, &request_id, now),
    };
    dress(&mut answer, &parts.headers, &request_id, now);
    answer
}

const NO_ACCOUNT: &str = "The specified account does not exist.";
const DEVELOPMENT_STORAGE: &str = "The specified account does not exist: UseDevelopmentStorage=true names the account devstoreaccount1 \
                                   with a well-known key. Use the connection string that `dropmill env` prints.";

async fn handle(inner: &Arc<Inner>, parts: &Parts, body: &mut Body, request_id: &str) -> Answered {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let inside = inside(host, parts.uri.path(), inner.key.account());
    let inside = inside.ok_or_else(|| {
        // Clients send this for `UseDevelopmentStorage=true`.
        let well_known = parts.uri.path().starts_with("/devstoreaccount1");
        refuse(404, "ResourceNotFound", if well_known { DEVELOPMENT_STORAGE } else { NO_ACCOUNT })
    })?;
    // Checked before the signature: clients of other services sign differently, and the error would point to
    // the key.
    if let Some(service) = elsewhere::recognise(inner.key.account(), host, inside, parts) {
        return Err(elsewhere::refused(service, parts.uri.query().unwrap_or_default()));
    }
    let query = parts.uri.query().unwrap_or_default();
    if parts.method == Method::POST && batches::is_one(query) {
        // If the account is in the path, the client for Node.js takes it for a container and reports that.
        if !inside.trim_end_matches('/').is_empty()
            && resource::named(inside, &restype_of(query))? != Resource::Container
        {
            return Err(resource::no_root());
        }
        return batches::carry_out(inner, parts, inside, body, request_id).await;
    }
    act(inner, parts, inside, body).await
}

/// Carries out one request for what `inside` names.
async fn act(inner: &Arc<Inner>, parts: &Parts, inside: &str, body: &mut Body) -> Answered {
    let query = parts.uri.query().unwrap_or_default();
    let (mut address, resource) = (Address::read(inside)?, resource::named(inside, &restype_of(query))?);
    if resource == Resource::BlobOfRoot {
        address = resource::in_root(address);
    }
    let from = parts.extensions.get().map_or(HERE, |Peer(from)| *from);
    let rights = authorize(inner, parts.into(), &address, from)?;
    if resource == Resource::BlobOfRoot {
        check_root(inner).await?;
    }
    address.check()?;
    if parts.method == Method::PUT {
        address.check_new()?;
    }
    let spelling = parts.extensions.get();
    let ask = Ask { inner, headers: &parts.headers, query, spelling, address: &address, rights, from };
    ask.check()?;
    let value = |name| uri::value(query, name).unwrap_or_default().to_ascii_lowercase();
    let (restype, comp) = (restype_of(query), value("comp"));
    let method = parts.method.as_str();
    let unknown = || {
        let what = if comp.is_empty() { "this call".to_owned() } else { format!("comp={comp}") };
        not_here(&format!("{method} of {what}"))
    };
    if resource == Resource::Account {
        return match (method, &*restype, &*comp) {
            ("GET", _, "list") => ask.list_containers().await,
            ("GET", _, "blobs") => ask.find_by_tags().await,
            ("GET" | "HEAD", "account", "properties") => Ok(account_properties()),
            ("POST", "service", "userdelegationkey") => ask.delegation_key(body).await,
            ("GET", "service", "properties") => Ok(xml(SERVICE_PROPERTIES.into())),
            _ => Err(unknown()),
        };
    }
    if resource == Resource::Container {
        return match (method, &*comp) {
            ("GET" | "HEAD", "properties") if restype == "account" => Ok(account_properties()),
            _ if restype != "container" => Err(unknown()),
            ("PUT", "") => ask.create_container().await,
            ("GET" | "HEAD", "" | "metadata") => ask.container().await,
            ("PUT", "metadata") => ask.set_container_metadata().await,
            ("DELETE", "") => ask.delete_container().await,
            ("GET", "list") => ask.list_blobs().await,
            ("GET", "blobs") => ask.find_by_tags().await,
            ("GET" | "HEAD", "acl") => ask.container_policies().await,
            ("PUT", "lease") => ask.lease_container().await,
            _ => Err(unknown()),
        };
    }
    if restype == "account" && (comp != "properties" || !matches!(method, "GET" | "HEAD")) {
        return Err(unknown());
    }
    match (method, &*comp) {
        ("PUT", "" | "copy") if parts.headers.contains_key(name::COPY_SOURCE) => ask.copy_blob().await,
        ("PUT", "copy") => ask.abort_copy().await,
        ("PUT", "") => ask.put_blob(body).await,
        ("PUT", "block") if parts.headers.contains_key(name::COPY_SOURCE) => ask.put_block_from_url().await,
        ("PUT", "block") => ask.put_block(body).await,
        ("PUT", "blocklist") => ask.put_block_list(body).await,
        ("GET", "blocklist") => ask.block_list().await,
        ("GET", "") => ask.get_blob().await,
        ("HEAD", "") | ("GET" | "HEAD", "metadata") => ask.blob_properties().await,
        ("PUT", "metadata") => ask.set_metadata().await,
        ("PUT", "properties") => ask.set_properties().await,
        ("PUT", "tags") => ask.set_tags(body).await,
        ("GET", "tags") => ask.blob_tags().await,
        ("PUT", "tier") => ask.set_tier().await,
        ("DELETE", "") => ask.delete_blob().await,
        ("PUT", "lease") => ask.lease_blob().await,
        ("PUT", "appendblock") if parts.headers.contains_key(name::COPY_SOURCE) => {
            ask.append_block_from_url().await
        }
        ("PUT", "appendblock") => ask.append_block(body).await,
        ("PUT", "page") => Err(not_here("page blobs")),
        ("PUT", "seal") => Err(not_here("sealing of append blobs")),
        ("PUT", "snapshot") => Err(not_here("snapshots")),
        ("GET" | "HEAD", "properties") if restype == "account" => Ok(account_properties()),
        _ => Err(unknown()),
    }
}

/// Rejects a path with one segment if there is no container `$root` for it.
async fn check_root(inner: &Inner) -> Result<(), Refusal> {
    match inner.store.container(resource::ROOT).durable().await {
        Ok(_) => Ok(()),
        Err(Refused::NoContainer) => Err(resource::no_root()),
        Err(refused) => Err(refused.into()),
    }
}

fn restype_of(query: &str) -> String {
    uri::value(query, "restype").unwrap_or_default().to_ascii_lowercase()
}

/// There is no logging, metrics, CORS and soft delete; clients expect each of them in the response.
const SERVICE_PROPERTIES: &str = concat!(
    r#"<?xml version="1.0" encoding="utf-8"?><StorageServiceProperties>"#,
    "<Logging><Version>1.0</Version><Read>false</Read><Write>false</Write><Delete>false</Delete>",
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>",
    "<HourMetrics><Version>1.0</Version><Enabled>false</Enabled>",
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></HourMetrics>",
    "<MinuteMetrics><Version>1.0</Version><Enabled>false</Enabled>",
    "<RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></MinuteMetrics>",
    "<Cors /><DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>",
    "<StaticWebsite><Enabled>false</Enabled></StaticWebsite></StorageServiceProperties>"
);

fn account_properties() -> Response {
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().insert("x-ms-sku-name", HeaderValue::from_static("Standard_LRS"));
    answer.headers_mut().insert("x-ms-account-kind", HeaderValue::from_static("StorageV2"));
    answer.headers_mut().insert("x-ms-is-hns-enabled", HeaderValue::from_static("false"));
    answer
}
