//! CONNECT, the verdict, and what comes between them.

use super::*;

#[test]
fn a_connect_is_read_and_answered() {
    let mut rig = Rig::new();
    let wire = "STOMP\naccept-version:1.1,1.2\nhost:h\nlogin:l\npasscode:a\\b:c\nheart-beat:0,0\n\
                visitor-token:new\ndevice-id:d\n\n\0";
    assert_eq!(rig.receive(wire), ["event CONNECT"]);
    let Some(Event::Connect(connect)) = rig.events.pop() else {
        panic!("no CONNECT");
    };
    assert_eq!(connect.version, Version::V1_2);
    assert_eq!(connect.passcode.as_deref(), Some("a\\b:c"));
    assert_eq!(connect.visitor_token.as_deref(), Some("new"));
    assert_eq!(connect.accept_language, None);
    assert!(!format!("{connect:?}").contains("a\\b:c"));
    rig.input(Input::Accepted(accepted()));
    let headers = &rig.frames[0].headers;
    let found: Vec<_> = headers.iter().collect();
    let expected = [
        ("version", "1.2"),
        ("session", "0123456789abcdefghjkmnpqrs"),
        ("server", "stompbox"),
        ("heart-beat", "5000,25000"),
        ("user-name", "user_0123456789abc"),
        ("kind", "anonymous"),
        ("proof", "new"),
        ("node", "n1"),
        ("limits", "{\"body\":65536}"),
        ("visitor-token", "sbv1.x"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_connect_that_cannot_be_agreed_with_ends_the_session() {
    let check = |headers: &str, message: &str| {
        let mut rig = Rig::new();
        let out = rig.receive(&format!("CONNECT\n{headers}\n\0"));
        assert_eq!(
            out,
            [
                format!("ERROR {message}"),
                "close 1002 bad_request".to_owned()
            ]
        );
        rig.frames.remove(0)
    };
    let frame = check("accept-version:2.0\n", "Version mismatch");
    assert_eq!(frame.headers.get("version"), Some("1.0,1.1,1.2"));
    assert_eq!(frame.body, "Supported versions are 1.0,1.1,1.2\n");
    check("accept-version:1.2\nheart-beat:a,b\n", "Bad heart-beat");
    check("accept-version:1.2\n\nbody", "Body not allowed");
    let mut rig = Rig::new();
    rig.receive("CONNECT\n\n\0");
    let refusal = Problem::new(Code::TryLater, "Too many.").retry_after_ms(9);
    let expected = ["ERROR try_later", "close 1013 try_later;retry_after_ms=9"];
    assert_eq!(rig.input(Input::Refused(refusal)), expected);
}

#[test]
fn each_version_is_greeted_as_it_knows_it() {
    let check = |accept: &str, version: &str, beats: Option<&str>| {
        let mut rig = Rig::new();
        rig.connect(accept);
        let headers = &rig.frames[0].headers;
        assert_eq!(headers.get("version"), Some(version), "{accept:?}");
        assert_eq!(headers.get("heart-beat"), beats, "{accept:?}");
        assert_eq!(headers.get("server"), Some("stompbox"));
        assert!(headers.get("session").is_some());
        for (name, _) in headers.iter() {
            let is_known = |row: &&HeaderRow| {
                row.command == Command::Connected
                    && row.header == name
                    && row.versions.iter().any(|known| known.as_str() == version)
            };
            assert!(
                super::headers().any(|row| is_known(&row)),
                "{version} {name}"
            );
        }
    };
    check("", "1.0", None);
    check("accept-version:1.0\n", "1.0", None);
    check("accept-version:1.1,1.0\n", "1.1", Some("5000,25000"));
    check(
        "accept-version: 3.1 ,1.2,x,1.0\n",
        "1.2",
        Some("5000,25000"),
    );
}

#[test]
fn a_receipt_on_connect_is_not_answered() {
    let mut rig = Rig::new();
    rig.connect("accept-version:1.2\nreceipt:r\n");
    assert_eq!(rig.frames.len(), 1);
    assert_eq!(rig.frames[0].headers.get("receipt-id"), None);
}

#[test]
fn what_was_agreed_is_told_to_the_transport() {
    let millis = |number| Some(Duration::from_millis(number));
    let check = |headers: &str, expected| {
        let mut rig = Rig::new();
        assert_eq!(rig.session.agreed_beats(), (None, None));
        rig.connect(headers);
        assert_eq!(rig.session.agreed_beats(), expected, "{headers}");
    };
    check("accept-version:1.2\n", (None, None));
    check(
        "accept-version:1.2\nheart-beat:0,10000\n",
        (millis(10_000), None),
    );
    check(
        "accept-version:1.1\nheart-beat:30000,1\n",
        (millis(5_000), millis(30_000)),
    );
    check("accept-version:1.0\nheart-beat:30000,1\n", (None, None));
}

#[test]
fn a_client_of_1_0_may_write_a_space_after_the_colon() {
    let mut rig = Rig::new();
    rig.receive("CONNECT\nlogin: me\npasscode:  x\n\n\0");
    let Some(Event::Connect(connect)) = rig.events.pop() else {
        panic!("no CONNECT");
    };
    assert_eq!(connect.version, Version::V1_0);
    assert_eq!(connect.login.as_deref(), Some("me"));
    assert_eq!(connect.passcode.as_deref(), Some(" x"));
}

#[test]
fn what_comes_before_the_verdict_waits_for_it_and_is_bounded() {
    let mut rig = Rig::new();
    let send = "SEND\ndestination:/topic/x\n\n\0";
    assert_eq!(
        rig.receive(&format!("CONNECT\n\n\0{send}")),
        ["event CONNECT"]
    );
    assert_eq!(rig.receive(send), [""; 0]);
    let out = rig.input(Input::Accepted(accepted()));
    assert_eq!(
        out,
        [
            "CONNECTED",
            "event SEND 1 /topic/x",
            "event SEND 2 /topic/x"
        ]
    );

    let max = Limits::default().head_bytes_unauthenticated_max();
    let too_much = [
        "ERROR Too much before CONNECTED",
        "close 1009 payload_too_large",
    ];
    let mut rig = in_phase(Phase::AwaitingVerdict);
    assert_eq!(rig.receive(&"x".repeat(max)), [""; 0]);
    assert_eq!(rig.receive("x"), too_much);
    let mut rig = Rig::new();
    let out = rig.receive(&format!("CONNECT\n\n\0{}", "x".repeat(max + 1)));
    assert_eq!(out, ["event CONNECT", too_much[0], too_much[1]]);
}

#[test]
fn a_head_may_be_longer_once_the_client_is_known() {
    let lines = format!("x:{}\n", "y".repeat(7_000)).repeat(3);
    let mut rig = Rig::new();
    let expected = ["ERROR Head too long", "close 1009 payload_too_large"];
    assert_eq!(rig.receive(&format!("CONNECT\n{lines}\n\0")), expected);
    let mut rig = Rig::connected(Version::V1_2);
    let send = format!("SEND\ndestination:/topic/x\n{lines}\n\0");
    assert_eq!(rig.receive(&send), ["event SEND 1 /topic/x"]);
}
