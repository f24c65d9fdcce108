//! Two nodes on a real Redis, RabbitMQ and PostgreSQL, and the real STOMP.js.
//!
//! One start of the servers for everything that is shown here. What travels between the nodes is
//! counted at RabbitMQ, by a queue of the test's own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::client::{Client, Opening, get};
use crate::support::cluster::Cluster;
use crate::support::edge::ask;
use crate::support::nginx::Nginx;
use crate::support::node::Node;
use crate::support::rabbitmq::Spy;
use crate::support::stompjs::{Device, MESSAGES, PATIENCE, StompJs, assert_whole};

/// A moment in which something that must not come would have come.
const MOMENT: Duration = Duration::from_millis(700);

/// The rig of all checks.
struct Rig {
    cluster: Cluster,
    a: Node,
    b: Node,
    js: Arc<StompJs>,
    spy: Spy,
}

#[tokio::test]
async fn two_nodes_deliver_to_every_device_once_in_order_and_tell_each_other_only_what_is_needed() {
    let cluster = Cluster::start().await;
    let three = [("SESSIONS_VISITOR", "3")];
    let (a, b) = tokio::join!(
        cluster.node_with("a", &three),
        cluster.node_with("b", &three)
    );
    let rig = Rig {
        spy: cluster.rabbitmq.spy().await,
        js: StompJs::start(),
        cluster,
        a,
        b,
    };
    rig.both_nodes_are_ready().await;
    rig.a_message_crosses_and_so_does_the_answer().await;
    rig.what_stays_on_a_node_is_not_published().await;
    rig.a_message_is_published_once_for_all_devices_of_a_node()
        .await;
    rig.a_thousand_messages_reach_every_device_on_both_nodes()
        .await;
    rig.a_topic_crosses_only_to_where_it_is_wanted().await;
    rig.a_pattern_crosses_only_to_where_it_is_wanted().await;
    rig.the_oldest_session_is_closed_wherever_it_is().await;
    rig.a_visitor_who_is_forgotten_is_signed_out_on_every_node()
        .await;
    rig.two_clients_talk_through_nginx().await;
    rig.the_address_that_nginx_tells_counts().await;
    for node in [rig.a, rig.b] {
        let ended = node.stop().await;
        assert!(ended.status.success(), "{}", ended.output);
    }
}

impl Rig {
    async fn both_nodes_are_ready(&self) {
        for node in [&self.a, &self.b] {
            let (status, body) = get(node.address(), "/api/v1/health/ready").await;
            assert_eq!(status, 200, "{body}");
        }
    }

    async fn visitor(&self, name: &str, node: &Node) -> Device {
        let device = self.js.visitor(name, &node.websocket()).await;
        device.listen().await;
        device
    }

    async fn device_of(&self, name: &str, other: &Device, node: &Node) -> Device {
        let device = self.js.device_of(name, other, &node.websocket()).await;
        device.listen().await;
        device
    }

    async fn a_message_crosses_and_so_does_the_answer(&self) {
        let alice = self.visitor("alice 1", &self.a).await;
        let bob = self.visitor("bob 1", &self.b).await;
        assert_eq!((alice.header("node"), bob.header("node")), ("a", "b"));
        alice.say(bob.user(), "hello").await;
        assert_eq!(bob.messages(1).await[0].words(), "hello");
        bob.say(alice.user(), "hello yourself").await;
        assert_eq!(alice.messages(2).await[1].words(), "hello yourself");
        for device in [&alice, &bob] {
            assert_whole(device.name(), &device.look(MESSAGES, 3, MOMENT).await, 2);
        }
    }

    async fn what_stays_on_a_node_is_not_published(&self) {
        let alice = self.visitor("alice 2", &self.a).await;
        let bob = self.visitor("bob 2", &self.a).await;
        let before = self.published();
        alice.burst(bob.user(), "local", 100, 16).await;
        alice.send("/topic/local", "nobody wants it").await;
        bob.messages(100).await;
        sleep(MOMENT).await;
        assert_eq!(
            self.published(),
            before,
            "something local went through RabbitMQ"
        );
    }

    async fn a_message_is_published_once_for_all_devices_of_a_node(&self) {
        let alice = self.visitor("alice 3", &self.a).await;
        let alices_tablet = self.device_of("alice's tablet 3", &alice, &self.b).await;
        let phone = self.visitor("phone 3", &self.b).await;
        let laptop = self.device_of("laptop 3", &phone, &self.b).await;
        let desktop = self.device_of("desktop 3", &phone, &self.a).await;
        let before = self.published();
        for number in 0..20 {
            alice.say(phone.user(), &format!("{number}")).await;
            // One by one, so that none is joined with the next: each is one AMQP message.
            phone.messages(number + 1).await;
        }
        for device in [&alice, &alices_tablet, &phone, &laptop, &desktop] {
            device.messages(20).await;
            assert_whole(device.name(), &device.look(MESSAGES, 21, MOMENT).await, 20);
        }
        for device in [&alice, &alices_tablet] {
            let echoes = device.messages(20).await;
            assert!(echoes.iter().all(|message| message.body["echo"] == true));
        }
        let after = self
            .published_in_the_end("chat.b", count(&before, "chat.b") + 20)
            .await;
        assert_eq!(count(&after, "chat.b"), count(&before, "chat.b") + 20);
        assert_eq!(
            count(&after, "chat.a"),
            count(&before, "chat.a"),
            "b told a what it knew"
        );
    }

    async fn a_thousand_messages_reach_every_device_on_both_nodes(&self) {
        let alice = self.visitor("alice 4", &self.a).await;
        let tablet = self.device_of("tablet 4", &alice, &self.b).await;
        let phone = self.visitor("phone 4", &self.a).await;
        let laptop = self.device_of("laptop 4", &phone, &self.b).await;
        let before = self.published();
        let seqs = alice.burst(phone.user(), "m", 1_000, 64).await;
        assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
        for device in [&alice, &tablet, &phone, &laptop] {
            device.messages(1_000).await;
            let all = device.look(MESSAGES, 1_001, MOMENT).await;
            assert_whole(device.name(), &all, 1_000);
            for (message, number) in all.iter().zip(0..) {
                assert_eq!(message.words(), format!("m {number}"), "{}", device.name());
            }
        }
        let told = count(&self.published(), "chat.b") - count(&before, "chat.b");
        assert!(
            (1..=1_000).contains(&told),
            "{told} AMQP messages for 1,000 envelopes"
        );
    }

    async fn a_topic_crosses_only_to_where_it_is_wanted(&self) {
        let topic = "/topic/weather";
        let alice = self.visitor("alice 5", &self.a).await;
        let bob = self.visitor("bob 5", &self.b).await;
        let carol = self.visitor("carol 5", &self.b).await;
        for device in [&bob, &carol] {
            device.subscribe(topic).await;
        }
        let before = self.published();
        for number in 0..50 {
            alice.send(topic, &format!("<{number}>")).await;
        }
        let sent: Vec<_> = (0..50).map(|number| format!("<{number}>")).collect();
        for device in [&bob, &carol] {
            device.received(topic, 50).await;
            let got = device.look(topic, 51, MOMENT).await;
            let texts: Vec<_> = got.into_iter().map(|message| message.text).collect();
            assert_eq!(texts, sent, "{}", device.name());
        }
        let told = self
            .published_in_the_end("chat.b", count(&before, "chat.b") + 50)
            .await;
        assert_eq!(count(&told, "chat.b"), count(&before, "chat.b") + 50);
        // Without waiting for RECEIPTs the order is kept all the same.
        for number in 0..200 {
            alice
                .throw_away(topic, &format!("{number}"), json!({}))
                .await;
        }
        for device in [&bob, &carol] {
            let got = device.received(topic, 250).await;
            let order: Vec<u32> = got[50..].iter().map(|m| m.text.parse().unwrap()).collect();
            assert_eq!(order, (0..200).collect::<Vec<_>>(), "{}", device.name());
        }
        sleep(MOMENT).await;
        // What b's own people say about it stays there.
        let before = self.published();
        carol.send(topic, "from b").await;
        bob.received(topic, 251).await;
        sleep(MOMENT).await;
        assert_eq!(self.published(), before);
    }

    async fn a_pattern_crosses_only_to_where_it_is_wanted(&self) {
        let pattern = "/topic/price.*";
        let alice = self.visitor("alice 7", &self.a).await;
        let bob = self.visitor("bob 7", &self.b).await;
        bob.subscribe(pattern).await;
        let before = self.published();
        for number in 0..20 {
            alice.send("/topic/price.x", &format!("<{number}>")).await;
            alice.send("/topic/prices", "nobody wants it").await;
        }
        bob.received(pattern, 20).await;
        let got = bob.look(pattern, 21, MOMENT).await;
        let texts: Vec<_> = got.iter().map(|message| message.text.clone()).collect();
        let sent: Vec<_> = (0..20).map(|number| format!("<{number}>")).collect();
        assert_eq!(texts, sent);
        assert!(
            got.iter()
                .all(|m| m.headers["destination"] == "/topic/price.x")
        );
        let told = self
            .published_in_the_end("chat.b", count(&before, "chat.b") + 20)
            .await;
        assert_eq!(count(&told, "chat.b"), count(&before, "chat.b") + 20);
    }

    async fn a_visitor_who_is_forgotten_is_signed_out_on_every_node(&self) {
        let mut here = Client::connect(self.a.address()).await;
        let opening = Opening::default();
        let mut there = Client::connect_with(self.b.address(), &opening, here.secret()).await;
        assert_eq!(there.user(), here.user());
        let secret = format!("Authorization: Visitor {}", here.secret());
        let erased = ask(self.a.address(), "DELETE /api/v1/me", &[&secret]).await;
        assert_eq!(erased.status, 204);
        for client in [&mut here, &mut there] {
            let ending = client.end().await;
            let found = (ending.code, ending.reason.as_str());
            assert_eq!(found, (4410, "signed_out"));
        }
    }

    async fn the_oldest_session_is_closed_wherever_it_is(&self) {
        let first = self.visitor("first 6", &self.a).await;
        let mut others = Vec::new();
        for (name, node) in [
            ("second 6", &self.b),
            ("third 6", &self.a),
            ("fourth 6", &self.b),
        ] {
            others.push(self.device_of(name, &first, node).await);
        }
        let (error, code) = first.ended().await;
        assert_eq!(
            (code, &error["headers"]["message"]),
            (4409, &json!("limit_exceeded"))
        );
        others[0].say(first.user(), "still here").await;
        for other in &others {
            assert_eq!(other.messages(1).await[0].words(), "still here");
        }
    }

    async fn two_clients_talk_through_nginx(&self) {
        let nginx = Nginx::start(&[self.a.address(), self.b.address()]).await;
        let url = format!("ws://{}/ws-chat", nginx.address());
        let mut people = Vec::new();
        for number in 0..4 {
            let device = self.js.visitor(&format!("guest {number}"), &url).await;
            device.listen().await;
            people.push(device);
        }
        let nodes: std::collections::BTreeSet<_> =
            people.iter().map(|p| p.header("node")).collect();
        assert_eq!(nodes.len(), 2, "nginx spreads the connections: {nodes:?}");
        for pair in [[0, 1], [1, 2], [2, 3], [3, 0]] {
            let [from, to] = pair.map(|index| &people[index]);
            let before = to.look(MESSAGES, usize::MAX, Duration::ZERO).await.len();
            from.say(to.user(), "through nginx").await;
            to.messages(before + 1).await;
        }
        let (status, body) = get(nginx.address(), "/api/v1/health/ready").await;
        assert_eq!(status, 200, "{body}");
    }

    /// A fingerprint holds the address of the client, not that of the proxy.
    async fn the_address_that_nginx_tells_counts(&self) {
        let nginx = Nginx::start(&[self.a.address(), self.b.address()]).await;
        let [here, there] = [3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
        let first = connect_from(nginx.address(), here).await;
        assert_eq!(first.1, "new");
        self.until_gone(&first.0).await;
        let other = connect_from(nginx.address(), there).await;
        assert_eq!(other.1, "new", "another address is somebody else");
        let again = connect_from(nginx.address(), here).await;
        assert_eq!(
            (again.0, again.1.as_str()),
            (first.0, "hint"),
            "the same address is recognised"
        );
    }

    /// Waits until no node has a session of this user.
    async fn until_gone(&self, user: &str) {
        let began = Instant::now();
        while self
            .cluster
            .redis
            .ask::<u64>(&["EXISTS", &format!("loc:{user}")])
            > 0
        {
            assert!(began.elapsed() < PATIENCE, "{user} is still located");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was published so far, by routing key, but for the heads of the flows.
    fn published(&self) -> BTreeMap<String, u64> {
        let mut counts = self.spy.count_by_key();
        counts.remove("chat.all");
        counts
    }

    /// The same once so many went under this key and nothing more comes.
    async fn published_in_the_end(&self, key: &str, at_least: u64) -> BTreeMap<String, u64> {
        let began = Instant::now();
        while count(&self.published(), key) < at_least {
            let found = self.published();
            assert!(
                began.elapsed() < PATIENCE,
                "{at_least} under {key} were awaited: {found:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
        sleep(MOMENT).await;
        self.published()
    }
}

fn count(published: &BTreeMap<String, u64>, key: &str) -> u64 {
    published.get(key).copied().unwrap_or(0)
}

/// Connects without Origin and secret from this address, and leaves again: user and proof.
async fn connect_from(address: SocketAddr, from: Ipv4Addr) -> (String, String) {
    let opening = Opening {
        from: Some(from),
        ..Opening::default()
    };
    let mut client = Client::try_open(address, &opening).await.expect("it opens");
    let connected = client.introduce("").await;
    let proof = connected.header("proof").to_owned();
    client.disconnect().await;
    (client.user().to_owned(), proof)
}
