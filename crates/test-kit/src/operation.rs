//! Names for the operations of requests. A fault selects requests by operation, not by address.

use http::{Method, Uri};

/// The operation of a request and the resource that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Name of the operation, such as `add tasks` or `put blob`: one of [`names`].
    pub name: &'static str,
    /// The pool, node, job, task, container or blob: the ids at the end of the path, joined by `/`.
    pub subject: String,
}

/// Batch operations: method, path (`*` stands for an id) and name. The first match counts.
const BATCH: &[(&str, &str, &str)] = &[
    ("POST", "pools", "create pool"),
    ("GET", "pools", "list pools"),
    ("GET", "nodecounts", "count nodes"),
    ("GET", "pools/*", "get pool"),
    ("HEAD", "pools/*", "get pool"),
    ("PATCH", "pools/*", "patch pool"),
    ("DELETE", "pools/*", "delete pool"),
    ("POST", "pools/*/resize", "resize pool"),
    ("POST", "pools/*/stopresize", "stop resize"),
    ("POST", "pools/*/removenodes", "remove nodes"),
    ("GET", "pools/*/nodes", "list nodes"),
    ("GET", "pools/*/nodes/*", "get node"),
    ("POST", "pools/*/nodes/*/reboot", "reboot node"),
    ("GET", "pools/*/nodes/*/files/**", "get node file"),
    ("HEAD", "pools/*/nodes/*/files/**", "get node file"),
    ("POST", "jobs", "create job"),
    ("GET", "jobs", "list jobs"),
    ("GET", "jobs/*", "get job"),
    ("PATCH", "jobs/*", "patch job"),
    ("DELETE", "jobs/*", "delete job"),
    ("POST", "jobs/*/disable", "disable job"),
    ("POST", "jobs/*/terminate", "terminate job"),
    ("GET", "jobs/*/taskcounts", "count tasks"),
    ("POST", "jobs/*/addtaskcollection", "add tasks"),
    ("POST", "jobs/*/tasks", "add task"),
    ("GET", "jobs/*/tasks", "list tasks"),
    ("GET", "jobs/*/tasks/*", "get task"),
    ("DELETE", "jobs/*/tasks/*", "delete task"),
    ("POST", "jobs/*/tasks/*/terminate", "terminate task"),
    ("GET", "jobs/*/tasks/*/files/**", "get task file"),
    ("HEAD", "jobs/*/tasks/*/files/**", "get task file"),
];

/// Name of a Batch operation that is not in the table.
const OTHER: &str = "other";

/// Blob operations, determined by method, by the resource in the path and by `comp`.
const BLOB: &[&str] = &[
    "create container",
    "delete container",
    "get container",
    "list blobs",
    "put blob",
    "put block",
    "put block list",
    "get blob",
    "head blob",
    "delete blob",
];

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
    let mut names: Vec<_> = BATCH.iter().map(|(.., name)| *name).chain(BLOB.iter().copied()).collect();
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
    BLOB.contains(&name)
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
        for (wanted, path, name) in BATCH {
            if method == *wanted
                && let Some(ids) = fits(path, segments)
            {
                return Self { name, subject: ids.join("/") };
            }
        }
        Self { name: OTHER, subject: segments.join("/") }
    }

    fn of_blob(method: &Method, segments: &[&str], query: &str) -> Self {
        // The first segment is the account, because addresses are in path style.
        let (container, blob) = match segments {
            [_, container, blob @ ..] => (*container, blob.join("/")),
            _ => return Self { name: OTHER, subject: segments.join("/") },
        };
        let asks = |part: &str| query.split('&').any(|pair| pair == part);
        let name = match (method.as_str(), blob.is_empty()) {
            ("PUT", true) => "create container",
            ("DELETE", true) => "delete container",
            ("GET", true) if asks("comp=list") => "list blobs",
            (_, true) => "get container",
            ("PUT", false) if asks("comp=block") => "put block",
            ("PUT", false) if asks("comp=blocklist") => "put block list",
            ("PUT", false) => "put blob",
            ("HEAD", false) => "head blob",
            ("DELETE", false) => "delete blob",
            _ => "get blob",
        };
        let subject = if blob.is_empty() { container.to_owned() } else { format!("{container}/{blob}") };
        Self { name, subject }
    }
}

/// Returns the ids of a path that matches a pattern. `**` matches the rest of the path as one id.
fn fits<'a>(pattern: &str, segments: &[&'a str]) -> Option<Vec<String>> {
    let mut ids = vec![];
    let mut segments = segments.iter();
    for part in pattern.split('/') {
        match part {
            "**" => {
                let rest: Vec<&'a str> = segments.by_ref().copied().collect();
                if rest.is_empty() {
                    return None;
                }
                ids.push(rest.join("/"));
            }
            "*" => ids.push((*segments.next()?).to_owned()),
            word => {
                if segments.next() != Some(&word) {
                    return None;
                }
            }
        }
    }
    segments.next().is_none().then_some(ids)
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
