//! SUBSCRIBE with its ack mode, ACK and NACK.

use super::*;
use crate::model::{AckMode, Destination, QueueArguments, Verdict};

fn subscribed(rig: &mut Rig, wire: &str) -> Subscribe {
    let out = rig.receive(wire);
    assert!(out.iter().all(|line| line.starts_with("event")), "{out:?}");
    match rig.events.pop() {
        Some(Event::Subscribe(subscribe)) => subscribe,
        other => panic!("no SUBSCRIBE: {other:?}"),
    }
}

#[test]
fn a_subscribe_tells_all_that_the_client_said() {
    let mut rig = Rig::connected(Version::V1_1);
    let wire = "SUBSCRIBE\nid:1\ndestination:/queue/jobs\nack:client-individual\n\
                prefetch-count:5\nx-message-ttl:60000\nx-max-length:9\n\n\0";
    let expected = Subscribe {
        ticket: Ticket(1),
        id: "1".into(),
        named: true,
        destination: Destination::Queue("/queue/jobs".into()),
        version: Version::V1_1,
        written: "/queue/jobs".into(),
        ack: AckMode::ClientIndividual,
        prefetch: 5,
        arguments: QueueArguments {
            message_ttl: Some(Duration::from_secs(60)),
            expires: None,
            length_max: Some(9),
        },
        of_session: 1,
    };
    assert_eq!(subscribed(&mut rig, wire), expected);
    let plain = subscribed(&mut rig, "SUBSCRIBE\nid:2\ndestination:/topic/x\n\n\0");
    assert_eq!((plain.ack, plain.prefetch), (AckMode::Auto, 100));
    assert_eq!(plain.arguments, QueueArguments::default());
}

#[test]
fn an_ack_names_its_message_as_its_version_does() {
    let check = |version, wire: &str, verdict, of: Delivered| {
        let mut rig = Rig::connected(version);
        assert_eq!(rig.receive(wire), ["event ACK 1"], "{version} {wire:?}");
        let expected = Acknowledge {
            ticket: Ticket(1),
            verdict,
            of,
        };
        assert_eq!(rig.events, [Event::Acknowledge(expected)], "{version}");
        let receipts = wire.contains("receipt").then(|| "RECEIPT r".to_owned());
        assert_eq!(rig.settle(1, ok()), Vec::from_iter(receipts));
    };
    let message = |subscription: Option<&str>| Delivered::Message {
        message_id: "m".into(),
        subscription: subscription.map(Into::into),
    };
    let old = "ACK\nmessage-id:m\n\n\0";
    check(Version::V1_0, old, Verdict::Ack, message(None));
    let mid = "ACK\nmessage-id:m\nsubscription:s\nreceipt:r\n\n\0";
    check(Version::V1_0, mid, Verdict::Ack, message(Some("s")));
    check(Version::V1_1, mid, Verdict::Ack, message(Some("s")));
    let new = "ACK\nid:3.1\nreceipt:r\n\n\0";
    let of = Delivered::Ack("3.1".into());
    check(Version::V1_2, new, Verdict::Ack, of.clone());
    let nack = "NACK\nid:3.1\n\n\0";
    check(Version::V1_2, nack, Verdict::Requeue, of.clone());
    let reject = "NACK\nid:3.1\nrequeue:false\n\n\0";
    check(Version::V1_2, reject, Verdict::Reject, of);
}

#[test]
fn an_ack_that_names_nothing_ends_the_session() {
    let check = |version, wire: &str, missing: &str| {
        let mut rig = Rig::connected(version);
        let expected = [
            format!("ERROR Missing {missing} r"),
            "close 1002 bad_request".to_owned(),
        ];
        assert_eq!(rig.receive(wire), expected, "{version} {wire:?}");
    };
    for command in ["ACK", "NACK"] {
        let wire = |headers: &str| format!("{command}\nreceipt:r\n{headers}\n\0");
        check(Version::V1_2, &wire(""), "id");
        check(Version::V1_2, &wire("id:\n"), "id");
        check(Version::V1_2, &wire("message-id:m\nsubscription:s\n"), "id");
        check(Version::V1_1, &wire("message-id:m\n"), "subscription");
        check(Version::V1_1, &wire("subscription:s\n"), "message-id");
        check(Version::V1_1, &wire("id:1.1\n"), "message-id");
    }
    check(Version::V1_0, "ACK\nreceipt:r\n\n\0", "message-id");
}

#[test]
fn an_ack_of_what_was_never_delivered_ends_the_session() {
    for mut rig in [Rig::connected(Version::V1_2), Rig::listening()] {
        let out = rig.receive("ACK\nid:9.9\nreceipt:r\n\n\0");
        let ticket: u64 = out[0].strip_prefix("event ACK ").unwrap().parse().unwrap();
        let expected = ["ERROR not_found r", "close 1008 not_found"];
        assert_eq!(rig.settle(ticket, no(Code::NotFound)), expected);
    }
}

#[test]
fn what_the_session_writes_itself_needs_no_ack_and_takes_one() {
    let mut rig = Rig::connected(Version::V1_1);
    let wire = "SUBSCRIBE\nid:e\ndestination:/user/queue/errors\nack:client\n\n\0";
    assert_eq!(subscribed(&mut rig, wire).ack, AckMode::Auto);
    assert_eq!(rig.settle(1, ok()), [""; 0]);
    rig.receive("SEND\ndestination:/app/x\n\n\0");
    assert_eq!(rig.settle(2, no(Code::NotFound)), ["MESSAGE e"]);
    let id = rig.frames.last().unwrap().headers.get("message-id");
    let ack = format!(
        "ACK\nmessage-id:{}\nsubscription:e\nreceipt:r\n\n\0",
        id.unwrap()
    );
    rig.receive("SEND\ndestination:/topic/x\nreceipt:before\n\n\0");
    assert_eq!(rig.receive(&ack), [""; 0], "receipts keep their order");
    assert_eq!(rig.settle(3, ok()), ["RECEIPT before", "RECEIPT r"]);
    let other = "ACK\nmessage-id:own-2\nsubscription:e\n\n\0";
    assert_eq!(rig.receive(other), ["event ACK 5"], "never written");
}

#[test]
fn a_reply_to_of_ones_own_is_a_subscription() {
    let mut rig = Rig::connected(Version::V1_2);
    let send = "SEND\ndestination:/queue/jobs\nreply-to:/temp-queue/a\nreceipt:r\n\n\0";
    let expected = [
        "event SUBSCRIBE 1 /temp-queue/a",
        "event SEND 2 /queue/jobs",
    ];
    assert_eq!(rig.receive(send), expected);
    let Event::Subscribe(subscribe) = &rig.events[0] else {
        panic!("no SUBSCRIBE");
    };
    let to = Destination::TempQueue("a".into());
    assert_eq!((&subscribe.destination, subscribe.named), (&to, true));
    assert_eq!(&*subscribe.written, "/temp-queue/a");
    let Event::Send(sent) = &rig.events[1] else {
        panic!("no SEND");
    };
    let reply_to = (Box::from("reply-to"), Box::from("/temp-queue/a"));
    assert_eq!(sent.headers, [reply_to], "the app gives it a name");
    assert_eq!(rig.settle(1, ok()), [""; 0], "nobody asked for a receipt");
    assert_eq!(rig.settle(2, ok()), ["RECEIPT r"]);
    assert_eq!(rig.receive(send), ["event SEND 3 /queue/jobs"], "once");
    let end = "UNSUBSCRIBE\nid:/temp-queue/a\n\n\0";
    assert_eq!(rig.receive(end), ["event UNSUBSCRIBE 4 /temp-queue/a"]);
    assert_eq!(rig.receive(send)[0], "event SUBSCRIBE 5 /temp-queue/a");
}

#[test]
fn a_reply_to_counts_as_a_subscription() {
    let mut rig = Rig::with(SessionConfig {
        subscriptions_max: 1,
        ..SessionConfig::default()
    });
    rig.connect("accept-version:1.2\n");
    let send = |name| format!("SEND\ndestination:/topic/x\nreply-to:/temp-queue/{name}\n\n\0");
    assert_eq!(rig.receive(&send("a")).len(), 2);
    assert_eq!(rig.receive(&send("a")).len(), 1);
    let expected = ["ERROR limit_exceeded", "close 1008 limit_exceeded"];
    assert_eq!(rig.receive(&send("b")), expected);
}
