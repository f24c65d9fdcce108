//! Location in Redis: what the nodes of a cluster know of each other's sessions.
//!
//! Split into `keys` (names and values), `scripts` (what must compare before it writes), `read` (what
//! counts of the things read), `patterns` (interests with wildcards), `visits`
//! (visitors without a row) and `link` (connections and deadlines).
//! Not here: when to register, renew or repair (`broker`).
//! Invariant: every look-up reads entries and leases fresh, leases last, in one pipeline; nothing
//! is cached but the names of nodes whose leases are worth reading, and the interests in patterns, whose
//! version is read fresh.

mod keys;
mod link;
mod patterns;
mod read;
mod scripts;
mod visits;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use redis::{Script, ScriptInvocation, Value, from_redis_value};

use self::link::Link;
use self::patterns::{Table, token};
use self::read::{Read, Stale, holder};
use self::scripts::Scripts;
use super::{
    Located, Location, LocationError, LocationSettings, Peer, PeerState, Renewal, SessionEntry,
    StoreClaim, TOUCH_LIFE, counts_for_patterns, pattern_of,
};
use crate::model::{
    ClientIdentifier, Destination, Incarnation, NamedNetworks, NodeId, Pattern, SessionId, Unkept,
    UserId,
};

/// How many entries travel in one pipeline or one script.
const CHUNK: usize = 1_000;

/// How many stale fields one look-up cleans away; the next look-up finds the rest.
const SWEEP_MAX: usize = 1_000;

/// The handle of one life of one node on a Redis.
#[derive(Debug)]
pub struct RedisLocation {
    link: Link,
    scripts: Scripts,
    node: NodeId,
    incarnation: Incarnation,
    settings: LocationSettings,
    /// Nodes that had entries at the last look-ups, so that their leases are read in the same
    /// pipeline as the entries. A name too many costs a read, a name too few a second round trip.
    /// This node's own name never leaves, so the set is never empty. A plain mutex: held for a
    /// copy, never across an await.
    known: Mutex<BTreeSet<NodeId>>,
    /// The interests in patterns as they were read last. A plain mutex: held for a copy of the
    /// pointer, never across an await.
    patterns: Mutex<Arc<Table>>,
}

impl RedisLocation {
    /// Connects this life of a node. Nothing is written before [`Location::claim`].
    ///
    /// # Errors
    /// When the URL cannot be read, nobody answers there, or the server is too old: one sentence
    /// that names the setting and the address, and never the password. Refuse to start.
    pub async fn connect(
        url: &str,
        node: NodeId,
        incarnation: Incarnation,
        settings: LocationSettings,
    ) -> Result<Arc<Self>, LocationError> {
        Ok(Arc::new(Self {
            link: Link::connect(url, settings).await?,
            scripts: Scripts::new(),
            known: Mutex::new(BTreeSet::from([node.clone()])),
            patterns: Mutex::default(),
            node,
            incarnation,
            settings,
        }))
    }

    fn known(&self) -> BTreeSet<NodeId> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// The lease script invocations begin with this node's lease and the set of nodes.
    fn on_lease<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(keys::lease(&self.node)).key(keys::NODES);
        call
    }

    async fn read(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> Result<Read, LocationError> {
        let known: Vec<NodeId> = self.known().into_iter().collect();
        let mut commands = redis::pipe();
        for user in users {
            commands.hgetall(keys::sessions(user));
        }
        for destination in destinations {
            commands.hgetall(keys::wants(destination));
        }
        let asks_for_patterns = destinations.iter().any(counts_for_patterns);
        if asks_for_patterns {
            commands.hget(keys::PATTERNS, keys::VERSION);
        }
        commands.mget(known.iter().map(keys::lease).collect::<Vec<_>>());
        let mut answers: Vec<Value> = self.link.pipeline("locate", &commands).await?;
        let leases: Vec<Option<String>> = typed(answers.pop().unwrap_or(Value::Nil))?;
        let version = asks_for_patterns.then(|| answers.pop()).flatten();
        let version = typed(version.unwrap_or(Value::Nil))?;
        let patterns = self.patterns(version).await?;
        let mut hashes = answers.into_iter().map(typed);
        let mut take = |count| hashes.by_ref().take(count).collect::<Result<_, _>>();
        Ok(Read {
            users: take(users.len())?,
            destinations: take(destinations.len())?,
            by_pattern: destinations.iter().map(|d| patterns.wanted_by(d)).collect(),
            leases: known.into_iter().zip(leases.iter().map(holder)).collect(),
        })
    }

    /// Reads the leases of nodes that have entries but were not known.
    async fn read_newcomers(&self, read: &mut Read) -> Result<(), LocationError> {
        let named = read.named();
        let missing: Vec<NodeId> = named
            .iter()
            .filter(|node| !read.leases.contains_key(*node))
            .cloned()
            .collect();
        if !missing.is_empty() {
            let mut commands = redis::pipe();
            commands.mget(missing.iter().map(keys::lease).collect::<Vec<_>>());
            let (leases,): (Vec<Option<String>>,) = self.link.pipeline("leases", &commands).await?;
            read.leases
                .extend(missing.into_iter().zip(leases.iter().map(holder)));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, lease) in &read.leases {
            match lease {
                Some(_) => known.insert(node.clone()),
                None => *node != self.node && known.remove(node),
            };
        }
        Ok(())
    }

    /// Cleans entries of dead lives away. What fails here is found again by the next look-up.
    async fn sweep(&self, stale: &[Stale]) {
        if stale.is_empty() {
            return;
        }
        let mut call = self.scripts.sweep.prepare_invoke();
        call.arg(keys::NODE_PREFIX).arg(token());
        for (key, field) in stale.iter().take(SWEEP_MAX) {
            call.key(key).arg(field);
        }
        if let Err(error) = self.link.script::<u64>("sweep", &call).await {
            tracing::debug!(%error, "stale locations stay until the next look-up");
        }
    }
}

#[async_trait]
impl Location for RedisLocation {
    async fn attach(&self, entries: &[(UserId, SessionEntry)]) -> Result<(), LocationError> {
        let prefix = keys::session_prefix(&self.node, self.incarnation);
        for chunk in entries.chunks(CHUNK) {
            let mut commands = redis::pipe();
            for (user, entry) in chunk {
                let key = keys::sessions(user);
                let value = keys::session_value(&prefix, entry);
                commands
                    .hset(&key, entry.session.to_string(), value)
                    .ignore();
                commands
                    .expire(&key, i64::from(keys::REGISTRATION_SECONDS))
                    .ignore();
                if let Some(visitor) = &entry.visitor {
                    let value = keys::visitor_value(visitor);
                    let key = keys::visitor(user);
                    commands.set_ex(key, value, TOUCH_LIFE.as_secs()).ignore();
                }
            }
            self.link.pipeline::<()>("attach", &commands).await?;
        }
        Ok(())
    }

    async fn detach(&self, sessions: &[(UserId, SessionId)]) -> Result<(), LocationError> {
        for chunk in sessions.chunks(CHUNK) {
            let mut call = self.scripts.detach.prepare_invoke();
            call.arg(keys::session_prefix(&self.node, self.incarnation));
            for (user, session) in chunk {
                call.key(keys::sessions(user)).arg(session.to_string());
            }
            self.link.script::<()>("detach", &call).await?;
        }
        Ok(())
    }

    async fn want(&self, wants: &[(Destination, u64)]) -> Result<Vec<Destination>, LocationError> {
        let (patterns, names) = apart(wants);
        for chunk in names.chunks(CHUNK) {
            let mut call = self.scripts.want.prepare_invoke();
            call.key(keys::lease(&self.node))
                .arg(self.node.as_str())
                .arg(self.incarnation.to_string())
                .arg(keys::REGISTRATION_SECONDS);
            for (destination, generation) in chunk {
                call.key(keys::wants(destination)).arg(*generation);
            }
            if !self.link.script::<bool>("want", &call).await? {
                return Err(LocationError::superseded(&self.node));
            }
        }
        self.want_patterns(&patterns).await
    }

    async fn unwant(&self, wants: &[(Destination, u64)]) -> Result<(), LocationError> {
        let (patterns, names) = apart(wants);
        for chunk in names.chunks(CHUNK) {
            let mut call = self.scripts.unwant.prepare_invoke();
            call.arg(self.node.as_str())
                .arg(self.incarnation.to_string());
            for (destination, generation) in chunk {
                call.key(keys::wants(destination)).arg(*generation);
            }
            self.link.script::<()>("unwant", &call).await?;
        }
        self.unwant_patterns(&patterns).await
    }

    async fn locate(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> Result<Located, LocationError> {
        let mut located = Located::default();
        let (mut users, mut destinations) = (users, destinations);
        while !users.is_empty() || !destinations.is_empty() {
            let (some_users, more_users) = users.split_at(users.len().min(CHUNK));
            let room = CHUNK - some_users.len();
            let (some, more) = destinations.split_at(destinations.len().min(room));
            let mut read = self.read(some_users, some).await?;
            self.read_newcomers(&mut read).await?;
            let (found, stale) = read.judge(some_users, some);
            self.sweep(&stale).await;
            located.users.extend(found.users);
            located.destinations.extend(found.destinations);
            (users, destinations) = (more_users, more);
        }
        Ok(located)
    }

    async fn claim(&self) -> Result<(), LocationError> {
        let mut call = self.on_lease(&self.scripts.claim);
        call.arg(keys::lease_value(self.incarnation, PeerState::Up))
            .arg(self.node.as_str())
            .arg(self.lease_ms());
        self.link.script("claim", &call).await
    }

    async fn renew(&self) -> Result<Renewal, LocationError> {
        let mut call = self.on_lease(&self.scripts.renew);
        call.arg(self.incarnation.to_string())
            .arg(self.node.as_str())
            .arg(self.lease_ms());
        // The look at the server goes beside the renewal. When only the look fails the renewal
        // still counts: the next one looks again.
        let (looked, holder) = tokio::join!(
            self.link.check(),
            self.link.script::<Option<String>>("renew", &call)
        );
        if let Err(error) = looked {
            tracing::debug!(%error, "which Redis answers is unknown until the next renewal");
        }
        let Some(holder) = holder? else {
            return Ok(Renewal::Missing);
        };
        let holder: Incarnation = holder
            .parse()
            .map_err(|error| LocationError(format!("renew: the lease holds {error}")))?;
        Ok(if holder == self.incarnation {
            Renewal::Extended
        } else {
            Renewal::Foreign(holder)
        })
    }

    async fn drain(&self) -> Result<(), LocationError> {
        let mut call = self.on_lease(&self.scripts.mark);
        call.arg(self.incarnation.to_string())
            .arg(keys::lease_value(self.incarnation, PeerState::Draining));
        self.link.script("drain", &call).await
    }

    async fn release(&self) -> Result<(), LocationError> {
        let mut call = self.on_lease(&self.scripts.release);
        call.arg(self.incarnation.to_string())
            .arg(self.node.as_str());
        self.link.script("release", &call).await
    }

    async fn peers(&self) -> Result<Vec<Peer>, LocationError> {
        let mut call = self.scripts.peers.prepare_invoke();
        call.key(keys::NODES).arg(keys::NODE_PREFIX);
        let found: Vec<String> = self.link.script("peers", &call).await?;
        let peer = |pair: &[String]| {
            let (incarnation, state) = keys::read_lease(pair.get(1)?)?;
            Some(Peer {
                node: pair.first()?.parse().ok()?,
                incarnation,
                state,
            })
        };
        let mut peers: Vec<Peer> = found.chunks(2).filter_map(peer).collect();
        peers.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(peers)
    }

    async fn claim_store(&self, store_id: &str) -> Result<StoreClaim, LocationError> {
        let mut commands = redis::pipe();
        commands
            .cmd("SET")
            .arg(keys::STORE)
            .arg(store_id)
            .arg("NX")
            .arg("GET");
        let (claimed,): (Option<String>,) = self.link.pipeline("claim_store", &commands).await?;
        Ok(match claimed {
            Some(other) if other != store_id => StoreClaim::Other(other),
            Some(_) | None => StoreClaim::Same,
        })
    }

    async fn introduce(
        &self,
        user: &UserId,
        visitor: &Arc<Unkept>,
        from: &NamedNetworks,
    ) -> Result<(), LocationError> {
        self.note_visitor(user, visitor, from).await
    }

    async fn introduced(&self, user: &UserId) -> Result<Option<Arc<Unkept>>, LocationError> {
        self.noted_visitor(user).await
    }

    async fn loose(
        &self,
        client: &ClientIdentifier,
    ) -> Result<Vec<(UserId, Arc<Unkept>)>, LocationError> {
        self.noted_loose(client).await
    }

    fn reconnects(&self) -> u64 {
        self.link.reconnects()
    }
}

fn typed<T: redis::FromRedisValue>(value: Value) -> Result<T, LocationError> {
    from_redis_value(value).map_err(|error| LocationError(format!("locate: {error}")))
}

/// The interests in patterns, and those in names.
#[expect(
    clippy::type_complexity,
    reason = "two lists of what the contract has in one"
)]
fn apart(wants: &[(Destination, u64)]) -> (Vec<(Pattern, u64)>, Vec<&(Destination, u64)>) {
    let (mut patterns, mut names) = (Vec::new(), Vec::new());
    for want in wants {
        match pattern_of(&want.0) {
            Some(pattern) => patterns.push((pattern, want.1)),
            None => names.push(want),
        }
    }
    (patterns, names)
}
