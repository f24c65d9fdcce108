//! The engines that a configuration names, opened.
//!
//! Not here: their contracts. Invariant: what this gives fits together: nodes that meet in one
//! Redis use one store.

use std::fs;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Config, Database, Mode};
use super::kept::Kept;
use crate::bus::memory::{MemoryBus, MemoryExchange};
use crate::bus::queue::Queues;
use crate::bus::queue::memory::MemoryQueues;
use crate::bus::rabbitmq::{RabbitBus, RabbitConnectError, RabbitQueues, RabbitSettings};
use crate::bus::{Bus, Incoming};
use crate::location::{Location, LocationError, LocationSettings, StoreClaim};
use crate::location::{MemoryCluster, RedisLocation};
use crate::model::Incarnation;
use crate::quota::{MemoryQuota, RedisQuota};
use crate::quota::{Quota, QuotaError, QuotaSettings};
use crate::store::postgres::{PostgresSettings, PostgresStore};
use crate::store::sqlite::{SqliteSettings, SqliteStore};
use crate::store::{AccountStore, Store, StoreError};

/// How many payloads of other nodes wait at an embedded node: there are none.
const LONE_INCOMING: usize = 16;

/// Why an engine cannot be used. Each says in one line what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// The store.
    #[error("DATABASE_URL: {0}")]
    Store(StoreError),
    /// Redis, as location.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// Redis, as quota.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// RabbitMQ.
    #[error("RABBITMQ_URL: {0}")]
    Bus(#[from] RabbitConnectError),
    /// The cluster in this Redis uses another store.
    #[error(
        "DATABASE_URL: this store has the id {own}, but the nodes that meet in REDIS_URL use the \
         store {cluster}; all nodes of a cluster share one store: give this node the same \
         DATABASE_URL, or another Redis (the key there is cluster:store)"
    )]
    OtherStore {
        /// The id of this node's store.
        own: String,
        /// The id that the cluster uses.
        cluster: String,
    },
    /// The directory of the database cannot be made.
    #[error("DATABASE_URL: {0}")]
    Directory(std::io::Error),
}

/// The open engines.
#[derive(Debug)]
pub(super) struct Engines {
    pub(super) store: Arc<dyn Store>,
    /// Whether this node alone has served from this database before.
    pub(super) is_returning: bool,
    /// The same store, for accounts.
    pub(super) accounts: Arc<dyn AccountStore>,
    pub(super) location: Arc<dyn Location>,
    pub(super) quota: Arc<dyn Quota>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) queues: Arc<dyn Queues>,
}

/// Opens everything, the store first: without it there is nothing to start for. Beside the engines
/// comes what the bus delivers.
pub(super) async fn open(
    config: &Config,
    kept: &Kept,
    incarnation: Incarnation,
    tracker: &TaskTracker,
    end: &CancellationToken,
) -> Result<(Engines, mpsc::Receiver<Incoming>), EngineError> {
    // Of PostgreSQL nobody can tell.
    let is_returning = matches!(&config.database, Database::Sqlite(path) if path.exists());
    let (store, accounts) = open_store(config, tracker).await?;
    if let Database::Sqlite(path) = &config.database
        && kept.has_run_before
        && !is_returning
    {
        tracing::warn!(
            path = %path.display(),
            "a node has run in this data directory, but its database is not there: a new, empty one is begun"
        );
    }
    let node = kept.node.clone();
    let Mode::Cluster { redis, rabbitmq } = &config.mode else {
        let exchange = MemoryExchange::new(LONE_INCOMING);
        let (bus, incoming) = MemoryBus::attach(&exchange, node.clone());
        let engines = Engines {
            store,
            is_returning,
            accounts,
            location: MemoryCluster::lone().node(node, incarnation),
            quota: Arc::new(MemoryQuota::new(QuotaSettings::default())),
            bus,
            queues: MemoryQueues::new(config.queues()),
        };
        return Ok((engines, incoming));
    };
    let settings = LocationSettings {
        patterns_max: config.settings.patterns_max as usize,
        ..LocationSettings::default()
    };
    let location =
        RedisLocation::connect(redis.reveal(), node.clone(), incarnation, settings).await?;
    let own = store.store_id().await.map_err(EngineError::Store)?;
    if let StoreClaim::Other(cluster) = location.claim_store(&own).await? {
        return Err(EngineError::OtherStore { own, cluster });
    }
    let quota = RedisQuota::connect(redis.reveal(), QuotaSettings::default()).await?;
    let (url, settings) = (rabbitmq.reveal(), RabbitSettings::default());
    let task = || (tracker.clone(), end.clone());
    let (tasks, stop) = task();
    let (bus, incoming) = RabbitBus::connect(
        url,
        node.clone(),
        incarnation,
        settings.clone(),
        tasks,
        stop,
    )
    .await?;
    let (tasks, stop) = task();
    let queues = RabbitQueues::connect(url, &node, settings, config.queues(), tasks, stop).await?;
    let engines = Engines {
        store,
        // Others know where visitors are.
        is_returning: false,
        accounts,
        location,
        quota,
        bus,
        queues,
    };
    Ok((engines, incoming))
}

/// One store, as the two contracts that it keeps.
async fn open_store(
    config: &Config,
    tracker: &TaskTracker,
) -> Result<(Arc<dyn Store>, Arc<dyn AccountStore>), EngineError> {
    match &config.database {
        Database::Sqlite(path) => {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory).map_err(EngineError::Directory)?;
            }
            let opened = SqliteStore::open(path, &SqliteSettings::default());
            let store = opened.map_err(EngineError::Store)?;
            let accounts: Arc<dyn AccountStore> = Arc::<SqliteStore>::clone(&store);
            Ok((store, accounts))
        }
        Database::Postgres(url) => {
            let settings = PostgresSettings::default();
            let opened = PostgresStore::connect(url.reveal(), &settings, tracker).await;
            let store = opened.map_err(EngineError::Store)?;
            let accounts: Arc<dyn AccountStore> = Arc::<PostgresStore>::clone(&store);
            Ok((store, accounts))
        }
    }
}
