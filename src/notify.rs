//! Sends notifications about files and runs to a program or to a web address.
//!
//! A notice is a JSON object. A program reads it from its standard input. For a web address it is posted,
//! signed as Standard Webhooks defines
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>), so that
//! libraries of every language can verify it. A notice that cannot be delivered after all attempts is logged,
//! and the work continues.

mod failed;
mod queue;
#[cfg(feature = "tls")]
mod signature;
#[cfg(feature = "tls")]
mod webhook;
#[cfg(not(feature = "tls"))]
#[path = "notify/no_webhook.rs"]
mod webhook;

use crate::settings::{Loaded, Notify, Problem};
use dropmill_azure_wire::time::SharedClock;
use dropmill_journal::{JournalError, Notice, Outbox};
use failed::Failed;
use queue::{Delivery, Queue, Receiver};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use url::Url;
use webhook::Webhook;

/// Largest number of notices in memory: those that are being sent and those that wait for another attempt.
const IN_HAND: usize = 1024;
/// Number of the last characters of a program's output that are logged.
const TAIL: usize = 200;

/// Sends notices in the background of a tokio runtime, the oldest first, a few at a time; each receiver has
/// its own attempts. Waiting notices are in an outbox, so that each is sent at least once, even after a
/// restart.
pub struct Notifier {
    outbox: Shared,
    wake: async_channel::Sender<()>,
    worker: JoinHandle<()>,
    patience: Duration,
}

/// Shared by the threads of the runtime.
type Shared = Arc<Mutex<Outbox>>;

/// Returns the id of a notice; it stays the same after a restart.
pub fn notice_id(about: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in about {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The receivers of notifications.
struct Listener {
    program: Option<Vec<String>>,
    webhook: Option<Webhook>,
    base: PathBuf,
    timeout: Duration,
    tries: u32,
}

impl Notifier {
    /// Starts, if there is a receiver, with the notices that an earlier process left in the outbox.
    ///
    /// # Errors Fails if an address is not valid or uses plain http to another machine, a secret is not
    /// available ([`Problems`]), or the outbox cannot be opened.
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
        let key = secret.as_ref().map(|source| source.fetch(&loaded.base)).transpose();
        let key = key.map_err(|what| problem("notify.secret", what))?;
        let webhook = match url {
            None => None,
            Some(text) => {
                let url = address(text, loaded.settings.service.allow_plain_http)
                    .map_err(|what| problem("notify.url", what))?;
                let webhook = Webhook::new(url, key, clock.clone());
                Some(webhook.map_err(|what| problem("notify.url", what))?)
            }
        };
        let listener = Arc::new(Listener {
            program: command.clone(),
            webhook,
            base: loaded.base.clone(),
            timeout: timeout.0,
            tries: (*tries).max(1),
        });
        let outbox = Arc::new(Mutex::new(outbox()?));
        let (wake, woken) = async_channel::bounded(1);
        let worker = tokio::spawn(deliver(outbox.clone(), woken, listener, clock.clone()));
        Ok(Some(Self { outbox, wake, worker, patience: timeout.0 }))
    }

    /// Sends a notice, unless it was sent before. Adds its kind and id to it.
    pub fn send(&self, id: &str, kind: &'static str, mut what: Value) {
        what["kind"] = json!(kind);
        what["id"] = json!(id);
        let notice = Notice { id: id.to_owned(), kind: kind.to_owned(), body: what.to_string() };
        match open(&self.outbox).put(&notice) {
            Ok(_) => {
                // If a wake-up is already waiting, a second one is not needed.
                let _ = self.wake.try_send(());
            }
            Err(error) => tracing::error!(%error, notice = notice.body, "notification not sent"),
        }
    }

    /// Waits for attempts in progress, at most as long as one attempt may take.
    pub async fn end(self) {
        self.wake.close();
        let stop = self.worker.abort_handle();
        if tokio::time::timeout(self.patience, self.worker).await.is_err() {
            let waiting = open(&self.outbox).waiting().unwrap_or_default();
            tracing::error!(waiting, "the program ends before all notifications were sent");
            stop.abort();
        }
    }
}

fn open(outbox: &Shared) -> MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Delivers the notices in the outbox until the wake channel is closed and no notice waits.
async fn deliver(
    outbox: Shared,
    wake: async_channel::Receiver<()>,
    listener: Arc<Listener>,
    clock: SharedClock,
) {
    let began = Instant::now();
    let mut work = Work { outbox, listener, clock, queue: Queue::default(), in_hand: BTreeMap::new() };
    let mut attempts = JoinSet::new();
    let mut active = HashMap::new();
    let mut closed = false;
    loop {
        work.take_in();
        while let Some(delivery) = work.queue.take(began.elapsed()) {
            let (listener, tried) = (work.listener.clone(), delivery.clone());
            let task = attempts.spawn(async move { listener.attempt(&tried).await });
            active.insert(task.id(), delivery);
        }
        if closed && active.is_empty() && work.queue.is_empty() {
            return;
        }
        let due = work.queue.wakes_at();
        let due_at = began + due.unwrap_or_default();
        tokio::select! {
            biased;
            Some(ended) = attempts.join_next_with_id(), if !active.is_empty() => {
                let (id, outcome) = match ended {
                    Ok((id, outcome)) => (id, outcome),
                    Err(error) => (error.id(), Err(Failed::for_now(format!("interrupted: {error}")))),
                };
                if let Some(delivery) = active.remove(&id) {
                    work.tried(delivery, outcome, began.elapsed());
                }
            }
            woken = wake.recv(), if !closed => closed = woken.is_err(),
            () = tokio::time::sleep_until(due_at), if due.is_some() => {}
        }
    }
}

struct Work {
    outbox: Shared,
    listener: Arc<Listener>,
    clock: SharedClock,
    queue: Queue,
    /// Notices that were read from the outbox, and how many receivers each still has.
    in_hand: BTreeMap<String, usize>,
}

impl Work {
    /// Reads notices from the outbox, the oldest first, while there are not too many in memory.
    fn take_in(&mut self) {
        while self.in_hand.len() < IN_HAND {
            let except = self.in_hand.keys().cloned().collect();
            let next = open(&self.outbox).next(&except);
            let next = next.inspect_err(|error| tracing::error!(%error, "notices cannot be read"));
            let Ok(Some(notice)) = next else { return };
            let receivers = self.listener.receivers();
            self.in_hand.insert(notice.id.clone(), receivers.len());
            let notice = Arc::new(notice);
            for to in receivers {
                self.queue.add(Delivery { notice: notice.clone(), to, attempt: 1 });
            }
        }
    }

    /// Records the result of an attempt.
    fn tried(&mut self, delivery: Delivery, outcome: Result<(), Failed>, now: Duration) {
        self.queue.ended(&delivery);
        let (id, attempt) = (&delivery.notice.id, delivery.attempt);
        match outcome {
            Ok(()) => self.over(&delivery),
            Err(Failed { why, for_good, .. }) if for_good || attempt >= self.listener.tries => {
                tracing::error!(id, attempt, why, "notification not sent");
                self.over(&delivery);
            }
            Err(Failed { why, after, .. }) => {
                let rest = queue::rest(attempt, after);
                tracing::info!(id, attempt, ?rest, why, "notification not sent; trying again");
                self.queue.repeat(delivery, now, rest);
            }
        }
    }

    /// Records that a receiver has a notice, or will not get it; removes a notice from the outbox when no
    /// receivers are left.
    fn over(&mut self, delivery: &Delivery) {
        let id = &delivery.notice.id;
        let Some(left) = self.in_hand.get_mut(id) else { return };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        let now = self.clock.now().as_second();
        match open(&self.outbox).settle(id, now) {
            Ok(()) => drop(self.in_hand.remove(id)),
            // It stays in memory, so that this process does not send it again.
            Err(error) => {
                tracing::error!(%error, id, "notification sent, but it will be sent again after the next start")
            }
        }
    }
}

impl Listener {
    fn receivers(&self) -> Vec<Receiver> {
        let program = self.program.as_ref().map(|_| Receiver::Program);
        program.into_iter().chain(self.webhook.as_ref().map(|_| Receiver::Address)).collect()
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<(), Failed> {
        let notice = &delivery.notice;
        let attempt = async {
            match (delivery.to, &self.program, &self.webhook) {
                (Receiver::Program, Some(program), _) => self.run(program, notice).await,
                (Receiver::Address, _, Some(webhook)) => webhook.post(notice).await,
                _ => Ok(()),
            }
        };
        let outcome = tokio::time::timeout(self.timeout, attempt).await;
        outcome.unwrap_or_else(|_| Err(Failed::for_now(format!("no response within {:?}", self.timeout))))
    }

    async fn run(&self, program: &[String], notice: &Notice) -> Result<(), Failed> {
        let (name, arguments) =
            program.split_first().ok_or_else(|| Failed::ever("no program is named".into()))?;
        let mut command = tokio::process::Command::new(name);
        command.args(arguments).current_dir(&self.base).env("DROPMILL_NOTICE", &notice.kind);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| Failed::for_now(format!("{name}: {error}")))?;
        if let Some(mut input) = child.stdin.take() {
            // A program that does not read its input may still do its work.
            let _ = input.write_all(notice.body.as_bytes()).await;
        }
        let output = child.wait_with_output().await;
        let output = output.map_err(|error| Failed::for_now(format!("{name}: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let from = said.char_indices().rev().nth(TAIL - 1).map_or(0, |(at, _)| at);
        Err(Failed::for_now(format!("{name}: {}: {}", output.status, said[from..].trim())))
    }
}

/// Returns mistakes that can be found without network calls.
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

/// Returns a URL to which notices may be posted.
fn address(text: &str, plain: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not a valid URL: {error}"))?;
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
    fn addresses_that_would_expose_a_notice_are_rejected() {
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
