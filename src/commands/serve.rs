//! `dropmill serve`: the local Azure Batch and Blob service on sockets.

use super::sockets::{self, Tls};
use crate::{
    cli::ServeArgs,
    error::UsageError,
    plan::variables::Names,
    render::say,
    simulate::read_scenario,
    state::{State, write_private},
};
use anyhow::{Result, bail};
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_local_azure::{
    request_log::logged,
    service::{ApplicationPackage, LocalAzure, NodeEnvironment, OpenError, RunnerChoice, ServiceSettings},
};
use dropmill_test_kit::{
    ShiftedClock,
    served::{self, Served},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

/// Serves until it receives a signal to end.
pub fn serve(arguments: &ServeArgs, state: &State) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(live(arguments, state))
}

async fn live(arguments: &ServeArgs, state: &State) -> Result<u8> {
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::read(certificate, key)?),
        _ => None,
    };
    let applications = arguments.applications.iter().map(|text| application(text));
    let applications = applications.collect::<Result<_, _>>()?;
    let host = arguments.host.as_deref();
    let batch = sockets::listen(&arguments.batch, "--batch", tls.as_ref(), host)?;
    let blob = sockets::listen(&arguments.blob, "--blob", tls.as_ref(), host)?;
    state.create()?;
    let folder = state.service();
    let mut settings = ServiceSettings::at(&folder);
    settings.applications = applications;
    settings.allow_https_only_sas = arguments.allow_https_only_sas;
    settings.strict = arguments.strict;
    let inherited = Names::read(&arguments.inherit)
        .map_err(|wrong| UsageError::Argument { argument: "--inherit".into(), problem: wrong.join("; ") })?;
    settings.environment = NodeEnvironment::new(inherited.choose(std::env::vars_os()));
    let scheme = if tls.is_some() { "https" } else { "http" };
    // The address as clients write it.
    let reached = |at: SocketAddr| host.map_or(at.to_string(), |host| format!("{host}:{}", at.port()));
    settings.batch_endpoint = format!("{scheme}://{}", reached(batch.local_addr()?));
    settings.blob_endpoint = format!("{scheme}://{}/{}", reached(blob.local_addr()?), settings.account);
    let scenario =
        arguments.scenario.as_deref().map(read_scenario).transpose()?.map(|(_, scenario)| scenario);
    let wall: SharedClock = Arc::new(WallClock);
    let skew = scenario.as_ref().map_or(0, |scenario| scenario.clock_ahead_seconds);
    let clock = ShiftedClock::new(wall.clone(), skew);
    let service =
        LocalAzure::open(settings, Arc::new(clock.clone()), RunnerChoice::Processes).map_err(|error| {
            match error {
                OpenError::Application(bad) => {
                    UsageError::Argument { argument: "--application".into(), problem: bad.to_string() }.into()
                }
                other => anyhow::Error::from(other),
            }
        })?;
    let (batch_router, blob_router) = match &scenario {
        None => (service.batch_router(), service.blob_router()),
        Some(scenario) => {
            let served = Served::new(scenario, service.clone(), clock, wall, arguments.seed);
            let served = served.map_err(|error| UsageError::Argument {
                argument: "--scenario".into(),
                problem: error.to_string(),
            })?;
            served.begin(scenario);
            let ignored = served::ignored(scenario);
            if !ignored.is_empty() {
                let (what, why) = (ignored.join(", "), "nodes, tasks and time are real here");
                say::note(&format!("{what} of the scenario are ignored: {why}"));
            }
            (served.batch_router(), served.blob_router())
        }
    };
    let log = |router, service| match arguments.log_requests {
        true => {
            logged(router, service, Arc::new(WallClock), Arc::new(|request| say::note(&request.to_string())))
        }
        false => router,
    };
    let (batch_router, blob_router) = (log(batch_router, "batch"), log(blob_router, "blob"));
    let connection = serde_json::to_string(&service.connection())?;
    let alarms = service.clone();
    tokio::spawn(async move { alarms.alarms().await });
    let mut batch_end = tokio::spawn(sockets::serve(batch, tls.clone(), batch_router));
    let mut blob_end = tokio::spawn(sockets::serve(blob, tls, blob_router));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    write_private(&folder.join("connection.json"), connection.as_bytes())?;
    let access = service.connection();
    if arguments.json {
        say::json(&access);
    } else {
        say::lines([
            format!("Batch on {}", access.batch.endpoint),
            format!("Blob  on {}", access.blob.endpoint),
            format!("keys  in {}", folder.join("connection.json").display()),
            "Tasks run on this machine with your rights: there is no sandbox. End with Ctrl-C.".into(),
        ]);
    }
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        gone = crate::state::taken_away(folder) => {
            service.stop();
            return Err(gone.into());
        }
        ended = &mut batch_end => bail!("Batch stopped serving: {ended:?}"),
        ended = &mut blob_end => bail!("Blob stopped serving: {ended:?}"),
    }
    batch_end.abort();
    blob_end.abort();
    service.stop();
    Ok(0)
}

/// Reads a package given as `ID@VERSION=PATH`.
fn application(text: &str) -> Result<ApplicationPackage, UsageError> {
    let parts = text.split_once('=').and_then(|(name, path)| Some((name.split_once('@')?, path)));
    let ((application, version), path) =
        parts.filter(|(_, path)| !path.is_empty()).ok_or_else(|| UsageError::Argument {
            argument: format!("--application {text}"),
            problem: "write it as ID@VERSION=PATH, as in blender@4.2=blender.zip".into(),
        })?;
    Ok(ApplicationPackage { application: application.into(), version: version.into(), path: path.into() })
}
