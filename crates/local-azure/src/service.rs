//! The whole local service in one value: model, store, blobs and nodes.
//!
//! `LocalAzure` listens on no socket and spawns no task: its caller serves the two routers (or calls them in
//! process) and runs [`LocalAzure::alarms`] on its own runtime. Only nodes with real processes make
//! connections, and only if a task names an address of another service. In memory and with a fake runner,
//! everything happens on the caller's thread, in the caller's time.

mod home;

use crate::{
    applications::Applications,
    batch_core::Core,
    batch_http::{self, Front},
    blob::{BlobService, BlobSettings},
    elsewhere::{Doors, Limits},
    model::{AutoStorage, Capacity, Identity, ServiceIncident},
    orders::{BlobAccess, NodeEvent, Reports, Runner},
    runner::{ProcessRunner, RunnerSettings, check_package},
    store::StoreError,
};
pub use crate::{
    applications::{ApplicationPackage, BadApplication},
    durability::Durability,
    runner::NodeEnvironment,
};
use dropmill_azure_wire::{secret::Secret, sign::SharedKey, time::SharedClock};
use home::Home;
pub use home::HomeError;
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Default maximum number of nodes in all pools.
pub const NODE_QUOTA: u32 = 1000;

/// Settings of the service.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Folder of the state; `None`: in memory, nothing is kept.
    pub state_dir: Option<PathBuf>,
    /// When a change counts as stored, and may be acknowledged.
    pub durability: Durability,
    /// Name of the Batch account and of the storage account.
    pub account: String,
    /// Key of the Batch account (base64); `None`: created at the first start and stored. In memory it is
    /// derived from the seed and is not secret.
    pub batch_key: Option<Secret>,
    /// Key of the storage account, in the same way.
    pub blob_key: Option<Secret>,
    /// Address of Batch for clients: `http://127.0.0.1:10100`.
    pub batch_endpoint: String,
    /// Address of Blob for clients, with the account as first segment: `http://127.0.0.1:10000/local`.
    pub blob_endpoint: String,
    /// Prefix of generated ids; a service with stored state never generates an id twice.
    pub seed: u64,
    /// Number of cores of a node whose size name does not contain it; limits the task slots of a node.
    pub cores: u32,
    /// Application packages that pools and tasks can name; the last version of an application is its default.
    pub applications: Vec<ApplicationPackage>,
    /// Bytes kept of each of a task's standard output and error; the middle of longer ones is left out.
    pub stream_bytes: u64,
    /// Variables of every command on every node, besides the service's own. Kept in memory only.
    pub environment: NodeEnvironment,
    /// Time for removing the folders of nodes when the service stops; the next start removes the rest.
    pub cleanup_at_stop: Duration,
    /// Maximum number of nodes in all pools; a resize beyond it gets fewer nodes, with
    /// `AccountCoreQuotaReached`.
    pub node_quota: u32,
    /// Whether a SAS that requires HTTPS (`spr=https`) is accepted although the Blob endpoint is `http`.
    pub allow_https_only_sas: bool,
    /// Whether a request with a property that the API does not have is rejected. Without it, each is logged once and
    /// ignored.
    pub strict: bool,
}

impl ServiceSettings {
    /// Returns settings of a service in memory, for simulations and tests.
    pub fn in_memory() -> Self {
        Self {
            state_dir: None,
            durability: Durability::Power,
            account: "local".into(),
            batch_key: None,
            blob_key: None,
            batch_endpoint: "http://127.0.0.1:10100".into(),
            blob_endpoint: "http://127.0.0.1:10000/local".into(),
            seed: 0,
            cores: 4,
            applications: vec![],
            stream_bytes: 1 << 30,
            environment: NodeEnvironment::default(),
            cleanup_at_stop: Duration::from_secs(5),
            node_quota: NODE_QUOTA,
            allow_https_only_sas: false,
            strict: false,
        }
    }

    /// Returns settings of a service that stores its state in a folder, which is created if it does not
    /// exist.
    pub fn at(state_dir: impl AsRef<Path>) -> Self {
        Self { state_dir: Some(state_dir.as_ref().to_owned()), ..Self::in_memory() }
    }
}

/// Creates a runner from the receiver of its reports and the nodes' access to blobs.
pub type MakeRunner = Box<dyn FnOnce(Reports, Arc<dyn BlobAccess>) -> Arc<dyn Runner>>;

/// The runner that carries out the orders of the model.
pub enum RunnerChoice {
    /// Real processes, in the state folder (a temporary folder if there is none).
    Processes,
    /// Another runner, such as a fake one.
    Custom(MakeRunner),
}

/// The reason why the service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state folder cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The stored pools, jobs and tasks cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored blobs cannot be used.
    #[error(transparent)]
    Blobs(#[from] crate::blob::StoreError),
    /// The account's name or key is invalid.
    #[error(transparent)]
    Key(#[from] dropmill_azure_wire::sign::BadKey),
    /// An application package is invalid.
    #[error(transparent)]
    Application(#[from] BadApplication),
    /// The nodes' folder or threads cannot be created.
    #[error("node runner: {0}")]
    Runner(#[from] std::io::Error),
}

/// Addresses and keys of the service; the content of `connection.json`. Its serialized form contains the
/// keys.
#[derive(Debug, Clone, Serialize)]
pub struct Connection {
    /// Access to the Batch service.
    pub batch: Access,
    /// Access to the Blob service.
    pub blob: Access,
    /// Connection string for storage clients: contains the key.
    pub connection_string: Secret,
}

/// Access to one of the two services.
#[derive(Debug, Clone, Serialize)]
pub struct Access {
    /// Address of the service.
    pub endpoint: String,
    /// Name of the account.
    pub account: String,
    /// The account's key in base64.
    pub key: Secret,
}

/// The local service. Clones share the same service.
#[derive(Clone)]
pub struct LocalAzure {
    inside: Arc<Inside>,
}

struct Inside {
    connection: Connection,
    core: Arc<Core>,
    front: Arc<Front>,
    blobs: BlobService,
    /// Holds the lock of the state folder.
    _home: Option<Home>,
}

impl LocalAzure {
    /// Opens the stored service, or a new one.
    ///
    /// # Errors
    /// Fails if the state folder is in use or damaged, or the runner cannot start: see [`OpenError`].
    pub fn open(
        settings: ServiceSettings,
        clock: SharedClock,
        runner: RunnerChoice,
    ) -> Result<Self, OpenError> {
        let applications = applications(&settings.applications)?;
        let home = settings
            .state_dir
            .as_deref()
            .map(|folder| Home::open(folder, settings.durability, clock.now()))
            .transpose()?;
        let keys = home::keys(home.as_ref(), &settings)?;
        let connection = Connection::of(&settings, keys);
        let folder = home.as_ref().map(|home| home.folder().to_owned());
        let blobs = BlobService::open(
            BlobSettings {
                state_dir: folder.clone(),
                durability: settings.durability,
                account: connection.blob.account.clone(),
                key: connection.blob.key.clone(),
                endpoint: connection.blob.endpoint.clone(),
                allow_https_only_sas: settings.allow_https_only_sas,
            },
            clock.clone(),
        )?;
        let identity =
            Identity { base: connection.batch.endpoint.clone(), account: connection.batch.account.clone() };
        let key = SharedKey::new(&connection.batch.account, &connection.batch.key)?;
        let front = Arc::new(Front::new(identity.clone(), key, settings.strict));
        let storage = AutoStorage {
            endpoint: connection.blob.endpoint.clone(),
            key: SharedKey::new(&connection.blob.account, &connection.blob.key)?,
        };
        let core = Core::open(
            folder.as_deref(),
            settings.durability,
            identity,
            (storage, applications),
            settings.seed,
            clock.clone(),
        )?;
        let core = Arc::new(core);
        core.inject(&ServiceIncident::Capacity(Capacity::quota(settings.node_quota)));
        let weak = Arc::downgrade(&core);
        let reports: Reports = Arc::new(move |event: NodeEvent| {
            if let Some(core) = weak.upgrade() {
                core.report(event);
            }
        });
        let runner: Arc<dyn Runner> = match runner {
            RunnerChoice::Custom(make) => make(reports, blobs.door()),
            RunnerChoice::Processes => {
                let root = match &folder {
                    Some(folder) => folder.join("nodes"),
                    None => std::env::temp_dir().join(format!("dropmill-nodes-{}", std::process::id())),
                };
                let batch = &connection.batch;
                let account_url = format!("{}/", batch.endpoint);
                let settings = RunnerSettings {
                    inherited: settings.environment,
                    max_output_bytes: settings.stream_bytes,
                    cleanup_at_stop: settings.cleanup_at_stop,
                    ..RunnerSettings::new(root, &batch.account, account_url)
                };
                let doors = Doors::new(blobs.door(), &connection.blob.endpoint, Limits::default());
                ProcessRunner::start(settings, clock, reports, Arc::new(doors))?
            }
        };
        core.employ(runner, blobs.door());
        Ok(Self { inside: Arc::new(Inside { connection, core, front, blobs, _home: home }) })
    }

    /// Returns the HTTP interface of Batch.
    pub fn batch_router(&self) -> axum::Router {
        batch_http::router(self.inside.core.clone(), self.inside.front.clone())
    }

    /// Returns the HTTP interface of Blob.
    pub fn blob_router(&self) -> axum::Router {
        self.inside.blobs.router()
    }

    /// Returns the addresses and keys.
    pub fn connection(&self) -> Connection {
        self.inside.connection.clone()
    }

    /// Returns a change notification: a counter that is incremented when a change of a pool, node, job or
    /// task is visible.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inside.core.changes()
    }

    /// Wakes the model at its alarms (time limits, retention); never ends. It must run for as long as the
    /// service is used.
    pub async fn alarms(&self) {
        self.inside.core.alarms().await;
    }

    /// Must be called after a change of the clock: wakes everything that waits for a time.
    pub fn clock_moved(&self) {
        self.inside.core.clock_moved();
    }

    /// Injects an incident (lost nodes, quota, clock skew), so that clients can test how they handle it.
    pub fn inject(&self, condition: &ServiceIncident) {
        self.inside.core.inject(condition);
    }

    /// Ends all task processes, then flushes and closes the stores. Running tasks are unfinished, as after a
    /// crash: the next process queues them again.
    pub fn stop(&self) {
        self.inside.core.stop();
        self.inside.blobs.close();
    }
}

/// Checks packages and declares them.
fn applications(packages: &[ApplicationPackage]) -> Result<Applications, BadApplication> {
    for package in packages {
        check_package(&package.path).map_err(|error| BadApplication {
            application: package.application.clone(),
            version: package.version.clone(),
            reason: format!("{}: {error}", package.path.display()),
        })?;
    }
    // Relative paths must not be resolved in a node's folder.
    let absolute = |package: &ApplicationPackage| {
        let path = std::path::absolute(&package.path).unwrap_or_else(|_| package.path.clone());
        ApplicationPackage { path, ..package.clone() }
    };
    Applications::of(packages.iter().map(absolute).collect())
}

impl Connection {
    fn of(settings: &ServiceSettings, keys: home::Keys) -> Self {
        let access = |endpoint: &str, key: Secret| Access {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            account: settings.account.clone(),
            key,
        };
        let batch = access(&settings.batch_endpoint, keys.batch);
        let blob = access(&settings.blob_endpoint, keys.blob);
        let scheme = blob.endpoint.split_once("://").map_or("http", |(scheme, _)| scheme);
        let connection_string = format!(
            "DefaultEndpointsProtocol={scheme};AccountName={};AccountKey={};BlobEndpoint={};",
            blob.account,
            blob.key.expose(),
            blob.endpoint
        );
        Self { batch, blob, connection_string: connection_string.into() }
    }
}
