//! Connections to other addresses: HTTP clients, the thread that drives their sockets, and the waiting
//! callers.

use super::{
    Limits,
    decide::{self, Failed},
};
use crate::{
    blob::is_loopback,
    orders::{DoorError, GoOn},
};
use dropmill_azure_wire::{blob::header as name, secret::shown_url};
use reqwest::{Client, ClientBuilder, Method, Request, Response, redirect};
use std::{error::Error, io, time::Duration};
use tokio::{
    runtime::{self, Handle},
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};
use url::Url;

/// Interval at which a waiting caller is asked whether to stop.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Maximum length of an error code that is shown.
const CODE_LENGTH: usize = 64;

/// The connections to other addresses. Callers wait on their own threads, outside of any runtime.
pub(crate) struct Line {
    pub(super) limits: Limits,
    handle: Handle,
    outside: Client,
    loopback: Client,
    transfers: Semaphore,
    /// Dropping it ends the thread.
    _end: oneshot::Sender<()>,
}

impl Line {
    /// Starts the thread and sets up TLS.
    ///
    /// # Errors
    /// Returns the cause if that fails.
    pub fn open(limits: Limits) -> Result<Self, String> {
        // A program that installed another provider keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .connect_timeout(limits.connect)
                .redirect(redirect::Policy::none())
                .referer(false)
                .tcp_nodelay(true)
                .user_agent(concat!("dropmill/", env!("CARGO_PKG_VERSION")))
        };
        let outside = client(builder)?;
        let loopback = client(|| builder().no_proxy())?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let drive = move || {
            let _ = runtime.block_on(ended);
            // A name lookup may hang; do not wait for it.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("elsewhere".into()).spawn(drive);
        thread.map_err(|error| error.to_string())?;
        let transfers = Semaphore::new(limits.transfers);
        Ok(Self { limits, handle, outside, loopback, transfers, _end: end })
    }

    /// Waits for one transfer until it is complete, times out, or the caller must stop. `subject` names the
    /// transfer in errors.
    pub fn wait<T>(
        &self,
        subject: &str,
        go_on: GoOn<'_>,
        transfer: impl Future<Output = Result<T, DoorError>>,
    ) -> Result<T, DoorError> {
        let total = self.limits.total;
        let bounded = async {
            let _turn = self.transfers.acquire().await;
            let late = || DoorError::TimedOut(format!("{subject}: not complete after {total:?}"));
            timeout(total, transfer).await.unwrap_or_else(|_| Err(late()))
        };
        let stopped = async {
            while go_on() {
                sleep(ASK_EVERY).await;
            }
        };
        let either = async {
            tokio::select! {
                biased;
                () = stopped => Err(DoorError::Stopped),
                outcome = bounded => outcome,
            }
        };
        // On the heap, because the threads of nodes have small stacks.
        self.handle.block_on(Box::pin(either))
    }

    /// Repeats an attempt until it succeeds, fails permanently, or no attempt is left.
    pub async fn tries<T>(&self, mut work: impl AsyncFnMut() -> Result<T, Failed>) -> Result<T, DoorError> {
        let mut failures = 0;
        loop {
            let failed = match work().await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            failures += 1;
            let Some(delay) = decide::delay(&self.limits, failures, failed.again) else {
                return Err(failed.error);
            };
            tracing::debug!(error = %failed.error, ?delay, "retrying a transfer");
            sleep(delay).await;
        }
    }

    /// Returns the request for an address. A user name and password in it become its `Authorization`.
    ///
    /// # Errors
    /// A permanent failure if the address is not valid in a request.
    pub fn request(&self, method: Method, url: Url) -> Result<Request, Failed> {
        let subject = shown_url(url.as_str()).into_owned();
        self.outside.request(method, url).build().map_err(|error| failure(&subject, &error))
    }

    /// Sends a request and waits for the head of the response. Never uses a proxy for this machine.
    ///
    /// # Errors
    /// Fails if there is no response in time.
    pub async fn send(&self, request: Request, bound: Duration) -> Result<Response, Failed> {
        let subject = shown_url(request.url().as_str()).into_owned();
        let client = if is_loopback(request.url()) { &self.loopback } else { &self.outside };
        match timeout(bound, client.execute(request)).await {
            Ok(answer) => answer.map_err(|error| failure(&subject, &error)),
            Err(_) => {
                Err(Failed::for_now(DoorError::TimedOut(format!("{subject}: no response after {bound:?}"))))
            }
        }
    }

    /// Waits for the next part of a body.
    ///
    /// # Errors
    /// Fails if the connection ends before the body, or no data arrives in time.
    pub async fn part(&self, subject: &str, answer: &mut Response) -> Result<Option<bytes::Bytes>, Failed> {
        let idle = self.limits.idle;
        match timeout(idle, answer.chunk()).await {
            Ok(part) => part.map_err(|error| failure(subject, &error)),
            Err(_) => {
                let what = format!("{subject}: no data for {idle:?}");
                Err(Failed::for_now(DoorError::TimedOut(what)))
            }
        }
    }
}

/// Builds a client. A system without certificates can still use `http` addresses.
fn client(builder: impl Fn() -> ClientBuilder) -> Result<Client, String> {
    builder().build().or_else(|error| {
        let reason = causes(&error);
        tracing::warn!(reason, "cannot read the certificates of this system: files of https addresses fail");
        builder().tls_certs_only([]).build().map_err(|error| causes(&error))
    })
}

/// Returns the failure for a response that is not a redirect.
pub(super) fn refused(subject: &str, answer: &Response) -> Failed {
    let seconds =
        answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Failed::of(subject, answer.status().as_u16(), &code(answer), seconds.map(Duration::from_secs))
}

/// Returns the error code of a storage service, if it is a valid code.
pub(super) fn code(answer: &Response) -> String {
    let code =
        answer.headers().get(name::ERROR_CODE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match code.len() <= CODE_LENGTH && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        true => code.to_owned(),
        false => String::new(),
    }
}

/// Returns the reason for a missing or incomplete response.
fn failure(subject: &str, error: &reqwest::Error) -> Failed {
    let what = format!("{subject}: {}", causes(error));
    if error.is_timeout() {
        return Failed::for_now(DoorError::TimedOut(what));
    }
    let other = DoorError::Other(what);
    // Another attempt would get the same certificate.
    match error.is_builder() || is_refused_certificate(error) {
        true => Failed::finally(other),
        false => Failed::for_now(other),
    }
}

/// Returns the messages of an error and its causes, without the address, which may contain a signature.
fn causes(error: &reqwest::Error) -> String {
    let mut messages: Vec<String> = vec![];
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(found) = cause {
        let text = match found.downcast_ref::<reqwest::Error>() {
            // Its own message ends in the address.
            Some(own) => kind(own).to_owned(),
            None => found.to_string(),
        };
        if !messages.iter().any(|message| message.contains(&text)) {
            messages.push(text);
        }
        cause = found.source();
    }
    messages.join(": ").replace(char::is_control, " ")
}

fn kind(error: &reqwest::Error) -> &'static str {
    match () {
        () if error.is_connect() => "cannot connect",
        () if error.is_timeout() => "timed out",
        () if error.is_body() || error.is_decode() => "the answer was interrupted",
        () => "the request failed",
    }
}

fn is_refused_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(found) = cause {
        if matches!(found.downcast_ref::<rustls::Error>(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // `source` skips the inner error of an I/O error, which may be another I/O error.
        cause = match found.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => found.source(),
        };
    }
    false
}
