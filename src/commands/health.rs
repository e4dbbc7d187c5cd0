//! Health, metrics and status of a daemon, on loopback.

use super::host;
use crate::{
    daemon::{AskStatus, Overview, Status},
    error::UsageError,
    render::{overview, say::shown},
};
use anyhow::{Context, Result};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use dropmill_local_azure::reception::{self, Bounds};
use std::{fmt::Write, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};

/// Longest time until a daemon answers before it is reported as unhealthy.
const PATIENCE: Duration = Duration::from_secs(5);

/// There are few clients; each request is short and can be repeated.
const BOUNDS: Bounds = Bounds {
    connections: 32,
    per_peer: 32,
    idle: Duration::from_secs(5),
    head: Duration::from_secs(5),
    silence: Duration::from_secs(5),
    // Request bodies are not read.
    grace: Duration::from_secs(5),
    bytes_per_second: 1 << 10,
    drained: 64 << 10,
    drain: Duration::from_secs(1),
};

/// Listens where `watch.listen` says.
pub fn listen(address: &str) -> Result<TcpListener> {
    let wrong = |problem: &str| UsageError::Argument {
        argument: format!("watch.listen {address}"),
        problem: problem.to_owned(),
    };
    let parsed: SocketAddr =
        address.parse().map_err(|_| wrong("write it as address:port, as in 127.0.0.1:9464"))?;
    if !parsed.ip().is_loopback() {
        return Err(wrong("only loopback addresses are allowed").into());
    }
    reception::listen(parsed).with_context(|| format!("watch.listen {address}"))
}

/// Reads the overview that `dropmill status` shows.
pub type ReadOverview = Arc<dyn Fn() -> Result<Overview> + Send + Sync>;

/// What `/status` needs.
#[derive(Clone)]
struct Folders {
    asks: AskStatus,
    read: ReadOverview,
    /// Counting is slow in folders with very many files: one request at a time may count them.
    turn: Arc<Semaphore>,
}

/// Answers until the daemon ends.
pub async fn serve(listener: TcpListener, asks: AskStatus, read: ReadOverview) {
    let folders = Folders { asks: asks.clone(), read, turn: Arc::new(Semaphore::new(1)) };
    let routes = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(asks)
        .merge(Router::new().route("/status", get(status)).with_state(folders))
        .layer(axum::middleware::from_fn(host::only_this_machine));
    reception::serve(listener, routes, BOUNDS, reception::plain).await;
}

async fn ask(asks: &AskStatus) -> Option<Status> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    asks.send(answer).await.ok()?;
    tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
}

async fn health(State(asks): State<AskStatus>) -> (StatusCode, String) {
    match ask(&asks).await {
        Some(status) => match status.files.waits_for {
            None => (StatusCode::OK, "ok\n".into()),
            Some(why) => (StatusCode::OK, format!("waiting: {}\n", shown(&why))),
        },
        None => (StatusCode::SERVICE_UNAVAILABLE, "no response\n".into()),
    }
}

/// Returns the same as `dropmill status`, and what the daemon waits for.
async fn status(State(folders): State<Folders>) -> (StatusCode, String) {
    let unavailable = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    // Waiting requests would block requests to `/health`.
    let Ok(turn) = folders.turn.clone().try_acquire_owned() else {
        return unavailable("files are being counted for another request: try again later");
    };
    let Some(status) = ask(&folders.asks).await else { return unavailable("no response") };
    let read = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        (folders.read)()
    });
    match read.await {
        Ok(Ok(found)) => {
            let found = Overview { waits_for: status.files.waits_for, ..found };
            let lines = overview::lines(&found);
            (StatusCode::OK, lines.iter().map(|line| shown(line) + "\n").collect())
        }
        Ok(Err(error)) => unavailable(&shown(&format!("{error:#}"))),
        Err(error) => unavailable(&shown(&error.to_string())),
    }
}

async fn metrics(State(asks): State<AskStatus>) -> (StatusCode, String) {
    match ask(&asks).await {
        Some(status) => (StatusCode::OK, exposition(&status)),
        None => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    }
}

/// Returns the metrics in the text format of Prometheus.
fn exposition(status: &Status) -> String {
    let files = &status.files;
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(
            text,
            "# HELP dropmill_{name} {help}\n# TYPE dropmill_{name} {kind}\ndropmill_{name} {value}"
        );
    };
    let gauge = "gauge";
    metric("files_waiting", gauge, "Files that wait for free capacity.", files.waiting as f64);
    metric("files_unsettled", gauge, "Files that may still be written.", files.unsettled as f64);
    metric("files_in_flight", gauge, "Files that are being processed.", files.in_flight as f64);
    metric(
        "bytes_in_flight",
        gauge,
        "Bytes of files that are being processed.",
        files.bytes_in_flight as f64,
    );
    metric("entries_refused", gauge, "Entries that cannot be inputs.", files.refused as f64);
    metric(
        "waiting",
        gauge,
        "1 while the daemon cannot continue, otherwise 0.",
        f64::from(files.waits_for.is_some()),
    );
    metric("runs", gauge, "Runs that are running.", status.runs.len() as f64);
    let counter = "counter";
    metric("files_seen_total", counter, "Files seen so far.", files.seen as f64);
    metric("files_done_total", counter, "Files with results.", files.done as f64);
    metric("files_failed_total", counter, "Files that failed.", files.failed as f64);
    metric(
        "files_withdrawn_total",
        counter,
        "Files that were removed before they were taken.",
        files.withdrawn as f64,
    );
    metric("retries_total", counter, "Retries of requests and files.", files.retries as f64);
    metric(
        "work_seconds_total",
        counter,
        "From taking to its place, all files.",
        files.work_ms as f64 / 1000.0,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_actors::drop_folder::DropCounts;

    #[test]
    fn metrics_are_lines_that_prometheus_reads() {
        let files = DropCounts { done: 3, work_ms: 1500, ..DropCounts::default() };
        let status = Status { directory: "/drop".into(), pid: 1, files, runs: vec![] };
        let text = exposition(&status);
        assert!(
            text.contains("# TYPE dropmill_files_done_total counter\ndropmill_files_done_total 3\n"),
            "{text}"
        );
        assert!(text.contains("dropmill_work_seconds_total 1.5\n"), "{text}");
        for line in text.lines() {
            assert!(line.starts_with("# ") || line.split(' ').count() == 2, "{line}");
        }
    }
}
