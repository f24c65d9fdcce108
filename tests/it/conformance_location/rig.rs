//! The engines under one roof: how a test gets nodes and what it may do to the engine from outside.
//!
//! Not here: any rule. Invariant: a test that uses only this runs on every engine.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use stompbox::location::{Location, LocationSettings, MemoryCluster, RedisLocation, SessionEntry};
use stompbox::model::{Destination, Incarnation, NodeId, SessionId, UnixMillis, UserId};

use crate::support::redis::Redis;

/// The lease of tests that do not wait for its end: it never comes, however busy the machine is.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// The lease of tests that wait for its end on a real clock.
pub(super) const SHORT: Duration = Duration::from_secs(2);

/// How many patterns a cluster keeps here.
pub(super) const PATTERNS_MAX: usize = 20;

/// How many visitors without a row it remembers.
pub(super) const VISITS: usize = 160;

/// An engine and what the tests may do to it from outside.
pub(super) struct Rig {
    pub(super) engine: Engine,
    lease: Duration,
}

pub(super) enum Engine {
    Memory(Arc<MemoryCluster>),
    Redis(Redis),
}

/// The deadlines are tested on their own; here they allow for a busy machine.
pub(super) fn settings(lease: Duration) -> LocationSettings {
    LocationSettings {
        lease,
        response: Duration::from_secs(5),
        connect: Duration::from_secs(5),
        patterns_max: PATTERNS_MAX,
        visits_max: VISITS,
    }
}

impl Rig {
    pub(super) fn memory() -> Self {
        Self {
            engine: Engine::Memory(MemoryCluster::new(settings(LONG))),
            lease: LONG,
        }
    }

    pub(super) fn redis() -> Self {
        Self {
            engine: Engine::Redis(Redis::start()),
            lease: LONG,
        }
    }

    /// The same with leases that end after [`SHORT`].
    pub(super) fn with_short_leases(self) -> Self {
        let engine = match self.engine {
            Engine::Memory(_) => Engine::Memory(MemoryCluster::new(settings(SHORT))),
            Engine::Redis(redis) => Engine::Redis(redis),
        };
        let lease = SHORT;
        Self { engine, lease }
    }

    /// One life of a node that has not claimed yet.
    pub(super) async fn life(&self, name: &str, incarnation: u64) -> Arc<dyn Location> {
        let node: NodeId = name.parse().unwrap();
        let incarnation = Incarnation(incarnation);
        match &self.engine {
            Engine::Memory(cluster) => cluster.node(node, incarnation),
            Engine::Redis(redis) => {
                RedisLocation::connect(&redis.url(), node, incarnation, settings(self.lease))
                    .await
                    .unwrap()
            }
        }
    }

    /// One life of a node that has claimed its lease.
    pub(super) async fn node(&self, name: &str, incarnation: u64) -> Arc<dyn Location> {
        let life = self.life(name, incarnation).await;
        life.claim().await.unwrap();
        life
    }

    pub(super) fn end_lease(&self, name: &str) {
        match &self.engine {
            Engine::Memory(cluster) => cluster.expire(&name.parse().unwrap()),
            Engine::Redis(redis) => redis.ask::<()>(&["DEL", &format!("node:{name}")]),
        }
    }

    pub(super) fn flush(&self) {
        match &self.engine {
            Engine::Memory(cluster) => cluster.flush(),
            Engine::Redis(redis) => redis.flush(),
        }
    }

    pub(super) async fn pass(&self, time: Duration) {
        match &self.engine {
            Engine::Memory(_) => tokio::time::advance(time).await,
            Engine::Redis(_) => tokio::time::sleep(time).await,
        }
    }

    /// Session entries that are stored for a user, those that do not count included.
    pub(super) fn stored(&self, user: &UserId) -> usize {
        match &self.engine {
            Engine::Memory(cluster) => cluster.stored_sessions(),
            Engine::Redis(redis) => redis.ask(&["HLEN", &format!("loc:{user}")]),
        }
    }
}

pub(super) fn user(name: &str) -> UserId {
    format!("user_{name}").parse().unwrap()
}

pub(super) fn topic(name: &str) -> Destination {
    Destination::parse(&format!("/topic/{name}")).unwrap()
}

/// A session of a user; the engine fills node and life in with its own.
pub(super) fn session(owner: &UserId, id: u128) -> (UserId, SessionEntry) {
    let entry = SessionEntry {
        session: SessionId(id),
        node: "unset".parse().unwrap(),
        incarnation: Incarnation(0),
        device: format!("device|{id}%").into(),
        since: UnixMillis(1_000 + u64::try_from(id).unwrap()),
        visitor: None,
    };
    (owner.clone(), entry)
}

pub(super) async fn sessions(node: &dyn Location, of: &UserId) -> Vec<u128> {
    let located = node.locate(from_ref(of), &[]).await.unwrap();
    located.users[0]
        .iter()
        .map(|entry| entry.session.0)
        .collect()
}

pub(super) async fn wanted(node: &dyn Location, destination: &Destination) -> Vec<String> {
    let located = node.locate(&[], from_ref(destination)).await.unwrap();
    let names = located.destinations[0].iter();
    names.map(|node| node.as_str().to_owned()).collect()
}
