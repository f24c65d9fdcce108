//! What every engine of location must do, in memory and on a real Redis alike.
//!
//! Not here: what only Redis can do to a node (`faults_location`). Every rule is one function that
//! runs on both engines; in memory the clock is paused and advanced, in Redis it is the server's.

use std::slice::from_ref;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use stompbox::location::{Located, Location, MemoryCluster, Renewal, SessionEntry};
use stompbox::model::{Destination, Incarnation, SessionId, UserId};

use self::rig::{Rig, SHORT, session, sessions, settings, topic, user, wanted};

/// Makes a test for each engine of each rule.
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

mod leases;
mod patterns;
mod rig;

on_every_engine! {
    a_user_is_on_every_node_where_a_session_of_his_lives
    detaching_one_session_never_hides_another
    a_session_is_detached_only_by_the_life_that_attached_it
    many_entries_and_questions_are_answered_in_order
    a_late_removal_does_not_undo_a_newer_interest
    a_late_registration_does_not_undo_a_newer_interest
    a_superseded_life_cannot_take_over_an_interest
    the_janitor_removes_what_is_dead_and_nothing_else
    the_janitor_leaves_what_was_just_registered_again
    everything_is_safe_to_repeat
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
