//! A lease on a blob or container, decided without doing anything.
//!
//! Tell this module the lease there is, the order and the moment; it answers with the lease that follows. What has passed
//! (a lease that ran out, a break that was waited for) is a question of the moment alone: nothing has to happen for it,
//! and nothing is written. `None` is a thing that was never leased, or whose lease is over and forgotten.

use dropmill_azure_wire::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A GUID in small letters.
    pub id: Box<str>,
    /// How it stands, but for what time does to it.
    pub standing: Standing,
}

/// How a lease was left by the last order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Held until it is given back.
    Infinite,
    /// Held for so many seconds from the last acquire or renew.
    Fixed {
        /// How long.
        seconds: u32,
        /// Its end.
        until: Timestamp,
    },
    /// Held until this moment, broken from then on.
    Breaking {
        /// Its end.
        until: Timestamp,
    },
    /// Broken.
    Broken,
}

/// What a lease is at a moment. The names are those of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum State {
    Available,
    Leased,
    Expired,
    Breaking,
    Broken,
}

/// What somebody wants of a lease. Ids are GUIDs in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// To have it, under this id.
    Acquire {
        /// Proposed by the caller, or made for it.
        id: Box<str>,
        /// How long; `None`: until it is given back.
        seconds: Option<u32>,
    },
    /// To have it for the same length again.
    Renew {
        /// The lease's.
        id: Box<str>,
    },
    /// To have it under another id.
    Change {
        /// The lease's.
        id: Box<str>,
        /// The other one.
        to: Box<str>,
    },
    /// To give it back.
    Release {
        /// The lease's.
        id: Box<str>,
    },
    /// To take it from whoever has it, after so many seconds; `None`: when it would have ended anyway.
    Break {
        /// How long to wait at most.
        seconds: Option<u32>,
    },
}

/// Why an order is not carried out, or a lease does not allow something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Denied {
    AlreadyPresent,
    BreakingNotAcquired,
    BreakingNotChanged,
    BrokenNotRenewed,
    /// There is no lease that the order could be about.
    NotPresent,
    /// The order names another lease.
    OtherLease,
    /// It is leased, and the request names no lease.
    IdMissing,
    /// It is or was leased under another id.
    UseOfOther,
    /// It is not leased, and the request names a lease.
    UseOfNone,
    /// The lease that the request names is over.
    Lost,
}

impl State {
    /// As headers and lists write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Breaking => "breaking",
            Self::Broken => "broken",
        }
    }

    /// Whether it keeps others from writing.
    pub fn is_locked(self) -> bool {
        matches!(self, Self::Leased | Self::Breaking)
    }

    /// `locked` or `unlocked`.
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

    /// Whole seconds until others may lease it: what a break answers.
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

/// What a lease is now.
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

/// `infinite` or `fixed`, while it is leased.
pub fn duration(lease: Option<&Lease>, now: Timestamp) -> Option<&'static str> {
    let lease = lease.filter(|_| state(lease, now) == State::Leased)?;
    Some(if lease.standing == Standing::Infinite { "infinite" } else { "fixed" })
}

/// The lease that an order leaves; `None`: none.
///
/// # Errors
/// Why it changes nothing.
pub fn apply(lease: Option<&Lease>, order: &Order, now: Timestamp) -> Result<Option<Lease>, Denied> {
    use {Order as Do, State as Is};
    // What is over and forgotten is told from what never was by its id alone.
    let Some(had) = lease else {
        return match order {
            Do::Acquire { id, seconds } => Ok(Some(Lease::new(id, *seconds, now))),
            // As the service has it: who names a lease names another, who names none finds none.
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
        // A change that was made already is made again.
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

/// Whether something that a lease keeps others from may be done, `given` being the lease that the request names.
///
/// # Errors
/// Why not.
pub fn allow_write(lease: Option<&Lease>, given: Option<&str>, now: Timestamp) -> Result<(), Denied> {
    match given {
        None if state(lease, now).is_locked() => Err(Denied::IdMissing),
        given => allow_read(lease, given, now),
    }
}

/// Whether something that everybody may do may be done: a request that names a lease must name the one there is.
///
/// # Errors
/// Why not.
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

/// The lease that a write leaves: one that is over is forgotten, so that it cannot be renewed over what was written.
pub fn written(lease: &mut Option<Box<Lease>>, now: Timestamp) {
    if !state(lease.as_deref(), now).is_locked() {
        *lease = None;
    }
}

/// Reads a GUID in any of its usual forms: with or without hyphens, in braces or parentheses; gives it in small letters
/// with hyphens. `None` if it is none.
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

/// A GUID of 16 bytes.
pub fn id_of(bytes: [u8; 16]) -> Box<str> {
    let mut bytes = bytes;
    // Marked as made at random (version 4, variant 1), as clients may check.
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
