//! The ways in which a session ends.

use super::*;

#[test]
fn a_disconnect_waits_for_what_was_asked_before_it() {
    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("SEND\ndestination:/topic/x\nreceipt:a\n\n\0SEND\ndestination:/topic/x\n\n\0");
    assert_eq!(rig.receive("DISCONNECT\nreceipt:z\n\n\0"), [""; 0]);
    assert_eq!(rig.receive("SEND\ndestination:/topic/x\n\n\0"), [""; 0]);
    assert_eq!(rig.settle(1, ok()), ["RECEIPT a"]);
    assert_eq!(rig.settle(2, ok()), ["RECEIPT z", "close 1000 bye"]);
    assert!(rig.session.is_closed());
    let mut rig = in_phase(Phase::Disconnecting);
    assert_eq!(rig.sleep(), ["close 1000 bye"], "and not for ever");
}

#[test]
fn an_end_is_told_if_there_is_something_to_tell() {
    let end = |problem, reason| Input::End { problem, reason };
    let mut rig = Rig::connected(Version::V1_2);
    let out = rig.input(end(None, CloseReason::RESTART));
    assert_eq!(out, ["close 1012 draining"]);
    let mut rig = Rig::connected(Version::V1_2);
    let problem = Some(Problem::new(Code::RateLimited, "Too often."));
    let out = rig.input(end(problem, CloseReason::of(4429, "rate_limited")));
    assert_eq!(out, ["ERROR rate_limited", "close 4429 rate_limited"]);
    assert_eq!(rig.input(end(None, CloseReason::RESTART)), [""; 0]);
    assert_eq!(rig.input(Input::Timeout), [""; 0]);
}

#[test]
fn too_many_unanswered_requests_end_the_session() {
    let mut rig = Rig::connected(Version::V1_2);
    let send = "SEND\ndestination:/topic/x\n\n\0";
    rig.receive(&send.repeat(receipts::PENDING_MAX));
    assert!(!rig.session.is_closed());
    let expected = ["ERROR limit_exceeded", "close 1008 limit_exceeded"];
    assert_eq!(rig.receive(send), expected);
}

#[test]
fn a_wrong_request_is_an_error_with_its_receipt_and_the_end() {
    let check = |wire: &str, message: &str| {
        let mut rig = Rig::connected(Version::V1_2);
        let wire = wire.replacen('\n', "\nreceipt:r\n", 1);
        let out = rig.receive(&format!("{wire}SEND\ndestination:/topic/after\n\n\0"));
        let expected = [
            format!("ERROR {message} r"),
            "close 1002 bad_request".to_owned(),
        ];
        assert_eq!(out, expected, "{wire:?}");
        assert_eq!(rig.receive("SEND\ndestination:/topic/x\n\n\0"), [""; 0]);
    };
    check("SEND\n\n\0", "Missing destination");
    check("SEND\ndestination:nowhere\n\n\0", "Unknown destination");
    check("SEND\ndestination:/topic/\n\n\0", "Invalid destination");
    check(
        "SEND\ndestination:/topic/x\ntransaction:t\n\n\0",
        "Bad transaction",
    );
    check(
        "SEND\ndestination:/temp-queue/x\n\n\0",
        "Invalid destination",
    );
    check(
        "SEND\ndestination:/topic/x\nreply-to:/temp-queue/\n\n\0",
        "Bad reply-to",
    );
    check("ACK\n\n\0", "Missing id");
    check("NACK\nid:1.1\nrequeue:maybe\n\n\0", "Bad requeue");
    check("COMMIT\ntransaction:t\n\n\0", "Bad transaction");
    check("ABORT\ntransaction:t\n\n\0", "Bad transaction");
    check("BEGIN\n\n\0", "Missing transaction");
    check("SEND\ndestination:/topic/x\nnonsense\n\n\0", "Bad header");
    check("SEND\ndestination:/topic/\\t\n\n\0", "Undefined escape");
    let long = "x".repeat(256);
    check(
        &format!("SEND\ndestination:/topic/x\ncorrelation-id:{long}\n\n\0"),
        "Header too long",
    );
    check("SUBSCRIBE\ndestination:/topic/x\n\n\0", "Missing id");
    check(
        "SUBSCRIBE\nid:1\ndestination:/topic/x\n\nbody\0",
        "Body not allowed",
    );
    check(
        "SEND\ndestination:/topic/x\ncontent-length:1\n\nab\0",
        "Missing NUL",
    );
}

#[test]
fn octets_that_are_no_frame_end_the_session_with_the_limit_they_broke() {
    let check = |wire: &[u8], message: &str, close: &str| {
        let mut rig = Rig::connected(Version::V1_2);
        let out = rig.input(Input::Received(wire));
        assert_eq!(out, [format!("ERROR {message}"), format!("close {close}")]);
    };
    check(b"HELO\n\n\0", "Bad command", "1002 bad_request");
    check(b"SEND\nx\n\n\0", "Bad header", "1002 bad_request");
    check(b"SEND\nx:\\t\n\n\0", "Undefined escape", "1002 bad_request");
    check(b"SEND\nx:\xff\n\n\0", "Invalid UTF-8", "1002 bad_request");
    check(
        b"SEND\ncontent-length:-1\n\n",
        "Bad content-length",
        "1002 bad_request",
    );
    check(
        b"SEND\ncontent-length:65537\n\n",
        "Body too long",
        "1009 payload_too_large",
    );
    let line = format!("SEND\nx:{}", "x".repeat(9_000));
    check(line.as_bytes(), "Header too long", "1009 payload_too_large");
    let many = format!("SEND\n{}", "x:y\n".repeat(65));
    check(
        many.as_bytes(),
        "Too many headers",
        "1009 payload_too_large",
    );
    let head = format!("SEND\n{}", format!("x:{}\n", "y".repeat(8_000)).repeat(5));
    check(head.as_bytes(), "Head too long", "1009 payload_too_large");
}
