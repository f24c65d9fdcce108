//! A sink for STOMP clients that come back: fixed answers to the handshake, CONNECT and SUBSCRIBE.
//!
//! Not here: what is measured beside it. Invariant: it keeps nothing of a client but the socket and a small buffer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::TaskTracker;

use super::support::Outcome;

/// Starts a sink on a thread of its own. Returns where it listens, and how many clients have subscribed.
pub(super) fn start() -> Outcome<(SocketAddr, Arc<AtomicUsize>)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(4_096)?;
    let address = listener.local_addr()?;
    let come = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&come);
    let listener = listener.into_std()?;
    std::thread::spawn(move || serve(listener, &count));
    Ok((address, come))
}

fn serve(listener: std::net::TcpListener, count: &Arc<AtomicUsize>) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = TaskTracker::new();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn(answer(stream, Arc::clone(count)));
        }
        Ok(())
    })
}

async fn answer(mut stream: TcpStream, come: Arc<AtomicUsize>) -> Option<()> {
    let mut buffer = vec![0; 8 << 10];
    let count = stream.read(&mut buffer).await.ok()?;
    let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
    let key = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then(|| derive_accept_key(value.trim().as_bytes()))
    };
    let accept = head.lines().find_map(key)?;
    let switching = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n"
    );
    stream.write_all(switching.as_bytes()).await.ok()?;
    for text in [
        "CONNECTED\nversion:1.2\nheart-beat:0,0\nuser-name:user_sink\n\n\0",
        "RECEIPT\nreceipt-id:sub\n\n\0",
    ] {
        if stream.read(&mut buffer).await.ok()? == 0 {
            return None;
        }
        // A text frame of at most 125 bytes.
        let mut frame = vec![0x81, u8::try_from(text.len()).ok()?];
        frame.extend_from_slice(text.as_bytes());
        stream.write_all(&frame).await.ok()?;
    }
    come.fetch_add(1, Ordering::Relaxed);
    drop(buffer);
    let mut rest = [0; 256];
    while stream.read(&mut rest).await.ok()? > 0 {}
    None
}
