//! Uploads a file to a Blob container whose URL contains a shared access signature.
//!
//! The signature is a secret: no error or message contains the query of the URL.

use std::{fs::File, path::Path, thread::sleep, time::Duration};
use ureq::{Agent, Error, SendBody, http::StatusCode};

/// Delays before the second and later attempts.
const DELAYS: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

/// Timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Uploads the file to the container under its own name. Replaces an existing blob if the signature allows that, and
/// otherwise keeps it.
///
/// # Errors
/// Returns a message with the operation, its target and the cause.
pub fn put(file: &Path, container: &str) -> Result<(), String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (address, signature) = container
        .split_once('?')
        .ok_or("the container URL has no shared access signature (expected a query after ?)")?;
    let blob = format!("{}/{}", address.trim_end_matches('/'), escaped(&name));
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .user_agent(concat!("top-words/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut delays = DELAYS.iter();
    loop {
        let (reason, is_retryable) = match try_put(&agent, &blob, signature, file) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        let delay = delays.next().filter(|_| is_retryable);
        let Some(delay) = delay else { return Err(format!("cannot upload to {blob}: {reason}")) };
        sleep(*delay);
    }
}

/// Makes one attempt. On failure returns the reason and whether a retry may succeed.
fn try_put(agent: &Agent, blob: &str, signature: &str, file: &Path) -> Result<(), (String, bool)> {
    let local = |error: std::io::Error| (format!("{}: {error}", file.display()), false);
    let content = File::open(file).map_err(local)?;
    let length = content.metadata().map_err(local)?.len();
    let response = agent
        .put(format!("{blob}?{signature}"))
        .header("x-ms-version", "2021-08-06")
        .header("x-ms-blob-type", "BlockBlob")
        .header("content-type", "application/octet-stream")
        .header("content-length", length)
        .send(SendBody::from_owned_reader(content));
    let response = response.map_err(|error| (without_url(&error), is_transient(&error)))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let code =
        response.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).unwrap_or("no code");
    // The signature does not allow to replace a blob: the task was started again after it had uploaded this file.
    if matches!(code, "UnauthorizedBlobOverwrite" | "BlobAlreadyExists") {
        return Ok(());
    }
    Err((format!("the service responded with {} ({code})", status.as_u16()), is_retryable_status(status)))
}

fn is_retryable_status(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn is_transient(error: &Error) -> bool {
    !matches!(error, Error::BadUri(_) | Error::Http(_) | Error::Tls(_) | Error::InvalidProxyUrl)
}

/// Removes the URL from an error, because it would include the signature.
fn without_url(error: &Error) -> String {
    match error {
        Error::BadUri(_) => "the container URL is not a valid URL".to_owned(),
        other => other.to_string(),
    }
}

/// Percent-encodes a blob name for a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
