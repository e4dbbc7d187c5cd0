//! The embedded service of a run: in this process, called without a socket.

use super::account::Account;
use crate::{plan::variables, settings::Loaded};
use anyhow::{Context, Result};
use dropmill_azure_client::in_process::InProcess;
use dropmill_azure_wire::{time::SharedClock, transport::Transport};
use dropmill_local_azure::service::{
    Access, Durability, LocalAzure, NodeEnvironment, RunnerChoice, ServiceSettings,
};
use std::{path::Path, sync::Arc, time::Duration};

/// A plan that asks for more nodes is rejected before the service is started.
const _: () = assert!(crate::plan::EMBEDDED_NODES == dropmill_local_azure::service::NODE_QUOTA);

/// A running embedded service; cheap to clone.
#[derive(Clone)]
pub struct Embedded(LocalAzure);

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
        let settings = ServiceSettings {
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
        let opened = LocalAzure::open(settings, clock.clone(), RunnerChoice::Processes);
        Ok(Self(opened.context("start the embedded service")?))
    }

    /// Returns a transport that calls the service, and its Batch and storage account.
    pub fn transport(&self) -> (Arc<dyn Transport>, Account, Account) {
        let connection = self.0.connection();
        let transport = InProcess::new()
            .serving(&connection.batch.endpoint, self.0.batch_router())
            .serving(&connection.blob.endpoint, self.0.blob_router());
        (Arc::new(transport), account(connection.batch), account(connection.blob))
    }

    /// Returns a counter of the changes of the service.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.changes()
    }

    /// Runs timers of the service until it is stopped.
    pub async fn alarms(self) {
        self.0.alarms().await;
    }

    /// Ends all tasks and stops the service.
    pub fn stop(&self) {
        self.0.stop();
    }
}

fn account(Access { endpoint, account, key, .. }: Access) -> Account {
    Account { endpoint, account, key }
}
