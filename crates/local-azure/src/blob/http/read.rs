//! Reads of blobs: content, properties, block lists.

use super::{
    Answered,
    answer::{Refusal, empty, no_such_range, put, put_named, refuse, xml},
    ask::Ask,
    conditions::{Conditions, Unread},
    outflow::{body_of, bytes_of},
    ranges::{self, Range},
};
use crate::blob::{
    store::{Blob, Kind, Piece, Refused},
    sums::Sums,
};
use axum::{body::Body, response::Response};
use dropmill_azure_wire::{
    blob::{Block, BlockList, header as name},
    time::http_date,
};
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;

/// Longest range for which a checksum is returned.
const SUMMED: u64 = 4 << 20;

/// Parameters of a SAS that replace response headers.
const REPLACED: [(&str, &str); 5] = [
    ("rscc", "cache-control"),
    ("rscd", "content-disposition"),
    ("rsce", "content-encoding"),
    ("rscl", "content-language"),
    ("rsct", "content-type"),
];

impl Ask<'_> {
    /// Returns the blob, if the conditions allow reading it.
    async fn readable(&self) -> Result<Arc<Blob>, Refusal> {
        let conditions = Conditions::of(self.headers)?;
        let lease = self.named_lease()?;
        let blob = self.inner.store.blob(&self.address.container, &self.address.blob).durable().await?;
        lease.allow_read(Some(&blob.facts))?;
        match conditions.allow_read(&blob.facts) {
            Ok(()) => Ok(blob),
            Err(Unread::NotModified) => Err(refuse(304, "ConditionNotMet", "")),
            Err(Unread::Failed) => Err(Refused::ConditionFailed.into()),
        }
    }

    /// Sets headers with the properties of a blob.
    fn set_headers(&self, answer: &mut Response, blob: &Blob, ranged: bool) {
        let headers = answer.headers_mut();
        blob.properties(self.inner.clock.now()).put_headers(headers, ranged);
        if !blob.facts.tags.is_empty() {
            headers.insert(name::TAG_COUNT, blob.facts.tags.len().into());
        }
        if blob.facts.kind == Kind::Append {
            headers.insert(name::COMMITTED_BLOCKS, blob.body.pieces.len().into());
        }
        put_named(answer, &blob.facts.metadata.to_metadata());
        for (query, header) in REPLACED.into_iter().filter(|_| self.rights.may_replace_headers()) {
            let value = self.value(query);
            if !value.is_empty() {
                put(answer, header, &value);
            }
        }
    }

    pub(super) async fn blob_properties(&self) -> Answered {
        let blob = self.readable().await?;
        let mut answer = empty(StatusCode::OK);
        self.set_headers(&mut answer, &blob, false);
        // A GET of metadata has no body; a HEAD returns the length of the omitted body.
        let length = if self.value("comp").is_empty() { blob.length() } else { 0 };
        answer.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        Ok(answer)
    }

    pub(super) async fn get_blob(&self) -> Answered {
        let blob = self.readable().await?;
        let length = blob.length();
        let asked = self.header(name::RANGE).or_else(|| self.header("range"));
        let range = match asked.and_then(|text| ranges::parse(text, length)) {
            Some(None) => return Err(no_such_range(length)),
            Some(range) => range,
            None => None,
        };
        let part = range.unwrap_or(Range { from: 0, length });
        let reading = self.inner.store.read(&blob.body, part.from, part.length);
        let sums = self.asked_sums(range)?;
        let (body, made) = match sums {
            None => (body_of(reading).await?, None),
            Some(mut sums) => {
                let bytes = bytes_of(reading).await?;
                sums.update(&bytes);
                (Body::from(bytes), Some(sums.made()))
            }
        };
        let mut answer = Response::new(body);
        self.set_headers(&mut answer, &blob, range.is_some());
        answer.headers_mut().insert(header::CONTENT_LENGTH, part.length.into());
        if let Some(made) = made {
            made.md5.iter().for_each(|md5| put(&mut answer, "content-md5", md5));
            made.crc64.iter().for_each(|crc64| put(&mut answer, name::CONTENT_CRC64, crc64));
        }
        if range.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = part.from + part.length - 1;
            let value = HeaderValue::try_from(format!("bytes {}-{last}/{length}", part.from));
            answer.headers_mut().extend(value.map(|value| (header::CONTENT_RANGE, value)));
        }
        Ok(answer)
    }

    /// Returns the checksums of the range that the request asks for.
    fn asked_sums(&self, range: Option<Range>) -> Result<Option<Sums>, Refusal> {
        let asks = |name| self.header(name).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let (md5, crc64) = (asks(name::RANGE_GET_MD5), asks("x-ms-range-get-content-crc64"));
        match range {
            _ if !md5 && !crc64 => Ok(None),
            Some(range) if range.length <= SUMMED && md5 != crc64 => Ok(Some(Sums::wanting(md5, crc64))),
            _ => {
                let words = "One kind of checksum can be requested, for a range of at most 4 MiB.";
                Err(refuse(400, "InvalidHeaderValue", words))
            }
        }
    }

    pub(super) async fn block_list(&self) -> Answered {
        let blocks = self.inner.store.blocks(&self.address.container, &self.address.blob);
        let lease = self.named_lease()?;
        let (blob, staged) = blocks.durable().await?;
        if let Some(blob) = &blob {
            lease.allow_read(Some(&blob.facts))?;
            if blob.facts.kind == Kind::Append {
                return Err(Refused::OtherKind.into());
            }
        }
        let kind = self.value("blocklisttype").to_ascii_lowercase();
        if !matches!(&*kind, "" | "committed" | "uncommitted" | "all") {
            let words = "Value for one of the query parameters specified in the request URI is invalid: blocklisttype.";
            return Err(refuse(400, "InvalidQueryParameterValue", words));
        }
        let blocks = |pieces: &[Piece]| {
            let block = |piece: &Piece| {
                Some(Block { id: piece.block.as_deref()?.to_owned(), size_bytes: piece.length })
            };
            pieces.iter().filter_map(block).collect::<Vec<_>>()
        };
        let list = BlockList {
            committed: (kind != "uncommitted").then(|| blocks(blob.as_ref().map_or(&[], |b| &b.body.pieces))),
            uncommitted: (kind == "uncommitted" || kind == "all").then(|| blocks(&staged)),
        };
        let mut answer = xml(list.write());
        if let Some(blob) = blob {
            put(&mut answer, "etag", &blob.facts.etag().quoted());
            put(&mut answer, "last-modified", &http_date(blob.facts.modified));
            put(&mut answer, "x-ms-blob-content-length", &blob.length().to_string());
        }
        Ok(answer)
    }
}
