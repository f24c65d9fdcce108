//! The attacks, each bounded in sockets and in octets per second.
//!
//! Not here: what they do to others. Invariant: an attacker whose socket is closed opens another one,
//! and never ends by itself.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::support::Outcome;
use super::support::client::put_text;

/// All of them.
pub(super) const NAMES: [&str; 12] = [
    "flood of SENDs",
    "slow heads",
    "oversized frames",
    "never reading",
    "empty fragments",
    "pings",
    "subscriptions",
    "transactions",
    "unacknowledged",
    "unfinished messages",
    "abandoned SockJS sessions",
    "coming and going",
];

/// Where the attackers come from: another network than that of the neighbours.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 66, 6));
/// How many sockets an attack has.
const SOCKETS: usize = 20;
/// The pause between writes, which bounds them to some megabytes a second.
const PAUSE: Duration = Duration::from_millis(5);

/// Attacks until the process is ended.
pub(super) async fn run(name: &str, address: SocketAddr) -> Outcome<()> {
    match name {
        "flood of SENDs" => everywhere(SOCKETS, move || flood(address)).await,
        "slow heads" => everywhere(400, move || slow_head(address)).await,
        "oversized frames" => everywhere(SOCKETS, move || oversized(address)).await,
        "never reading" => everywhere(SOCKETS, move || never_reading(address)).await,
        "empty fragments" => everywhere(SOCKETS, move || fragments(address)).await,
        "pings" => everywhere(SOCKETS, move || pings(address)).await,
        "subscriptions" => everywhere(SOCKETS, move || subscriptions(address)).await,
        "transactions" => everywhere(SOCKETS, move || transactions(address)).await,
        "unacknowledged" => everywhere(SOCKETS, move || unacknowledged(address)).await,
        "unfinished messages" => everywhere(200, move || unfinished(address)).await,
        "abandoned SockJS sessions" => everywhere(SOCKETS, move || abandoned(address)).await,
        "coming and going" => everywhere(SOCKETS, move || come_and_go(address)).await,
        _ => Err(format!("there is no attack {name:?}").into()),
    }
}

/// So many at once, each again and again.
async fn everywhere<F, A>(sockets: usize, attack: A) -> Outcome<()>
where
    A: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Outcome<()>> + Send,
{
    let mut attackers = JoinSet::new();
    for _ in 0..sockets {
        let attack = attack.clone();
        attackers.spawn(async move {
            loop {
                // Being closed is what an attacker has to expect.
                let _closed = attack().await;
                sleep(PAUSE * 4).await;
            }
        });
    }
    match attackers.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}

async fn open(address: SocketAddr) -> Outcome<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(FROM, 0))?;
    Ok(socket.connect(address).await?)
}

/// A WebSocket.
async fn upgraded(address: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = open(address).await?;
    let request = format!(
        "GET /ws-chat HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 1_024];
    match stream.read(&mut head).await? {
        read if head[..read].starts_with(b"HTTP/1.1 101 ") => Ok(stream),
        _ => Err("it was not let in".into()),
    }
}

/// A session.
async fn connected(address: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = upgraded(address).await?;
    say(&mut stream, b"CONNECT\naccept-version:1.2\nhost:x\n\n\0").await?;
    let mut answer = [0; 4_096];
    match stream.read(&mut answer).await? {
        0 => Err("it was not let in".into()),
        _ => Ok(stream),
    }
}

async fn say(stream: &mut TcpStream, frame: &[u8]) -> Outcome<()> {
    let mut octets = Vec::new();
    put_text(&mut octets, frame);
    Ok(stream.write_all(&octets).await?)
}

/// Writes the same again and again, and reads what comes away, until it is closed.
async fn repeat(stream: TcpStream, octets: &[u8]) -> Outcome<()> {
    let (mut reader, mut writer) = stream.into_split();
    let write = async {
        loop {
            writer.write_all(octets).await?;
            sleep(PAUSE).await;
        }
    };
    let read = async {
        let mut nothing = vec![0; 32 << 10];
        while reader.read(&mut nothing).await? > 0 {}
        Outcome::Ok(())
    };
    tokio::select! {
        written = write => { let ended: Outcome<()> = written; ended }
        closed = read => closed,
    }
}

async fn flood(address: SocketAddr) -> Outcome<()> {
    let stream = connected(address).await?;
    let mut octets = Vec::new();
    for _ in 0..20 {
        put_text(&mut octets, b"SEND\ndestination:/topic/flood\n\nx\0");
    }
    repeat(stream, &octets).await
}

async fn slow_head(address: SocketAddr) -> Outcome<()> {
    let mut stream = open(address).await?;
    stream.write_all(b"GET /ws-chat HTTP/1.1\r\n").await?;
    loop {
        stream.write_all(b"x").await?;
        sleep(Duration::from_millis(500)).await;
    }
}

async fn oversized(address: SocketAddr) -> Outcome<()> {
    let mut stream = connected(address).await?;
    // A WebSocket message of 1 TiB, of which some octets come.
    let mut octets = vec![0x82, 0xff];
    octets.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    octets.extend_from_slice(&[0; 4 + 4_096]);
    stream.write_all(&octets).await?;
    let stream = connected(address).await?;
    let mut octets = Vec::new();
    let mut frame = b"SEND\ndestination:/topic/x\n\n".to_vec();
    frame.resize(60 << 10, b'x');
    put_text(&mut octets, &frame);
    repeat(stream, &octets).await
}

async fn never_reading(address: SocketAddr) -> Outcome<()> {
    let mut stream = connected(address).await?;
    let subscribe = b"SUBSCRIBE\nid:1\ndestination:/topic/self\n\n\0";
    say(&mut stream, subscribe).await?;
    let mut frame = b"SEND\ndestination:/topic/self\n\n".to_vec();
    frame.resize(30 << 10, b'x');
    frame.push(0);
    for _ in 0..50 {
        say(&mut stream, &frame).await?;
        sleep(PAUSE).await;
    }
    // Long enough to be cut.
    sleep(Duration::from_secs(15)).await;
    Ok(())
}

async fn fragments(address: SocketAddr) -> Outcome<()> {
    let mut stream = connected(address).await?;
    stream.write_all(&[0x01, 0x80, 0, 0, 0, 0]).await?;
    let empty: Vec<u8> = [0x00, 0x80, 0, 0, 0, 0].repeat(500);
    repeat(stream, &empty).await
}

async fn pings(address: SocketAddr) -> Outcome<()> {
    let stream = connected(address).await?;
    let mut ping = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    ping.resize(6 + 125, b'x');
    repeat(stream, &ping.repeat(20)).await
}

async fn subscriptions(address: SocketAddr) -> Outcome<()> {
    let mut stream = connected(address).await?;
    for number in 0..10_000 {
        let (id, name) = (format!("{number:0>128}"), format!("{number:0>240}"));
        let frame = format!("SUBSCRIBE\nid:{id}\ndestination:/topic/{name}\n\n\0");
        say(&mut stream, frame.as_bytes()).await?;
        if number % 50 == 0 {
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

async fn transactions(address: SocketAddr) -> Outcome<()> {
    let mut stream = connected(address).await?;
    let body = "x".repeat(60 << 10);
    for number in 0..16 {
        let begin = format!("BEGIN\ntransaction:{number}\n\n\0");
        say(&mut stream, begin.as_bytes()).await?;
        for _ in 0..16 {
            let send = format!("SEND\ndestination:/topic/x\ntransaction:{number}\n\n{body}\0");
            say(&mut stream, send.as_bytes()).await?;
            sleep(PAUSE).await;
        }
    }
    sleep(Duration::from_secs(10)).await;
    Ok(())
}

async fn unacknowledged(address: SocketAddr) -> Outcome<()> {
    let mut stream = connected(address).await?;
    for number in 0..250 {
        let frame = format!(
            "SUBSCRIBE\nid:{number}\ndestination:/topic/held\nack:client\nprefetch-count:1\n\n\0"
        );
        say(&mut stream, frame.as_bytes()).await?;
    }
    let mut send = b"SEND\ndestination:/topic/held\n\n".to_vec();
    send.resize(8 << 10, b'x');
    send.push(0);
    let mut octets = Vec::new();
    put_text(&mut octets, &send);
    repeat(stream, &octets).await
}

async fn unfinished(address: SocketAddr) -> Outcome<()> {
    let mut stream = upgraded(address).await?;
    // The beginning of a message of 60,000 octets, and all of it but one.
    let mut octets = vec![0x82, 0x80 | 126];
    octets.extend_from_slice(&60_000_u16.to_be_bytes());
    octets.resize(4 + 4 + 59_999, 0);
    stream.write_all(&octets).await?;
    let mut nothing = [0; 1_024];
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

async fn abandoned(address: SocketAddr) -> Outcome<()> {
    let mut stream = open(address).await?;
    let mut answer = vec![0; 4 << 10];
    for _ in 0..100 {
        let id: u64 = rand::random();
        let request = format!(
            "POST /ws-chat/000/{id:016x}/xhr HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        if stream.read(&mut answer).await? == 0 {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn come_and_go(address: SocketAddr) -> Outcome<()> {
    drop(connected(address).await?);
    Ok(())
}
