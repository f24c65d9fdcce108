//! Requests, and what they are answered with.

use serde_json::json;

use super::*;

#[test]
fn a_send_keeps_its_own_headers_and_loses_the_protocols() {
    let mut rig = Rig::connected(Version::V1_2);
    let wire = "SEND\ndestination:/app/chat.send\nreceipt:r\ncontent-type:text/plain\nx:1\nx:2\n\
                message-id:evil\nsubscription:s\nuser-name:admin\nsender:admin\nx-sb-y:z\n\
                correlation-id:c\ncontent-length:3\n\na\0b\0";
    assert_eq!(rig.receive(wire), ["event SEND 1 /app/chat.send"]);
    let Some(Event::Send(send)) = rig.events.pop() else {
        panic!("no SEND");
    };
    let found: Vec<(&str, &str)> = send.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    let expected = [
        ("content-type", "text/plain"),
        ("x", "1"),
        ("correlation-id", "c"),
    ];
    assert_eq!(found, expected);
    assert_eq!(&send.body[..], b"a\0b");
}

#[test]
fn a_receipt_is_sent_when_its_request_is_settled_and_in_order() {
    let mut rig = Rig::connected(Version::V1_1);
    rig.receive("SUBSCRIBE\nid:1\ndestination:/topic/x\nreceipt:a\n\n\0");
    rig.receive("SEND\ndestination:/topic/x\nreceipt:b:\\c\n\n\0");
    rig.receive("UNSUBSCRIBE\nid:1\nreceipt:c\n\n\0");
    assert_eq!(rig.settle(2, ok()), [""; 0]);
    assert_eq!(rig.settle(1, ok()), ["RECEIPT a", "RECEIPT b::"]);
    assert_eq!(rig.settle(1, ok()), [""; 0], "an outcome counts once");
    let headers = vec![("x-rate-remaining", "7".to_owned())];
    let reply = Reply {
        headers,
        result: None,
    };
    assert_eq!(rig.settle(3, Ok(reply)), ["RECEIPT c"]);
    let last = &rig.frames.last().unwrap().headers;
    assert_eq!(last.get("x-rate-remaining"), Some("7"));
}

#[test]
fn a_refused_send_is_told_on_the_errors_of_this_session() {
    let mut rig = Rig::listening();
    rig.receive("SEND\ndestination:/app/chat.send\nreceipt:r1\n\n{}\0");
    rig.receive("SEND\ndestination:/app/chat.send\nreceipt:r2\n\n{}\0");
    let refusal = Problem::new(Code::RateLimited, "Slow down.").retry_after_ms(290);
    assert_eq!(rig.settle(3, Err(refusal)), ["MESSAGE errors"]);
    let body = rig.last_body();
    assert_eq!(body["code"], "rate_limited");
    assert_eq!(body["destination"], "/app/chat.send");
    assert_eq!(body["receipt_id"], "r1");
    assert_eq!(body["retry_after_ms"], 290);
    let first = rig.frames.last().unwrap().headers.clone();
    assert_eq!(first.get("destination"), Some("/user/queue/errors"));
    assert_eq!(rig.settle(4, ok()), ["RECEIPT r2"], "the session goes on");
}

#[test]
fn a_refusal_that_nobody_listens_to_ends_the_session() {
    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("SEND\ndestination:/app/x\nreceipt:r1\n\n\0");
    let out = rig.settle(1, no(Code::UnknownDestination));
    assert_eq!(
        out,
        [
            "ERROR unknown_destination r1",
            "close 1008 unknown_destination"
        ]
    );
    let mut rig = Rig::listening();
    rig.receive("SUBSCRIBE\nid:x\ndestination:/user/bob/queue/messages\nreceipt:r\n\n\0");
    let out = rig.settle(3, no(Code::Forbidden));
    assert_eq!(
        out,
        ["ERROR forbidden r", "close 4403 forbidden"],
        "listening or not"
    );
}

#[test]
fn a_send_with_a_correlation_id_is_answered_on_the_replies() {
    let mut rig = Rig::listening();
    for _ in 0..2 {
        rig.receive("SEND\ndestination:/app/x\ncorrelation-id:c\nreceipt:r\n\n\0");
    }
    let reply = Reply {
        headers: Vec::new(),
        result: Some(json!({"seq": 1})),
    };
    assert_eq!(rig.settle(3, Ok(reply)), ["MESSAGE replies", "RECEIPT r"]);
    let message = &rig.frames[rig.frames.len() - 2];
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    let expected =
        json!({"type": "REPLY", "correlation_id": "c", "ok": true, "result": {"seq": 1}});
    assert_eq!(body, expected);
    assert_eq!(rig.settle(4, no(Code::Conflict)), ["MESSAGE replies"]);
    let body = rig.last_body();
    assert_eq!(
        (&body["ok"], &body["error"]["code"]),
        (&json!(false), &json!("conflict"))
    );

    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("SEND\ndestination:/app/x\ncorrelation-id:c\n\n\0");
    assert_eq!(rig.settle(1, ok()), [""; 0], "nobody listens to the reply");
}

#[test]
fn a_subscription_without_id_is_told_without_one() {
    let mut rig = Rig::connected(Version::V1_0);
    rig.receive("SUBSCRIBE\ndestination:/user/queue/errors\n\n\0");
    rig.receive("SUBSCRIBE\ndestination:/topic/x\n\n\0");
    let Some(Event::Subscribe(subscribe)) = rig.events.pop() else {
        panic!("no SUBSCRIBE");
    };
    assert_eq!((&*subscribe.id, subscribe.named), ("/topic/x", false));
    rig.receive("SEND\ndestination:/app/x\n\n\0");
    assert_eq!(rig.settle(3, no(Code::NotFound)), ["MESSAGE"]);
    assert_eq!(
        rig.receive("UNSUBSCRIBE\ndestination:/user/queue/errors\n\n\0"),
        ["event UNSUBSCRIBE 4 /user/queue/errors"]
    );
    rig.receive("SEND\ndestination:/app/x\n\n\0");
    assert_eq!(
        rig.settle(5, no(Code::NotFound)).len(),
        2,
        "nobody listens any more"
    );
}
