//! A client of SockJS that speaks each transport as its own client would, frame by frame.
//!
//! Not here: STOMP. Invariant: whatever the transport, what comes out is the frames of SockJS.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::SinkExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::raw::{Raw, ask, stream};
use super::{session, websocket};

/// Every transport.
pub(super) const TRANSPORTS: [&str; 6] = [
    "websocket",
    "xhr_streaming",
    "eventsource",
    "htmlfile",
    "xhr",
    "jsonp",
];

/// One session.
#[derive(Debug)]
pub(crate) struct Talker {
    address: SocketAddr,
    pub(super) url: String,
    transport: &'static str,
    headers: Vec<String>,
    socket: Option<WebSocketStream<TcpStream>>,
    answer: Option<Raw>,
    heard: VecDeque<String>,
}

impl Talker {
    /// Opens a session with these headers in every request.
    pub(crate) async fn open(
        address: SocketAddr,
        transport: &'static str,
        headers: &[&str],
    ) -> Self {
        let url = session("/ws-chat");
        let mut talker = Self {
            address,
            transport,
            headers: headers.iter().map(|line| (*line).to_owned()).collect(),
            socket: None,
            answer: None,
            heard: VecDeque::new(),
            url,
        };
        if transport == "websocket" {
            let path = format!("{}/websocket", talker.url);
            talker.socket = Some(websocket::open(address, &path).await);
        }
        assert_eq!(talker.frame().await, "o", "{transport}");
        talker
    }

    fn lines(&self) -> Vec<&str> {
        self.headers.iter().map(String::as_str).collect()
    }

    /// Sends messages in one request.
    pub(crate) async fn send(&mut self, messages: &[&str]) {
        let body = serde_json::to_string(messages).unwrap();
        if let Some(socket) = &mut self.socket {
            return socket.send(Message::text(body)).await.unwrap();
        }
        let (path, status) = match self.transport {
            "jsonp" => ("jsonp_send", 200),
            _ => ("xhr_send", 204),
        };
        let line = format!("POST {}/{path}", self.url);
        let sent = ask(self.address, &line, &self.lines(), Some(body.as_bytes())).await;
        assert_eq!(sent.status(), status, "{}: {}", self.transport, sent.body);
    }

    /// The next frame: `o`, `h`, `a[...]`, `c[...]`.
    pub(super) async fn frame(&mut self) -> String {
        if let Some(socket) = &mut self.socket {
            return websocket::next(socket).await;
        }
        loop {
            if self.answer.is_none() {
                self.ask_for_more().await;
            }
            let Some(chunk) = self.answer.as_mut().unwrap().chunk().await else {
                self.answer = None;
                continue;
            };
            return self.unwrapped(&chunk);
        }
    }

    async fn ask_for_more(&mut self) {
        let query = match self.transport {
            "htmlfile" | "jsonp" => "?c=cb",
            _ => "",
        };
        let method = match self.transport {
            "xhr" | "xhr_streaming" => "POST",
            _ => "GET",
        };
        let line = format!("{method} {}/{}{query}", self.url, self.transport);
        let (mut raw, head) = stream(self.address, &line, &self.lines()).await;
        assert_eq!(head.status, 200, "{line}");
        if !matches!(self.transport, "xhr" | "jsonp") {
            raw.chunk().await.expect("a prelude");
        }
        self.answer = Some(raw);
    }

    fn unwrapped(&self, chunk: &str) -> String {
        let quoted = |from: &str, to: &str| -> String {
            let inner = chunk
                .strip_prefix(from)
                .and_then(|rest| rest.strip_suffix(to));
            serde_json::from_str(inner.expect(chunk)).unwrap()
        };
        match self.transport {
            "eventsource" => {
                let inner = chunk.strip_prefix("data: ").expect(chunk);
                inner.strip_suffix("\r\n\r\n").expect(chunk).to_owned()
            }
            "htmlfile" => quoted("<script>\np(", ");\n</script>\r\n"),
            "jsonp" => quoted("/**/cb(", ");\r\n"),
            _ => chunk.strip_suffix('\n').expect(chunk).to_owned(),
        }
    }

    /// The next message; a frame that holds none is given as it is.
    pub(crate) async fn message(&mut self) -> String {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            let frame = self.frame().await;
            match frame.strip_prefix('a') {
                Some(messages) => self.heard = serde_json::from_str(messages).unwrap(),
                None => return frame,
            }
        }
    }

    /// CONNECT, and the CONNECTED that comes of it.
    pub(crate) async fn connect(&mut self, more: &str) -> String {
        let connect = format!("CONNECT\naccept-version:1.2\n{more}\n\0");
        self.send(&[&connect]).await;
        let connected = self.message().await;
        assert!(connected.starts_with("CONNECTED\n"), "{connected}");
        connected
    }
}
