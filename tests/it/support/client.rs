//! A STOMP client that does exactly what a test says, wrong things included.
//!
//! Not STOMP.js (`stompjs`): that one never sends what is broken. It reads frames with a few lines
//! of its own, so that a mistake of the server's codec cannot hide in both. Every wait ends by
//! itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How long anything may take. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// One WebSocket.
#[derive(Debug)]
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// `user-name` of CONNECTED.
    user: String,
    /// `visitor-token` of CONNECTED.
    secret: String,
    receipts: u64,
}

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) command: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// What comes from the server.
#[derive(Debug)]
pub(crate) enum Received {
    /// A frame.
    Frame(Frame),
    /// The close, with code and reason.
    Closed(u16, String),
    /// The end of the line without a close.
    Gone,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The last ERROR frame.
    pub(crate) error: Option<Frame>,
    /// The close code; 1006 when there was no close.
    pub(crate) code: u16,
    /// Its reason.
    pub(crate) reason: String,
}

/// How a WebSocket is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opening<'a> {
    /// More lines of the request.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    /// The address that it comes from.
    pub(crate) from: Option<Ipv4Addr>,
    /// What the kernel holds for a client that does not read, in octets.
    pub(crate) receive_buffer: Option<u32>,
}

impl Frame {
    /// Reads a whole frame, its NUL included.
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").expect("a blank line ends the head");
        let mut lines = head.lines();
        let command = lines.next().expect("a frame has a command").to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            let value = value.replace("\\n", "\n").replace("\\c", ":");
            (
                name.to_owned(),
                value.replace("\\r", "\r").replace("\\\\", "\\"),
            )
        };
        Self {
            command,
            headers: lines.map(header).collect(),
            body: body
                .strip_suffix('\0')
                .expect("a NUL ends a frame")
                .to_owned(),
        }
    }

    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }

    /// Of a RECEIPT, what it is for.
    pub(crate) fn receipt(&self) -> &str {
        assert_eq!(self.command, "RECEIPT", "{self:?}");
        self.header("receipt-id")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl Client {
    /// Opens a WebSocket or returns the HTTP status of the refusal.
    pub(crate) async fn try_open(address: SocketAddr, opening: &Opening<'_>) -> Result<Self, u16> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(from) = opening.from {
            socket.bind(SocketAddr::from((from, 0))).unwrap();
        }
        if let Some(octets) = opening.receive_buffer {
            socket.set_recv_buffer_size(octets).unwrap();
        }
        let stream = within("a TCP connection", socket.connect(address))
            .await
            .unwrap();
        let mut request = format!("ws://{address}/ws-chat")
            .into_client_request()
            .unwrap();
        let protocols = [("Sec-WebSocket-Protocol", "v12.stomp")];
        for (name, value) in protocols.iter().chain(opening.headers) {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(*name, value);
        }
        let opened = tokio_tungstenite::client_async(request, stream);
        match within("an answer to the handshake", opened).await {
            Ok((socket, _)) => Ok(Self {
                socket,
                user: String::new(),
                secret: String::new(),
                receipts: 0,
            }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    /// Opens a WebSocket.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let opened = Self::try_open(address, &Opening::default()).await;
        opened.expect("a WebSocket without anything special opens")
    }

    /// Connects a fresh visitor from a page of the server, whom a fingerprint never opens.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let origin = format!("http://{address}");
        let headers = [("Origin", origin.as_str())];
        let opening = Opening {
            headers: &headers,
            ..Opening::default()
        };
        Self::connect_with(address, &opening, "new").await
    }

    /// Connects a visitor with this `visitor-token`; an empty one is not sent.
    pub(crate) async fn connect_with(
        address: SocketAddr,
        opening: &Opening<'_>,
        token: &str,
    ) -> Self {
        let mut client = Self::try_open(address, opening).await.expect("it opens");
        let connected = client.introduce(token).await;
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        client
    }

    /// Connects a fresh visitor to a node that may be killed meanwhile; `None` when it was.
    pub(crate) async fn reach(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut request = format!("ws://{address}/ws-chat")
            .into_client_request()
            .ok()?;
        let origin = HeaderValue::from_str(&format!("http://{address}")).ok()?;
        request.headers_mut().insert("Origin", origin);
        let opened = tokio_tungstenite::client_async(request, stream);
        let (socket, _) = within("an answer to the handshake", opened).await.ok()?;
        let mut client = Self {
            socket,
            user: String::new(),
            secret: String::new(),
            receipts: 0,
        };
        let connect =
            "CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\nvisitor-token:new\n\n\0";
        client.send(connect).await;
        match client.next().await {
            Received::Frame(frame) => {
                assert_eq!(frame.command, "CONNECTED", "{frame:?}");
                Some(client)
            }
            Received::Closed(..) | Received::Gone => None,
        }
    }

    /// Sends CONNECT; the answer.
    pub(crate) async fn introduce(&mut self, token: &str) -> Frame {
        let token = match token {
            "" => String::new(),
            token => format!("visitor-token:{token}\n"),
        };
        let frame = format!("CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\n{token}\n\0");
        self.send(&frame).await;
        let answer = self.frame().await;
        self.user = answer.header("user-name").to_owned();
        self.secret = answer.header("visitor-token").to_owned();
        answer
    }

    /// Sends CONNECT with these header lines; the answer, whatever it is.
    pub(crate) async fn connect_as(&mut self, headers: &[(&str, &str)]) -> Frame {
        let mut frame = "CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\n".to_owned();
        for (name, value) in headers {
            frame.push_str(&format!("{name}:{value}\n"));
        }
        frame.push_str("\n\0");
        self.send(&frame).await;
        let answer = self.frame().await;
        self.user = answer.header("user-name").to_owned();
        self.secret = answer.header("visitor-token").to_owned();
        answer
    }

    /// Connects somebody with an access token.
    pub(crate) async fn member(address: SocketAddr, access_token: &str) -> Self {
        let mut client = Self::open(address).await;
        let bearer = format!("Bearer {access_token}");
        let connected = client.connect_as(&[("authorization", &bearer)]).await;
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        client
    }

    /// `user-name`.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The secret to come back with.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// Sends a text message.
    pub(crate) async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends a binary message.
    pub(crate) async fn send_octets(&mut self, octets: &[u8]) {
        self.send_message(Message::binary(octets.to_vec())).await;
    }

    /// Sends any message. Whether the server still takes it is not looked at: it may have closed.
    pub(crate) async fn send_message(&mut self, message: Message) {
        // What comes back tells more than a failure to write.
        let _may_be_closed = within("a write", self.socket.send(message)).await;
    }

    /// Sends a text message; whether the server took it within this time.
    pub(crate) async fn try_send(&mut self, text: &str, patience: Duration) -> bool {
        let sent = timeout(patience, self.socket.send(Message::text(text))).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Subscribes with the destination as id, and waits for the RECEIPT.
    pub(crate) async fn subscribe(&mut self, destination: &str) {
        let frame = format!(
            "SUBSCRIBE\nid:{destination}\ndestination:{destination}\nreceipt:{destination}\n\n\0"
        );
        self.send(&frame).await;
        let receipt = self.frame().await;
        assert_eq!(receipt.receipt(), destination);
    }

    /// Sends a SEND with a receipt; the receipt's name.
    pub(crate) async fn publish(&mut self, destination: &str, body: &str) -> String {
        self.receipts += 1;
        let receipt = format!("s{}", self.receipts);
        let frame = format!("SEND\ndestination:{destination}\nreceipt:{receipt}\n\n{body}\0");
        self.send(&frame).await;
        receipt
    }

    /// Sends a direct message with a receipt; the receipt's name.
    pub(crate) async fn say(&mut self, to: &str, words: &str) -> String {
        let body = json!({"to": to, "message": words}).to_string();
        self.publish("/app/chat.send", &body).await
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Frame {
        match self.next().await {
            Received::Frame(frame) => frame,
            end @ (Received::Closed(..) | Received::Gone) => {
                panic!("a frame was awaited, and there came {end:?}")
            }
        }
    }

    /// What comes next; heart-beats are passed over.
    pub(crate) async fn next(&mut self) -> Received {
        within("the next frame of the server", self.next_of_socket()).await
    }

    async fn next_of_socket(&mut self) -> Received {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == "\n" => {}
                Some(Ok(Message::Text(text))) => return Received::Frame(Frame::parse(&text)),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Received::Closed(close.code.into(), close.reason.to_string());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Received::Gone,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("a server does not send {other:?}"),
            }
        }
    }

    /// Reads to the end, which must come.
    pub(crate) async fn end(&mut self) -> Ending {
        let mut error = None;
        loop {
            let (code, reason) = match self.next().await {
                Received::Frame(frame) => {
                    if frame.command == "ERROR" {
                        error = Some(frame);
                    }
                    continue;
                }
                Received::Closed(code, reason) => (code, reason),
                Received::Gone => (1006, String::new()),
            };
            return Ending {
                error,
                code,
                reason,
            };
        }
    }

    /// Ends in order.
    pub(crate) async fn disconnect(&mut self) {
        self.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        let ending = self.end().await;
        assert_eq!(ending.code, 1000, "{ending:?}");
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// One HTTP exchange: status and body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    get_from(Ipv4Addr::LOCALHOST, address, path).await
}

/// The same from another address of this machine, for a look at a node whose share of the first is used up.
pub(crate) async fn get_from(from: Ipv4Addr, address: SocketAddr, path: &str) -> (u16, String) {
    let exchange = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = within("an answer of HTTP", exchange).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap(), body.to_owned())
}
