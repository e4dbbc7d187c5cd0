//! `dropmill watch`: a daemon over a drop folder, until it is told to end.

use super::{environment, manager};
use crate::{
    cli::WatchArgs,
    daemon::{Command, Daemon, Notice, Status},
    render::say,
    settings::{Loaded, load},
    state::State,
};
use anyhow::Result;
use dropmill_actors::drop_store::text_of;
use dropmill_azure_wire::time::{SharedClock, WallClock};
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
    let runtime = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started")
    };
    actix::System::with_tokio_rt(runtime).block_on(live(daemon, &loaded, arguments.json))?;
    Ok(0)
}

async fn live(daemon: Daemon, loaded: &Loaded, json: bool) -> Result<()> {
    // Before anything is reported: a manager may send a signal as soon as the daemon is ready.
    let signals =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (orders, ordered) = async_channel::unbounded();
    let (asks, asked) = async_channel::unbounded();
    let (notices, noticed) = async_channel::bounded(1024);
    let last_notice = noticed.clone();
    if let Some(address) = &loaded.settings.watch.listen {
        let listener = super::health::listen(address).await?;
        actix::spawn(super::health::serve(listener, asks.clone()));
    }
    if let Some(every) = manager::watchdog() {
        actix::spawn(manager::reassure(every, asks));
    }
    // A reader of standard output that stops reading must hold back neither orders nor answers.
    let (printed, all_printed) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("notices".into()).spawn(move || {
        while let Ok(notice) = noticed.recv_blocking() {
            tell(&notice, json);
        }
        let _ = printed.send(());
    })?;
    let (file, set) = (loaded.file.clone(), loaded.set.clone());
    let listening = actix::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = signals else {
            tracing::error!("signals cannot be heard: interrupting ends the program at once");
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
                            say::notes(format!("SIGHUP: not reloaded, goes on as before: {problems}").lines());
                            Command::Look
                        }
                    };
                    let _ = orders.send(order).await;
                    continue;
                }
            };
            let order = match std::mem::replace(&mut asked, true) {
                false => {
                    say::note(&format!(
                        "{name}: nothing more is taken, what goes on is ended in order; once more to end at once"
                    ));
                    manager::tell("STOPPING=1");
                    Command::Drain
                }
                true => Command::Stop,
            };
            let _ = orders.send(order).await;
        }
    });
    let outcome = daemon.work(ordered, asked, notices).await;
    listening.abort();
    // What was said so far is told. Runs that go on when it ends at once have nothing more to say.
    last_notice.close();
    let _ = tokio::time::timeout(LAST_LINES, all_printed).await;
    outcome
}

fn tell(notice: &Notice, json: bool) {
    match notice {
        Notice::Ready => {
            manager::tell("READY=1");
            if json {
                say::json(&json!({ "kind": "ready" }));
            } else {
                say::note("ready");
            }
        }
        Notice::Event(event) if json => {
            say::json(event);
        }
        Notice::Event(_) => {}
        Notice::Finished { run, task, input, outcome, place, cause } if json => {
            let place = text_of(place);
            let line = json!({
                "kind": "finished", "run": run, "task": task, "input": input, "outcome": outcome, "place": place, "cause": cause,
            });
            say::json(&line);
        }
        Notice::Finished { input, outcome, place, cause, .. } => {
            let why = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            say::line(&format!("{outcome:<7} {input} -> {}{why}", place.display()));
        }
        Notice::NodesReleased { pool } if json => {
            say::json(&json!({ "kind": "nodes_released", "pool": pool }));
        }
        Notice::NodesReleased { pool } => tracing::info!(pool, "no files are left: its nodes are taken away"),
        Notice::Reloaded { later } if json => {
            say::json(&json!({ "kind": "reloaded", "later": later }));
        }
        Notice::Reloaded { later } => {
            let later = match later.is_empty() {
                true => String::new(),
                false => format!("; {} changed too, which takes a new start", later.join(", ")),
            };
            say::note(&format!("reloaded: the next run does what the run file says{later}"));
        }
        Notice::Say(line) => say::note(line),
    }
}

/// Returns how things stand, for people, line by line.
pub fn told(status: &Status) -> Vec<String> {
    let files = &status.files;
    let mut lines = vec![
        format!("{}: pid {}", status.directory.display(), status.pid),
        format!("waiting    {} (and {} that may still be written)", files.waiting, files.unsettled),
        format!("in flight  {} ({})", files.in_flight, say::size(files.bytes_in_flight)),
        format!("done       {}", files.done),
        format!("failed     {}", files.failed),
    ];
    if files.refused > 0 {
        lines.push(format!("left       {} entries that cannot be inputs", files.refused));
    }
    lines.extend(files.waits_for.iter().map(|why| format!("waits for  {why}")));
    lines
}
