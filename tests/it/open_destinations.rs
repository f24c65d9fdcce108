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

#[tokio::test]
async fn a_message_shows_the_destination_as_its_subscriber_wrote_it() {
    let node = node().await;
    let mut alice = Client::connect(node.address()).await;
    let mut bob = Client::connect(node.address()).await;
    let written = [
        ("/topic/a/b", "/topic/a/b"),
        ("/sub/a/b", "/sub/a/b"),
        ("/topic/a/*", "/topic/a/b"),
        ("/sub/a/*", "/sub/a/b"),
        ("/sub/**", "/sub/a/b"),
        ("/sub/a/#", "/sub/a/b"),
    ];
    for (id, (destination, _)) in written.iter().enumerate() {
        listen(&mut bob, &id.to_string(), destination).await;
    }
    for to in ["/topic/a/b", "/sub/a/b"] {
        tell(&mut alice, to, "", to).await;
        let mut found = Vec::new();
        for _ in written {
            let frame = bob.frame().await;
            let (id, destination, body) = seen(&frame);
            assert_eq!(body, to);
            found.push((id.to_owned(), destination.to_owned()));
        }
        found.sort();
        let expected = written.iter().enumerate();
        let expected: Vec<_> = expected
            .map(|(id, (_, shown))| (id.to_string(), (*shown).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }
    // A slash in a name is no separator, however it is written.
    listen(&mut bob, "slash", "/sub/c%2fd").await;
    listen(&mut bob, "star", "/sub/c/*").await;
    tell(&mut alice, "/topic/c%2Fd", "", "one").await;
    let (one, other) = (bob.frame().await, bob.frame().await);
    let mut both = [seen(&one), seen(&other)];
    both.sort_unstable();
    let expected = [("4", "/sub/c%2Fd", "one"), ("slash", "/sub/c%2fd", "one")];
    assert_eq!(both, expected);
}

#[tokio::test]
async fn a_wildcard_receives_nothing_that_is_somebodys() {
    let node = node().await;
    let mut eve = Client::connect(node.address()).await;
    let mut alice = Client::connect(node.address()).await;
    for (id, pattern) in ["/topic/**", "/sub/#", "/topic/*"].iter().enumerate() {
        listen(&mut eve, &id.to_string(), pattern).await;
    }
    let to = format!("/user/{}/queue/x", alice.user());
    listen(&mut alice, "1", "/user/queue/x").await;
    let receipt = alice.publish(&to, "for me").await;
    let frames = [alice.frame().await, alice.frame().await];
    assert!(
        frames
            .iter()
            .any(|frame| frame.header("receipt-id") == receipt)
    );
    let me = alice.user().to_owned();
    alice.say(&me, "to myself").await;
    assert_eq!(alice.frame().await.command, "RECEIPT");
    let receipt = eve.publish("/queue/nobody", "x").await;
    assert_eq!(eve.frame().await.receipt(), receipt);
}

#[tokio::test]
async fn an_answer_finds_the_session_that_asked_and_no_other() {
    let node = node().await;
    let mut client = Client::connect(node.address()).await;
    let mut other = second_device(&node, &client).await;
    let mut worker = Client::connect(node.address()).await;
    listen(&mut worker, "w", "/topic/questions").await;
    let ask = "reply-to:/temp-queue/answers\ncorrelation-id:7\n";
    let mut tokens = Vec::new();
    for (session, answer) in [(&mut client, "4"), (&mut other, "6")] {
        tell(session, "/topic/questions", ask, "2 + 2, or 3 + 3").await;
        let question = worker.frame().await;
        let reply_to = question.header("reply-to").to_owned();
        assert!(reply_to.starts_with("/reply-queue/"), "{question:?}");
        tell(&mut worker, &reply_to, "correlation-id:7\n", answer).await;
        tokens.push(reply_to);
    }
    assert_ne!(tokens[0], tokens[1]);
    for (session, answer) in [(&mut client, "4"), (&mut other, "6")] {
        let frame = session.frame().await;
        let shown = "/temp-queue/answers";
        assert_eq!(seen(&frame), (shown, shown, answer));
        assert_eq!(frame.header("correlation-id"), "7");
    }
    // The name stays that of one place, through relays and transactions too.
    listen(&mut worker, "r", "/sub/chat/room/1").await;
    let body = json!({"roomId": 1}).to_string();
    let send = format!(
        "BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:/pub/chat/message\n\
         {ask}\n{body}\0COMMIT\ntransaction:t\nreceipt:c\n\n\0"
    );
    client.send(&send).await;
    assert_eq!(client.frame().await.receipt(), "c");
    let question = worker.frame().await;
    assert_eq!(seen(&question), ("r", "/sub/chat/room/1", &*body));
    assert_eq!(question.header("reply-to"), tokens[0]);
    client
        .send("UNSUBSCRIBE\nid:/temp-queue/answers\nreceipt:u\n\n\0")
        .await;
    assert_eq!(client.frame().await.receipt(), "u");
    tell(&mut worker, &tokens[0], "", "too late").await;
    heard_nothing(&mut client).await;
    assert!(!node.output().contains(&tokens[0]), "a token is in the log");
}

#[tokio::test]
async fn prefixes_of_ones_own_and_queues_that_fan_out_are_settings() {
    let settings = [
        ("PREFIX_TOPIC", "/my/events"),
        ("PREFIX_APP", "/do"),
        ("PREFIX_USER", "/me"),
        ("QUEUE_MODE", "fan-out"),
        (
            "DESTINATION_RULES",
            "all /topic/** anyone; all /queue/** anyone; send /user/** anyone",
        ),
    ];
    let node = Node::start("node", &settings).await;
    let mut alice = Client::connect(node.address()).await;
    let mut bob = Client::connect(node.address()).await;
    for (id, destination) in [
        ("0", "/my/events/chat/room/1"),
        ("1", "/my/events/chat/**"),
        ("2", "/queue/jobs"),
        ("3", "/queue/*"),
        ("4", "/me/queue/x"),
    ] {
        listen(&mut bob, id, destination).await;
        if id == "2" {
            listen(&mut alice, id, destination).await;
        }
    }
    let body = json!({"roomId": "1"}).to_string();
    tell(&mut alice, "/do/chat/message", "", &body).await;
    let (one, other) = (bob.frame().await, bob.frame().await);
    let mut both = [seen(&one), seen(&other)];
    both.sort_unstable();
    let room = "/my/events/chat/room/1";
    assert_eq!(both, [("0", room, &*body), ("1", room, &*body)]);
    bob.publish("/queue/jobs", "to all").await;
    assert_eq!(seen(&alice.frame().await), ("2", "/queue/jobs", "to all"));
    let mut found = Vec::new();
    for _ in 0..3 {
        let frame = bob.frame().await;
        found.push((
            frame.command.clone(),
            frame.header("subscription").to_owned(),
        ));
    }
    found.sort();
    let expected = [("MESSAGE", "2"), ("MESSAGE", "3"), ("RECEIPT", "")];
    assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let to = format!("/me/{}/queue/x", bob.user());
    tell(&mut alice, &to, "", "hi").await;
    assert_eq!(seen(&bob.frame().await), ("4", "/me/queue/x", "hi"));
    // The queues of the service too are shown as they were subscribed to.
    for queue in ["/me/queue/errors", "/me/queue/messages"] {
        listen(&mut bob, queue, queue).await;
    }
    let itself = json!({"to": bob.user(), "message": "me"}).to_string();
    for (to, body, queue) in [
        ("/do/nothing", "x", "/me/queue/errors"),
        ("/do/chat.send", &*itself, "/me/queue/messages"),
    ] {
        bob.send(&format!("SEND\ndestination:{to}\n\n{body}\0"))
            .await;
        assert_eq!(bob.frame().await.header("destination"), queue);
    }
    let mut lost = Client::connect(node.address()).await;
    lost.publish("/topic/a", "x").await;
    let error = lost.end().await.error.unwrap();
    assert_eq!(error.header("message"), "Unknown destination", "{error:?}");
}
