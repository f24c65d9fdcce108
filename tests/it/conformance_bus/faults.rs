//! What a real RabbitMQ, its operator and the network can do to a node.

use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};
use stompbox::bus::rabbitmq::{RabbitConnectError, RabbitSettings};
use stompbox::bus::{BusError, Confirmed, Incoming};
use tokio::time::{Instant, timeout};

use super::{LONG, Node, eventually, fresh_id, join_rabbit, node_id};
use crate::support::ports;
use crate::support::proxy::{Network, Proxy};
use crate::support::rabbitmq::RabbitMq;

pub(super) async fn several_nodes_cost_one_message(server: &RabbitMq) {
    let spy = server.spy().await;
    let proxy = Proxy::to(server.port()).await;
    proxy.set_latency(Duration::from_millis(5));
    let settings = RabbitSettings::default();
    let far = server.url_at(proxy.port());
    let a = join_rabbit(&far, "a", &settings).await.unwrap();
    let mut nodes = Vec::new();
    for name in ["b", "c", "d"] {
        nodes.push(join_rabbit(&server.url(), name, &settings).await.unwrap());
    }
    for (to, text) in [(&["b"][..], "1"), (&["b", "c"], "2"), (&["c", "d"], "3")] {
        assert_eq!(a.publish(to, text).await.unwrap(), Confirmed::Routed);
    }
    let payload = Bytes::from_static(b"4");
    let handed = a.bus.publish_all(fresh_id(), payload).await.unwrap();
    assert_eq!(handed.await.unwrap(), Confirmed::Routed);
    for (node, expected) in
        nodes
            .iter_mut()
            .zip([&["1", "2", "4"][..], &["2", "3", "4"], &["3", "4"]])
    {
        assert_eq!(node.receive_texts(expected.len()).await, expected);
        node.is_quiet().await;
    }
    // One AMQP message each, under the first of its keys.
    let expected = [("chat.all", 1), ("chat.b", 2), ("chat.c", 1)];
    let expected = expected.map(|(key, count)| (key.to_owned(), count)).into();
    assert_eq!(spy.count_by_key(), expected);
    spy.leave().await;
    for node in nodes.into_iter().chain([a]) {
        node.bus.close().await;
    }
}

pub(super) async fn garbage_is_a_payload_like_any_other(server: &RabbitMq) {
    let settings = RabbitSettings::default();
    let a = join_rabbit(&server.url(), "a", &settings).await.unwrap();
    let mut b = join_rabbit(&server.url(), "b", &settings).await.unwrap();
    let (_connection, channel) = server.client().await;
    let mut headers = FieldTable::default();
    for number in 0..200 {
        let value = AMQPValue::LongString("x".repeat(500).into());
        headers.insert(format!("header-{number}").into(), value);
    }
    let strange = BasicProperties::default()
        .with_headers(headers)
        .with_type("no idea".into())
        .with_priority(9);
    let garbage: [(&str, &[u8], BasicProperties); 3] = [
        ("chat.b", b"\xff\xfe\0garbage", BasicProperties::default()),
        ("chat.all", b"", strange),
        ("chat.b", &[7; 100_000], BasicProperties::default()),
    ];
    for (key, octets, properties) in garbage {
        publish_raw(&channel, key, octets, properties).await;
        assert_eq!(b.receive().await, octets);
    }
    assert_eq!(a.publish(&["b"], "after").await.unwrap(), Confirmed::Routed);
    assert_eq!(b.receive_text().await, "after");
    close([a, b]).await;
}

async fn publish_raw(channel: &Channel, key: &str, octets: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let exchange = "chat.exchange".into();
    channel
        .basic_publish(exchange, key.into(), options, octets, properties)
        .await
        .unwrap()
        .await
        .unwrap();
}

pub(super) async fn a_full_queue_refuses_and_disturbs_nobody_else(server: &RabbitMq) {
    let small = RabbitSettings {
        prefetch: 1,
        incoming_max: 1,
        queue_length_max: 3,
        ..RabbitSettings::default()
    };
    let settings = RabbitSettings::default();
    let a = join_rabbit(&server.url(), "a", &settings).await.unwrap();
    let mut stuck = join_rabbit(&server.url(), "stuck", &small).await.unwrap();
    let mut other = join_rabbit(&server.url(), "other", &settings)
        .await
        .unwrap();
    let mut taken = Vec::new();
    for number in 0..20 {
        match a.publish(&["stuck"], &number.to_string()).await {
            Ok(Confirmed::Routed) => taken.push(number.to_string()),
            Err(BusError::NotConfirmed(_)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(a.publish(&["other"], "x").await.unwrap(), Confirmed::Routed);
        assert_eq!(other.receive_text().await, "x");
    }
    assert!((3..20).contains(&taken.len()), "{} were taken", taken.len());
    assert!(a.bus.is_up(), "a queue that is full is no reason to stop");
    assert_eq!(stuck.receive_texts(taken.len()).await, taken);
    assert_eq!(a.publish(&["stuck"], "y").await.unwrap(), Confirmed::Routed);
    assert_eq!(stuck.receive_text().await, "y");
    close([a, stuck, other]).await;
}

pub(super) async fn a_deleted_exchange_comes_back_with_its_bindings(server: &RabbitMq) {
    let settings = RabbitSettings {
        refresh_every: Duration::from_millis(300),
        ..RabbitSettings::default()
    };
    let a = join_rabbit(&server.url(), "a", &settings).await.unwrap();
    let b = join_rabbit(&server.url(), "b", &settings).await.unwrap();
    let (_connection, channel) = server.client().await;
    delete_exchange(&channel).await;
    for (from, to) in [(&a, "b"), (&b, "a")] {
        eventually("published again", LONG, || async {
            matches!(from.publish(&[to], "x").await, Ok(Confirmed::Routed))
        })
        .await;
    }
    close([a, b]).await;
}

async fn delete_exchange(channel: &Channel) {
    let options = ExchangeDeleteOptions::default();
    let deleted = channel.exchange_delete("chat.exchange".into(), options);
    deleted.await.unwrap();
}

pub(super) async fn a_start_that_cannot_succeed_says_why(server: &RabbitMq) {
    let settings = RabbitSettings {
        start_within: Duration::from_millis(300),
        ..RabbitSettings::default()
    };
    let check = async |url: String, expected: &str| {
        let refused = join_rabbit(&url, "a", &settings).await;
        let error = refused.err().expect("it cannot start");
        let is_unreachable = matches!(error, RabbitConnectError::Unreachable { .. });
        assert_eq!(is_unreachable, expected.contains("reached"), "{error:?}");
        let words = error.to_string();
        assert!(words.contains(expected), "{words}");
        assert!(!words.contains("wrong-password"), "{words}");
    };
    let port = server.port();
    let wrong = format!("amqp://guest:wrong-password@127.0.0.1:{port}/%2f");
    check(wrong, "ACCESS_REFUSED").await;
    let nowhere = format!("amqp://guest:guest@127.0.0.1:{port}/nowhere");
    check(nowhere, "vhost nowhere not found").await;
    check(server.url_at(ports::free()), "cannot be reached").await;

    let (_connection, channel) = server.client().await;
    delete_exchange(&channel).await;
    let kind = ExchangeKind::Fanout;
    let options = ExchangeDeclareOptions::default();
    channel
        .exchange_declare("chat.exchange".into(), kind, options, FieldTable::default())
        .await
        .unwrap();
    check(server.url(), "exchange 'chat.exchange' in vhost '/'").await;
    delete_exchange(&channel).await;
}

pub(super) async fn a_cut_is_over_within_a_second_of_healing(server: &RabbitMq) {
    let proxy = Proxy::to(server.port()).await;
    let settings = RabbitSettings::default();
    let a = join_rabbit(&server.url(), "a", &settings).await.unwrap();
    let far = server.url_at(proxy.port());
    let mut b = join_rabbit(&far, "b", &settings).await.unwrap();
    let mut healing = Vec::new();
    for round in 0..3 {
        proxy.set(Network::Refuse);
        eventually("the cut is seen", LONG, || async { !b.bus.is_up() }).await;
        // The queue went with its connection, and nothing waits for a connection that is away.
        eventually("b is gone for a", LONG, || async {
            matches!(a.publish(&["b"], "x").await, Ok(Confirmed::NoRoute))
        })
        .await;
        let since = Instant::now();
        let refused = b.publish(&["a"], "y").await;
        assert!(
            matches!(refused, Err(BusError::Unavailable(_))),
            "{refused:?}"
        );
        assert!(since.elapsed() < Duration::from_millis(100));
        // Long enough for the longest wait between attempts.
        tokio::time::sleep(Duration::from_millis(1_500)).await;

        let since = Instant::now();
        proxy.set(Network::Pass);
        is_told_of_an_interruption(&mut b).await;
        eventually("b publishes", LONG, || async { b.bus.is_up() }).await;
        healing.push(since.elapsed());
        let text = format!("round {round}");
        assert_eq!(a.publish(&["b"], &text).await.unwrap(), Confirmed::Routed);
        assert_eq!(b.receive_text().await, text);
        assert_eq!(b.publish(&["a"], &text).await.unwrap(), Confirmed::Routed);
    }
    // The machine may be busy with other things in one round or another.
    let best = healing.iter().min().unwrap();
    assert!(*best < Duration::from_secs(1), "{healing:?} after healing");
    server.close_all_connections().await;
    is_told_of_an_interruption(&mut b).await;
    eventually("both are back", LONG, || async {
        a.bus.is_up() && matches!(a.publish(&["b"], "z").await, Ok(Confirmed::Routed))
    })
    .await;
    close([a, b]).await;
}

/// Payloads may come before it, but it comes.
async fn is_told_of_an_interruption(node: &mut Node) {
    let told = async {
        while let Some(incoming) = node.incoming.recv().await {
            if incoming == Incoming::Interrupted {
                return;
            }
        }
        panic!("the receiver has ended");
    };
    timeout(LONG, told)
        .await
        .expect("no word of an interruption");
}

pub(super) async fn a_black_hole_is_noticed(server: &RabbitMq) {
    let proxy = Proxy::to(server.port()).await;
    let settings = RabbitSettings {
        heartbeat_secs: 2,
        ..RabbitSettings::default()
    };
    let far = server.url_at(proxy.port());
    let mut b = join_rabbit(&far, "b", &settings).await.unwrap();
    assert_eq!(b.publish(&["b"], "1").await.unwrap(), Confirmed::Routed);
    assert_eq!(b.receive_text().await, "1");
    let before = proxy.accepted();
    proxy.set(Network::Blackhole);
    let since = Instant::now();
    let handed = b
        .bus
        .publish(&[node_id("b")], fresh_id(), Bytes::new())
        .await;
    let confirmed = handed.unwrap().await;
    assert!(
        matches!(confirmed, Err(BusError::NotConfirmed(_))),
        "{confirmed:?}"
    );
    let waited = since.elapsed();
    assert!(waited < Duration::from_secs(3), "{waited:?} for a confirm");
    eventually("nothing more is taken", LONG, || async { !b.bus.is_up() }).await;
    let refused = b.publish(&["b"], "2").await;
    assert!(
        matches!(refused, Err(BusError::Unavailable(_))),
        "{refused:?}"
    );
    // Twice the heartbeat and something; both connections are given up and opened anew.
    let within = Duration::from_secs(4 + 3);
    eventually("the link is given up", within, || async {
        proxy.accepted() >= before + 2
    })
    .await;
    proxy.set(Network::Pass);
    is_told_of_an_interruption(&mut b).await;
    eventually("it works again", LONG, || async {
        matches!(b.publish(&["b"], "3").await, Ok(Confirmed::Routed))
    })
    .await;
    assert_eq!(b.receive_text().await, "3");
    close([b]).await;
}

pub(super) async fn an_alarm_stops_publishing_and_not_consuming(server: &RabbitMq) {
    let settings = RabbitSettings::default();
    let a = join_rabbit(&server.url(), "a", &settings).await.unwrap();
    let mut b = join_rabbit(&server.url(), "b", &settings).await.unwrap();
    server
        .ctl(&["set_vm_memory_high_watermark", "0.0000001"])
        .await;
    eventually("publishing stops", LONG, || async {
        matches!(a.publish(&["b"], "x").await, Err(BusError::Unavailable(_)))
    })
    .await;
    assert!(!a.bus.is_up());
    assert!(b.bus.is_up(), "who has published nothing is not blocked");
    server.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    eventually("publishing goes on", LONG, || async { a.bus.is_up() }).await;
    assert_eq!(a.publish(&["b"], "y").await.unwrap(), Confirmed::Routed);
    // No interruption: the consuming connection was never touched.
    while b.receive_text().await != "y" {}
    close([a, b]).await;
}

pub(super) async fn a_broker_stopped_in_order_is_used_again(server: &RabbitMq) {
    let mut nodes = two_nodes(server).await;
    server.stop_app().await;
    are_cut_off(&nodes).await;
    server.start_app().await;
    are_back(&mut nodes).await;
    close(nodes).await;
}

pub(super) async fn a_killed_broker_is_used_again(server: &mut RabbitMq) {
    let mut nodes = two_nodes(server).await;
    server.kill();
    are_cut_off(&nodes).await;
    server.start_again().await;
    are_back(&mut nodes).await;
    close(nodes).await;
}

async fn two_nodes(server: &RabbitMq) -> [Node; 2] {
    let settings = RabbitSettings::default();
    let a = join_rabbit(&server.url(), "a", &settings).await.unwrap();
    let b = join_rabbit(&server.url(), "b", &settings).await.unwrap();
    [a, b]
}

async fn are_cut_off(nodes: &[Node; 2]) {
    for node in nodes {
        eventually("it is seen", LONG, || async { !node.bus.is_up() }).await;
        let refused = node.publish(&["b"], "lost").await;
        let is_unavailable = matches!(refused, Err(BusError::Unavailable(_)));
        assert!(is_unavailable, "{refused:?}");
    }
}

async fn are_back([a, b]: &mut [Node; 2]) {
    is_told_of_an_interruption(a).await;
    is_told_of_an_interruption(b).await;
    eventually("it is used", LONG, || async {
        matches!(a.publish(&["b"], "back").await, Ok(Confirmed::Routed))
    })
    .await;
    assert_eq!(b.receive_text().await, "back");
}

/// The client library has a thread for each connection; those that were given up have ended too.
pub(super) async fn no_thread_is_left_of_a_connection() {
    eventually("the threads have ended", LONG, || async {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        !names.flatten().any(|name| name.starts_with("lapin"))
    })
    .await;
}

async fn close<const N: usize>(nodes: [Node; N]) {
    for node in nodes {
        node.bus.close().await;
    }
}
