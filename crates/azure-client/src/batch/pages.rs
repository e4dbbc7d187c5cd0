//! Reads lists page by page. The service sends the link to the next page: it is followed only if it leads to
//! the same list of the same service, and only a limited number of times.

use super::BatchApi;
use crate::{
    call::{ApiResponse, Call, shown_address},
    error::CallError,
    operation::{CallInfo, Operation},
};
use dropmill_azure_wire::{batch::Page, secret::without_query, uri::Query};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// Maximum number of pages, more than any account needs: 100 million entries.
const MOST_PAGES: usize = 100_000;

impl BatchApi {
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        operation: Operation,
        subject: String,
        ids: &[&str],
        filter: Option<&str>,
        select: Option<&str>,
    ) -> Result<Vec<T>, CallError> {
        let mut more = Query::default();
        for (name, value) in [("$filter", filter), ("$select", select)] {
            if let Some(value) = value {
                more = more.with(name, value);
            }
        }
        let more = if more.as_str().is_empty() { String::new() } else { format!("&{}", more.as_str()) };
        self.pages(self.call_with(operation, subject, ids, &more)).await
    }

    /// Reads a list from its first page to its last.
    pub(super) async fn pages<T: DeserializeOwned>(&self, first: Call) -> Result<Vec<T>, CallError> {
        let tried = first.tried.clone();
        let mut path_and_query = first.path_and_query;
        let mut seen = BTreeSet::new();
        let mut all: Vec<T> = vec![];
        loop {
            let call = Call::new(tried.operation, tried.subject.as_str(), path_and_query.clone());
            let answer = self.exchange(call).await?;
            let mut page: Page<T> = answer.json(&tried)?;
            if all.is_empty() {
                all = page.value
            } else {
                all.append(&mut page.value)
            }
            // Some services end a list with an empty link.
            let Some(link) = page.next_link.filter(|link| !link.is_empty()) else { return Ok(all) };
            let next = self.next_page(&answer, &tried, &path_and_query, &link)?;
            seen.insert(path_and_query);
            if seen.contains(&next) || seen.len() > MOST_PAGES {
                return Err(answer.broken(&tried, format!("the list has no end after {} pages", seen.len())));
            }
            path_and_query = next;
        }
    }

    fn next_page(
        &self,
        answer: &ApiResponse,
        tried: &CallInfo,
        this: &str,
        link: &str,
    ) -> Result<String, CallError> {
        match self.caller.endpoint.own_path_of(link) {
            Some(next) if without_query(&next) == without_query(this) => Ok(next),
            _ => {
                let problem = format!("its next page is elsewhere: {}", shown_address(link));
                Err(answer.broken(tried, problem))
            }
        }
    }
}
