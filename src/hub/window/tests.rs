//! What goes out of a window, what comes back to it, and what it keeps.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use crate::bus::queue::{Settler, Tag};
use crate::hub::{
    Content, Delivery, Hub, HubSession, NeverIssued, Opening, Outbox, OutboxLimits, Pulled, Shown,
    Subscriber, Window,
};
use crate::model::{
    AckMode, CloseReason, MessageId, RoomId, SessionId, StoredMessage, UnixMillis, UserId, Verdict,
};
use crate::session::Delivered;
use crate::stomp::Version;
use crate::websocket::Framed;

const LIMITS: OutboxLimits = OutboxLimits {
    frames_max: 20,
    bytes_max: 10_000,
};

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn session() -> Arc<HubSession> {
    let outbox = Arc::new(Outbox::new(LIMITS));
    HubSession::new(SessionId(1), user("b"), "".into(), UnixMillis(0), outbox)
}

fn subscriber(version: Version) -> Subscriber {
    Subscriber {
        version,
        id: Some("s".into()),
        shown: Shown::Canonical,
    }
}

fn opening(mode: AckMode, version: Version, prefetch: u32) -> Opening<'static> {
    Opening {
        id: "s",
        subscriber: subscriber(version),
        mode,
        prefetch,
        limits: LIMITS,
        is_fed: false,
    }
}

fn content(number: usize) -> Content {
    Content {
        destination: "/topic/x".into(),
        message_id: format!("m{number}").into(),
        content_type: None,
        headers: vec![("mine".into(), "1".into())],
        body: Bytes::from(format!("body {number}")),
        is_shared: false,
        redelivered: false,
        tag: None,
    }
}

fn offer(window: &Window, numbers: std::ops::RangeInclusive<usize>) {
    numbers.for_each(|number| window.offer(content(number)));
}

/// The frames that are there, each as `message-id[ ack][ redelivered]`.
fn shown(session: &HubSession) -> Vec<String> {
    let frames = match session.outbox.try_pull() {
        Some(Pulled::Frames(frames)) => frames.into_vec(),
        Some(other) => panic!("{other:?}"),
        None => Vec::new(),
    };
    let shown = |frame: &Framed| {
        let text = String::from_utf8_lossy(frame.octets(false)).into_owned();
        let header = |name: &str| {
            let lines = text.lines().take_while(|line| !line.is_empty());
            let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let value = values.next().map(str::to_owned);
            assert_eq!(values.next(), None, "{name} once in {text}");
            value
        };
        let mut shown = header("message-id").unwrap();
        if let Some(ack) = header("ack") {
            shown.push_str(&format!(" {ack}"));
        }
        if let Some(redelivered) = header("redelivered") {
            assert_eq!(redelivered, "true");
            shown.push_str(" redelivered");
        }
        shown
    };
    frames.iter().map(shown).collect()
}

/// How a client of this version names its n-th message, which is `m<number>`.
fn named(version: Version, n: u64, number: usize) -> Delivered {
    let message = |subscription| Delivered::Message {
        message_id: format!("m{number}").into(),
        subscription,
    };
    match version {
        Version::V1_2 => Delivered::Ack(format!("1.{n}").into()),
        Version::V1_1 => message(Some("s".into())),
        Version::V1_0 => message(None),
    }
}

mod covering;
mod keeping;

#[test]
fn every_verdict_means_what_its_mode_says_in_every_version() {
    use AckMode::{Client, ClientIndividual};
    // Four messages are delivered, the third is answered: what goes out then, what is unsettled.
    for (mode, verdict, expected, unsettled) in [
        (Client, Verdict::Ack, vec![], 1),
        (Client, Verdict::Reject, vec![], 1),
        (Client, Verdict::Requeue, vec!["m1", "m2", "m3"], 4),
        (ClientIndividual, Verdict::Ack, vec![], 3),
        (ClientIndividual, Verdict::Reject, vec![], 3),
        (ClientIndividual, Verdict::Requeue, vec!["m3"], 4),
    ] {
        for version in Version::ALL {
            let session = session();
            let window = session.open_window(opening(mode, version, 10));
            offer(&window, 1..=4);
            let is_named_by_ack = version == Version::V1_2;
            let plain = |n| match is_named_by_ack {
                true => format!("m{n} 1.{n}"),
                false => format!("m{n}"),
            };
            assert_eq!(shown(&session), (1..=4).map(plain).collect::<Vec<_>>());
            let settled = session.settle(&named(version, 3, 3), verdict).unwrap();
            assert!(settled.is_effective() && settled.is_expected && settled.told.is_none());
            let again: Vec<_> = expected
                .iter()
                .zip(5..)
                .map(|(id, n)| match is_named_by_ack {
                    true => format!("{id} 1.{n} redelivered"),
                    false => format!("{id} redelivered"),
                })
                .collect();
            assert_eq!(shown(&session), again, "{mode:?} {verdict:?} {version}");
            assert_eq!(
                window.unsettled(),
                unsettled,
                "{mode:?} {verdict:?} {version}"
            );
        }
    }
}

#[test]
fn a_full_window_pauses_and_goes_on_in_order() {
    let session = session();
    let window = session.open_window(opening(AckMode::Client, Version::V1_2, 2));
    offer(&window, 1..=5);
    assert_eq!(shown(&session), ["m1 1.1", "m2 1.2"]);
    let ack = |n| {
        session
            .settle(&named(Version::V1_2, n, 0), Verdict::Ack)
            .unwrap()
    };
    ack(1);
    assert_eq!(shown(&session), ["m3 1.3"]);
    ack(3);
    assert_eq!(shown(&session), ["m4 1.4", "m5 1.5"]);
    ack(5);
    offer(&window, 6..=6);
    assert_eq!(shown(&session), ["m6 1.6"]);
}

#[test]
fn what_comes_back_goes_before_what_waits_and_the_third_refusal_is_the_last() {
    let session = session();
    let window = session.open_window(opening(AckMode::ClientIndividual, Version::V1_2, 1));
    offer(&window, 1..=2);
    let nack = |n| {
        session
            .settle(&named(Version::V1_2, n, 0), Verdict::Requeue)
            .unwrap()
    };
    assert_eq!(shown(&session), ["m1 1.1"]);
    nack(1);
    assert_eq!(shown(&session), ["m1 1.2 redelivered"]);
    nack(2);
    assert_eq!(shown(&session), ["m1 1.3 redelivered"]);
    nack(3);
    assert_eq!(shown(&session), ["m2 1.4"]);
}

#[test]
fn an_answer_that_comes_again_has_no_effect_and_one_to_nothing_is_an_error() {
    for version in Version::ALL {
        let session = session();
        let ack = |of: &Delivered| {
            let settled = session.settle(of, Verdict::Ack);
            assert_eq!(session.is_issued(of), settled.is_ok(), "{version} {of:?}");
            settled.map(|settled| (settled.is_effective(), settled.is_expected))
        };
        assert_eq!(ack(&named(version, 1, 1)), Err(NeverIssued));
        let window = session.open_window(opening(AckMode::ClientIndividual, version, 10));
        assert_eq!(ack(&named(version, 1, 1)), Err(NeverIssued));
        offer(&window, 1..=2);
        assert_eq!(ack(&named(version, 1, 1)), Ok((true, true)), "{version}");
        // For each message one answer is expected.
        assert_eq!(ack(&named(version, 1, 1)), Ok((false, true)), "{version}");
        assert_eq!(ack(&named(version, 1, 1)), Ok((false, false)), "{version}");
        assert_eq!(ack(&named(version, 3, 3)), Err(NeverIssued), "{version}");
        // What is answered for the first time is always expected.
        offer(&window, 3..=3);
        assert_eq!(ack(&named(version, 1, 1)), Ok((false, true)), "{version}");
        assert_eq!(ack(&named(version, 3, 3)), Ok((true, true)), "{version}");
        session.close_windows("s");
        assert_eq!(ack(&named(version, 2, 2)), Ok((false, false)), "{version}");
        assert_eq!(window.unsettled(), 0);
    }
    let never = |ack: &str| session().settle(&Delivered::Ack(ack.into()), Verdict::Ack);
    for ack in ["", "1", "1.1", "2.1", "x.y", "1.0"] {
        assert!(never(ack).is_err(), "{ack:?}");
    }
}

/// The client's answer runs on another thread than the one that hands the message out.
#[test]
fn a_message_is_known_before_the_client_can_answer_it() {
    const MESSAGES: usize = 5_000;
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        let session = session();
        let window = session.open_window(opening(AckMode::ClientIndividual, version, 1));
        let answering = std::thread::spawn({
            let session = Arc::clone(&session);
            move || {
                let mut answered = 0;
                while answered < MESSAGES {
                    for _frame in shown(&session) {
                        answered += 1;
                        let named = named(version, answered as u64, answered);
                        let settled = session.settle(&named, Verdict::Ack);
                        assert!(settled.is_ok(), "{version:?}: message {answered}");
                    }
                }
            }
        });
        for number in 1..=MESSAGES {
            while window.unsettled() > 0 && !answering.is_finished() {
                std::hint::spin_loop();
            }
            offer(&window, number..=number);
        }
        answering.join().unwrap();
    }
}

#[test]
fn a_message_id_is_looked_for_in_the_subscription_that_was_named() {
    let session = session();
    let open = |id| {
        session.open_window(Opening {
            id,
            ..opening(AckMode::ClientIndividual, Version::V1_1, 10)
        })
    };
    let (one, two) = (open("one"), open("two"));
    offer(&one, 1..=1);
    offer(&two, 1..=1);
    let of = |subscription: Option<&str>| Delivered::Message {
        message_id: "m1".into(),
        subscription: subscription.map(Into::into),
    };
    let unsettled = || (one.unsettled(), two.unsettled());
    assert!(session.settle(&of(Some("three")), Verdict::Ack).is_err());
    session.settle(&of(Some("two")), Verdict::Ack).unwrap();
    assert_eq!(unsettled(), (1, 0));
    session.settle(&of(None), Verdict::Ack).unwrap();
    assert_eq!(unsettled(), (0, 0));
}

#[test]
fn a_closed_window_queues_nothing_and_keeps_nothing() {
    let session = session();
    let window = session.open_window(opening(AckMode::Client, Version::V1_2, 1));
    offer(&window, 1..=3);
    assert_eq!(shown(&session).len(), 1);
    session.close_windows("other");
    session.close_windows("s");
    offer(&window, 4..=4);
    assert_eq!((shown(&session).len(), window.unsettled()), (0, 0));
    // The number is not given twice.
    let younger = session.open_window(opening(AckMode::Client, Version::V1_2, 1));
    offer(&younger, 5..=5);
    assert_eq!(shown(&session), ["m5 2.1"]);
    session.close_window(window.number);
    offer(&younger, 6..=6);
    session
        .settle(&Delivered::Ack("2.1".into()), Verdict::Ack)
        .unwrap();
    assert_eq!(shown(&session), ["m6 2.2"]);
}

#[test]
fn nobody_but_a_window_says_that_a_message_is_redelivered() {
    let session = session();
    let window = session.open_window(opening(AckMode::Client, Version::V1_1, 1));
    let forged = ["redelivered", "ack", "mine"].map(|name| (name.into(), "true".into()));
    window.offer(Content {
        headers: forged.to_vec(),
        ..content(1)
    });
    assert_eq!(shown(&session), ["m1"]);
}

#[test]
fn a_session_without_windows_is_as_small_as_before() {
    // As they were before there were windows, and where a visitor is known of whom nothing is stored.
    assert!(
        size_of::<HubSession>() <= 160,
        "{}",
        size_of::<HubSession>()
    );
    // Of which a frame has 40 and its waker 24.
    assert!(size_of::<Outbox>() <= 216, "{}", size_of::<Outbox>());
}
