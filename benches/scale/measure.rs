//! Measures the unit costs, on private servers, in about two minutes.
//!
//! Not here: which they are (`node`, `engines`). Invariant: every unit of the model is measured, or
//! the benchmark fails.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::figures::{Figures, UNITS, Unit};
use crate::node::Urls;
use crate::servers::{postgres::Postgres, rabbitmq::RabbitMq, redis::Redis};
use crate::support::report::{machine, say};
use crate::{engines, node};

pub(crate) const MICROS: f64 = 1e6;

/// What was measured, by the names of the model.
#[derive(Debug, Default)]
pub(crate) struct Costs(BTreeMap<&'static str, f64>);

impl Costs {
    pub(crate) fn note(&mut self, name: &'static str, value: f64) {
        say(&format!("{name:<24}{value:>10.2}")).unwrap();
        self.0.insert(name, value);
    }

    pub(crate) fn of(&self, name: &str) -> f64 {
        self.0[name]
    }
}

/// So many ticks a second; what is late is caught up with.
pub(crate) fn paced(per_second: u32) -> Interval {
    let mut pace = interval(Duration::from_secs(1) / per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    pace
}

pub(crate) async fn measure(taken: String) -> Figures {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let rabbitmq = RabbitMq::start().await;
    postgres.ready().await;
    let mut costs = Costs::default();
    let urls = Urls {
        database: postgres.fresh_database().await,
        redis: redis.url(),
        rabbitmq: rabbitmq.url(),
    };
    node::measure(&urls, &mut costs).await;
    redis.flush();
    engines::redis(&redis, &mut costs).await;
    engines::rabbitmq(&rabbitmq, &mut costs).await;
    let unit = |(name, what, unit): &(&str, &str, &str)| Unit {
        name: (*name).to_owned(),
        what: (*what).to_owned(),
        value: (costs.of(name) * 100.0).round() / 100.0,
        unit: (*unit).to_owned(),
    };
    Figures {
        taken,
        machine: machine(),
        command: "cargo bench --bench scale -- --measure".to_owned(),
        units: UNITS.iter().map(unit).collect(),
    }
}
