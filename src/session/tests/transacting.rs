//! BEGIN, COMMIT and ABORT, and what stands between them.

use super::*;
use crate::model::Verdict;

const SEND: &str = "SEND\ndestination:/topic/x\ntransaction:t\n\n\0";

fn begun() -> Rig {
    begun_with(TransactionLimits::default())
}

fn begun_with(transactions: TransactionLimits) -> Rig {
    let mut rig = Rig::with(SessionConfig {
        transactions,
        ..SessionConfig::default()
    });
    rig.connect("accept-version:1.2\n");
    let begin = "BEGIN\ntransaction:t\nreceipt:begun\n\n\0";
    assert_eq!(rig.receive(begin), ["RECEIPT begun"]);
    rig.frames.clear();
    rig
}

#[test]
fn a_commit_is_one_event_with_every_step_in_order() {
    let mut rig = begun();
    let wire = "SEND\ndestination:/topic/x\ntransaction:t\nreceipt:1\nx:y\n\nhello\0\
                ACK\nid:1.1\ntransaction:t\nreceipt:2\n\n\0NACK\nid:1.2\ntransaction:t\n\n\0";
    assert_eq!(rig.receive(wire), ["RECEIPT 1", "RECEIPT 2"], "taken");
    let commit = "COMMIT\ntransaction:t\nreceipt:3\n\n\0";
    assert_eq!(rig.receive(commit), ["event COMMIT 4"]);
    let Some(Event::Commit(commit)) = rig.events.pop() else {
        panic!("no COMMIT");
    };
    let shown: Vec<_> = commit
        .steps
        .iter()
        .map(|step| match step {
            Step::Send(send) => {
                assert_eq!(send.headers, [("x".into(), "y".into())]);
                (
                    send.ticket,
                    String::from_utf8_lossy(&send.body).into_owned(),
                )
            }
            Step::Acknowledge(it) => (it.ticket, format!("{:?} {:?}", it.verdict, it.of)),
        })
        .collect();
    let of = |verdict: Verdict, id| format!("{verdict:?} Ack({id:?})");
    let expected = [
        "hello".to_owned(),
        of(Verdict::Ack, "1.1"),
        of(Verdict::Requeue, "1.2"),
    ];
    assert_eq!(shown, expected.map(|text| (commit.ticket, text)));
    assert_eq!(rig.settle(4, ok()), ["RECEIPT 3"], "it has had its effect");
    let again = rig.receive("COMMIT\ntransaction:t\n\n\0");
    assert_eq!(again[0], "ERROR Bad transaction");
}

#[test]
fn a_transaction_that_is_not_committed_has_no_effect() {
    let mut rig = begun();
    rig.receive(SEND);
    let abort = "ABORT\ntransaction:t\nreceipt:r\n\n\0";
    assert_eq!(rig.receive(abort), ["RECEIPT r"]);
    assert_eq!(rig.events, []);
    assert!(rig.session.transactions.is_none(), "nothing is kept");
    let begin = "BEGIN\ntransaction:t\n\n\0";
    assert_eq!(rig.receive(begin), [""; 0], "the name is free again");

    let mut rig = begun();
    rig.receive(SEND);
    let out = rig.receive("DISCONNECT\nreceipt:r\n\n\0");
    assert_eq!(out, ["RECEIPT r", "close 1000 bye"]);
}

#[test]
fn receipts_of_steps_keep_the_order_of_the_requests() {
    let mut rig = begun();
    rig.receive("SEND\ndestination:/topic/x\nreceipt:1\n\n\0");
    let wire = "BEGIN\ntransaction:u\nreceipt:2\n\n\0\
                SEND\ndestination:/topic/x\ntransaction:u\nreceipt:3\n\n\0\
                ABORT\ntransaction:u\nreceipt:4\n\n\0COMMIT\ntransaction:t\nreceipt:5\n\n\0\
                BEGIN\ntransaction:t\nreceipt:6\n\n\0";
    assert_eq!(rig.receive(wire), ["event COMMIT 6"]);
    assert_eq!(rig.settle(6, ok()), [""; 0]);
    let out = rig.settle(2, ok());
    let expected = [1, 2, 3, 4, 5, 6].map(|number| format!("RECEIPT {number}"));
    assert_eq!(out, expected);
}

#[test]
fn transactions_do_not_meet() {
    let mut rig = begun();
    rig.receive("BEGIN\ntransaction:u\n\n\0");
    for (transaction, body) in [("t", "1"), ("u", "2"), ("t", "3")] {
        rig.receive(&format!(
            "SEND\ndestination:/topic/x\ntransaction:{transaction}\n\n{body}\0"
        ));
    }
    rig.receive("ABORT\ntransaction:u\n\n\0COMMIT\ntransaction:t\n\n\0");
    let Some(Event::Commit(commit)) = rig.events.pop() else {
        panic!("no COMMIT");
    };
    assert_eq!(commit.steps.len(), 2);
}

#[test]
fn a_name_is_used_once_and_must_be_known() {
    let check = |wire: &str, message: &str| {
        let out = begun().receive(wire);
        let expected = [
            format!("ERROR {message} r"),
            "close 1002 bad_request".to_owned(),
        ];
        assert_eq!(out, expected, "{wire:?}");
    };
    check("BEGIN\nreceipt:r\ntransaction:t\n\n\0", "Bad transaction");
    let long = "x".repeat(129);
    let wire = format!("BEGIN\nreceipt:r\ntransaction:{long}\n\n\0");
    check(&wire, "Bad transaction identifier");
    let commands = [
        "COMMIT\n",
        "ABORT\n",
        "ACK\nid:1.1\n",
        "NACK\nid:1.1\n",
        "SEND\ndestination:/topic/x\n",
    ];
    for command in commands {
        let wire = format!("{command}receipt:r\ntransaction:u\n\n\0");
        check(&wire, "Bad transaction");
        let wire = format!("{command}receipt:r\ntransaction:{long}\n\n\0");
        check(&wire, "Bad transaction identifier");
    }
}

#[test]
fn what_a_session_keeps_is_limited() {
    let limits = TransactionLimits {
        open_max: 2,
        frames_max: 3,
        bytes_max: 100,
        idle: Duration::from_secs(30),
    };
    let too_much = ["ERROR limit_exceeded r", "close 1008 limit_exceeded"];
    let mut rig = begun_with(limits);
    assert_eq!(rig.receive("BEGIN\ntransaction:u\n\n\0"), [""; 0]);
    let begin = "BEGIN\ntransaction:v\nreceipt:r\n\n\0";
    assert_eq!(rig.receive(begin), too_much);

    let mut rig = begun_with(limits);
    assert_eq!(rig.receive(&SEND.repeat(3)), [""; 0]);
    let ack = "ACK\nid:1.1\ntransaction:t\nreceipt:r\n\n\0";
    assert_eq!(rig.receive(ack), too_much);

    let mut rig = begun_with(limits);
    let send = |octets: usize| {
        let body = "x".repeat(octets);
        format!("SEND\ndestination:/topic/x\ntransaction:t\nreceipt:r\n\n{body}\0")
    };
    assert_eq!(rig.receive(&send(100)), ["RECEIPT r"]);
    assert_eq!(rig.receive(&send(1)), too_much);
}

#[test]
fn a_transaction_that_rests_is_aborted_with_its_session() {
    let mut rig = begun();
    let start = rig.now;
    rig.now += Duration::from_secs(20);
    rig.receive(SEND);
    let expected = ["ERROR limit_exceeded", "close 1008 limit_exceeded"];
    assert_eq!(rig.sleep_to_the_end(), expected);
    assert_eq!(rig.now, start + Duration::from_secs(50));

    let mut rig = begun();
    rig.receive("ABORT\ntransaction:t\n\n\0");
    assert_eq!(rig.sleep(), [""; 0], "nothing rests any more");
}

#[test]
fn a_reply_to_in_a_transaction_is_a_subscription_once_it_is_committed() {
    let mut rig = begun();
    let send = "SEND\ndestination:/topic/x\nreply-to:/temp-queue/a\ntransaction:t\n\n\0";
    assert_eq!(rig.receive(&send.repeat(2)), [""; 0]);
    let expected = ["event SUBSCRIBE 2 /temp-queue/a", "event COMMIT 3"];
    assert_eq!(rig.receive("COMMIT\ntransaction:t\n\n\0"), expected);
}

#[test]
fn a_commit_that_is_refused_is_told_like_a_send() {
    let mut rig = Rig::listening();
    let wire = "BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\nreceipt:r\n\n\0";
    assert_eq!(rig.receive(wire), ["event COMMIT 3"]);
    assert_eq!(rig.settle(3, no(Code::Forbidden)), ["MESSAGE errors"]);
    assert_eq!(rig.last_body()["receipt_id"], "r");
    let mut rig = begun();
    rig.receive("COMMIT\ntransaction:t\nreceipt:r\n\n\0");
    let expected = ["ERROR forbidden r", "close 4403 forbidden"];
    assert_eq!(rig.settle(2, no(Code::Forbidden)), expected);
}

#[test]
fn an_ack_of_what_the_session_wrote_may_stand_in_a_transaction() {
    let mut rig = Rig::connected(Version::V1_1);
    rig.receive("SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0");
    rig.receive("SEND\ndestination:/app/x\n\n\0");
    assert_eq!(rig.settle(2, no(Code::NotFound)), ["MESSAGE e"]);
    rig.settle(1, ok());
    let ack = "ACK\nmessage-id:own-1\nsubscription:e\ntransaction:t\nreceipt:r\n\n\0";
    rig.receive("BEGIN\ntransaction:t\n\n\0");
    assert_eq!(rig.receive(ack), ["RECEIPT r"]);
    rig.receive("COMMIT\ntransaction:t\n\n\0");
    let Some(Event::Commit(commit)) = rig.events.pop() else {
        panic!("no COMMIT");
    };
    assert_eq!(commit.steps, [], "there is nothing to be done for it");
}
