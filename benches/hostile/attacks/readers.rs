//! Attacks by clients who ask for much and read little.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use super::{
    Attacker, COUNTS, Crowd, Outcome, PAUSE, SMALL_BUFFER, Session, drain, send, write_frame,
};

/// As much text as one message may have.
const EMOJI: usize = 4_000;
/// How many clients read the long export.
const LONG_EXPORTS: [usize; 2] = [60, 150];
/// How many read an export of their own: together more than one address may have of the byte account.
const OWN_EXPORTS: [usize; 2] = [640, 800];
/// How many messages each writer stores for the long export, within the burst of a visitor, and for their own, which has
/// those of both visitors of a pair.
const MESSAGES: usize = 60;
const OWN_MESSAGES: usize = 20;

/// Slow readers of one long export, and as many of shorter ones, each of another visitor.
pub(super) async fn slow_exports(crowd: Crowd) -> Outcome<()> {
    tokio::join!(shared_export(crowd), own_exports(crowd));
    Ok(())
}

/// Stores many messages for one visitor, and then reads them slowly, many times at once.
async fn shared_export(crowd: Crowd) {
    let mut reader = crowd.attacker(0);
    let session = loop {
        match reader.connected().await {
            Ok(session) => break session,
            // The node may be busy; an attacker tries again.
            Err(_refused) => sleep(PAUSE * 100).await,
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
            let session = writer.connected().await?;
            write(session, &user, MESSAGES).await
        });
    }
    while writers.join_next().await.is_some() {}
    let token = reader.token;
    let mut readers = JoinSet::new();
    for number in 0..crowd.origin.pick(LONG_EXPORTS) {
        let mut attacker = crowd.attacker(number);
        attacker.token.clone_from(&token);
        readers.spawn_local(async move { read_again(&attacker).await });
    }
    while readers.join_next().await.is_some() {}
}

/// Visitors in pairs store messages for one another, and then each of them reads their own export slowly.
async fn own_exports(crowd: Crowd) {
    let mut pairs = JoinSet::new();
    for pair in 0..crowd.origin.pick(OWN_EXPORTS) / 2 {
        let (one, other) = (crowd.attacker(2 * pair), crowd.attacker(2 * pair + 1));
        pairs.spawn_local(async move {
            let (one, other) = loop {
                match stored(one.clone(), other.clone()).await {
                    Ok(pair) => break pair,
                    // The node may be busy; an attacker tries again.
                    Err(_refused) => sleep(PAUSE * 100).await,
                }
            };
            tokio::join!(read_again(&one), read_again(&other));
        });
    }
    while pairs.join_next().await.is_some() {}
}

/// Two visitors with their rows, and many messages between them.
async fn stored(mut one: Attacker, mut other: Attacker) -> Outcome<(Attacker, Attacker)> {
    for attacker in [&mut one, &mut other] {
        attacker.place.prepares = true;
    }
    let (first, second) = (one.connected().await?, other.connected().await?);
    let (to_first, to_second) = (first.user.clone(), second.user.clone());
    // Both stay until both have written: nobody writes to a visitor who is away.
    let (first, second) = tokio::join!(
        write(first, &to_second, OWN_MESSAGES),
        write(second, &to_first, OWN_MESSAGES)
    );
    drop((first?, second?));
    for attacker in [&mut one, &mut other] {
        attacker.place.prepares = false;
    }
    Ok((one, other))
}

/// Writes to another visitor, within the burst of one.
async fn write(mut session: Session, to: &str, messages: usize) -> Outcome<Session> {
    let errors = b"SUBSCRIBE\nid:e\ndestination:/user/queue/errors\n\n\0";
    write_frame(&mut session.stream, errors).await?;
    let message = "\u{1f600}".repeat(EMOJI);
    let body = format!("{{\"to\":\"{to}\",\"message\":\"{message}\"}}");
    for _ in 0..messages {
        write_frame(&mut session.stream, &send("/app/chat.send", &body)).await?;
        sleep(PAUSE * 2).await;
    }
    sleep(Duration::from_secs(1)).await;
    Ok(session)
}

/// Reads the export again and again.
async fn read_again(attacker: &Attacker) {
    loop {
        if slow_export(attacker).await.is_err() {
            COUNTS.refused.add(1);
        }
        sleep(PAUSE * 20).await;
    }
}

async fn slow_export(attacker: &Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open_with(Some(SMALL_BUFFER)).await?;
    let token = attacker.token.as_deref().unwrap_or_default();
    let head = format!(
        "GET /api/v1/me/export HTTP/1.1\r\nHost: x\r\nAuthorization: Visitor {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    COUNTS.requests.add(1);
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
