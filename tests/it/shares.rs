//! One address takes of what a node shares until it is refused: others still get theirs, and all of it comes
//! back. On one node with its queues in memory, and on a node of a cluster with Redis and RabbitMQ.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::api::Member;
use crate::support::client::{Client, Frame, Opening};
use crate::support::cluster::{Cluster, HIGH_LIMITS};
use crate::support::node::Node;

/// Small enough that a few clients are at the end of their share.
const SMALL: [(&str, &str); 6] = [
    ("QUEUES_PER_NODE", "40"),
    ("QUEUE_CONSUMERS", "40"),
    ("PATTERNS_MAX", "40"),
    ("QUEUE_VISITOR_EXPIRES", "3s"),
    ("VISITOR_STORE_BYTES", "64KiB"),
    ("REGISTER_PER_NET", "100"),
];

/// How long anything may take to come back.
const LONG: Duration = Duration::from_secs(60);

/// So many of 40 may visitors of one address have.
const HALF_OF_VISITORS: usize = 15;

/// A new visitor at an address.
async fn visitor(node: &Node, address: &str) -> Client {
    let origin = format!("http://{}", node.address());
    let headers = [("Origin", origin.as_str()), ("X-Forwarded-For", address)];
    let opening = Opening {
        headers: &headers,
        ..Opening::default()
    };
    let mut client = Client::connect_with(node.address(), &opening, "new").await;
    client.subscribe("/user/queue/errors").await;
    client
}

/// The refusal of a share.
fn refusal(frame: &Frame) -> Value {
    let problem = frame.json();
    assert_eq!(problem["code"], "limit_exceeded", "{problem}");
    assert!(problem["retry_after_ms"].as_u64() > Some(0), "{problem}");
    problem
}

/// Sends; whether it was taken.
async fn sends(client: &mut Client, to: &str, body: &str) -> Result<(), Value> {
    client.publish(to, body).await;
    let frame = client.frame().await;
    match frame.command.as_str() {
        "RECEIPT" => Ok(()),
        "MESSAGE" => Err(refusal(&frame)),
        _ => panic!("{frame:?}"),
    }
}

/// Subscribes; whether it was taken. A refusal ends the session.
async fn subscribes(client: &mut Client, to: &str) -> Result<(), Value> {
    client
        .send(&format!(
            "SUBSCRIBE\nid:{to}\ndestination:{to}\nreceipt:{to}\n\n\0"
        ))
        .await;
    let frame = client.frame().await;
    match frame.command.as_str() {
        "RECEIPT" => Ok(()),
        "ERROR" => Err(refusal(&frame)),
        _ => panic!("{frame:?}"),
    }
}

/// Subscribes with ever new visitors of one address until each of them is refused. Returns the sessions
/// that have something, and how much in all.
async fn take_all(node: &Node, address: &str, prefix: &str) -> (Vec<Client>, usize) {
    let (mut clients, mut taken) = (Vec::new(), 0);
    for number in 0..20 {
        let mut client = visitor(node, address).await;
        // Two each: the refusal of a SUBSCRIBE ends the session, and with it what it has.
        let mut has = 0;
        while has < 2 {
            let to = format!("{prefix}{address}.{number}.{has}");
            if subscribes(&mut client, &to).await.is_err() {
                has = 0;
                break;
            }
            has += 1;
        }
        if has > 0 {
            taken += has;
            clients.push(client);
        }
    }
    (clients, taken)
}

async fn queues(node: &Node) {
    let mut made = 0;
    let mut words = String::new();
    let mut attackers = Vec::new();
    for number in 0..12 {
        let mut client = visitor(node, "198.51.100.1").await;
        for queue in 0..4 {
            match sends(&mut client, &format!("/queue/{number}.{queue}"), "x").await {
                Ok(()) => made += 1,
                Err(problem) => words = problem["detail"].to_string(),
            }
        }
        attackers.push(client);
    }
    assert_eq!(made, HALF_OF_VISITORS);
    assert!(words.contains("Your network has as many queues"), "{words}");
    let mut elsewhere = visitor(node, "203.0.113.1").await;
    for queue in ["/queue/elsewhere.1", "/queue/elsewhere.2"] {
        sends(&mut elsewhere, queue, "x").await.unwrap();
    }
    let member = Member::register(node.address(), "member@example.com").await;
    let mut member = Client::member(node.address(), &member.access).await;
    member.subscribe("/user/queue/errors").await;
    for queue in ["/queue/member.1", "/queue/member.2", "/queue/member.3"] {
        sends(&mut member, queue, "x").await.unwrap();
    }
    // The attackers stay, and do nothing: their queues go all the same.
    let give_up_at = Instant::now() + LONG;
    let mut again = visitor(node, "198.51.100.1").await;
    while sends(&mut again, "/queue/again", "x").await.is_err() {
        assert!(Instant::now() < give_up_at, "queues do not come back");
        sleep(Duration::from_millis(500)).await;
    }
    drop(attackers);
}

async fn subscriptions(node: &Node, prefix: &str) {
    let (attackers, taken) = take_all(node, "198.51.100.1", prefix).await;
    assert!((12..=HALF_OF_VISITORS).contains(&taken), "{taken}");
    let mut elsewhere = visitor(node, "203.0.113.1").await;
    let own = format!("{prefix}elsewhere");
    subscribes(&mut elsewhere, &own).await.unwrap();
    drop(attackers);
    // Patterns linger for half a minute.
    let give_up_at = Instant::now() + LONG;
    loop {
        let (_again, taken) = take_all(node, "198.51.100.1", &format!("{prefix}again.")).await;
        if taken >= 12 {
            break;
        }
        assert!(Instant::now() < give_up_at, "{prefix} does not come back");
        sleep(Duration::from_secs(2)).await;
    }
}

async fn stored(node: &Node) {
    let write = async |address: &str| {
        let mut client = visitor(node, address).await;
        let (user, text) = (client.user().to_owned(), "x".repeat(2_000));
        let body = serde_json::json!({"to": user, "message": text}).to_string();
        sends(&mut client, "/app/chat.send", &body).await
    };
    let mut written = 0;
    let mut refused = None;
    for _ in 0..30 {
        match write("198.51.100.1").await {
            Ok(()) => written += 1,
            Err(problem) => refused = Some(problem),
        }
    }
    let words = refused.unwrap()["detail"].to_string();
    assert!(
        words.contains("visitors on your network have stored"),
        "{words}"
    );
    // Half of 64 KiB, each with the row of its visitor and a conversation.
    assert!((7..=9).contains(&written), "{written}");
    write("203.0.113.1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_leaves_everything_to_others_on_one_node() {
    let mut environment = vec![("TRUSTED_PROXIES", "127.0.0.1")];
    environment.extend(HIGH_LIMITS);
    environment.extend(SMALL);
    let node = Node::start("a", &environment).await;
    queues(&node).await;
    subscriptions(&node, "/queue/").await;
    subscriptions(&node, "/topic/*.").await;
    stored(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_leaves_everything_to_others_in_a_cluster() {
    let cluster = Cluster::start().await;
    let node = cluster.node_with("a", &SMALL).await;
    queues(&node).await;
    subscriptions(&node, "/queue/").await;
    subscriptions(&node, "/topic/*.").await;
    stored(&node).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patterns_of_one_address_on_two_nodes_are_half_of_the_clusters() {
    let cluster = Cluster::start().await;
    let a = cluster.node_with("a", &SMALL).await;
    let b = cluster.node_with("b", &SMALL).await;
    // Both have read of each other.
    sleep(Duration::from_secs(3)).await;
    let (on_a, taken_on_a) = take_all(&a, "198.51.100.1", "/topic/a.*.").await;
    let (on_b, taken_on_b) = take_all(&b, "198.51.100.1", "/topic/b.*.").await;
    let taken = taken_on_a + taken_on_b;
    // On each of them the last pattern may begin within the share and end beyond it.
    let most = HALF_OF_VISITORS + 2;
    assert!((8..=most).contains(&taken), "{taken_on_a} and {taken_on_b}");
    for node in [&a, &b] {
        let mut elsewhere = visitor(node, "203.0.113.1").await;
        let own = format!("/topic/{}.*", node.address().port());
        subscribes(&mut elsewhere, &own).await.unwrap();
    }
    drop((on_a, on_b));
    a.stop().await;
    b.stop().await;
}
