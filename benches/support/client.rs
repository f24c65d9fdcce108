//! A WebSocket client that costs little, so that what is measured is the server.
//!
//! Not here: what the messages mean beyond CONNECT and SUBSCRIBE. It knows exactly what the two
//! servers send: whole messages, unmasked. Invariant: whatever else comes is a failure, never
//! skipped.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Failure, Outcome};

/// How much is read at once.
const READ_BYTES: usize = 32 << 10;

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Client {
    /// What comes.
    pub(crate) reader: Reader,
    /// What goes.
    pub(crate) writer: OwnedWriteHalf,
    /// The id by which the broker knows it.
    pub(crate) user_name: String,
}

/// The half that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl Client {
    /// Opens a WebSocket at the path of the broker; the bare server takes any path.
    pub(crate) async fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (half, mut writer) = stream.into_split();
        let request = format!(
            "GET /ws-chat HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        writer.write_all(request.as_bytes()).await?;
        let mut reader = Reader {
            half,
            buffer: Vec::new(),
            start: 0,
        };
        reader.answer().await?;
        Ok(Self {
            reader,
            writer,
            user_name: String::new(),
        })
    }

    /// A client of the broker, connected and perhaps subscribed: that is over when this returns.
    pub(crate) async fn stomp(
        address: SocketAddr,
        heart_beat: &str,
        destination: Option<&str>,
    ) -> Outcome<Self> {
        let mut client = Self::open(address).await?;
        let connect =
            format!("CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:{heart_beat}\n\n\0");
        client.send(connect.as_bytes()).await?;
        client.user_name = client.connected().await?;
        if let Some(destination) = destination {
            let subscribe =
                format!("SUBSCRIBE\nid:sub-0\ndestination:{destination}\nreceipt:subscribed\n\n\0");
            client.send(subscribe.as_bytes()).await?;
            client.expect("RECEIPT\n").await?;
        }
        Ok(client)
    }

    /// Waits for CONNECTED. Returns its `user-name`.
    async fn connected(&mut self) -> Outcome<String> {
        let message = String::from_utf8_lossy(self.next().await?).into_owned();
        let name = message
            .lines()
            .find_map(|line| line.strip_prefix("user-name:"));
        match (message.starts_with("CONNECTED\n"), name) {
            (true, Some(name)) => Ok(name.to_owned()),
            _ => Err(format!("CONNECTED was expected, and this came: {message}").into()),
        }
    }

    /// Sends one text message.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> Outcome<()> {
        let mut octets = Vec::with_capacity(payload.len() + 14);
        put_text(&mut octets, payload);
        Ok(self.writer.write_all(&octets).await?)
    }

    pub(crate) async fn expect(&mut self, beginning: &str) -> Outcome<()> {
        let message = self.next().await?;
        if message.starts_with(beginning.as_bytes()) {
            return Ok(());
        }
        let found = String::from_utf8_lossy(message);
        Err(format!("{beginning:?} was expected, and this came: {found}").into())
    }

    /// The next message. Pings are answered on the way.
    pub(crate) async fn next(&mut self) -> Outcome<&[u8]> {
        let (at, end) = loop {
            match self.reader.frame()? {
                Some((TEXT, at, end)) => break (at, end),
                Some((PING, ..)) => self.writer.write_all(&pong()).await?,
                Some((opcode, at, end)) => return Err(self.reader.unexpected(opcode, at, end)),
                None => self.reader.read().await?,
            }
        };
        Ok(&self.reader.buffer[at..end])
    }
}

impl Reader {
    /// Waits for the answer to the handshake.
    async fn answer(&mut self) -> Outcome<()> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]);
                if !head.starts_with("HTTP/1.1 101 ") {
                    return Err(format!("the server does not open a WebSocket: {head}").into());
                }
                self.start = end + 4;
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// Waits for octets.
    async fn read(&mut self) -> Outcome<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() {
            // An idle client keeps nothing.
            self.buffer = Vec::new();
            self.half.readable().await?;
        }
        self.buffer.reserve(READ_BYTES);
        match self.half.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }

    /// The next frame that is whole: its opcode, where its payload begins and ends.
    fn frame(&mut self) -> Outcome<Option<(u8, usize, usize)>> {
        let octets = &self.buffer[self.start..];
        let [first, second, rest @ ..] = octets else {
            return Ok(None);
        };
        let (extended, length) = match (second, rest) {
            (126, [high, low, ..]) => (2, usize::from(u16::from_be_bytes([*high, *low]))),
            (126, _) => return Ok(None),
            (127.., _) => return Err("a frame is masked or far too long".into()),
            (length, _) => (0, usize::from(*length)),
        };
        if first & 0x80 == 0 {
            return Err("a message came in pieces".into());
        }
        let at = self.start + 2 + extended;
        if self.buffer.len() < at + length {
            return Ok(None);
        }
        self.start = at + length;
        Ok(Some((first & 0x0f, at, at + length)))
    }

    fn unexpected(&self, opcode: u8, at: usize, end: usize) -> Failure {
        let payload = String::from_utf8_lossy(&self.buffer[at..end]);
        format!("a frame of opcode {opcode} came: {payload}").into()
    }
}

/// Appends one masked text message. The mask is zero, which saves the client the work and the
/// server none.
pub(crate) fn put_text(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(0x80 | TEXT);
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => out.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn pong() -> [u8; 6] {
    [0x80 | PONG, 0x80, 0, 0, 0, 0]
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets
        .windows(wanted.len())
        .position(|window| window == wanted)
}
