//! The resource of a request: the account, a container or a blob. The path alone is not enough: a path with
//! one segment is a container only with `restype=container`, otherwise a blob of the container `$root`.

use super::answer::{Refusal, refuse};
use crate::blob::address::Address;

/// The container whose blobs can be named with one segment.
pub const ROOT: &str = "$root";

/// The resource that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The storage account.
    Account,
    /// A container of the account.
    Container,
    /// A blob whose path also names its container.
    Blob,
    /// A blob of [`ROOT`], if that container exists.
    BlobOfRoot,
}

/// Determines the resource from the path below the account (`container/blob`, as sent) and from `restype` (in
/// lower case).
///
/// # Errors
/// Returns 400 if the two contradict each other or name nothing. Such a request must not be treated as one
/// for the container: a deletion would delete all its blobs.
pub fn named(inside: &str, restype: &str) -> Result<Resource, Refusal> {
    let (container, blob) =
        inside.split_once('/').map_or((inside, None), |(first, rest)| (first, Some(rest)));
    match (container, blob, restype) {
        ("", None | Some(""), "" | "account" | "service") => Ok(Resource::Account),
        ("", _, _) => Err(nothing("it has no container")),
        (_, None | Some(""), "container" | "account") => Ok(Resource::Container),
        (_, None, "") => Ok(Resource::BlobOfRoot),
        (_, Some(""), "") => {
            Err(nothing("the name of the blob is empty, and a container needs restype=container"))
        }
        (_, Some(_), "" | "account") => Ok(Resource::Blob),
        _ => {
            let message = format!(
                "Value for one of the query parameters specified in the request URI is invalid: restype={restype} \
                 does not match the path."
            );
            Err(refuse(400, "InvalidQueryParameterValue", &message))
        }
    }
}

/// Returns the error for a path with one segment that names neither a container nor a blob of [`ROOT`].
pub fn no_root() -> Refusal {
    nothing("a container needs restype=container, and there is no container $root whose blob it could be")
}

/// Converts an address with one segment to a blob of [`ROOT`].
pub fn in_root(address: Address) -> Address {
    Address { container: ROOT.to_owned(), blob: address.container }
}

fn nothing(why: &str) -> Refusal {
    let message = format!("The requested URI does not represent any resource on the server: {why}.");
    refuse(400, "InvalidUri", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_named_by_its_path_and_restype_together() {
        use Resource::{Account, Blob, BlobOfRoot, Container};
        let (uri, value) = (Err("InvalidUri"), Err("InvalidQueryParameterValue"));
        for (inside, restype, expected) in [
            ("", "", Ok(Account)),
            ("", "account", Ok(Account)),
            ("", "service", Ok(Account)),
            ("/", "", Ok(Account)),
            ("", "container", uri),
            ("/b", "", uri),
            ("con", "container", Ok(Container)),
            ("con/", "container", Ok(Container)),
            ("con", "account", Ok(Container)),
            ("con", "", Ok(BlobOfRoot)),
            ("con/", "", uri),
            ("con", "service", value),
            ("con", "share", value),
            ("con/b", "", Ok(Blob)),
            ("con/b/", "", Ok(Blob)),
            ("con//", "", Ok(Blob)),
            ("con/b", "account", Ok(Blob)),
            ("con/b", "container", value),
            ("con/b", "service", value),
        ] {
            let found = named(inside, restype).map_err(|refusal| refusal.error.code);
            assert_eq!(found, expected.map_err(str::to_owned), "{inside} restype={restype}");
        }
    }
}
