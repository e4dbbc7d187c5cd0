//! Append blobs: created empty, then extended block by block.

use super::{
    Answered,
    answer::{Refusal, put, refuse, written},
    ask::Ask,
    intake::{declared, no_content, take_in},
};
use crate::blob::{
    address::Address,
    store::{AppendLimits, BlobFacts, Incoming, Kind},
    sums::Sums,
};
use axum::body::Body;
use dropmill_azure_wire::blob::{header as name, limit};
use http::{HeaderMap, StatusCode};

impl Ask<'_> {
    pub(super) async fn create_append_blob(&self) -> Answered {
        if declared(self.headers)? != 0 {
            let words = "An append blob is created empty: Content-Length must be 0.";
            return Err(refuse(400, "InvalidHeaderValue", words));
        }
        if self.headers.contains_key(name::ACCESS_TIER) {
            return Err(refuse(400, "UnsupportedHeader", "Append blobs have no tier."));
        }
        let (allow, mut described) = (self.allow()?, self.described(true)?);
        described.kind = Kind::Append;
        let Address { container, blob } = self.address;
        let put = self.inner.store.put_blob(container, blob, Incoming::Nothing, described, &allow);
        Ok(written(StatusCode::CREATED, &*put.durable().await?))
    }

    pub(super) async fn append_block(&self, body: &mut Body) -> Answered {
        self.append_block_of(self.headers, body).await
    }

    pub(super) async fn append_block_from_url(&self) -> Answered {
        let (headers, mut body) = self.sourced().await?;
        self.append_block_of(&headers, &mut body).await
    }

    /// Appends a block from a body with these headers: those of the request, or generated ones for a part of
    /// another blob.
    async fn append_block_of(&self, headers: &HeaderMap, body: &mut Body) -> Answered {
        let number = |header: &'static str| match self.header(header) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| no_number(header)),
        };
        let length = declared(headers)?;
        if length == 0 {
            return Err(no_content());
        }
        let limits =
            AppendLimits { at: number(name::APPEND_POSITION)?, longest: number(name::APPEND_MAX_SIZE)? };
        let change = self.allow_change()?;
        let allow = |found: Option<&BlobFacts>| change(found);
        self.foresee(&allow).await?;
        // As for blocks: the response has one checksum, the MD5 if it was sent.
        let md5 = headers.contains_key("content-md5");
        let sums = Sums::wanting(md5, !md5 || headers.contains_key(name::CONTENT_CRC64));
        let store = &self.inner.store;
        let taken = take_in(store, headers, body, limit::APPEND_BYTES, sums).await?;
        let Address { container, blob } = self.address;
        let blob = store.append_block(container, blob, taken.bytes, limits, &allow).durable().await?;
        let mut answer = written(StatusCode::CREATED, &blob);
        taken.sums.md5.iter().for_each(|md5| put(&mut answer, "content-md5", md5));
        taken.sums.crc64.iter().for_each(|crc64| put(&mut answer, name::CONTENT_CRC64, crc64));
        put(&mut answer, name::APPEND_OFFSET, &(blob.length() - length).to_string());
        put(&mut answer, name::COMMITTED_BLOCKS, &blob.body.pieces.len().to_string());
        Ok(answer)
    }
}

fn no_number(header: &str) -> Refusal {
    refuse(400, "InvalidHeaderValue", &format!("{header} is not a number."))
}
