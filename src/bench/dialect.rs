//! The frames that a client writes, and what those of a server mean, in both dialects.
//!
//! Not here: sockets, WebSocket frames, what is sent when. It reads what it needs and nothing else,
//! because it shares the machine with the server that it measures. Invariant: a frame that refuses is
//! never taken for one that does not matter.

use super::order::{Dialect, Order};

/// How many rooms there are for the subscriptions beside the first one.
const ROOMS_BESIDE: u32 = 1_000;

/// The receipt of the SUBSCRIBE.
const SUBSCRIBED: &str = "sub";

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Socket.IO asks to be greeted.
    Opened,
    /// CONNECTED.
    Connected(Welcome<'a>),
    /// The SUBSCRIBE is in force.
    Subscribed,
    /// The receipt of a message, by its number.
    Receipt(u64),
    /// A message.
    Message(&'a [u8]),
    /// Somebody wants to know whether the client is there.
    Ping,
    /// The server is there.
    Beat,
    /// A no, in its own words.
    Refused(String),
    /// Something that does not matter here.
    Nothing,
}

/// What CONNECTED says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Welcome<'a> {
    /// The name by which others write to this client.
    pub(super) user_name: Option<&'a str>,
    /// With which it comes back as the same user.
    pub(super) token: Option<&'a str>,
    /// How often the server wants to hear from it, in milliseconds; 0 for never.
    pub(super) beat_ms: u32,
}

/// What a client introduces itself with.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    dialect: Dialect,
    head: String,
    has_receipts: bool,
    subscriptions: u32,
}

impl Introduction {
    /// As it was ordered.
    pub(super) fn of(order: &Order) -> Self {
        let (own, wanted) = order.heart_beat;
        let mut head = format!(
            "CONNECT\naccept-version:1.2,1.1,1.0\nhost:{}\nheart-beat:{own},{wanted}\n",
            order.vhost
        );
        for (name, value) in [("login", &order.login), ("passcode", &order.passcode)] {
            if let Some(value) = value {
                head.push_str(&format!("{name}:{value}\n"));
            }
        }
        Self {
            dialect: order.dialect,
            head,
            has_receipts: order.has_receipts,
            subscriptions: order.subscriptions,
        }
    }

    /// The subprotocols of the handshake.
    pub(super) fn protocols(&self) -> Option<&'static str> {
        match self.dialect {
            Dialect::Stomp => Some("v12.stomp, v11.stomp, v10.stomp"),
            Dialect::SocketIo => None,
        }
    }

    /// What is said first, when it is the client who speaks first.
    pub(super) fn connect(&self, token: Option<&str>) -> Option<String> {
        match (self.dialect, token) {
            (Dialect::Stomp, Some(token)) => {
                Some(format!("{}visitor-token:{token}\n\n\0", self.head))
            }
            (Dialect::Stomp, None) => Some(format!("{}\n\0", self.head)),
            (Dialect::SocketIo, _) => None,
        }
    }

    /// What subscribes.
    pub(super) fn subscribe(&self, destination: &str) -> String {
        match (self.dialect, self.has_receipts) {
            (Dialect::Stomp, true) => format!(
                "SUBSCRIBE\nid:sub-0\ndestination:{destination}\nack:auto\nreceipt:{SUBSCRIBED}\n\n\0"
            ),
            (Dialect::Stomp, false) => {
                format!("SUBSCRIBE\nid:sub-0\ndestination:{destination}\nack:auto\n\n\0")
            }
            (Dialect::SocketIo, _) => format!("420[\"sub\",\"{destination}\"]"),
        }
    }

    /// The destinations beside the first one that a client subscribes to: rooms that it shares with
    /// others, each client another choice of them. They are sent before the one that is receipted.
    pub(super) fn subscribe_beside(&self, destination: &str, user: u32) -> Vec<String> {
        let room = |number: u32| user.wrapping_add(number.wrapping_mul(37)) % ROOMS_BESIDE;
        (1..self.subscriptions)
            .map(|number| {
                let room = room(number);
                format!(
                    "SUBSCRIBE\nid:sub-{number}\ndestination:{destination}-{room}\nack:auto\n\n\0"
                )
            })
            .collect()
    }

    /// Whether the server says that a subscription is in force.
    pub(super) fn awaits_subscription(&self) -> bool {
        self.has_receipts || self.dialect == Dialect::SocketIo
    }

    /// One message without a mark, to be receipted as the first one.
    pub(super) fn plain(&self, destination: &str, body_bytes: usize) -> String {
        let body = "x".repeat(body_bytes);
        match self.dialect {
            Dialect::Stomp => format!(
                "SEND\ndestination:{destination}\nreceipt:0\ncontent-length:{body_bytes}\n\n{body}\0"
            ),
            Dialect::SocketIo => format!("421[\"pub\",\"{destination}\",\"{body}\"]"),
        }
    }

    /// The orderly end.
    pub(super) fn goodbye(&self) -> &'static [u8] {
        match self.dialect {
            Dialect::Stomp => b"DISCONNECT\n\n\0",
            Dialect::SocketIo => b"41",
        }
    }

    /// A sign of life.
    pub(super) fn beat(&self) -> Option<&'static [u8]> {
        (self.dialect == Dialect::Stomp).then_some(b"\n")
    }

    /// The answer to a ping of the dialect.
    pub(super) fn pong(&self) -> &'static [u8] {
        b"3"
    }
}

/// Of a STOMP stream, what stands before a NUL.
pub(super) fn stomp(octets: &[u8]) -> Said<'_> {
    let ends = |octet: &u8| matches!(octet, b'\n' | b'\r');
    let start = octets.iter().take_while(|octet| ends(octet)).count();
    let frame = &octets[start..];
    if frame.is_empty() {
        return Said::Beat;
    }
    if frame.starts_with(b"MESSAGE") {
        return Said::Message(frame);
    }
    let Ok(text) = std::str::from_utf8(frame) else {
        return Said::Nothing;
    };
    let command = text.lines().next().unwrap_or_default();
    match command {
        "RECEIPT" => match header(text, "receipt-id") {
            Some(SUBSCRIBED) => Said::Subscribed,
            Some(id) => id.parse().map_or(Said::Nothing, Said::Receipt),
            None => Said::Nothing,
        },
        "CONNECTED" => Said::Connected(Welcome {
            user_name: header(text, "user-name"),
            token: header(text, "visitor-token"),
            beat_ms: header(text, "heart-beat")
                .and_then(|value| value.split(',').nth(1)?.trim().parse().ok())
                .unwrap_or(0),
        }),
        "ERROR" => Said::Refused(text.trim_end().to_owned()),
        _ => Said::Nothing,
    }
}

fn header<'a>(frame: &'a str, name: &str) -> Option<&'a str> {
    let lines = frame.lines().skip(1).take_while(|line| !line.is_empty());
    let mut found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.next()
}

/// A packet of Engine.IO 4, with one of Socket.IO 5 in it.
pub(super) fn socket_io(octets: &[u8]) -> Said<'_> {
    let words = || String::from_utf8_lossy(octets).into_owned();
    match octets {
        [b'0', ..] => Said::Opened,
        [b'2', ..] => Said::Ping,
        [b'4', b'0', ..] => Said::Connected(Welcome::default()),
        [b'4', b'2', ..] => Said::Message(octets),
        [b'4', b'3', rest @ ..] => {
            let digits = rest.iter().take_while(|octet| octet.is_ascii_digit());
            let add = |sum: u64, digit: &u8| sum.wrapping_mul(10) + u64::from(digit - b'0');
            // The first acknowledgement is that of the subscription.
            match digits.fold(0, add).checked_sub(1) {
                None => Said::Subscribed,
                Some(number) => Said::Receipt(number),
            }
        }
        [b'1', ..] | [b'4', b'1' | b'4', ..] => Said::Refused(words()),
        _ => Said::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::order::Scenario;

    #[test]
    fn frames_of_stomp_are_told_apart() {
        let check = |text: &str, expected| assert_eq!(stomp(text.as_bytes()), expected, "{text}");
        check("\n", Said::Beat);
        check("\r\n\n", Said::Beat);
        check("RECEIPT\nreceipt-id:sub\n\n", Said::Subscribed);
        check("RECEIPT\nserver:x\nreceipt-id:17\n\n", Said::Receipt(17));
        check("MESSAGE\na:b\n\nx", Said::Message(b"MESSAGE\na:b\n\nx"));
        check("\nMESSAGE\n\n", Said::Message(b"MESSAGE\n\n"));
        check(
            "ERROR\nmessage:no\n\nwhy",
            Said::Refused("ERROR\nmessage:no\n\nwhy".to_owned()),
        );
        let welcome = Welcome {
            user_name: Some("u"),
            token: Some("t"),
            beat_ms: 25_000,
        };
        check(
            "CONNECTED\nversion:1.2\nheart-beat:5000,25000\nuser-name:u\nvisitor-token:t\n\n",
            Said::Connected(welcome),
        );
        check(
            "CONNECTED\nversion:1.1\n\nuser-name:no",
            Said::Connected(Welcome::default()),
        );
    }

    #[test]
    fn packets_of_socket_io_are_told_apart() {
        let check =
            |text: &str, expected| assert_eq!(socket_io(text.as_bytes()), expected, "{text}");
        check("0{\"sid\":\"x\"}", Said::Opened);
        check("40{\"sid\":\"x\"}", Said::Connected(Welcome::default()));
        check("430[]", Said::Subscribed);
        check("4312[]", Said::Receipt(11));
        check("2", Said::Ping);
        check("42[\"m\",\"x\"]", Said::Message(b"42[\"m\",\"x\"]"));
        check("41", Said::Refused("41".to_owned()));
        check("6", Said::Nothing);
    }

    #[test]
    fn a_client_introduces_itself_as_it_was_ordered() {
        let mut order = Order::of(Scenario::Fanout);
        order.login = Some("guest".to_owned());
        let connect = Introduction::of(&order).connect(Some("t")).unwrap();
        assert_eq!(
            connect,
            "CONNECT\naccept-version:1.2,1.1,1.0\nhost:localhost\nheart-beat:10000,10000\n\
             login:guest\nvisitor-token:t\n\n\0"
        );
        order.dialect = Dialect::SocketIo;
        assert_eq!(Introduction::of(&order).connect(None), None);
        assert_eq!(
            Introduction::of(&order).subscribe("a"),
            "420[\"sub\",\"a\"]"
        );
    }
}
