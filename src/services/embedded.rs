//! The embedded service of a run: in this process, called without a socket. Only tasks that upload their results
//! themselves need a socket, on loopback.

use super::account::Account;
use crate::{
    plan::variables,
    settings::{Loaded, Upload},
};
use anyhow::{Context, Result};
use dropmill_azure_client::in_process::InProcess;
use dropmill_azure_wire::{time::SharedClock, transport::Transport};
use dropmill_local_azure::{
    reception,
    service::{Access, Durability, LocalAzure, NodeEnvironment, RunnerChoice, ServiceSettings},
};
use dropmill_private_files as private_files;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::AbortHandle};

/// The file with the port of the Blob service, in the folder of the service.
const PORT: &str = "blob-port";

/// A plan that asks for more nodes is rejected before the service is started.
const _: () = assert!(crate::plan::EMBEDDED_NODES == dropmill_local_azure::service::NODE_QUOTA);

/// A running embedded service; cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    service: LocalAzure,
    /// Serves the Blob service on a socket, if tasks need that.
    listening: Option<AbortHandle>,
}

impl Embedded {
    /// Starts a service that keeps its state in `folder`.
    ///
    /// # Errors
    /// Fails if the folder cannot be used.
    pub fn open(loaded: &Loaded, folder: &Path, clock: &SharedClock) -> Result<Self> {
        // Names of nodes and calls must differ only from those of other services.
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let found = |problems| loaded.problems(problems);
        let mut environment =
            variables::inherited(&loaded.settings.task, std::env::vars_os()).map_err(found)?;
        environment.extend(variables::secrets(loaded).map_err(found)?);
        let listener = match loaded.settings.task.upload {
            Upload::SelfUpload => Some(listen(folder)?),
            Upload::Service => None,
        };
        let mut settings = ServiceSettings {
            environment: NodeEnvironment::new(environment),
            seed: u64::from_le_bytes(bytes),
            // The run's journal and its results are written to disk; whatever the service loses is done
            // again.
            durability: Durability::Process,
            // Everything is deleted with the run.
            cleanup_at_stop: Duration::ZERO,
            stream_bytes: loaded.settings.limits.stream_bytes.0,
            ..ServiceSettings::at(folder)
        };
        if let Some(listener) = &listener {
            settings.blob_endpoint = format!("http://{}/{}", listener.local_addr()?, settings.account);
        }
        let opened = LocalAzure::open(settings, clock.clone(), RunnerChoice::Processes);
        let service = opened.context("start the embedded service")?;
        let listening = match listener {
            Some(listener) => Some(serve(listener, &service, folder)?),
            None => None,
        };
        Ok(Self { service, listening })
    }

    /// Returns a transport that calls the service, and its Batch and storage account.
    pub fn transport(&self) -> (Arc<dyn Transport>, Account, Account) {
        let connection = self.service.connection();
        let transport = InProcess::new()
            .serving(&connection.batch.endpoint, self.service.batch_router())
            .serving(&connection.blob.endpoint, self.service.blob_router());
        (Arc::new(transport), account(connection.batch), account(connection.blob))
    }

    /// Returns a counter of the changes of the service.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.service.changes()
    }

    /// Runs timers of the service until it is stopped.
    pub async fn alarms(self) {
        self.service.alarms().await;
    }

    /// Ends all tasks and stops the service.
    pub fn stop(&self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
        self.service.stop();
    }
}

/// Listens on the port of a previous process of the same run, because its tasks upload to that port; on any free
/// port if there was no previous process.
fn listen(folder: &Path) -> Result<TcpListener> {
    let kept = match private_files::read(&folder.join(PORT)) {
        Ok(text) => String::from_utf8_lossy(&text).trim().parse().ok(),
        Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, kept.unwrap_or(0)));
    reception::listen(address).with_context(|| match kept {
        None => format!("listen on {address} for results that tasks upload themselves"),
        Some(port) => format!(
            "listen on {address}, where tasks of this run upload their results: end the process that uses port {port}, \
             or start a new run"
        ),
    })
}

/// Serves the Blob service on a socket until it is aborted, and keeps the port for a later process.
fn serve(listener: TcpListener, service: &LocalAzure, folder: &Path) -> Result<AbortHandle> {
    let port = listener.local_addr()?.port().to_string();
    private_files::replace(&folder.join(PORT), port.as_bytes(), std::fs::File::sync_all)?;
    let router = service.blob_router();
    let serving = reception::serve(listener, router, reception::Bounds::default(), reception::plain);
    Ok(tokio::spawn(serving).abort_handle())
}

fn account(Access { endpoint, account, key, .. }: Access) -> Account {
    Account { endpoint, account, key }
}
