//! What is done now and then for as long as the node runs.
//!
//! Not here: what expires (`store`). Invariant: nothing of it is needed for anything to be right: what
//! fails is done the next time.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::MissedTickBehavior;

use super::run::wall_clock;
use super::telemetry;
use crate::broker::Broker;
use crate::identity::Accounts;
use crate::model::{UnixMillis, UserId};
use crate::store::Store;

/// How often what has expired is removed.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);

/// How often what may have gone astray is looked for.
const MINUTE: Duration = Duration::from_secs(60);

/// How many connected users are noted in one piece of work of the store.
const SEEN_AT_ONCE: usize = 256;

/// How often the gauges are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// Removes what has expired and reads the gauges, for as long as the node runs. Neither waits for the other.
pub(super) async fn upkeep(
    store: Arc<dyn Store>,
    accounts: Arc<Accounts>,
    broker: Arc<Broker>,
    metrics: PrometheusHandle,
    identity_ttl: Duration,
) {
    let retention = remove_what_has_expired(&*store, &accounts, &broker, identity_ttl);
    let others = watch(&accounts, &broker, &metrics);
    tokio::join!(retention, others);
}

async fn remove_what_has_expired(
    store: &dyn Store,
    accounts: &Accounts,
    broker: &Broker,
    identity_ttl: Duration,
) {
    let mut purge = tokio::time::interval(PURGE_EVERY);
    // After a long one the next comes in an hour.
    purge.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        purge.tick().await;
        let now = wall_clock();
        stay(store, broker, now).await;
        // First: the store may have a long history to remove.
        accounts.purge().await;
        match store.purge(now, now.before(identity_ttl)).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "what had expired was removed"),
            Err(error) => tracing::warn!(%error, "what has expired is removed later"),
        }
    }
}

async fn watch(accounts: &Accounts, broker: &Broker, metrics: &PrometheusHandle) {
    let mut minute = tokio::time::interval(MINUTE);
    let mut gauges = tokio::time::interval(GAUGES_EVERY);
    loop {
        tokio::select! {
            // The nodes tell each other of bans; this is for a notice that was lost.
            _ = minute.tick() => {
                telemetry::report_missing();
                let _tried_again = accounts.reload_bans().await;
                accounts.gather().await;
            }
            _ = gauges.tick() => {
                let topics = u32::try_from(broker.hub.topics.len()).unwrap_or(u32::MAX);
                metrics::gauge!("chat_channels_active").set(f64::from(topics));
                // Histograms are folded into buckets here rather than when they are read.
                metrics.run_upkeep();
            }
        }
    }
}

/// Notes that those who are connected were seen now, so that they are not removed as users who went away.
async fn stay(store: &dyn Store, broker: &Broker, now: UnixMillis) {
    let users: Vec<UserId> = broker.hub.users().into_iter().collect();
    for some in users.chunks(SEEN_AT_ONCE) {
        if let Err(error) = store.seen_all(some, now).await {
            tracing::warn!(%error, "which users are connected was not noted");
            return;
        }
    }
}
