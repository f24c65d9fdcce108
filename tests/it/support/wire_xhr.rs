//! A SockJS session over `xhr_streaming` and `xhr_send`, octet by octet over HTTP/1.1.
//!
//! Not here: what the frames of SockJS hold (`wire`). Invariant: one request receives at a time; when
//! its answer has ended, the next one asks, unless the session has closed.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A session.
#[derive(Debug)]
pub(super) struct Xhr {
    address: SocketAddr,
    path: String,
    sender: TcpStream,
    receiver: TcpStream,
    /// What came of the answer and is not taken apart yet.
    raw: Vec<u8>,
    /// Whether the head of the answer is read.
    is_answered: bool,
    /// The content of the chunks that came.
    content: Vec<u8>,
    /// Whether the last chunk came.
    is_over: bool,
}

impl Xhr {
    /// Opens a session: the first receiving request is on its way.
    pub(super) async fn open(address: SocketAddr, path: String) -> Self {
        let connect = async || {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let mut xhr = Self {
            address,
            path,
            sender: connect().await,
            receiver: connect().await,
            raw: Vec::new(),
            is_answered: false,
            content: Vec::new(),
            is_over: true,
        };
        xhr.ask().await;
        xhr
    }

    fn request(&self, what: &str, body: &str) -> String {
        format!(
            "POST {}/{what} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.path,
            self.address,
            body.len()
        )
    }

    /// Asks for the next answer that receives. A connection that was closed meanwhile says so when
    /// it is read.
    async fn ask(&mut self) {
        let request = self.request("xhr_streaming", "");
        (self.is_answered, self.is_over) = (false, false);
        let _may_be_closed = self.receiver.write_all(request.as_bytes()).await;
    }

    /// Sends one message; whether the server took it (204). A session that has ended is 404.
    pub(super) async fn send(&mut self, message: &str) -> bool {
        let body = serde_json::json!([message]).to_string();
        let request = self.request("xhr_send", &body);
        if self.sender.write_all(request.as_bytes()).await.is_err() {
            return false;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.sender.read_u8().await {
                Ok(octet) => head.push(octet),
                Err(_) => return false,
            }
        }
        // Only a refusal has a body, and after one the session is not used any more.
        head.starts_with(b"HTTP/1.1 204")
    }

    /// The next frame of SockJS; none when the connection ends. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.content.iter().position(|octet| *octet == b'\n') {
                let mut line: Vec<u8> = self.content.drain(..=end).collect();
                line.pop();
                // What comes first fills the buffers of old browsers.
                if line.len() == 2_048 && line.iter().all(|octet| *octet == b'h') {
                    continue;
                }
                return Some(line);
            }
            if self.is_over {
                self.ask().await;
            }
            if self.receiver.read_buf(&mut self.raw).await.ok()? == 0 {
                return None;
            }
            self.take_apart();
        }
    }

    /// Takes the head and whole chunks off what came.
    fn take_apart(&mut self) {
        if !self.is_answered {
            let Some(end) = find(&self.raw, b"\r\n\r\n") else {
                return;
            };
            let head: Vec<u8> = self.raw.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).to_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            assert!(head.contains("transfer-encoding: chunked"), "{head}");
            self.is_answered = true;
        }
        while let Some(line) = find(&self.raw, b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let end = line + 2 + size + 2;
            if self.raw.len() < end {
                return;
            }
            self.content.extend(&self.raw[line + 2..line + 2 + size]);
            self.raw.drain(..end);
            if size == 0 {
                self.is_over = true;
                return;
            }
        }
    }
}

fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    octets.windows(what.len()).position(|window| window == what)
}
