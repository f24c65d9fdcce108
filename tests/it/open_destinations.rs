//! Open destinations on one node: one's own `/user/**`, relays, the rule table, answers to reply
//! queues.

use serde_json::json;

use crate::support::client::{Client, Frame};
use crate::support::node::Node;

const OPEN: (&str, &str) = (
    "DESTINATION_RULES",
    "send /topic/news.* nobody; all /topic/** anyone; all /queue/** anyone; send /user/** anyone",
);

async fn node() -> Node {
    Node::start("node", &[OPEN]).await
}

/// Subscribes under this id and waits for the RECEIPT.
async fn listen(client: &mut Client, id: &str, destination: &str) {
    let frame = format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:{id}\n\n\0");
    client.send(&frame).await;
    assert_eq!(client.frame().await.receipt(), id);
}

/// Sends with a receipt and headers of the client's own, and waits for the RECEIPT.
async fn tell(client: &mut Client, destination: &str, headers: &str, body: &str) {
    let frame = format!("SEND\ndestination:{destination}\nreceipt:told\n{headers}\n{body}\0");
    client.send(&frame).await;
    assert_eq!(client.frame().await.receipt(), "told", "{destination}");
}

/// Nothing waits for this client: what comes next is its own.
async fn heard_nothing(client: &mut Client) {
    let receipt = client.publish("/topic/nobody-listens", "x").await;
    assert_eq!(client.frame().await.receipt(), receipt);
}

/// The code of the problem that comes next.
async fn problem(client: &mut Client) -> String {
    let frame = client.frame().await;
    assert_eq!(
        frame.header("destination"),
        "/user/queue/errors",
        "{frame:?}"
    );
    frame.json()["code"].as_str().unwrap_or_default().to_owned()
}

fn seen(frame: &Frame) -> (&str, &str, &str) {
    assert_eq!(frame.command, "MESSAGE", "{frame:?}");
    let (subscription, destination) = (frame.header("subscription"), frame.header("destination"));
    (subscription, destination, &frame.body)
}

/// A second device of the same visitor.
async fn second_device(node: &Node, first: &Client) -> Client {
    let opening = crate::support::client::Opening::default();
    let second = Client::connect_with(node.address(), &opening, first.secret()).await;
    assert_eq!(second.user(), first.user());
    second
}

#[tokio::test]
async fn what_is_sent_to_a_user_reaches_all_his_devices_and_nobody_else() {
    let node = node().await;
    let mut bob = Client::connect(node.address()).await;
    let mut phone = second_device(&node, &bob).await;
    let (mut alice, mut eve) = (
        Client::connect(node.address()).await,
        Client::connect(node.address()).await,
    );
    listen(&mut bob, "1", "/user/queue/x").await;
    // One's own may be written with one's name.
    let named = format!("/user/{}/queue/x", bob.user());
    listen(&mut phone, "2", &named).await;
    listen(&mut eve, "3", "/user/queue/x").await;
    let to = named.clone();
    tell(&mut alice, &to, "a:b\n", "hi").await;
    let frame = bob.frame().await;
    assert_eq!(seen(&frame), ("1", "/user/queue/x", "hi"));
    assert_eq!(frame.header("a"), "b");
    assert_eq!(seen(&phone.frame().await), ("2", &*named, "hi"));
    heard_nothing(&mut eve).await;
    heard_nothing(&mut alice).await;
    bob.send("UNSUBSCRIBE\nid:1\nreceipt:gone\n\n\0").await;
    assert_eq!(bob.frame().await.receipt(), "gone");
    tell(&mut alice, &to, "", "again").await;
    assert_eq!(seen(&phone.frame().await), ("2", &*named, "again"));
    heard_nothing(&mut bob).await;
}

#[tokio::test]
async fn with_its_own_id_for_a_name_a_session_reaches_itself_alone() {
    let node = node().await;
    let mut bob = Client::open(node.address()).await;
    let session = bob.introduce("new").await.header("session").to_owned();
    let mut phone = second_device(&node, &bob).await;
    let mut eve = Client::connect(node.address()).await;
    eve.subscribe("/user/queue/errors").await;
    listen(&mut bob, "1", "/user/queue/x").await;
    listen(&mut phone, "2", "/user/queue/x").await;
    let to = format!("/user/{session}/queue/x");
    let receipt = bob.publish(&to, "to myself").await;
    let frames = [bob.frame().await, bob.frame().await];
    let message = frames.iter().find(|frame| frame.command == "MESSAGE");
    assert_eq!(seen(message.unwrap()), ("1", "/user/queue/x", "to myself"));
    assert!(
        frames
            .iter()
            .any(|frame| frame.header("receipt-id") == receipt)
    );
    heard_nothing(&mut phone).await;
    // To others it is the name of nobody.
    eve.publish(&to, "for you").await;
    assert_eq!(problem(&mut eve).await, "not_found");
    heard_nothing(&mut bob).await;
}

#[tokio::test]
async fn what_may_not_be_sent_is_refused_in_words_that_tell_nothing() {
    let node = node().await;
    let mut eve = Client::connect(node.address()).await;
    let bob = Client::connect(node.address()).await;
    eve.subscribe("/user/queue/errors").await;
    let to_bob = |rest: &str| format!("/user/{}/{rest}", bob.user());
    for (destination, code) in [
        ("/user/user_0000000000000/queue/x".to_owned(), "not_found"),
        ("/user/no%20id/queue/x".to_owned(), "not_found"),
        (to_bob("queue/messages"), "forbidden"),
        (to_bob("QUEUE/Errors"), "forbidden"),
        (to_bob("queue%2Fmessages"), "forbidden"),
        (to_bob("queue/*"), "validation_failed"),
        ("/user/queue/x".to_owned(), "forbidden"),
        ("/topic/news.kr".to_owned(), "forbidden"),
        ("/topic/room.1".to_owned(), "forbidden"),
        ("/topic/*".to_owned(), "validation_failed"),
    ] {
        eve.publish(&destination, "x").await;
        assert_eq!(problem(&mut eve).await, code, "{destination}");
    }
    let usual = Node::start("usual", &[]).await;
    let mut eve = Client::connect(usual.address()).await;
    eve.publish(&to_bob("queue/x"), "x").await;
    let ending = eve.end().await;
    assert_eq!(
        ending.error.unwrap().header("message"),
        "anonymous_not_allowed"
    );
}

#[tokio::test]
async fn a_front_end_of_the_spring_tutorials_meets_its_room() {
    let node = node().await;
    let mut alice = Client::connect(node.address()).await;
    let mut bob = Client::connect(node.address()).await;
    alice.subscribe("/user/queue/errors").await;
    listen(&mut bob, "sub-0", "/topic/chat/room/1").await;
    let body = json!({"type": "TALK", "roomId": "1", "sender": "a", "message": "안녕"}).to_string();
    let headers = "content-type:application/json\ntoken:mine\n";
    tell(&mut alice, "/app/chat/message", headers, &body).await;
    let frame = bob.frame().await;
    assert_eq!(seen(&frame), ("sub-0", "/topic/chat/room/1", &*body));
    assert_eq!(frame.header("token"), "mine");
    assert_eq!(frame.header("content-type"), "application/json");
    for (body, field) in [
        (json!({"message": "x"}), "roomId"),
        (json!({"roomId": "../room.1"}), "roomId"),
        (json!({"roomId": "*"}), "roomId"),
    ] {
        alice.publish("/app/chat/message", &body.to_string()).await;
        let problem = alice.frame().await.json();
        assert_eq!(problem["code"], "validation_failed", "{problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    heard_nothing(&mut bob).await;
}

#[tokio::test]
async fn what_is_sent_to_a_reply_queue_that_nobody_has_goes_nowhere() {
    let node = node().await;
    let mut eve = Client::connect(node.address()).await;
    eve.subscribe("/user/queue/errors").await;
    tell(
        &mut eve,
        "/reply-queue/0123456789abcdef0123456789abcdef",
        "",
        "x",
    )
    .await;
    eve.publish("/app/chat/message", "{}").await;
    assert_eq!(problem(&mut eve).await, "validation_failed");
    let frame = "SEND\ndestination:/topic/x\nreply-to:elsewhere\nreceipt:r\n\nx\0";
    eve.send(frame).await;
    assert_eq!(eve.frame().await.receipt(), "r");
}
