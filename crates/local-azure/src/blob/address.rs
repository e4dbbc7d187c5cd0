//! The container and blob that a path names. Names are keys, never paths: they are not resolved.

use dropmill_azure_wire::{
    blob::{is_valid_blob_name, is_valid_container_name},
    uri::encode_path,
};
use percent_encoding::percent_decode_str;
use std::net::IpAddr;
use url::{Host, Url};

/// The names in a path below the account; empty if missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// Name of the container.
    pub container: String,
    /// Name of the blob.
    pub blob: String,
}

/// An invalid name of a container or blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadAddress {
    #[error("the path is not UTF-8, or contains a zero byte")]
    NotText,
    #[error("the name of a container has 3 to 63 lower-case letters, digits and single hyphens")]
    Container,
    #[error("the name of a blob must have 1 to 1024 characters")]
    Blob,
    #[error("the name of a blob must not have control characters")]
    Control,
}

impl Address {
    /// Splits a path as it was sent, starting after the account's slash.
    ///
    /// # Errors
    /// [`BadAddress::NotText`].
    pub fn read(path: &str) -> Result<Self, BadAddress> {
        let (container, blob) = path.split_once('/').unwrap_or((path, ""));
        Ok(Self { container: text(container)?, blob: text(blob)? })
    }

    /// Checks the names.
    ///
    /// # Errors
    /// Returns the problem of the first invalid name.
    pub fn check(&self) -> Result<(), BadAddress> {
        if !self.container.is_empty() && !is_valid_container_name(&self.container) {
            return Err(BadAddress::Container);
        }
        if !self.blob.is_empty() && !is_valid_blob_name(&self.blob) {
            return Err(BadAddress::Blob);
        }
        Ok(())
    }

    /// Checks whether a blob with this name may be created. A blob with control characters in its name, from
    /// a task, can be read and deleted; clients cannot create one.
    ///
    /// # Errors
    /// [`BadAddress::Control`].
    pub fn check_new(&self) -> Result<(), BadAddress> {
        if self.blob.contains(char::is_control) { Err(BadAddress::Control) } else { Ok(()) }
    }
}

/// Returns what a request's path names, without a leading slash. It depends on the `Host`: the path is below
/// the account's segment (`http://127.0.0.1:10000/account/container`), or below the root if the host is the
/// account's own (`http://account.blob.localhost:10000/container`). `None`: another account.
pub fn inside<'a>(host: &str, path: &'a str, account: &str) -> Option<&'a str> {
    let rest = path.strip_prefix('/')?;
    if is_of(host, account) { Some(rest) } else { below(rest, account) }
}

/// Returns whether a URL leads to the host and port of this service, with any scheme and path. All names and
/// addresses of this machine are the same host.
pub fn is_here(endpoint: &str, url: &str) -> bool {
    let (Ok(own), Ok(url)) = (Url::parse(endpoint), Url::parse(url)) else { return false };
    let same_port = own.port_or_known_default() == url.port_or_known_default();
    let both_loopback = is_loopback(&own) && is_loopback(&url);
    same_port && (own.host() == url.host() || both_loopback)
}

/// Returns whether a URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_loopback_name(name),
        Some(Host::Ipv4(address)) => is_loopback_address(address.into()),
        Some(Host::Ipv6(address)) => is_loopback_address(address.into()),
        None => false,
    }
}

/// Returns whether a name is `localhost` or below it.
fn is_loopback_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Connections to the unspecified address also reach this machine.
fn is_loopback_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// Returns what a URL of this service names, with its query. `endpoint` is `scheme://host:port/account`;
/// other names of this machine and the account's own host are equivalent at the same port.
pub fn inside_url<'a>(endpoint: &str, account: &str, url: &'a str) -> Option<&'a str> {
    let (scheme, base) = endpoint.split_once("://")?;
    let rest = url.strip_prefix(scheme)?.strip_prefix("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let ours = base.split('/').next().unwrap_or_default();
    let path = path.strip_prefix('/').unwrap_or(path);
    let port = |host: &str| host.rsplit_once(':').map(|(_, port)| port.to_owned()).unwrap_or_default();
    let is_alias = |host: &str| {
        let name = host_name(host).trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback_address)
    };
    let same_machine = is_alias(host) && is_alias(ours) && port(host) == port(ours);
    if host.eq_ignore_ascii_case(ours) || same_machine {
        return below(path, account);
    }
    let local = host_name(host).to_ascii_lowercase();
    let same = is_of(host, account) && local.ends_with(".localhost") && port(host) == port(ours);
    same.then_some(path)
}

/// Returns what the URL of a copy source names, with its query. Accepts the URLs of [`inside_url`], and
/// `ACCOUNT.blob.SUFFIX` with any scheme, suffix and port: tools that only know the account's name build such
/// a URL (`https://local.blob.core.windows.net/…`).
pub fn inside_source<'a>(endpoint: &str, account: &str, url: &'a str) -> Option<&'a str> {
    inside_url(endpoint, account, url).or_else(|| {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        let mut labels = host_name(host).split('.').map(str::to_ascii_lowercase);
        let ours = matches!(scheme, "http" | "https")
            && !host.contains('@')
            && labels.next() == Some(account.to_ascii_lowercase())
            && labels.next().as_deref() == Some("blob")
            && labels.next().is_some_and(|suffix| !suffix.is_empty());
        ours.then(|| path.strip_prefix('/').unwrap_or(path))
    })
}

/// Returns what follows the account's segment; a query may follow directly.
fn below<'a>(path: &'a str, account: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(account)?;
    match rest.strip_prefix('/') {
        Some(inside) => Some(inside),
        None => (rest.is_empty() || rest.starts_with('?')).then_some(rest),
    }
}

/// Returns the label after the account in the account's own host: `queue` of `account.queue.localhost`.
pub fn host_label<'a>(host: &'a str, account: &str) -> Option<&'a str> {
    let (_, rest) = host_name(host).split_once('.').filter(|_| is_of(host, account))?;
    rest.split_once('.').map(|(label, _)| label)
}

/// Returns whether a host's first label is the account: `account.localhost`, `account.blob.localhost`.
fn is_of(host: &str, account: &str) -> bool {
    let name = host_name(host);
    let first = name.split_once('.').filter(|(_, rest)| !rest.is_empty()).map(|(first, _)| first);
    first.is_some_and(|first| first.eq_ignore_ascii_case(account))
        && name.parse::<std::net::IpAddr>().is_err()
}

/// Returns a host without its port.
fn host_name(host: &str) -> &str {
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
}

fn text(encoded: &str) -> Result<String, BadAddress> {
    let text = percent_decode_str(encoded).decode_utf8().map_err(|_| BadAddress::NotText)?;
    if text.contains('\0') { Err(BadAddress::NotText) } else { Ok(text.into_owned()) }
}

/// Formatted as in a URL.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { container, blob } = self;
        if blob.is_empty() { f.write_str(container) } else { write!(f, "{container}/{}", encode_path(blob)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_not_normalised() {
        let address =
            |container: &str, blob: &str| Ok(Address { container: container.into(), blob: blob.into() });
        for (path, expected) in [
            ("", address("", "")),
            ("con", address("con", "")),
            ("con/", address("con", "")),
            ("con/a", address("con", "a")),
            ("con//a//", address("con", "/a//")),
            ("con/../../etc/passwd", address("con", "../../etc/passwd")),
            ("con/%2e%2e%2fx", address("con", "../x")),
            ("con/%252e", address("con", "%2e")),
            ("con/a%2Fb", address("con", "a/b")),
            ("con/a\\b", address("con", "a\\b")),
            ("con/a+b", address("con", "a+b")),
            ("con/%C3%A9.", address("con", "é.")),
            ("con/%C0%AF", Err(BadAddress::NotText)),
            ("con/%ff", Err(BadAddress::NotText)),
            ("con/a%00", Err(BadAddress::NotText)),
            ("%00", Err(BadAddress::NotText)),
        ] {
            assert_eq!(Address::read(path), expected, "{path}");
        }
    }

    #[test]
    fn an_account_is_the_first_segment_or_the_first_label() {
        for (host, path, expected) in [
            ("127.0.0.1:10000", "/acc", Some("")),
            ("127.0.0.1:10000", "/acc/", Some("")),
            ("127.0.0.1:10000", "/acc/con/a", Some("con/a")),
            ("127.0.0.1:10000", "/con/a", None),
            ("localhost:10000", "/acc/con", Some("con")),
            ("[::1]:10000", "/acc/con", Some("con")),
            ("", "/acc/con", Some("con")),
            ("acc", "/acc/con", Some("con")),
            ("acc.localhost:10000", "/", Some("")),
            ("acc.localhost:10000", "/con/a", Some("con/a")),
            ("ACC.blob.localhost", "/con/a", Some("con/a")),
            ("acc.blob.localhost:10000", "/acc/a", Some("acc/a")),
            ("other.blob.localhost:10000", "/con/a", None),
            ("accx.localhost:10000", "/con/a", None),
            ("127.0.0.1:10000", "/accx/con", None),
        ] {
            assert_eq!(inside(host, path, "acc"), expected, "{host} {path}");
        }
        assert_eq!(inside("127.0.0.1", "/con", "127"), None, "an address has no labels");
    }

    #[test]
    fn a_url_of_this_service_has_its_host_port_and_account() {
        for (url, expected) in [
            ("http://127.0.0.1:10000/acc/con/a?sig=x", Some("con/a?sig=x")),
            ("http://127.0.0.1:10000/acc?sig=x", Some("?sig=x")),
            ("http://acc.blob.localhost:10000/con/a?sig=x", Some("con/a?sig=x")),
            ("http://acc.localhost:10000/con", Some("con")),
            ("http://localhost:10000/acc/con", Some("con")),
            ("http://[::1]:10000/acc/con", Some("con")),
            ("http://localhost:10001/acc/con", None),
            ("http://localhost/acc/con", None),
            ("http://other.localhost:10000/acc/con", None),
            ("http://acc.localhost:10001/con", None),
            ("http://acc.example.org:10000/con", None),
            ("http://other.localhost:10000/con", None),
            ("http://127.0.0.1:10000/other/con", None),
            ("http://127.0.0.1:10000@example.org/acc/con", None),
            ("http://127.0.0.1:10001/acc/con", None),
            ("https://127.0.0.1:10000/acc/con", None),
            ("file:///acc/con", None),
            ("acc/con", None),
        ] {
            assert_eq!(inside_url("http://127.0.0.1:10000/acc", "acc", url), expected, "{url}");
        }
    }

    #[test]
    fn a_url_leads_to_this_service_by_host_and_port() {
        let local = "http://127.0.0.1:10000/acc";
        let named = "https://blobs.example.org/acc";
        for (endpoint, url, expected) in [
            (local, "http://127.0.0.1:10000/acc/con/a?sig=x", true),
            (local, "http://127.0.0.1:10000/devstoreaccount1/con", true),
            (local, "https://127.0.0.1:10000/acc", true),
            (local, "http://LOCALHOST:10000", true),
            (local, "http://[::1]:10000/", true),
            (local, "http://[::ffff:127.0.0.1]:10000/", true),
            (local, "http://0.0.0.0:10000/", true),
            (local, "http://2130706433:10000/acc/con", true),
            (local, "http://me:word@localhost:10000/", true),
            (local, "http://acc.blob.localhost.:10000/con", true),
            (local, "http://127.0.0.1:10001/acc/con", false),
            (local, "http://127.0.0.1/acc/con", false),
            (local, "http://127.0.0.1:10000@example.org/acc/con", false),
            (local, "http://example.org:10000/acc/con", false),
            (local, "https://acc.blob.core.windows.net/con", false),
            (local, "acc/con", false),
            (named, "https://BLOBS.example.org:443/acc/con", true),
            (named, "http://blobs.example.org:443/acc/con", true),
            (named, "http://blobs.example.org/acc/con", false),
            (named, "https://127.0.0.1/acc/con", false),
        ] {
            assert_eq!(is_here(endpoint, url), expected, "{url}");
        }
    }

    #[test]
    fn a_source_can_also_have_the_accounts_blob_host() {
        for (url, expected) in [
            ("http://127.0.0.1:10000/acc/con/a?sig=x", Some("con/a?sig=x")),
            ("https://acc.blob.core.windows.net/con/a?sig=x", Some("con/a?sig=x")),
            ("http://ACC.Blob.core.chinacloudapi.cn:443/con/a", Some("con/a")),
            ("http://acc.blob.localhost:10001/con/a", Some("con/a")),
            ("https://acc.blob.storage.azure.net?sig=x", Some("?sig=x")),
            ("https://other.blob.core.windows.net/con/a", None),
            ("https://accx.blob.core.windows.net/con/a", None),
            ("https://acc.queue.core.windows.net/con/a", None),
            ("https://acc.core.windows.net/con/a", None),
            ("https://acc.blob/con/a", None),
            ("https://acc.blob./con/a", None),
            ("https://acc.blob.core.windows.net@example.org/con/a", None),
            ("ftp://acc.blob.core.windows.net/con/a", None),
            ("acc.blob.core.windows.net/con/a", None),
        ] {
            assert_eq!(inside_source("http://127.0.0.1:10000/acc", "acc", url), expected, "{url}");
        }
    }

    #[test]
    fn no_blob_is_created_with_control_characters_in_its_name() {
        let new = |blob: &str| Address { container: "con".into(), blob: blob.into() }.check_new();
        for bad in ["a\nb", "\u{1}", "a\u{7f}", "\u{85}", "\r"] {
            assert_eq!(new(bad), Err(BadAddress::Control), "{bad:?}");
        }
        for good in ["../x", "é", "\u{202e}", "\u{fffe}", "a b", "😀"] {
            assert_eq!(new(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn names_have_limits() {
        let check =
            |container: &str, blob: &str| Address { container: container.into(), blob: blob.into() }.check();
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check("abc", &"ä".repeat(1024)), Ok(()));
        assert_eq!(check("abc", &"ä".repeat(1025)), Err(BadAddress::Blob));
        for bad in ["ab", "Abc", "a--b", "-ab", "..", "a_b", &"a".repeat(64)] {
            assert_eq!(check(bad, ""), Err(BadAddress::Container), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_displayed_address_can_be_parsed(blob in "[^\0]{1,20}") {
            let address = Address { container: "con".into(), blob };
            prop_assert_eq!(Address::read(&address.to_string()), Ok(address));
        }
    }
}
