//! The hub as a whole: who is offered what.

use super::*;
use crate::hub::{Shown, Sink};
use crate::model::{MessageId, StoredMessage, TopicMessage, UnixMillis};
use crate::stomp::Version;

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn session(hub: &Hub, id: u128, name: &str) -> Arc<HubSession> {
    let limits = OutboxLimits {
        frames_max: 100,
        bytes_max: 100_000,
    };
    let outbox = Arc::new(Outbox::new(limits));
    let session = HubSession::new(SessionId(id), user(name), "".into(), UnixMillis(0), outbox);
    hub.insert(Arc::clone(&session));
    session
}

fn subscriber(id: &str) -> Subscriber {
    Subscriber {
        shown: Shown::Canonical,
        version: Version::V1_2,
        id: Some(id.into()),
    }
}

fn message(seq: u64) -> Arc<Delivery> {
    let (from, to) = (user("a"), user("b"));
    Delivery::new(StoredMessage {
        room: RoomId::direct(&from, &to),
        seq,
        epoch: 1,
        id: MessageId(u128::from(seq)),
        from,
        from_name: "A".to_owned(),
        to,
        client_id: None,
        text: format!("text {seq}"),
        timestamp: UnixMillis(0),
    })
}

fn frames(session: &HubSession) -> Vec<String> {
    match session.outbox.try_pull() {
        Some(Pulled::Frames(frames)) => frames
            .iter()
            .map(|frame| String::from_utf8_lossy(frame.octets(false)).into_owned())
            .collect(),
        Some(other) => panic!("{other:?}"),
        None => Vec::new(),
    }
}

#[test]
fn every_session_of_both_members_gets_a_message_and_the_writers_is_an_echo() {
    let hub = Hub::default();
    let all = [
        session(&hub, 1, "a"),
        session(&hub, 2, "b"),
        session(&hub, 3, "b"),
    ];
    let stranger = session(&hub, 4, "c");
    for (epoch, session) in all.iter().chain([&stranger]).enumerate() {
        session.open_inbox("s", epoch as u64, subscriber("s"), None);
        session.settle_inbox(epoch as u64, &[]);
    }
    assert_eq!(hub.offer(&message(1)), vec![]);
    for session in &all {
        let frames = frames(session);
        assert_eq!(frames.len(), 1);
        assert_eq!(
            frames[0].contains("\"echo\":true"),
            session.user == user("a")
        );
    }
    assert_eq!(frames(&stranger), Vec::<String>::new());
}

#[test]
fn a_closed_subscription_gets_nothing_more_even_under_the_same_id() {
    let hub = Hub::default();
    let session = session(&hub, 1, "b");
    session.open_inbox("s", 1, subscriber("s"), None);
    session.settle_inbox(1, &[]);
    assert_eq!(hub.offer(&message(3)), vec![user("b")]);
    let room = message(3).message.room;
    let hole = session.hole(room).unwrap();
    session.close_inbox("s");
    session.open_inbox("s", 2, subscriber("s"), None);
    session.fetched(
        room,
        hole,
        &[message(1), message(2), message(3)],
        &Trace::default(),
    );
    assert_eq!(session.settle_inbox(2, &[(room, 3)]), vec![]);
    session.fetched(
        room,
        hole,
        &[message(1), message(2), message(3)],
        &Trace::default(),
    );
    assert_eq!(frames(&session), Vec::<String>::new());
    assert_eq!(hub.offer(&message(4)), vec![]);
    assert_eq!(frames(&session).len(), 1);
}

#[test]
fn a_topic_reaches_every_subscription_and_is_encoded_once_for_equal_ones() {
    let hub = Hub::default();
    let sessions: Vec<_> = (0..3).map(|id| session(&hub, id, "a")).collect();
    for (session, id) in sessions.iter().zip(["s", "s", "t"]) {
        let outbox = Arc::clone(&session.outbox);
        hub.topics.add(
            "/topic/x",
            session.id,
            id,
            subscriber(id),
            Sink::Outbox(outbox),
        );
    }
    let message = TopicMessage {
        destination: "/topic/x".into(),
        headers: Vec::new(),
        body: bytes::Bytes::from_static(b"hi"),
        network: None,
    };
    assert_eq!(hub.topics.fan_out(&message, "m1".to_owned()).finish(), 3);
    let pulled: Vec<_> = sessions
        .iter()
        .map(|session| session.outbox.try_pull())
        .collect();
    let octets = |i: usize| match &pulled[i] {
        Some(Pulled::Frames(frames)) => frames[0].payload(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        octets(0).as_ptr(),
        octets(1).as_ptr(),
        "the same octets, not a copy"
    );
    assert_ne!(octets(0), octets(2));
}

#[test]
fn the_last_subscriber_of_a_topic_is_noticed() {
    let hub = Hub::default();
    let (one, two) = (session(&hub, 1, "a"), session(&hub, 2, "b"));
    for session in [&one, &two] {
        let outbox = Arc::clone(&session.outbox);
        hub.topics.add(
            "/topic/x",
            session.id,
            "s",
            subscriber("s"),
            Sink::Outbox(outbox),
        );
    }
    assert!(!hub.topics.remove("/topic/x", one.id, "s"));
    let (_, abandoned) = hub.remove(two.id).unwrap();
    assert_eq!(abandoned, vec![Box::from("/topic/x")]);
    assert!(hub.topics.is_empty());
    assert_eq!(hub.len(), 1);
}

#[test]
fn a_user_without_an_inbox_needs_no_repair() {
    let hub = Hub::default();
    let session = session(&hub, 1, "b");
    assert_eq!(hub.repairable(), vec![]);
    session.open_inbox("s", 1, subscriber("s"), None);
    hub.compared(&user("b"), Position(7));
    hub.compared(&user("b"), Position(5));
    assert_eq!(hub.repairable(), vec![(user("b"), Position(7))]);
}

#[test]
fn a_repair_waits_for_a_client_that_reads_slowly_instead_of_cutting_it() {
    let hub = Hub::default();
    let limits = OutboxLimits {
        frames_max: 10,
        bytes_max: 100_000,
    };
    let outbox = Arc::new(Outbox::new(limits));
    let session = HubSession::new(SessionId(1), user("b"), "".into(), UnixMillis(0), outbox);
    hub.insert(Arc::clone(&session));
    session.open_inbox("s", 1, subscriber("s"), None);
    session.settle_inbox(1, &[]);
    let rows: Vec<_> = (1..=40).map(message).collect();
    let room = rows[0].message.room;
    assert!(hub.raise(&user("b"), room, 40));
    let mut read = Vec::new();
    while let Some(hole) = session.hole(room) {
        let missing = &rows[usize::try_from(hole.after).unwrap()..];
        session.fetched(room, hole, missing, &Trace::default());
        let some = frames(&session);
        assert!((1..=5).contains(&some.len()), "half of the outbox at most");
        read.extend(some);
    }
    let expected: Vec<_> = (1..=40).map(|seq| format!("text {seq}")).collect();
    assert_eq!(read.len(), expected.len());
    for (frame, text) in read.iter().zip(expected) {
        assert!(frame.contains(&format!("\"{text}\"")), "{frame}");
    }
}

#[test]
fn many_forms_of_one_message_are_not_all_remembered() {
    let hub = Hub::default();
    let session = session(&hub, 1, "a");
    let ids: Vec<_> = (0..50).map(|number| format!("s{number}")).collect();
    for id in &ids {
        let outbox = Arc::clone(&session.outbox);
        hub.topics.add(
            "/topic/x",
            session.id,
            id,
            subscriber(id),
            Sink::Outbox(outbox),
        );
    }
    let message = TopicMessage {
        destination: "/topic/x".into(),
        headers: Vec::new(),
        body: bytes::Bytes::from_static(b"hi"),
        network: None,
    };
    assert_eq!(hub.topics.fan_out(&message, "m1".to_owned()).finish(), 50);
    assert_eq!(frames(&session).len(), 50);
}

fn topic(destination: &str) -> TopicMessage {
    TopicMessage {
        destination: destination.into(),
        headers: Vec::new(),
        body: bytes::Bytes::from_static(b"hi"),
        network: None,
    }
}

/// Subscribes as a client writes it.
fn subscribe(hub: &Hub, session: &HubSession, canonical: &str, written: &str, id: &str) {
    let under = written.strip_suffix("/*").or(written.strip_suffix("/**"));
    let shown = match under {
        _ if canonical == written => Shown::Canonical,
        Some(prefix) => Shown::Under(prefix.into()),
        None => Shown::As(written.into()),
    };
    let subscriber = Subscriber {
        shown,
        ..subscriber(id)
    };
    let sink = Sink::Outbox(Arc::clone(&session.outbox));
    hub.topics.add(canonical, session.id, id, subscriber, sink);
}

/// The headers `subscription` and `destination` of what came.
fn came(session: &HubSession) -> Vec<(String, String)> {
    let header = |frame: &str, name: &str| {
        let line = frame.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    let frames = frames(session).into_iter();
    frames
        .map(|frame| {
            (
                header(&frame, "subscription:"),
                header(&frame, "destination:"),
            )
        })
        .collect()
}

#[test]
fn a_pattern_gets_what_it_stands_for_and_nothing_that_belongs_to_somebody() {
    let check = |canonical: &str, written: &str, to: &str, shown: Option<&str>| {
        let hub = Hub::default();
        let session = session(&hub, 1, "a");
        subscribe(&hub, &session, canonical, written, "s");
        let reached = hub.topics.fan_out(&topic(to), "m1".to_owned()).finish();
        assert_eq!(reached, usize::from(shown.is_some()), "{written} and {to}");
        let expected = shown.map(|shown| ("s".to_owned(), shown.to_owned()));
        assert_eq!(
            came(&session),
            Vec::from_iter(expected),
            "{written} and {to}"
        );
    };
    check("/topic/*", "/topic/*", "/topic/a", Some("/topic/a"));
    check("/topic/*", "/topic/*", "/topic/a/b", None);
    check("/topic/a.#", "/topic/a.#", "/topic/a.b", Some("/topic/a.b"));
    check("/topic/*", "/sub/*", "/topic/a", Some("/sub/a"));
    check("/topic/**", "/sub/**", "/topic/a/b", Some("/sub/a/b"));
    check("/topic/**", "/topic/**", "/topic/room.x", None);
    check("/topic/**", "/topic/**", "/topic/announce", None);
    check("/user/u/*", "/user/*", "/user/u/x", None);
    check("/reply-queue/*", "/reply-queue/*", "/reply-queue/x", None);
    check("/topic/**/a", "/topic/**/a", "/topic/b/a", None);
    check(
        "/user/u/queue/x",
        "/user/queue/x",
        "/user/u/queue/x",
        Some("/user/queue/x"),
    );
    check("/queue/*", "/queue/*", "/queue/a", Some("/queue/a"));
}

#[test]
fn a_session_that_subscribes_by_name_and_by_patterns_gets_one_for_each() {
    let hub = Hub::default();
    let session = session(&hub, 1, "a");
    for (id, text) in [
        ("one", "/topic/x"),
        ("two", "/topic/*"),
        ("three", "/topic/**"),
    ] {
        subscribe(&hub, &session, text, text, id);
    }
    subscribe(&hub, &session, "/topic/*", "/sub/*", "four");
    assert_eq!((hub.topics.len(), hub.topics.patterns()), (3, 2));
    assert_eq!(
        hub.topics
            .fan_out(&topic("/topic/x"), "m1".to_owned())
            .finish(),
        4
    );
    let mut came = came(&session);
    came.sort();
    let expected = [
        ("four", "/sub/x"),
        ("one", "/topic/x"),
        ("three", "/topic/x"),
        ("two", "/topic/x"),
    ];
    assert_eq!(
        came,
        expected.map(|(id, to)| (id.to_owned(), to.to_owned()))
    );
}

#[test]
fn the_last_subscriber_of_a_pattern_is_noticed() {
    let hub = Hub::default();
    let (one, two) = (session(&hub, 1, "a"), session(&hub, 2, "b"));
    for session in [&one, &two] {
        subscribe(&hub, session, "/topic/*", "/topic/*", "s");
    }
    subscribe(&hub, &two, "/topic/*", "/topic/*", "t");
    assert!(hub.topics.is_wanted("/topic/*"));
    assert!(!hub.topics.is_wanted("/topic/x"));
    assert!(!hub.topics.remove("/topic/*", one.id, "s"));
    assert!(!hub.topics.remove("/topic/*", one.id, "s"), "it was gone");
    assert!(!hub.topics.remove("/topic/*", two.id, "s"));
    let (_, abandoned) = hub.remove(two.id).unwrap();
    assert_eq!(abandoned, vec![Box::from("/topic/*")]);
    assert!(hub.topics.is_empty());
    assert_eq!(
        hub.topics
            .fan_out(&topic("/topic/x"), "m1".to_owned())
            .finish(),
        0
    );
}
