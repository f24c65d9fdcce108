//! What a message, a SUBSCRIBE and a leave cost when the lists of subscriptions are as long as clients can make
//! them.
//!
//! Not here: what requests cost before they reach the hub (`requests`). Everything that is measured runs in one go
//! on a thread of the runtime; a message for many goes on in further pieces.

use std::sync::Arc;

use bytes::Bytes;
use stompbox::hub::{
    Hub, HubSession, Opening, Outbox, OutboxLimits, Shown, Sink, Subscriber, Topics,
};
use stompbox::model::{AckMode, RoomId, SessionId, TopicMessage, UnixMillis};
use stompbox::stomp::Version;
use stompbox::turns::PIECE;

use super::{all_hold, hold};
use crate::support::cpu;

/// Subscribers of one topic: 5,000 people and some more.
const SUBSCRIBERS: usize = 8_000;

/// The largest body of a frame.
const BODY: usize = 64 << 10;

fn subscriber(id: &str) -> Subscriber {
    Subscriber {
        version: Version::V1_2,
        id: Some(id.into()),
        shown: Shown::Canonical,
    }
}

fn outbox() -> Arc<Outbox> {
    Arc::new(Outbox::new(OutboxLimits {
        frames_max: 10,
        bytes_max: 1 << 20,
    }))
}

/// A topic with so many subscribers, each with an id of its own or all with the same.
fn crowd(own_ids: bool) -> Topics {
    let topics = Topics::default();
    for number in 0..SUBSCRIBERS {
        let id = match own_ids {
            true => format!("sub-{number}"),
            false => "sub-0".to_owned(),
        };
        let session = SessionId(number as u128);
        let sink = Sink::Outbox(outbox());
        topics.add("/topic/hall", session, &id, subscriber(&id), sink);
    }
    topics
}

#[test]
fn a_piece_of_a_message_for_many_is_delivered_in_bounded_time() {
    let piece = |name: &str, own_ids: bool, body: usize, bound_ms: f64| {
        let topics = crowd(own_ids);
        let message = TopicMessage {
            destination: "/topic/hall".into(),
            headers: Vec::new(),
            body: Bytes::from(vec![b'x'; body]),
            network: None,
        };
        let mut fan_out = topics.fan_out(&message, "m1".to_owned());
        let cost = cpu::of(|| fan_out.go_on(PIECE));
        hold(&format!("a piece of a message: {name}"), cost, bound_ms)
    };
    all_hold([
        piece("one form", false, 100, 0.6),
        piece("a form each", true, 100, 1.2),
        piece("64 KiB, one form", false, BODY, 0.6),
        piece("64 KiB, a form each", true, BODY, 1.2),
    ]);
}

/// A topic with so many subscriptions that acknowledge, each with an id of its own, of sessions of eight.
fn crowd_that_acknowledges() -> (Vec<Arc<HubSession>>, Topics) {
    let topics = Topics::default();
    let limits = OutboxLimits {
        frames_max: 10,
        bytes_max: 1 << 20,
    };
    let sessions: Vec<_> = (0..SUBSCRIBERS / 8)
        .map(|number| {
            let session = SessionId(number as u128);
            let user = "ana".parse().unwrap();
            HubSession::new(session, user, "".into(), UnixMillis(0), outbox())
        })
        .collect();
    for (number, session) in sessions.iter().enumerate() {
        for place in 0..8 {
            let id = format!("sub-{number}-{place}");
            let window = session.open_window(Opening {
                id: &id,
                subscriber: subscriber(&id),
                mode: AckMode::Client,
                prefetch: 10,
                limits,
                is_fed: false,
            });
            let of = SessionId(number as u128);
            topics.add(
                "/topic/hall",
                of,
                &id,
                subscriber(&id),
                Sink::Window(window),
            );
        }
    }
    (sessions, topics)
}

#[test]
fn a_piece_for_subscriptions_that_acknowledge_is_delivered_in_bounded_time() {
    let header = |number| (format!("h{number}").into(), "x".repeat(500).into());
    let piece = |name: &str, topics: &Topics, headers: usize, body: usize| {
        let message = TopicMessage {
            destination: "/topic/hall".into(),
            headers: (0..headers).map(header).collect(),
            body: Bytes::from(vec![b'x'; body]),
            network: None,
        };
        let mut fan_out = topics.fan_out(&message, "m1".to_owned());
        let cost = cpu::of(|| fan_out.go_on(PIECE));
        hold(&format!("a piece of a message: {name}"), cost, 1.5)
    };
    let (_sessions, acknowledging) = crowd_that_acknowledges();
    all_hold([
        piece("64 KiB, acknowledged", &acknowledging, 0, BODY),
        piece("30 KiB of headers, acknowledged", &acknowledging, 60, 0),
        piece("30 KiB of headers, a form each", &crowd(true), 60, 0),
    ]);
}

#[test]
fn a_session_leaves_long_lists_in_bounded_time() {
    let topics = crowd(false);
    let message = TopicMessage {
        destination: "/topic/hall".into(),
        headers: Vec::new(),
        body: Bytes::from_static(b"x"),
        network: None,
    };
    // A hundred messages are being delivered, each to another part of the list.
    let mut fan_outs: Vec<_> = (0..100)
        .map(|_| topics.fan_out(&message, "m1".to_owned()))
        .collect();
    for (number, fan_out) in fan_outs.iter_mut().enumerate() {
        assert!(!fan_out.go_on(1 + number * 50));
    }
    let leaver = SessionId(u128::MAX);
    let cost = cpu::of(|| {
        for id in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            let sink = Sink::Outbox(outbox());
            topics.add("/topic/hall", leaver, id, subscriber("sub-0"), sink);
        }
        topics.remove_session(leaver)
    });
    all_hold([hold("leaving a list of 8,000", cost, 1.5)]);
}

#[test]
fn the_inboxes_of_a_session_are_raised_in_bounded_time() {
    let hub = Hub::default();
    let user = "ana".parse().unwrap();
    let session = HubSession::new(SessionId(1), user, "".into(), UnixMillis(0), outbox());
    hub.insert(Arc::clone(&session));
    let heads: Vec<_> = (0..1_000).map(|room| (RoomId(room), 7)).collect();
    for epoch in 0..8 {
        session.open_inbox(&epoch.to_string(), epoch, subscriber("s"), None);
        session.settle_inbox(epoch, &heads);
    }
    assert!(session.inbox_bytes() >= 8_000 * 48);
    let cost = cpu::of(|| session.settle_inbox(7, &heads));
    let held = hold("8 inboxes of 1,000 conversations", cost, 6.0);
    session.close_inbox("0");
    assert!(session.inbox_bytes() < 8_000 * 64);
    all_hold([held]);
}
