//! Notifies a service manager that asked for it: the protocol of sd_notify, and its watchdog.

use crate::{daemon::AskStatus, render::say::shown};
use std::{os::unix::net::UnixDatagram, time::Duration};
use tokio::time::MissedTickBehavior;

/// Sends a message to the service manager, if there is one.
pub fn notify(what: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| match path.as_encoded_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
            socket.send_to_addr(what.as_bytes(), &SocketAddr::from_abstract_name(name)?)
        }
        _ => socket.send_to(what.as_bytes(), &path),
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// How often the manager is notified that the daemon is healthy: half of `WATCHDOG_USEC`, the time after
/// which the manager restarts a silent daemon (sd_watchdog_enabled(3)).
pub fn watchdog() -> Option<Duration> {
    let ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let patience = std::env::var("WATCHDOG_USEC").ok()?.parse().ok().filter(|patience| *patience > 0)?;
    ours.then(|| Duration::from_micros(patience) / 2)
}

/// Notifies the manager that the daemon is healthy, as long as it answers, with its status.
pub async fn reassure(every: Duration, asks: AskStatus) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (answer, answered) = tokio::sync::oneshot::channel();
        if asks.send(answer).await.is_err() {
            return;
        }
        if let Ok(status) = answered.await {
            let files = &status.files;
            let why = files.waits_for.as_ref().map(|why| format!("; waiting for {why}")).unwrap_or_default();
            notify(&format!(
                "WATCHDOG=1\nSTATUS={} waiting, {} running, {} done, {} failed{}",
                files.waiting + files.unsettled,
                files.in_flight,
                files.done,
                files.failed,
                shown(&why)
            ));
        }
    }
}
