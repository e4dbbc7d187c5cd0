//! Requests about files of tasks and nodes.

use super::{
    Ask,
    answer::{Outcome, empty, json, put},
};
use crate::{
    batch_core::Core,
    model::Refusal,
    orders::{FileEntry, NodeFiles, NodeRef},
};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use dropmill_azure_wire::{
    batch::{FileProperties, NodeFile, Page, header as name, limit},
    etag::ETag,
    time::http_date,
    uri::{encode, encode_path},
};
use futures_util::{Stream, StreamExt, future::ready, stream};
use http::Method;
use std::{io, sync::Arc};

/// Maximum length of a piece of a file that is read at once.
const CHUNK: usize = 256 << 10;

/// The folder of the requested files.
pub struct Place {
    /// Node of the folder.
    pub node: NodeRef,
    /// Folder below the node's root; empty: the root.
    pub folder: String,
    /// URL of the folder's files.
    pub url: String,
    /// Error code if they do not exist.
    pub gone: Option<&'static str>,
}

impl Place {
    fn path(&self, file: &str) -> String {
        match (self.folder.is_empty(), file.is_empty()) {
            (true, _) => file.to_owned(),
            (false, true) => self.folder.clone(),
            (false, false) => format!("{}/{file}", self.folder),
        }
    }

    fn missing(&self) -> Refusal {
        self.gone.map_or_else(|| Refusal::not_found("FileNotFound"), Refusal::conflict)
    }
}

/// Returns a page of the files.
pub fn list(ask: &Ask<'_>, files: &dyn NodeFiles, place: &Place) -> Outcome {
    let recursive = ask.value("recursive").eq_ignore_ascii_case("true");
    let size = ask.page_size(limit::PAGE)?;
    let prefix = starts_with(&ask.value("$filter"))?;
    let entries = files.list(&place.node, &place.folder, recursive).map_err(|_| place.missing())?;
    let after = ask.value("$skiptoken");
    let mut entries =
        entries.into_iter().filter(|entry| entry.name >= after && entry.name.starts_with(&prefix));
    let value = entries.by_ref().take(size).map(|entry| seen(place, entry)).collect();
    let page = Page {
        odata_metadata: Some(format!("{}/$metadata#files", ask.base())),
        value,
        next_link: entries.next().map(|entry| super::routes::next_link(ask, &entry.name)),
    };
    Ok(json(&page))
}

/// Parses a filter: files support only `startswith(name,'…')`.
fn starts_with(filter: &str) -> Result<String, Refusal> {
    if filter.is_empty() {
        return Ok(String::new());
    }
    let inner = filter.trim().strip_prefix("startswith(").and_then(|rest| rest.strip_suffix(')'));
    let prefix = inner
        .and_then(|inner| inner.split_once(','))
        .filter(|(property, _)| property.trim() == "name")
        .and_then(|(_, text)| text.trim().strip_prefix('\'')?.strip_suffix('\''));
    let bad = || Refusal::bad_query("$filter", "Filters of files only support startswith(name,'…')");
    prefix.map(|text| text.replace("''", "'")).ok_or_else(bad)
}

fn seen(place: &Place, entry: FileEntry) -> NodeFile {
    let properties = (!entry.is_directory).then(|| FileProperties {
        creation_time: None,
        last_modified: entry.modified,
        content_length: entry.size_bytes,
        content_type: Some(content_type(&entry.name).into()),
        file_mode: Some(mode(entry.mode)),
    });
    NodeFile {
        url: Some(format!("{}/{}", place.url, encode_path(&entry.name))),
        name: Some(entry.name),
        is_directory: Some(entry.is_directory),
        properties,
    }
}

fn mode(mode: u32) -> String {
    format!("0o{mode:06o}")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("txt" | "log") => "text/plain",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// Handles one file: its content, its properties, or its deletion.
pub fn one(ask: &Ask<'_>, files: &dyn NodeFiles, place: &Place, file: &str) -> Outcome {
    let path = place.path(file);
    let entry = files.entry(&place.node, &path).ok().flatten().ok_or_else(|| place.missing())?;
    if matches!(*ask.method, Method::GET | Method::HEAD) {
        // Files have no ETags: only conditions on times are supported.
        let since = ["if-modified-since", "if-unmodified-since"];
        super::routes::check_named_conditions(ask, &since, &ETag::new(""), entry.modified)?;
    }
    match *ask.method {
        Method::GET if entry.is_directory => {
            Err(Refusal::new(400, "OperationNotValidOnFile", "The specified file is a directory."))
        }
        Method::GET => content(ask, files, place, file, &entry),
        Method::HEAD => {
            let length = entry.size_bytes;
            Ok(described(empty(200), place, &entry, file, length))
        }
        Method::DELETE => {
            let recursive = ask.value("recursive").eq_ignore_ascii_case("true");
            let deleted = files.delete(&place.node, &path, recursive);
            let not_empty = || Refusal::conflict("FileIsADirectory");
            deleted
                .map(|()| empty(200))
                .map_err(|_| if entry.is_directory { not_empty() } else { place.missing() })
        }
        _ => Err(super::routes::no_such_verb()),
    }
}

fn content(ask: &Ask<'_>, files: &dyn NodeFiles, place: &Place, file: &str, entry: &FileEntry) -> Outcome {
    let path = &place.path(file);
    let length = entry.size_bytes;
    let (from, wanted) = match ask.header(name::OCP_RANGE) {
        None => (0, length),
        Some(text) => range(text, length).ok_or_else(|| {
            Refusal::new(
                416,
                "InvalidRange",
                "The range specified is invalid for the current size of the resource.",
            )
        })?,
    };
    // A file of a running task grows: the response has its current length.
    let first = files.read(&place.node, path, from, piece(wanted)).map_err(|_| place.missing())?;
    let there = first.len() as u64;
    if there == wanted || first.is_empty() || wanted <= CHUNK as u64 {
        return Ok(described(Response::new(Body::from(first)), place, entry, file, there));
    }
    let rest = Rest { core: ask.core.clone(), node: place.node.clone(), path: path.clone(), from, wanted };
    let pieces = stream::once(ready(Ok(Bytes::from(first)))).chain(rest.after(there));
    Ok(described(Response::new(Body::from_stream(pieces)), place, entry, file, wanted))
}

/// Returns the length of the next piece.
fn piece(left: u64) -> usize {
    usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)
}

/// The rest of a long file, which is read in pieces as the client receives it, so that no file is in memory
/// as a whole.
struct Rest {
    core: Arc<Core>,
    node: NodeRef,
    path: String,
    from: u64,
    wanted: u64,
}

impl Rest {
    /// Returns the pieces after the first `sent` bytes. The response is interrupted if the file becomes
    /// shorter.
    fn after(self, sent: u64) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold((self, sent), |(rest, sent)| async move {
            let left = rest.wanted.checked_sub(sent).filter(|left| *left > 0)?;
            let read = rest.core.files().read(&rest.node, &rest.path, rest.from + sent, piece(left));
            let read = read.and_then(|bytes| match bytes.is_empty() {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => Ok(Bytes::from(bytes)),
            });
            // An error ends the stream.
            let sent = read.as_ref().map_or(rest.wanted, |bytes| sent + bytes.len() as u64);
            Some((read, (rest, sent)))
        })
    }
}

fn range(text: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = first.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<u64>().ok()?.saturating_add(1).min(length) };
    (from < length && end > from).then(|| (from, end - from))
}

fn described(mut answer: Response, place: &Place, entry: &FileEntry, file: &str, length: u64) -> Response {
    put(&mut answer, "content-length", length.to_string());
    put(&mut answer, "content-type", content_type(&entry.name));
    put(&mut answer, "last-modified", http_date(entry.modified));
    put(&mut answer, name::FILE_IS_DIRECTORY, if entry.is_directory { "True" } else { "False" });
    put(&mut answer, name::FILE_MODE, mode(entry.mode));
    put(&mut answer, name::FILE_URL, encode(&format!("{}/{file}", place.url)));
    answer
}
