//! `x-soft-errors:true`: what a session survives that would end another.

use super::*;

/// Connected softly, listening to its errors unless told otherwise.
fn soft(listens: bool) -> Rig {
    let mut rig = Rig::with(SessionConfig {
        subscriptions_max: 2,
        ..SessionConfig::default()
    });
    rig.connect("accept-version:1.2\nx-soft-errors:true\n");
    if listens {
        rig.receive("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0");
        assert_eq!(rig.settle(1, ok()), [""; 0]);
    }
    rig
}

#[test]
fn a_refused_subscribe_is_told_and_gone() {
    let mut rig = soft(true);
    let subscribe = "SUBSCRIBE\nid:1\ndestination:/topic/x\nreceipt:r\n\n\0";
    assert_eq!(rig.receive(subscribe), ["event SUBSCRIBE 2 1"]);
    assert_eq!(rig.settle(2, no(Code::Forbidden)), ["MESSAGE e"]);
    let body = rig.last_body();
    assert_eq!(body["code"], "forbidden");
    assert_eq!(body["destination"], "/topic/x");
    assert_eq!(body["receipt_id"], "r");
    assert_eq!(
        rig.receive(subscribe),
        ["event SUBSCRIBE 3 1"],
        "free again"
    );
}

#[test]
fn a_subscription_that_took_the_id_meanwhile_stays() {
    let mut rig = soft(true);
    let wire = "SUBSCRIBE\nid:1\ndestination:/topic/x\n\n\0UNSUBSCRIBE\nid:1\n\n\0\
                SUBSCRIBE\nid:1\ndestination:/topic/y\n\n\0";
    rig.receive(wire);
    assert_eq!(rig.settle(2, no(Code::Forbidden)), ["MESSAGE e"]);
    let out = rig.receive("UNSUBSCRIBE\nid:1\n\n\0");
    assert_eq!(out, ["event UNSUBSCRIBE 5 1"]);
}

#[test]
fn what_the_session_refuses_itself_is_told_as_well() {
    let mut rig = soft(true);
    let mut check = |wire: &str, code: &str| {
        assert_eq!(rig.receive(wire), ["MESSAGE e"], "{wire:?}");
        let body = rig.last_body();
        assert_eq!(
            (&body["code"], &body["receipt_id"]),
            (&code.into(), &"r".into())
        );
        body
    };
    let wire = "SUBSCRIBE\nid:1\ndestination:/nowhere/x\nreceipt:r\n\n\0";
    let body = check(wire, "unknown_destination");
    assert_eq!(body["destination"], "/nowhere/x");
    let wire = "SUBSCRIBE\nid:1\ndestination:/topic/\nreceipt:r\n\n\0";
    check(wire, "bad_request");
    let wire = "SUBSCRIBE\nid:1\ndestination:/topic/x\nselector:a\nreceipt:r\n\n\0";
    check(wire, "bad_request");
    check("UNSUBSCRIBE\nid:1\nreceipt:r\n\n\0", "not_found");
    rig.receive("SUBSCRIBE\nid:1\ndestination:/topic/x\n\n\0");
    let wire = "SUBSCRIBE\nid:2\ndestination:/topic/x\nreceipt:r\n\n\0";
    assert_eq!(rig.receive(wire), ["MESSAGE e"]);
    assert_eq!(rig.last_body()["code"], "limit_exceeded");
}

#[test]
fn an_ack_of_what_was_never_delivered_is_told() {
    let mut rig = soft(true);
    assert_eq!(rig.receive("ACK\nid:9.9\nreceipt:r\n\n\0"), ["event ACK 2"]);
    assert_eq!(rig.settle(2, no(Code::NotFound)), ["MESSAGE e"]);
    assert_eq!(rig.last_body()["receipt_id"], "r");
}

#[test]
fn where_nobody_listens_it_is_an_error_all_the_same() {
    let mut rig = soft(false);
    rig.receive("SUBSCRIBE\nid:1\ndestination:/topic/x\nreceipt:r\n\n\0");
    let expected = ["ERROR forbidden r", "close 4403 forbidden"];
    assert_eq!(rig.settle(1, no(Code::Forbidden)), expected);
    let mut rig = soft(false);
    rig.receive("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\nreceipt:r\n\n\0");
    let out = rig.settle(1, no(Code::RateLimited));
    assert_eq!(
        out[0], "ERROR rate_limited r",
        "it was the one that listened"
    );
    let mut rig = soft(false);
    let out = rig.receive("SUBSCRIBE\nid:1\ndestination:/nowhere/x\nreceipt:r\n\n\0");
    assert_eq!(out[0], "ERROR Unknown destination r");
}

#[test]
fn what_breaks_the_protocol_ends_the_session_softly_or_not() {
    for (wire, message) in [
        ("SUBSCRIBE\ndestination:/topic/x\n\n\0", "Missing id"),
        (
            "SUBSCRIBE\nid:1\ndestination:/topic/x\nack:x\n\n\0",
            "Bad ack",
        ),
        (
            "SUBSCRIBE\nid:e\ndestination:/topic/x\n\n\0",
            "Duplicated subscription identifier",
        ),
        ("SEND\ndestination:/nowhere/x\n\n\0", "Unknown destination"),
        ("BEGIN\n\n\0", "Missing transaction"),
    ] {
        let out = soft(true).receive(wire);
        assert_eq!(out[0], format!("ERROR {message}"), "{wire:?}");
        assert_eq!(out[1], "close 1002 bad_request", "{wire:?}");
    }
}

#[test]
fn only_the_word_true_makes_a_session_soft() {
    for value in ["false", "", "TRUE", "1"] {
        let mut rig = Rig::new();
        rig.connect(&format!("accept-version:1.2\nx-soft-errors:{value}\n"));
        rig.receive("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0");
        rig.settle(1, ok());
        rig.receive("SUBSCRIBE\nid:1\ndestination:/topic/x\n\n\0");
        assert_eq!(rig.settle(2, no(Code::Forbidden))[0], "ERROR forbidden");
    }
}

#[test]
fn a_session_survives_many_refusals_but_not_any_number() {
    let mut rig = soft(true);
    let wire = "SUBSCRIBE\nid:1\ndestination:/nowhere/x\n\n\0";
    for _ in 0..SOFT_MAX {
        assert_eq!(rig.receive(wire), ["MESSAGE e"]);
    }
    assert_eq!(rig.receive(wire)[0], "ERROR Unknown destination");
}
