//! How a broker behaves in time, and what it may keep.
//!
//! Not here: the settings of people (`node::config`). Invariant: the defaults are those of a node.

use std::sync::Arc;
use std::time::Duration;

use super::rules::Rules;
use crate::budget::Multiples;
use crate::policy::patterns::PATTERNS_MAX;

/// How a broker behaves in time.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// There are no other nodes and never will be: nothing is looked up or published.
    pub alone: bool,
    /// How many messages may wait to be routed; beyond that they are left to repair.
    pub route_queue_max: usize,
    /// How many envelopes per second go to all nodes while location does not answer.
    pub flood_per_second: u32,
    /// How long a hole may close by itself before the store is asked; the range of a jitter.
    pub hole_wait: (Duration, Duration),
    /// How often everything is compared with the store, whatever happened; the range of a jitter.
    pub backstop: (Duration, Duration),
    /// The life of the lease in location.
    pub lease: Duration,
    /// How often the lease is renewed.
    pub renew_every: Duration,
    /// How often everything is registered again, against the keys' expiry.
    pub refresh_every: Duration,
    /// How long a topic stays wanted after its last subscriber left.
    pub linger: Duration,
    /// How many different patterns this node's sessions may subscribe to.
    pub patterns_max: usize,
    /// Networks with larger or smaller shares than others.
    pub multiples: Arc<Multiples>,
    /// The seed of the jitters.
    pub seed: u64,
    /// Which rules of delivery hold; all of them, except in a simulation that shows why.
    pub rules: Rules,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            alone: false,
            route_queue_max: 10_000,
            flood_per_second: 200,
            hole_wait: (Duration::from_millis(5), Duration::from_millis(20)),
            backstop: (Duration::from_secs(15), Duration::from_secs(30)),
            lease: Duration::from_secs(10),
            renew_every: Duration::from_secs(3),
            refresh_every: Duration::from_secs(20 * 60),
            linger: Duration::from_secs(30),
            patterns_max: PATTERNS_MAX,
            multiples: Arc::default(),
            seed: 0,
            rules: Rules::ALL,
        }
    }
}
