//! The address of a service, and the URLs of requests to it. They are built without a URL library, because
//! such libraries normalise `..` and `%2e`, which are valid in blob names.

use dropmill_azure_wire::{secret::without_query, transport::TransportError};
use http::{
    Uri,
    uri::{Authority, Scheme},
};
use std::{fmt, net::IpAddr};

/// The address of a service: `https://account.region.batch.azure.com`, `http://127.0.0.1:10000/account`.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

/// The text is not the address of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is not the address of a service: {reason}")]
pub struct BadEndpoint {
    shown: String,
    reason: &'static str,
}

impl Endpoint {
    /// Parses an address. A trailing slash is ignored.
    ///
    /// # Errors
    /// [`BadEndpoint`] if it is not `http` or `https` with a host, or contains a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, BadEndpoint> {
        // The part before an `@` may be a password.
        let bad = |reason| {
            let shown = without_query(text);
            let shown = shown.rsplit('@').next().unwrap_or_default();
            Err(BadEndpoint { shown: shown.to_owned(), reason })
        };
        if text.contains(['?', '#']) {
            return bad("it has a query or a fragment");
        }
        let Ok(uri) = text.trim().parse::<Uri>() else { return bad("it cannot be read as a URL") };
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return bad("it does not begin with http:// or https:// and a host");
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return bad("it does not begin with http:// or https://");
        }
        if authority.as_str().contains('@') {
            return bad("it has a user before the host");
        }
        let base = parts.path_and_query.map(|path| path.path().trim_end_matches('/').to_owned());
        Ok(Self { scheme, authority, base: base.unwrap_or_default() })
    }

    /// Returns the common beginning of all paths: empty, or `/account` for path style.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the host, and the port if the address has one.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Returns whether connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.authority.host())
    }

    /// Returns the URL of a request; `path_and_query` is percent-encoded and begins with [`Self::base`].
    pub(crate) fn uri(&self, path_and_query: String) -> Result<Uri, TransportError> {
        let builder = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        let uri = builder.path_and_query(path_and_query).build();
        uri.map_err(|error| TransportError::Unsendable(format!("its address: {error}")))
    }

    /// Returns the path and query of an address from a response, if it points to this service.
    pub(crate) fn own_path_of(&self, address: &str) -> Option<String> {
        let uri = address.parse::<Uri>().ok()?;
        let authority = uri.authority()?;
        let port = |scheme: &Scheme, authority: &Authority| {
            authority.port_u16().unwrap_or(if *scheme == Scheme::HTTPS { 443 } else { 80 })
        };
        let same = *uri.scheme()? == self.scheme
            && !authority.as_str().contains('@')
            && authority.host().eq_ignore_ascii_case(self.authority.host())
            && port(&self.scheme, authority) == port(&self.scheme, &self.authority);
        same.then(|| uri.path_and_query().map(|path| path.as_str().to_owned()))?
    }
}

/// Returns whether a host is this machine. It is parsed as an address, never compared as a prefix.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parsed_and_displayed() {
        for (text, shown) in [
            ("https://a.westeurope.batch.azure.com", "https://a.westeurope.batch.azure.com"),
            ("http://127.0.0.1:10000/acct/", "http://127.0.0.1:10000/acct"),
            ("http://[::1]:5", "http://[::1]:5"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn invalid_addresses_are_rejected_without_showing_secrets() {
        for text in
            ["", "h", "/p", "ftp://h", "http://", "https://u:S3CRET@h/", "https://h/?sig=S3CRET", "h t"]
        {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("S3CRET"), "{error}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (host, loopback) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("LOCALHOST", true),
            ("127.evil.example", false),
            ("localhost.evil.example", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }

    #[test]
    fn only_an_address_of_the_same_service_is_followed() {
        let here = Endpoint::parse("https://a.batch.azure.com").unwrap();
        for (address, path) in [
            ("https://a.batch.azure.com/jobs?x=1", Some("/jobs?x=1")),
            ("https://A.Batch.Azure.com:443/jobs", Some("/jobs")),
            ("http://a.batch.azure.com/jobs", None),
            ("https://a.batch.azure.com:8443/jobs", None),
            ("https://a.batch.azure.com.evil.example/jobs", None),
            ("https://u@a.batch.azure.com/jobs", None),
            ("//a.batch.azure.com/jobs", None),
            ("/jobs", None),
            ("", None),
        ] {
            assert_eq!(here.own_path_of(address).as_deref(), path, "{address}");
        }
    }
}
