//! Quota shared by the nodes of a cluster through Redis.
//!
//! A node takes tokens in leases of ten to twenty and spends them locally; what is not spent in a
//! short while goes back with the next lease. A refusal is remembered until the next token is due.
//! Not here: which keys there are (the caller names them). Invariant: the bucket is in Redis and
//! runs by its clock; all nodes together admit at most its capacity, its refill, and what comes
//! back while leases are out: the refill of one lease's life, or the leases themselves if less.
//! While Redis is away each node decides by its own level of the subject.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisError, Script};
use tokio::time::{Instant, timeout};

use super::recent::{Recent, Worth};
use super::{Quota, QuotaError, QuotaSettings};
use crate::policy::bucket::{self, Level, RETRY_NEVER_MS, Rate, UNITS_PER_TOKEN, Verdict};

/// How long a failed call keeps the others from trying, in milliseconds.
const AWAY_MS: u64 = 1_000;

/// A bucket's key lives until it is full again, and so long at least: a forgotten bucket is a full one, and many of which
/// little was taken are gone at once.
const KEY_LIFE_MS: u64 = 1_000;

/// The longest life of a key, for buckets that hardly refill.
const KEY_LIFE_MS_MAX: u64 = 3_600_000;

/// The arithmetic of `policy::bucket` where the level is, by the clock of Redis: puts unspent
/// tokens back, takes as many as there are up to the number asked for, or none when there are fewer than needed.
/// KEYS: the bucket. ARGV: capacity, refill in ten minutes, tokens wanted, tokens put back,
/// milliseconds of life at most and at least, units of a token, tokens needed. Returns tokens taken, tokens left,
/// milliseconds to wait.
const LEASE: &str = r"
local capacity, refill, token = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[7])
local needed = tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local units, at = capacity * token, now
local stored = redis.call('GET', KEYS[1])
if stored then
  local level, when = string.match(stored, '^(%d+):(%d+)$')
  if level then units, at = tonumber(level), tonumber(when) end
end
if now > at then
  units = units + (now - at) * refill
  at = now
end
units = math.min(capacity * token, units + ARGV[4] * token)
local taken = math.min(tonumber(ARGV[3]), math.floor(units / token))
if taken < needed then taken = 0 end
units = units - taken * token
local life = tonumber(ARGV[5])
if refill > 0 then
  local full = math.ceil((capacity * token - units) / refill)
  life = math.min(life, math.max(full, tonumber(ARGV[6])))
end
redis.call('SET', KEYS[1], string.format('%.0f:%.0f', units, at), 'PX', string.format('%.0f', life))
local wait = 0
if taken == 0 and refill > 0 then wait = math.ceil((needed * token - units) / refill) end
return {taken, math.floor(units / token), wait}
";

/// Buckets in Redis, with leased tokens in this process.
pub struct RedisQuota {
    connection: ConnectionManager,
    lease: Script,
    settings: QuotaSettings,
    origin: Instant,
    /// No call goes out before this reading of `origin`'s clock, but for one that moves it on.
    away_until_ms: AtomicU64,
    /// A plain mutex: held for one look-up, never across an await.
    subjects: Mutex<Recent<Subject>>,
}

/// What this node knows of one bucket.
#[derive(Debug)]
struct Subject {
    /// Leased tokens, spendable until `spend_until_ms`, put back after that.
    leased: u32,
    spend_until_ms: u64,
    /// Tokens that the bucket held beside our lease when we last looked.
    left: u32,
    /// The bucket had fewer than so many: nobody asks for as many again before that time.
    refused: u32,
    refused_until_ms: u64,
    /// This node's own level, kept in step so that it means something when Redis goes away.
    own: Level,
    /// The rate at the last use.
    rate: Rate,
    /// Whoever holds it asks Redis for this subject; the others wait and share the lease.
    gate: Arc<tokio::sync::Mutex<()>>,
}

/// What Redis granted.
struct Grant {
    taken: u32,
    left: u32,
    wait_ms: u64,
}

impl std::fmt::Debug for RedisQuota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisQuota")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl RedisQuota {
    /// Connects to the Redis of the cluster.
    ///
    /// # Errors
    /// When the URL cannot be read or nobody answers there; the password is never repeated.
    pub async fn connect(url: &str, settings: QuotaSettings) -> Result<Arc<Self>, QuotaError> {
        let address = address(url)?;
        let refused = |error: RedisError| {
            QuotaError(format!(
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
        let connection = ConnectionManager::new_with_config(client, config)
            .await
            .map_err(refused)?;
        Ok(Arc::new(Self {
            connection,
            lease: Script::new(LEASE),
            settings,
            origin: Instant::now(),
            away_until_ms: AtomicU64::new(0),
            subjects: Mutex::new(Recent::new(settings.keys_max)),
        }))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn subjects(&self) -> MutexGuard<'_, Recent<Subject>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a subject that is new when it is not known.
    fn with<T>(&self, key: &str, rate: Rate, act: impl FnOnce(&mut Subject, u64) -> T) -> T {
        let now_ms = self.now_ms();
        let full = || Subject::new(now_ms, rate);
        self.subjects().with(key, now_ms, full, |subject| {
            subject.rate = rate;
            act(subject, now_ms)
        })
    }

    /// Whether Redis did not answer a moment ago.
    fn is_away(&self, now_ms: u64) -> bool {
        now_ms < self.away_until_ms.load(Ordering::Relaxed)
    }

    /// Whether Redis may be asked now. While it is away one call in [`AWAY_MS`] tries.
    fn may_ask(&self, now_ms: u64) -> bool {
        let until = self.away_until_ms.load(Ordering::Relaxed);
        let probe = || {
            self.away_until_ms
                .compare_exchange(
                    until,
                    now_ms.saturating_add(AWAY_MS),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
        };
        until == 0 || (until <= now_ms && probe())
    }

    /// Asks Redis for a lease and puts back what was not spent of the last one.
    async fn ask(&self, key: &str, rate: Rate, tokens: u32, back: u32) -> Option<Grant> {
        let start = Instant::now();
        let mut call = self.lease.key(key);
        call.arg(rate.capacity)
            .arg(rate.per_10_min)
            .arg(lease_tokens(rate, self.settings.lease_tokens_max).max(tokens))
            .arg(back)
            .arg(rate.fill_ms().clamp(KEY_LIFE_MS, KEY_LIFE_MS_MAX))
            .arg(KEY_LIFE_MS)
            .arg(UNITS_PER_TOKEN)
            .arg(tokens);
        let mut connection = self.connection.clone();
        let deadline = self.settings.response + self.settings.connect;
        let outcome = timeout(
            deadline,
            call.invoke_async::<(u32, u32, u64)>(&mut connection),
        )
        .await;
        metrics::histogram!("redis_op_seconds", "op" => "quota")
            .record(start.elapsed().as_secs_f64());
        let answer = outcome.map_err(|_| "no answer in time".to_owned());
        match answer.and_then(|answer| answer.map_err(|error| error.to_string())) {
            Ok((taken, left, wait_ms)) => {
                self.away_until_ms.store(0, Ordering::Relaxed);
                Some(Grant {
                    taken,
                    left,
                    wait_ms,
                })
            }
            Err(error) => {
                tracing::debug!(error, "quota is local while Redis is away");
                let until = self.now_ms().saturating_add(AWAY_MS);
                self.away_until_ms.store(until, Ordering::Relaxed);
                None
            }
        }
    }
}

#[async_trait]
impl Quota for RedisQuota {
    async fn take_several(&self, key: &str, rate: Rate, tokens: u32) -> Verdict {
        if rate.is_off() {
            return Verdict::Allowed {
                remaining: u32::MAX,
            };
        }
        let tokens = tokens.min(rate.capacity);
        let known = |subject: &mut Subject, now_ms| {
            let verdict = subject.spend(now_ms, rate, tokens);
            verdict.ok_or_else(|| Arc::clone(&subject.gate))
        };
        let gate = match self.with(key, rate, known) {
            Ok(verdict) => return verdict,
            Err(gate) => gate,
        };
        if self.is_away(self.now_ms()) {
            return self.with(key, rate, |subject, now_ms| {
                subject.alone(now_ms, rate, tokens)
            });
        }
        let _turn = gate.lock().await;
        if let Ok(verdict) = self.with(key, rate, known) {
            return verdict;
        }
        // The one before us may have found Redis gone; its wait is enough for all.
        if !self.may_ask(self.now_ms()) {
            return self.with(key, rate, |subject, now_ms| {
                subject.alone(now_ms, rate, tokens)
            });
        }
        let back = self.with(key, rate, |subject, _| std::mem::take(&mut subject.leased));
        let grant = self.ask(key, rate, tokens, back).await;
        let lease_ms = self.settings.lease_ms;
        self.with(key, rate, |subject, now_ms| match grant {
            Some(grant) => subject.settle(now_ms, rate, &grant, tokens, lease_ms),
            None => subject.alone(now_ms, rate, tokens),
        })
    }

    fn refuses(&self, key: &str, rate: Rate, tokens: u32) -> Option<u64> {
        let now_ms = self.now_ms();
        let tokens = tokens.min(rate.capacity);
        let subjects = self.subjects();
        let subject = subjects.get(key)?;
        if self.is_away(now_ms) {
            return bucket::refused_for_ms(subject.own, now_ms, rate, tokens);
        }
        subject.refused_for_ms(now_ms, tokens)
    }
}

impl Worth for Subject {
    fn worth(&self, now_ms: u64) -> u64 {
        let spend_ms = match self.leased {
            0 => 0,
            _ => self.spend_until_ms.saturating_sub(now_ms),
        };
        let own = self.own.full_in_ms(now_ms, self.rate);
        let refused = self.refused_until_ms.saturating_sub(now_ms);
        own.max(refused).max(spend_ms)
    }
}

impl Subject {
    fn new(now_ms: u64, rate: Rate) -> Self {
        Self {
            leased: 0,
            spend_until_ms: 0,
            left: rate.capacity,
            refused: 1,
            refused_until_ms: 0,
            own: Level::full(now_ms, rate),
            rate,
            gate: Arc::default(),
        }
    }

    /// Decides without Redis, if a lease or a remembered refusal allows it.
    fn spend(&mut self, now_ms: u64, rate: Rate, tokens: u32) -> Option<Verdict> {
        if self.is_leased(now_ms, tokens) {
            self.leased -= tokens;
            (self.own, _) = bucket::take(self.own, now_ms, rate, tokens);
            let remaining = self.left.saturating_add(self.leased);
            return Some(Verdict::Allowed { remaining });
        }
        let retry_after_ms = self.refused_for_ms(now_ms, tokens)?;
        Some(Verdict::Refused { retry_after_ms })
    }

    fn is_leased(&self, now_ms: u64, tokens: u32) -> bool {
        self.leased >= tokens && now_ms < self.spend_until_ms
    }

    /// In how many milliseconds these tokens can be taken, when Redis has said that they cannot now.
    fn refused_for_ms(&self, now_ms: u64, tokens: u32) -> Option<u64> {
        let retry_after_ms = self.refused_until_ms.saturating_sub(now_ms);
        let is_refused = retry_after_ms > 0 && tokens >= self.refused;
        (is_refused && !self.is_leased(now_ms, tokens)).then_some(retry_after_ms)
    }

    /// Decides by this node's own level.
    fn alone(&mut self, now_ms: u64, rate: Rate, tokens: u32) -> Verdict {
        let verdict;
        (self.own, verdict) = bucket::take(self.own, now_ms, rate, tokens);
        verdict
    }

    /// Takes a grant over and decides by it.
    fn settle(
        &mut self,
        now_ms: u64,
        rate: Rate,
        grant: &Grant,
        tokens: u32,
        lease_ms: u64,
    ) -> Verdict {
        self.left = grant.left;
        self.leased = grant.taken;
        self.spend_until_ms = now_ms.saturating_add(lease_ms);
        if grant.taken == 0 {
            let wait_ms = match rate.per_10_min {
                0 => RETRY_NEVER_MS,
                _ => grant.wait_ms.max(1),
            };
            self.refused = tokens;
            self.refused_until_ms = now_ms.saturating_add(wait_ms);
        }
        self.spend(now_ms, rate, tokens)
            .unwrap_or(Verdict::Refused { retry_after_ms: 1 })
    }
}

/// How many tokens one lease holds: a tenth of a burst, so that the leases of three nodes stay
/// within 30 % of it, and at most the setting.
fn lease_tokens(rate: Rate, lease_tokens_max: u32) -> u32 {
    (rate.capacity / 10).clamp(1, lease_tokens_max.max(1))
}

/// Reads `REDIS_URL`. The error never repeats it: it may hold a password.
fn address(url: &str) -> Result<ConnectionInfo, QuotaError> {
    let info = url.into_connection_info().map_err(|error| {
        QuotaError(format!(
            "REDIS_URL is not usable: {error}; it looks like redis://[user:password@]host:port[/db]"
        ))
    })?;
    let redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_user_timeout(Duration::from_secs(5));
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
}

#[cfg(test)]
mod tests;
