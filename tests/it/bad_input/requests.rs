//! Requests that are refused: as an ERROR and the end, or as a problem that the session survives.

use serde_json::json;

use super::{Fatal, broken, each_ends_as_it_must, node, refused};
use crate::support::bystanders::Bystanders;
use crate::support::client::Client;

/// A SUBSCRIBE of one's own making.
fn subscribe(destination: &str) -> String {
    format!("SUBSCRIBE\nid:0\ndestination:{destination}\n\n\0")
}

/// What is valid STOMP and not allowed.
fn not_allowed() -> Vec<Fatal> {
    let somebody = subscribe("/user/user_0000000000000/queue/messages");
    vec![
        refused("SUBSCRIBE to somebody else", &somebody, "forbidden", 4403),
        refused(
            "SUBSCRIBE to a reserved topic",
            &subscribe("/topic/room.1"),
            "forbidden",
            4403,
        ),
        refused(
            "SUBSCRIBE with a wildcard of other brokers",
            &subscribe("/topic/a.>"),
            "validation_failed",
            1008,
        ),
        refused(
            "SUBSCRIBE to /app",
            &subscribe("/app/chat.send"),
            "unknown_destination",
            1008,
        ),
        refused(
            "SUBSCRIBE to queues with a wildcard",
            &subscribe("/queue/*"),
            "validation_failed",
            1008,
        ),
        refused(
            "SUBSCRIBE with a wildcard before the end",
            &subscribe("/topic/**/a"),
            "validation_failed",
            1008,
        ),
    ]
}

/// What is not valid STOMP, or names what there is not.
fn not_valid() -> Vec<Fatal> {
    let twice = subscribe("/topic/x").repeat(2);
    let long = "r".repeat(300);
    vec![
        broken(
            "SUBSCRIBE to nowhere",
            subscribe("/nowhere"),
            "Unknown destination",
        ),
        broken(
            "the same id twice",
            twice,
            "Duplicated subscription identifier",
        ),
        broken(
            "SUBSCRIBE without id",
            "SUBSCRIBE\ndestination:/topic/x\n\n\0",
            "Missing id",
        ),
        broken(
            "UNSUBSCRIBE from nothing",
            "UNSUBSCRIBE\nid:9\n\n\0",
            "Subscription not found",
        ),
        broken(
            "SUBSCRIBE with a selector",
            "SUBSCRIBE\nid:0\nselector:x\ndestination:/topic/x\n\n\0",
            "Not supported",
        ),
        broken(
            "SEND without destination",
            "SEND\n\nx\0",
            "Missing destination",
        ),
        broken(
            "SEND to a path with ..",
            "SEND\ndestination:/topic/../x\n\nx\0",
            "Invalid destination",
        ),
        broken(
            "a receipt of 300 octets",
            format!("SEND\ndestination:/topic/x\nreceipt:{long}\n\nx\0"),
            "Header too long",
        ),
        // Nobody listens to /user/queue/errors, so the client must not wait for ever.
        refused(
            "SEND to unknown /app/x",
            "SEND\ndestination:/app/x\n\n{}\0",
            "unknown_destination",
            1008,
        ),
        refused(
            "a message to nobody",
            "SEND\ndestination:/app/chat.send\n\n{\"to\":\"user_0000000000000\",\"message\":\"x\"}\0",
            "not_found",
            1008,
        ),
    ]
}

#[tokio::test]
async fn a_request_that_cannot_be_granted_ends_the_session() {
    let mut cases = not_allowed();
    cases.extend(not_valid());
    each_ends_as_it_must(&node().await, true, cases).await;
}

#[tokio::test]
async fn an_error_frame_names_the_receipt_that_will_not_come() {
    let node = node().await;
    for frame in [
        "SEND\ndestination:/app/x\nreceipt:mine\n\n{}\0",
        "SEND\nreceipt:mine\n\nx\0",
        "SEND\ndestination:/topic/x\nreceipt:mine\ncontent-length:1\n\nxyz\0",
    ] {
        let mut client = Client::connect(node.address()).await;
        client.send(frame).await;
        let error = client.end().await.error.expect("an ERROR frame");
        assert_eq!(error.header("receipt-id"), "mine", "{frame:?}: {error:?}");
    }
}

/// Destination and body; code, status and field of the problem.
type Mistake = (&'static str, String, &'static str, u64, &'static str);

fn mistakes(me: &str) -> Vec<Mistake> {
    let chat = |to: &str, message: &str| json!({"to": to, "message": message}).to_string();
    let with_bad_id = json!({"to": me, "message": "x", "client_id": "a b"}).to_string();
    let to = "/app/chat.send";
    vec![
        ("/app/x", "{}".to_owned(), "unknown_destination", 404, ""),
        (
            to,
            chat("user_0000000000000", "hello"),
            "not_found",
            404,
            "to",
        ),
        (to, chat("", "hello"), "validation_failed", 422, "to"),
        (to, chat("a/b", "hello"), "validation_failed", 422, "to"),
        (to, chat(me, ""), "validation_failed", 422, "message"),
        (
            to,
            chat(me, " \n\t\u{3000}"),
            "validation_failed",
            422,
            "message",
        ),
        (
            to,
            chat(me, &"x".repeat(4_001)),
            "validation_failed",
            422,
            "message",
        ),
        (
            to,
            chat(me, &"가".repeat(5_500)),
            "validation_failed",
            422,
            "message",
        ),
        (to, with_bad_id, "validation_failed", 422, "client_id"),
        (to, String::new(), "bad_request", 400, ""),
        (to, "no JSON".to_owned(), "bad_request", 400, ""),
        (to, "[]".to_owned(), "bad_request", 400, ""),
        (to, "{\"to\":1}".to_owned(), "bad_request", 400, ""),
        ("/topic/room.1", "x".to_owned(), "forbidden", 403, ""),
        ("/topic/announce", "x".to_owned(), "forbidden", 403, ""),
        ("/topic/a%2eb", "x".to_owned(), "validation_failed", 422, ""),
        ("/topic/a.*", "x".to_owned(), "validation_failed", 422, ""),
        (
            "/app/chat/message",
            "{}".to_owned(),
            "validation_failed",
            422,
            "roomId",
        ),
        ("/app/chat/message", "x".to_owned(), "bad_request", 400, ""),
        ("/queue/DLQ.x", "x".to_owned(), "forbidden", 403, ""),
        ("/user/queue/messages", "x".to_owned(), "forbidden", 403, ""),
        (
            "/user/user_0000000000000/queue/messages",
            "x".to_owned(),
            "forbidden",
            403,
            "",
        ),
        (
            "/user/user_0000000000000/queue/x",
            "x".to_owned(),
            "anonymous_not_allowed",
            403,
            "",
        ),
    ]
}

#[tokio::test]
async fn what_a_client_can_put_right_is_a_problem_and_the_session_lives_on() {
    let node = node().await;
    let mut bystanders = Bystanders::on(&node).await;
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/user/queue/errors").await;
    let me = client.user().to_owned();
    for (destination, body, code, status, field) in mistakes(&me) {
        let what = format!(
            "{} to {destination}",
            body.chars().take(60).collect::<String>()
        );
        let receipt = client.publish(destination, &body).await;
        let frame = client.frame().await;
        assert_eq!(
            frame.header("destination"),
            "/user/queue/errors",
            "{what}: {frame:?}"
        );
        let problem = frame.json();
        assert_eq!(problem["code"], code, "{what}: {problem}");
        assert_eq!(problem["status"], status, "{what}");
        assert_eq!(
            problem["type"],
            format!("urn:stompbox:problem:{code}"),
            "{what}"
        );
        assert_eq!(problem["destination"], destination, "{what}");
        assert_eq!(problem["receipt_id"], receipt, "{what}");
        assert_eq!(
            problem["errors"][0]["field"].as_str().unwrap_or(""),
            field,
            "{what}"
        );
        let receipt = client.publish("/topic/alive", "x").await;
        assert_eq!(client.frame().await.receipt(), receipt, "{what}");
        bystanders.talk(&what).await;
    }
}
