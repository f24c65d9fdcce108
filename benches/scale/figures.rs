//! The measured unit costs: `docs/figures/units.json`.
//!
//! Not here: how they are measured (`measure`). Invariant: they come from one run of one command.

use serde::{Deserialize, Serialize};

use super::model::Units;

/// The file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    /// When they were measured.
    pub(crate) taken: String,
    /// On which machine.
    pub(crate) machine: String,
    /// By which command.
    pub(crate) command: String,
    pub(crate) units: Vec<Unit>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unit {
    /// The field of [`Units`].
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

const US: &str = "us of CPU";

/// The fields of [`Units`], what they are and in which unit they are measured.
pub(crate) const UNITS: [(&str, &str, &str); 14] = [
    (
        "delivery",
        "a delivery that is written alone, at the node",
        US,
    ),
    (
        "stored",
        "a stored message without deliveries, at the node",
        US,
    ),
    (
        "published",
        "a message to a topic without deliveries, at the node",
        US,
    ),
    ("parcel_out", "a parcel that leaves a node", US),
    ("parcel_in", "a parcel that arrives at a node", US),
    (
        "arrival",
        "CONNECT and SUBSCRIBE of a visitor, at the node",
        US,
    ),
    (
        "idle",
        "an idle connection with beats every 10 s, a second",
        US,
    ),
    (
        "idle_kib",
        "what an idle connection keeps, at the node",
        "KiB",
    ),
    ("postgres_stored", "a stored message, at PostgreSQL", US),
    ("redis_lookup", "a look-up among ten, at Redis", US),
    ("redis_write", "a location written or removed, at Redis", US),
    (
        "rabbitmq_publication",
        "a publication for one node, at RabbitMQ",
        US,
    ),
    (
        "rabbitmq_target",
        "the same for each node more, at RabbitMQ",
        US,
    ),
    ("route_wait", "a batch waits for its look-up", "us"),
];

impl Figures {
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As the model wants them; one that is missing is infinitely dear, which shows everywhere.
    pub(crate) fn costs(&self) -> Units {
        let cost = |name: &str| {
            let unit = self.units.iter().find(|unit| unit.name == name);
            unit.map_or(f64::INFINITY, |unit| unit.value)
        };
        Units {
            delivery: cost("delivery"),
            stored: cost("stored"),
            published: cost("published"),
            parcel_out: cost("parcel_out"),
            parcel_in: cost("parcel_in"),
            arrival: cost("arrival"),
            idle: cost("idle"),
            idle_kib: cost("idle_kib"),
            postgres_stored: cost("postgres_stored"),
            redis_lookup: cost("redis_lookup"),
            redis_write: cost("redis_write"),
            rabbitmq_publication: cost("rabbitmq_publication"),
            rabbitmq_target: cost("rabbitmq_target"),
            route_wait: cost("route_wait"),
        }
    }
}
