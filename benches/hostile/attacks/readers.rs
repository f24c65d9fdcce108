//! Attacks by clients who ask for much and read little.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use super::{Attacker, Crowd, Outcome, PAUSE, SMALL_BUFFER, drain, send, write_frame};

/// As much text as one message may have.
const EMOJI: usize = 4_000;

/// Stores many messages for one visitor, and then reads them slowly, many times at once.
pub(super) async fn slow_exports(crowd: Crowd) -> Outcome<()> {
    let mut reader = crowd.attacker(0);
    let session = loop {
        match reader.connected().await {
            Ok(session) => break session,
            // The node may be busy; an attacker tries again.
            Err(_refused) => sleep(PAUSE * 20).await,
        }
    };
    // Nobody writes to a visitor who is away.
    let user = session.user;
    let mut online = JoinSet::new();
    online.spawn_local(drain(session.stream));
    let mut writers = JoinSet::new();
    for number in 1..=20 {
        let (mut writer, user) = (crowd.attacker(number), user.clone());
        writer.place.prepares = true;
        writers.spawn_local(async move {
            let mut session = writer.connected().await?;
            let errors = b"SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0";
            write_frame(&mut session.stream, errors).await?;
            let message = "\u{1f600}".repeat(EMOJI);
            let body = format!("{{\"to\":\"{user}\",\"message\":\"{message}\"}}");
            for _ in 0..55 {
                write_frame(&mut session.stream, &send("/app/chat.send", &body)).await?;
                sleep(PAUSE * 2).await;
            }
            sleep(Duration::from_secs(1)).await;
            Outcome::Ok(())
        });
    }
    while writers.join_next().await.is_some() {}
    let token = reader.token.unwrap_or_default();
    let mut readers = JoinSet::new();
    for number in 0..crowd.origin.sockets(60) {
        let mut attacker = crowd.attacker(number);
        attacker.token = Some(token.clone());
        readers.spawn_local(async move {
            loop {
                let _closed = slow_export(&attacker).await;
                sleep(PAUSE * 20).await;
            }
        });
    }
    match readers.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

async fn slow_export(attacker: &Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open_with(Some(SMALL_BUFFER)).await?;
    let token = attacker.token.as_deref().unwrap_or_default();
    let head = format!(
        "GET /api/v1/me/export HTTP/1.1\r\nHost: x\r\nAuthorization: Visitor {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = [0; 1_000];
    while stream.read(&mut bytes).await? > 0 {
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Asks for pages and scripts and reads none of them.
pub(super) async fn slow_pages(attacker: &mut Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open_with(Some(SMALL_BUFFER)).await?;
    let paths = [
        "/assets/stomp.umd.min.js",
        "/docs",
        "/api/v1/openapi.json",
        "/metrics",
    ];
    let requests: String = paths
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    stream.write_all(requests.repeat(50).as_bytes()).await?;
    sleep(Duration::from_secs(30)).await;
    drain(stream).await
}
