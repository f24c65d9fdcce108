//! Clients of the edge that say exactly what a test wants said: HTTP octet by octet, STOMP frame by
//! frame.
//!
//! Not here: well-behaved clients of the chat. Invariant: everything that waits gives up.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How long anything may take. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An answer of HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    head: String,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// A header of the answer, the first of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        Self {
            status: status
                .parse()
                .unwrap_or_else(|_| panic!("no answer of HTTP: {text:?}")),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }
}

/// Asks for a path with these header lines, and waits for the connection to be closed.
pub(crate) async fn ask(address: SocketAddr, request_line: &str, headers: &[&str]) -> Answer {
    let mut request = format!("{request_line} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|line| line.starts_with("Host:")) {
        request.push_str(&format!("Host: {address}\r\n"));
    }
    for line in headers {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    say(address, &request).await
}

/// Sends octets and reads the answer to its end.
pub(crate) async fn say(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A server that refuses may reset what it did not read; the answer is there all the same.
    let _ = read.expect("no answer in time");
    Answer::parse(&String::from_utf8_lossy(&answer))
}

/// Asks for a WebSocket with these header lines; the socket, if it is given, and the answer.
pub(crate) async fn upgrade(
    address: SocketAddr,
    headers: &[&str],
) -> (Option<WebSocketStream<TcpStream>>, Answer) {
    upgrade_at(address, "/ws-chat", headers).await
}

/// The same at any path, its query included.
pub(crate) async fn upgrade_at(
    address: SocketAddr,
    path: &str,
    headers: &[&str],
) -> (Option<WebSocketStream<TcpStream>>, Answer) {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in headers {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let octet = timeout(PATIENCE, stream.read_u8())
            .await
            .expect("no answer in time");
        answer.push(octet.expect("the server has closed"));
    }
    let answer = Answer::parse(&String::from_utf8_lossy(&answer));
    if answer.status != 101 {
        return (None, answer);
    }
    use tokio_tungstenite::tungstenite::protocol::Role;
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    (Some(socket), answer)
}

/// A STOMP client that has sent nothing yet.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) WebSocketStream<TcpStream>);

impl Client {
    /// Opens a WebSocket.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let (socket, answer) = upgrade(address, &[]).await;
        Self(socket.unwrap_or_else(|| panic!("{answer:?}")))
    }

    /// The same, and CONNECT as a new visitor; also his address.
    pub(crate) async fn connect(address: SocketAddr) -> (Self, String) {
        let mut client = Self::open(address).await;
        let connect = "CONNECT\naccept-version:1.2\nvisitor-token:new\nheart-beat:0,0\n\n\0";
        client.send(connect).await;
        let connected = client.receive().await;
        let user = connected
            .lines()
            .find_map(|line| line.strip_prefix("user-name:"));
        let user = user.unwrap_or_else(|| panic!("{connected}")).to_owned();
        (client, user)
    }

    /// Sends a text message.
    pub(crate) async fn send(&mut self, frame: &str) {
        self.0.send(Message::text(frame)).await.unwrap();
    }

    /// The next message; of a close `close <code> <reason>`; at the end `gone`.
    pub(crate) async fn receive(&mut self) -> String {
        loop {
            match timeout(PATIENCE, self.0.next())
                .await
                .expect("nothing comes")
            {
                Some(Ok(Message::Close(Some(close)))) => {
                    return format!("close {} {}", u16::from(close.code), close.reason);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return message.into_text().unwrap().to_string(),
                Some(Err(_)) | None => return "gone".to_owned(),
            }
        }
    }

    /// Everything up to the end, one after the other.
    pub(crate) async fn receive_all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match self.receive().await {
                end if end == "gone" => return all,
                message => all.push(message),
            }
        }
    }
}
