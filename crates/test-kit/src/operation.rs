//! Names for the operations of requests. A fault selects requests by operation, not by address.

use dropmill_azure_wire::operation as wire;
use http::{Method, Uri};

/// The operation of a request and the resource that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Name of the operation, such as `add tasks` or `put blob`: one of [`names`].
    pub name: &'static str,
    /// The pool, node, job, task, container or blob: the ids at the end of the path, joined by `/`.
    pub subject: String,
}

/// Name of an operation that is not in the table.
const OTHER: &str = "other";

/// A result is written to the output folder.
pub const DELIVER: &str = "deliver";
/// A node downloads a task's inputs.
pub const FETCH: &str = "fetch inputs";
/// A node uploads a task's outputs.
pub const STORE: &str = "store outputs";

/// Operations that are not requests of the client.
const ELSEWHERE: &[&str] = &[FETCH, STORE, DELIVER];

/// Returns all names, for error messages and checks.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = wire::Operation::ALL.iter().map(|operation| operation.name()).collect();
    names.push(OTHER);
    names.extend(ELSEWHERE);
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    names
}

/// Returns whether an operation is done by nodes or on the local disk, and is not a request of the client.
pub fn is_elsewhere(name: &str) -> bool {
    ELSEWHERE.contains(&name)
}

/// Returns whether a name is that of a Blob operation.
pub fn is_blob(name: &str) -> bool {
    let blobs = wire::Operation::ALL.iter().filter(|operation| operation.service() == wire::Service::Blob);
    blobs.into_iter().any(|operation| operation.name() == name)
}

impl Operation {
    /// Returns the operation of a request. Every Batch request has `api-version`, no Blob request has it.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        if query.to_ascii_lowercase().contains("api-version=") {
            Self::of_batch(method, &segments)
        } else {
            Self::of_blob(method, &segments, query)
        }
    }

    fn of_batch(method: &Method, segments: &[&str]) -> Self {
        if let Some((operation, ids)) = wire::Operation::of_batch(method, segments) {
            return Self { name: operation.name(), subject: ids.join("/") };
        }
        Self { name: OTHER, subject: segments.join("/") }
    }

    fn of_blob(method: &Method, segments: &[&str], query: &str) -> Self {
        // The first segment is the account, because addresses are in path style.
        let (container, blob) = match segments {
            [_, container, blob @ ..] => (*container, blob.join("/")),
            _ => return Self { name: OTHER, subject: segments.join("/") },
        };
        let comp = query.split('&').find_map(|pair| pair.strip_prefix("comp=")).unwrap_or_default();
        let operation = wire::Operation::of_blob(method, !blob.is_empty(), comp);
        let name = operation.map_or(OTHER, wire::Operation::name);
        let subject = if blob.is_empty() { container.to_owned() } else { format!("{container}/{blob}") };
        Self { name, subject }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_names() {
        let cases = [
            ("POST", "http://b/pools?api-version=1", "create pool", ""),
            ("POST", "http://b/jobs/j/addtaskcollection?api-version=1&timeout=30", "add tasks", "j"),
            ("GET", "http://b/jobs/j/tasks?$filter=x&api-version=1", "list tasks", "j"),
            ("GET", "http://b/jobs/j/tasks/t/files/wd/a.txt?api-version=1", "get task file", "j/t/wd/a.txt"),
            ("PUT", "http://b/unknown/x?api-version=1", "other", "unknown/x"),
            ("PUT", "http://s/local/con?restype=container", "create container", "con"),
            ("GET", "http://s/local/con?comp=list&restype=container", "list blobs", "con"),
            ("PUT", "http://s/local/con/a/b.txt", "put blob", "con/a/b.txt"),
            ("PUT", "http://s/local/con/b?comp=blocklist", "put block list", "con/b"),
            ("PUT", "http://s/local/con/b?blockid=x&comp=block", "put block", "con/b"),
        ];
        for (method, uri, name, subject) in cases {
            let found = Operation::of(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(found, Operation { name, subject: subject.into() }, "{method} {uri}");
            assert!(names().contains(&name));
        }
    }
}
