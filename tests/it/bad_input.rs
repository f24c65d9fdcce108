//! What clients get wrong, over a real WebSocket: each mistake has its answer, and nobody else
//! notices.

mod frames;
mod requests;

use futures_util::future::join_all;
use tokio_tungstenite::tungstenite::Message;

use crate::support::bystanders::Bystanders;
use crate::support::client::{Client, Opening, Received};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;

/// A mistake that ends the session, and how.
struct Fatal {
    what: &'static str,
    input: Message,
    /// The header `message` of the ERROR frame.
    message: &'static str,
    /// The close.
    code: u16,
    /// Its reason.
    reason: &'static str,
}

/// STOMP that is broken.
fn broken(what: &'static str, input: impl Into<String>, message: &'static str) -> Fatal {
    Fatal {
        what,
        input: Message::text(input.into()),
        message,
        code: 1002,
        reason: "bad_request",
    }
}

/// STOMP that is too large.
fn too_large(what: &'static str, input: impl Into<String>, message: &'static str) -> Fatal {
    Fatal {
        code: 1009,
        reason: "payload_too_large",
        ..broken(what, input, message)
    }
}

/// A request that is refused.
fn refused(what: &'static str, input: &str, problem: &'static str, code: u16) -> Fatal {
    Fatal {
        code,
        reason: problem,
        ..broken(what, input, problem)
    }
}

/// Other octets than text.
fn octets(what: &'static str, input: Message, message: &'static str, code: u16) -> Fatal {
    Fatal {
        input,
        code,
        ..broken(what, "", message)
    }
}

async fn node() -> Node {
    Node::start("node", &HIGH_LIMITS).await
}

/// Makes each mistake on a session of its own and looks at its end, and at the bystanders.
async fn each_ends_as_it_must(node: &Node, is_connected: bool, cases: Vec<Fatal>) {
    let mut bystanders = Bystanders::on(node).await;
    for case in cases {
        let what = case.what;
        let mut client = match is_connected {
            true => Client::connect(node.address()).await,
            false => Client::open(node.address()).await,
        };
        client.send_message(case.input).await;
        let ending = client.end().await;
        let Some(error) = &ending.error else {
            panic!("{what}: no ERROR frame, but {ending:?}");
        };
        assert_eq!(error.header("message"), case.message, "{what}: {error:?}");
        assert!(!error.body.trim().is_empty(), "{what}: no words for people");
        let close = (ending.code, ending.reason.as_str());
        assert_eq!(close, (case.code, case.reason), "{what}");
        bystanders.talk(what).await;
    }
}

#[tokio::test]
async fn what_is_just_within_the_limits_passes() {
    let node = node().await;
    let mut client = Client::connect(node.address()).await;
    let body = "x".repeat(65_536);
    let headers: String = (0..61)
        .map(|n| format!("h{n}:{}\n", "y".repeat(400)))
        .collect();
    let send =
        format!("SEND\ndestination:/topic/x\nreceipt:r\n{headers}content-length:65536\n\n{body}\0");
    client.send(&send).await;
    assert_eq!(client.frame().await.receipt(), "r");
    let me = client.user().to_owned();
    client.say(&me, &"가".repeat(4_000)).await;
    assert_eq!(client.frame().await.command, "RECEIPT");
    // Octet by octet, and many frames in one message.
    for octet in b"SEND\r\ndestination:/topic/x\r\nreceipt:slow\r\n\r\nx\0" {
        client.send_octets(&[*octet]).await;
    }
    assert_eq!(client.frame().await.receipt(), "slow");
    let both = ["a", "b"].map(|r| format!("SEND\ndestination:/topic/x\nreceipt:{r}\n\nx\0\n\n"));
    client.send(&both.concat()).await;
    assert_eq!(client.frame().await.receipt(), "a");
    assert_eq!(client.frame().await.receipt(), "b");
    client.disconnect().await;
}

#[tokio::test]
async fn pages_of_other_origins_do_not_come_in() {
    let mut environment = HIGH_LIMITS.to_vec();
    environment.push(("CORS_ORIGINS", "https://chat.example"));
    let node = Node::start("node", &environment).await;
    let own = format!("http://{}", node.address());
    for (origin, expected) in [
        (own.as_str(), 101),
        ("https://chat.example", 101),
        ("https://chat.example.evil", 403),
        ("http://chat.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ] {
        let headers = [("Origin", origin)];
        let opening = Opening {
            headers: &headers,
            ..Opening::default()
        };
        let status = Client::try_open(node.address(), &opening).await;
        assert_eq!(status.err().unwrap_or(101), expected, "Origin: {origin}");
    }
    environment.push(("ALLOW_NO_ORIGIN", "false"));
    let strict = Node::start("strict", &environment).await;
    let refused = Client::try_open(strict.address(), &Opening::default()).await;
    assert_eq!(refused.err(), Some(403), "a client without Origin");
}

/// Many at once, each with another mistake, none of which slows the others.
#[tokio::test]
async fn mistakes_at_the_same_time_do_not_disturb_each_other() {
    let node = node().await;
    let mut bystanders = Bystanders::on(&node).await;
    let clients = (0..60).map(async |number: usize| {
        let mut client = Client::connect(node.address()).await;
        let frame = ["JUMP\n\n\0", "SEND\n\nx\0", "SEND\noops\n\nx\0"][number % 3];
        client.send(frame).await;
        client.end().await
    });
    for ending in join_all(clients).await {
        assert_eq!(ending.code, 1002, "{ending:?}");
    }
    bystanders.talk("sixty mistakes at once").await;
    let mut late = Client::connect(node.address()).await;
    late.send("DISCONNECT\n\n\0SEND\ndestination:/topic/x\nreceipt:late\n\nx\0")
        .await;
    assert!(
        matches!(late.next().await, Received::Closed(1000, _)),
        "nothing follows DISCONNECT"
    );
}
