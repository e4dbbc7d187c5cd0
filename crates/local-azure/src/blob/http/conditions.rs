//! Conditional headers: a request is carried out only if the blob has, or does not have, the expected state.

use super::{answer::Refusal, answer::refuse};
use crate::blob::store::{BlobFacts, Refused};
use dropmill_azure_wire::time::{Timestamp, parse_http_date};
use http::HeaderMap;

/// The conditions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    tag_is: Option<String>,
    tag_is_not: Option<String>,
    changed_since: Option<Timestamp>,
    unchanged_since: Option<Timestamp>,
}

/// The reason why a read returns no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The client has the current version.
    NotModified,
    /// The blob does not have the expected state.
    Failed,
}

impl Conditions {
    /// Reads the conditions on the resource itself.
    ///
    /// # Errors
    /// Fails for an invalid date.
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        Self::named(headers, "")
    }

    /// Reads the conditions on the source of a copy.
    ///
    /// # Errors
    /// Fails for an invalid date.
    pub fn of_source(headers: &HeaderMap) -> Result<Self, Refusal> {
        Self::named(headers, "x-ms-source-")
    }

    fn named(headers: &HeaderMap, prefix: &str) -> Result<Self, Refusal> {
        let text = |name: &str| headers.get(format!("{prefix}{name}")).and_then(|value| value.to_str().ok());
        let moment = |name: &str| match text(name).map(|text| (text, parse_http_date(text))) {
            None => Ok(None),
            Some((_, Some(moment))) => Ok(Some(moment)),
            Some((text, None)) => {
                Err(refuse(400, "InvalidHeaderValue", &format!("{name}: {text:?} is not a valid date.")))
            }
        };
        Ok(Self {
            tag_is: text("if-match").map(str::to_owned),
            tag_is_not: text("if-none-match").map(str::to_owned),
            changed_since: moment("if-modified-since")?,
            unchanged_since: moment("if-unmodified-since")?,
        })
    }

    /// Checks whether a write is allowed; `found` is the existing blob.
    ///
    /// # Errors
    /// [`Refused::BlobExists`] if no blob may exist, [`Refused::ConditionFailed`] otherwise.
    pub fn allow_write(&self, found: Option<&BlobFacts>) -> Result<(), Refused> {
        match (found, self.tag_is_not.as_deref().map(str::trim)) {
            (Some(_), Some("*")) => return Err(Refused::BlobExists),
            (Some(blob), Some(tags)) if blob.etag().matches(tags) => return Err(Refused::ConditionFailed),
            _ => {}
        }
        if let Some(tags) = &self.tag_is
            && !found.is_some_and(|blob| blob.etag().matches(tags))
        {
            return Err(Refused::ConditionFailed);
        }
        self.allow_moment(found.map(|blob| blob.modified))
    }

    /// Checks the conditions on times alone, as for containers. Headers have whole seconds.
    ///
    /// # Errors
    /// [`Refused::ConditionFailed`].
    pub fn allow_moment(&self, modified: Option<Timestamp>) -> Result<(), Refused> {
        let Some(modified) = modified.map(Timestamp::as_second) else { return Ok(()) };
        let unchanged = self.changed_since.is_some_and(|since| modified <= since.as_second());
        let changed = self.unchanged_since.is_some_and(|since| modified > since.as_second());
        if unchanged || changed { Err(Refused::ConditionFailed) } else { Ok(()) }
    }

    /// Checks whether a read is allowed.
    ///
    /// # Errors
    /// Returns the reason why it is not.
    pub fn allow_read(&self, blob: &BlobFacts) -> Result<(), Unread> {
        let modified = blob.modified.as_second();
        if self.tag_is.as_ref().is_some_and(|tags| !blob.etag().matches(tags))
            || self.unchanged_since.is_some_and(|since| modified > since.as_second())
        {
            return Err(Unread::Failed);
        }
        match (&self.tag_is_not, self.changed_since) {
            (Some(tags), _) if blob.etag().matches(tags) => Err(Unread::NotModified),
            // RFC 9110 13.1.3: an ETag takes precedence over a date.
            (None, Some(since)) if modified <= since.as_second() => Err(Unread::NotModified),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::store::ContentHeaders;

    const MODIFIED: &str = "2026-03-02T10:11:12.5Z";
    const BEFORE: &str = "Mon, 02 Mar 2026 10:11:11 GMT";
    const SAME: &str = "Mon, 02 Mar 2026 10:11:12 GMT";
    const AFTER: &str = "Mon, 02 Mar 2026 10:11:13 GMT";

    fn blob() -> BlobFacts {
        let modified: Timestamp = MODIFIED.parse().unwrap();
        BlobFacts {
            created: modified,
            modified,
            headers: ContentHeaders::default(),
            metadata: Default::default(),
            tier: None,
            tier_changed: None,
            copied: None,
            tags: Default::default(),
            kind: Default::default(),
            lease: None,
        }
    }

    #[test]
    fn every_condition_on_an_existing_and_on_a_missing_blob() {
        let own = blob().etag().quoted();
        // header, value, write to an existing blob, write to a missing blob, read
        let (ok, exists, failed) = (Ok(()), Err(Refused::BlobExists), Err(Refused::ConditionFailed));
        let (has, stale) = (Err(Unread::NotModified), Err(Unread::Failed));
        let table = [
            ("if-match", "*", &ok, &failed, Ok(())),
            ("if-match", own.as_str(), &ok, &failed, Ok(())),
            ("if-match", "\"0x1\"", &failed, &failed, stale),
            ("if-match", "", &failed, &failed, stale),
            ("if-none-match", "*", &exists, &ok, has),
            ("if-none-match", own.as_str(), &failed, &ok, has),
            ("if-none-match", "\"0x1\"", &ok, &ok, Ok(())),
            ("if-modified-since", BEFORE, &ok, &ok, Ok(())),
            ("if-modified-since", SAME, &failed, &ok, has),
            ("if-modified-since", AFTER, &failed, &ok, has),
            ("if-unmodified-since", BEFORE, &failed, &ok, stale),
            ("if-unmodified-since", SAME, &ok, &ok, Ok(())),
            ("if-unmodified-since", AFTER, &ok, &ok, Ok(())),
        ];
        for (header, value, over, fresh, read) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header, value.parse().unwrap());
            let conditions = Conditions::of(&headers).unwrap();
            assert_eq!(conditions.allow_write(Some(&blob())), *over, "over it: {header}: {value}");
            assert_eq!(conditions.allow_write(None), *fresh, "fresh: {header}: {value}");
            assert_eq!(conditions.allow_read(&blob()), read, "read: {header}: {value}");
            assert_eq!(Conditions::of_source(&headers).unwrap(), Conditions::default());
        }
    }

    #[test]
    fn an_invalid_date_is_rejected() {
        for name in ["if-modified-since", "if-unmodified-since"] {
            let mut headers = HeaderMap::new();
            headers.insert(name, "yesterday".parse().unwrap());
            assert_eq!(Conditions::of(&headers).unwrap_err().error.code, "InvalidHeaderValue");
        }
    }
}
