//! A STOMP client over WebSocket, with TLS or without, from an address of loopback.
//!
//! Not here: what is said. Invariant: a future that waits for a frame can be dropped without losing a
//! byte, so that a client can wait for the clock and for the node at the same time.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::support::Outcome;
use super::support::client::put_text;

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Anything that carries bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where a node is, and how it is spoken to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsConnector>,
}

impl Target {
    /// A connection from an address of loopback.
    pub(crate) async fn open(&self, from: IpAddr) -> Outcome<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(connector) => {
                let name = ServerName::try_from("localhost")?;
                Ok(Box::new(connector.connect(name, stream).await?))
            }
        }
    }
}

/// Makes a certificate in a folder, as `cert.pem` and `key.pem`, and what trusts it.
pub(crate) fn certify(folder: &Path) -> Outcome<TlsConnector> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join("cert.pem"), made.cert.pem())?;
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connected session.
pub(crate) struct Session {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
    /// The `user-name` of CONNECTED.
    pub(crate) user: String,
    /// The secret of the visitor, when CONNECTED has one.
    pub(crate) token: Option<String>,
}

impl Session {
    /// Connects a visitor: the one of the token, or with `new` a new one.
    pub(crate) async fn connect(target: &Target, from: IpAddr, token: &str) -> Outcome<Self> {
        let mut session = Self {
            stream: target.open(from).await?,
            buffer: Vec::new(),
            start: 0,
            user: String::new(),
            token: None,
        };
        let request = format!(
            "GET /ws-chat HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            target.address
        );
        session.stream.write_all(request.as_bytes()).await?;
        session.answer().await?;
        let connect = format!(
            "CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\nvisitor-token:{token}\n\n\0"
        );
        session.send(connect.as_bytes()).await?;
        let answer = String::from_utf8_lossy(session.next().await?).into_owned();
        if !answer.starts_with("CONNECTED\n") {
            return Err(brief(&answer).into());
        }
        let value = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
        session.user = value("user-name:").unwrap_or_default().to_owned();
        session.token = value("visitor-token:").map(str::to_owned);
        Ok(session)
    }

    /// Waits for the answer to the handshake.
    async fn answer(&mut self) -> Outcome<()> {
        loop {
            let end = self
                .buffer
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default());
                if !head.starts_with("HTTP/1.1 101 ") {
                    return Err(brief(&head).into());
                }
                self.start = end + 4;
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// Sends one frame.
    pub(crate) async fn send(&mut self, frame: &[u8]) -> Outcome<()> {
        let mut bytes = Vec::with_capacity(frame.len() + 14);
        put_text(&mut bytes, frame);
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The next frame. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Outcome<&[u8]> {
        let (at, end) = loop {
            match self.frame()? {
                Some((TEXT, at, end)) => break (at, end),
                Some((PING, ..)) => {
                    self.stream
                        .write_all(&[0x80 | PONG, 0x80, 0, 0, 0, 0])
                        .await?;
                }
                Some((opcode, at, end)) => {
                    // A close has its code in two bytes, then its reason.
                    let reason = self.buffer.get(at + 2..end).unwrap_or_default();
                    let reason = String::from_utf8_lossy(reason);
                    return Err(format!("closed (opcode {opcode}): {reason}").into());
                }
                None => self.read().await?,
            }
        };
        Ok(self.buffer.get(at..end).unwrap_or_default())
    }

    async fn read(&mut self) -> Outcome<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(4 << 10);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the connection was closed".into()),
            _ => Ok(()),
        }
    }

    /// The next frame that is complete: its opcode, where its payload begins and ends.
    fn frame(&mut self) -> Outcome<Option<(u8, usize, usize)>> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (extended, length) = match (second, rest) {
            (126, [high, low, ..]) => (2, usize::from(u16::from_be_bytes([*high, *low]))),
            (126, _) => return Ok(None),
            (127.., _) => return Err("a frame is masked or far too long".into()),
            (length, _) => (0, usize::from(*length)),
        };
        let (opcode, at) = (first & 0x0f, self.start + 2 + extended);
        if self.buffer.len() < at + length {
            return Ok(None);
        }
        self.start = at + length;
        Ok(Some((opcode, at, at + length)))
    }
}

/// The first line of an answer, and the detail of an ERROR.
pub(crate) fn brief(answer: &str) -> String {
    let detail = answer.lines().find(|line| line.starts_with("message:"));
    let first = answer.lines().next().unwrap_or_default();
    format!("{first} {}", detail.unwrap_or_default())
        .trim()
        .to_owned()
}
