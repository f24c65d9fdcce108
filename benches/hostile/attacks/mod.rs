//! The attacks, each bounded in its sockets, and most of them by nothing else.
//!
//! Not here: what they do to others. Invariant: an attacker whose socket is closed opens another one,
//! and never ends by itself.

mod accounts;
mod bodies;
mod frames;
mod pools;
mod readers;
mod requests;
mod sockets;
mod storms;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::{sleep, timeout};

use super::counted::{COUNTS, Socket};
use super::origin::{Origin, Place};
use super::support::Outcome;
use super::support::client::put_text;

/// How many sockets most attacks have.
const SOCKETS: usize = 20;
/// From how many attackers on each of them waits longer after a refusal, so that thousands do not try more often than so
/// many would: 2,250 times a second, which with bodies of 60 kB is a line of 1 Gbit/s. With more than that the attackers
/// measure themselves, because they need the processors of the node.
const BUSY_ATTACKERS: usize = 45;
/// How many sessions one visitor may have at a time.
const SESSIONS: usize = 3;
/// What a client keeps who reads slowly, or never.
const SMALL_BUFFER: u32 = 4 << 10;
/// How many sessions an attack holds: more than the share of one address at a node with the file limit of 20,000 that
/// many systems have, and from many addresses nearly as many files as the attackers have under it.
const HELD_SESSIONS: [usize; 2] = [10_500, 19_500];
/// How many attackers the attacks have that hold memory. From one address they ask for more than the 448 MiB of the byte
/// account that one address may have with the default `MEMORY_LIMIT`; from many for as much as the file limits allow.
///
/// SockJS sessions of 90 bodies of 350 kB each: 1,980 bodies.
const SOCKJS_BODIES: [usize; 2] = [22, 44];
/// SockJS sessions that wait with one body, and what was sent before it.
const STALLED_SOCKJS: [usize; 2] = [1_000, 2_500];
/// Bodies of 60 kB.
const REST_BODIES: [usize; 2] = [6_000, 15_000];
/// Sockets with answers that are not read, 128 KiB each.
const PAGE_READERS: [usize; 2] = [3_500, 8_750];
/// Sockets whose head does not end: all that one address may have, as above.
const SLOW_HEADS: [usize; 2] = HELD_SESSIONS;
/// Sockets of TLS, 74 KiB each.
const TLS_HANDSHAKES: [usize; 2] = [7_500, 17_500];
/// Visitors with a message of 60 kB in each of their sessions.
const UNFINISHED: [usize; 2] = [2_200, 5_500];
/// Visitors with 16 transactions of 60 kB in each of their sessions.
const TRANSACTIONS: [usize; 2] = [200, 500];
/// Sessions that may have 4 MiB unsettled.
const UNACKNOWLEDGED: [usize; 2] = [250, 625];
/// Visitors whose outboxes of 512 KiB fill up in each of their sessions.
const NEVER_READING: [usize; 2] = [350, 875];
/// Visitors with 256 subscriptions in each of their sessions: more than the 375,000 beyond 32 a session that one address
/// may have.
const SUBSCRIBERS: [usize; 2] = [600, 1_500];
/// Visitors who store as much as they may: together 1 GiB in a minute.
const WRITERS: [usize; 2] = [350, 875];
/// Visitors who read what one of them sends, in each of their sessions.
const FAN_OUT_READERS: [usize; 2] = [1_000, 2_500];
/// Sockets that go on after their ERROR.
const AFTER_ERROR: [usize; 2] = [300, 750];
/// How many sockets send their first request in the same moment.
const FIRST_REQUESTS: [usize; 2] = [7_900, 19_500];
/// How many attackers start before those that started get their next turn.
const STARTED_AT_ONCE: usize = 50;
/// The pause between the steps of an attack that builds something up.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an attacker who was refused waits before the next attempt.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);
/// How long an attacker waits for an answer before they try something else.
const PATIENCE: Duration = Duration::from_secs(5);

/// Attacks until the process is ended.
pub(crate) async fn run(name: &str, crowd: Crowd) -> Outcome<()> {
    LocalSet::new().run_until(attack(name, crowd)).await
}

async fn attack(name: &str, crowd: Crowd) -> Outcome<()> {
    match name {
        "guessable passwords" => crowd.of(27, accounts::guessable_password).await,
        "logins" => crowd.of(SOCKETS, accounts::login).await,
        "withheld SockJS bodies" => crowd.as_many(SOCKJS_BODIES, bodies::withheld_sockjs).await,
        "stalled SockJS sessions" => crowd.as_many(STALLED_SOCKJS, bodies::stalled_sockjs).await,
        "abandoned SockJS sessions" => crowd.of(SOCKETS, bodies::abandoned_sockjs).await,
        "withheld REST bodies" => crowd.as_many(REST_BODIES, bodies::withheld_rest).await,
        "slow exports" => readers::slow_exports(crowd).await,
        "slow page readers" => crowd.as_many(PAGE_READERS, readers::slow_pages).await,
        "slow heads" => crowd.as_many(SLOW_HEADS, requests::slow_head).await,
        "withheld TLS handshakes" => {
            crowd
                .as_many(TLS_HANDSHAKES, bodies::withheld_handshake)
                .await
        }
        "requests" => crowd.of(SOCKETS, requests::pages).await,
        "JSON bombs" => crowd.of(SOCKETS, requests::json_bombs).await,
        "Unicode" => crowd.of(SOCKETS, pools::unicode).await,
        "queues" => crowd.of(SOCKETS, pools::queues).await,
        "queue consumers" => crowd.of(25, pools::queue_consumers).await,
        "bytes in queues" => crowd.of(SOCKETS, pools::bytes_in_queues).await,
        "patterns" => crowd.of(25, pools::patterns).await,
        "subscriptions" => crowd.as_many(SUBSCRIBERS, pools::subscriptions).await,
        "new visitors" => crowd.of(SOCKETS, pools::new_visitors).await,
        "stored bytes" => crowd.as_many(WRITERS, pools::stored_bytes).await,
        "held connections" => {
            let attackers = HELD_SESSIONS.map(|sessions| sessions / SESSIONS);
            crowd.as_many(attackers, sockets::held).await
        }
        "held first requests" => crowd.as_many(FIRST_REQUESTS, requests::held_first).await,
        "coming and going" => crowd.of(SOCKETS, sockets::coming_and_going).await,
        "flood of SENDs" => crowd.of(SOCKETS, frames::flood).await,
        "oversized frames" => crowd.of(SOCKETS, frames::oversized).await,
        "unfinished messages" => crowd.as_many(UNFINISHED, sockets::unfinished).await,
        "transactions" => crowd.as_many(TRANSACTIONS, frames::transactions).await,
        "unacknowledged" => crowd.as_many(UNACKNOWLEDGED, frames::unacknowledged).await,
        "never reading" => crowd.as_many(NEVER_READING, frames::never_reading).await,
        "fan-out to stalled readers" => crowd.as_many(NEVER_READING, frames::stalled_fan_out).await,
        "fan-out to readers" => crowd.as_many(FAN_OUT_READERS, storms::fan_out).await,
        "ACK storm" => crowd.of(SOCKETS, storms::acknowledge).await,
        "frames after the ERROR" => crowd.as_many(AFTER_ERROR, storms::after_error).await,
        "empty fragments" => crowd.of(SOCKETS, sockets::fragments).await,
        "pings" => crowd.of(SOCKETS, sockets::pings).await,
        _ => Err(format!("there is no attack {name:?}").into()),
    }
}

/// All attackers of one attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) origin: Origin,
    pub(crate) target: SocketAddr,
    /// How long a body of SockJS may be at the node, nearly.
    pub(crate) request_bytes: usize,
}

impl Crowd {
    fn attacker(self, number: usize) -> Attacker {
        let place = Place {
            target: self.target,
            origin: self.origin,
            number,
            prepares: false,
        };
        Attacker {
            place,
            token: None,
            receive_buffer: None,
            request_bytes: self.request_bytes,
        }
    }

    /// So many attackers from one address, and more of them from many, each again and again.
    async fn of<A>(self, from_one: usize, attack: A) -> Outcome<()>
    where
        A: AsyncFn(&mut Attacker) -> Outcome<()> + Copy + 'static,
    {
        self.exactly(self.origin.sockets(from_one), attack).await
    }

    /// The first number of attackers from one address, the second one from many, each again and again.
    async fn as_many<A>(self, counts: [usize; 2], attack: A) -> Outcome<()>
    where
        A: AsyncFn(&mut Attacker) -> Outcome<()> + Copy + 'static,
    {
        self.exactly(self.origin.pick(counts), attack).await
    }

    /// So many attackers, from wherever they come, each again and again.
    async fn exactly<A>(self, count: usize, attack: A) -> Outcome<()>
    where
        A: AsyncFn(&mut Attacker) -> Outcome<()> + Copy + 'static,
    {
        let mut attackers = JoinSet::new();
        let times = u32::try_from(count / BUSY_ATTACKERS)?.max(1);
        for number in 0..count {
            // The first of thousands do more than connect before the last ones come.
            if number % STARTED_AT_ONCE == 0 {
                yield_now().await;
            }
            let mut attacker = self.attacker(number);
            attackers.spawn_local(async move {
                loop {
                    // A closed socket is what an attacker has to expect.
                    match attack(&mut attacker).await {
                        Ok(()) => yield_now().await,
                        Err(_refused) => {
                            COUNTS.refused.add(1);
                            sleep(REFUSED_PAUSE * times).await;
                        }
                    }
                }
            });
        }
        match attackers.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }
}

/// One attacker, who keeps the secret of their first visit as a browser does.
#[derive(Clone, Debug)]
struct Attacker {
    place: Place,
    token: Option<String>,
    /// A small one makes what is not read wait at the node, rather than in the sockets.
    receive_buffer: Option<u32>,
    request_bytes: usize,
}

/// A STOMP session of an attacker.
#[derive(Debug)]
struct Session {
    stream: Socket,
    /// The `user-name` of CONNECTED.
    user: String,
}

impl Attacker {
    /// A WebSocket.
    async fn upgraded(&self) -> Outcome<Socket> {
        upgrade(self.place.open_with(self.receive_buffer).await?).await
    }

    /// A session of this attacker's visitor, who is made at the first one. The session presents the secret,
    /// so that the visitor has rates of their own; all new visitors of one browser and address share theirs.
    async fn connected(&mut self) -> Outcome<Session> {
        if self.token.is_none() {
            let stream = self.upgraded().await?;
            self.connect(stream).await?;
        }
        let stream = self.upgraded().await?;
        self.connect(stream).await
    }

    /// CONNECT on a WebSocket.
    async fn connect(&mut self, mut stream: Socket) -> Outcome<Session> {
        let token = self.token.as_deref().unwrap_or("new");
        // With soft errors a session holds on to what it has when more is refused.
        let connect = format!(
            "CONNECT\naccept-version:1.2\nhost:x\nx-soft-errors:true\nvisitor-token:{token}\n\n\0"
        );
        write_frame(&mut stream, connect.as_bytes()).await?;
        let answer = timeout(PATIENCE, read_some(&mut stream)).await??;
        let answer = String::from_utf8_lossy(&answer);
        let value = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
        let user = value("user-name:").ok_or("CONNECT was refused")?.to_owned();
        COUNTS.sessions.add(1);
        if let Some(token) = value("visitor-token:") {
            self.token = Some(token.to_owned());
        }
        Ok(Session { stream, user })
    }

    /// One request on a connection that stays open; returns what has arrived of the answer.
    async fn exchange(&self, stream: &mut Socket, head: &str, body: &[u8]) -> Outcome<Vec<u8>> {
        stream.write_all(&self.request(head, body.len())).await?;
        stream.write_all(body).await?;
        COUNTS.requests.add(1);
        let answer = timeout(PATIENCE, read_some(stream)).await??;
        if answer.starts_with(b"HTTP/1.1 503 ") || answer.starts_with(b"HTTP/1.1 429 ") {
            COUNTS.refused.add(1);
        }
        Ok(answer)
    }

    /// The head of a request whose body has a length.
    fn request(&self, line: &str, length: usize) -> Vec<u8> {
        let host = self.place.target;
        format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        )
        .into_bytes()
    }
}

/// Opens a WebSocket on a connection.
async fn upgrade(mut stream: Socket) -> Outcome<Socket> {
    let request = "GET /ws-chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let head = timeout(PATIENCE, read_some(&mut stream)).await??;
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(stream),
        false => Err("the handshake was refused".into()),
    }
}

/// What arrives next; an error at the end.
async fn read_some(stream: &mut Socket) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0; 16 << 10];
    match stream.read(&mut bytes).await? {
        0 => Err("the connection was closed".into()),
        read => {
            bytes.truncate(read);
            Ok(bytes)
        }
    }
}

/// Sends one STOMP frame as a WebSocket message.
async fn write_frame(stream: &mut Socket, frame: &[u8]) -> Outcome<()> {
    let mut bytes = Vec::new();
    put_text(&mut bytes, frame);
    stream.write_all(&bytes).await?;
    COUNTS.requests.add(1);
    Ok(())
}

/// A SEND with a body.
fn send(destination: &str, body: &str) -> Vec<u8> {
    format!("SEND\ndestination:{destination}\n\n{body}\0").into_bytes()
}

/// Writes the same bytes again and again, with a pause or as fast as the socket accepts them, and reads what arrives,
/// until the connection is closed.
async fn repeat(stream: Socket, bytes: &[u8], pause: Option<Duration>) -> Outcome<()> {
    let (mut reader, mut writer) = split(stream);
    let write = async {
        loop {
            writer.write_all(bytes).await?;
            COUNTS.requests.add(1);
            match pause {
                Some(pause) => sleep(pause).await,
                None => yield_now().await,
            }
        }
    };
    let read = async {
        let mut nothing = vec![0; 32 << 10];
        while reader.read(&mut nothing).await? > 0 {}
        Err("the connection was closed".into())
    };
    tokio::select! {
        written = write => { let ended: Outcome<()> = written; ended }
        closed = read => closed,
    }
}

/// Reads and drops what arrives until the connection is closed.
async fn drain(mut stream: Socket) -> Outcome<()> {
    let mut nothing = vec![0; 4 << 10];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}
