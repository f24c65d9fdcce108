//! A STOMP client that is exact to the octet, over WebSocket, SockJS (WebSocket and xhr_streaming) and TCP alike.
//!
//! It sends what it is given, cut as it is given, and says how the connection ended. Not a client
//! of the chat (`client`, `stompjs`). Invariants: every wait ends by itself; on WebSocket and SockJS
//! a message of the server is exactly one frame or one EOL, or the test fails.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

pub(crate) use super::wire_frame::Frame;
use super::wire_frame::take;
use super::wire_xhr::Xhr;

/// How long anything may take. Generous: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What STOMP travels over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    WebSocket,
    SockJs,
    /// SockJS where WebSocket does not get through: `xhr_streaming` and `xhr_send`.
    Xhr,
    Tcp,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// HTTP, with WebSocket and SockJS.
    pub(crate) http: SocketAddr,
    /// STOMP over TCP.
    pub(crate) tcp: SocketAddr,
}

/// What was said on the lines of one case, for the report of a failure.
#[derive(Clone, Debug)]
pub(crate) struct Transcript(Arc<Mutex<Vec<String>>>, Instant);

impl Default for Transcript {
    fn default() -> Self {
        Self(Arc::default(), Instant::now())
    }
}

impl Transcript {
    fn note(&self, line: u32, mark: &str, octets: &[u8]) {
        let text = String::from_utf8_lossy(&octets[..octets.len().min(300)]);
        let cut = if octets.len() > 300 { "..." } else { "" };
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, text) = (self.1.elapsed().as_millis(), text.escape_debug());
        lines.push(format!("{at:>5} ms  {line} {mark} {text}{cut}"));
    }

    /// The last lines of it.
    pub(crate) fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines[lines.len().saturating_sub(30)..].join("\n      ")
    }
}

/// What comes from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Frame(Frame),
    /// An EOL.
    Beat,
    End(End),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The close code; none over TCP, and where the line was cut.
    pub(crate) code: Option<u16>,
    /// Its reason.
    pub(crate) reason: String,
    /// Whether the server ended it in order: a close, or FIN over TCP.
    pub(crate) orderly: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    line: Line,
    transport: Transport,
    /// Whether WebSocket messages are binary even where they could be text.
    pub(crate) binary: bool,
    /// Whether the last message of the server was binary; WebSocket only.
    pub(crate) heard_binary: bool,
    /// Octets that are no whole frame yet (TCP), and messages of a SockJS array.
    buffer: Vec<u8>,
    waiting: Vec<String>,
    /// What a SockJS close frame has said.
    end: Option<End>,
    transcript: Transcript,
    number: u32,
    pub(super) receipts: u32,
}

#[derive(Debug)]
enum Line {
    Messages(Box<WebSocketStream<TcpStream>>),
    Octets(TcpStream),
    Requests(Box<Xhr>),
}

/// A line of any WebSocket that was upgraded, with the head of the answer.
pub(crate) async fn upgrade(
    address: SocketAddr,
    path: &str,
    lines: &[&str],
) -> (Option<WebSocketStream<TcpStream>>, String) {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in lines {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match timeout(PATIENCE, stream.read_u8()).await {
            Ok(Ok(octet)) => head.push(octet),
            Ok(Err(_)) => break,
            Err(_) => panic!("no answer of HTTP in time"),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if !head.starts_with("HTTP/1.1 101") {
        return (None, head);
    }
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    (Some(socket), head)
}

impl Wire {
    /// Opens a connection; nothing of STOMP is said.
    pub(crate) async fn open(place: Place, transport: Transport, transcript: &Transcript) -> Self {
        let session: u64 = rand::random_range(0..u64::MAX);
        let session = format!("/ws-chat/{:03}/{session:x}", session % 1_000);
        let path = match transport {
            Transport::Tcp => {
                let stream = TcpStream::connect(place.tcp).await.unwrap();
                stream.set_nodelay(true).unwrap();
                return Self::new(Line::Octets(stream), transport, transcript);
            }
            Transport::WebSocket => "/ws-chat".to_owned(),
            Transport::SockJs => format!("{session}/websocket"),
            Transport::Xhr => {
                let line = Line::Requests(Box::new(Xhr::open(place.http, session).await));
                let mut wire = Self::new(line, transport, transcript);
                wire.opened().await;
                return wire;
            }
        };
        Self::open_at(place, transport, &path, &[], transcript).await
    }

    /// Opens a WebSocket, of SockJS or plain, at this path with these header lines.
    pub(crate) async fn open_at(
        place: Place,
        transport: Transport,
        path: &str,
        lines: &[&str],
        transcript: &Transcript,
    ) -> Self {
        let (socket, head) = upgrade(place.http, path, lines).await;
        let Some(socket) = socket else {
            panic!("{path} is no WebSocket: {head}");
        };
        let mut wire = Self::new(Line::Messages(Box::new(socket)), transport, transcript);
        if transport == Transport::SockJs {
            wire.opened().await;
        }
        wire
    }

    async fn opened(&mut self) {
        let opening = timeout(PATIENCE, self.message()).await;
        let opening = opening.expect("SockJS does not open");
        assert_eq!(opening.as_deref(), Some(&b"o"[..]), "SockJS opens with o");
    }

    fn new(line: Line, transport: Transport, transcript: &Transcript) -> Self {
        let lines = transcript.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u32::try_from(lines.len()).unwrap();
        drop(lines);
        Self {
            line,
            transport,
            binary: false,
            heard_binary: false,
            buffer: Vec::new(),
            waiting: Vec::new(),
            end: None,
            transcript: transcript.clone(),
            number,
            receipts: 0,
        }
    }

    /// Sends octets: over WebSocket and SockJS as one message. Whether the server still takes them
    /// is not looked at: what comes back tells more.
    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        let octets = octets.as_ref();
        self.transcript.note(self.number, ">", octets);
        let sending = async {
            match &mut self.line {
                Line::Octets(stream) => {
                    let _may_be_closed = stream.write_all(octets).await;
                }
                Line::Requests(xhr) => {
                    let text = std::str::from_utf8(octets).expect("SockJS carries text only");
                    let _may_be_closed = xhr.send(text).await;
                }
                Line::Messages(socket) => {
                    let text = std::str::from_utf8(octets);
                    let message = match (self.transport, text) {
                        (Transport::SockJs, Ok(text)) => {
                            Message::text(serde_json::json!([text]).to_string())
                        }
                        (Transport::SockJs, Err(_)) => panic!("SockJS carries text only"),
                        (_, Ok(text)) if !self.binary => Message::text(text),
                        _ => Message::binary(octets.to_vec()),
                    };
                    let _may_be_closed = socket.send(message).await;
                }
            }
        };
        assert!(timeout(PATIENCE, sending).await.is_ok(), "a write hangs");
    }

    /// Sends a message of the WebSocket beneath, as it is.
    pub(crate) async fn send_message(&mut self, message: Message) {
        let Line::Messages(socket) = &mut self.line else {
            panic!("there are no messages of WebSocket here");
        };
        self.transcript
            .note(self.number, ">>", message.clone().into_data().as_ref());
        let _may_be_closed = timeout(PATIENCE, socket.send(message)).await;
    }

    /// Says that nothing more will be sent (TCP: FIN).
    pub(crate) async fn finish(&mut self) {
        match &mut self.line {
            Line::Octets(stream) => stream.shutdown().await.unwrap(),
            Line::Messages(socket) => {
                let _may_be_closed = socket.send(Message::Close(None)).await;
            }
            Line::Requests(_) => panic!("who only asks has no way to say so"),
        }
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Heard {
        match timeout(PATIENCE, self.read()).await {
            Ok(heard) => heard,
            Err(_) => panic!("nothing came within {PATIENCE:?}"),
        }
    }

    /// What comes next within this time.
    pub(crate) async fn next_within(&mut self, patience: Duration) -> Option<Heard> {
        timeout(patience, self.read()).await.ok()
    }

    async fn read(&mut self) -> Heard {
        loop {
            if self.transport == Transport::Tcp {
                match take(&self.buffer) {
                    Ok(Some((frame, taken))) => {
                        self.buffer.drain(..taken);
                        return frame.map_or(Heard::Beat, Heard::Frame);
                    }
                    Ok(None) => {}
                    Err(wrong) => panic!("the server wrote what is no frame: {wrong}"),
                }
            }
            match self.message().await {
                Some(octets) if self.transport == Transport::Tcp => self.buffer.extend(octets),
                Some(octets) => match take(&octets) {
                    Ok(Some((frame, taken))) if taken == octets.len() => {
                        return frame.map_or(Heard::Beat, Heard::Frame);
                    }
                    other => panic!("a message is not one whole frame: {other:?}"),
                },
                None => return Heard::End(self.end.clone().unwrap()),
            }
        }
    }

    /// The next message of the line, without the framing of SockJS; over TCP some octets. At the
    /// end none, and `end` says how.
    async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            if !self.waiting.is_empty() {
                return Some(self.waiting.remove(0).into_bytes());
            }
            let end = |code, reason: &str, orderly| End {
                code,
                reason: reason.to_owned(),
                orderly,
            };
            let octets = match &mut self.line {
                Line::Octets(stream) => {
                    let mut octets = Vec::with_capacity(16 * 1024);
                    match stream.read_buf(&mut octets).await {
                        Ok(0) => self.end = Some(end(None, "", self.buffer.is_empty())),
                        Ok(_) => {
                            self.transcript.note(self.number, "<", &octets);
                            return Some(octets);
                        }
                        Err(error) => self.end = Some(end(None, &error.to_string(), false)),
                    }
                    self.transcript.note(self.number, "<", b"(end)");
                    return None;
                }
                Line::Requests(_) if self.end.is_some() => return None,
                Line::Requests(xhr) => match xhr.next().await {
                    Some(octets) => octets,
                    None => {
                        self.end = Some(end(None, "", false));
                        return None;
                    }
                },
                Line::Messages(socket) => match socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        self.heard_binary = false;
                        text.as_bytes().to_vec()
                    }
                    Some(Ok(Message::Binary(octets))) => {
                        self.heard_binary = true;
                        octets.to_vec()
                    }
                    Some(Ok(Message::Close(Some(close)))) => {
                        let said = end(Some(close.code.into()), &close.reason, true);
                        self.transcript
                            .note(self.number, "<", format!("{said:?}").as_bytes());
                        self.end.get_or_insert(said);
                        continue;
                    }
                    Some(Ok(Message::Close(None))) => {
                        self.end.get_or_insert(end(None, "", true));
                        continue;
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => {
                        self.end.get_or_insert(end(None, "", false));
                        return None;
                    }
                },
            };
            self.transcript.note(self.number, "<", &octets);
            if self.transport == Transport::WebSocket || octets == b"o" {
                return Some(octets);
            }
            self.take_sockjs(&octets);
        }
    }

    /// Takes a frame of SockJS: `h`, `a[...]`, `c[code,"reason"]`.
    fn take_sockjs(&mut self, octets: &[u8]) {
        let (kind, rest) = octets.split_first().expect("SockJS sends nothing empty");
        match kind {
            b'h' => assert!(rest.is_empty(), "h stands alone"),
            b'a' => self.waiting = serde_json::from_slice(rest).expect("an array of strings"),
            b'c' => {
                let (code, reason) = serde_json::from_slice(rest).expect("code and reason");
                self.end = Some(End {
                    code: Some(code),
                    reason,
                    orderly: true,
                });
            }
            _ => panic!("no frame of SockJS: {:?}", String::from_utf8_lossy(octets)),
        }
    }
}
