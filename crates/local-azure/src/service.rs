//! The whole local service in one value: model, store, blobs and nodes, put together.
//!
//! `LocalAzure` listens on no socket and spawns no task: its caller serves the two routers (or calls them
//! in process) and runs [`LocalAzure::alarms`] on its own runtime. Only nodes that run processes make connections, and
//! only when a task names an address that is not the service's. In memory and with a pretending
//! runner everything happens on the caller's thread, in the caller's time.

mod home;

use crate::{
    applications::Applications,
    batch_core::Core,
    batch_http::{self, Front},
    blob::{BlobService, BlobSettings},
    elsewhere::{Doors, Limits},
    model::{AutoStorage, Condition, Identity, Supply},
    orders::{BlobDoor, NodeEvent, Reports, Runner},
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

/// Most nodes in all pools, unless told otherwise.
pub const NODE_QUOTA: u32 = 1000;

/// What the service shall be.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Where everything is kept; `None`: in memory, nothing outlives the value.
    pub state_dir: Option<PathBuf>,
    /// When what is in there counts as kept, and may be told.
    pub durability: Durability,
    /// Name of both accounts.
    pub account: String,
    /// Key of the Batch account (base64); `None`: made at the first start and kept. In memory it is made from
    /// the seed, which is no secret.
    pub batch_key: Option<Secret>,
    /// Key of the Blob account, likewise.
    pub blob_key: Option<Secret>,
    /// Where clients find Batch: `http://127.0.0.1:10100`.
    pub batch_endpoint: String,
    /// Where clients find Blob, with the account as first segment: `http://127.0.0.1:10000/local`.
    pub blob_endpoint: String,
    /// Beginning of the ids the service makes; a service with a past never makes one twice.
    pub seed: u64,
    /// Cores of a node whose size does not tell them in its name; bounds the task slots of a node.
    pub cores: u32,
    /// Application packages that pools and tasks may name; of an application's versions the last is its default.
    pub applications: Vec<ApplicationPackage>,
    /// Bytes kept of each of a task's standard output and error; of more, the middle is left out.
    pub stream_bytes: u64,
    /// Variables of every command on every node, besides the service's own. Kept in memory only.
    pub environment: NodeEnvironment,
    /// How long the end of the service may go on removing the folders of nodes; the next start removes the rest.
    pub cleanup_at_stop: Duration,
    /// Most nodes there may be in all pools; a resize beyond it falls short with `AccountCoreQuotaReached`.
    pub node_quota: u32,
    /// Whether a SAS that demands HTTPS (`spr=https`) is accepted although the Blob endpoint is `http`.
    pub allow_https_only_sas: bool,
    /// Whether a request with a property that the API does not have is rejected. Without it, each is logged once and
    /// ignored.
    pub strict: bool,
}

impl ServiceSettings {
    /// A service that forgets, for simulations and tests.
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

    /// A service that keeps its state in a folder, made if it is not there.
    pub fn at(state_dir: impl AsRef<Path>) -> Self {
        Self { state_dir: Some(state_dir.as_ref().to_owned()), ..Self::in_memory() }
    }
}

/// Makes a runner from where to report to and the nodes' way to blobs.
pub type MakeRunner = Box<dyn FnOnce(Reports, Arc<dyn BlobDoor>) -> Arc<dyn Runner>>;

/// Who carries out what the model orders.
pub enum RunnerChoice {
    /// Real processes, below the state folder (a temporary folder if there is none).
    Processes,
    /// Somebody else's, for instance one that only pretends.
    Custom(MakeRunner),
}

/// The service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state folder cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// What was kept of pools, jobs and tasks cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was kept of blobs cannot be used.
    #[error(transparent)]
    Blobs(#[from] crate::blob::StoreError),
    /// The account's name or key cannot be used.
    #[error(transparent)]
    Key(#[from] dropmill_azure_wire::sign::BadKey),
    /// An application package cannot be used.
    #[error(transparent)]
    Application(#[from] BadApplication),
    /// The nodes' folder or threads cannot be had.
    #[error("node runner: {0}")]
    Runner(#[from] std::io::Error),
}

/// How to reach the service; the content of `connection.json`. Serialised, it shows the keys.
#[derive(Debug, Clone, Serialize)]
pub struct Connection {
    /// Batch.
    pub batch: Access,
    /// Blob.
    pub blob: Access,
    /// What storage clients read: holds the key.
    pub connection_string: Secret,
}

/// One of the two services.
#[derive(Debug, Clone, Serialize)]
pub struct Access {
    /// Its address.
    pub endpoint: String,
    /// Its account.
    pub account: String,
    /// The account's key in base64.
    pub key: Secret,
}

/// The local service. Cloning it gives another handle of the same.
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
    /// Opens the service as it was left, or a new one.
    ///
    /// # Errors
    /// When the state folder is in use or damaged, or the runner cannot start: see [`OpenError`].
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
        core.befall(&Condition::Supply(Supply::quota(settings.node_quota)));
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

    /// The HTTP face of Batch.
    pub fn batch_router(&self) -> axum::Router {
        batch_http::router(self.inside.core.clone(), self.inside.front.clone())
    }

    /// The HTTP face of Blob.
    pub fn blob_router(&self) -> axum::Router {
        self.inside.blobs.router()
    }

    /// How to reach it.
    pub fn connection(&self) -> Connection {
        self.inside.connection.clone()
    }

    /// A hint, bumped whenever the state of a pool, node, job or task has changed and the change can be seen.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inside.core.changes()
    }

    /// Wakes the model whenever it asked to be woken (time limits, retention); never ends by itself. Somebody must
    /// run it for as long as the service is used.
    pub async fn alarms(&self) {
        self.inside.core.alarms().await;
    }

    /// The clock was moved: whatever waits for a moment looks at it again.
    pub fn clock_moved(&self) {
        self.inside.core.clock_moved();
    }

    /// Injects an incident (lost nodes, quota, clock skew), so that clients can test how they handle it.
    pub fn befall(&self, condition: &Condition) {
        self.inside.core.befall(condition);
    }

    /// Ends all task processes, then flushes and closes the stores. What runs is as unfinished as after a crash:
    /// the next life queues it again.
    pub fn stop(&self) {
        self.inside.core.stop();
        self.inside.blobs.close();
    }
}

/// Takes packages in, if each is one.
fn applications(packages: &[ApplicationPackage]) -> Result<Applications, BadApplication> {
    for package in packages {
        check_package(&package.path).map_err(|error| BadApplication {
            application: package.application.clone(),
            version: package.version.clone(),
            reason: format!("{}: {error}", package.path.display()),
        })?;
    }
    // A node's folder is another place than the one from which the path was given.
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
