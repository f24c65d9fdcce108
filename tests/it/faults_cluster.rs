//! What goes wrong around the nodes of a cluster, with real servers: RabbitMQ and Redis away,
//! nodes killed, names taken twice.
//!
//! RabbitMQ boots once for each test here, so each shows several things in a row.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::support::client::{Client, Opening, Received, get};
use crate::support::cluster::Cluster;
use crate::support::node::{Ended, Node};
use crate::support::postgres::Postgres;
use crate::support::stompjs::{
    Device, ERRORS, MESSAGES, PATIENCE, StompJs, assert_continues, assert_whole,
};

/// A moment in which something that must not come would have come.
const MOMENT: Duration = Duration::from_millis(700);

/// Two people with a device on each of two nodes.
struct Pair {
    /// Alice on a, her tablet on b.
    alices: [Device; 2],
    /// Bob on a, his laptop on b.
    bobs: [Device; 2],
    sent: usize,
}

impl Pair {
    async fn on(js: &Arc<StompJs>, a: &Node, b: &Node) -> Self {
        let alice = js.visitor("alice", &a.websocket()).await;
        let bob = js.visitor("bob", &a.websocket()).await;
        let tablet = js.device_of("tablet", &alice, &b.websocket()).await;
        let laptop = js.device_of("laptop", &bob, &b.websocket()).await;
        for device in [&alice, &tablet, &bob, &laptop] {
            device.listen().await;
        }
        Self {
            alices: [alice, tablet],
            bobs: [bob, laptop],
            sent: 0,
        }
    }

    /// Alice on a writes to Bob, one after the other, each with its RECEIPT.
    async fn say(&mut self, count: usize, words: &str) {
        for number in 0..count {
            let words = format!("{words} {number}");
            let receipt = self.alices[0].say(self.bobs[0].user(), &words).await;
            self.sent += 1;
            assert_eq!(receipt["seq"], self.sent.to_string());
        }
    }

    /// What was sent is on the devices of node a: they need neither Redis nor RabbitMQ.
    async fn assert_here(&self) {
        for device in [&self.alices[0], &self.bobs[0]] {
            let within = Duration::from_secs(3);
            let here = device.received_within(MESSAGES, self.sent, within).await;
            assert_whole(device.name(), &here, self.sent);
        }
    }

    /// What was sent is on every device, once and in order.
    async fn assert_everywhere(&self) {
        for device in self.alices.iter().chain(&self.bobs) {
            device.messages(self.sent).await;
        }
        sleep(MOMENT).await;
        for device in self.alices.iter().chain(&self.bobs) {
            let all = device.look(MESSAGES, usize::MAX, Duration::ZERO).await;
            assert_whole(device.name(), &all, self.sent);
        }
    }
}

async fn assert_health(node: &Node, words: &str) {
    let began = Instant::now();
    loop {
        let (status, body) = get(node.address(), "/api/v1/health/ready").await;
        assert_eq!(status, 200, "{body}");
        if body.contains(words) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "not '{words}', but {body}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_while_rabbitmq_or_redis_or_both_are_away() {
    let mut cluster = Cluster::start().await;
    let (a, b) = tokio::join!(cluster.node("a"), cluster.node("b"));
    let js = StompJs::start();
    let mut pair = Pair::on(&js, &a, &b).await;
    let carol = js.visitor("carol", &a.websocket()).await;
    carol.subscribe(ERRORS).await;
    pair.say(20, "all is well").await;
    pair.assert_everywhere().await;

    // RabbitMQ is away for ten seconds: receipts go on, and so does what stays on the node.
    cluster.rabbitmq.kill();
    let gone_since = Instant::now();
    while gone_since.elapsed() < Duration::from_secs(10) {
        pair.say(10, "without RabbitMQ").await;
        sleep(Duration::from_millis(250)).await;
    }
    pair.assert_here().await;
    assert_health(&a, "degraded").await;
    cluster.rabbitmq.start_again().await;
    pair.say(10, "RabbitMQ is back").await;
    pair.assert_everywhere().await;
    assert_health(&a, "\"ok\"").await;

    // Redis hangs for longer than a lease lives: nobody knows where anybody is.
    cluster.redis.pause();
    let talking = async {
        for _ in 0..12 {
            pair.say(5, "without Redis").await;
            sleep(Duration::from_secs(1)).await;
        }
        pair.assert_here().await;
    };
    tokio::join!(talking, a_newcomer_is_answered(&js, &a));
    assert_health(&a, "degraded").await;
    cluster.redis.resume();
    pair.say(10, "Redis is back").await;
    pair.assert_everywhere().await;

    // Redis forgets everything, as after a fail-over, and starts empty: everybody registers again.
    cluster.redis.flush();
    pair.say(5, "Redis is empty").await;
    cluster.redis.restart();
    pair.say(5, "Redis is new").await;
    pair.assert_everywhere().await;

    // Both: what this node commits now, the others might never hear of. It says so.
    cluster.rabbitmq.kill();
    cluster.redis.pause();
    let problem = until_refused(&carol).await;
    assert_eq!(problem["code"], "broker_unavailable", "{problem}");
    assert!(problem["retry_after_ms"].as_u64().is_some(), "{problem}");
    cluster.redis.resume();
    cluster.rabbitmq.start_again().await;
    until_taken(&carol).await;
    pair.say(10, "company is back").await;
    pair.assert_everywhere().await;

    // Even so a node ends in order and in time.
    cluster.rabbitmq.kill();
    cluster.redis.pause();
    let (a, b) = tokio::join!(a.stop(), b.stop());
    for ended in [a, b] {
        assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
        assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
    }
}

/// Without Redis a newcomer may be let in or told to come later, but he is not left waiting.
async fn a_newcomer_is_answered(js: &Arc<StompJs>, a: &Node) {
    let options = json!({"headers": {"visitor-token": "new"}, "from_page": true});
    let url = a.websocket();
    let connecting = js.connect("newcomer", &url, options);
    let answer = timeout(Duration::from_secs(11), connecting).await;
    if let Err(words) = answer.expect("a newcomer is left waiting") {
        assert!(words.contains("try_later"), "{words}");
    }
}

/// Writes to himself until it is refused; the problem.
async fn until_refused(carol: &Device) -> Value {
    let began = Instant::now();
    loop {
        if let Err(problem) = say_to_oneself(carol).await {
            return problem;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "an isolated node takes everything"
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// Writes to himself until it is taken.
async fn until_taken(carol: &Device) {
    let began = Instant::now();
    while let Err(problem) = say_to_oneself(carol).await {
        assert!(began.elapsed() < PATIENCE, "still refused: {problem}");
        sleep(Duration::from_millis(200)).await;
    }
}

async fn say_to_oneself(carol: &Device) -> Result<Value, Value> {
    let body = json!({"to": carol.user(), "message": "hello?"}).to_string();
    carol.try_send("/app/chat.send", &body).await
}

#[tokio::test]
async fn nodes_come_and_go_and_the_others_go_on() {
    let cluster = Cluster::start().await;
    let names = ["a", "b", "c"];
    let nodes = join_all(names.map(|name| cluster.node(name))).await;
    let [a, b, c] = nodes.try_into().expect("three nodes");
    let js = StompJs::start();
    let b = a_node_killed_in_the_middle(&cluster, &js, &a, b).await;
    let c = a_second_process_of_the_same_name_takes_over(&cluster, &js, &a, c).await;
    a_node_with_another_store_does_not_start(&cluster).await;
    a_drained_node_loses_nobody(&js, &a, b, &c).await;
}

/// What a killed node has receipted reaches its reader on another node; a user who was on it and
/// connects elsewhere is reached there; and the node comes back under its name.
async fn a_node_killed_in_the_middle(
    cluster: &Cluster,
    js: &Arc<StompJs>,
    a: &Node,
    b: Node,
) -> Node {
    let reader = js.visitor("reader", &a.websocket()).await;
    let other = js.visitor("other", &a.websocket()).await;
    let moved = js.visitor("moved", &b.websocket()).await;
    for device in [&reader, &other, &moved] {
        device.listen().await;
    }
    let mut writer = Client::connect(b.address()).await;
    let to = reader.user();
    write_all(&mut writer, to).await;
    let mut receipted = 0;
    let mut b = Some(b);
    while let Received::Frame(frame) = writer.next().await {
        receipted = frame.header("seq").parse().unwrap();
        if receipted >= WRITTEN / 5
            && let Some(b) = b.take()
        {
            b.kill().await;
        }
    }
    // At once, while everybody believes that node b lives.
    other.say(moved.user(), "into the void").await;
    let again = js.device_of("moved again", &moved, &a.websocket()).await;
    again.listen().await;
    other.say(moved.user(), "found again").await;
    assert_eq!(again.messages(1).await[0].words(), "found again");
    let all = reader.messages(receipted).await;
    assert_continues("reader", &all, 1);
    // What had no RECEIPT is sent again, and what had one too: each message is there once.
    let mut again = Client::connect_with(a.address(), &Opening::default(), writer.secret()).await;
    write_all(&mut again, to).await;
    for number in 0..WRITTEN {
        assert_eq!(again.frame().await.receipt(), format!("s{}", number + 1));
    }
    reader.messages(WRITTEN).await;
    // The name is free at once.
    let b = cluster.node("b").await;
    let dave = js.visitor("dave", &b.websocket()).await;
    dave.listen().await;
    other.say(dave.user(), "welcome").await;
    assert_eq!(dave.messages(1).await[0].words(), "welcome");
    sleep(MOMENT).await;
    let all = reader.look(MESSAGES, usize::MAX, Duration::ZERO).await;
    assert_whole("reader", &all, WRITTEN);
    b
}

/// How many messages are on their way when the node is killed.
const WRITTEN: usize = 500;

/// Sends all of them at once.
async fn write_all(writer: &mut Client, to: &str) {
    for number in 0..WRITTEN {
        let id = format!("k{number}");
        let body = json!({"to": to, "message": id, "client_id": id});
        writer.publish("/app/chat.send", &body.to_string()).await;
    }
}

/// A name is of one process: the newest. The one before ends and says why.
async fn a_second_process_of_the_same_name_takes_over(
    cluster: &Cluster,
    js: &Arc<StompJs>,
    a: &Node,
    first: Node,
) -> Node {
    let erin = js.visitor("erin", &first.websocket()).await;
    let frank = js.visitor("frank", &a.websocket()).await;
    let steady = js
        .steady_device_of("erin, steady", &erin, &first.websocket())
        .await;
    for device in [&erin, &frank, &steady] {
        device.listen().await;
    }
    let second = cluster.node("c").await;
    steady.move_to(&second.websocket()).await;
    let ended = first.wait().await;
    assert!(!ended.status.success(), "{}", ended.output);
    assert_last_line(&ended, &["SERVER_ID", "another process"]);
    steady.connected_times(2).await;
    assert_eq!(steady.look(MESSAGES, 1, Duration::ZERO).await.len(), 0);
    frank.say(erin.user(), "on the second").await;
    assert_eq!(steady.messages(1).await[0].words(), "on the second");
    second
}

async fn a_node_with_another_store_does_not_start(cluster: &Cluster) {
    let other = Postgres::shared().await.fresh_database().await;
    let started = cluster.try_node("d", &[("DATABASE_URL", &other)]).await;
    let ended = started.expect_err("a node with another store joined");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert_last_line(&ended, &["DATABASE_URL", "REDIS_URL", "share one store"]);
}

/// SIGTERM on one of several: its clients come back elsewhere by themselves and miss nothing that
/// is written after that.
async fn a_drained_node_loses_nobody(js: &Arc<StompJs>, a: &Node, b: Node, c: &Node) {
    let grace = js.visitor("grace", &a.websocket()).await;
    let heidi = js.visitor("heidi", &b.websocket()).await;
    let steady = js
        .steady_device_of("heidi, steady", &heidi, &b.websocket())
        .await;
    for device in [&grace, &steady] {
        device.listen().await;
    }
    grace.burst(heidi.user(), "before", 50, 8).await;
    steady.messages(50).await;
    steady.move_to(&c.websocket()).await;
    let ended = b.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
    assert_eq!(heidi.ended().await.1, 1012);
    steady.connected_times(2).await;
    grace.burst(heidi.user(), "after", 50, 8).await;
    steady.messages(100).await;
    sleep(MOMENT).await;
    let all = steady.look(MESSAGES, usize::MAX, Duration::ZERO).await;
    assert_whole("heidi", &all, 100);
}

fn assert_last_line(ended: &Ended, words: &[&str]) {
    let last = ended.output.trim_end().lines().last().unwrap_or_default();
    for word in words {
        assert!(
            last.contains(word),
            "'{word}' is not in the last line of:\n{}",
            ended.output
        );
    }
}

#[tokio::test]
async fn half_a_cluster_is_refused_with_one_line_that_says_why() {
    let folder = tempfile::tempdir().unwrap();
    for (given, missing, url) in [
        ("REDIS_URL", "RABBITMQ_URL", "redis://127.0.0.1:1"),
        ("RABBITMQ_URL", "REDIS_URL", "amqp://127.0.0.1:1"),
    ] {
        let ended = Node::try_start_in("half", folder.path(), &[(given, url)]).await;
        let ended = ended.expect_err("a node with half of what it needs started");
        assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
        assert_eq!(
            ended.output.trim_end().lines().count(),
            1,
            "{}",
            ended.output
        );
        assert_last_line(&ended, &[given, missing]);
    }
}
