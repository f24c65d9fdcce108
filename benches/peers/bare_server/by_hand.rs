//! No broker logic at all: WebSocket frames written by hand, straight from the task of whoever sends
//! into the sockets of those who hear.
//!
//! A connection is a socket, a lock and two empty vectors; octets are read into a buffer that all
//! connections of a thread share. With `joined` all messages of one read to one destination go to each
//! client in one write. Invariant: octets of one client are never mixed, and whoever sends waits
//! for a client that does not take them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Outcome;
use crate::frames::{self, Wish};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// How long a client may take nothing before it is let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// The answer to the one key that the load generator sends.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
Sec-WebSocket-Protocol: v12.stomp\r\n\r\n";

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_upgraded: bool,
    /// Octets of a frame that is not whole.
    carry: Vec<u8>,
    /// What the socket did not take.
    pending: Vec<u8>,
    destination: Option<Box<str>>,
}

#[derive(Debug)]
struct Topics {
    is_joined: bool,
    clients: RwLock<HashMap<Box<str>, Vec<Arc<Client>>>>,
    numbers: AtomicU64,
}

pub(crate) async fn serve(listener: TcpListener, is_joined: bool) -> Outcome<()> {
    let topics = Arc::new(Topics {
        is_joined,
        clients: RwLock::default(),
        numbers: AtomicU64::new(0),
    });
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = Arc::new(Client {
            stream,
            state: Mutex::default(),
        });
        let topics = Arc::clone(&topics);
        connections.spawn(async move {
            // A client that is gone is no failure of the server.
            let _gone = attend(&client, &topics).await;
            topics.forget(&client);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn attend(client: &Arc<Client>, topics: &Topics) -> Outcome<()> {
    loop {
        client.stream.readable().await?;
        for slow in client.read(topics)? {
            // Whoever does not take anything any more is his own reader's affair.
            // In a box, since an idle connection shall not keep room for it.
            let _gone = Box::pin(timeout(PATIENCE, slow.drain())).await;
        }
    }
}

impl Client {
    /// Reads what is there and does what it says. Returns who did not take all of it.
    fn read(self: &Arc<Self>, topics: &Topics) -> Outcome<Vec<Arc<Self>>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut slow = Vec::new();
            loop {
                let kept = std::mem::take(&mut self.state().carry);
                let kept_bytes = kept.len();
                if buffer.len() < kept_bytes + READ_BYTES / 2 {
                    buffer.resize(kept_bytes + READ_BYTES, 0);
                }
                buffer[..kept_bytes].copy_from_slice(&kept);
                let count = match self.stream.try_read(&mut buffer[kept_bytes..]) {
                    Ok(0) => return Err("the client has gone".into()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.state().carry = kept;
                        return Ok(slow);
                    }
                    Err(error) => return Err(error.into()),
                };
                let end = kept_bytes + count;
                let used = self.digest(&mut buffer[..end], topics, &mut slow)?;
                self.state().carry = buffer[used..end].to_vec();
                if end < buffer.len() {
                    return Ok(slow);
                }
            }
        })
    }

    fn digest(
        self: &Arc<Self>,
        octets: &mut [u8],
        topics: &Topics,
        slow: &mut Vec<Arc<Self>>,
    ) -> Outcome<usize> {
        let mut used = 0;
        if !self.state().is_upgraded {
            let Some(end) = memchr::memmem::find(octets, b"\r\n\r\n") else {
                return Ok(0);
            };
            used = end + 4;
            self.state().is_upgraded = true;
            self.put(UPGRADED)?;
        }
        let mut batch = Batch::default();
        while let Some((opcode, payload, length)) = unmasked(&mut octets[used..])? {
            used += length;
            match opcode {
                1 | 2 => {
                    let text = std::str::from_utf8(payload)?;
                    self.grant(&frames::wish(text), topics, &mut batch, slow)?;
                }
                8 => return Err("the client leaves".into()),
                _ => {}
            }
        }
        topics.deliver(&mut batch, slow);
        Ok(used)
    }

    fn grant(
        self: &Arc<Self>,
        wish: &Wish<'_>,
        topics: &Topics,
        batch: &mut Batch,
        slow: &mut Vec<Arc<Self>>,
    ) -> Outcome<()> {
        match wish {
            Wish::Connect => self.put(&framed(frames::CONNECTED)).map(drop)?,
            Wish::Subscribe {
                destination,
                receipt,
            } => {
                self.state().destination = Some((*destination).into());
                topics.subscribe(destination, self);
                if let Some(id) = receipt {
                    self.put(&framed(&frames::receipt(id)))?;
                }
            }
            Wish::Send { destination, body } => {
                let number = topics.numbers.fetch_add(1, Ordering::Relaxed);
                batch.add(destination, &frames::message(destination, number, body));
                if !topics.is_joined {
                    topics.deliver(batch, slow);
                }
            }
            Wish::Nothing => {}
        }
        Ok(())
    }

    /// Writes as much as the socket takes. Returns whether that was all.
    fn put(&self, octets: &[u8]) -> io::Result<bool> {
        let mut state = self.state();
        if !state.pending.is_empty() {
            state.pending.extend_from_slice(octets);
            return Ok(false);
        }
        let mut rest = octets;
        while !rest.is_empty() {
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.pending.extend_from_slice(rest);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Waits until everything is written.
    async fn drain(&self) -> io::Result<()> {
        loop {
            self.stream.writable().await?;
            if self.flush()? {
                return Ok(());
            }
        }
    }

    /// Writes what waits. Under the lock, so that nobody comes between.
    fn flush(&self) -> io::Result<bool> {
        let mut state = self.state();
        while !state.pending.is_empty() {
            match self.stream.try_write(&state.pending) {
                Ok(count) => drop(state.pending.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        state.pending = Vec::new();
        Ok(true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages to destinations, framed.
#[derive(Debug, Default)]
struct Batch {
    parts: Vec<(Box<str>, Vec<u8>)>,
}

impl Batch {
    fn add(&mut self, destination: &str, message: &str) {
        let framed = framed(message);
        match self.parts.last_mut() {
            Some((last, octets)) if **last == *destination => octets.extend_from_slice(&framed),
            _ => self.parts.push((destination.into(), framed)),
        }
    }
}

impl Topics {
    fn subscribe(&self, destination: &str, client: &Arc<Client>) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        clients
            .entry(destination.into())
            .or_default()
            .push(Arc::clone(client));
    }

    fn forget(&self, client: &Arc<Client>) {
        let Some(destination) = client.state().destination.take() else {
            return;
        };
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = clients.get_mut(&destination) {
            list.retain(|other| !Arc::ptr_eq(other, client));
        }
    }

    fn deliver(&self, batch: &mut Batch, slow: &mut Vec<Arc<Client>>) {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        for (destination, octets) in batch.parts.drain(..) {
            for client in clients.get(&destination).into_iter().flatten() {
                // One that is gone is taken out by its own task.
                if client.put(&octets).is_ok_and(|is_all| !is_all) {
                    slow.push(Arc::clone(client));
                }
            }
        }
    }
}

/// A text message of the server.
fn framed(payload: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 4);
    out.push(0x81);
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => out.push(length.to_be_bytes()[1]),
        Ok(length) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload.as_bytes());
    out
}

/// The first frame of a client, if it is whole: its opcode, its payload, and how long all of it is.
fn unmasked(octets: &mut [u8]) -> Outcome<Option<(u8, &[u8], usize)>> {
    let (first, second) = match octets {
        [first, second, ..] => (*first, *second & 0x7f),
        _ => return Ok(None),
    };
    let (at, length) = match (second, &octets[2..]) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (126, _) => return Ok(None),
        (127, _) => return Err("a frame is far too long".into()),
        (length, _) => (2, usize::from(length)),
    };
    let end = at + 4 + length;
    if octets.len() < end {
        return Ok(None);
    }
    let (head, payload) = octets[..end].split_at_mut(at + 4);
    let mask = [head[at], head[at + 1], head[at + 2], head[at + 3]];
    for (octet, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *octet ^= key;
    }
    Ok(Some((first & 0x0f, payload, end)))
}
