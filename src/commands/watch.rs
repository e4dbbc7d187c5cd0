//! `dropmill watch`: a daemon over a drop folder, until it receives a signal to end.

use super::{environment, manager};
use crate::{
    cli::WatchArgs,
    daemon::{Command, Daemon, DaemonEvent, Overview},
    render::say,
    settings::{Loaded, load},
    state::State,
};
use anyhow::Result;
use dropmill_actors::drop_store::text_of;
use dropmill_azure_wire::time::{Clock, SharedClock, WallClock, iso_seconds};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// Longest wait for the last lines to be printed.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Watches until SIGTERM or SIGINT; the second one ends it at once.
pub fn watch(arguments: &WatchArgs, state: &State) -> Result<u8> {
    let loaded = load(&arguments.file, &arguments.set, environment())?;
    let clock: SharedClock = Arc::new(WallClock);
    let daemon = Daemon::open(loaded.clone(), state.clone(), clock)?;
    say::notes(daemon.warnings().iter().map(|warning| warning.as_warning().to_string()));
    if let Some(line) = unused(&loaded) {
        say::note(&line);
    }
    let runtime = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started")
    };
    actix::System::with_tokio_rt(runtime).block_on(live(daemon, arguments, &loaded, state))?;
    Ok(0)
}

async fn live(daemon: Daemon, arguments: &WatchArgs, loaded: &Loaded, state: &State) -> Result<()> {
    let (file, json) = (&arguments.file, arguments.json);
    // Signals are handled before anything is reported: a manager may send a signal as soon as the daemon is
    // ready.
    let signals =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (orders, ordered) = async_channel::unbounded();
    let (asks, asked) = async_channel::unbounded();
    let (notices, noticed) = async_channel::bounded(1024);
    let last_notice = noticed.clone();
    if let Some(address) = &loaded.settings.watch.listen {
        let listener = super::health::listen(address)?;
        let (file, set, state) = (file.to_owned(), loaded.set.clone(), state.clone());
        // The overview is read again for each request, as in `dropmill status`, so that both always show the
        // same.
        let read = Arc::new(move || Overview::read(&load(&file, &set, environment())?, &state));
        actix::spawn(super::health::serve(listener, asks.clone(), read));
    }
    if let Some(every) = manager::watchdog() {
        actix::spawn(manager::reassure(every, asks));
    }
    // If the reader of standard output stops reading, commands and status requests must still be handled.
    let (printed, all_printed) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("notices".into()).spawn(move || {
        while let Ok(notice) = noticed.recv_blocking() {
            report(&notice, json);
        }
        let _ = printed.send(());
    })?;
    let (file, set) = (file.to_owned(), loaded.set.clone());
    let listening = actix::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = signals else {
            tracing::error!("cannot handle signals: an interrupt ends the program at once");
            return;
        };
        let mut asked = false;
        loop {
            let name = tokio::select! {
                biased;
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => {
                    let order = match load(&file, &set, environment()) {
                        Ok(loaded) => Command::Reload(Box::new(loaded)),
                        Err(problems) => {
                            let problems = problems.to_string();
                            say::note(&timed("SIGHUP: not reloaded, settings are unchanged:"));
                            say::notes(problems.lines());
                            Command::Look
                        }
                    };
                    let _ = orders.send(order).await;
                    continue;
                }
            };
            let order = match std::mem::replace(&mut asked, true) {
                false => {
                    say::note(&timed(&format!(
                        "{name}: takes no more files and finishes running tasks; repeat the signal to end at once"
                    )));
                    manager::notify("STOPPING=1");
                    Command::Drain
                }
                true => Command::Stop,
            };
            let _ = orders.send(order).await;
        }
    });
    let outcome = daemon.work(ordered, asked, notices).await;
    listening.abort();
    // All events so far are printed. Runs that are left for the next start have no further events.
    last_notice.close();
    let _ = tokio::time::timeout(LAST_LINES, all_printed).await;
    outcome
}

/// Names the keys that are set and that `watch` does not use.
fn unused(loaded: &Loaded) -> Option<String> {
    let is_unused = |key: &&String| {
        let section = key.split('.').next().unwrap_or_default();
        matches!(section, "input" | "output") || matches!(key.as_str(), "cleanup.job" | "run.max_failures")
    };
    let keys: Vec<&str> = loaded.given.iter().filter(is_unused).map(String::as_str).collect();
    (!keys.is_empty()).then(|| format!("{}: watch does not use {}", loaded.shown(), keys.join(", ")))
}

fn report(notice: &DaemonEvent, json: bool) {
    match notice {
        DaemonEvent::Ready => {
            manager::notify("READY=1");
            if json {
                say::json(&json!({ "kind": "ready" }));
            } else {
                say::note(&timed("ready"));
            }
        }
        DaemonEvent::Event(event) if json => {
            say::json(event);
        }
        DaemonEvent::Event(_) => {}
        DaemonEvent::Finished { run, task, input, outcome, place, cause } if json => {
            let place = text_of(place);
            let line = json!({
                "kind": "finished", "at": now(), "run": run, "task": task, "input": input, "outcome": outcome, "place": place, "cause": cause,
            });
            say::json(&line);
        }
        DaemonEvent::Finished { input, outcome, place, cause, .. } => {
            let why = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            say::line(&timed(&format!("{outcome:<7} {input} -> {}{why}", place.display())));
        }
        DaemonEvent::NodesReleased { pool } if json => {
            say::json(&json!({ "kind": "nodes_released", "pool": pool }));
        }
        DaemonEvent::NodesReleased { pool } => {
            tracing::info!(pool, "no files are left: its nodes are removed")
        }
        DaemonEvent::Reloaded { later } if json => {
            say::json(&json!({ "kind": "reloaded", "later": later }));
        }
        DaemonEvent::Reloaded { later } => {
            let later = match later.is_empty() {
                true => String::new(),
                false => format!("; {} changed too and take effect at the next start", later.join(", ")),
            };
            say::note(&timed(&format!("reloaded: the next run uses the new settings{later}")));
        }
        DaemonEvent::Say(line) => say::note(&timed(line)),
    }
}

/// Returns the UTC time in whole seconds, in the format of RFC 3339.
fn now() -> String {
    iso_seconds(WallClock.now())
}

/// Returns a line with the current time in front.
fn timed(line: &str) -> String {
    format!("{} {line}", now())
}
