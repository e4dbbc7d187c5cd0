//! Sends a file to a Blob container of which a URL with a shared access signature is known.
//!
//! The signature is a key: no error and no message holds any of the URL behind its `?`.

use std::{fs::File, path::Path, thread::sleep, time::Duration};
use ureq::{Agent, Error, SendBody, http::StatusCode};

/// Pauses before the second and later tries.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

/// Most time without an answer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Puts the file into the container, under its name, in place of what is there.
///
/// # Errors
/// One sentence: what was tried, on what, and what came back.
pub fn put(file: &Path, container: &str) -> Result<(), String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (address, signature) =
        container.split_once('?').ok_or("the container URL has no shared access signature behind a ?")?;
    let blob = format!("{}/{}", address.trim_end_matches('/'), escaped(&name));
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .user_agent(concat!("top-words/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut pauses = PAUSES.iter();
    loop {
        let (reason, may_pass) = match try_put(&agent, &blob, signature, file) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        let pause = pauses.next().filter(|_| may_pass);
        let Some(pause) = pause else { return Err(format!("upload to {blob}: {reason}")) };
        sleep(*pause);
    }
}

/// The reason, and whether another try may do better.
fn try_put(agent: &Agent, blob: &str, signature: &str, file: &Path) -> Result<(), (String, bool)> {
    let local = |error: std::io::Error| (format!("{}: {error}", file.display()), false);
    let content = File::open(file).map_err(local)?;
    let length = content.metadata().map_err(local)?.len();
    let answer = agent
        .put(format!("{blob}?{signature}"))
        .header("x-ms-version", "2021-08-06")
        .header("x-ms-blob-type", "BlockBlob")
        .header("content-type", "application/octet-stream")
        .header("content-length", length)
        .send(SendBody::from_owned_reader(content));
    let answer = answer.map_err(|error| (without_url(&error), passes(&error)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let code =
        answer.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or("no code");
    Err((format!("the service answered {} ({code})", status.as_u16()), worth_another_try(status)))
}

fn worth_another_try(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn passes(error: &Error) -> bool {
    !matches!(error, Error::BadUri(_) | Error::Http(_) | Error::Tls(_) | Error::InvalidProxyUrl)
}

/// Errors that name a URL name all of it.
fn without_url(error: &Error) -> String {
    match error {
        Error::BadUri(_) => "the container URL is not a URL".to_owned(),
        other => other.to_string(),
    }
}

/// A blob's name as a part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
