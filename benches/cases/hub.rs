//! The hub: a topic fanned out to many outboxes, a message offered to the sessions of two people,
//! subscribing.
//!
//! Not here: sockets; what is queued is pulled at once, as a driver would that keeps up.
//! Invariant: every run reaches everybody, or it panics.

use std::hint::black_box;
use std::sync::Arc;

use stompbox::hub::{
    Delivery, Hub, HubSession, Outbox, OutboxLimits, Pulled, Shown, Sink, Subscriber, Topics,
};
use stompbox::model::{SessionId, UnixMillis, UserId};
use stompbox::stomp::Version;
use stompbox::websocket::Framed;

use super::people::{Conversation, topic, user};
use super::{Case, Made};

/// How many hear a topic.
const SUBSCRIBERS: usize = 100;

pub(super) const CASES: &[Case] = &[
    Case::new("hub/fan_out_100", || fan_out(|_| "sub-0".to_owned())),
    Case::new("hub/fan_out_100_of_10_forms", || {
        fan_out(|number| format!("sub-{}", number % 10))
    }),
    Case::new("hub/offer_two_devices_each", offer),
    Case::new("hub/subscribe_and_leave", subscribe),
    Case::new("hub/push_and_pull", push_and_pull),
];

fn outbox() -> Arc<Outbox> {
    Arc::new(Outbox::new(OutboxLimits {
        frames_max: 1_024,
        bytes_max: 1 << 20,
    }))
}

fn subscriber(id: &str) -> Subscriber {
    Subscriber {
        version: Version::V1_2,
        id: Some(id.into()),
        shown: Shown::Canonical,
    }
}

/// Takes what waits in an outbox, as its driver does.
fn pull(outbox: &Outbox) {
    match outbox.try_pull() {
        Some(Pulled::Frames(frames)) => assert_eq!(black_box(frames).len(), 1),
        other => panic!("a frame was expected, and this came: {other:?}"),
    }
}

fn fan_out(id: fn(usize) -> String) -> Made {
    let (topics, message) = (Topics::default(), topic());
    let outboxes: Vec<_> = (0..SUBSCRIBERS).map(|_| outbox()).collect();
    for (number, outbox) in outboxes.iter().enumerate() {
        let (id, sink) = (id(number), Sink::Outbox(Arc::clone(outbox)));
        let session = SessionId(number as u128);
        topics.add(&message.destination, session, &id, subscriber(&id), sink);
    }
    Ok(Box::new(move || {
        let reached = topics
            .fan_out(black_box(&message), "node-0-1-1".to_owned())
            .finish();
        assert_eq!(reached, SUBSCRIBERS);
        for outbox in &outboxes {
            pull(outbox);
        }
    }))
}

fn session(hub: &Hub, id: u128, user: &UserId) -> Arc<HubSession> {
    let session = HubSession::new(
        SessionId(id),
        user.clone(),
        "phone".into(),
        UnixMillis(0),
        outbox(),
    );
    hub.insert(Arc::clone(&session));
    let epoch = u64::from(session.id.0 as u32);
    session.open_inbox("sub-0", epoch, subscriber("sub-0"), None);
    session.settle_inbox(epoch, &[]);
    session
}

fn offer() -> Made {
    let (hub, conversation) = (Hub::default(), Conversation::new()?);
    // Others are there too, so that a look-up is not one in an empty table.
    for other in 100..1_100 {
        session(&hub, u128::from(other), &user(other)?);
    }
    let members = [&conversation.from, &conversation.to];
    let sessions: Vec<_> = (0..4)
        .map(|number| session(&hub, number as u128, members[number % 2]))
        .collect();
    let mut seq = 0;
    Ok(Box::new(move || {
        seq += 1;
        let delivery = Delivery::new(conversation.message(seq));
        assert!(hub.offer(&delivery).is_empty());
        for session in &sessions {
            pull(&session.outbox);
        }
    }))
}

fn subscribe() -> Made {
    let (topics, message) = (Topics::default(), topic());
    let sink = Sink::Outbox(outbox());
    for number in 0..1_000 {
        let topic = format!("/topic/room.{number}");
        topics.add(
            &topic,
            SessionId(number),
            "sub-0",
            subscriber("sub-0"),
            sink.clone(),
        );
    }
    Ok(Box::new(move || {
        let (session, topic) = (SessionId(5_000), &message.destination);
        topics.add(topic, session, "sub-1", subscriber("sub-1"), sink.clone());
        assert!(topics.remove(topic, session, "sub-1"));
    }))
}

fn push_and_pull() -> Made {
    let (outbox, frame) = (outbox(), Framed::message(&topic().body));
    Ok(Box::new(move || {
        assert!(outbox.push(frame.clone()));
        pull(&outbox);
    }))
}
