//! Containers of other storage accounts: lists their blobs, and uploads files as blobs.

use super::{
    decide::{self, Failed, Verdict, judge},
    line::{Line, code, refused},
};
use crate::{
    blob::sums::{Sums, md5_of},
    orders::{DoorError, FileToStore, GoOn},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dropmill_azure_wire::{
    blob::{BlobList, Metadata, VERSION, header as name, put_metadata, write_block_choices},
    secret::shown_url,
    uri::{self, Query},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use reqwest::{Body, Method, Request, Response};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};
use url::Url;

/// Content type that Azure gives a blob which is stored without one.
const BYTES: &str = "application/octet-stream";

impl Line {
    /// Returns the names of the blobs of a container that begin with `prefix`.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn list(&self, container_url: &str, prefix: &str, go_on: GoOn<'_>) -> Result<Vec<String>, DoorError> {
        let subject = shown_url(container_url).into_owned();
        let pages = async {
            let (mut names, mut bytes, mut marker) = (vec![], 0, String::new());
            loop {
                let page = self.tries(async || self.page(container_url, prefix, &marker).await).await?;
                for blob in page.blobs() {
                    decide::check_name(&subject, &blob.name)?;
                    bytes += size_of::<String>() + blob.name.len();
                    names.push(blob.name.clone());
                }
                if bytes > self.limits.names_bytes {
                    return Err(DoorError::Other(format!("{subject}: it has too many blobs")));
                }
                match page.next_marker {
                    None => return Ok(names),
                    Some(next) if next == marker => {
                        let what = format!("{subject}: the list of its blobs repeats a page");
                        return Err(DoorError::Other(what));
                    }
                    Some(next) => marker = next,
                }
            }
        };
        self.wait(&subject, go_on, pages)
    }

    async fn page(&self, container_url: &str, prefix: &str, marker: &str) -> Result<BlobList, Failed> {
        let subject = shown_url(container_url);
        let mut query = Query::default().with("restype", "container").with("comp", "list");
        for (name, value) in [("prefix", prefix), ("marker", marker)] {
            if !value.is_empty() {
                query = query.with(name, value);
            }
        }
        let query = query.with("maxresults", &self.limits.page.to_string());
        let url = decide::of_container(container_url, "", query.as_str()).map_err(Failed::finally)?;
        let mut answer = self.send(self.storage(Method::GET, url)?, self.limits.idle).await?;
        done(&subject, &answer)?;
        let mut body = vec![];
        while let Some(part) = self.part(&subject, &mut answer).await? {
            body.extend_from_slice(&part);
            if body.len() as u64 > self.limits.page_bytes {
                let what = format!("{subject}: a page of its list is too long");
                return Err(Failed::finally(DoorError::Other(what)));
            }
        }
        BlobList::read(&body).map_err(|error| {
            Failed::finally(DoorError::Other(format!(
                "{subject}: the response is not a list of blobs: {error}"
            )))
        })
    }

    /// Uploads each file under its blob's name.
    ///
    /// # Errors
    /// See [`DoorError`]; some may have been stored.
    pub fn store(
        &self,
        container_url: &str,
        files: &[FileToStore],
        go_on: GoOn<'_>,
    ) -> Result<(), DoorError> {
        let subject = shown_url(container_url);
        files.iter().try_for_each(|file| self.wait(&subject, go_on, self.put(container_url, file)))
    }

    async fn put(&self, container_url: &str, file: &FileToStore) -> Result<(), DoorError> {
        let local = |error: io::Error| local(&file.path, &error);
        let mut from = File::open(&file.path).map_err(local)?;
        let length = from.metadata().map_err(local)?.len();
        let metadata = file.facts.metadata();
        if length <= self.limits.block_bytes {
            let bytes = part(&mut from, length, &file.path)?;
            return self.put_whole(container_url, &file.name, &metadata, bytes).await;
        }
        let (block, mut left) = (decide::block_length(&self.limits, length), length);
        // Another upload of the same blob has other block ids.
        let upload = number()?;
        let (mut ids, mut sums) = (vec![], Sums::wanting(true, false));
        while left > 0 {
            let bytes = part(&mut from, left.min(block), &file.path)?;
            left -= bytes.len() as u64;
            sums.update(&bytes);
            let id = STANDARD.encode(format!("{upload:016x}{:08}", ids.len()));
            self.put_block(container_url, &file.name, &id, bytes).await?;
            ids.push(id);
        }
        let md5 = sums.made().md5.unwrap_or_default();
        self.put_list(container_url, &file.name, &metadata, &ids, &md5).await
    }

    async fn put_whole(
        &self,
        container_url: &str,
        blob: &str,
        metadata: &Metadata,
        bytes: Bytes,
    ) -> Result<(), DoorError> {
        let url = decide::of_container(container_url, blob, "")?;
        let md5 = md5_of(&bytes);
        self.upload(&url, bytes, &|headers| {
            put(headers, name::BLOB_TYPE, "BlockBlob");
            put(headers, name::BLOB_CONTENT_TYPE, BYTES);
            put(headers, "content-md5", &md5);
            put(headers, name::BLOB_CONTENT_MD5, &md5);
            put_metadata(metadata, headers);
        })
        .await
    }

    async fn put_block(
        &self,
        container_url: &str,
        blob: &str,
        id: &str,
        bytes: Bytes,
    ) -> Result<(), DoorError> {
        let query = Query::default().with("comp", "block").with("blockid", id);
        let url = decide::of_container(container_url, blob, query.as_str())?;
        let md5 = md5_of(&bytes);
        self.upload(&url, bytes, &|headers| put(headers, "content-md5", &md5)).await
    }

    async fn put_list(
        &self,
        container_url: &str,
        blob: &str,
        metadata: &Metadata,
        ids: &[String],
        md5: &str,
    ) -> Result<(), DoorError> {
        let url = decide::of_container(container_url, blob, "comp=blocklist")?;
        let list = write_block_choices(ids.iter().map(String::as_str));
        self.upload(&url, list.into(), &|headers| {
            put(headers, name::BLOB_CONTENT_TYPE, BYTES);
            put(headers, name::BLOB_CONTENT_MD5, md5);
            put_metadata(metadata, headers);
        })
        .await
    }

    /// Sends bytes until the server accepts them.
    async fn upload(
        &self,
        url: &Url,
        bytes: Bytes,
        describe: &dyn Fn(&mut HeaderMap),
    ) -> Result<(), DoorError> {
        let subject = shown_url(url.as_str());
        self.tries(async || {
            let mut request = self.storage(Method::PUT, url.clone())?;
            put(request.headers_mut(), CONTENT_TYPE.as_str(), BYTES);
            // Without a body, the client would omit this header.
            request.headers_mut().insert(CONTENT_LENGTH, bytes.len().into());
            describe(request.headers_mut());
            *request.body_mut() = Some(Body::from(bytes.clone()));
            let answer = self.send(request, self.limits.upload).await?;
            done(&subject, &answer)
        })
        .await
    }

    /// Creates a request for a storage service. A SAS contains the protocol version that it is for; without
    /// one, a header names it.
    fn storage(&self, method: Method, url: Url) -> Result<Request, Failed> {
        let is_named = uri::value(url.query().unwrap_or_default(), "sv").is_some();
        let mut request = self.request(method, url)?;
        if !is_named {
            put(request.headers_mut(), name::VERSION, VERSION);
        }
        Ok(request)
    }
}

fn done(subject: &str, answer: &Response) -> Result<(), Failed> {
    match judge(answer.status().as_u16(), &code(answer)) {
        Verdict::Done => Ok(()),
        _ => Err(refused(subject, answer)),
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn local(path: &Path, error: &io::Error) -> DoorError {
    DoorError::Local(format!("{}: {error}", path.display()))
}

/// Reads exactly this many bytes of a file.
fn part(from: &mut File, length: u64, path: &Path) -> Result<Bytes, DoorError> {
    let mut bytes = vec![];
    from.take(length).read_to_end(&mut bytes).map_err(|error| local(path, &error))?;
    match bytes.len() as u64 == length {
        true => Ok(bytes.into()),
        false => {
            Err(DoorError::Local(format!("{}: it became shorter while it was uploaded", path.display())))
        }
    }
}

/// Returns a random number, to distinguish uploads.
fn number() -> Result<u64, DoorError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| DoorError::Other(format!("cannot create block ids: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}
