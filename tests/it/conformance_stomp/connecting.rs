//! CONNECT, STOMP, CONNECTED and the negotiation (STOMP 1.2, section Connecting; protocol 1.1 and
//! 1.0 where they differ).

use super::case::Version::{V10, V11, V12};
use super::case::{ALL, FROM_11, ONLY_10, ONLY_12, cases, greeting, over_every_transport, send};
use super::case::{UP_TO_11, subscribe};

over_every_transport!(&[]);

cases! {
"connect.connected" ALL, "CONNECT is answered with CONNECTED." => |case| {
    case.connect().await;
}
"connect.stomp" ALL, "STOMP is taken as CONNECT." => |case| {
    let mut wire = case.open().await;
    wire.send(greeting(case.version, "").replacen("CONNECT", "STOMP", 1)).await;
    let connected = wire.expect("CONNECTED").await;
    assert_eq!(connected.header("version"), case.version.text());
}
"connect.version" ALL, "CONNECTED says the version." => |case| {
    let (_wire, connected) = case.connect_with(case.version, "").await;
    assert_eq!(connected.header("version"), case.version.text());
}
"connect.highest" ONLY_12, "The highest common version is chosen, in whatever order they are named." => |case| {
    for (accept, chosen) in [("1.1,1.2,1.0", "1.2"), ("1.0,1.1", "1.1"), ("1.1,1.0", "1.1"), ("1.0", "1.0")] {
        let mut wire = case.open().await;
        wire.send(format!("CONNECT\naccept-version:{accept}\nhost:x\n\n\0")).await;
        assert_eq!(wire.expect("CONNECTED").await.header("version"), chosen, "{accept}");
    }
}
"connect.unknownversion" FROM_11, "Versions that are unknown are passed over." => |case| {
    let version = case.version.text();
    let mut wire = case.open().await;
    wire.send(format!("CONNECT\naccept-version:9.9,{version},x\nhost:x\n\n\0")).await;
    assert_eq!(wire.expect("CONNECTED").await.header("version"), version);
}
"connect.noaccept" ONLY_10, "Without accept-version the session is of 1.0." => |case| {
    let mut wire = case.open().await;
    wire.send("CONNECT\n\n\0").await;
    assert_eq!(wire.expect("CONNECTED").await.header("version"), "1.0");
}
"connect.none" ONLY_12, "Without a common version there is an ERROR that names the versions, and the end." => |case| {
    for accept in ["2.0", "", "1", "0.9,3.0"] {
        let mut wire = case.open().await;
        wire.send(format!("CONNECT\naccept-version:{accept}\nhost:x\n\n\0")).await;
        let error = case.fails(wire, "Version mismatch", 1002).await;
        assert_eq!(error.header("version"), "1.0,1.1,1.2");
        assert_eq!(error.text(), "Supported versions are 1.0,1.1,1.2\n");
    }
}
"connect.nohost" FROM_11, "A missing host is accepted, since STOMP.js sends none." => |case| {
    let mut wire = case.open().await;
    wire.send(format!("CONNECT\naccept-version:{}\n\n\0", case.version.text())).await;
    wire.expect("CONNECTED").await;
}
"connect.host" FROM_11, "Any host is accepted." => |case| {
    let mut wire = case.open().await;
    let version = case.version.text();
    wire.send(format!("CONNECT\naccept-version:{version}\nhost:/any where\n\n\0")).await;
    wire.expect("CONNECTED").await;
}
"connect.noescape" ALL, "Headers of CONNECT are not unescaped: a backslash in a passcode is a backslash." => |case| {
    case.connect_with(case.version, "x-note:a\\qb\\\n").await;
}
"connect.noescape.stomp" FROM_11, "Headers of STOMP are not unescaped either." => |case| {
    let mut wire = case.open().await;
    wire.send(greeting(case.version, "x-note:\\t\n").replacen("CONNECT", "STOMP", 1)).await;
    wire.expect("CONNECTED").await;
}
"connect.colon" ALL, "A value in CONNECT may have colons." => |case| {
    case.connect_with(case.version, "x-note:a:b:c\n").await;
}
"connect.session" ALL, "CONNECTED names the session, each another." => |case| {
    let (_one, first) = case.connect_with(case.version, "").await;
    let (_two, second) = case.connect_with(case.version, "").await;
    assert!(!first.header("session").is_empty());
    assert_ne!(first.header("session"), second.header("session"));
}
"connect.server" ALL, "CONNECTED names the server: stompbox." => |case| {
    let (_wire, connected) = case.connect_with(case.version, "").await;
    assert!(connected.header("server").starts_with("stompbox"));
}
"connect.user" ALL, "CONNECTED says user-name and kind." => |case| {
    let (_wire, connected) = case.connect_with(case.version, "").await;
    assert!(connected.header("user-name").starts_with("user_"));
    assert_eq!(connected.header("kind"), "anonymous");
}
"connect.secret" ALL, "CONNECTED gives a new visitor his secret, with which he is the same again." => |case| {
    let (_wire, connected) = case.connect_with(case.version, "").await;
    let secret = connected.header("visitor-token");
    let mut again = case.open().await;
    again.send(greeting(case.version, "").replace("token:new", &format!("token:{secret}"))).await;
    let answer = again.expect("CONNECTED").await;
    assert_eq!(answer.header("user-name"), connected.header("user-name"));
}
"connect.limits" ALL, "CONNECTED says the limits as a JSON object, the largest body among them." => |case| {
    let (_wire, connected) = case.connect_with(case.version, "").await;
    let limits: serde_json::Value = serde_json::from_str(connected.header("limits")).unwrap();
    assert_eq!(limits["max_frame_bytes"], 65_536, "{limits}");
}
"connect.beats" FROM_11, "CONNECTED says the true heart-beats on every transport." => |case| {
    let (_wire, connected) = case.connect_with(case.version, "heart-beat:0,0\n").await;
    assert_eq!(connected.header("heart-beat"), "5000,25000");
}
"connect.nobeats" ONLY_10, "A session of 1.0 has no heart-beats." => |case| {
    let (_wire, connected) = case.connect_with(V10, "heart-beat:1000,1000\n").await;
    assert_eq!(connected.get("heart-beat").unwrap_or("0,0"), "0,0");
}
"connect.badbeat" FROM_11, "A heart-beat that is not two numbers is an ERROR." => |case| {
    for beats in ["a,b", "1", "-1,0", "1,2,3", "", "1.5,0", "1,", "99999999999999999999,0"] {
        let mut wire = case.open().await;
        wire.send(greeting(case.version, &format!("heart-beat:{beats}\n"))).await;
        case.fails(wire, "Bad heart-beat", 1002).await;
    }
}
"connect.noreceipt" ALL, "CONNECT is not receipted." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "receipt:c\n").await;
    wire.settled(subscribe("s", &case.topic(), "")).await;
}
"connect.body" ALL, "CONNECT has no body." => |case| {
    let mut wire = case.open().await;
    let frame = greeting(case.version, "");
    wire.send(format!("{}body\0", frame.trim_end_matches('\0'))).await;
    case.fails(wire, "Body not allowed", 1002).await;
}
"connect.twice" ALL, "A second CONNECT is an ERROR." => |case| {
    case.refused(greeting(case.version, ""), "Already connected", 1002).await;
}
"connect.twice.stomp" FROM_11, "STOMP after CONNECT is an ERROR." => |case| {
    let frame = greeting(case.version, "").replacen("CONNECT", "STOMP", 1);
    case.refused(frame, "Already connected", 1002).await;
}
"connect.before" ALL, "Any other frame before CONNECT is an ERROR." => |case| {
    for command in ["SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"] {
        let mut wire = case.open().await;
        wire.send(format!("{command}\nid:1\ndestination:/topic/x\ntransaction:t\n\n\0")).await;
        case.fails(wire, "Not connected", 1002).await;
    }
}
"connect.eol" ALL, "EOLs before the first frame are passed over." => |case| {
    let mut wire = case.open().await;
    wire.send(format!("\n\r\n\n{}", greeting(case.version, ""))).await;
    wire.expect("CONNECTED").await;
}
"connect.crlf" ALL, "The lines of CONNECT may end with CR LF, whatever version it asks for." => |case| {
    let mut wire = case.open().await;
    wire.send(greeting(case.version, "").replace('\n', "\r\n")).await;
    assert_eq!(wire.expect("CONNECTED").await.header("version"), case.version.text());
}
"connect.pipelined" ALL, "Frames that come together with CONNECT are taken after CONNECTED." => |case| {
    let mut wire = case.open().await;
    let topic = case.topic();
    let (hello, sub) = (greeting(case.version, ""), subscribe("s", &topic, "receipt:a\n"));
    wire.send(format!("{hello}{sub}{}", send(&topic, "receipt:b\n", "early"))).await;
    wire.expect("CONNECTED").await;
    let all = [wire.frame().await, wire.frame().await, wire.frame().await];
    let receipts: Vec<_> = all.iter().filter_map(|frame| frame.get("receipt-id")).collect();
    assert_eq!(receipts, ["a", "b"], "{all:?}");
    assert!(all.iter().any(|frame| frame.text() == "early"), "{all:?}");
}
"connect.split" ALL, "CONNECT may come octet by octet." => |case| {
    let mut wire = case.open().await;
    for octet in greeting(case.version, "").as_bytes() {
        wire.send([*octet]).await;
    }
    wire.expect("CONNECTED").await;
}
"connect.repeat" ALL, "Of a repeated header of CONNECT the first counts." => |case| {
    let mut wire = case.open().await;
    let version = case.version.text();
    wire.send(format!("CONNECT\naccept-version:{version}\naccept-version:2.0\nhost:x\n\n\0")).await;
    assert_eq!(wire.expect("CONNECTED").await.header("version"), version);
}
"connect.unknownheader" ALL, "Headers of CONNECT that nobody knows are passed over." => |case| {
    case.connect_with(case.version, "x-mine:1\nclient-id:7\n").await;
}
"connect.space" ONLY_10, "In 1.0 one space after the colon is not part of the value." => |case| {
    let mut wire = case.open().await;
    wire.send("CONNECT\nlogin: \npasscode: \nvisitor-token: new\n\n\0").await;
    let connected = wire.expect("CONNECTED").await;
    assert_ne!(connected.get("visitor-token-status"), Some("rejected"), "{connected:?}");
}
"connect.guest" ALL, "login and passcode of a client that has no account are passed over." => |case| {
    case.connect_with(case.version, "login:guest\npasscode:guest\n").await;
}
"connect.rejected" ALL, "A secret that is none is not an ERROR: CONNECTED says rejected, and a new visitor." => |case| {
    let mut wire = case.open().await;
    wire.send(greeting(case.version, "").replace("token:new", "token:sbv1.none")).await;
    assert_eq!(wire.expect("CONNECTED").await.header("visitor-token-status"), "rejected");
}
"connect.mixed" ALL, "Sessions of all versions speak with each other." => |case| {
    let mut listeners = Vec::new();
    for version in [V10, V11, V12] {
        listeners.push(case.subscribed(version).await);
    }
    let mut sender = case.connect().await;
    sender.settled(send(&case.topic(), "", "to all")).await;
    for listener in &mut listeners {
        listener.expect_message("to all").await;
    }
}
"connect.gone" UP_TO_11, "A client that goes without DISCONNECT disturbs nobody." => |case| {
    let other = case.subscribed(V11).await;
    drop(other);
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "", "still here")).await;
    wire.expect_message("still here").await;
}
}
