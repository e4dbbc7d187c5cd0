//! All text formats: written values are parsed back unchanged.
#![no_main]

use dropmill_azure_wire::{
    batch::{JobAdd, JobPatch, PoolAdd, PoolPatch, TaskAdd},
    blob::{BlobList, Block, BlockList, ContainerList, read_block_choices, write_block_choices},
    command_line,
    duration::IsoDuration,
    error::{BatchErrorBody, BlobErrorBody},
    etag::ETag,
    time::{http_date, iso, parse_http_date, parse_iso, to_ticks},
    uri,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

// The first line selects the format, the rest is the text.
fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (kind, body) = (&data[..end], &data[end + 1..]);
    match (kind, std::str::from_utf8(body)) {
        (b"duration", Ok(text)) => duration(text),
        (b"time", Ok(text)) => time(text),
        (b"tag", Ok(text)) => tag(text),
        (b"query", Ok(text)) => query(text),
        (b"command", Ok(text)) => command(text),
        (b"arguments", Ok(text)) => arguments(text),
        (b"blocks", Ok(text)) => blocks(text),
        (b"choices", _) => choices(body),
        (b"lists", _) => lists(body),
        (b"error", _) => error(body),
        (b"pool", _) => {
            same::<PoolAdd>(body);
            same::<PoolPatch>(body);
        }
        (b"job", _) => {
            same::<JobAdd>(body);
            same::<JobPatch>(body);
        }
        (b"task", _) => same::<TaskAdd>(body),
        _ => {}
    }
});

fn duration(text: &str) {
    if let Ok(length) = text.parse::<IsoDuration>() {
        assert_eq!(length.to_string().parse(), Ok(length), "{text}");
        let _ = length.as_std();
    }
}

fn time(text: &str) {
    if let Some(time) = parse_iso(text) {
        assert_eq!(parse_iso(&iso(time)), Some(to_ticks(time)), "{text}");
    }
    if let Some(time) = parse_http_date(text) {
        let _ = http_date(time);
        if time.as_second() >= 0 {
            assert_eq!(parse_http_date(&http_date(time)), Some(time), "{text}");
        }
    }
}

fn tag(text: &str) {
    let (tag, condition) = text.split_once('\n').unwrap_or((text, text));
    let tag = ETag::new(tag);
    let _ = tag.matches(condition);
    assert!(tag.matches("*"));
    if !tag.as_str().contains([',', '"', '*']) {
        assert!(tag.matches(&tag.quoted()), "{tag:?}");
    }
}

fn query(text: &str) {
    for (name, _) in uri::pairs(text) {
        assert!(uri::value(text, &name).is_some(), "{name}");
    }
}

fn command(line: &str) {
    if let Ok(arguments) = command_line::split(line) {
        assert_eq!(command_line::split(&command_line::quote(&arguments)), Ok(arguments), "{line}");
    }
}

/// Checks command line arguments, one per line.
fn arguments(text: &str) {
    let arguments: Vec<String> = text.split('\n').map(str::to_owned).collect();
    if !text.contains(['\0', '\r']) {
        let line = command_line::quote(&arguments);
        assert_eq!(command_line::split(&line), Ok(arguments), "{line}");
    }
}

/// Checks blocks, one per line, with id and length.
fn blocks(text: &str) {
    let is_id = |id: &str| {
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    let block = |line: &str| {
        let (id, size) = line.split_once(' ')?;
        Some(Block { id: Some(id).filter(|id| is_id(id))?.into(), size_bytes: size.parse().ok()? })
    };
    let list = BlockList { committed: Some(text.lines().filter_map(block).collect()), uncommitted: None };
    assert_eq!(BlockList::read(list.write().as_bytes()).ok(), Some(list));
}

fn choices(body: &[u8]) {
    if let Ok(choices) = read_block_choices(body) {
        let ids = || choices.iter().map(|choice| choice.id.as_str());
        let again = read_block_choices(write_block_choices(ids()).as_bytes()).expect("written text is valid");
        assert!(again.iter().map(|choice| choice.id.as_str()).eq(ids()));
    }
}

fn lists(body: &[u8]) {
    if let Ok(list) = BlobList::read(body) {
        let again = BlobList::read(list.write().as_bytes()).expect("written text is valid");
        assert!(again.blobs().map(|blob| &blob.name).eq(list.blobs().map(|blob| &blob.name)));
    }
    if let Ok(list) = ContainerList::read(body) {
        let again = ContainerList::read(list.write().as_bytes()).expect("written text is valid");
        assert_eq!(again.containers.len(), list.containers.len());
    }
    let _ = BlockList::read(body);
}

fn error(body: &[u8]) {
    let _ = BlobErrorBody::read(&http::HeaderMap::new(), body).map(|error| error.write());
    if let Some(error) = BatchErrorBody::read(body) {
        let _ = error.text();
        assert!(serde_json::to_string(&error).is_ok());
    }
}

/// Checks that a body survives a second round trip.
fn same<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(body) else { return };
    let written = serde_json::to_string(&read).expect("parsed values can be written");
    let again: T = serde_json::from_str(&written).expect("written text is valid");
    assert_eq!(serde_json::to_string(&again).expect("as before"), written);
}
