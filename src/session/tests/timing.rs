//! Deadlines and heart-beats.

use std::time::Duration;

use super::*;

#[test]
fn a_client_that_does_not_go_on_is_ended() {
    let mut rig = Rig::new();
    let start = rig.now;
    assert_eq!(
        rig.sleep(),
        ["ERROR Connect timeout", "close 1002 bad_request"]
    );
    assert_eq!(rig.now, start + Duration::from_secs(10));

    let mut rig = Rig::connected(Version::V1_2);
    let start = rig.now;
    rig.receive("SEND\ndestination:/topic/x\nreceipt:r\n\nhal");
    rig.now += Duration::from_secs(29);
    rig.receive("f");
    assert_eq!(
        rig.sleep_to_the_end(),
        ["ERROR Frame timeout r", "close 1002 bad_request"]
    );
    assert_eq!(rig.now, start + Duration::from_secs(30));
}

#[test]
fn hearts_beat_as_agreed() {
    let early = Duration::from_millis(200);
    let mut rig = Rig::new();
    rig.connect("accept-version:1.2\nheart-beat:20000,10000\n");
    let start = rig.now;
    assert_eq!(rig.sleep(), ["beat"]);
    assert_eq!(rig.now, start + Duration::from_secs(10) - early);
    let beaten = rig.now;
    rig.now += Duration::from_secs(4);
    assert_eq!(rig.input(Input::Transmitted), [""; 0]);
    assert_eq!(rig.sleep(), [""; 0], "a delivery is a beat");
    assert_eq!(rig.sleep(), ["beat"]);
    assert_eq!(rig.now, beaten + Duration::from_secs(14) - early);
    rig.receive("\n");
    let heard = rig.now;
    assert_eq!(rig.sleep_to_the_end(), LOST);
    assert_eq!(rig.now, heard + Duration::from_secs(51));
}

const LOST: [&str; 2] = ["ERROR Heart-beat lost", "close 4408 heart_beat_lost"];

#[test]
fn a_client_that_promised_nothing_may_be_silent_for_a_while() {
    for headers in ["accept-version:1.2\n", "heart-beat:1000,0\n"] {
        let mut rig = Rig::new();
        rig.connect(headers);
        let start = rig.now;
        rig.now += Duration::from_secs(50);
        rig.input(Input::Transmitted);
        rig.now += Duration::from_secs(10);
        rig.input(Input::Ponged);
        assert_eq!(rig.sleep_to_the_end(), LOST, "{headers}");
        assert_eq!(rig.now, start + Duration::from_secs(150), "{headers}");
    }
    let mut rig = Rig::with(SessionConfig {
        idle_timeout: Duration::ZERO,
        ..SessionConfig::default()
    });
    rig.connect("accept-version:1.2\n");
    assert_eq!(rig.sleep(), [""; 0], "the deadline of CONNECT");
    assert_eq!(rig.deadline, None, "for ever");
}

#[test]
fn nobody_beats_or_is_lost_before_the_verdict() {
    let mut rig = Rig::new();
    rig.receive("CONNECT\naccept-version:1.2\nheart-beat:1000,1000\n\n\0");
    assert_eq!(rig.sleep(), [""; 0]);
    assert_eq!(rig.deadline, None);
}

#[test]
fn a_client_that_disconnects_need_not_beat() {
    let mut rig = Rig::new();
    rig.connect("accept-version:1.2\nheart-beat:1000,0\n");
    rig.now += Duration::from_secs(50);
    rig.receive("SEND\ndestination:/topic/x\n\n\0DISCONNECT\nreceipt:r\n\n\0");
    let start = rig.now;
    assert_eq!(rig.sleep_to_the_end(), ["close 1000 bye"]);
    assert_eq!(rig.now, start + DISCONNECT_TIMEOUT);
}

#[test]
fn each_incomplete_frame_has_its_own_time() {
    let mut rig = Rig::connected(Version::V1_2);
    let start = rig.now;
    rig.receive("SEND\ndestination:/topic/x\n\nhal");
    rig.now += Duration::from_secs(20);
    assert_eq!(rig.receive("f\0SEND\n"), ["event SEND 1 /topic/x"]);
    assert_eq!(
        rig.sleep_to_the_end(),
        ["ERROR Frame timeout", "close 1002 bad_request"]
    );
    assert_eq!(rig.now, start + Duration::from_secs(50));
}

#[test]
fn a_message_of_the_transport_that_stays_incomplete_is_a_frame_that_does() {
    let expected = ["ERROR Frame timeout r", "close 1002 bad_request"];
    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("SEND\nreceipt:r\ndestination:/topic/x\n\nhal");
    assert_eq!(rig.input(Input::Unfinished), expected);
    let mut rig = Rig::new();
    let out = rig.input(Input::Unfinished);
    assert_eq!(out, ["ERROR Frame timeout", "close 1002 bad_request"]);
}
