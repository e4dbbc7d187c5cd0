//! Downloads any web address into a file.

use super::{
    decide::{self, Failed, Verdict, judge},
    line::{Line, code, refused},
};
use crate::{
    orders::{DoorError, GoOn},
    room,
};
use dropmill_azure_wire::{
    blob::{FileMetadata, metadata_from_headers},
    secret::shown_url,
};
use http::header::LOCATION;
use reqwest::{Method, Response};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};
use url::Url;

/// Number of bytes of a body of unknown length between two checks of the free disk space.
const CHECK_EVERY: u64 = 16 << 20;

/// The result of a download.
#[derive(Debug, PartialEq)]
pub(super) enum Fetched {
    /// The file was downloaded; contains the file metadata of the blob, if it is one.
    File(FileMetadata),
    /// A redirect leads to this address of the service itself.
    LeadsHome(String),
}

impl Line {
    /// Downloads an address to a new file; `is_own` recognises addresses of the service itself. If it fails,
    /// no file is left.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn fetch(
        &self,
        url: &str,
        to: &Path,
        go_on: GoOn<'_>,
        is_own: &dyn Fn(&str) -> bool,
    ) -> Result<Fetched, DoorError> {
        let subject = shown_url(url);
        let url = decide::read(url)?;
        let fetched = self.tries(async || self.try_to_fetch(&url, to, is_own).await);
        let outcome = self.wait(&subject, go_on, fetched);
        if !matches!(outcome, Ok(Fetched::File(_))) {
            // A partial file could be mistaken for the file, and would use space on a full disk.
            let _ = fs::remove_file(to);
        }
        outcome
    }

    async fn try_to_fetch(
        &self,
        url: &Url,
        to: &Path,
        is_own: &dyn Fn(&str) -> bool,
    ) -> Result<Fetched, Failed> {
        let mut url = url.clone();
        for _ in 0..=self.limits.redirects {
            let subject = shown_url(url.as_str()).into_owned();
            let answer = self.send(self.request(Method::GET, url.clone())?, self.limits.idle).await?;
            match judge(answer.status().as_u16(), &code(&answer)) {
                Verdict::Done => return self.write(&subject, answer, to).await.map(Fetched::File),
                Verdict::Moved => {}
                _ => return Err(refused(&subject, &answer)),
            }
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = decide::redirect(&url, location)?;
            if is_own(url.as_str()) {
                return Ok(Fetched::LeadsHome(url.into()));
            }
        }
        let (shown, most) = (shown_url(url.as_str()), self.limits.redirects);
        Err(Failed::finally(DoorError::Other(format!("{shown}: expected at most {most} redirects"))))
    }

    /// Writes a body to a file as it arrives.
    async fn write(&self, subject: &str, mut answer: Response, to: &Path) -> Result<FileMetadata, Failed> {
        let facts = FileMetadata::from_blob_metadata(&metadata_from_headers(answer.headers()));
        let local =
            |error: io::Error| Failed::finally(DoorError::Local(format!("{}: {error}", to.display())));
        let folder = to.parent().unwrap_or(to);
        let (length, most) = (answer.content_length(), self.limits.file_bytes);
        let long = |has: &str| {
            Failed::finally(DoorError::Other(format!(
                "{subject}: it has {has} bytes, at most {most} are taken"
            )))
        };
        if let Some(length) = length {
            if length > most {
                return Err(long(&length.to_string()));
            }
            room::check(folder, length).map_err(local)?;
        }
        let mut file = File::create(to).map_err(local)?;
        let (mut written, mut checked) = (0_u64, 0);
        while let Some(part) = self.part(subject, &mut answer).await? {
            written += part.len() as u64;
            if written > most {
                return Err(long(&format!("more than {most}")));
            }
            if length.is_none() && written > checked {
                room::check(folder, CHECK_EVERY).map_err(local)?;
                checked = written + CHECK_EVERY;
            }
            file.write_all(&part).map_err(local)?;
        }
        Ok(facts)
    }
}
