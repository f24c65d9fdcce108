//! What `rabbitmq/` describes is what a node declares, and its user may do what a node does.

use std::path::Path;

use base64::Engine as _;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stompbox::bus::queue::QueueSettings;
use stompbox::bus::rabbitmq::{RabbitBus, RabbitSettings, topology};
use stompbox::bus::{Bus as _, Confirmed, Incoming};
use stompbox::model::{Incarnation, NodeId, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::conformance_queues::rig::{join_rabbit, text};
use crate::support::ports;
use crate::support::rabbitmq::{Options, RabbitMq};

/// The password of the definitions, for development, as `rabbitmq/README.md` says.
const PASSWORD: &str = "stompbox";

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rabbitmq");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn definitions() -> Value {
    serde_json::from_str(&read("definitions.json")).unwrap()
}

#[test]
fn the_definitions_hold_the_static_topology_and_no_more() {
    let definitions = definitions();
    let exchange = json!({
        "name": topology::EXCHANGE,
        "vhost": "stompbox",
        "type": topology::EXCHANGE_TYPE,
        "durable": topology::EXCHANGE_IS_DURABLE,
        "auto_delete": false,
        "internal": false,
        "arguments": {},
    });
    assert_eq!(definitions["exchanges"], json!([exchange]));
    assert_eq!(definitions["vhosts"], json!([{"name": "stompbox"}]));
    for nothing in ["queues", "bindings", "policies", "topic_permissions"] {
        assert_eq!(definitions[nothing], json!([]), "{nothing}");
    }
    let [user] = definitions["users"].as_array().unwrap().as_slice() else {
        panic!("one user");
    };
    assert_eq!(user["tags"], json!([]), "he administrates nothing");
}

#[test]
fn the_password_of_the_definitions_is_the_documented_one() {
    let definitions = definitions();
    let hash = definitions["users"][0]["password_hash"].as_str().unwrap();
    let octets = base64::prelude::BASE64_STANDARD.decode(hash).unwrap();
    let (salt, digest) = octets.split_at(4);
    let expected = Sha256::digest([salt, PASSWORD.as_bytes()].concat());
    assert_eq!(digest, expected.as_slice());
    assert!(read("README.md").contains("the hash of the password `stompbox`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_agrees_with_the_definitions_and_its_permissions_suffice() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rabbitmq/");
    let conf = read("rabbitmq.conf").replace("/etc/rabbitmq/", folder);
    assert!(conf.contains(folder), "the definitions are loaded at boot");
    let metrics_port = ports::free();
    let options = Options {
        conf: format!(
            "{conf}\nprometheus.tcp.port = {metrics_port}\nprometheus.tcp.ip = 127.0.0.1\n"
        ),
        plugins: read("enabled_plugins"),
    };
    let server = RabbitMq::start_with(&options).await;
    let port = server.port();
    let url = format!("amqp://stompbox:{PASSWORD}@127.0.0.1:{port}/stompbox");
    a_node_publishes_and_consumes(&url).await;
    a_node_has_queues(&url).await;
    the_user_may_do_nothing_else(&url).await;
    let guest = Connection::connect(&server.url(), ConnectionProperties::default()).await;
    assert!(guest.is_err(), "guest is not created");
    assert!(metrics(metrics_port).await.contains("rabbitmq_"));

    let columns = [
        "name",
        "type",
        "durable",
        "auto_delete",
        "internal",
        "arguments",
    ];
    let mut list = vec!["list_exchanges", "-p", "stompbox"];
    list.extend(columns);
    let exchanges = server.ctl(&list).await;
    let ours = exchanges
        .lines()
        .find(|line| line.starts_with(topology::EXCHANGE));
    assert_eq!(ours, Some("chat.exchange\ttopic\ttrue\tfalse\tfalse\t[]"));
}

async fn a_node_publishes_and_consumes(url: &str) {
    let [a, b]: [NodeId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
    let join = async |node: &NodeId| {
        let settings = RabbitSettings::default();
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let life = Incarnation(7);
        RabbitBus::connect(url, node.clone(), life, settings, tracker, shutdown)
            .await
            .unwrap()
    };
    let (a_bus, mut a_in) = join(&a).await;
    let (b_bus, mut b_in) = join(&b).await;
    let check = async |targets: &[NodeId], text: &'static str, expected: Confirmed| {
        let handed = a_bus.publish(targets, text.to_owned(), text.into()).await;
        assert_eq!(handed.unwrap().await.unwrap(), expected, "{text}");
    };
    check(std::slice::from_ref(&b), "one", Confirmed::Routed).await;
    check(&[a.clone(), b.clone()], "two", Confirmed::Routed).await;
    check(&["c".parse().unwrap()], "none", Confirmed::NoRoute).await;
    let handed = a_bus.publish_all("all".to_owned(), "all".into()).await;
    assert_eq!(handed.unwrap().await.unwrap(), Confirmed::Routed);
    for (incoming, texts) in [
        (&mut a_in, &["two", "all"][..]),
        (&mut b_in, &["one", "two", "all"]),
    ] {
        for text in texts {
            assert_eq!(
                incoming.recv().await,
                Some(Incoming::Payload((*text).into()))
            );
        }
    }
    b_bus.stop_consuming().await;
    check(&[b], "gone", Confirmed::NoRoute).await;
    a_bus.close().await;
    b_bus.close().await;
}

async fn a_node_has_queues(url: &str) {
    let node = join_rabbit(url, "a", QueueSettings::default()).await;
    let mut hand = node.consume("/queue/jobs", 1).await;
    node.send("/queue/jobs", "job").await.unwrap();
    let taken = hand.take().await;
    hand.settle(&[&taken], Verdict::Requeue).await;
    let taken = hand.take().await;
    hand.settle(&[&taken], Verdict::Reject).await;
    let mut grave = node.consume("/queue/DLQ.jobs", 1).await;
    assert_eq!(text(&grave.done().await), "job");
    node.close().await;
}

async fn the_user_may_do_nothing_else(url: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let queue = channel
        .queue_declare(
            "other".into(),
            QueueDeclareOptions::default(),
            FieldTable::default(),
        )
        .await;
    let words = queue.unwrap_err().to_string();
    assert!(words.contains("ACCESS_REFUSED"), "{words}");
    let channel = connection.create_channel().await.unwrap();
    let exchange = channel
        .exchange_declare(
            "chat.exchange.other".into(),
            ExchangeKind::Topic,
            ExchangeDeclareOptions::default(),
            FieldTable::default(),
        )
        .await;
    let words = exchange.unwrap_err().to_string();
    assert!(words.contains("ACCESS_REFUSED"), "{words}");
}

/// The page of metrics that the enabled plugin serves.
async fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await.unwrap();
    String::from_utf8_lossy(&page).into_owned()
}
