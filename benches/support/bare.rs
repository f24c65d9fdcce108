//! The measure of comparison: fan-out over tokio-tungstenite without any broker logic.
//!
//! Not here: STOMP, subscriptions, sessions, limits, metrics. The ordinary design: one task per
//! connection, one bounded queue of shared text per client, what is ready written together and
//! flushed once, small read buffers. Invariant: what one client sends reaches every client that
//! asked for it, in order; a client whose queue is full is let go.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::support::Outcome;
use crate::support::client::Client;

/// The text with which a client asks for everything; it is answered with itself.
const SUBSCRIBE: &str = "subscribe";

/// As much as a client of the broker may have waiting.
const QUEUE_FRAMES: usize = 1_024;
/// As in the broker: what an idle connection keeps.
const READ_BUFFER_BYTES: usize = 4 << 10;

type Queues = Vec<mpsc::Sender<Utf8Bytes>>;

/// A client of the bare server; a subscribed one gets everything.
pub(crate) async fn client(address: SocketAddr, subscribed: bool) -> Outcome<Client> {
    let mut client = Client::open(address).await?;
    if subscribed {
        client.send(SUBSCRIBE.as_bytes()).await?;
        client.expect(SUBSCRIBE).await?;
    }
    Ok(client)
}

/// Serves on a free port until the process is ended.
pub(crate) fn serve() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut out = std::io::stdout();
        writeln!(out, "listening  {}", listener.local_addr()?)?;
        out.flush()?;
        let clients = Arc::<Mutex<Queues>>::default();
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let clients = Arc::clone(&clients);
            connections.spawn(async move {
                // A client that is gone is no failure of the server.
                let _gone = serve_client(stream, clients).await;
            });
            while connections.try_join_next().is_some() {}
        }
    })
}

async fn serve_client(stream: TcpStream, clients: Arc<Mutex<Queues>>) -> Outcome<()> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(READ_BUFFER_BYTES);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let (queue, mut waiting) = mpsc::channel(QUEUE_FRAMES);
    let mut own = Some(queue);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) if text == SUBSCRIBE => {
                    locked(&clients).extend(own.take());
                    socket.send(Message::Text(text)).await?;
                }
                Some(Ok(Message::Text(text))) => {
                    locked(&clients).retain(|client| client.try_send(text.clone()).is_ok());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            count = waiting.recv_many(&mut batch, QUEUE_FRAMES) => {
                if count == 0 {
                    return Ok(());
                }
                for text in batch.drain(..) {
                    socket.feed(Message::Text(text)).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

fn locked(clients: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}
