//! The npm clients through a real nginx against three nodes, with everything that is more than
//! fan-out: acknowledged work, transactions, receipts, messages to a user.
//!
//! Every way of SockJS that runs in Node, and WebSocket. Not here: that a session of SockJS finds its
//! node and topics reach all (`nginx_sockjs`), Python over TCP through nginx (`stomp_py`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::nginx::Nginx;
use crate::support::stompjs::{Device, StompJs};

/// A moment in which something that must not come would have come.
const MOMENT: Duration = Duration::from_millis(500);

/// The ways in, by the names of their clients; the first is no SockJS.
const WAYS: [&str; 5] = [
    "WebSocket",
    "websocket",
    "xhr-streaming",
    "xhr-polling",
    "eventsource",
];

const SETTINGS: [(&str, &str); 2] = [
    (
        "DESTINATION_RULES",
        "all /topic/** anyone; all /queue/** anyone; send /user/** anyone",
    ),
    ("CLIENT_FRAMES_PER_10S", "10000"),
];

/// nginx in front of the nodes, and where the nodes of those who connected are noted.
struct Rig {
    nginx: Nginx,
    js: Arc<StompJs>,
    on: BTreeSet<String>,
}

#[tokio::test]
async fn npm_clients_work_through_nginx_against_three_nodes() {
    let cluster = Cluster::start().await;
    let names = ["a", "b", "c"];
    let nodes = names.map(|name| cluster.node_with(name, &SETTINGS));
    let nodes = futures_util::future::join_all(nodes).await;
    let addresses: Vec<_> = nodes.iter().map(|node| node.address()).collect();
    let mut rig = Rig {
        nginx: Nginx::start(&addresses).await,
        js: StompJs::start(),
        on: BTreeSet::new(),
    };
    for (n, way) in WAYS.into_iter().enumerate() {
        let device = rig.enters("one", way).await;
        let next = rig.enters("another", WAYS[(n + 1) % WAYS.len()]).await;
        work_goes_to_another_when_its_worker_leaves(&device, &next).await;
        let device = rig.enters("the first", way).await;
        a_transaction_is_one_step(&device, &next).await;
        each_reads_what_is_for_him(&device, &next).await;
        device.disconnect().await;
        next.disconnect().await;
    }
    assert_eq!(rig.on.len(), 3, "all came to {:?}", rig.on);
    let left = cluster.rabbitmq.queues().await;
    assert_eq!(left.values().sum::<u64>(), 0, "{left:?}");
}

impl Rig {
    /// A new visitor who comes this way.
    async fn enters(&mut self, who: &str, way: &str) -> Device {
        let headers = json!({"visitor-token": "new"});
        let address = self.nginx.address();
        let (url, options) = match way {
            "WebSocket" => (
                format!("ws://{address}/ws-chat"),
                json!({"headers": headers}),
            ),
            _ => (
                format!("http://{address}/ws-chat"),
                json!({"headers": headers, "sockjs": way}),
            ),
        };
        let name = format!("{who} by {way}");
        let device = self.js.connect(&name, &url, options).await.unwrap();
        self.on.insert(device.header("node").to_owned());
        device
    }
}

/// Cumulative acknowledgement, one at a time, refusal, and what happens when the connection is lost.
async fn work_goes_to_another_when_its_worker_leaves(lost: &Device, heir: &Device) {
    let queue = format!("/queue/work-{}", lost.name().replace(' ', "-"));
    lost.work(&queue, "client").await;
    for n in 0..10 {
        heir.send(&queue, &n.to_string()).await;
    }
    let first = lost.received(&queue, 10).await;
    for (n, message) in first.iter().enumerate() {
        assert_eq!(message.text, n.to_string(), "{}", lost.name());
        assert_ne!(message.headers["redelivered"], "true", "{message:?}");
    }
    lost.settle("ack", &queue, 4).await;
    lost.vanish().await;
    heir.work(&queue, "client-individual").await;
    let rest = heir.received(&queue, 5).await;
    let texts: BTreeSet<_> = rest.iter().map(|message| message.text.as_str()).collect();
    let expected = ["5", "6", "7", "8", "9"];
    assert_eq!(texts, expected.into(), "{}", heir.name());
    assert!(
        rest.iter()
            .all(|message| message.headers["redelivered"] == "true"),
        "{rest:?}"
    );
    heir.settle("nack", &queue, 2).await;
    for place in [0, 1, 3, 4] {
        heir.settle("ack", &queue, place).await;
    }
    let again = heir.received(&queue, 6).await;
    assert_eq!(again[5].text, rest[2].text);
    assert_eq!(again[5].headers["redelivered"], "true");
    heir.settle("ack", &queue, 5).await;
    heir.unsubscribe(&queue).await;
}

/// What is aborted has no effect; what is committed has all of it, once.
async fn a_transaction_is_one_step(worker: &Device, reader: &Device) {
    let way = worker.name().replace(' ', "-");
    let (queue, news) = (format!("/queue/steps-{way}"), format!("/topic/news-{way}"));
    worker.work(&queue, "client-individual").await;
    reader.subscribe(&news).await;
    for body in ["one", "two"] {
        reader.send(&queue, body).await;
    }
    worker.received(&queue, 2).await;
    for (transaction, end) in [("t1", "abort"), ("t2", "commit")] {
        worker.transaction("begin", transaction).await;
        let within = json!({"transaction": transaction});
        worker
            .throw_away(&news, &format!("told in {transaction}"), within)
            .await;
        worker.settle_in("ack", &queue, 0, Some(transaction)).await;
        worker.transaction(end, transaction).await;
    }
    let told = reader.received(&news, 1).await;
    assert_eq!(told[0].text, "told in t2");
    // The other message is given back, and this one is not.
    worker.unsubscribe(&queue).await;
    reader.work(&queue, "client").await;
    let back = reader.received(&queue, 1).await;
    assert_eq!(back[0].text, "two");
    assert_eq!(back[0].headers["redelivered"], "true");
    reader.settle("ack", &queue, 0).await;
    assert_eq!(reader.look(&queue, 2, MOMENT).await.len(), 1);
    assert_eq!(reader.look(&news, 2, Duration::ZERO).await.len(), 1);
    reader.unsubscribe(&queue).await;
}

/// A message to a user comes where he subscribed, and to nobody else.
async fn each_reads_what_is_for_him(one: &Device, other: &Device) {
    let own = format!("/user/queue/{}", one.name().replace(' ', "-"));
    one.subscribe(&own).await;
    other.subscribe(&own).await;
    for (from, to) in [(other, one), (one, other)] {
        let named = own.replacen("/user", &format!("/user/{}", to.user()), 1);
        from.send(&named, &format!("for {}", to.user())).await;
    }
    for device in [one, other] {
        let messages = device.received(&own, 1).await;
        assert_eq!(messages[0].text, format!("for {}", device.user()));
        assert_eq!(messages[0].headers["destination"], own.as_str());
        assert_eq!(
            device.look(&own, 2, MOMENT).await.len(),
            1,
            "{}",
            device.name()
        );
    }
}
