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
    let out = loop {
        let out = rig.sleep();
        if !out.is_empty() {
            break out;
        }
    };
    assert_eq!(out, ["ERROR Frame timeout r", "close 1002 bad_request"]);
    assert_eq!(rig.now, start + Duration::from_secs(30));
}

#[test]
fn hearts_beat_as_agreed() {
    let mut rig = Rig::new();
    rig.connect("accept-version:1.2\nheart-beat:20000,10000\n");
    let start = rig.now;
    assert_eq!(
        rig.sleep(),
        ["beat"],
        "the deadline of the beginning is at ten seconds too"
    );
    assert_eq!(rig.now, start + Duration::from_secs(10));
    rig.now += Duration::from_secs(4);
    assert_eq!(rig.input(Input::Transmitted), [""; 0]);
    assert_eq!(rig.sleep(), [""; 0], "a delivery is a beat");
    assert_eq!(rig.sleep(), ["beat"]);
    assert_eq!(rig.now, start + Duration::from_secs(24));
    rig.receive("\n");
    let heard = rig.now;
    let mut out = rig.sleep();
    while out == ["beat"] || out.is_empty() {
        out = rig.sleep();
    }
    assert_eq!(out, ["close 4408 heart_beat_lost"]);
    assert_eq!(rig.now, heard + Duration::from_secs(51));
}

#[test]
fn each_incomplete_frame_has_its_own_time() {
    let mut rig = Rig::connected(Version::V1_2);
    let start = rig.now;
    rig.receive("SEND\ndestination:/topic/x\n\nhal");
    rig.now += Duration::from_secs(20);
    assert_eq!(rig.receive("f\0SEND\n"), ["event SEND 1 /topic/x"]);
    let out = loop {
        let out = rig.sleep();
        if !out.is_empty() {
            break out;
        }
    };
    assert_eq!(out, ["ERROR Frame timeout", "close 1002 bad_request"]);
    assert_eq!(rig.now, start + Duration::from_secs(50));
}
