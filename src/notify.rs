//! Tells others what became of a file or a run: a program, or an address on the web.
//!
//! A notice is a JSON object. A program reads it from its standard input; an address has it posted, signed as Standard
//! Webhooks asks (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>), so that
//! libraries of every language can check it. What cannot be told after its tries is said in the log, and the work goes on.

mod signature;

use crate::settings::{Loaded, Notify, Problem};
use dropmill_azure_wire::{secret::Secret, time::SharedClock};
use dropmill_journal::{JournalError, Notice, Outbox};
use reqwest::{StatusCode, Url, redirect};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    task::{JoinHandle, JoinSet},
};

/// Notices on their way at the same time.
const AT_ONCE: usize = 4;
/// Rests between tries; the last one is repeated.
const RESTS: [u64; 4] = [1, 5, 30, 120];
/// Characters of what a program said last that are logged.
const TAIL: usize = 200;

/// Tells notices in the background of a tokio runtime, the oldest first, a few at a time. What waits is in an outbox, so
/// that it is told at least once, by whichever life has the time.
pub struct Notifier {
    outbox: Shared,
    bell: async_channel::Sender<()>,
    postman: JoinHandle<()>,
    patience: Duration,
}

/// Threads of the runtime may change between two tries.
type Shared = Arc<Mutex<Outbox>>;

/// The id of a notice about something: the same in every life.
pub fn notice_id(about: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in about {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Who is told.
struct Listener {
    program: Option<Vec<String>>,
    address: Option<(Url, reqwest::Client)>,
    key: Option<Secret>,
    base: PathBuf,
    clock: SharedClock,
    timeout: Duration,
    tries: u32,
}

impl Notifier {
    /// Begins, if anybody wants to be told; with what an earlier life left in the outbox.
    ///
    /// # Errors
    /// An address that is none, plain http to another machine, a secret that is not to be had ([`Problems`]); an outbox
    /// that cannot be opened.
    pub fn begin(
        loaded: &Loaded,
        clock: &SharedClock,
        outbox: impl FnOnce() -> Result<Outbox, JournalError>,
    ) -> anyhow::Result<Option<Self>> {
        let Notify { command, url, secret, timeout, tries } = &loaded.settings.notify;
        let problem = |key: &str, what: String| loaded.problems(vec![Problem::new(key, what)]);
        if command.is_none() && url.is_none() {
            return Ok(None);
        }
        let address = match url {
            None => None,
            Some(text) => {
                let url = address(text, loaded.settings.service.allow_plain_http)
                    .map_err(|what| problem("notify.url", what))?;
                crate::commands::services::install_tls();
                let client = reqwest::Client::builder().redirect(redirect::Policy::none()).build();
                Some((url, client.map_err(|error| problem("notify.url", error.to_string()))?))
            }
        };
        let key = secret.as_ref().map(|source| source.fetch(&loaded.base)).transpose();
        let listener = Arc::new(Listener {
            program: command.clone(),
            address,
            key: key.map_err(|what| problem("notify.secret", what))?,
            base: loaded.base.clone(),
            clock: clock.clone(),
            timeout: timeout.0,
            tries: (*tries).max(1),
        });
        let outbox = Arc::new(Mutex::new(outbox()?));
        let (bell, rung) = async_channel::bounded(1);
        let postman = tokio::spawn(deliver(outbox.clone(), rung, listener));
        Ok(Some(Self { outbox, bell, postman, patience: timeout.0 }))
    }

    /// Tells something, unless it was told before. Its kind and id become part of it.
    pub fn tell(&self, id: &str, kind: &'static str, mut what: Value) {
        what["kind"] = json!(kind);
        what["id"] = json!(id);
        let notice = Notice { id: id.to_owned(), kind: kind.to_owned(), body: what.to_string() };
        match open(&self.outbox).put(&notice) {
            Ok(_) => {
                // A bell that rings already is enough.
                let _ = self.bell.try_send(());
            }
            Err(error) => tracing::error!(%error, notice = notice.body, "not told"),
        }
    }

    /// Waits for what is on its way, as long as one try may take.
    pub async fn end(self) {
        self.bell.close();
        let stop = self.postman.abort_handle();
        if tokio::time::timeout(self.patience, self.postman).await.is_err() {
            let waiting = open(&self.outbox).waiting().unwrap_or_default();
            tracing::error!(waiting, "the program ends before everybody was told");
            stop.abort();
        }
    }
}

fn open(outbox: &Shared) -> MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what waits in the outbox until the bell is closed and nothing waits.
async fn deliver(outbox: Shared, bell: async_channel::Receiver<()>, listener: Arc<Listener>) {
    let mut under_way = BTreeSet::new();
    let mut tellings = JoinSet::new();
    let mut closed = false;
    loop {
        while under_way.len() < AT_ONCE {
            let next = open(&outbox).next(&under_way);
            let next = next.inspect_err(|error| tracing::error!(%error, "notices cannot be read"));
            let Ok(Some(notice)) = next else { break };
            under_way.insert(notice.id.clone());
            let listener = listener.clone();
            tellings.spawn(async move {
                listener.tell(&notice).await;
                notice.id
            });
        }
        tokio::select! {
            biased;
            Some(told) = tellings.join_next(), if !tellings.is_empty() => match told {
                Ok(id) => {
                    let now = listener.clock.now().as_second();
                    if let Err(error) = open(&outbox).settle(&id, now) {
                        tracing::error!(%error, id, "told, and will be told again by the next start");
                        continue;
                    }
                    under_way.remove(&id);
                }
                Err(error) => tracing::error!(%error, "telling was cut off"),
            },
            rung = bell.recv(), if !closed => closed = rung.is_err(),
            else => return,
        }
    }
}

impl Listener {
    async fn tell(&self, notice: &Notice) {
        if let Some(program) = &self.program {
            self.until_told(notice, || self.run(program, notice)).await;
        }
        if let Some((url, client)) = &self.address {
            self.until_told(notice, || self.post(url, client, notice)).await;
        }
    }

    async fn until_told<F: Future<Output = Result<(), Refusal>>>(
        &self,
        notice: &Notice,
        try_once: impl Fn() -> F,
    ) {
        for attempt in 1.. {
            let outcome = tokio::time::timeout(self.timeout, try_once()).await;
            let refusal = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(refusal)) => refusal,
                Err(_) => Refusal::for_now(format!("no answer within {:?}", self.timeout)),
            };
            if refusal.for_good || attempt >= self.tries {
                tracing::error!(id = notice.id, attempt, why = refusal.why, "not told");
                return;
            }
            let index = (attempt as usize).min(RESTS.len()) - 1;
            let rest = refusal.after.unwrap_or_default().max(Duration::from_secs(RESTS[index]));
            tracing::info!(id = notice.id, attempt, ?rest, why = refusal.why, "not told; trying again");
            tokio::time::sleep(rest).await;
        }
    }

    async fn run(&self, program: &[String], notice: &Notice) -> Result<(), Refusal> {
        let (name, arguments) = program.split_first().ok_or_else(|| Refusal::ever("no program".into()))?;
        let mut command = tokio::process::Command::new(name);
        command.args(arguments).current_dir(&self.base).env("DROPMILL_NOTICE", &notice.kind);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| Refusal::for_now(format!("{name}: {error}")))?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read it may still do its work.
            let _ = input.write_all(notice.body.as_bytes()).await;
        }
        let output = child.wait_with_output().await;
        let output = output.map_err(|error| Refusal::for_now(format!("{name}: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let from = said.char_indices().rev().nth(TAIL - 1).map_or(0, |(at, _)| at);
        Err(Refusal::for_now(format!("{name}: {}: {}", output.status, said[from..].trim())))
    }

    async fn post(&self, url: &Url, client: &reqwest::Client, notice: &Notice) -> Result<(), Refusal> {
        let seconds = self.clock.now().as_second();
        let mut request = client
            .post(url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &notice.id)
            .header("webhook-timestamp", seconds.to_string());
        if let Some(key) = &self.key {
            let signed = signature::sign(key, &notice.id, seconds, &notice.body).map_err(Refusal::ever)?;
            request = request.header("webhook-signature", signed);
        }
        let answer = request.body(notice.body.clone()).send().await;
        // Addresses may hold secrets: they are not repeated.
        let answer = answer.map_err(|error| Refusal::for_now(error.without_url().to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let later = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        let seconds = |value: &reqwest::header::HeaderValue| value.to_str().ok()?.parse().ok();
        let after = answer.headers().get("retry-after").and_then(seconds).map(Duration::from_secs);
        Err(Refusal { why: format!("answered with {status}"), for_good: !later, after })
    }
}

struct Refusal {
    why: String,
    for_good: bool,
    after: Option<Duration>,
}

impl Refusal {
    fn for_now(why: String) -> Self {
        Self { why, for_good: false, after: None }
    }

    fn ever(why: String) -> Self {
        Self { why, for_good: true, after: None }
    }
}

/// Mistakes that can be found without asking anybody.
pub fn check(settings: &Notify, plain: bool) -> Vec<Problem> {
    let mut problems = vec![];
    if settings.command.as_ref().is_some_and(Vec::is_empty) {
        problems.push(Problem::new("notify.command", "name a program"));
    }
    if let Some(Err(what)) = settings.url.as_ref().map(|text| address(text, plain)) {
        problems.push(Problem::new("notify.url", what));
    }
    problems
}

/// An address that notices may be posted to.
fn address(text: &str, plain: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback || plain => Ok(url),
        "http" => Err("plain http to another machine: use https, or set service.allow_plain_http".into()),
        other => Err(format!("{other}: it must begin with https://")),
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_addresses_that_keep_a_notice_to_itself_are_taken() {
        for (text, plain, taken) in [
            ("https://hooks.example.org/x?y=1", false, true),
            ("http://127.0.0.1:8080/", false, true),
            ("http://[::1]:8080/", false, true),
            ("http://localhost/", false, true),
            ("http://hooks.example.org/", false, false),
            ("http://hooks.example.org/", true, true),
            ("ftp://hooks.example.org/", true, false),
            ("hooks", true, false),
        ] {
            assert_eq!(address(text, plain).is_ok(), taken, "{text}");
        }
    }
}
