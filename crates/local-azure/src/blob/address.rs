//! Which container and blob a path names. Names are keys, never paths: nothing in them is resolved.

use dropmill_azure_wire::{
    blob::{is_valid_blob_name, is_valid_container_name},
    uri::encode_path,
};
use percent_encoding::percent_decode_str;
use std::net::IpAddr;
use url::{Host, Url};

/// What a path below the account names; empty where it names nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// The container.
    pub container: String,
    /// The blob.
    pub blob: String,
}

/// A path that names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadAddress {
    #[error("the path is not UTF-8, or holds a NUL")]
    NotText,
    #[error("the name of a container has 3 to 63 small letters, digits and single hyphens")]
    Container,
    #[error("the name of a blob has 1 to 1024 characters")]
    Blob,
    #[error("the name of a blob has no control characters")]
    Control,
}

impl Address {
    /// Takes a path apart, as it was sent, from behind the account's slash.
    ///
    /// # Errors
    /// [`BadAddress::NotText`].
    pub fn read(path: &str) -> Result<Self, BadAddress> {
        let (container, blob) = path.split_once('/').unwrap_or((path, ""));
        Ok(Self { container: text(container)?, blob: text(blob)? })
    }

    /// Whether the names may be such.
    ///
    /// # Errors
    /// The one that may not.
    pub fn check(&self) -> Result<(), BadAddress> {
        if !self.container.is_empty() && !is_valid_container_name(&self.container) {
            return Err(BadAddress::Container);
        }
        if !self.blob.is_empty() && !is_valid_blob_name(&self.blob) {
            return Err(BadAddress::Blob);
        }
        Ok(())
    }

    /// Whether a blob may be made under the name. What a task left under a name with control characters can be read and
    /// deleted; nobody else makes any.
    ///
    /// # Errors
    /// [`BadAddress::Control`].
    pub fn check_new(&self) -> Result<(), BadAddress> {
        if self.blob.contains(char::is_control) { Err(BadAddress::Control) } else { Ok(()) }
    }
}

/// What a request's path names, without a slash in front, by the `Host` it was sent to: below the account's segment
/// (`http://127.0.0.1:10000/account/container`), or below the root if the host is the account's own
/// (`http://account.blob.localhost:10000/container`). `None`: another account's.
pub fn inside<'a>(host: &str, path: &'a str, account: &str) -> Option<&'a str> {
    let rest = path.strip_prefix('/')?;
    if is_of(host, account) { Some(rest) } else { below(rest, account) }
}

/// Whether a URL leads to the host and port of this service, whatever its scheme and path. All names and addresses of this
/// machine are one host.
pub fn is_here(endpoint: &str, url: &str) -> bool {
    let (Ok(own), Ok(url)) = (Url::parse(endpoint), Url::parse(url)) else { return false };
    let same_port = own.port_or_known_default() == url.port_or_known_default();
    let both_loopback = is_loopback(&own) && is_loopback(&url);
    same_port && (own.host() == url.host() || both_loopback)
}

/// Whether a URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_loopback_name(name),
        Some(Host::Ipv4(address)) => is_loopback_address(address.into()),
        Some(Host::Ipv6(address)) => is_loopback_address(address.into()),
        None => false,
    }
}

/// `localhost` and every name below it.
fn is_loopback_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// A connection to the unspecified address reaches this machine, too.
fn is_loopback_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// What a URL of this service names, with its query. `endpoint` is `scheme://host:port/account`; another name of this machine
/// and the account's own host lead to the same place at the same port.
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

/// What the URL of a copy's source names, with its query: what [`inside_url`] takes for this service's, and
/// `ACCOUNT.blob.SUFFIX` whatever its scheme, suffix and port. Tools that are given an account's name make such a source
/// of it (`https://local.blob.core.windows.net/…`).
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

/// What follows the account's segment; a query may follow at once.
fn below<'a>(path: &'a str, account: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(account)?;
    match rest.strip_prefix('/') {
        Some(inside) => Some(inside),
        None => (rest.is_empty() || rest.starts_with('?')).then_some(rest),
    }
}

/// Returns the label behind the account's in a host of the account's own: `queue` of `account.queue.localhost`.
pub fn host_label<'a>(host: &'a str, account: &str) -> Option<&'a str> {
    let (_, rest) = host_name(host).split_once('.').filter(|_| is_of(host, account))?;
    rest.split_once('.').map(|(label, _)| label)
}

/// Whether a host's first label is the account: `account.localhost`, `account.blob.localhost`.
fn is_of(host: &str, account: &str) -> bool {
    let name = host_name(host);
    let first = name.split_once('.').filter(|(_, rest)| !rest.is_empty()).map(|(first, _)| first);
    first.is_some_and(|first| first.eq_ignore_ascii_case(account))
        && name.parse::<std::net::IpAddr>().is_err()
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
}

fn text(encoded: &str) -> Result<String, BadAddress> {
    let text = percent_decode_str(encoded).decode_utf8().map_err(|_| BadAddress::NotText)?;
    if text.contains('\0') { Err(BadAddress::NotText) } else { Ok(text.into_owned()) }
}

/// As in a URL.
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
    fn names_are_taken_as_they_are() {
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
    fn a_url_is_ours_by_its_host_port_and_account() {
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
    fn a_url_leads_here_by_its_host_and_port() {
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
    fn a_source_is_ours_by_the_accounts_blob_host_too() {
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
    fn no_blob_is_made_under_a_name_with_control_characters() {
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
        fn what_is_shown_is_read_back(blob in "[^\0]{1,20}") {
            let address = Address { container: "con".into(), blob };
            prop_assert_eq!(Address::read(&address.to_string()), Ok(address));
        }
    }
}
