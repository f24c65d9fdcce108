//! A crowd behind one address, with the defaults: pages, CONNECT, chat, sign-ins and refreshes, and nobody
//! is refused. And what makes everybody one network by mistake is said.
//!
//! Not here: one client that wants too much (`hostile_clients`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::api::call;
use crate::support::client::{Client, Opening, get};
use crate::support::node::Node;

/// The defaults are for 5,000 people behind one address. There are a fifth as many here, and they have a fifth
/// of every limit that a network has a part of.
const PEOPLE: usize = 1_000;
const FIFTHS: [(&str, &str); 14] = [
    ("CONNECT_BURST", "4000"),
    ("CONNECT_PER_NET", "4000"),
    ("HTTP_AUTH_PER_NET", "400"),
    ("HTTP_PER_NET", "12000"),
    ("LOGIN_FAILURES_PER_NET", "100"),
    ("LOGIN_PER_NET", "400"),
    ("MEMORY_LIMIT", "205MiB"),
    ("QUEUES_PER_NODE", "200"),
    ("RATE_NET_BURST", "1000"),
    ("RATE_NET_PER_MIN", "12000"),
    ("REGISTER_PER_NET", "60"),
    ("SUBSCRIPTIONS_PER_NODE", "200000"),
    ("VISITORS_PER_NETWORK", "2000"),
    ("WS_MAX_CONNECTIONS", "20000"),
];

/// How many are under way at a time, as over the first seconds of an event.
const AT_ONCE: usize = 200;

/// All have arrived by then.
const ARRIVED_WITHIN: Duration = Duration::from_secs(60);

/// Each writes ten messages a minute.
const MESSAGE_EVERY: Duration = Duration::from_secs(6);
const MESSAGES: u32 = 2;

/// One in so many signs in.
const SIGNS_IN: usize = 50;

/// One in so many loads the page a second time.
const REFRESHES: usize = 10;

/// Everything that the page loads: what its HTML names, and what those modules import.
async fn files_of_the_page(at: SocketAddr) -> Vec<String> {
    let mut files = vec!["/".to_owned()];
    let mut next = 0;
    while let Some(path) = files.get(next).cloned() {
        next += 1;
        let (status, text) = get(at, &path).await;
        assert_eq!(status, 200, "{path}: {text}");
        for word in text.split(['"', '\'']) {
            let name = word.strip_prefix("./").or(word.strip_prefix("/assets/"));
            let Some(name) = name.filter(|name| name.contains('.')) else {
                continue;
            };
            let file = format!("/assets/{name}");
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files
}

/// Loads all files on one connection, as a browser does.
async fn load(at: SocketAddr, files: &[String]) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    for (index, path) in files.iter().enumerate() {
        let close = match index + 1 == files.len() {
            true => "Connection: close\r\n",
            false => "",
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n{close}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    let answers = String::from_utf8_lossy(&answers);
    let loaded = answers.matches("HTTP/1.1 200 OK\r\n").count();
    assert_eq!(loaded, files.len(), "{files:?}");
}

/// One person who comes: the page with its files, perhaps an account, a session.
async fn arrive(at: SocketAddr, number: usize, files: &[String]) -> Client {
    load(at, files).await;
    if number.is_multiple_of(SIGNS_IN) {
        sign_in(at, number).await;
    }
    let mut client = Client::connect(at).await;
    client.subscribe("/user/queue/messages").await;
    client
}

/// Writes ten messages a minute, each of which is accepted.
async fn chat(client: &mut Client, number: usize) {
    let began = tokio::time::Instant::now() + MESSAGE_EVERY * number as u32 / PEOPLE as u32;
    for count in 0..MESSAGES {
        tokio::time::sleep_until(began + MESSAGE_EVERY * count).await;
        let user = client.user().to_owned();
        let receipt = client.say(&user, &format!("{count} of {number}")).await;
        let mut answers = [client.frame().await, client.frame().await];
        answers.sort_by_key(|frame| frame.command.clone());
        let [message, receipted] = answers;
        assert_eq!(message.command, "MESSAGE", "{message:?}");
        assert_eq!(receipted.receipt(), receipt, "{receipted:?}");
    }
}

async fn sign_in(at: SocketAddr, number: usize) {
    let email = format!("crowd-{number}@example.com");
    let account =
        json!({"email": email, "password": "correct horse battery staple", "name": "One"});
    // The hashes of passwords have a queue of their own; a client that is told to wait waits.
    for path in ["/api/v1/auth/register", "/api/v1/auth/login"] {
        let began = Instant::now();
        loop {
            let answer = call(at, "POST", path, &[], Some(&account)).await;
            if answer.status < 300 {
                break;
            }
            assert_eq!(answer.body["code"], "overloaded", "{path}: {answer:?}");
            assert!(began.elapsed() < Duration::from_secs(60), "{path}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_behind_one_address_is_served() {
    let node = Node::start("crowd", &FIFTHS).await;
    let at = node.address();
    let files = files_of_the_page(at).await;
    assert!(files.len() > 10, "{files:?}");
    let began = Instant::now();
    let crowd = stream::iter(0..PEOPLE).map(|number| arrive(at, number, &files));
    let mut crowd: Vec<Client> = crowd.buffer_unordered(AT_ONCE).collect().await;
    let arrived = began.elapsed();
    eprintln!("{PEOPLE} people arrived in {arrived:?}");
    assert!(arrived < ARRIVED_WITHIN, "{arrived:?}");
    let chatting = crowd.iter_mut().enumerate();
    futures_util::future::join_all(chatting.map(|(number, client)| chat(client, number))).await;
    for client in crowd.iter_mut().step_by(REFRESHES) {
        let secret = client.secret().to_owned();
        load(at, &files).await;
        *client = Client::open(at).await;
        let connected = client.connect_as(&[("visitor-token", &secret)]).await;
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
    }
    // All of them are still there, and a newcomer from elsewhere comes in.
    for client in &mut crowd {
        client.subscribe("/topic/hall").await;
    }
    let elsewhere = Opening {
        from: Some(Ipv4Addr::new(127, 0, 0, 9)),
        ..Opening::default()
    };
    let newcomer = Client::try_open(at, &elsewhere).await;
    assert!(newcomer.is_ok(), "{:?}", newcomer.err());
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_logged_once() {
    let node = Node::start("crowd", &[]).await;
    let forwarded = [("X-Forwarded-For", "203.0.113.9")];
    for _ in 0..3 {
        call(node.address(), "GET", "/api/v1/me", &forwarded, None).await;
    }
    let output = node.output_with("TRUSTED_PROXIES").await;
    assert_eq!(
        output
            .matches("X-Forwarded-For and X-Forwarded-Proto are ignored")
            .count(),
        1,
        "{output}"
    );
    let (_, metrics) = get(node.address(), "/metrics").await;
    assert!(
        metrics.contains("forwarded_headers_ignored_total 3"),
        "{metrics}"
    );
    let trusting = Node::start("crowd", &[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    call(trusting.address(), "GET", "/api/v1/me", &forwarded, None).await;
    let (_, metrics) = get(trusting.address(), "/metrics").await;
    assert!(
        !metrics.contains("forwarded_headers_ignored_total"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_named_network_has_a_multiple_of_every_limit() {
    let settings = [
        ("CONNECT_BURST", "2"),
        ("CONNECT_PER_NET", "1"),
        ("HTTP_AUTH_PER_NET", "1"),
        ("NETWORK_LIMITS", "127.0.0.2/32=3"),
    ];
    let node = Node::start("crowd", &settings).await;
    let mut connected = Vec::new();
    for last in [2, 3] {
        let from = Opening {
            from: Some(Ipv4Addr::new(127, 0, 0, last)),
            ..Opening::default()
        };
        let mut count = 0;
        for _ in 0..8 {
            let mut client = Client::try_open(node.address(), &from).await.unwrap();
            let answer = client.connect_as(&[]).await;
            count += u32::from(answer.command == "CONNECTED");
        }
        connected.push(count);
    }
    assert_eq!(connected, [6, 2]);
}
