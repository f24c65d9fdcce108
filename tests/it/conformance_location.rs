//! What every engine of location must do, in memory and on a real Redis alike.
//!
//! Not here: what only Redis can do to a node (`faults_location`). Every rule is one function that
//! runs on both engines; in memory the clock is paused and advanced, in Redis it is the server's.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use stompbox::location::{
    Located, Location, LocationSettings, MemoryCluster, Peer, PeerState, RedisLocation, Renewal,
    SessionEntry, StoreClaim,
};
use stompbox::model::{
    ClientIdentifier, Destination, Incarnation, NodeId, SessionId, UnixMillis, UserId,
};

use crate::support::redis::Redis;

/// The lease of tests that do not wait for its end: it never comes, however busy the machine is.
const LONG: Duration = Duration::from_secs(600);

/// The lease of tests that wait for its end on a real clock.
const SHORT: Duration = Duration::from_secs(2);

/// An engine and what the tests may do to it from outside.
struct Rig {
    engine: Engine,
    lease: Duration,
}

enum Engine {
    Memory(Arc<MemoryCluster>),
    Redis(Redis),
}

/// The deadlines are tested on their own; here they allow for a busy machine.
fn settings(lease: Duration) -> LocationSettings {
    LocationSettings {
        lease,
        response: Duration::from_secs(5),
        connect: Duration::from_secs(5),
    }
}

impl Rig {
    fn memory() -> Self {
        Self {
            engine: Engine::Memory(MemoryCluster::new(settings(LONG))),
            lease: LONG,
        }
    }

    fn redis() -> Self {
        Self {
            engine: Engine::Redis(Redis::start()),
            lease: LONG,
        }
    }

    /// The same with leases that end after [`SHORT`].
    fn with_short_leases(self) -> Self {
        let engine = match self.engine {
            Engine::Memory(_) => Engine::Memory(MemoryCluster::new(settings(SHORT))),
            Engine::Redis(redis) => Engine::Redis(redis),
        };
        let lease = SHORT;
        Self { engine, lease }
    }

    /// One life of a node that has not claimed yet.
    async fn life(&self, name: &str, incarnation: u64) -> Arc<dyn Location> {
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
    async fn node(&self, name: &str, incarnation: u64) -> Arc<dyn Location> {
        let life = self.life(name, incarnation).await;
        life.claim().await.unwrap();
        life
    }

    fn end_lease(&self, name: &str) {
        match &self.engine {
            Engine::Memory(cluster) => cluster.expire(&name.parse().unwrap()),
            Engine::Redis(redis) => redis.ask::<()>(&["DEL", &format!("node:{name}")]),
        }
    }

    fn flush(&self) {
        match &self.engine {
            Engine::Memory(cluster) => cluster.flush(),
            Engine::Redis(redis) => redis.flush(),
        }
    }

    async fn pass(&self, time: Duration) {
        match &self.engine {
            Engine::Memory(_) => tokio::time::advance(time).await,
            Engine::Redis(_) => tokio::time::sleep(time).await,
        }
    }

    /// Session entries that are stored for a user, those that do not count included.
    fn stored(&self, user: &UserId) -> usize {
        match &self.engine {
            Engine::Memory(cluster) => cluster.stored_sessions(),
            Engine::Redis(redis) => redis.ask(&["HLEN", &format!("loc:{user}")]),
        }
    }
}

fn user(name: &str) -> UserId {
    format!("user_{name}").parse().unwrap()
}

fn topic(name: &str) -> Destination {
    Destination::parse(&format!("/topic/{name}")).unwrap()
}

/// A session of a user; the engine fills node and life in with its own.
fn session(owner: &UserId, id: u128) -> (UserId, SessionEntry) {
    let entry = SessionEntry {
        session: SessionId(id),
        node: "unset".parse().unwrap(),
        incarnation: Incarnation(0),
        device: format!("device|{id}%").into(),
        since: UnixMillis(1_000 + u64::try_from(id).unwrap()),
    };
    (owner.clone(), entry)
}

async fn sessions(node: &dyn Location, of: &UserId) -> Vec<u128> {
    let located = node.locate(from_ref(of), &[]).await.unwrap();
    located.users[0]
        .iter()
        .map(|entry| entry.session.0)
        .collect()
}

async fn wanted(node: &dyn Location, destination: &Destination) -> Vec<String> {
    let located = node.locate(&[], from_ref(destination)).await.unwrap();
    let names = located.destinations[0].iter();
    names.map(|node| node.as_str().to_owned()).collect()
}

macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Rig::memory()).await;
            })*
        }

        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Rig::redis()).await;
            })*
        }
    };
}

on_every_engine! {
    a_user_is_on_every_node_where_a_session_of_his_lives
    detaching_one_session_never_hides_another
    a_session_is_detached_only_by_the_life_that_attached_it
    many_entries_and_questions_are_answered_in_order
    a_late_removal_does_not_undo_a_newer_interest
    a_late_registration_does_not_undo_a_newer_interest
    a_superseded_life_cannot_take_over_an_interest
    entries_without_a_lease_of_the_same_life_do_not_count
    the_janitor_removes_what_is_dead_and_nothing_else
    the_janitor_leaves_what_was_just_registered_again
    a_renewal_only_extends
    a_claim_takes_the_lease_from_an_older_life
    a_released_lease_is_gone_and_only_its_own_life_releases_it
    peers_are_the_live_nodes_with_their_states
    the_first_store_has_the_cluster
    everything_is_safe_to_repeat
    after_a_flush_a_claim_and_a_registration_restore_everything
    a_fingerprint_is_remembered_once_it_was_seen
    racing_devices_never_lose_the_live_session
}

#[tokio::test(start_paused = true)]
async fn a_lone_node_keeps_its_lease_without_renewing_it() {
    let cluster = MemoryCluster::lone();
    let node = cluster.node("a".parse().unwrap(), Incarnation(1));
    let bob = user("bob");
    node.claim().await.unwrap();
    node.attach(&[session(&bob, 1)]).await.unwrap();
    tokio::time::advance(Duration::from_secs(1_000_000)).await;
    assert_eq!(sessions(&*node, &bob).await, [1]);
    assert_eq!(node.peers().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fail_over_in_memory_loses_registrations_and_keeps_leases() {
    let cluster = MemoryCluster::new(settings(SHORT));
    let node = cluster.node("a".parse().unwrap(), Incarnation(1));
    let bob = user("bob");
    node.claim().await.unwrap();
    node.attach(&[session(&bob, 1)]).await.unwrap();
    cluster.fail_over();
    assert_eq!(node.reconnects(), 1);
    assert_eq!(node.renew().await.unwrap(), Renewal::Extended);
    assert!(sessions(&*node, &bob).await.is_empty());
}

async fn a_user_is_on_every_node_where_a_session_of_his_lives(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 2).await);
    let bob = user("bob");
    a.attach(&[session(&bob, 2), session(&bob, 1)])
        .await
        .unwrap();
    b.attach(&[session(&bob, 3)]).await.unwrap();
    for node in [&a, &b] {
        let located = node.locate(from_ref(&bob), &[]).await.unwrap();
        let expected =
            [(1, "a", 1), (2, "a", 1), (3, "b", 2)].map(|(id, name, life)| SessionEntry {
                node: name.parse().unwrap(),
                incarnation: Incarnation(life),
                ..session(&bob, id).1
            });
        assert_eq!(located.users, vec![expected.to_vec()]);
    }
    let located = a.locate(&[user("nobody")], &[topic("none")]).await.unwrap();
    let nothing = Located {
        users: vec![Vec::new()],
        destinations: vec![Vec::new()],
    };
    assert_eq!(located, nothing);
}

async fn detaching_one_session_never_hides_another(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let bob = user("bob");
    a.attach(&[session(&bob, 1), session(&bob, 2)])
        .await
        .unwrap();
    b.attach(&[session(&bob, 3)]).await.unwrap();
    a.detach(&[(bob.clone(), SessionId(1))]).await.unwrap();
    assert_eq!(sessions(&*a, &bob).await, [2, 3]);
    a.detach(&[(bob.clone(), SessionId(2)), (bob.clone(), SessionId(9))])
        .await
        .unwrap();
    assert_eq!(sessions(&*a, &bob).await, [3]);
}

async fn a_session_is_detached_only_by_the_life_that_attached_it(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let bob = user("bob");
    b.attach(&[session(&bob, 1)]).await.unwrap();
    a.detach(&[(bob.clone(), SessionId(1))]).await.unwrap();
    assert_eq!(sessions(&*a, &bob).await, [1]);
    let younger = rig.node("b", 2).await;
    younger.attach(&[session(&bob, 1)]).await.unwrap();
    b.detach(&[(bob.clone(), SessionId(1))]).await.unwrap();
    assert_eq!(sessions(&*a, &bob).await, [1]);
}

async fn many_entries_and_questions_are_answered_in_order(rig: Rig) {
    let a = rig.node("a", 1).await;
    let people: Vec<UserId> = (0..1_203).map(|n| user(&n.to_string())).collect();
    let topics: Vec<Destination> = (0..1_007).map(|n| topic(&n.to_string())).collect();
    let entries: Vec<_> = (0_u128..)
        .zip(&people)
        .map(|(id, p)| session(p, id))
        .collect();
    let wants: Vec<_> = topics.iter().step_by(2).map(|t| (t.clone(), 1)).collect();
    a.attach(&entries).await.unwrap();
    a.want(&wants).await.unwrap();
    let located = a.locate(&people, &topics).await.unwrap();
    assert_eq!(located.users.len(), people.len());
    for (id, found) in (0_u128..).zip(&located.users) {
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].session, SessionId(id));
    }
    assert_eq!(located.destinations.len(), topics.len());
    for (n, nodes) in located.destinations.iter().enumerate() {
        assert_eq!(nodes.len(), usize::from(n % 2 == 0), "{n}");
    }
    let all: Vec<_> = entries
        .iter()
        .map(|(p, e)| (p.clone(), e.session))
        .collect();
    a.detach(&all).await.unwrap();
    a.unwant(&wants).await.unwrap();
    let located = a.locate(&people, &topics).await.unwrap();
    assert!(located.users.iter().all(Vec::is_empty));
    assert!(located.destinations.iter().all(Vec::is_empty));
}

async fn a_late_removal_does_not_undo_a_newer_interest(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let news = topic("news");
    a.want(&[(news.clone(), 1)]).await.unwrap();
    b.want(&[(news.clone(), 7)]).await.unwrap();
    assert_eq!(wanted(&*a, &news).await, ["a", "b"]);
    a.want(&[(news.clone(), 2)]).await.unwrap();
    a.unwant(&[(news.clone(), 1)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["a", "b"]);
    a.unwant(&[(news.clone(), 2)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["b"]);
}

async fn a_late_registration_does_not_undo_a_newer_interest(rig: Rig) {
    let a = rig.node("a", 1).await;
    let news = topic("news");
    a.want(&[(news.clone(), 10)]).await.unwrap();
    a.want(&[(news.clone(), 9)]).await.unwrap();
    a.unwant(&[(news.clone(), 9)]).await.unwrap();
    assert_eq!(wanted(&*a, &news).await, ["a"]);
}

async fn a_superseded_life_cannot_take_over_an_interest(rig: Rig) {
    let old = rig.node("a", 1).await;
    let news = topic("news");
    old.want(&[(news.clone(), 50)]).await.unwrap();
    let young = rig.node("a", 2).await;
    assert!(wanted(&*young, &news).await.is_empty());
    young.want(&[(news.clone(), 1)]).await.unwrap();
    assert!(old.want(&[(news.clone(), 51)]).await.is_err());
    old.unwant(&[(news.clone(), 51)]).await.unwrap();
    assert_eq!(wanted(&*young, &news).await, ["a"]);
}

async fn entries_without_a_lease_of_the_same_life_do_not_count(rig: Rig) {
    let rig = rig.with_short_leases();
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let (bob, news) = (user("bob"), topic("news"));
    a.attach(&[session(&bob, 1)]).await.unwrap();
    b.attach(&[session(&bob, 2)]).await.unwrap();
    a.want(&[(news.clone(), 1)]).await.unwrap();
    b.want(&[(news.clone(), 1)]).await.unwrap();
    rig.end_lease("b");
    assert_eq!(sessions(&*a, &bob).await, [1]);
    assert_eq!(wanted(&*a, &news).await, ["a"]);
    // Time ends a lease as well, unless it is renewed.
    rig.pass(SHORT / 2).await;
    assert_eq!(a.renew().await.unwrap(), Renewal::Extended);
    rig.pass(SHORT * 5 / 8).await;
    assert_eq!(sessions(&*a, &bob).await, [1]);
    rig.pass(SHORT).await;
    assert!(sessions(&*a, &bob).await.is_empty());
    assert!(wanted(&*a, &news).await.is_empty());
}

async fn the_janitor_removes_what_is_dead_and_nothing_else(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let bob = user("bob");
    a.attach(&[session(&bob, 1)]).await.unwrap();
    b.attach(&[session(&bob, 2), session(&bob, 3)])
        .await
        .unwrap();
    assert_eq!(rig.stored(&bob), 3);
    rig.end_lease("b");
    assert_eq!(sessions(&*a, &bob).await, [1]);
    assert_eq!(rig.stored(&bob), 1);
}

async fn the_janitor_leaves_what_was_just_registered_again(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let (bob, news) = (user("bob"), topic("news"));
    for _ in 0..50 {
        b.attach(&[session(&bob, 1)]).await.unwrap();
        b.want(&[(news.clone(), 1)]).await.unwrap();
        rig.end_lease("b");
        // The look-up that finds the entry dead runs beside the registration of the same life.
        let again = async {
            b.claim().await.unwrap();
            b.attach(&[session(&bob, 1)]).await.unwrap();
            b.want(&[(news.clone(), 1)]).await.unwrap();
        };
        let look = async {
            a.locate(from_ref(&bob), from_ref(&news)).await.unwrap();
        };
        tokio::join!(look, again);
        assert_eq!(sessions(&*a, &bob).await, [1]);
        assert_eq!(wanted(&*a, &news).await, ["b"]);
    }
}

async fn a_renewal_only_extends(rig: Rig) {
    let rig = rig.with_short_leases();
    let a = rig.life("a", 1).await;
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    assert!(a.peers().await.unwrap().is_empty());
    a.claim().await.unwrap();
    assert_eq!(a.renew().await.unwrap(), Renewal::Extended);
    rig.pass(SHORT + Duration::from_millis(50)).await;
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    assert!(a.peers().await.unwrap().is_empty());
}

async fn a_claim_takes_the_lease_from_an_older_life(rig: Rig) {
    let rig = rig.with_short_leases();
    let old = rig.node("a", 1).await;
    let young = rig.node("a", 2).await;
    let foreign = Renewal::Foreign(Incarnation(2));
    assert_eq!(old.renew().await.unwrap(), foreign);
    assert_eq!(young.renew().await.unwrap(), Renewal::Extended);
    old.drain().await.unwrap();
    let peers = young.peers().await.unwrap();
    assert_eq!(peers[0].state, PeerState::Up);
    // A renewal of the older life must not have made the lease longer.
    rig.pass(SHORT * 5 / 8).await;
    assert_eq!(old.renew().await.unwrap(), foreign);
    rig.pass(SHORT / 2).await;
    assert_eq!(young.renew().await.unwrap(), Renewal::Missing);
}

async fn a_released_lease_is_gone_and_only_its_own_life_releases_it(rig: Rig) {
    let old = rig.node("a", 1).await;
    let young = rig.node("a", 2).await;
    old.release().await.unwrap();
    assert_eq!(young.renew().await.unwrap(), Renewal::Extended);
    young.release().await.unwrap();
    assert_eq!(young.renew().await.unwrap(), Renewal::Missing);
    assert!(young.peers().await.unwrap().is_empty());
}

async fn peers_are_the_live_nodes_with_their_states(rig: Rig) {
    let rig = rig.with_short_leases();
    let b = rig.node("b", 2).await;
    let a = rig.node("a", 1).await;
    let _c = rig.node("c", 3).await;
    b.drain().await.unwrap();
    rig.end_lease("c");
    let peer = |name: &str, life, state| Peer {
        node: name.parse().unwrap(),
        incarnation: Incarnation(life),
        state,
    };
    let expected = vec![
        peer("a", 1, PeerState::Up),
        peer("b", 2, PeerState::Draining),
    ];
    assert_eq!(a.peers().await.unwrap(), expected);
    // A draining node renews its lease and goes on draining, and what is there still counts.
    assert_eq!(b.renew().await.unwrap(), Renewal::Extended);
    assert_eq!(a.peers().await.unwrap(), expected);
    let bob = user("bob");
    b.attach(&[session(&bob, 1)]).await.unwrap();
    assert_eq!(sessions(&*a, &bob).await, [1]);
    rig.pass(SHORT + Duration::from_millis(50)).await;
    assert!(a.peers().await.unwrap().is_empty());
}

async fn the_first_store_has_the_cluster(rig: Rig) {
    let (a, b) = (rig.life("a", 1).await, rig.life("b", 1).await);
    assert_eq!(a.claim_store("one").await.unwrap(), StoreClaim::Same);
    assert_eq!(b.claim_store("one").await.unwrap(), StoreClaim::Same);
    let other = StoreClaim::Other("one".to_owned());
    assert_eq!(b.claim_store("two").await.unwrap(), other);
    assert_eq!(a.claim_store("one").await.unwrap(), StoreClaim::Same);
}

async fn everything_is_safe_to_repeat(rig: Rig) {
    let a = rig.node("a", 1).await;
    let (bob, news) = (user("bob"), topic("news"));
    for _ in 0..2 {
        a.claim().await.unwrap();
        a.attach(&[session(&bob, 1)]).await.unwrap();
        a.want(&[(news.clone(), 1)]).await.unwrap();
    }
    assert_eq!(sessions(&*a, &bob).await, [1]);
    assert_eq!(wanted(&*a, &news).await, ["a"]);
    for _ in 0..2 {
        a.detach(&[(bob.clone(), SessionId(1))]).await.unwrap();
        a.unwant(&[(news.clone(), 1)]).await.unwrap();
    }
    assert!(sessions(&*a, &bob).await.is_empty());
    assert!(wanted(&*a, &news).await.is_empty());
    for _ in 0..2 {
        a.drain().await.unwrap();
    }
    for _ in 0..2 {
        a.release().await.unwrap();
    }
    let nothing = a.locate(&[], &[]).await.unwrap();
    assert_eq!(nothing, Located::default());
    a.attach(&[]).await.unwrap();
    a.detach(&[]).await.unwrap();
    a.want(&[]).await.unwrap();
    a.unwant(&[]).await.unwrap();
}

async fn after_a_flush_a_claim_and_a_registration_restore_everything(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let (bob, news) = (user("bob"), topic("news"));
    a.attach(&[session(&bob, 1)]).await.unwrap();
    rig.flush();
    assert!(sessions(&*b, &bob).await.is_empty());
    assert_eq!(a.renew().await.unwrap(), Renewal::Missing);
    a.claim().await.unwrap();
    a.attach(&[session(&bob, 1)]).await.unwrap();
    a.want(&[(news.clone(), 1)]).await.unwrap();
    assert_eq!(sessions(&*b, &bob).await, [1]);
    assert_eq!(wanted(&*b, &news).await, ["a"]);
    assert_eq!(a.renew().await.unwrap(), Renewal::Extended);
}

async fn a_fingerprint_is_remembered_once_it_was_seen(rig: Rig) {
    let (a, b) = (rig.life("a", 1).await, rig.life("b", 1).await);
    let here = ClientIdentifier::from_mac(&[1; 32]);
    let other = ClientIdentifier::from_mac(&[2; 32]);
    assert!(!b.touched(&here).await.unwrap());
    a.touch(&here).await.unwrap();
    a.touch(&here).await.unwrap();
    assert!(b.touched(&here).await.unwrap());
    assert!(!b.touched(&other).await.unwrap());
    match &rig.engine {
        Engine::Memory(_) => {
            rig.pass(Duration::from_secs(3_599)).await;
            assert!(b.touched(&here).await.unwrap());
            rig.pass(Duration::from_secs(2)).await;
            assert!(!b.touched(&here).await.unwrap());
        }
        Engine::Redis(redis) => {
            let seconds: i64 = redis.ask(&["TTL", &format!("ident:{here}")]);
            assert!((3_500..=3_600).contains(&seconds), "{seconds}");
        }
    }
}

/// A device leaves one node and comes to another, and the first node's removal is late.
async fn racing_devices_never_lose_the_live_session(rig: Rig) {
    let seed = rand::random();
    let mut random = SmallRng::seed_from_u64(seed);
    let nodes = [rig.node("a", 1).await, rig.node("b", 1).await];
    let bob = user("bob");
    let mut late: Vec<(usize, SessionId)> = Vec::new();
    let mut home = 0;
    nodes[home].attach(&[session(&bob, 0)]).await.unwrap();
    let mut live = SessionId(0);
    for round in 1..=1_000_u128 {
        let old = (home, live);
        home = usize::from(random.random_bool(0.5));
        live = SessionId(round);
        late.push(old);
        let gone = random.random_range(0..=late.len().min(3));
        let due: Vec<_> = late.drain(..gone).collect();
        let attach = async { nodes[home].attach(&[session(&bob, round)]).await.unwrap() };
        let detach = async {
            for (node, session) in &due {
                nodes[*node]
                    .detach(&[(bob.clone(), *session)])
                    .await
                    .unwrap();
            }
        };
        if random.random_bool(0.5) {
            tokio::join!(attach, detach);
        } else {
            tokio::join!(detach, attach);
        }
        if round % 100 == 0 {
            nodes[0].renew().await.unwrap();
            nodes[1].renew().await.unwrap();
        }
        let found = sessions(&*nodes[1 - home], &bob).await;
        assert!(
            found.contains(&round),
            "seed {seed}, round {round}: {found:?}"
        );
        assert_eq!(found.len(), 1 + late.len(), "seed {seed}, round {round}");
    }
}
