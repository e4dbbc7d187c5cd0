//! Which request is which call of the model.

use super::{
    Ask,
    answer::{Outcome, empty, entity, json, named, tagged},
    jobs, nodes, pools, schedules, tasks,
};
use crate::model::{Model, Refusal, images, query::Select};
use dropmill_azure_wire::{
    batch::{Page, limit},
    etag::ETag,
    operation::{Family, Operation},
    time::{Timestamp, parse_http_date, parse_iso},
    uri::{decode, encode, pairs},
};
use http::Method;
use serde::Serialize;

/// Answers a request: the table of operations says which one it is.
pub async fn route(ask: &Ask<'_>) -> Outcome {
    let Some((operation, ids)) = Operation::of_batch(ask.method, &ask.path) else {
        return Err(no_operation(&ask.path));
    };
    let ids: Vec<String> = ids.into_iter().map(|id| decode(id).into_owned()).collect();
    match operation.family() {
        Family::Account => account(ask, operation, &ids),
        Family::Pools => pools::answer(ask, operation, &ids).await,
        Family::Nodes => nodes::answer(ask, operation, &ids).await,
        Family::Jobs => jobs::answer(ask, operation, &ids).await,
        Family::Tasks => tasks::answer(ask, operation, &ids).await,
        Family::Schedules => schedules::answer(ask, operation, &ids).await,
        Family::Blobs => Err(no_operation(&ask.path)),
    }
}

/// Returns why a request asks for no operation.
fn no_operation(path: &[&str]) -> Refusal {
    match path {
        ["pools" | "jobs" | "applications", _, ..] | ["jobschedules", ..] => no_such_verb(),
        ["certificates" | "certificates(..)", ..] => Refusal::not_here("certificates"),
        _ => Refusal::new(404, "ResourceNotFound", "The specified resource does not exist."),
    }
}

/// Answers an operation on the account.
fn account(ask: &Ask<'_>, operation: Operation, ids: &[String]) -> Outcome {
    match (operation, ids) {
        (Operation::PoolNodeCounts, _) => node_counts(ask),
        (Operation::ListImages, _) => supported_images(ask),
        (Operation::ListPoolUsage, _) => pool_usage(ask),
        (Operation::ListApplications, _) => {
            let all = ask.core.look(|model| Ok(model.applications().list()))?;
            ask.slice("listapplicationsummariesresponses", limit::PAGE, all)
        }
        (Operation::GetApplication, [id]) => {
            let found = ask.core.look(|model| {
                let found = model.applications().get(id);
                found.ok_or_else(|| Refusal::not_found("ApplicationNotFound"))
            })?;
            Ok(entity(ask.base(), "getapplicationsummaryresponse", &found))
        }
        _ => Err(no_such_verb()),
    }
}

/// Returns the error for an unsupported HTTP verb.
pub fn no_such_verb() -> Refusal {
    Refusal::new(405, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb.")
}

pub fn created((etag, modified): (ETag, Timestamp), url: &str) -> axum::response::Response {
    let mut answer = named(tagged(empty(201), &etag, modified), url);
    super::answer::put(&mut answer, "location", url);
    answer
}

pub fn changed(ask: &Ask<'_>, status: u16, (etag, modified): (ETag, Timestamp)) -> axum::response::Response {
    let url = format!("{}/{}", ask.base(), ask.path.join("/"));
    named(tagged(empty(status), &etag, modified), &url)
}

/// Returns the response to an action on a node: its URL, without the node.
pub fn acted(ask: &Ask<'_>, status: u16) -> axum::response::Response {
    named(empty(status), &format!("{}/{}", ask.base(), ask.path.join("/")))
}

/// Checks the conditions of a request: at most one of the four headers.
pub fn check_conditions(ask: &Ask<'_>, etag: &ETag, modified: Timestamp) -> Result<(), Refusal> {
    let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
    check_named_conditions(ask, &names, etag, modified)
}

/// Checks only the conditions in these headers.
pub fn check_named_conditions(
    ask: &Ask<'_>,
    names: &[&str],
    etag: &ETag,
    modified: Timestamp,
) -> Result<(), Refusal> {
    let mut given = names.iter().filter_map(|name| Some((*name, ask.header(name)?)));
    let Some((name, value)) = given.next() else { return Ok(()) };
    if given.next().is_some() {
        let words = "Multiple condition headers are not supported.";
        return Err(Refusal::new(400, "MultipleConditionHeadersNotSupported", words));
    }
    // Headers have whole seconds.
    let since = || {
        let words = "The value for one of the HTTP headers is not in the correct format.";
        let bad = || {
            Refusal::new(400, "InvalidHeaderValue", words).with("HeaderName", name).with("HeaderValue", value)
        };
        parse_http_date(value).map(|moment| modified.as_second() > moment.as_second()).ok_or_else(bad)
    };
    let met = match name {
        "if-match" => etag.matches(value),
        "if-none-match" => !etag.matches(value),
        "if-modified-since" => since()?,
        _ => !since()?,
    };
    if met {
        return Ok(());
    }
    let reads = matches!(*ask.method, Method::GET | Method::HEAD);
    let unchanged = reads && matches!(name, "if-none-match" | "if-modified-since");
    let words = "The condition specified using HTTP conditional header(s) is not met.";
    Err(Refusal::new(if unchanged { 304 } else { 412 }, "ConditionNotMet", words))
}

/// Returns a page of a list.
pub fn page<T: Serialize>(
    ask: &Ask<'_>,
    shape: &str,
    most: u32,
    list: impl FnOnce(&Model, &str, &Select, &str, usize) -> Result<(Vec<T>, Option<String>), Refusal>,
) -> Outcome {
    let (size, select) = (ask.page_size(most)?, ask.select());
    let (filter, after) = (ask.value("$filter"), ask.value("$skiptoken"));
    let (value, next) = ask.core.look(|model| list(model, &filter, &select, &after, size))?;
    let next_link = next.map(|token| next_link(ask, &token));
    Ok(json(&Page { odata_metadata: Some(format!("{}/$metadata#{shape}", ask.base())), value, next_link }))
}

/// Returns the URL of the next page: that of this request, with the token and the requested host.
pub fn next_link(ask: &Ask<'_>, token: &str) -> String {
    let base = match ask.header("host") {
        Some(host) => format!("{}://{host}", ask.base().split("://").next().unwrap_or("http")),
        None => ask.base().to_owned(),
    };
    let mut query = String::new();
    for (name, value) in pairs(ask.query).filter(|(name, _)| name != "$skiptoken") {
        query.push_str(&format!("{name}={}&", encode(&value)));
    }
    format!("{base}/{}?{query}$skiptoken={}", ask.path.join("/"), encode(token))
}

fn node_counts(ask: &Ask<'_>) -> Outcome {
    let filter = ask.filter(&["poolId"])?;
    let counts = ask.core.look(|model| Ok(model.node_counts()))?;
    let wanted = counts.into_iter().filter(|counts| filter.as_ref().is_none_or(|filter| filter.lets(counts)));
    ask.slice("poolnodecounts", limit::NODE_COUNTS_PAGE, wanted.collect())
}

fn pool_usage(ask: &Ask<'_>) -> Outcome {
    let filter = ask.filter(&["poolId"])?;
    let time = |name: &str| match ask.value(name).as_str() {
        "" => Ok(None),
        text => {
            let bad = || {
                Refusal::bad_query(name, "It must be a time such as 2026-03-02T10:00:00Z")
                    .with("QueryParameterValue", text)
            };
            parse_iso(text).map(Some).ok_or_else(bad)
        }
    };
    let (from, to, now) = (time("starttime")?, time("endtime")?, ask.core.now());
    let usage = ask.core.look(|model| model.pool_usage(from, to, now))?;
    let wanted = usage.into_iter().filter(|usage| filter.as_ref().is_none_or(|filter| filter.lets(usage)));
    ask.slice("poolusagemetrics", limit::PAGE, wanted.collect())
}

fn supported_images(ask: &Ask<'_>) -> Outcome {
    let filter = ask.filter(&["osType", "verificationType", "nodeAgentSKUId"])?;
    let all = images::supported();
    let wanted = all.filter(|image| filter.as_ref().is_none_or(|filter| filter.lets(image)));
    ask.slice("supportedimages", limit::PAGE, wanted.collect())
}
