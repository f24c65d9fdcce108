//! Attacks on what a node has a fixed number of: queues, consumers, patterns, new visitors, disk.

use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use super::put_text;
use super::{
    Attacker, Outcome, SESSIONS, SOCKETS, Session, drain, repeat, send, upgrade, write_frame,
};

/// New queues: as many as the sessions of one visitor may consume, again and again, and one by each SEND.
pub(super) async fn queues(attacker: &mut Attacker) -> Outcome<()> {
    for _ in 0..SESSIONS {
        let mut session = soft(attacker).await?;
        for number in 0..32 {
            let queue = format!("/queue/{:016x}", rand::random::<u64>());
            let subscribe = format!("SUBSCRIBE\nid:{number}\ndestination:{queue}\n\n\0");
            write_frame(&mut session.stream, subscribe.as_bytes()).await?;
            write_frame(&mut session.stream, &send(&format!("{queue}x"), "x")).await?;
        }
        // Long enough for all of them to be declared.
        sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// A session that goes on when something is refused.
async fn soft(attacker: &mut Attacker) -> Outcome<Session> {
    let mut session = attacker.connected().await?;
    let subscribe = b"SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0";
    write_frame(&mut session.stream, subscribe).await?;
    Ok(session)
}

/// As many consumers as the sessions of one visitor may have.
pub(super) async fn queue_consumers(attacker: &mut Attacker) -> Outcome<()> {
    subscribers(attacker, 32, |number| {
        format!("/queue/attack.{}", number % 8)
    })
    .await
}

/// As many patterns as the sessions of one visitor may have.
pub(super) async fn patterns(attacker: &mut Attacker) -> Outcome<()> {
    subscribers(attacker, 16, |_| {
        format!("/topic/{:016x}.*.x.**", rand::random::<u64>())
    })
    .await
}

/// Holds subscriptions in several sessions of one visitor until all of them are closed.
async fn subscribers(
    attacker: &mut Attacker,
    each: usize,
    destination: impl Fn(usize) -> String,
) -> Outcome<()> {
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let mut session = soft(attacker).await?;
        for number in 0..each {
            let destination = destination(number);
            let frame = format!("SUBSCRIBE\nid:{number}\ndestination:{destination}\n\n\0");
            write_frame(&mut session.stream, frame.as_bytes()).await?;
        }
        sessions.spawn_local(drain(session.stream));
    }
    while sessions.join_next().await.is_some() {}
    Ok(())
}

/// Large messages into a queue that nobody reads.
pub(super) async fn bytes_in_queues(attacker: &mut Attacker) -> Outcome<()> {
    let session = soft(attacker).await?;
    let queue = format!("/queue/bytes.{}", attacker.place.number);
    let mut bytes = Vec::new();
    put_text(&mut bytes, &send(&queue, &"x".repeat(60_000)));
    repeat(session.stream, &bytes, None).await
}

/// Topics with long names: of some attackers without end, of the others as many as each of their sessions may have, which
/// are kept.
pub(super) async fn subscriptions(attacker: &mut Attacker) -> Outcome<()> {
    let number = attacker.place.number;
    if number < SOCKETS {
        let mut session = attacker.connected().await?;
        return subscribe(&mut session, 10_000, number).await;
    }
    let mut sessions = JoinSet::new();
    for index in 0..SESSIONS {
        let mut session = soft(attacker).await?;
        subscribe(&mut session, 255, number * SESSIONS + index).await?;
        sessions.spawn_local(drain(session.stream));
    }
    while sessions.join_next().await.is_some() {}
    Ok(())
}

async fn subscribe(session: &mut Session, count: usize, own: usize) -> Outcome<()> {
    for number in 0..count {
        let (id, name) = (
            format!("{number:0>128}"),
            format!("{own:0>120}{number:0>120}"),
        );
        let frame = format!("SUBSCRIBE\nid:{id}\ndestination:/topic/{name}\n\n\0");
        write_frame(&mut session.stream, frame.as_bytes()).await?;
    }
    Ok(())
}

/// A new visitor who leaves at once.
pub(super) async fn new_visitors(attacker: &mut Attacker) -> Outcome<()> {
    attacker.token = None;
    let stream = upgrade(attacker.place.open_anywhere().await?).await?;
    attacker.connect(stream).await?;
    Ok(())
}

/// The longest messages to oneself, ten a second: three times as many as a visitor may send.
pub(super) async fn stored_bytes(attacker: &mut Attacker) -> Outcome<()> {
    let text = "\u{1f600}".repeat(4_000);
    messages_to_self(attacker, &text).await
}

/// Text that is far from its normal form.
pub(super) async fn unicode(attacker: &mut Attacker) -> Outcome<()> {
    // Marks of different classes in the order that has to be reversed.
    let text = format!("a{}", "\u{345}\u{301}\u{327}\u{334}".repeat(999));
    messages_to_self(attacker, &text).await
}

async fn messages_to_self(attacker: &mut Attacker, text: &str) -> Outcome<()> {
    let session = soft(attacker).await?;
    let body = format!("{{\"to\":\"{}\",\"message\":\"{text}\"}}", session.user);
    let mut bytes = Vec::new();
    put_text(&mut bytes, &send("/app/chat.send", &body));
    // Ten a second: beyond the rate of a visitor, and not so far that the session is closed at once.
    repeat(session.stream, &bytes, Some(Duration::from_millis(100))).await
}
