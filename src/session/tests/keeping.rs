//! How many bytes a session says that it keeps for its client.

use super::*;

#[test]
fn what_is_kept_is_told_and_nothing_when_it_has_gone() {
    let mut rig = Rig::connected(Version::V1_2);
    assert_eq!(rig.session.kept_bytes(), 0);
    let body = "x".repeat(60_000);
    let (begun, rest) = (format!("SEND\ndestination:/topic/x\n\n{body}"), "\0");
    rig.receive(&begun);
    let frame = rig.session.kept_bytes();
    assert!((60_000..130_000).contains(&frame), "{frame}");
    assert_eq!(rig.receive(rest), ["event SEND 1 /topic/x"]);
    let request = rig.session.kept_bytes();
    assert!((64..256).contains(&request), "{request}");
    assert_eq!(rig.settle(1, ok()), [""; 0]);
    assert_eq!(rig.session.kept_bytes(), 0);
}

#[test]
fn transactions_are_kept_until_they_end() {
    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("BEGIN\ntransaction:t\n\n\0");
    let step = format!(
        "SEND\ndestination:/topic/x\ntransaction:t\n\n{}\0",
        "x".repeat(9_000)
    );
    for count in 1..=3 {
        rig.receive(&step);
        let kept = rig.session.kept_bytes();
        assert!((count * 9_000..count * 10_000).contains(&kept), "{kept}");
    }
    for _ in 0..4 {
        // Steps without a body are not free.
        rig.receive("ACK\nid:1.1\ntransaction:t\n\n\0");
    }
    assert!(rig.session.kept_bytes() > 28_000);
    rig.receive("ABORT\ntransaction:t\n\n\0");
    assert_eq!(rig.session.kept_bytes(), 0);
}

#[test]
fn receipts_that_wait_behind_an_unanswered_request_are_kept() {
    let mut rig = Rig::connected(Version::V1_2);
    assert_eq!(
        rig.receive("SEND\ndestination:/app/x\nreceipt:1\n\n\0")
            .len(),
        1
    );
    let long = "r".repeat(200);
    for _ in 0..10 {
        let begin = format!("BEGIN\ntransaction:t\nreceipt:{long}\n\n\0");
        assert_eq!(rig.receive(&begin), [""; 0]);
        rig.receive("ABORT\ntransaction:t\n\n\0");
    }
    assert!(rig.session.kept_bytes() > 2_000);
    assert_eq!(rig.settle(1, ok()).len(), 11);
    assert_eq!(rig.session.kept_bytes(), 0);
}
