//! The HTTP face of Blob: requests are read, checked, carried out and answered here.

use super::{
    Inner,
    answer::{Refusal, dress, empty, refusal, refuse, xml},
    authorize::{Rights, authorize},
    ranges,
    store::{IN_DATABASE, Incoming, Refused},
    stored::{Blob, ContentHeaders, Piece},
};
use axum::{body::Body, extract::Request, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use dropmill_azure_wire::{
    blob::{
        BlobItem, BlobList, Block, BlockList, ContainerItem, ContainerList, Entry, Metadata, header as name,
        is_valid_blob_name, is_valid_container_name, is_valid_metadata_name, limit, metadata_of,
        put_metadata, read_block_choices,
    },
    etag::ETag,
    time::{Timestamp, http_date, parse_http_date},
    uri,
};
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use std::{
    fs::File,
    io::Write,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes of an answer that are read at a time.
const CHUNK: usize = 256 << 10;
/// The longest XML that is read.
const LONGEST_XML: usize = 8 << 20;

type Answered = Result<Response, Refusal>;

/// The routes; everything is decided by the raw path, whose percent-encoding is part of what was signed.
pub fn router(inner: Arc<Inner>) -> axum::Router {
    let calls = Arc::new(AtomicU64::new(1));
    axum::Router::new().fallback(move |request: Request| {
        let (inner, number) = (inner.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move { serve(inner, request, number).await }
    })
}

async fn serve(inner: Arc<Inner>, request: Request, number: u64) -> Response {
    let now = inner.clock.now();
    // Not secret and unique within this service: the moment it was told, and a count.
    let request_id = format!("{:08x}-0000-4000-8000-{number:012x}", now.as_second() & 0xffff_ffff);
    let (parts, body) = request.into_parts();
    let (is_head, asked) = (parts.method == Method::HEAD, parts.headers.clone());
    let outcome = AssertUnwindSafe(handle(&inner, parts, body)).catch_unwind().await;
    let mut answer = match outcome {
        Ok(Ok(answer)) => answer,
        Ok(Err(refused)) => refusal(refused, is_head, &request_id, now),
        Err(_) => refusal(internal(), is_head, &request_id, now),
    };
    dress(&mut answer, &asked, &request_id, now);
    answer
}

fn internal() -> Refusal {
    refuse(500, "InternalError", "The server encountered an internal error. Please retry the request.")
}

async fn handle(inner: &Arc<Inner>, parts: Parts, body: Body) -> Answered {
    let query = parts.uri.query().unwrap_or_default();
    let path = parts.uri.path();
    let account = inner.key.account();
    let inside = path
        .strip_prefix('/')
        .and_then(|rest| rest.strip_prefix(account))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .ok_or_else(|| refuse(404, "ResourceNotFound", "The specified account does not exist."))?;
    let inside = inside.strip_prefix('/').unwrap_or_default();
    let (container, blob) = inside.split_once('/').unwrap_or((inside, ""));
    let (container, blob) = (decoded(container)?, decoded(blob)?);
    let rights = authorize(inner, &parts.method, path, query, &parts.headers, &container, &blob)?;
    if !container.is_empty() && !is_valid_container_name(&container) {
        return Err(refuse(
            400,
            "InvalidResourceName",
            "The specified resource name contains invalid characters.",
        ));
    }
    let value = |name: &str| uri::value(query, name).unwrap_or_default().into_owned();
    let ask = Ask { inner, headers: &parts.headers, query, container: &container, blob: &blob, rights };
    let (restype, comp) = (value("restype"), value("comp"));
    let method = parts.method.as_str();
    if container.is_empty() {
        return match (method, restype.as_str(), comp.as_str()) {
            ("GET", _, "list") => ask.list_containers(),
            ("GET" | "HEAD", "account", "properties") => Ok(account_properties()),
            ("GET", "service", "properties") => {
                Ok(xml("<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties />".into()))
            }
            _ => Err(unsupported(method, &comp)),
        };
    }
    if blob.is_empty() {
        return match (method, comp.as_str()) {
            ("PUT", "") => ask.create_container().await,
            ("GET" | "HEAD", "" | "metadata") => ask.container(),
            ("PUT", "metadata") => ask.set_container_metadata().await,
            ("DELETE", "") => ask.delete_container().await,
            ("GET", "list") => ask.list_blobs(),
            ("GET" | "HEAD", "acl") => ask.container(),
            _ => Err(unsupported(method, &comp)),
        };
    }
    if !is_valid_blob_name(&blob) {
        return Err(refuse(400, "InvalidResourceName", "The specified resource name length is not valid."));
    }
    match (method, comp.as_str()) {
        ("PUT", "") if parts.headers.contains_key(name::COPY_SOURCE) => ask.copy_blob().await,
        ("PUT", "") => ask.put_blob(body).await,
        ("PUT", "block") => ask.put_block(body).await,
        ("PUT", "blocklist") => ask.put_block_list(body).await,
        ("GET", "blocklist") => ask.block_list(),
        ("GET" | "HEAD", "" | "metadata") => ask.get_blob(method == "HEAD" || comp == "metadata"),
        ("PUT", "metadata") => ask.set_metadata().await,
        ("PUT", "properties") => ask.set_properties().await,
        ("DELETE", "") => ask.delete_blob().await,
        ("PUT", "lease") => Err(refuse(501, "NotImplemented", "This service has no leases.")),
        _ => Err(unsupported(method, &comp)),
    }
}

fn decoded(text: &str) -> Result<String, Refusal> {
    let bytes = percent_encoding::percent_decode_str(text);
    let text =
        bytes.decode_utf8().map_err(|_| refuse(400, "InvalidUri", "The requested URI is not UTF-8."))?;
    if text.contains('\0') {
        return Err(refuse(400, "InvalidUri", "The requested URI holds a character that no name may hold."));
    }
    Ok(text.into_owned())
}

fn unsupported(method: &str, comp: &str) -> Refusal {
    refuse(501, "NotImplemented", &format!("This service does not have {method} with comp={comp:?}."))
}

fn account_properties() -> Response {
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().insert("x-ms-sku-name", HeaderValue::from_static("Standard_LRS"));
    answer.headers_mut().insert("x-ms-account-kind", HeaderValue::from_static("StorageV2"));
    answer
}

/// One request, its sender known.
struct Ask<'a> {
    inner: &'a Arc<Inner>,
    headers: &'a HeaderMap,
    query: &'a str,
    container: &'a str,
    blob: &'a str,
    rights: Rights,
}

impl Ask<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn value(&self, name: &str) -> String {
        uri::value(self.query, name).unwrap_or_default().into_owned()
    }

    fn endpoint(&self) -> String {
        format!("{}/", self.inner.endpoint)
    }

    fn page_size(&self) -> Result<usize, Refusal> {
        match self.value("maxresults").as_str() {
            "" => Ok(limit::PAGE as usize),
            text => match text.parse::<u32>() {
                Ok(0) | Err(_) => Err(refuse(
                    400,
                    "OutOfRangeQueryParameterValue",
                    "One of the query parameters specified in the request URI is outside the permissible range.",
                )),
                Ok(size) => Ok(size.min(limit::PAGE) as usize),
            },
        }
    }

    fn metadata(&self) -> Result<Metadata, Refusal> {
        let metadata = metadata_of(self.headers);
        if metadata.keys().any(|name| !is_valid_metadata_name(name)) {
            return Err(refuse(400, "InvalidMetadata", "The metadata specified is invalid."));
        }
        if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            > limit::METADATA_BYTES
        {
            return Err(refuse(400, "MetadataTooLarge", "The metadata exceeds the maximum size."));
        }
        Ok(metadata)
    }

    fn list_containers(&self) -> Answered {
        let (prefix, marker, size) = (self.value("prefix"), self.value("marker"), self.page_size()?);
        let with_metadata = self.value("include").contains("metadata");
        let (found, next_marker) = self.inner.store.containers(&prefix, &marker, size);
        let containers = found.into_iter().map(|(name, facts)| ContainerItem {
            name,
            last_modified: facts.modified,
            etag: facts.etag,
            metadata: with_metadata.then_some(facts.metadata),
        });
        let list = ContainerList {
            service_endpoint: self.endpoint(),
            prefix: (!prefix.is_empty()).then_some(prefix),
            marker: (!marker.is_empty()).then_some(marker),
            max_results: (!self.value("maxresults").is_empty())
                .then_some(u32::try_from(size).unwrap_or(u32::MAX)),
            containers: containers.collect(),
            next_marker,
        };
        Ok(xml(list.write()))
    }

    async fn create_container(&self) -> Answered {
        let (facts, ticket) = self.inner.store.create_container(self.container, self.metadata()?)?;
        ticket.durable().await?;
        Ok(tagged(StatusCode::CREATED, &facts.etag, facts.modified))
    }

    fn container(&self) -> Answered {
        let facts = self.inner.store.container(self.container)?;
        let mut answer = tagged(StatusCode::OK, &facts.etag, facts.modified);
        let headers = answer.headers_mut();
        put_metadata(&facts.metadata, headers);
        headers.insert(name::LEASE_STATUS, HeaderValue::from_static("unlocked"));
        headers.insert(name::LEASE_STATE, HeaderValue::from_static("available"));
        headers.insert(name::HAS_IMMUTABILITY_POLICY, HeaderValue::from_static("false"));
        headers.insert(name::HAS_LEGAL_HOLD, HeaderValue::from_static("false"));
        Ok(answer)
    }

    async fn set_container_metadata(&self) -> Answered {
        let (facts, ticket) = self.inner.store.set_container_metadata(self.container, self.metadata()?)?;
        ticket.durable().await?;
        Ok(tagged(StatusCode::OK, &facts.etag, facts.modified))
    }

    async fn delete_container(&self) -> Answered {
        self.inner.store.delete_container(self.container)?.durable().await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    fn list_blobs(&self) -> Answered {
        let (prefix, delimiter) = (self.value("prefix"), self.value("delimiter"));
        let (marker, size) = (self.value("marker"), self.page_size()?);
        let with_metadata = self.value("include").contains("metadata");
        // A marker is a name; names may hold what XML cannot.
        let from =
            STANDARD.decode(&marker).ok().and_then(|name| String::from_utf8(name).ok()).unwrap_or_default();
        let (found, next) = self.inner.store.blobs(self.container, &prefix, &delimiter, &from, size)?;
        let entries = found.into_iter().map(|(name, blob)| match blob {
            None => Entry::Prefix(name),
            Some(blob) => {
                let metadata = with_metadata.then(|| blob.metadata.clone());
                Entry::Blob(BlobItem { name, properties: blob.properties(), metadata }.into())
            }
        });
        let list = BlobList {
            service_endpoint: self.endpoint(),
            container: self.container.to_owned(),
            prefix: (!prefix.is_empty()).then_some(prefix),
            marker: (!marker.is_empty()).then_some(marker),
            max_results: (!self.value("maxresults").is_empty())
                .then_some(u32::try_from(size).unwrap_or(u32::MAX)),
            delimiter: (!delimiter.is_empty()).then_some(delimiter),
            entries: entries.collect(),
            next_marker: next.map(|name| STANDARD.encode(name)),
        };
        Ok(xml(list.write()))
    }

    /// A blob as the headers of its put describe it; the store fills in tag and moments.
    fn described(&self, md5: Option<String>) -> Result<Blob, Refusal> {
        let either =
            |own: &str, plain: &str| self.header(own).or_else(|| self.header(plain)).map(str::to_owned);
        let headers = ContentHeaders {
            content_type: either(name::BLOB_CONTENT_TYPE, "content-type"),
            encoding: either(name::BLOB_CONTENT_ENCODING, "content-encoding"),
            language: either(name::BLOB_CONTENT_LANGUAGE, "content-language"),
            disposition: self.header(name::BLOB_CONTENT_DISPOSITION).map(str::to_owned),
            cache_control: either(name::BLOB_CACHE_CONTROL, "cache-control"),
            md5,
        };
        Ok(Blob {
            etag: ETag::new(""),
            created: Timestamp::UNIX_EPOCH,
            modified: Timestamp::UNIX_EPOCH,
            headers,
            metadata: self.metadata()?,
            pieces: vec![],
            copied: None,
        })
    }

    /// The request's conditions on what it writes.
    fn write_condition(&self, found: Option<&Blob>) -> Result<(), Refused> {
        if found.is_some() && !self.rights.may_replace() {
            return Err(Refused::BlobExists);
        }
        if let Some(condition) = self.header("if-none-match")
            && let Some(blob) = found
            && blob.etag.matches(condition)
        {
            return Err(if condition.trim() == "*" { Refused::BlobExists } else { Refused::ConditionFailed });
        }
        if let Some(condition) = self.header("if-match")
            && !found.is_some_and(|blob| blob.etag.matches(condition))
        {
            return Err(Refused::ConditionFailed);
        }
        let modified = found.map(|blob| blob.modified.as_second());
        let moment = |header| self.header(header).and_then(parse_http_date).map(|moment| moment.as_second());
        match (moment("if-modified-since"), modified) {
            (Some(since), Some(modified)) if modified <= since => return Err(Refused::ConditionFailed),
            _ => {}
        }
        match (moment("if-unmodified-since"), modified) {
            (Some(since), Some(modified)) if modified > since => Err(Refused::ConditionFailed),
            _ => Ok(()),
        }
    }

    /// The request's conditions on what it reads.
    fn read_condition(&self, blob: &Blob) -> Result<(), Refusal> {
        let not_modified = || refuse(304, "ConditionNotMet", "");
        if self.header("if-match").is_some_and(|condition| !blob.etag.matches(condition)) {
            return Err(Refused::ConditionFailed.into());
        }
        if self.header("if-none-match").is_some_and(|condition| blob.etag.matches(condition)) {
            return Err(not_modified());
        }
        let moment = |header| self.header(header).and_then(parse_http_date).map(|moment| moment.as_second());
        if moment("if-modified-since").is_some_and(|since| blob.modified.as_second() <= since) {
            return Err(not_modified());
        }
        if moment("if-unmodified-since").is_some_and(|since| blob.modified.as_second() > since) {
            return Err(Refused::ConditionFailed.into());
        }
        Ok(())
    }

    /// Takes a body in: a short one into memory, a long one into a file. Checks length and MD5.
    async fn take_in(&self, body: Body, longest: u64) -> Result<(Incoming, String), Refusal> {
        let declared: Option<u64> = self.header("content-length").and_then(|text| text.parse().ok());
        if declared.is_some_and(|length| length > longest) {
            return Err(refuse(413, "RequestBodyTooLarge", "The request body is too large."));
        }
        let (mut hash, mut length) = (Md5::new(), 0u64);
        let mut bytes = BytesMut::new();
        let mut file = None::<(i64, std::path::PathBuf, File)>;
        let mut body = body;
        while let Some(frame) = body.frame().await {
            let broken = |_| refuse(400, "InvalidInput", "The request body broke off.");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            length += data.len() as u64;
            if length > longest {
                return Err(refuse(413, "RequestBodyTooLarge", "The request body is too large."));
            }
            hash.update(&data);
            if file.is_none()
                && bytes.len() + data.len() > IN_DATABASE
                && let Some((id, path)) = self.inner.store.new_file()
            {
                let mut made = File::create_new(&path).map_err(|error| disk("make", &path, &error))?;
                made.write_all(&bytes).map_err(|error| disk("write", &path, &error))?;
                bytes.clear();
                file = Some((id, path, made));
            }
            match &mut file {
                Some((_, path, file)) => {
                    file.write_all(&data).map_err(|error| disk("write", path, &error))?
                }
                None => bytes.extend_from_slice(&data),
            }
        }
        if declared.is_some_and(|declared| declared != length) {
            return Err(refuse(400, "InvalidInput", "The request body is shorter than Content-Length says."));
        }
        let md5 = STANDARD.encode(hash.finalize());
        if self.header("content-md5").is_some_and(|given| given != md5) {
            return Err(refuse(
                400,
                "Md5Mismatch",
                "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
            ));
        }
        let incoming = match file {
            Some((id, path, _)) => Incoming::File { id, path, length },
            None => Incoming::Bytes(bytes.freeze()),
        };
        Ok((incoming, md5))
    }

    async fn put_blob(&self, body: Body) -> Answered {
        match self.header(name::BLOB_TYPE) {
            Some("BlockBlob") => {}
            Some("AppendBlob" | "PageBlob") => {
                return Err(refuse(501, "NotImplemented", "This service has block blobs only."));
            }
            _ => {
                return Err(refuse(
                    400,
                    "MissingRequiredHeader",
                    "The header x-ms-blob-type is missing or unknown.",
                ));
            }
        }
        let (bytes, md5) = self.take_in(body, limit::PUT_BLOB_BYTES).await?;
        let kept = self.header(name::BLOB_CONTENT_MD5).map_or_else(|| md5.clone(), str::to_owned);
        let blob = self.described(Some(kept))?;
        let condition = |found: Option<&Blob>| self.write_condition(found);
        let (blob, ticket) = self.inner.store.put_blob(self.container, self.blob, bytes, blob, &condition)?;
        ticket.durable().await?;
        self.inner.store.settled(&blob.pieces);
        Ok(written(StatusCode::CREATED, &blob, Some(&md5)))
    }

    async fn put_block(&self, body: Body) -> Answered {
        let block = self.value("blockid");
        let id = STANDARD.decode(&block).unwrap_or_default();
        if id.is_empty() || id.len() > limit::BLOCK_ID_BYTES {
            return Err(refuse(400, "InvalidBlockId", "The specified block ID is invalid."));
        }
        let (bytes, md5) = self.take_in(body, limit::BLOCK_BYTES).await?;
        self.inner.store.put_block(self.container, self.blob, block, bytes)?.durable().await?;
        let mut answer = empty(StatusCode::CREATED);
        put(&mut answer, "content-md5", &md5);
        put(&mut answer, name::REQUEST_SERVER_ENCRYPTED, "true");
        Ok(answer)
    }

    async fn put_block_list(&self, body: Body) -> Answered {
        let body = small(body).await?;
        let choices = read_block_choices(&body).map_err(|_| {
            refuse(400, "InvalidXmlDocument", "The specified XML is not syntactically valid.")
        })?;
        if choices.len() > limit::BLOCKS {
            return Err(refuse(
                400,
                "BlockListTooLong",
                "The block list may not contain more than 50,000 blocks.",
            ));
        }
        let mut blob = self.described(self.header(name::BLOB_CONTENT_MD5).map(str::to_owned))?;
        // Content-Type is that of the XML.
        blob.headers.content_type = self.header(name::BLOB_CONTENT_TYPE).map(str::to_owned);
        let condition = |found: Option<&Blob>| self.write_condition(found);
        let put = self.inner.store.put_block_list(self.container, self.blob, &choices, blob, &condition);
        let (blob, ticket) = put?;
        ticket.durable().await?;
        self.inner.store.settled(&blob.pieces);
        Ok(written(StatusCode::CREATED, &blob, None))
    }

    fn block_list(&self) -> Answered {
        let (blob, staged) = self.inner.store.blocks(self.container, self.blob)?;
        let kind = self.value("blocklisttype");
        let blocks = |pieces: &[Piece]| {
            let block = |piece: &Piece| Some(Block { id: piece.block.clone()?, size_bytes: piece.length });
            pieces.iter().filter_map(block).collect::<Vec<_>>()
        };
        let committed = blocks(blob.as_ref().map_or(&[], |blob| &blob.pieces));
        let list = BlockList {
            committed: (kind != "uncommitted").then_some(committed),
            uncommitted: (kind == "uncommitted" || kind == "all").then(|| blocks(&staged)),
        };
        let mut answer = xml(list.write());
        if let Some(blob) = blob {
            put(&mut answer, "etag", &blob.etag.quoted());
            put(&mut answer, "last-modified", &http_date(blob.modified));
            put(&mut answer, "x-ms-blob-content-length", &blob.length().to_string());
        }
        Ok(answer)
    }

    fn get_blob(&self, head_only: bool) -> Answered {
        let blob = self.inner.store.blob(self.container, self.blob)?;
        self.read_condition(&blob)?;
        let length = blob.length();
        let wanted = if head_only { None } else { self.header(name::RANGE).or_else(|| self.header("range")) };
        let range = match wanted.and_then(|text| ranges::parse(text, length)) {
            None => None,
            Some(Some(range)) => Some(range),
            Some(None) => {
                let words = "The range specified is invalid for the current size of the resource.";
                return Err(refuse(416, "InvalidRange", words));
            }
        };
        let part = range.unwrap_or(ranges::Range { from: 0, length });
        let mut answer = if head_only {
            empty(StatusCode::OK)
        } else {
            Response::new(stream_of(self.inner.clone(), &blob, part))
        };
        if range.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        let headers = answer.headers_mut();
        blob.properties().put_headers(headers, range.is_some());
        put_metadata(&blob.metadata, headers);
        headers.insert(header::CONTENT_LENGTH, if head_only { length } else { part.length }.into());
        for (query, header) in [
            ("rscc", "cache-control"),
            ("rscd", "content-disposition"),
            ("rsce", "content-encoding"),
            ("rscl", "content-language"),
            ("rsct", "content-type"),
        ] {
            let value = self.value(query);
            if !value.is_empty()
                && let Ok(value) = HeaderValue::try_from(value)
            {
                headers.insert(header, value);
            }
        }
        if range.is_some() {
            let last = part.from + part.length - 1;
            put(&mut answer, "content-range", &format!("bytes {}-{last}/{length}", part.from));
        }
        Ok(answer)
    }

    async fn set_metadata(&self) -> Answered {
        let metadata = self.metadata()?;
        self.change(|blob| blob.metadata = metadata).await
    }

    async fn set_properties(&self) -> Answered {
        let header = |name: &str| self.header(name).map(str::to_owned);
        let headers = ContentHeaders {
            content_type: header(name::BLOB_CONTENT_TYPE),
            encoding: header(name::BLOB_CONTENT_ENCODING),
            language: header(name::BLOB_CONTENT_LANGUAGE),
            disposition: header(name::BLOB_CONTENT_DISPOSITION),
            cache_control: header(name::BLOB_CACHE_CONTROL),
            md5: header(name::BLOB_CONTENT_MD5),
        };
        self.change(|blob| blob.headers = headers).await
    }

    async fn change(&self, change: impl FnOnce(&mut Blob)) -> Answered {
        let condition = |found: Option<&Blob>| self.write_condition(found);
        let (blob, ticket) = self.inner.store.change_blob(self.container, self.blob, &condition, change)?;
        ticket.durable().await?;
        Ok(written(StatusCode::OK, &blob, None))
    }

    async fn delete_blob(&self) -> Answered {
        let condition = |found: Option<&Blob>| match self.rights {
            // A SAS to delete need not allow to write.
            Rights::Sas(_) => Ok(()),
            Rights::Owner => self.write_condition(found),
        };
        self.inner.store.delete_blob(self.container, self.blob, &condition)?.durable().await?;
        let mut answer = empty(StatusCode::ACCEPTED);
        put(&mut answer, "x-ms-delete-type-permanent", "true");
        Ok(answer)
    }

    /// Copies within the account, at once.
    async fn copy_blob(&self) -> Answered {
        let source = self.header(name::COPY_SOURCE).unwrap_or_default().to_owned();
        let refused =
            || refuse(404, "CannotVerifyCopySource", "The copy source is not a blob of this service.");
        let rest = source.strip_prefix(&self.inner.endpoint).and_then(|rest| rest.strip_prefix('/'));
        let (path, query) =
            rest.map(|rest| rest.split_once('?').unwrap_or((rest, ""))).ok_or_else(refused)?;
        let (container, blob) = path.split_once('/').ok_or_else(refused)?;
        let (container, blob) = (decoded(container)?, decoded(blob)?);
        if let Rights::Sas(_) = self.rights {
            let read = dropmill_azure_wire::sas::Action::ReadBlob;
            super::authorize::sas_rights(self.inner, query, &container, &blob, read)?;
        }
        let from = self.inner.store.blob(&container, &blob)?;
        let bytes = self.copied(&from)?;
        let now = self.inner.clock.now();
        let mut made = self.described(from.headers.md5.clone())?;
        made.headers = from.headers.clone();
        if made.metadata.is_empty() {
            made.metadata = from.metadata.clone();
        }
        let id = format!("{:032x}", now.as_nanosecond().unsigned_abs());
        made.copied = Some((id.clone(), dropmill_azure_wire::secret::without_query(&source).to_owned(), now));
        let condition = |found: Option<&Blob>| self.write_condition(found);
        let (blob, ticket) = self.inner.store.put_blob(self.container, self.blob, bytes, made, &condition)?;
        ticket.durable().await?;
        self.inner.store.settled(&blob.pieces);
        let mut answer = written(StatusCode::ACCEPTED, &blob, None);
        put(&mut answer, name::COPY_ID, &id);
        put(&mut answer, name::COPY_STATUS, "success");
        Ok(answer)
    }

    fn copied(&self, from: &Blob) -> Result<Incoming, Refusal> {
        let new_file = (from.length() > IN_DATABASE as u64).then(|| self.inner.store.new_file()).flatten();
        let mut bytes = BytesMut::new();
        let mut file = match &new_file {
            Some((_, path)) => Some(File::create_new(path).map_err(|error| disk("make", path, &error))?),
            None => None,
        };
        for piece in &from.pieces {
            let mut offset = 0;
            while offset < piece.length {
                let part = self.inner.store.read(piece, offset, CHUNK)?;
                if part.is_empty() {
                    return Err(internal());
                }
                offset += part.len() as u64;
                match (&mut file, &new_file) {
                    (Some(file), Some((_, path))) => {
                        file.write_all(&part).map_err(|error| disk("write", path, &error))?;
                    }
                    _ => bytes.extend_from_slice(&part),
                }
            }
        }
        Ok(match new_file {
            Some((id, path)) => Incoming::File { id, path, length: from.length() },
            None => Incoming::Bytes(bytes.freeze()),
        })
    }
}

/// The bytes of a part of a blob, read as they are sent.
fn stream_of(inner: Arc<Inner>, blob: &Arc<Blob>, part: ranges::Range) -> Body {
    let (mut skip, mut left, mut reads) = (part.from, part.length, vec![]);
    for piece in &blob.pieces {
        if skip >= piece.length {
            skip -= piece.length;
            continue;
        }
        let take = left.min(piece.length - skip);
        reads.push((piece.clone(), skip, take));
        (skip, left) = (0, left - take);
        if left == 0 {
            break;
        }
    }
    if part.length <= CHUNK as u64 {
        // One frame, no stream.
        let mut bytes = BytesMut::with_capacity(usize::try_from(part.length).unwrap_or_default());
        for (piece, from, take) in &reads {
            match inner.store.read(piece, *from, usize::try_from(*take).unwrap_or(usize::MAX)) {
                Ok(read) if reads.len() == 1 => return Body::from(read),
                Ok(read) => bytes.extend_from_slice(&read),
                Err(error) => return Body::from_stream(stream::iter([Err::<Bytes, _>(error)])),
            }
        }
        return Body::from(bytes.freeze());
    }
    let chunks = stream::iter(reads).flat_map(move |(piece, from, take)| {
        let inner = inner.clone();
        let count = take.div_ceil(CHUNK as u64);
        stream::iter((0..count).map(move |number| {
            let at = number * CHUNK as u64;
            let length = usize::try_from((take - at).min(CHUNK as u64)).unwrap_or(CHUNK);
            inner.store.read(&piece, from + at, length)
        }))
    });
    Body::from_stream(chunks)
}

async fn small(body: Body) -> Result<Bytes, Refusal> {
    let read = http_body_util::Limited::new(body, LONGEST_XML).collect().await;
    Ok(read.map_err(|_| refuse(413, "RequestBodyTooLarge", "The request body is too large."))?.to_bytes())
}

fn disk(what: &'static str, path: &std::path::Path, error: &std::io::Error) -> Refusal {
    super::StoreError::new(what, path, error).into()
}

fn put(answer: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn tagged(status: StatusCode, etag: &ETag, modified: Timestamp) -> Response {
    let mut answer = empty(status);
    put(&mut answer, "etag", &etag.quoted());
    put(&mut answer, "last-modified", &http_date(modified));
    answer
}

fn written(status: StatusCode, blob: &Blob, md5: Option<&str>) -> Response {
    let mut answer = tagged(status, &blob.etag, blob.modified);
    if let Some(md5) = md5 {
        put(&mut answer, "content-md5", md5);
    }
    put(&mut answer, name::REQUEST_SERVER_ENCRYPTED, "true");
    answer
}
