//! One node, nothing beside it, and the real STOMP.js.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;
use crate::support::stompjs::{Device, ERRORS, MESSAGES, StompJs, assert_whole};

/// A moment in which something that must not come would have come.
const MOMENT: Duration = Duration::from_millis(400);

async fn node() -> (Node, Arc<StompJs>) {
    (Node::start("node", &HIGH_LIMITS).await, StompJs::start())
}

/// Two people, listening.
async fn two_people(node: &Node, js: &Arc<StompJs>) -> (Device, Device) {
    let alice = js.visitor("alice", &node.websocket()).await;
    let bob = js.visitor("bob", &node.websocket()).await;
    alice.listen().await;
    bob.listen().await;
    (alice, bob)
}

#[tokio::test]
async fn what_one_visitor_writes_the_other_reads() {
    let (node, js) = node().await;
    let (alice, bob) = two_people(&node, &js).await;
    assert_eq!(alice.header("version"), "1.2");
    assert_eq!(alice.header("server"), "stompbox");
    assert_eq!(alice.header("kind"), "anonymous");
    assert_eq!(alice.header("proof"), "new");
    assert!(alice.user().starts_with("user_"), "{}", alice.user());
    let body = json!({"to": bob.user(), "message": "안녕, Bob", "client_id": "c1"});
    let receipt = alice.send("/app/chat.send", &body.to_string()).await;
    assert_eq!(receipt["seq"], "1");
    let got = bob.messages(1).await;
    let body = &got[0].body;
    assert_eq!(
        got[0].headers["content-type"],
        "application/json;charset=utf-8"
    );
    assert_eq!(got[0].headers["destination"], MESSAGES);
    assert_eq!(body["type"], "CHAT");
    assert_eq!(body["message"], "안녕, Bob");
    assert_eq!(body["from"], alice.user());
    assert_eq!(body["to"], bob.user());
    assert_eq!(body["client_id"], "c1");
    assert_eq!(body["id"], receipt["message-id"]);
    assert_ne!(body["echo"], true);
    let echo = alice.messages(1).await;
    assert_eq!(echo[0].body["echo"], true);
    assert_eq!(echo[0].body["id"], body["id"]);
    // And back, in the same conversation.
    assert_eq!(bob.say(alice.user(), "hi").await["seq"], "2");
    let back = alice.messages(2).await;
    assert_eq!(back[1].words(), "hi");
    assert_eq!(back[1].body["room_id"], body["room_id"]);
    for device in [&alice, &bob] {
        assert_whole(device.name(), &device.look(MESSAGES, 3, MOMENT).await, 2);
    }
}

#[tokio::test]
async fn every_device_of_both_gets_every_message_once() {
    let (node, js) = node().await;
    let url = node.websocket();
    let (alice, phone) = two_people(&node, &js).await;
    let laptop = js.device_of("laptop", &phone, &url).await;
    let tablet = js.device_of("tablet", &alice, &url).await;
    for device in [&laptop, &tablet] {
        assert_eq!(device.header("proof"), "token");
        device.listen().await;
    }
    for number in 1..=10 {
        alice.say(phone.user(), &format!("to you {number}")).await;
        phone.say(alice.user(), &format!("to me {number}")).await;
    }
    for (device, own) in [
        (&alice, "to you"),
        (&tablet, "to you"),
        (&phone, "to me"),
        (&laptop, "to me"),
    ] {
        device.messages(20).await;
        let all = device.look(MESSAGES, 21, MOMENT).await;
        assert_whole(device.name(), &all, 20);
        for message in all {
            let is_own = message.words().starts_with(own);
            assert_eq!(message.body["echo"] == true, is_own, "{}", message.text);
        }
    }
}

#[tokio::test]
async fn a_thousand_messages_arrive_once_and_in_order_each_with_its_receipt() {
    let (node, js) = node().await;
    let (alice, bob) = two_people(&node, &js).await;
    let seqs = alice.burst(bob.user(), "m", 1_000, 64).await;
    assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
    for device in [&alice, &bob] {
        device.messages(1_000).await;
        let all = device.look(MESSAGES, 1_001, MOMENT).await;
        assert_whole(device.name(), &all, 1_000);
        for (message, number) in all.iter().zip(0..) {
            assert_eq!(message.words(), format!("m {number}"));
        }
    }
}

#[tokio::test]
async fn a_visitor_comes_back_with_his_token() {
    let (node, js) = node().await;
    let (alice, bob) = two_people(&node, &js).await;
    alice.say(bob.user(), "before").await;
    bob.messages(1).await;
    bob.disconnect().await;
    // A firm visitor is written to while he is away.
    assert_eq!(alice.say(bob.user(), "meanwhile").await["seq"], "2");
    let again = js.device_of("bob again", &bob, &node.websocket()).await;
    assert_eq!(again.header("proof"), "token");
    again.listen().await;
    alice.say(bob.user(), "after").await;
    let got = again.look(MESSAGES, 2, MOMENT).await;
    assert_eq!(
        got.len(),
        1,
        "a SUBSCRIBE owes what is committed after it: {got:?}"
    );
    assert_eq!((got[0].words(), got[0].seq()), ("after", 3));
    // A secret that nobody has opens nothing, and says so.
    let options =
        json!({"headers": {"visitor-token": "sbv1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}});
    let stranger = js
        .connect("stranger", &node.websocket(), options)
        .await
        .unwrap();
    assert_eq!(stranger.header("visitor-token-status"), "rejected");
    assert_ne!(stranger.user(), bob.user());
}

#[tokio::test]
async fn a_problem_comes_on_the_errors_queue_and_the_session_lives_on() {
    let (node, js) = node().await;
    let (alice, bob) = two_people(&node, &js).await;
    let body = json!({"to": bob.user(), "message": "  ", "client_id": "empty"}).to_string();
    alice
        .throw_away("/app/chat.send", &body, json!({"receipt": "r-empty"}))
        .await;
    let problems = alice.received(ERRORS, 1).await;
    let problem = &problems[0].body;
    assert_eq!(problem["type"], "urn:stompbox:problem:validation_failed");
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&json!("validation_failed"), &json!(422))
    );
    assert_eq!(problem["client_id"], "empty");
    assert_eq!(problem["destination"], "/app/chat.send");
    assert_eq!(problem["receipt_id"], "r-empty");
    assert_eq!(problem["errors"][0]["field"], "message");
    assert_eq!(alice.say(bob.user(), "fine").await["seq"], "1");
    assert_eq!(bob.messages(1).await[0].words(), "fine");
    assert!(
        bob.look(ERRORS, 1, MOMENT).await.is_empty(),
        "a problem is of one session only"
    );
}

#[tokio::test]
async fn the_same_client_id_is_the_same_message() {
    let (node, js) = node().await;
    let (alice, bob) = two_people(&node, &js).await;
    let body = json!({"to": bob.user(), "message": "once", "client_id": "c1"}).to_string();
    let first = alice.send("/app/chat.send", &body).await;
    let second = alice.send("/app/chat.send", &body).await;
    assert_eq!(second["duplicate"], "true");
    assert_eq!(first["message-id"], second["message-id"]);
    assert_eq!(first["seq"], second["seq"]);
    alice.say(bob.user(), "next").await;
    bob.messages(2).await;
    assert_whole("bob", &bob.look(MESSAGES, 3, MOMENT).await, 2);
}

#[tokio::test]
async fn a_sender_may_do_without_his_copy_and_ask_for_a_reply() {
    let (node, js) = node().await;
    let (alice, bob) = two_people(&node, &js).await;
    alice.subscribe("/user/queue/replies").await;
    let tablet = js.device_of("tablet", &alice, &node.websocket()).await;
    tablet.listen().await;
    let body = json!({"to": bob.user(), "message": "quiet"}).to_string();
    let headers = json!({"echo": "none", "correlation-id": "q1"});
    alice.throw_away("/app/chat.send", &body, headers).await;
    let replies = alice.received("/user/queue/replies", 1).await;
    assert_eq!(replies[0].body["correlation_id"], "q1");
    assert_eq!(replies[0].body["ok"], true);
    assert_eq!(replies[0].body["result"]["seq"], 1);
    // The other device of the sender gets its echo all the same, and the next one comes to both.
    assert_eq!(tablet.messages(1).await[0].words(), "quiet");
    assert_eq!(bob.messages(1).await[0].words(), "quiet");
    alice.say(bob.user(), "loud").await;
    let got = alice.messages(1).await;
    assert_eq!((got.len(), got[0].words()), (1, "loud"));
}

#[tokio::test]
async fn a_topic_goes_to_all_its_subscribers_as_it_is() {
    let (node, js) = node().await;
    let (alice, bob) = two_people(&node, &js).await;
    let topic = "/topic/weather.seoul";
    alice.subscribe(topic).await;
    bob.subscribe(topic).await;
    for number in 0..20 {
        alice.send(topic, &format!("<{number}> any text")).await;
    }
    for device in [&alice, &bob] {
        let got = device.received(topic, 20).await;
        let texts: Vec<_> = got.iter().map(|message| message.text.clone()).collect();
        let sent: Vec<_> = (0..20)
            .map(|number| format!("<{number}> any text"))
            .collect();
        assert_eq!(texts, sent, "{}", device.name());
    }
    bob.unsubscribe(topic).await;
    alice.send(topic, "more").await;
    alice.received(topic, 21).await;
    assert_eq!(bob.look(topic, 21, MOMENT).await.len(), 20);
}

#[tokio::test]
async fn a_message_to_oneself_arrives_once_on_each_device() {
    let (node, js) = node().await;
    let phone = js.visitor("phone", &node.websocket()).await;
    let laptop = js.device_of("laptop", &phone, &node.websocket()).await;
    phone.listen().await;
    laptop.listen().await;
    phone.say(phone.user(), "remember the milk").await;
    for device in [&phone, &laptop] {
        device.messages(1).await;
        assert_whole(device.name(), &device.look(MESSAGES, 2, MOMENT).await, 1);
    }
}
