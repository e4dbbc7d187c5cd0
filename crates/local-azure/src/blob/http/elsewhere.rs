//! Recognises requests for the account's other services: queues, tables, files and Data Lake. Only Blob
//! Storage is emulated; if such requests were treated as Blob requests, the responses would be misleading
//! errors, or even success.

use super::answer::{Refusal, refuse};
use crate::blob::address::host_label;
use dropmill_azure_wire::uri;
use http::{Method, request::Parts};
use percent_encoding::percent_decode_str;

/// A storage service that is not emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The Queue Storage service.
    Queue,
    /// The Table Storage service.
    Table,
    /// The Azure Files service.
    File,
    /// Data Lake Storage, the `dfs` endpoint.
    DataLake,
}

const FLAT: &str =
    "This operation is only supported on a hierarchical namespace account, and this account has a flat one.";

/// Query parameters that only one service has.
const OF_QUERY: &[(&str, Service)] = &[
    ("popreceipt", Service::Queue),
    ("numofmessages", Service::Queue),
    ("peekonly", Service::Queue),
    ("visibilitytimeout", Service::Queue),
    ("messagettl", Service::Queue),
    ("$filter", Service::Table),
    ("$top", Service::Table),
    ("$select", Service::Table),
    ("nextpartitionkey", Service::Table),
    ("nexttablename", Service::Table),
    // Deleting a folder recursively would look like deleting a blob that does not exist.
    ("recursive", Service::DataLake),
];

/// Query values that only one service has.
const OF_VALUES: &[(&str, &[&str], Service)] = &[
    ("resource", &["filesystem", "account", "directory", "file"], Service::DataLake),
    (
        "action",
        &[
            "append",
            "flush",
            "setproperties",
            "setaccesscontrol",
            "setaccesscontrolrecursive",
            "getaccesscontrol",
            "getstatus",
            "checkaccess",
        ],
        Service::DataLake,
    ),
    ("restype", &["share", "directory"], Service::File),
];

/// Headers that only one service has.
const OF_HEADERS: &[(&str, Service)] = &[
    ("dataserviceversion", Service::Table),
    ("maxdataserviceversion", Service::Table),
    ("x-ms-rename-source", Service::DataLake),
    ("x-ms-file-permission", Service::File),
    ("x-ms-file-permission-key", Service::File),
];

/// User agents of the official clients of one service, in lower case. Clients of Data Lake also use Blob.
const OF_CLIENTS: &[(&[&str], Service)] = &[
    (&["storage-queue", "storagequeue", "storage.queue", "storage_queue", "azqueue"], Service::Queue),
    (&["data-table", "datatable", "data.table", "data_table", "aztables"], Service::Table),
    (&["storage-file-share", "storagefileshare", "storage.files.shares", "azfile"], Service::File),
];

/// Returns the service that a request is meant for, if it is clearly not Blob. `inside` is its path below the
/// account.
pub fn recognise(account: &str, host: &str, inside: &str, parts: &Parts) -> Option<Service> {
    of_host(account, host)
        .or_else(|| of_headers(parts))
        .or_else(|| of_query(parts.uri.query().unwrap_or_default()))
        .or_else(|| of_path(&parts.method, inside))
        .or_else(|| of_client(parts))
}

/// Returns the error for a request for another service.
pub fn refused(service: Service, query: &str) -> Refusal {
    if service == Service::DataLake && asks_for_access_control(query) {
        return refuse(400, "HierarchicalNamespaceNotEnabled", FLAT);
    }
    let name = match service {
        Service::Queue => "Queue storage",
        Service::Table => "Table storage",
        Service::File => "Azure Files",
        Service::DataLake => "Data Lake Storage (the dfs endpoint)",
    };
    let message = format!(
        "{name} is not emulated: this is a Blob endpoint, and only Blob storage is. Use another endpoint for this client."
    );
    refuse(501, "NotImplemented", &message)
}

/// Returns whether a request asks for the access control list of a path. Apache Arrow and Hadoop ask for that
/// of a container's root to find out whether the account has a hierarchical namespace, and use Blob alone if
/// the response is that of a flat account.
fn asks_for_access_control(query: &str) -> bool {
    uri::pairs(query).any(|(name, value)| {
        name.eq_ignore_ascii_case("action") && value.eq_ignore_ascii_case("getAccessControl")
    })
}

fn of_host(account: &str, host: &str) -> Option<Service> {
    match &*host_label(host, account)?.to_ascii_lowercase() {
        "queue" => Some(Service::Queue),
        "table" => Some(Service::Table),
        "file" => Some(Service::File),
        "dfs" => Some(Service::DataLake),
        _ => None,
    }
}

fn of_headers(parts: &Parts) -> Option<Service> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text("accept").contains("odata=") {
        return Some(Service::Table);
    }
    if ["file", "directory"].contains(&text("x-ms-type")) {
        return Some(Service::File);
    }
    OF_HEADERS.iter().find(|(name, _)| parts.headers.contains_key(*name)).map(|(_, service)| *service)
}

fn of_query(query: &str) -> Option<Service> {
    uri::pairs(query).find_map(|(name, value)| {
        let (name, value) = (name.to_ascii_lowercase(), value.to_ascii_lowercase());
        let named = OF_QUERY.iter().find(|(known, _)| *known == name).map(|(_, service)| *service);
        let valued =
            || OF_VALUES.iter().find(|(known, values, _)| *known == name && values.contains(&&*value));
        named.or_else(|| valued().map(|(_, _, service)| *service))
    })
}

fn of_path(method: &Method, inside: &str) -> Option<Service> {
    let (first, rest) = inside.split_once('/').map_or((inside, ""), |(first, rest)| (first, rest));
    let first = percent_decode_str(first).decode_utf8_lossy();
    // `Tables`, `Tables('name')`, `name()`, `name(PartitionKey='a',RowKey='b')`: these are not valid
    // container names.
    let of_entities = first
        .strip_suffix(')')
        .and_then(|named| named.split_once('('))
        .is_some_and(|(_, key)| key.is_empty() || key.starts_with('\'') || key.starts_with("PartitionKey="));
    if first == "Tables" || first == "$batch" || of_entities || method.as_str() == "MERGE" {
        return Some(Service::Table);
    }
    match *method {
        Method::POST if rest == "messages" => Some(Service::Queue),
        Method::PATCH => Some(Service::DataLake),
        _ => None,
    }
}

fn of_client(parts: &Parts) -> Option<Service> {
    let client = parts.headers.get("user-agent")?.to_str().ok()?.to_ascii_lowercase();
    let client = client.split_whitespace().find_map(|word| word.strip_prefix("azsdk-"))?;
    let called = |names: &[&str]| names.iter().any(|name| client.contains(name));
    OF_CLIENTS.iter().find(|(names, _)| called(names)).map(|(_, service)| *service)
}

#[cfg(test)]
mod tests {
    use super::{Service::*, *};
    use http::Request;

    fn recognised(host: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> Option<Service> {
        let mut request = Request::builder().method(method).uri(format!("/{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        recognise("acc", host, parts.uri.path().strip_prefix('/').unwrap(), &parts)
    }

    #[test]
    fn a_request_for_another_service_is_recognised_by_its_host() {
        for (host, expected) in [
            ("acc.queue.localhost:10001", Some(Queue)),
            ("ACC.Table.core.windows.net", Some(Table)),
            ("acc.file.localhost", Some(File)),
            ("acc.dfs.core.windows.net:443", Some(DataLake)),
            ("acc.blob.localhost:10000", None),
            ("acc.localhost:10000", None),
            ("acc.queue", None),
            ("other.queue.localhost", None),
            ("queue.localhost", None),
            ("127.0.0.1:10000", None),
            ("", None),
        ] {
            assert_eq!(recognised(host, "GET", "con/b", &[]), expected, "{host}");
        }
    }

    #[test]
    fn a_request_for_another_service_is_recognised_by_its_path_and_query() {
        for (method, target, expected) in [
            ("POST", "Tables", Some(Table)),
            ("GET", "Tables", Some(Table)),
            ("DELETE", "Tables('people')", Some(Table)),
            ("DELETE", "Tables(%27people%27)", Some(Table)),
            ("GET", "people()", Some(Table)),
            ("GET", "people(PartitionKey='a',RowKey='b')", Some(Table)),
            ("POST", "$batch", Some(Table)),
            ("MERGE", "people", Some(Table)),
            ("GET", "people?$filter=a%20eq%201", Some(Table)),
            ("GET", "people?%24top=1", Some(Table)),
            ("POST", "jobs/messages", Some(Queue)),
            ("POST", "jobs/messages?timeout=5", Some(Queue)),
            ("GET", "jobs/messages?numofmessages=32", Some(Queue)),
            ("GET", "jobs/messages?peekonly=true", Some(Queue)),
            ("DELETE", "jobs/messages/1?popreceipt=x", Some(Queue)),
            ("PUT", "jobs/messages/1?popreceipt=x&visibilitytimeout=0", Some(Queue)),
            ("PUT", "fs?resource=filesystem", Some(DataLake)),
            ("GET", "?resource=account", Some(DataLake)),
            ("PUT", "fs/a?resource=file", Some(DataLake)),
            ("PUT", "fs/a?resource=Directory", Some(DataLake)),
            ("PATCH", "fs/a?action=append&position=0", Some(DataLake)),
            ("PATCH", "fs/a", Some(DataLake)),
            ("HEAD", "fs/a?action=getStatus", Some(DataLake)),
            ("DELETE", "fs/d?recursive=true", Some(DataLake)),
            ("PUT", "share?restype=share", Some(File)),
            ("PUT", "share/dir?restype=directory", Some(File)),
            // Requests of Blob, or possibly of Blob.
            ("GET", "con/messages", None),
            ("PUT", "con/messages", None),
            ("POST", "con/a/messages", None),
            ("DELETE", "con/Tables", None),
            ("GET", "con/people()", None),
            ("PUT", "con/a%20(1)", None),
            ("GET", "con?restype=container&comp=list", None),
            ("GET", "con/a?action=read&resource=x", None),
            ("POST", "?comp=batch", None),
            ("GET", "?restype=account&comp=properties", None),
            ("PUT", "con", None),
        ] {
            assert_eq!(recognised("127.0.0.1:10000", method, target, &[]), expected, "{method} {target}");
        }
    }

    #[test]
    fn only_a_request_for_access_control_gets_the_response_of_a_flat_account() {
        for (service, query, expected) in [
            (DataLake, "action=getAccessControl", (400, "HierarchicalNamespaceNotEnabled")),
            (DataLake, "upn=false&Action=getaccesscontrol", (400, "HierarchicalNamespaceNotEnabled")),
            (DataLake, "action=setAccessControl", (501, "NotImplemented")),
            (DataLake, "action=getStatus", (501, "NotImplemented")),
            (DataLake, "", (501, "NotImplemented")),
            (Queue, "action=getAccessControl", (501, "NotImplemented")),
        ] {
            let refusal = refused(service, query);
            assert_eq!(
                (refusal.status.as_u16(), refusal.error.code.as_str()),
                expected,
                "{service:?} {query}"
            );
        }
    }

    #[test]
    fn a_request_for_another_service_is_recognised_by_its_headers() {
        for (name, value, expected) in [
            ("dataserviceversion", "3.0", Some(Table)),
            ("MaxDataServiceVersion", "3.0;NetFx", Some(Table)),
            ("accept", "application/json;odata=minimalmetadata", Some(Table)),
            ("x-ms-rename-source", "/fs/a", Some(DataLake)),
            ("x-ms-type", "file", Some(File)),
            ("user-agent", "azsdk-python-storage-queue/12.9.0 Python/3.12", Some(Queue)),
            ("user-agent", "myapp azsdk-net-Storage.Queues/12.17.1 (.NET 8.0)", Some(Queue)),
            ("user-agent", "azsdk-js-azure-storage-queue/12.17.0", Some(Queue)),
            ("user-agent", "azsdk-go-azqueue/v1.0.0", Some(Queue)),
            ("user-agent", "azsdk-python-data-tables/12.5.0", Some(Table)),
            ("user-agent", "azsdk-net-Data.Tables/12.8.0", Some(Table)),
            ("user-agent", "azsdk-python-storage-file-share/12.15.0", Some(File)),
            ("user-agent", "azsdk-python-storage-blob/12.19.0", None),
            ("user-agent", "azsdk-python-storage-dfs/12.14.0", None),
            ("user-agent", "storage-queue-tool/1", None),
            ("accept", "application/xml", None),
            ("x-ms-type", "other", None),
        ] {
            let found = recognised("127.0.0.1:10000", "GET", "?comp=list", &[(name, value)]);
            assert_eq!(found, expected, "{name}: {value}");
        }
    }
}
