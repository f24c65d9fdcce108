//! Composition: builds the rooms from a configuration, runs the node, ends it in order.
//!
//! Not here: what the rooms do. Invariant: the end is orderly by itself within `SHUTDOWN_TIMEOUT`:
//! nothing new comes in, what was begun is committed, receipted and handed over, clients are told
//! to come back, and the location of every session is removed.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accounts::{self, AccountsError};
use super::config::{Config, Mode};
use super::doors::{self, DoorError};
use super::engines::{self, EngineError, Engines};
use super::files::Files;
use super::health::Parts as HealthParts;
use super::kept::{self, Kept, KeptError};
use super::upkeep::upkeep;
use super::{greeting, memory, telemetry};
use crate::app::{App, AppSettings};
use crate::broker::{Broker, BrokerSettings, Parts};
use crate::edge::{self, EdgeState, InvalidOrigin, RestKey, RestParts};
use crate::hub::Hub;
use crate::identity::{Accounts, Clock, FingerprintKey, VisitorSettings, Visitors};
use crate::location::LocationError;
use crate::model::{Incarnation, Problem, UnixMillis};
use crate::quota::{MemoryQuota, QuotaSettings};
use crate::turns::Turns;
use crate::websocket::alive_bytes;

/// How long clients take to come back to a node that was restarted.
const RETURN_WITHIN: Duration = Duration::from_secs(15);

/// Why the node does not start. Each says in one line what to do.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("REDIS_URL: the node could not be registered: {0}")]
    Claim(#[from] LocationError),
    #[error("CORS_ORIGINS: {0}")]
    Origin(#[from] InvalidOrigin),
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    #[error("DATABASE_URL: the bans cannot be read: {}", .0.detail)]
    Bans(Problem),
    #[error("the system gives no random octets: {0}")]
    Random(getrandom::Error),
}

/// Runs the node until it is told to end.
#[must_use]
pub fn serve(config: &Config, not_used: &[String]) -> ExitCode {
    let log = telemetry::start(config);
    for sentence in not_used {
        tracing::warn!("{sentence}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("the runtime cannot be started: {error}")),
    };
    let ended = runtime.block_on(run(config));
    if ended.is_ok() {
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
    // What waits is written first, so that why it ended is the last line.
    drop(log);
    match ended {
        Ok(Ended::InOrder) => ExitCode::SUCCESS,
        Ok(Ended::Otherwise(why)) => refuse(why),
        Err(error) => refuse(&error.to_string()),
    }
}

/// How a node that had started ended.
enum Ended {
    InOrder,
    Otherwise(&'static str),
}

fn refuse(words: &str) -> ExitCode {
    // There may be no log yet, and whoever started the program looks here.
    let _nobody_reads = writeln!(std::io::stderr(), "stompbox: {words}");
    ExitCode::FAILURE
}

/// A node that has started.
struct Node {
    broker: Arc<Broker>,
    engines: Engines,
    /// The connections and their accept loop.
    edge: TaskTracker,
    stop_edge: CancellationToken,
    /// Everything else.
    work: TaskTracker,
    stop_work: CancellationToken,
}

async fn run(config: &Config) -> Result<Ended, StartError> {
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let node = start(config).await?;
    let superseded = node.broker.superseded.clone();
    let is_superseded = tokio::select! {
        biased;
        () = signals.next() => false,
        () = superseded.cancelled() => true,
    };
    if is_superseded {
        return Ok(Ended::Otherwise(
            "SERVER_ID: another process runs under this name; this one ends",
        ));
    }
    tracing::info!("ending: no new connections, what was begun is finished; again to end at once");
    let ended = tokio::select! {
        biased;
        () = node.drain(config.settings.shutdown_timeout * 4 / 5) => true,
        () = tokio::time::sleep(config.settings.shutdown_timeout) => false,
        () = signals.next() => false,
    };
    Ok(match ended {
        true => {
            tracing::info!("ended in order");
            Ended::InOrder
        }
        false => Ended::Otherwise("ended before everything was finished"),
    })
}

async fn start(config: &Config) -> Result<Node, StartError> {
    let kept = kept::open(config)?;
    // Before the lease is taken: a second start by mistake must not push a running node out only
    // to find its port in use.
    let doors = doors::open(config)?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let incarnation = Incarnation(getrandom::u64().map_err(StartError::Random)?);
    let (work, stop_work) = (TaskTracker::new(), CancellationToken::new());
    let (engines, incoming) = engines::open(config, &kept, incarnation, &work, &stop_work).await?;
    let app_settings = config.app();
    let parts = Parts {
        here: kept.node.clone(),
        incarnation,
        hub: Arc::new(Hub::default()),
        location: Arc::clone(&engines.location),
        bus: Arc::clone(&engines.bus),
        incoming,
        queues: Arc::clone(&engines.queues),
        store: Arc::clone(&engines.store),
        turns: Turns::new(),
        memory: Arc::clone(&app_settings.memory),
    };
    let settings = BrokerSettings {
        alone: matches!(config.mode, Mode::Alone),
        patterns_max: config.settings.patterns_max as usize,
        multiples: Arc::clone(&app_settings.multiples),
        seed: incarnation.0,
        ..BrokerSettings::default()
    };
    let broker = Broker::start(parts, settings, work.clone(), stop_work.clone()).await?;
    let files = Files::raised_for(config.settings.ws_max_connections);
    let people = People::new(config, &kept, &engines, &work)?;
    people
        .accounts
        .reload_bans()
        .await
        .map_err(StartError::Bans)?;
    let app = people.app(&engines, &broker, app_settings);
    let state = edge_state(config, &people, &engines, app, &metrics, &files)?;
    let state = Arc::new(state.with_tls(doors.certificates.clone()));
    let (edge, stop_edge) = (TaskTracker::new(), CancellationToken::new());
    let serving = edge::serve(doors.listeners, state, edge.clone(), stop_edge.clone());
    edge.spawn(serving);
    if let Some(certificates) = doors.certificates {
        let hangup = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
        let keeping = doors::keep_certificates(certificates, hangup);
        work.spawn(stop_work.clone().run_until_cancelled_owned(keeping));
    }
    let upkeep = upkeep(
        Arc::clone(&engines.store),
        Arc::clone(&people.accounts),
        Arc::clone(&broker),
        metrics,
        config.settings.anon_identity_ttl,
    );
    work.spawn(stop_work.clone().run_until_cancelled_owned(upkeep));
    greeting::print(config, &kept.node, doors.addresses, files.connections_max);
    Ok(Node {
        broker,
        engines,
        edge,
        stop_edge,
        work,
        stop_work,
    })
}

/// Who looks after identities: visitors, and accounts beside them.
struct People {
    visitors: Arc<Visitors>,
    accounts: Arc<Accounts>,
    rest_key: RestKey,
    clock: Clock,
}

impl People {
    fn new(
        config: &Config,
        kept: &Kept,
        engines: &Engines,
        work: &TaskTracker,
    ) -> Result<Self, StartError> {
        let clock: Clock = Arc::new(wall_clock);
        let visitors = Visitors::new(
            Arc::clone(&engines.store),
            Arc::clone(&engines.location),
            Arc::clone(&engines.quota),
            fingerprint_key(config, kept),
            VisitorSettings {
                returning_until: match engines.is_returning {
                    true => wall_clock().after(RETURN_WITHIN),
                    false => UnixMillis::default(),
                },
                ..config.visitors()
            },
            Arc::clone(&clock),
        );
        let visitors = Arc::new(visitors.with_accounts(Arc::clone(&engines.accounts)));
        let store = Arc::clone(&engines.accounts);
        let accounts = accounts::open(config, kept, store, Arc::clone(&visitors), work.clone())?;
        Ok(Self {
            visitors,
            accounts,
            rest_key: RestKey::derive(kept.secret.reveal().as_bytes()),
            clock,
        })
    }

    /// The features over the broker, for these people.
    fn app(&self, engines: &Engines, broker: &Arc<Broker>, settings: AppSettings) -> Arc<App> {
        App::new(
            Arc::clone(broker),
            Arc::clone(&self.visitors),
            Some(Arc::clone(&self.accounts)),
            Arc::clone(&engines.quota),
            settings,
            Arc::clone(&self.clock),
        )
    }
}

/// What the edge is made with: the features, and who looks after identities.
fn edge_state(
    config: &Config,
    people: &People,
    engines: &Engines,
    app: Arc<App>,
    metrics: &PrometheusHandle,
    files: &Files,
) -> Result<EdgeState, StartError> {
    let health = HealthParts {
        store: Arc::clone(&engines.store),
        location: Arc::clone(&engines.location),
        bus: Arc::clone(&engines.bus),
        alone: matches!(config.mode, Mode::Alone),
    };
    let render = metrics.clone();
    let settings = config.edge(files);
    let memory = Arc::clone(app.memory());
    memory.add_shared_gauge(alive_bytes);
    engines.queues.draw_on(&memory);
    let shares = app.pools();
    let render = Box::new(move || {
        memory::publish(&memory);
        shares.publish();
        render.render()
    });
    let rest = RestParts {
        quota: Arc::clone(&engines.quota),
        node_quota: Arc::new(MemoryQuota::new(QuotaSettings::default())),
        kept: Arc::clone(&engines.accounts),
        key: people.rest_key.clone(),
    };
    Ok(EdgeState::new(
        settings,
        app,
        Arc::clone(&people.visitors),
        Arc::new(health),
        render,
        rest,
    )?)
}

impl Node {
    /// Ends in order. May be given up at any point.
    async fn drain(&self, edge_within: Duration) {
        // The others stop choosing this node; what fails here is left to the leases.
        let _told = self.engines.location.drain().await;
        self.stop_edge.cancel();
        self.edge.close();
        // A peer that takes a frame now and then must not keep the rest from an orderly end.
        if tokio::time::timeout(edge_within, self.edge.wait())
            .await
            .is_err()
        {
            tracing::warn!("some clients did not let go; they are dropped");
        }
        self.broker.settle().await;
        self.engines.queues.close().await;
        self.engines.bus.stop_consuming().await;
        self.engines.bus.close().await;
        let _given_up = self.engines.location.release().await;
        self.stop_work.cancel();
        self.engines.store.close().await;
        self.work.close();
        self.work.wait().await;
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            terminate,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn fingerprint_key(config: &Config, kept: &Kept) -> FingerprintKey {
    match &config.settings.fp_key {
        Some(key) => FingerprintKey::from_bytes(key.reveal().as_bytes()),
        None => FingerprintKey::derive(kept.secret.reveal().as_bytes()),
    }
}

pub(super) fn wall_clock() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
