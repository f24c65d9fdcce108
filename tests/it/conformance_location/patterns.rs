//! Rules about interests in patterns.

use std::slice::from_ref;
use std::sync::Arc;

use stompbox::location::Location;
use stompbox::model::Destination;

use super::rig::{Engine, PATTERNS_MAX, Rig, topic, wanted};

on_every_engine! {
    a_pattern_is_wanted_for_every_destination_that_matches_it
    a_node_that_wants_a_name_and_patterns_is_named_once
    what_belongs_to_somebody_is_not_found_by_patterns
    a_late_removal_does_not_undo_a_newer_pattern
    a_late_registration_does_not_undo_a_newer_pattern
    a_superseded_life_cannot_take_over_a_pattern
    a_pattern_of_a_dead_life_does_not_count
    a_change_is_seen_by_whoever_looked_before
    beyond_the_limit_patterns_are_refused_and_nothing_else
    the_patterns_of_the_dead_make_room
    a_flush_takes_the_patterns_and_a_registration_brings_them_back
}

fn pattern(number: usize) -> Destination {
    topic(&format!("{number}/*"))
}

async fn a_pattern_is_wanted_for_every_destination_that_matches_it(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    a.want(&[(topic("price.*"), 1)]).await.unwrap();
    b.want(&[(topic("**"), 1), (topic("a|b/*"), 1)])
        .await
        .unwrap();
    let asked = ["price.x", "price.x.y", "news", "a|b/c"].map(topic);
    for node in [&a, &b] {
        let located = node.locate(&[], &asked).await.unwrap();
        let names = |nodes: &Vec<stompbox::model::NodeId>| {
            nodes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let found: Vec<_> = located.destinations.iter().map(names).collect();
        assert_eq!(found, ["a b", "b", "b", "b"]);
    }
    b.unwant(&[(topic("**"), 1)]).await.unwrap();
    assert_eq!(wanted(&*a, &topic("news")).await, [""; 0]);
    assert_eq!(wanted(&*a, &topic("a|b/c")).await, ["b"]);
    assert_eq!(wanted(&*b, &topic("price.x")).await, ["a"]);
}

async fn a_node_that_wants_a_name_and_patterns_is_named_once(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let news = topic("news");
    a.want(&[(news.clone(), 1), (topic("*"), 2), (topic("**"), 3)])
        .await
        .unwrap();
    b.want(&[(news.clone(), 1)]).await.unwrap();
    assert_eq!(wanted(&*a, &news).await, ["a", "b"]);
    a.unwant(&[(news.clone(), 1), (topic("*"), 2)])
        .await
        .unwrap();
    assert_eq!(wanted(&*b, &news).await, ["a", "b"]);
    a.unwant(&[(topic("**"), 3)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["b"]);
}

async fn what_belongs_to_somebody_is_not_found_by_patterns(rig: Rig) {
    let a = rig.node("a", 1).await;
    let reply = Destination::Topic("/reply-queue/0123".into());
    a.want(&[
        (topic("**"), 1),
        (Destination::Topic("/reply-queue/*".into()), 2),
    ])
    .await
    .unwrap();
    for private in [topic("room.1"), topic("announce"), reply.clone()] {
        assert_eq!(wanted(&*a, &private).await, [""; 0], "{private}");
    }
    a.want(&[(reply.clone(), 3)]).await.unwrap();
    assert_eq!(wanted(&*a, &reply).await, ["a"]);
}

async fn a_late_removal_does_not_undo_a_newer_pattern(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let (all, news) = (topic("*"), topic("news"));
    a.want(&[(all.clone(), 1)]).await.unwrap();
    b.want(&[(all.clone(), 7)]).await.unwrap();
    a.want(&[(all.clone(), 2)]).await.unwrap();
    a.unwant(&[(all.clone(), 1)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["a", "b"]);
    a.unwant(&[(all.clone(), 2)]).await.unwrap();
    a.unwant(&[(all.clone(), 2)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["b"]);
}

async fn a_late_registration_does_not_undo_a_newer_pattern(rig: Rig) {
    let a = rig.node("a", 1).await;
    let all = topic("*");
    a.want(&[(all.clone(), 10)]).await.unwrap();
    a.want(&[(all.clone(), 9)]).await.unwrap();
    a.unwant(&[(all, 9)]).await.unwrap();
    assert_eq!(wanted(&*a, &topic("news")).await, ["a"]);
}

async fn a_superseded_life_cannot_take_over_a_pattern(rig: Rig) {
    let old = rig.node("a", 1).await;
    let (all, news) = (topic("*"), topic("news"));
    old.want(&[(all.clone(), 50)]).await.unwrap();
    let young = rig.node("a", 2).await;
    assert_eq!(wanted(&*young, &news).await, [""; 0]);
    young.want(&[(all.clone(), 1)]).await.unwrap();
    assert!(old.want(&[(all.clone(), 51)]).await.is_err());
    old.unwant(&[(all, 51)]).await.unwrap();
    assert_eq!(wanted(&*young, &news).await, ["a"]);
}

async fn a_pattern_of_a_dead_life_does_not_count(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let (all, news) = (topic("*"), topic("news"));
    for node in [&a, &b] {
        node.want(&[(all.clone(), 1)]).await.unwrap();
    }
    for _ in 0..20 {
        rig.end_lease("b");
        // The look-up that finds the entry dead runs beside the registration of the same life.
        let again = async {
            b.claim().await.unwrap();
            b.want(&[(all.clone(), 1)]).await.unwrap();
        };
        let look = async {
            a.locate(&[], from_ref(&news)).await.unwrap();
        };
        tokio::join!(look, again);
        assert_eq!(wanted(&*a, &news).await, ["a", "b"]);
    }
    rig.end_lease("b");
    assert_eq!(wanted(&*a, &news).await, ["a"]);
    b.claim().await.unwrap();
    assert_eq!(wanted(&*a, &news).await, ["a"], "it was cleaned away");
}

async fn a_change_is_seen_by_whoever_looked_before(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let news = topic("news");
    for generation in 1..=30 {
        b.want(&[(topic("*"), generation)]).await.unwrap();
        assert_eq!(wanted(&*a, &news).await, ["b"]);
        assert_eq!(wanted(&*a, &news).await, ["b"]);
        b.unwant(&[(topic("*"), generation)]).await.unwrap();
        assert_eq!(wanted(&*a, &news).await, [""; 0]);
    }
}

/// Fills the cluster up to its limit from this node.
async fn fill(node: &Arc<dyn Location>) {
    let wants: Vec<_> = (0..PATTERNS_MAX).map(|n| (pattern(n), 1)).collect();
    assert_eq!(node.want(&wants).await.unwrap(), []);
}

async fn beyond_the_limit_patterns_are_refused_and_nothing_else(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    fill(&a).await;
    let more = [
        (topic("news"), 1),
        (pattern(0), 2),
        (topic("*"), 3),
        (pattern(1), 4),
    ];
    let refused = b.want(&more).await.unwrap();
    assert_eq!(refused, [pattern(0), topic("*"), pattern(1)]);
    assert_eq!(wanted(&*a, &topic("news")).await, ["b"]);
    assert_eq!(wanted(&*a, &topic("0/x")).await, ["a"]);
    // What is there already needs no room, and what goes makes some.
    fill(&a).await;
    a.unwant(&[(pattern(0), 1)]).await.unwrap();
    let refused = b.want(&more).await.unwrap();
    assert_eq!(refused, [topic("*"), pattern(1)]);
    assert_eq!(wanted(&*a, &topic("0/x")).await, ["b"]);
}

async fn the_patterns_of_the_dead_make_room(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    fill(&a).await;
    assert_eq!(b.want(&[(topic("*"), 1)]).await.unwrap(), [topic("*")]);
    rig.end_lease("a");
    assert_eq!(b.want(&[(topic("*"), 1)]).await.unwrap(), []);
    assert_eq!(wanted(&*b, &topic("news")).await, ["b"]);
    assert_eq!(wanted(&*b, &topic("0/x")).await, [""; 0]);
}

async fn a_flush_takes_the_patterns_and_a_registration_brings_them_back(rig: Rig) {
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let news = topic("news");
    a.want(&[(topic("*"), 1)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["a"]);
    rig.flush();
    assert_eq!(wanted(&*b, &news).await, [""; 0]);
    for node in [&a, &b] {
        node.claim().await.unwrap();
    }
    // As many changes as before make another table all the same.
    b.want(&[(topic("**"), 1)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["b"]);
    a.want(&[(topic("*"), 1)]).await.unwrap();
    assert_eq!(wanted(&*b, &news).await, ["a", "b"]);
    if let Engine::Redis(redis) = &rig.engine {
        let seconds: i64 = redis.ask(&["TTL", "sub:patterns"]);
        assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    }
}

/// Only Redis has a table to be read: as long as nothing changed it is not read again.
#[tokio::test]
async fn the_table_of_patterns_is_read_only_when_it_changed() {
    let rig = Rig::redis();
    let Engine::Redis(redis) = &rig.engine else {
        panic!("a Redis was asked for");
    };
    let (a, b) = (rig.node("a", 1).await, rig.node("b", 1).await);
    let tables = || {
        let all: String = redis.ask(&["INFO", "commandstats"]);
        let line = all
            .lines()
            .find_map(|l| l.strip_prefix("cmdstat_hgetall:calls="));
        let calls = line.and_then(|line| line.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().unwrap())
    };
    let news = topic("news");
    wanted(&*a, &news).await;
    let before = tables();
    for _ in 0..10 {
        wanted(&*a, &news).await;
    }
    assert_eq!(tables() - before, 10, "one for the name, none for patterns");
    b.want(&[(topic("*"), 1)]).await.unwrap();
    let before = tables();
    for _ in 0..10 {
        assert_eq!(wanted(&*a, &news).await, ["b"]);
    }
    assert_eq!(tables() - before, 11, "the table once");
    // Registered again as it is, nothing has changed.
    b.want(&[(topic("*"), 1)]).await.unwrap();
    let before = tables();
    wanted(&*a, &news).await;
    assert_eq!(tables() - before, 1);
}
