//! The ordinary design: tokio-tungstenite, one task per connection, one bounded queue of shared text
//! per client, what is ready written together and flushed once, buffers of 4 KiB.
//!
//! Invariant: a client whose queue is full is let go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::Outcome;
use crate::frames::{self, Wish};

/// As much as a client of the broker may have waiting.
const QUEUE_FRAMES: usize = 1_024;
/// What an idle connection keeps for each direction.
const BUFFER_BYTES: usize = 4 << 10;

type Queue = mpsc::Sender<Utf8Bytes>;

#[derive(Debug, Default)]
struct Topics {
    queues: RwLock<HashMap<String, Vec<Queue>>>,
    numbers: AtomicU64,
}

pub(crate) async fn serve(listener: TcpListener) -> Outcome<()> {
    let topics = Arc::<Topics>::default();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let topics = Arc::clone(&topics);
        connections.spawn(async move {
            // A client that is gone is no failure of the server.
            let _gone = serve_client(stream, &topics).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the type of the callback is that of the library"
)]
async fn serve_client(stream: TcpStream, topics: &Topics) -> Outcome<()> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES);
    let choose = |_: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
        let name = HeaderValue::from_static("v12.stomp");
        answer.headers_mut().insert("Sec-WebSocket-Protocol", name);
        Ok(answer)
    };
    let mut socket = accept_hdr_async_with_config(stream, choose, Some(config)).await?;
    let (queue, mut waiting) = mpsc::channel(QUEUE_FRAMES);
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => match frames::wish(&text) {
                    Wish::Connect => socket.send(Message::text(frames::CONNECTED)).await?,
                    Wish::Subscribe { destination, receipt } => {
                        topics.subscribe(destination, queue.clone());
                        if let Some(id) = receipt {
                            socket.send(Message::text(frames::receipt(id))).await?;
                        }
                    }
                    Wish::Send { destination, body } => topics.send(destination, body),
                    Wish::Nothing => {}
                },
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

impl Topics {
    fn subscribe(&self, destination: &str, queue: Queue) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let list = queues.entry(destination.to_owned()).or_default();
        list.retain(|queue| !queue.is_closed());
        list.push(queue);
    }

    fn send(&self, destination: &str, body: &str) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let text = Utf8Bytes::from(frames::message(destination, number, body));
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        for queue in queues.get(destination).into_iter().flatten() {
            // Who does not keep up misses it; the load generator tells.
            let _full = queue.try_send(text.clone());
        }
    }
}
