//! What Redis and RabbitMQ take, and what this process takes to talk to them.
//!
//! Not here: a whole node (`node`). Invariant: the load is paced, so that what is measured is not a
//! server that is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stompbox::bus::Bus as _;
use stompbox::bus::rabbitmq::{RabbitBus, RabbitSettings};
use stompbox::location::{Location as _, LocationSettings, RedisLocation, SessionEntry};
use stompbox::model::{Incarnation, NodeId, SessionId, UnixMillis, UserId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cpu;
use crate::measure::{Costs, MICROS, paced};
use crate::servers::rabbitmq::RabbitMq;
use crate::servers::redis::Redis;

/// About one envelope of an ordinary message.
const PARCEL_BYTES: usize = 400;
const PARCELS: u32 = 12_000;
const PARCELS_PER_SECOND: u32 = 4_000;
/// To how many nodes the dearer parcels go.
const TARGETS: usize = 3;

const USERS: usize = 1_000;
const LOOKUPS: usize = 4_000;
/// How many names a look-up of a small batch has.
const NAMES: usize = 10;

const BEAM: &str = "beam.smp";
const REDIS: &str = "redis-server";

pub(crate) async fn redis(server: &Redis, costs: &mut Costs) {
    let node: NodeId = "scale".parse().unwrap();
    let settings = LocationSettings {
        response: Duration::from_secs(5),
        ..LocationSettings::default()
    };
    let location = RedisLocation::connect(&server.url(), node.clone(), Incarnation(1), settings)
        .await
        .unwrap();
    location.claim().await.unwrap();
    let users: Vec<UserId> = (0..USERS)
        .map(|n| format!("u{n}").parse().unwrap())
        .collect();
    let entry = |number: usize| SessionEntry {
        session: SessionId(number as u128),
        node: node.clone(),
        incarnation: Incarnation(1),
        device: "".into(),
        since: UnixMillis(0),
        visitor: None,
    };
    let before = cpu::seconds_of(REDIS);
    for (number, user) in users.iter().enumerate() {
        let entries = [(user.clone(), entry(number))];
        location.attach(&entries).await.unwrap();
        let gone = [(user.clone(), SessionId(number as u128))];
        location.detach(&gone).await.unwrap();
        location.attach(&entries).await.unwrap();
    }
    let writes = 3.0 * USERS as f64;
    costs.note(
        "redis_write",
        (cpu::seconds_of(REDIS) - before) * MICROS / writes,
    );

    let before = cpu::seconds_of(REDIS);
    let mut waits = Vec::new();
    for number in 0..LOOKUPS {
        let from = number * NAMES % USERS;
        let began = Instant::now();
        location
            .locate(&users[from..from + NAMES], &[])
            .await
            .unwrap();
        waits.push(began.elapsed());
    }
    let names = (LOOKUPS * NAMES) as f64;
    costs.note(
        "redis_lookup",
        (cpu::seconds_of(REDIS) - before) * MICROS / names,
    );
    waits.sort_unstable();
    costs.note("route_wait", waits[waits.len() / 2].as_secs_f64() * MICROS);
}

pub(crate) async fn rabbitmq(server: &RabbitMq, costs: &mut Costs) {
    let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
    let mut buses = Vec::new();
    let mut names = Vec::new();
    let mut readers = JoinSet::new();
    for number in 0..=TARGETS {
        let name: NodeId = format!("scale-{number}").parse().unwrap();
        let (bus, mut incoming) = RabbitBus::connect(
            &server.url(),
            name.clone(),
            Incarnation(1),
            RabbitSettings::default(),
            tracker.clone(),
            end.clone(),
        )
        .await
        .unwrap();
        readers.spawn(async move { while incoming.recv().await.is_some() {} });
        buses.push(bus);
        names.push(name);
    }
    let (one, one_here) = publish(&buses[0], &names[1..2]).await;
    let (three, three_here) = publish(&buses[0], &names[1..]).await;
    let more = TARGETS as f64 - 1.0;
    let (target, target_here) = ((three - one) / more, (three_here - one_here) / more);
    costs.note("rabbitmq_publication", one);
    costs.note("rabbitmq_target", target);
    costs.note("parcel_in", target_here);
    costs.note("parcel_out", one_here - target_here);
    end.cancel();
}

/// Publishes to these nodes. Returns what a publication takes of RabbitMQ and of this process.
async fn publish(bus: &Arc<RabbitBus>, targets: &[NodeId]) -> (f64, f64) {
    let payload = Bytes::from(vec![b'x'; PARCEL_BYTES]);
    let mut confirms = JoinSet::new();
    let (there, here) = (cpu::seconds_of(BEAM), cpu::own_seconds());
    let mut pace = paced(PARCELS_PER_SECOND);
    for number in 0..PARCELS {
        pace.tick().await;
        let id = format!("scale-{}-{number}", targets.len());
        let confirm = bus.publish(targets, id, payload.clone()).await.unwrap();
        confirms.spawn(confirm);
        while confirms.try_join_next().is_some() {}
    }
    while let Some(confirmed) = confirms.join_next().await {
        confirmed.unwrap().unwrap();
    }
    let each = |seconds: f64| seconds * MICROS / f64::from(PARCELS);
    (
        each(cpu::seconds_of(BEAM) - there),
        each(cpu::own_seconds() - here),
    )
}
