//! The case of header names. HTTP ignores it, and so do all parts of this service; but Blob Storage promises
//! to return the names of metadata as they were sent.
//!
//! `hyper` keeps the names of a request in an extension with a private type, and writes the names of a
//! response from such an extension. So this module reads the names by letting `hyper` write them, and creates
//! the extension by letting it parse them: over a connection within the process, and only for messages with
//! metadata.

use http::{HeaderMap, HeaderName, Request, Response, header};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// Prefix of the names that are kept.
const PREFIX: &str = "x-ms-meta-";
/// Maximum length of a message with names only. The metadata of a blob has at most 8 KiB.
const MOST: usize = 1 << 17;

/// The spelling of header names, as an extension of a request or response. A request that did not arrive over
/// a socket has none: its names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling(Vec<String>);

impl Spelling {
    /// Creates the spelling of headers with these names.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Returns a name in its known spelling, or unchanged if it has none.
    pub fn spell<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.iter().find(|known| known.eq_ignore_ascii_case(name)).map_or(name, |known| known)
    }
}

/// Adds the spelling of the metadata to a request that `hyper` parsed.
pub async fn keep(request: &mut Request<Incoming>) {
    let mut named = HeaderMap::new();
    for name in request.headers().keys().filter(|name| name.as_str().starts_with(PREFIX)) {
        named.insert(name.clone(), header::HeaderValue::from_static(""));
    }
    if named.is_empty() {
        return;
    }
    let mut response = Response::new(Empty::<bytes::Bytes>::new());
    *response.headers_mut() = named;
    // These extensions include the spelling that `hyper` kept.
    *response.extensions_mut() = request.extensions().clone();
    let (_, written) = exchange("", response).await;
    let lines = written.lines().filter_map(|line| line.split_once(':'));
    let names = lines.map(|(name, _)| name.to_owned()).filter(|name| is_kept(name));
    request.extensions_mut().insert(Spelling::of(names));
}

/// Lets `hyper` write a response with the spelling in its extensions.
pub async fn write<B>(response: &mut Response<B>) {
    let Some(Spelling(names)) = response.extensions_mut().remove::<Spelling>() else { return };
    let names = names.iter().filter(|name| is_kept(name) && HeaderName::try_from(*name).is_ok());
    let head: String = names.map(|name| format!("{name}: \r\n")).collect();
    let (extensions, _) = exchange(&head, Response::new(Empty::<bytes::Bytes>::new())).await;
    response.extensions_mut().extend(extensions);
}

fn is_kept(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
}

/// Sends a request with these header lines to a server within the process. Returns the extensions of the
/// request there, and the head of the response as it is written.
async fn exchange(lines: &str, response: Response<Empty<bytes::Bytes>>) -> (http::Extensions, String) {
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
    if request.len() > MOST {
        return Default::default();
    }
    let (mut client, server) = duplex(MOST);
    let (extensions, response) = (Arc::new(Mutex::new(http::Extensions::new())), Mutex::new(Some(response)));
    let seen = extensions.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(request.extensions_mut());
        let response = response.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(true).header_read_timeout(None).auto_date_header(false);
    let mut written = String::new();
    let exchanged = async {
        client.write_all(request.as_bytes()).await?;
        let served = builder.serve_connection(TokioIo::new(server), service).await;
        served.map_err(std::io::Error::other)?;
        client.read_to_string(&mut written).await
    };
    if let Err(error) = exchanged.await {
        // Names in lower case are equivalent.
        tracing::debug!(%error, "the spelling of headers is not kept");
    }
    let extensions = std::mem::take(&mut *extensions.lock().unwrap_or_else(PoisonError::into_inner));
    (extensions, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_spelled_as_it_is_known() {
        let spelling = Spelling::of(["X-Ms-Meta-FooBar".to_owned(), "x-ms-meta-b".to_owned()]);
        for (name, spelled) in [
            ("x-ms-meta-foobar", "X-Ms-Meta-FooBar"),
            ("x-ms-meta-FOOBAR", "X-Ms-Meta-FooBar"),
            ("x-ms-meta-b", "x-ms-meta-b"),
            ("x-ms-meta-foo", "x-ms-meta-foo"),
        ] {
            assert_eq!(spelling.spell(name), spelled);
        }
    }

    #[tokio::test]
    async fn hyper_writes_the_given_spelling() {
        let mut response = Response::new(Empty::new());
        let headers = response.headers_mut();
        headers.insert("x-ms-meta-foobar", "1".parse().unwrap());
        headers.insert("x-ms-meta-other", "2".parse().unwrap());
        headers.insert("etag", "3".parse().unwrap());
        let names = ["x-ms-meta-FooBar", "Etag", "x-ms-meta-a b", "x-ms-meta-a\r\nEvil"].map(str::to_owned);
        response.extensions_mut().insert(Spelling::of(names));
        write(&mut response).await;
        let (_, written) = exchange("", response).await;
        for line in ["x-ms-meta-FooBar: 1", "x-ms-meta-other: 2", "etag: 3"] {
            assert!(written.lines().any(|written| written == line), "{line}: {written}");
        }
    }
}
