//! `dropmill serve`: the local Azure Batch and Blob service on sockets.

use super::{Mistake, simulate::read_scenario};
use crate::{cli::ServeArgs, render::say, state::State, state::write_private};
use anyhow::{Context, Result, bail};
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_local_azure::{
    reception::{self, Bounds},
    service::{LocalAzure, RunnerChoice, ServiceSettings},
};
use dropmill_test_kit::{
    ShiftedClock,
    served::{self, Served},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Serves until it is told to end.
pub fn serve(arguments: &ServeArgs, state: &State) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(arguments, state))
}

async fn live(arguments: &ServeArgs, state: &State) -> Result<u8> {
    let batch = listen(&arguments.batch, "--batch").await?;
    let blob = listen(&arguments.blob, "--blob").await?;
    let folder = state.service();
    let mut settings = ServiceSettings::at(&folder);
    settings.batch_endpoint = format!("http://{}", batch.local_addr()?);
    settings.blob_endpoint = format!("http://{}/{}", blob.local_addr()?, settings.account);
    let scenario =
        arguments.scenario.as_deref().map(read_scenario).transpose()?.map(|(_, scenario)| scenario);
    let wall: SharedClock = Arc::new(WallClock);
    let skew = scenario.as_ref().map_or(0, |scenario| scenario.clock_ahead_seconds);
    let clock = ShiftedClock::new(wall.clone(), skew);
    let service = LocalAzure::open(settings, Arc::new(clock.clone()), RunnerChoice::Processes)?;
    let (batch_router, blob_router) = match &scenario {
        None => (service.batch_router(), service.blob_router()),
        Some(scenario) => {
            let served = Served::new(scenario, service.clone(), clock, wall, arguments.seed)
                .map_err(|error| Mistake(error.to_string()))?;
            served.begin(scenario);
            let ignored = served::ignored(scenario);
            if !ignored.is_empty() {
                let (what, told) = (ignored.join(", "), "nodes, tasks and time are real here");
                eprintln!("of the scenario, {what} counts for nothing: {told}");
            }
            (served.batch_router(), served.blob_router())
        }
    };
    let connection = serde_json::to_string(&service.connection())?;
    let alarms = service.clone();
    tokio::spawn(async move { alarms.alarms().await });
    let mut batch_end = tokio::spawn(reception::serve(batch, batch_router, Bounds::default()));
    let mut blob_end = tokio::spawn(reception::serve(blob, blob_router, Bounds::default()));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    write_private(&folder.join("connection.json"), connection.as_bytes())?;
    let access = service.connection();
    if arguments.json {
        say::line(&connection);
    } else {
        say::line(&format!(
            "Batch on {}\nBlob  on {}\nkeys  in {}\nTasks run on this machine with your rights: there is no sandbox. End with Ctrl-C.",
            access.batch.endpoint,
            access.blob.endpoint,
            folder.join("connection.json").display()
        ));
    }
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = &mut batch_end => bail!("Batch stopped serving: {ended:?}"),
        ended = &mut blob_end => bail!("Blob stopped serving: {ended:?}"),
    }
    batch_end.abort();
    blob_end.abort();
    service.stop();
    Ok(0)
}

async fn listen(address: &str, option: &str) -> Result<TcpListener> {
    let parsed: SocketAddr = address
        .parse()
        .map_err(|_| Mistake(format!("{option} {address}: write it as address:port, as in 127.0.0.1:0")))?;
    if !parsed.ip().is_loopback() {
        let what =
            format!("{option} {address}: only loopback addresses are allowed, because there is no TLS");
        return Err(Mistake(what).into());
    }
    let port = parsed.port();
    TcpListener::bind(parsed)
        .await
        .with_context(|| format!("{option} {address}: port {port} cannot be had; port 0 takes any free one"))
}
