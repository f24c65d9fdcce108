//! What a broker outside the process can do to queues.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use stompbox::bus::queue::{QueueError, QueueMessage, QueueSettings};
use stompbox::bus::rabbitmq::topology::stomp_queue_of;
use stompbox::model::Verdict;
use tokio::time::{Instant, sleep};

use super::rig::{LONG, Node, join_rabbit, message, text};
use crate::support::proxy::{Network, Proxy};
use crate::support::rabbitmq::RabbitMq;

async fn join(url: &str) -> Node {
    join_rabbit(url, "a", QueueSettings::default()).await
}

pub(super) async fn garbage_in_a_queue_is_removed(server: &RabbitMq) {
    let node = join(&server.url()).await;
    let mut hand = node.consume("/queue/garbage", 5).await;
    let (_connection, channel) = server.client().await;
    for octets in [&b""[..], b"no letter", &[1; 200], &[0; 3]] {
        let key = stomp_queue_of("/queue/garbage").into();
        let options = BasicPublishOptions::default();
        let properties = BasicProperties::default();
        let published = channel.basic_publish("".into(), key, options, octets, properties);
        published.await.unwrap().await.unwrap();
    }
    node.send("/queue/garbage", "after").await.unwrap();
    assert_eq!(text(&hand.done().await), "after");
    hand.is_quiet().await;
    drop(hand);
    node.consume("/queue/garbage", 5).await.is_quiet().await;
    node.close().await;
}

/// Sends until it is taken.
async fn send_at_last(node: &Node, queue: &str, text: &str) {
    let since = Instant::now();
    while let Err(error) = node.send(queue, text).await {
        assert!(matches!(error, QueueError::Unavailable(_)), "{error}");
        assert!(since.elapsed() < LONG, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn a_cut_is_survived_and_old_tags_are_void(server: &RabbitMq) {
    let proxy = Proxy::to(server.port()).await;
    let node = join(&server.url_at(proxy.port())).await;
    let mut hand = node.consume("/queue/cut", 5).await;
    node.send_all("/queue/cut", &["1", "2"]).await;
    let old = hand.take_many(2).await;
    proxy.set(Network::Refuse);
    let since = Instant::now();
    while node.send("/queue/cut", "3").await.is_ok() {
        assert!(since.elapsed() < LONG, "the cut is not seen");
    }
    // Nothing waits for a connection that is away.
    let since = Instant::now();
    let refused = node.send("/queue/cut", "3").await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable(_))),
        "{refused:?}"
    );
    let refused = node.send("/queue/new", "3").await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(since.elapsed() < Duration::from_millis(200));
    hand.settle(&[&old[0]], Verdict::Requeue).await;
    sleep(Duration::from_millis(1_500)).await;

    proxy.set(Network::Pass);
    let mut healing = Instant::now();
    let mut seen = vec![];
    while seen.len() < 2 {
        let taken = hand.take().await;
        if seen.is_empty() {
            assert!(
                healing.elapsed() < Duration::from_secs(5),
                "{:?}",
                healing.elapsed()
            );
            healing = Instant::now();
        }
        if text(&taken) == "3" {
            hand.settle(&[&taken], Verdict::Ack).await;
            continue;
        }
        assert!(taken.redelivered, "{taken:?}");
        assert!(!old.iter().any(|old| old.tag == taken.tag));
        seen.push(taken);
    }
    // An old tag settles nothing, in particular not what has the same number on the new channel.
    for verdict in [Verdict::Ack, Verdict::Reject] {
        hand.settle(&[&old[0], &old[1]], verdict).await;
    }
    drop(hand);
    let mut hand = node.consume("/queue/cut", 5).await;
    let again = hand.take_many(2).await;
    assert!(again.iter().all(|taken| taken.redelivered));
    hand.settle(&[&again[0], &again[1]], Verdict::Ack).await;
    hand.is_quiet().await;
    send_at_last(&node, "/queue/cut", "4").await;
    assert_eq!(text(&hand.done().await), "4");

    server.close_all_connections().await;
    send_at_last(&node, "/queue/cut", "5").await;
    while text(&hand.done().await) != "5" {}
    node.close().await;
}

pub(super) async fn a_black_hole_keeps_nobody_waiting(server: &RabbitMq) {
    let proxy = Proxy::to(server.port()).await;
    let node = join(&server.url_at(proxy.port())).await;
    let mut hand = node.consume("/queue/hole", 5).await;
    node.send("/queue/hole", "1").await.unwrap();
    let taken = hand.take().await;
    proxy.set(Network::Blackhole);
    let bounded = Duration::from_secs(5);
    for verdict in [Verdict::Requeue, Verdict::Ack] {
        let since = Instant::now();
        hand.settle(&[&taken], verdict).await;
        assert!(
            since.elapsed() < bounded,
            "{verdict:?}: {:?}",
            since.elapsed()
        );
    }
    for queue in ["/queue/hole", "/queue/another"] {
        let since = Instant::now();
        let refused = node.send(queue, "2").await;
        assert!(
            matches!(refused, Err(QueueError::Unavailable(_))),
            "{refused:?}"
        );
        let refused = node.try_consume(queue, &super::rig::PLAIN, 1).await;
        assert!(
            matches!(refused, Err(QueueError::Unavailable(_))),
            "{refused:?}"
        );
        assert!(since.elapsed() < bounded, "{queue}: {:?}", since.elapsed());
    }
    proxy.set(Network::Pass);
    send_at_last(&node, "/queue/hole", "3").await;
    while text(&hand.done().await) != "3" {}
    node.close().await;
}

pub(super) async fn a_deleted_queue_is_made_again(server: &RabbitMq) {
    let node = join(&server.url()).await;
    let mut hand = node.consume("/queue/deleted", 5).await;
    node.send("/queue/unread", "lost").await.unwrap();
    let (_connection, channel) = server.client().await;
    for queue in ["/queue/deleted", "/queue/unread"] {
        let options = QueueDeleteOptions::default();
        let deleted = channel.queue_delete(stomp_queue_of(queue).into(), options);
        deleted.await.unwrap();
    }
    // The sender finds it gone, the consumer is told; both make it again.
    for queue in ["/queue/deleted", "/queue/unread"] {
        node.send(queue, "1").await.unwrap();
    }
    assert_eq!(text(&hand.done().await), "1");
    let mut unread = node.consume("/queue/unread", 5).await;
    assert_eq!(text(&unread.done().await), "1");
    node.close().await;
}

pub(super) async fn a_consumer_that_settles_nothing_for_too_long_begins_again(server: &RabbitMq) {
    let limit = "application:set_env(rabbit, channel_tick_interval, 300), \
                 application:set_env(rabbit, consumer_timeout, 1000).";
    server.ctl(&["eval", limit]).await;
    let node = join(&server.url()).await;
    let mut slow = node.consume("/queue/slow", 5).await;
    let mut other = node.consume("/queue/other", 5).await;
    node.send("/queue/slow", "1").await.unwrap();
    let first = slow.take().await;
    // The broker closes the channel, and with it nothing else.
    let again = slow.take().await;
    assert_eq!(text(&again), "1");
    assert!(again.redelivered);
    assert_ne!(again.tag, first.tag);
    slow.settle(&[&first], Verdict::Reject).await;
    slow.settle(&[&again], Verdict::Ack).await;
    slow.is_quiet().await;
    node.send("/queue/other", "2").await.unwrap();
    assert!(!other.done().await.redelivered);
    let usual = "application:set_env(rabbit, channel_tick_interval, 60000), \
                 application:set_env(rabbit, consumer_timeout, 1800000).";
    server.ctl(&["eval", usual]).await;
    node.close().await;
}

pub(super) async fn what_is_persistent_survives_a_new_start(server: &mut RabbitMq) {
    let node = join(&server.url()).await;
    let mut hand = node.consume("/queue/kept-open", 1).await;
    node.send_all("/queue/kept", &["1", "2"]).await;
    let fleeting = QueueMessage {
        persistent: false,
        ..message("fleeting")
    };
    let sent = node.send_to("/queue/kept", &super::rig::PLAIN, fleeting);
    sent.await.unwrap();
    node.send("/queue/kept-open", "unsettled").await.unwrap();
    let taken = hand.take().await;
    server.kill();
    hand.settle(&[&taken], Verdict::Reject).await;
    server.start_again().await;
    let again = hand.done().await;
    assert_eq!(text(&again), "unsettled");
    assert!(again.redelivered);
    send_at_last(&node, "/queue/kept", "3").await;
    let mut hand = node.consume("/queue/kept", 10).await;
    for expected in ["1", "2", "3"] {
        assert_eq!(text(&hand.done().await), expected);
    }
    hand.is_quiet().await;
    node.close().await;
}
