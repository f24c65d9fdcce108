//! The measure of comparison: a server that lets attackers do what they do, and does nothing with it.
//!
//! While the people chat through the node, an attack on the sink costs the machine the attackers and the
//! kernel's part of their traffic. Not here: limits of any kind. It answers a handshake and CONNECT, so
//! that an attack goes on as it would with a node. Invariant: everything else is read and dropped.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::origin::HEAD_BYTES;
use super::support::Outcome;

const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CONNECTED: &[u8] = b"CONNECTED\nversion:1.2\nuser-name:user_sink\nvisitor-token:sink\n\n\0";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no\n";

/// Serves on a free port until the process is ended.
pub(crate) fn serve() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        announce(listener.local_addr()?)?;
        let mut connections = JoinSet::new();
        loop {
            // Without a descriptor left an attacker waits, as with a node.
            if let Ok((stream, _)) = listener.accept().await {
                connections.spawn(swallow(stream));
            }
            while connections.try_join_next().is_some() {}
        }
    })
}

fn announce(address: SocketAddr) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "listening  {address}")?;
    Ok(out.flush()?)
}

async fn swallow(mut stream: TcpStream) -> Outcome<()> {
    let mut bytes = vec![0; 32 << 10];
    let mut is_websocket = false;
    let mut is_connected = false;
    loop {
        let read = stream.read(&mut bytes).await?;
        let arrived = bytes.get(..read).unwrap_or_default();
        let arrived = match arrived.starts_with(b"\r\n\r\n\0") {
            true => arrived.get(HEAD_BYTES..).unwrap_or_default(),
            false => arrived,
        };
        if read == 0 {
            return Ok(());
        }
        if is_websocket {
            if !is_connected {
                is_connected = true;
                // In one write: an attacker that reads a part of it gives up, and the baseline would be too low.
                let head = [0x81, u8::try_from(CONNECTED.len())?];
                stream.write_all(&[&head, CONNECTED].concat()).await?;
            }
        } else if arrived.starts_with(b"GET /ws-chat HTTP/1.1\r\nHost") {
            is_websocket = true;
            stream.write_all(UPGRADED).await?;
        } else if arrived.starts_with(b"GET ") || arrived.starts_with(b"POST ") {
            stream.write_all(ANSWER).await?;
        }
    }
}
