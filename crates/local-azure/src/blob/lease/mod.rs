//! Leases on blobs and containers, as pure decisions.
//!
//! Input is the current lease, the order and the time; output is the new lease. An expired lease, or one
//! whose break period has ended, follows from the time alone: no action is needed, and nothing is written.
//! `None` means that there was never a lease, or that it expired and was removed.

use dropmill_azure_wire::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A lease on a blob or container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A GUID in lower case.
    pub id: Box<str>,
    /// State after the last order; the current state also depends on the time.
    pub standing: Standing,
}

/// The state of a lease after the last order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Held until it is released.
    Infinite,
    /// Held for a fixed time from the last acquire or renew.
    Fixed {
        /// Duration in seconds.
        seconds: u32,
        /// End of the lease.
        until: Timestamp,
    },
    /// Held until this time, broken afterwards.
    Breaking {
        /// End of the break period.
        until: Timestamp,
    },
    /// The lease was broken.
    Broken,
}

/// The state of a lease at a given time, with the names of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum State {
    Available,
    Leased,
    Expired,
    Breaking,
    Broken,
}

/// An order about a lease. Ids are GUIDs in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Acquire the lease under this id.
    Acquire {
        /// Proposed by the client, or generated.
        id: Box<str>,
        /// Duration; `None`: until it is released.
        seconds: Option<u32>,
    },
    /// Renew the lease for the same duration.
    Renew {
        /// Id of the lease.
        id: Box<str>,
    },
    /// Change the id of the lease.
    Change {
        /// Id of the lease.
        id: Box<str>,
        /// The new id.
        to: Box<str>,
    },
    /// Release the lease.
    Release {
        /// Id of the lease.
        id: Box<str>,
    },
    /// Break the lease of another client after this many seconds; `None`: at its regular end.
    Break {
        /// Maximum break period.
        seconds: Option<u32>,
    },
}

/// The reason why an order or a use is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Denied {
    AlreadyPresent,
    BreakingNotAcquired,
    BreakingNotChanged,
    BrokenNotRenewed,
    /// There is no lease for the order.
    NotPresent,
    /// The order names another lease.
    OtherLease,
    /// There is a lease, and the request names none.
    IdMissing,
    /// There is or was a lease with another id.
    UseOfOther,
    /// There is no lease, and the request names one.
    UseOfNone,
    /// The named lease has expired.
    Lost,
}

impl State {
    /// Returns the state as in headers and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Breaking => "breaking",
            Self::Broken => "broken",
        }
    }

    /// Returns whether it prevents writes of others.
    pub fn is_locked(self) -> bool {
        matches!(self, Self::Leased | Self::Breaking)
    }

    /// Returns `locked` or `unlocked`.
    pub fn status(self) -> &'static str {
        if self.is_locked() { "locked" } else { "unlocked" }
    }
}

impl Lease {
    fn new(id: &str, seconds: Option<u32>, now: Timestamp) -> Self {
        let standing = match seconds {
            None => Standing::Infinite,
            Some(seconds) => Standing::Fixed { seconds, until: after(now, seconds) },
        };
        Self { id: id.into(), standing }
    }

    fn with(&self, standing: Standing) -> Self {
        Self { id: self.id.clone(), standing }
    }

    /// Returns the whole seconds until others can acquire a lease: the response to a break.
    pub fn seconds_left(&self, now: Timestamp) -> u64 {
        match self.standing {
            Standing::Fixed { until, .. } | Standing::Breaking { until } if until > now => {
                let left = until.duration_since(now).unsigned_abs();
                left.as_secs() + u64::from(left.subsec_nanos() > 0)
            }
            _ => 0,
        }
    }
}

/// Returns the current state of a lease.
pub fn state(lease: Option<&Lease>, now: Timestamp) -> State {
    match lease.map(|lease| lease.standing) {
        None => State::Available,
        Some(Standing::Infinite) => State::Leased,
        Some(Standing::Fixed { until, .. }) if now < until => State::Leased,
        Some(Standing::Fixed { .. }) => State::Expired,
        Some(Standing::Breaking { until }) if now < until => State::Breaking,
        Some(Standing::Breaking { .. } | Standing::Broken) => State::Broken,
    }
}

/// Returns `infinite` or `fixed` for an active lease.
pub fn duration(lease: Option<&Lease>, now: Timestamp) -> Option<&'static str> {
    let lease = lease.filter(|_| state(lease, now) == State::Leased)?;
    Some(if lease.standing == Standing::Infinite { "infinite" } else { "fixed" })
}

/// Returns the lease after an order; `None`: no lease.
///
/// # Errors
/// Returns the reason why the order is rejected.
pub fn apply(lease: Option<&Lease>, order: &Order, now: Timestamp) -> Result<Option<Lease>, Denied> {
    use {Order as Do, State as Is};
    // Only the id distinguishes an expired and removed lease from one that never existed.
    let Some(had) = lease else {
        return match order {
            Do::Acquire { id, seconds } => Ok(Some(Lease::new(id, *seconds, now))),
            // As in Azure: a request with another id fails with a mismatch, one without an id with a missing
            // lease.
            Do::Renew { .. } | Do::Release { .. } => Err(Denied::OtherLease),
            Do::Change { .. } | Do::Break { .. } => Err(Denied::NotPresent),
        };
    };
    match (state(lease, now), order) {
        (Is::Leased, Do::Acquire { id, .. }) if *id != had.id => Err(Denied::AlreadyPresent),
        (Is::Breaking, Do::Acquire { id, .. }) if *id != had.id => Err(Denied::AlreadyPresent),
        (Is::Breaking, Do::Acquire { .. }) => Err(Denied::BreakingNotAcquired),
        (_, Do::Acquire { id, seconds }) => Ok(Some(Lease::new(id, *seconds, now))),

        (_, Do::Renew { id }) if *id != had.id => Err(Denied::OtherLease),
        (Is::Breaking | Is::Broken, Do::Renew { .. }) => Err(Denied::BrokenNotRenewed),
        (_, Do::Renew { id }) => {
            let seconds = match had.standing {
                Standing::Fixed { seconds, .. } => Some(seconds),
                _ => None,
            };
            Ok(Some(Lease::new(id, seconds, now)))
        }

        (Is::Expired | Is::Broken | Is::Available, Do::Change { .. }) => Err(Denied::NotPresent),
        // Repeating a change that was already made succeeds.
        (_, Do::Change { id, to }) if *id != had.id && *to != had.id => Err(Denied::OtherLease),
        (Is::Breaking, Do::Change { .. }) => Err(Denied::BreakingNotChanged),
        (Is::Leased, Do::Change { to, .. }) => Ok(Some(Lease { id: to.clone(), standing: had.standing })),

        (_, Do::Release { id }) if *id != had.id => Err(Denied::OtherLease),
        (_, Do::Release { .. }) => Ok(None),

        (Is::Expired | Is::Broken | Is::Available, Do::Break { .. }) => Ok(Some(had.with(Standing::Broken))),
        (Is::Leased | Is::Breaking, Do::Break { seconds }) => {
            let asked = seconds.map(|seconds| after(now, seconds));
            let until = match (had.standing, asked) {
                (Standing::Infinite | Standing::Broken, asked) => asked.unwrap_or(now),
                (Standing::Fixed { until, .. } | Standing::Breaking { until }, asked) => {
                    asked.map_or(until, |asked| asked.min(until))
                }
            };
            let standing = if until <= now { Standing::Broken } else { Standing::Breaking { until } };
            Ok(Some(had.with(standing)))
        }
    }
}

/// Checks whether an operation is allowed that a lease protects against; `given` is the lease that the
/// request names.
///
/// # Errors
/// Returns the reason why it is not allowed.
pub fn allow_write(lease: Option<&Lease>, given: Option<&str>, now: Timestamp) -> Result<(), Denied> {
    match given {
        None if state(lease, now).is_locked() => Err(Denied::IdMissing),
        given => allow_read(lease, given, now),
    }
}

/// Checks whether an operation is allowed that needs no lease: a request that names a lease must name the
/// current one.
///
/// # Errors
/// Returns the reason why it is not allowed.
pub fn allow_read(lease: Option<&Lease>, given: Option<&str>, now: Timestamp) -> Result<(), Denied> {
    match (given, lease) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Denied::UseOfNone),
        (Some(id), Some(lease)) if *id != *lease.id => Err(Denied::UseOfOther),
        (Some(_), lease) => {
            if state(lease, now).is_locked() {
                Ok(())
            } else {
                Err(Denied::Lost)
            }
        }
    }
}

/// Returns the lease after a write: an expired one is removed, so that it cannot be renewed afterwards.
pub fn written(lease: &mut Option<Box<Lease>>, now: Timestamp) {
    if !state(lease.as_deref(), now).is_locked() {
        *lease = None;
    }
}

/// Parses a GUID in any usual form: with or without hyphens, in braces or parentheses. Returns it in lower
/// case with hyphens; `None` if it is invalid.
pub fn read_id(text: &str) -> Option<Box<str>> {
    let text = text.trim();
    let inside = [('{', '}'), ('(', ')')];
    let bare = inside.into_iter().find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close));
    let bare = bare.unwrap_or(text);
    let hyphens: Vec<usize> = bare.match_indices('-').map(|(at, _)| at).collect();
    let hex: String = bare.chars().filter(|letter| *letter != '-').collect();
    let well_cut = hyphens == [8, 13, 18, 23] || (hyphens.is_empty() && bare == text);
    let is_hex = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    (well_cut && is_hex).then(|| hyphened(&hex.to_ascii_lowercase()))
}

/// Returns a GUID made from 16 bytes.
pub fn id_of(bytes: [u8; 16]) -> Box<str> {
    let mut bytes = bytes;
    // Marked as random (version 4, variant 1), because clients may check it.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    hyphened(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn hyphened(hex: &str) -> Box<str> {
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]];
    parts.join("-").into()
}

fn after(now: Timestamp, seconds: u32) -> Timestamp {
    now.checked_add(Duration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
