//! The connections to Redis: one multiplexed for the hot path, a few pooled ones for scripts.
//!
//! Not here: what is said over them. Invariant: no call takes longer than its deadline, and a
//! server that is not the one of the last look is noticed at the next look.
//!
//! The client library connects again silently. So that a fail-over or a restart is seen even then,
//! the link asks the server for its run id (a new process has another) and for the id of the
//! connection (a new connection has another), and counts every change of the pair.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisError, ScriptInvocation,
};
use tokio::time::{Instant, timeout};

use crate::location::{LocationError, LocationSettings};

/// How many pooled connections there are for scripts.
const POOL_MAX: usize = 4;

/// After so many failures in a row calls are refused at once, but for one in [`PROBE_EVERY`].
const FAILURES_MAX: u32 = 3;

/// How often one call is let through to see whether Redis is back.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// A peer that does not even acknowledge octets for so long is given up.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// The oldest server that knows everything that is asked of it (`SET` with `NX` and `GET`).
const MAJOR_MIN: u32 = 7;

/// Which server answers, and over which of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    run_id: String,
    connection: u64,
}

/// Failures in a row, and when the next call may try.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    probe_at: Option<Instant>,
}

pub(super) struct Link {
    hot: ConnectionManager,
    pool: Pool,
    settings: LocationSettings,
    breaker: Mutex<Breaker>,
    identity: Mutex<Identity>,
    reconnects: AtomicU64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("settings", &self.settings)
            .field("reconnects", &self.reconnects())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Connects, and looks whether that is a Redis that can be used.
    pub(super) async fn connect(
        url: &str,
        settings: LocationSettings,
    ) -> Result<Self, LocationError> {
        let address = address(url)?;
        let refused = |error: RedisError| {
            LocationError(format!(
                "REDIS_URL: no Redis at {}: {error}",
                address.addr()
            ))
        };
        let client = Client::open(address.clone()).map_err(refused)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(100))
            .set_response_timeout(Some(settings.response))
            .set_connection_timeout(Some(settings.connect));
        let mut hot = ConnectionManager::new_with_config(client, config)
            .await
            .map_err(refused)?;
        let server = look(&mut hot).await.map_err(refused)?;
        if server.major < MAJOR_MIN {
            return Err(LocationError(format!(
                "REDIS_URL: the Redis at {} is version {}; {MAJOR_MIN}.0 or newer is needed",
                address.addr(),
                server.version,
            )));
        }
        let pool = pool(&address, settings).map_err(LocationError)?;
        Ok(Self {
            hot,
            pool,
            settings,
            breaker: Mutex::default(),
            identity: Mutex::new(server.identity),
            reconnects: AtomicU64::new(0),
        })
    }

    /// Sends commands of the hot path as one pipeline. A dropped connection is tried once more.
    pub(super) async fn pipeline<T: FromRedisValue>(
        &self,
        op: &'static str,
        commands: &Pipeline,
    ) -> Result<T, LocationError> {
        if !self.may_call() {
            return Err(LocationError(format!("{op}: Redis is away")));
        }
        self.timed(op, || {
            let mut hot = self.hot.clone();
            async move { commands.query_async(&mut hot).await }
        })
        .await
    }

    /// Runs a script over a pooled connection. A dropped connection is tried once more.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        op: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, LocationError> {
        self.timed(op, || async move {
            let mut connection = self.pool.get().await.map_err(|error| {
                RedisError::from(std::io::Error::other(format!("no connection: {error}")))
            })?;
            script.invoke_async(&mut connection).await
        })
        .await
    }

    /// Asks which server answers, and counts when it is another one or another connection.
    pub(super) async fn check(&self) -> Result<(), LocationError> {
        let server = self
            .timed("check", || {
                let mut hot = self.hot.clone();
                async move { look(&mut hot).await }
            })
            .await?;
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if *identity != server.identity {
            *identity = server.identity;
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// One call with one repetition, within the deadline of both together.
    async fn timed<T, F: Future<Output = Result<T, RedisError>>>(
        &self,
        op: &'static str,
        call: impl Fn() -> F,
    ) -> Result<T, LocationError> {
        let start = Instant::now();
        let deadline = self.settings.response * 2 + self.settings.connect;
        let twice = async {
            match call().await {
                Err(error) if error.is_connection_dropped() => call().await,
                other => other,
            }
        };
        let outcome = timeout(deadline, twice).await;
        metrics::histogram!("redis_op_seconds", "op" => op).record(start.elapsed().as_secs_f64());
        match outcome {
            Ok(Ok(value)) => {
                self.note(true);
                Ok(value)
            }
            Ok(Err(error)) => {
                self.note(!error.is_io_error());
                Err(LocationError(format!("{op}: {error}")))
            }
            Err(_elapsed) => {
                self.note(false);
                let ms = deadline.as_millis();
                Err(LocationError(format!("{op}: no answer within {ms} ms")))
            }
        }
    }

    /// Whether the hot path may ask Redis now.
    fn may_call(&self) -> bool {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match breaker.probe_at {
            None => true,
            Some(at) if now < at => false,
            Some(_) => {
                breaker.probe_at = Some(now + PROBE_EVERY);
                true
            }
        }
    }

    /// Remembers whether Redis answered.
    fn note(&self, answered: bool) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            *breaker = Breaker::default();
            return;
        }
        breaker.failures = breaker.failures.saturating_add(1);
        if breaker.failures >= FAILURES_MAX && breaker.probe_at.is_none() {
            breaker.probe_at = Some(Instant::now() + PROBE_EVERY);
        }
    }
}

/// Reads `REDIS_URL`. The error never repeats it: it may hold a password.
fn address(url: &str) -> Result<ConnectionInfo, LocationError> {
    let info = url.into_connection_info().map_err(|error| {
        LocationError(format!(
            "REDIS_URL is not usable: {error}; it looks like redis://[user:password@]host:port[/db]"
        ))
    })?;
    // RESP3, because the library then sees at once that a connection ended, and connects again
    // before the next call needs it.
    let redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_user_timeout(TCP_USER_TIMEOUT);
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
}

fn pool(address: &ConnectionInfo, settings: LocationSettings) -> Result<Pool, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect))
        .set_response_timeout(Some(settings.response));
    let manager = Manager::new_with_config(address.clone(), config).map_err(|e| e.to_string())?;
    Pool::builder(manager)
        .max_size(POOL_MAX)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.response))
        .create_timeout(Some(settings.connect))
        .recycle_timeout(Some(settings.response))
        .build()
        .map_err(|error| error.to_string())
}

/// What a server says of itself.
struct Server {
    identity: Identity,
    version: String,
    major: u32,
}

async fn look(connection: &mut ConnectionManager) -> Result<Server, RedisError> {
    let (text, id): (String, u64) = redis::pipe()
        .cmd("INFO")
        .arg("server")
        .cmd("CLIENT")
        .arg("ID")
        .query_async(connection)
        .await?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_default()
            .to_owned()
    };
    let version = field("redis_version");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    Ok(Server {
        identity: Identity {
            run_id: field("run_id"),
            connection: id,
        },
        major: major.unwrap_or(0),
        version,
    })
}
