//! Notifications to a web address, signed as Standard Webhooks defines.

use super::{failed::Failed, signature};
use dropmill_azure_wire::{secret::Secret, time::SharedClock};
use dropmill_journal::Notice;
use reqwest::{Client, StatusCode, Url, redirect};
use std::time::Duration;

/// An address that receives notifications.
pub struct Webhook {
    url: Url,
    client: Client,
    key: Option<Secret>,
    clock: SharedClock,
}

impl Webhook {
    /// Sets up a client for an address; with a key, notifications are signed.
    ///
    /// # Errors
    /// Fails if TLS cannot be set up.
    pub fn new(url: Url, key: Option<Secret>, clock: SharedClock) -> Result<Self, String> {
        crate::services::install_tls();
        let client = Client::builder().redirect(redirect::Policy::none()).build();
        Ok(Self { url, client: client.map_err(|error| error.to_string())?, key, clock })
    }

    /// Posts a notification.
    ///
    /// # Errors Returns why it was not accepted, and whether another attempt is useful.
    pub async fn post(&self, notice: &Notice) -> Result<(), Failed> {
        let seconds = self.clock.now().as_second();
        let mut request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &notice.id)
            .header("webhook-timestamp", seconds.to_string());
        if let Some(key) = &self.key {
            let signed = signature::sign(key, &notice.id, seconds, &notice.body).map_err(Failed::ever)?;
            request = request.header("webhook-signature", signed);
        }
        let answer = request.body(notice.body.clone()).send().await;
        // URLs may contain secrets, so they are not repeated in messages.
        let answer = answer.map_err(|error| Failed::for_now(error.without_url().to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let later = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        let seconds = |value: &reqwest::header::HeaderValue| value.to_str().ok()?.parse().ok();
        let after = answer.headers().get("retry-after").and_then(seconds).map(Duration::from_secs);
        Err(Failed { why: format!("the receiver answered with {status}"), for_good: !later, after })
    }
}
