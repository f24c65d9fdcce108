//! The limits of the features, as one record.
//!
//! Not here: where the values come from (`node`). Invariant: the defaults are those of the documentation, except
//! that the byte account has no limit, which a node sizes at its start.

use std::sync::Arc;
use std::time::Duration;

use super::{PoolSizes, Pools, Relays, StoreSizes, Stored};
use crate::budget::{Memory, MemorySettings, Multiples};
use crate::hub::OutboxLimits;
use crate::model::Prefixes;
use crate::policy::Rules;
use crate::policy::bucket::Rate;

/// The limits of the features. All of them are settings of the node.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Characters of a message.
    pub message_chars_max: usize,
    /// Octets of a message.
    pub message_bytes_max: usize,
    /// Messages of one visitor.
    pub rate_visitor: Rate,
    /// Messages of one member.
    pub rate_member: Rate,
    /// Messages from one network.
    pub rate_network: Rate,
    /// Other frames of one connection.
    pub rate_frames: Rate,
    /// CONNECTs from one network.
    pub rate_connect: Rate,
    /// Sessions of one visitor.
    pub sessions_visitor_max: usize,
    /// Sessions of one member.
    pub sessions_member_max: usize,
    /// Subscriptions with wildcards of one session.
    pub session_patterns_max: usize,
    /// Subscriptions to queues of one session.
    pub session_consumers_max: usize,
    /// What is kept for one session that reads slowly.
    pub outbox: OutboxLimits,
    /// How long a visitor's messages are kept.
    pub visitor_history: Duration,
    /// What CONNECTED tells of the limits: a JSON object.
    pub limits_json: String,
    /// How destinations are written.
    pub prefixes: Arc<Prefixes>,
    /// Who may use which open destination.
    pub rules: Rules,
    /// What is published elsewhere than it was sent to.
    pub relays: Relays,
    /// The byte account of the node.
    pub memory: Arc<Memory>,
    /// Networks with larger or smaller limits than others.
    pub multiples: Arc<Multiples>,
    /// What the sessions of the node share.
    pub pools: Pools,
    /// What clients may have stored.
    pub stored: Arc<Stored>,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            message_chars_max: 4_000,
            message_bytes_max: 16 * 1024,
            rate_visitor: Rate {
                capacity: 100,
                per_10_min: 2_000,
            },
            rate_member: Rate {
                capacity: 100,
                per_10_min: 5_000,
            },
            rate_network: Rate {
                capacity: 5_000,
                per_10_min: 600_000,
            },
            rate_frames: Rate {
                capacity: 100,
                per_10_min: 6_000,
            },
            rate_connect: Rate {
                capacity: 20_000,
                per_10_min: 200_000,
            },
            sessions_visitor_max: 10,
            sessions_member_max: 20,
            session_patterns_max: 16,
            session_consumers_max: 32,
            outbox: OutboxLimits {
                frames_max: 1_024,
                bytes_max: 512 * 1024,
            },
            visitor_history: Duration::from_secs(24 * 3_600),
            limits_json: "{}".to_owned(),
            prefixes: Arc::default(),
            rules: Rules::default(),
            relays: Relays::default(),
            memory: Memory::new(MemorySettings { bytes_max: 0 }),
            multiples: Arc::default(),
            pools: Pools::new(PoolSizes::default()),
            stored: Stored::new(StoreSizes::default()),
        }
    }
}
