//! Lease operations, and the lease that other requests name.

use super::{
    Answered,
    answer::{Refusal, put, refuse, tagged},
    ask::Ask,
    conditions::Conditions,
};
use crate::blob::{
    lease::{self, Lease, Order, id_of, read_id},
    store::{BlobFacts, ContainerFacts, Refused},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dropmill_azure_wire::{blob::header as name, time::SharedClock};
use http::StatusCode;
use std::sync::atomic::Ordering;

/// Allowed duration of a fixed lease, in seconds.
const SECONDS: std::ops::RangeInclusive<u32> = 15..=60;
/// Maximum break period in seconds.
const LONGEST_BREAK: u32 = 60;

/// The lease that a request names, if any. The check uses the time of the decision, because a body may take
/// long to arrive.
pub struct Named {
    id: Option<Box<str>>,
    clock: SharedClock,
}

impl Named {
    /// Checks an operation on a blob that a lease protects against.
    ///
    /// # Errors
    /// Fails if the lease does not allow it.
    pub fn allow_write(&self, found: Option<&BlobFacts>) -> Result<(), Refused> {
        let lease = found.and_then(|blob| blob.lease.as_deref());
        lease::allow_write(lease, self.id.as_deref(), self.clock.now()).map_err(Refused::BlobLease)
    }

    /// Checks an operation on a blob that needs no lease.
    ///
    /// # Errors
    /// Fails if the request names another lease than the current one.
    pub fn allow_read(&self, found: Option<&BlobFacts>) -> Result<(), Refused> {
        let lease = found.and_then(|blob| blob.lease.as_deref());
        lease::allow_read(lease, self.id.as_deref(), self.clock.now()).map_err(Refused::BlobLease)
    }

    /// Checks the deletion of a container, the only operation that a lease on it prevents.
    ///
    /// # Errors
    /// Fails if it is not allowed.
    pub fn allow_deletion(&self, found: &ContainerFacts) -> Result<(), Refused> {
        lease::allow_write(found.lease.as_deref(), self.id.as_deref(), self.clock.now())
            .map_err(Refused::ContainerLease)
    }

    /// Checks any other operation on a container.
    ///
    /// # Errors
    /// Fails if the request names another lease than the current one.
    pub fn allow_use(&self, found: &ContainerFacts) -> Result<(), Refused> {
        lease::allow_read(found.lease.as_deref(), self.id.as_deref(), self.clock.now())
            .map_err(Refused::ContainerLease)
    }
}

impl Ask<'_> {
    /// Returns the lease that the request names.
    ///
    /// # Errors
    /// Fails if its id is invalid.
    pub fn named_lease(&self) -> Result<Named, Refusal> {
        self.lease_named_by(name::LEASE_ID)
    }

    /// Returns the lease that a header names.
    ///
    /// # Errors
    /// Fails if its id is invalid.
    pub fn lease_named_by(&self, header: &'static str) -> Result<Named, Refusal> {
        let id = if self.headers.contains_key(header) { Some(self.lease_id(header)?) } else { None };
        Ok(Named { id, clock: self.inner.clock.clone() })
    }

    pub(super) async fn lease_blob(&self) -> Answered {
        let (order, conditions) = (self.lease_order()?, Conditions::of(self.headers)?);
        let allow = |found: Option<&BlobFacts>| conditions.allow_write(found);
        let (container, blob) = (&self.address.container, &self.address.blob);
        let leased = self
            .inner
            .store
            .lease_blob(container, blob, &allow, |lease, now| lease::apply(lease, &order, now));
        let facts = leased.durable().await?.facts.clone();
        let answer = tagged(StatusCode::OK, &facts.etag(), facts.modified);
        Ok(self.leased(answer, &order, facts.lease.as_deref()))
    }

    pub(super) async fn lease_container(&self) -> Answered {
        let (order, conditions) = (self.lease_order()?, Conditions::of(self.headers)?);
        let allow = |found: &ContainerFacts| conditions.allow_moment(Some(found.modified));
        let leased = self
            .inner
            .store
            .lease_container(&self.address.container, &allow, |lease, now| lease::apply(lease, &order, now));
        let facts = leased.durable().await?;
        let answer = tagged(StatusCode::OK, &facts.etag(), facts.modified);
        Ok(self.leased(answer, &order, facts.lease.as_deref()))
    }

    /// Returns the response to a successful lease operation.
    fn leased(
        &self,
        mut answer: axum::response::Response,
        order: &Order,
        lease: Option<&Lease>,
    ) -> axum::response::Response {
        match order {
            Order::Acquire { .. } => *answer.status_mut() = StatusCode::CREATED,
            Order::Break { .. } => {
                *answer.status_mut() = StatusCode::ACCEPTED;
                let left = lease.map_or(0, |lease| lease.seconds_left(self.inner.clock.now()));
                put(&mut answer, name::LEASE_TIME, &left.to_string());
                return answer;
            }
            Order::Renew { .. } | Order::Change { .. } | Order::Release { .. } => {}
        }
        if let Some(lease) = lease {
            put(&mut answer, name::LEASE_ID, &lease.id);
        }
        answer
    }

    /// Returns the lease operation of the headers.
    fn lease_order(&self) -> Result<Order, Refusal> {
        let own = || self.lease_id(name::LEASE_ID);
        Ok(match self.lease_header(name::LEASE_ACTION)?.to_ascii_lowercase().as_str() {
            "acquire" => {
                let seconds = match self.lease_header(name::LEASE_DURATION)? {
                    "-1" => None,
                    text => Some(
                        text.parse()
                            .ok()
                            .filter(|seconds| SECONDS.contains(seconds))
                            .ok_or_else(|| wrong(name::LEASE_DURATION, text))?,
                    ),
                };
                let proposes = self.headers.contains_key(name::PROPOSED_LEASE_ID);
                let id = if proposes { self.lease_id(name::PROPOSED_LEASE_ID)? } else { self.new_lease_id() };
                Order::Acquire { id, seconds }
            }
            "renew" => Order::Renew { id: own()? },
            "change" => Order::Change { id: own()?, to: self.lease_id(name::PROPOSED_LEASE_ID)? },
            "release" => Order::Release { id: own()? },
            "break" => {
                let seconds = match self.header(name::LEASE_BREAK_PERIOD) {
                    None => None,
                    Some(text) => Some(
                        text.parse()
                            .ok()
                            .filter(|seconds| *seconds <= LONGEST_BREAK)
                            .ok_or_else(|| wrong(name::LEASE_BREAK_PERIOD, text))?,
                    ),
                };
                Order::Break { seconds }
            }
            other => return Err(wrong(name::LEASE_ACTION, other)),
        })
    }

    fn lease_header(&self, header: &'static str) -> Result<&str, Refusal> {
        let missing = || {
            let words =
                format!("An HTTP header that's mandatory for this request is not specified: {header}.");
            refuse(400, "MissingRequiredHeader", &words)
        };
        self.header(header).ok_or_else(missing)
    }

    fn lease_id(&self, header: &'static str) -> Result<Box<str>, Refusal> {
        let text = self.lease_header(header)?;
        read_id(text).ok_or_else(|| wrong(header, text))
    }

    /// Returns an id that nobody can guess and that is reproducible: derived with the account's key from the
    /// time and a counter.
    fn new_lease_id(&self) -> Box<str> {
        let number = self.inner.leases.fetch_add(1, Ordering::Relaxed);
        let moment = self.inner.clock.now().as_nanosecond();
        let drawn = self.inner.key.sign(&format!("lease {moment} {number}"));
        let bytes = STANDARD.decode(drawn).unwrap_or_default();
        id_of(bytes.first_chunk().copied().unwrap_or_default())
    }
}

fn wrong(header: &str, text: &str) -> Refusal {
    let words =
        format!("The value for one of the HTTP headers is not in the correct format: {header}: {text:?}.");
    refuse(400, "InvalidHeaderValue", &words)
}
