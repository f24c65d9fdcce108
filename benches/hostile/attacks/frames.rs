//! Attacks by STOMP frames: too many, too large, or never settled.

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Duration, sleep};

use super::{
    Attacker, Outcome, PAUSE, SESSIONS, SMALL_BUFFER, put_text, repeat, send, write_frame,
};

/// SENDs as fast as the socket accepts them.
pub(super) async fn flood(attacker: &mut Attacker) -> Outcome<()> {
    let session = attacker.connected().await?;
    let mut bytes = Vec::new();
    for _ in 0..20 {
        put_text(&mut bytes, &send("/topic/flood", "x"));
    }
    repeat(session.stream, &bytes, None).await
}

/// A WebSocket message of 1 TiB, and a frame without an end.
pub(super) async fn oversized(attacker: &mut Attacker) -> Outcome<()> {
    let mut session = attacker.connected().await?;
    let mut bytes = vec![0x82, 0xff];
    bytes.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    bytes.extend_from_slice(&[0; 4 + 4_096]);
    session.stream.write_all(&bytes).await?;
    let session = attacker.connected().await?;
    let mut bytes = Vec::new();
    let mut frame = b"SEND\ndestination:/topic/x\n\n".to_vec();
    frame.resize(60 << 10, b'x');
    put_text(&mut bytes, &frame);
    repeat(session.stream, &bytes, None).await
}

/// Messages to oneself that are never read, in several sessions of one visitor.
pub(super) async fn never_reading(attacker: &mut Attacker) -> Outcome<()> {
    attacker.receive_buffer = Some(SMALL_BUFFER);
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = attacker.connected().await?;
        let topic = format!("/topic/self.{:016x}", rand::random::<u64>());
        let subscribe = format!("SUBSCRIBE\nid:1\ndestination:{topic}\n\n\0");
        write_frame(&mut session.stream, subscribe.as_bytes()).await?;
        let large = send(&topic, &"x".repeat(30 << 10));
        for _ in 0..30 {
            write_frame(&mut session.stream, &large).await?;
            sleep(PAUSE).await;
        }
        sessions.push(session);
    }
    // Long enough to be cut.
    sleep(Duration::from_secs(15)).await;
    Ok(())
}

/// Subscribers to one topic who never read; each of them writes to all.
pub(super) async fn stalled_fan_out(attacker: &mut Attacker) -> Outcome<()> {
    attacker.receive_buffer = Some(SMALL_BUFFER);
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = attacker.connected().await?;
        let subscribe = b"SUBSCRIBE\nid:1\ndestination:/topic/stalled\n\n\0";
        write_frame(&mut session.stream, subscribe).await?;
        sessions.push(session);
    }
    let large = send("/topic/stalled", &"x".repeat(60 << 10));
    for _ in 0..10 {
        for session in &mut sessions {
            write_frame(&mut session.stream, &large).await?;
        }
        sleep(PAUSE * 100).await;
    }
    Ok(())
}

/// Transactions that are filled and left open.
pub(super) async fn transactions(attacker: &mut Attacker) -> Outcome<()> {
    let body = "x".repeat(60 << 10);
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        let mut session = attacker.connected().await?;
        for number in 0..16 {
            let begin = format!("BEGIN\ntransaction:{number}\n\n\0");
            write_frame(&mut session.stream, begin.as_bytes()).await?;
            let send = format!("SEND\ndestination:/topic/x\ntransaction:{number}\n\n{body}\0");
            write_frame(&mut session.stream, send.as_bytes()).await?;
            sleep(PAUSE).await;
        }
        sessions.push(session);
    }
    sleep(Duration::from_secs(10)).await;
    Ok(())
}

/// Subscriptions that never acknowledge, and large messages to them: at first as many as the burst of a visitor has,
/// then as often as a visitor may.
pub(super) async fn unacknowledged(attacker: &mut Attacker) -> Outcome<()> {
    const TOPICS: usize = 2;
    let mut session = attacker.connected().await?;
    let own = format!("/topic/held.{:016x}", rand::random::<u64>());
    for topic in 0..TOPICS {
        // One to each topic: a body that several keep is in memory once.
        let frame = format!(
            "SUBSCRIBE\nid:{topic}\ndestination:{own}.{topic}\nack:client\nprefetch-count:1000\n\n\0"
        );
        write_frame(&mut session.stream, frame.as_bytes()).await?;
    }
    let large = |topic: usize| send(&format!("{own}.{topic}"), &"x".repeat(60_000));
    for number in 0..30 {
        write_frame(&mut session.stream, &large(number % TOPICS)).await?;
    }
    let mut bytes = Vec::new();
    put_text(&mut bytes, &large(0));
    repeat(session.stream, &bytes, Some(Duration::from_millis(300))).await
}
