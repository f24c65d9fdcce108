//! A crowd behind one address, with the defaults: pages, CONNECT, chat, sign-ins and refreshes, and nobody
//! is refused. And what makes everybody one network by mistake is said.
//!
//! Not here: one client that wants too much (`hostile_clients`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;

use crate::support::api::call;
use crate::support::client::{Client, Opening, get};
use crate::support::node::Node;

/// As many as the machine carries beside the other tests. The limits are those of 5,000.
const PEOPLE: usize = 1_000;

/// How many are under way at a time, as over the first seconds of an event.
const AT_ONCE: usize = 200;

/// One in so many signs in.
const SIGNS_IN: usize = 50;

/// One in so many loads the page a second time.
const REFRESHES: usize = 10;

/// One who comes: the page with its files, a session, two messages.
async fn arrive(at: SocketAddr, number: usize) -> Client {
    for path in ["/", "/api/v1/health/live"] {
        let (status, body) = get(at, path).await;
        assert_eq!(status, 200, "{number} {path}: {body}");
    }
    if number.is_multiple_of(SIGNS_IN) {
        sign_in(at, number).await;
    }
    let mut client = Client::connect(at).await;
    for word in ["hello", "there"] {
        let user = client.user().to_owned();
        let receipt = client.say(&user, &format!("{word} {number}")).await;
        assert_eq!(client.frame().await.receipt(), receipt);
    }
    client
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
    // The number of new visitors from one network is not what this is about.
    let node = Node::start("crowd", &[("VISITORS_PER_NETWORK", "10000")]).await;
    let at = node.address();
    let crowd = stream::iter(0..PEOPLE).map(|number| arrive(at, number));
    let mut crowd: Vec<Client> = crowd.buffer_unordered(AT_ONCE).collect().await;
    for client in crowd.iter_mut().step_by(REFRESHES) {
        let secret = client.secret().to_owned();
        *client = Client::open(at).await;
        let connected = client.connect_as(&[("visitor-token", &secret)]).await;
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
    }
    // All of them are still there, and somebody from elsewhere comes in.
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
        output.matches("X-Forwarded-For is ignored").count(),
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
