//! What several nodes share: a private Redis, RabbitMQ and PostgreSQL.
//!
//! RabbitMQ takes seconds to boot, so a test starts one and shows several things on it.

use super::node::{Ended, Node};
use super::postgres::Postgres;
use super::rabbitmq::RabbitMq;
use super::redis::Redis;

/// Limits so high that a load from one address does not meet them.
pub(crate) const HIGH_LIMITS: [(&str, &str); 5] = [
    ("RATE_ANON_PER_MIN", "1000000"),
    ("RATE_BURST", "1000000"),
    ("RATE_NET_PER_MIN", "10000000"),
    ("RATE_NET_BURST", "10000000"),
    ("VISITORS_PER_NETWORK", "100000"),
];

/// The secret of the cluster.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The servers, and the data directories of the nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) redis: Redis,
    pub(crate) rabbitmq: RabbitMq,
    database: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts the servers, all empty.
    pub(crate) async fn start() -> Self {
        let redis = Redis::start();
        let postgres = async { Postgres::shared().await.fresh_database().await };
        let (rabbitmq, database) = tokio::join!(RabbitMq::start(), postgres);
        Self {
            redis,
            rabbitmq,
            database,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The URL of the database of all nodes.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Starts a node of this name.
    pub(crate) async fn node(&self, name: &str) -> Node {
        self.node_with(name, &[]).await
    }

    /// Starts a node with more settings, which win.
    pub(crate) async fn node_with(&self, name: &str, more: &[(&str, &str)]) -> Node {
        match self.try_node(name, more).await {
            Ok(node) => node,
            Err(ended) => panic!("{name} ended at its start: {}", ended.output),
        }
    }

    /// Starts a node that may refuse to start. Its data directory is of its own.
    pub(crate) async fn try_node(&self, name: &str, more: &[(&str, &str)]) -> Result<Node, Ended> {
        let (redis, rabbitmq) = (self.redis.url(), self.rabbitmq.url());
        let mut environment = vec![
            ("SERVER_ID", name),
            ("DATABASE_URL", self.database.as_str()),
            ("REDIS_URL", redis.as_str()),
            ("RABBITMQ_URL", rabbitmq.as_str()),
            ("JWT_SECRET", SECRET),
            ("TRUSTED_PROXIES", "127.0.0.1"),
        ];
        environment.extend(HIGH_LIMITS);
        for (name, value) in more {
            environment.retain(|(known, _)| known != name);
            environment.push((name, value));
        }
        let data = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        Node::try_start_in(name, &data, &environment).await
    }
}
