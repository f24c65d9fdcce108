//! What each carrier adds: WebSocket (RFC 6455), SockJS, TCP.

use tokio_tungstenite::tungstenite::Message;

use super::case::Version::V12;
use super::case::{
    ALL, Case, ONLY_12, SOCKJS, TCP, WEBSOCKET, cases, greeting, over_every_transport,
};
use super::case::{send, subscribe};
use crate::support::wire::{Frame, Heard, Wire, upgrade};

over_every_transport!(&[]);

/// A header of the answer to an upgrade.
fn header<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let named = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

/// A plain WebSocket at this path.
async fn at(case: &Case, path: &str, lines: &[&str]) -> Wire {
    Wire::open_at(case.place, case.transport, path, lines, &case.transcript).await
}

/// CONNECT on a WebSocket that offers these subprotocols, without accept-version.
async fn capped(case: &Case, offer: &str) -> Frame {
    let mut wire = at(
        case,
        "/ws-chat",
        &[&format!("Sec-WebSocket-Protocol: {offer}")],
    )
    .await;
    wire.send("CONNECT\nhost:x\n\n\0").await;
    wire.expect("CONNECTED").await
}

/// Subscribes, sends this to itself, and says whether it came as a binary message.
async fn comes_binary(wire: &mut Wire, case: &Case, body: &[u8]) -> bool {
    wire.send(greeting(case.version, "")).await;
    wire.expect("CONNECTED").await;
    wire.settled(subscribe("s", &case.topic(), "")).await;
    let head = format!(
        "SEND\ndestination:{}\ncontent-length:{}\n\n",
        case.topic(),
        body.len()
    );
    wire.send([head.as_bytes(), body, b"\0"].concat()).await;
    assert_eq!(wire.expect("MESSAGE").await.body, body);
    wire.heard_binary
}

cases! {
"ws.subprotocol" ONLY_12.over(WEBSOCKET), "The highest subprotocol that is offered is chosen, and no other is named." => |case| {
    for (offer, chosen) in [
        ("v10.stomp, v11.stomp, v12.stomp", "v12.stomp"),
        ("v12.stomp,v10.stomp", "v12.stomp"),
        ("v10.stomp, v11.stomp", "v11.stomp"),
        ("chat, v10.stomp", "v10.stomp"),
    ] {
        let (socket, head) = upgrade(case.place.http, "/ws-chat", &[&format!("Sec-WebSocket-Protocol: {offer}")]).await;
        assert!(socket.is_some(), "{head}");
        assert_eq!(header(&head, "sec-websocket-protocol"), [chosen], "{offer}");
    }
}
"ws.nosubprotocol" ONLY_12.over(WEBSOCKET), "Without one that is known the WebSocket opens without any." => |case| {
    for lines in [&[][..], &["Sec-WebSocket-Protocol: chat, v13.stomp"]] {
        let (socket, head) = upgrade(case.place.http, "/ws-chat", lines).await;
        assert!(socket.is_some(), "{head}");
        assert_eq!(header(&head, "sec-websocket-protocol"), [""; 0]);
    }
}
"ws.cap" ONLY_12.over(WEBSOCKET), "The subprotocol names the version when accept-version does not." => |case| {
    for (offer, version) in [("v12.stomp", "1.2"), ("v11.stomp", "1.1"), ("v10.stomp", "1.0")] {
        assert_eq!(capped(&case, offer).await.header("version"), version);
    }
}
"ws.decides" ALL.over(WEBSOCKET), "accept-version decides against the subprotocol." => |case| {
    let mut wire = at(&case, "/ws-chat", &["Sec-WebSocket-Protocol: v11.stomp"]).await;
    wire.send(format!("CONNECT\naccept-version:{}\nhost:x\n\n\0", case.version.text())).await;
    assert_eq!(wire.expect("CONNECTED").await.header("version"), case.version.text());
}
"ws.paths" ONLY_12.over(WEBSOCKET), "Every endpoint speaks STOMP, and no other path." => |case| {
    for path in ["/ws-chat", "/ws-stomp", "/ws", "/ws-chat/websocket"] {
        let mut wire = at(&case, path, &[]).await;
        wire.send(greeting(case.version, "")).await;
        wire.expect("CONNECTED").await;
    }
    let (socket, head) = upgrade(case.place.http, "/ws-none", &[]).await;
    assert!(socket.is_none() && head.starts_with("HTTP/1.1 404"), "{head}");
}
"ws.origin" ONLY_12.over(WEBSOCKET), "An Origin that is not allowed is 403 before the upgrade; none is allowed." => |case| {
    let (socket, head) = upgrade(case.place.http, "/ws-chat", &["Origin: http://evil.example"]).await;
    assert!(socket.is_none() && head.starts_with("HTTP/1.1 403"), "{head}");
    let same = format!("Origin: http://{}", case.place.http);
    assert!(upgrade(case.place.http, "/ws-chat", &[&same]).await.0.is_some());
}
"ws.textin" ALL.over(WEBSOCKET), "Frames may come in text messages." => |case| {
    case.connect().await.settled(send(&case.topic(), "", "x")).await;
}
"ws.binaryin" ALL.over(WEBSOCKET), "Frames may come in binary messages, and parts of one in both." => |case| {
    let mut wire = case.connect().await;
    wire.binary = true;
    wire.settled(send(&case.topic(), "", "x")).await;
    let frame = send(&case.topic(), "receipt:r\n", "x");
    wire.send(&frame[..9]).await;
    wire.binary = false;
    wire.send(&frame[9..]).await;
    wire.expect_receipt("r").await;
}
"ws.auto" ALL.over(WEBSOCKET), "A frame that is UTF-8 goes out as text, any other as binary." => |case| {
    let mut wire = case.open().await;
    assert!(!comes_binary(&mut wire, &case, "한글".as_bytes()).await);
    let mut wire = case.open().await;
    assert!(comes_binary(&mut wire, &case, b"\xff\xfe").await);
}
"ws.frame" ALL.over(WEBSOCKET), "?frame=binary asks for binary messages always." => |case| {
    let mut wire = at(&case, "/ws-chat?frame=binary", &[]).await;
    assert!(comes_binary(&mut wire, &case, b"text").await);
}
"ws.fragments" ALL.over(WEBSOCKET), "A message may come in fragments." => |case| {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame as Part;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let mut wire = case.connect().await;
    let frame = send(&case.topic(), "receipt:r\n", "x").into_bytes();
    let part = |octets: &[u8], data, last| {
        Message::Frame(Part::message(octets.to_vec(), OpCode::Data(data), last))
    };
    wire.send_message(part(&frame[..5], Data::Text, false)).await;
    wire.send_message(part(&frame[5..12], Data::Continue, false)).await;
    wire.send_message(part(&frame[12..], Data::Continue, true)).await;
    wire.expect_receipt("r").await;
}
"ws.empty" ALL.over(WEBSOCKET), "An empty message is nothing." => |case| {
    let mut wire = case.connect().await;
    wire.send_message(Message::text("")).await;
    wire.send_message(Message::binary(Vec::new())).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
"ws.ping" ONLY_12.over(WEBSOCKET), "A ping is answered, and disturbs nothing." => |case| {
    let mut wire = case.connect().await;
    wire.send_message(Message::Ping(b"x".to_vec().into())).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
"ws.utf8" ONLY_12.over(WEBSOCKET), "A text message that is not UTF-8 is closed with 1007." => |case| {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame as Part;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let mut wire = case.connect().await;
    let octets = b"SEND\ndestination:/topic/x\n\n\xff\0".to_vec();
    wire.send_message(Message::Frame(Part::message(octets, OpCode::Data(Data::Text), true))).await;
    loop {
        if let Heard::End(end) = wire.next().await {
            assert_eq!(end.code, Some(1007));
            break;
        }
    }
}
"ws.close" ONLY_12.over(WEBSOCKET), "A close of the client is answered." => |case| {
    let mut wire = case.connect().await;
    wire.finish().await;
    assert!(wire.expect_end().await.orderly);
}
"ws.one" ALL.over(WEBSOCKET), "No WebSocket message holds more than one frame, however many are ready." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let frames: String = (0..100).map(|_| send(&case.topic(), "", "x")).collect();
    wire.send(frames).await;
    for _ in 0..100 {
        wire.expect_message("x").await;
    }
}
"sj.array" ALL.over(SOCKJS), "A SockJS message is a string or an array of strings; none is nothing." => |case| {
    let mut wire = case.connect().await;
    let frame = send(&case.topic(), "receipt:r\n", "x");
    wire.send_message(Message::text("")).await;
    wire.send_message(Message::text("[]")).await;
    wire.send_message(Message::text(serde_json::json!(frame).to_string())).await;
    wire.expect_receipt("r").await;
    let (one, two) = frame.split_at(7);
    wire.send_message(Message::text(serde_json::json!([one, two]).to_string())).await;
    wire.expect_receipt("r").await;
}
"sj.split" ALL.over(SOCKJS), "A frame may span several SockJS messages." => |case| {
    let mut wire = case.subscribed(case.version).await;
    for piece in send(&case.topic(), "", "한글").chars() {
        wire.send(piece.to_string()).await;
    }
    wire.expect_message("한글").await;
}
"sj.broken" ONLY_12.over(SOCKJS), "What is no JSON ends the connection." => |case| {
    let mut wire = case.open().await;
    wire.send_message(Message::text("[\"x")).await;
    wire.expect_end().await;
}
"sj.beat" ONLY_12.over(SOCKJS), "A STOMP heart-beat travels as a[\"\\n\"]." => |case| {
    let (mut wire, _) = case.connect_with(V12, "heart-beat:0,5000\n").await;
    assert_eq!(wire.next().await, Heard::Beat);
}
"sj.escapes" ALL.over(SOCKJS), "Every character that JSON or JavaScript finds hard comes back." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let body = "\"\\/\u{1}\u{1f}\u{7f}\u{200c}\u{2028}\u{2029}\u{feff}\u{ffff}🙂";
    wire.send(send(&case.topic(), "", body)).await;
    wire.expect_message(body).await;
}
"sj.sessions" ONLY_12.over(SOCKJS), "Two WebSockets of SockJS may share a session id." => |case| {
    let mut one = at(&case, "/ws-chat/000/shared/websocket", &[]).await;
    let mut two = at(&case, "/ws-chat/001/shared/websocket", &[]).await;
    for wire in [&mut one, &mut two] {
        wire.send(greeting(V12, "")).await;
        wire.expect("CONNECTED").await;
    }
}
"sj.close" ALL.over(SOCKJS), "The close is c[1000,...] after the RECEIPT of DISCONNECT." => |case| {
    let mut wire = case.connect().await;
    wire.settled("DISCONNECT\n\n\0").await;
    let end = case.ends(wire, 1000).await;
    assert!(!end.reason.is_empty());
}
"tcp.split" ALL.over(TCP), "Over TCP frames come in any segments." => |case| {
    let mut wire = case.connect().await;
    let frame = send(&case.topic(), "receipt:r\n", "한글");
    for piece in frame.as_bytes().chunks(3) {
        wire.send(piece).await;
        tokio::task::yield_now().await;
    }
    wire.expect_receipt("r").await;
}
"tcp.fin" ALL.over(TCP), "A client that says nothing more is let go in order." => |case| {
    let mut wire = case.connect().await;
    wire.finish().await;
    assert!(wire.expect_end().await.orderly);
}
"tcp.disconnect" ALL.over(TCP), "DISCONNECT and FIN together are answered before the end." => |case| {
    let mut wire = case.connect().await;
    wire.send("DISCONNECT\nreceipt:r\n\n\0").await;
    wire.finish().await;
    wire.expect_receipt("r").await;
    assert!(wire.expect_end().await.orderly);
}
"tcp.http" ONLY_12.over(TCP), "A browser that is led to this port gets an ERROR, and does nothing." => |case| {
    let mut wire = case.open().await;
    wire.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nSEND\ndestination:/topic/x\n\nx\0").await;
    case.fails(wire, "", 1002).await;
}
"tcp.websocket" ONLY_12, "A session of one transport speaks with those of the others." => |case| {
    use crate::support::wire::Transport::{SockJs, Tcp, WebSocket, Xhr};
    let mut sender = case.connect().await;
    for transport in [WebSocket, SockJs, Xhr, Tcp] {
        let other = Case { transport, ..case.clone() };
        let mut listener = other.subscribed(V12).await;
        sender.send(send(&case.topic(), "", "x")).await;
        listener.expect_message("x").await;
    }
}
}
