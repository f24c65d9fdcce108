//! HTTP as the wire has it: heads, chunks one by one, and nothing hidden.
//!
//! Invariant: everything that waits gives up.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::edge::PATIENCE;

/// A connection on which requests are written and answers read.
#[derive(Debug)]
pub(super) struct Raw(BufReader<TcpStream>);

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    lines: Vec<(String, String)>,
}

impl Head {
    /// A header, the first of its name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .lines
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of a header.
    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        let found = self
            .lines
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.status
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

impl Raw {
    pub(super) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Writes a request: `POST /path HTTP/1.1`, lines, and a body with its length.
    pub(super) async fn request(&mut self, line: &str, headers: &[&str], body: Option<&[u8]>) {
        let mut request = format!("{line}\r\n");
        if !headers.iter().any(|line| line.starts_with("Host:")) {
            let address = self.0.get_ref().peer_addr().unwrap();
            request.push_str(&format!("Host: {address}\r\n"));
        }
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let stream = self.0.get_mut();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(body.unwrap_or_default()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
        read.expect("no line in time").unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    pub(super) async fn head(&mut self) -> Head {
        let first = self.line().await;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer of HTTP: {first:?}"));
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return Head { status, lines };
            }
            let (name, value) = line.split_once(':').unwrap();
            lines.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The next chunk; `None` for the last, empty one.
    pub(super) async fn chunk(&mut self) -> Option<String> {
        let size = self.line().await;
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("{size:?}"));
        let chunk = self.octets(size).await;
        assert_eq!(self.line().await, "");
        (size > 0).then_some(chunk)
    }

    /// So many octets.
    pub(super) async fn octets(&mut self, count: usize) -> String {
        let mut octets = vec![0; count];
        let read = timeout(PATIENCE, self.0.read_exact(&mut octets)).await;
        read.expect("no octets in time").unwrap();
        String::from_utf8(octets).unwrap()
    }

    /// Everything up to the close of the connection.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        let read = timeout(PATIENCE, self.0.read_to_string(&mut rest)).await;
        // A reset is an end too.
        let _ = read.expect("the connection stays open");
        rest
    }

    /// The answer whole, and the connection is usable for another request.
    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let mut body = String::new();
        if head.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                body.push_str(&chunk);
            }
        } else if let Some(length) = head.header("content-length") {
            body = self.octets(length.parse().unwrap()).await;
        }
        Answer { head, body }
    }
}

/// One request on a connection of its own, and the whole answer.
pub(super) async fn ask(
    address: SocketAddr,
    line: &str,
    headers: &[&str],
    body: Option<&[u8]>,
) -> Answer {
    let mut raw = Raw::open(address).await;
    raw.request(&format!("{line} HTTP/1.1"), headers, body)
        .await;
    raw.answer().await
}

pub(super) async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path}"), &[], None).await
}

pub(super) async fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    ask(address, &format!("POST {path}"), &[], Some(body.as_bytes())).await
}

/// A streaming request whose head was read.
pub(super) async fn stream(address: SocketAddr, line: &str, headers: &[&str]) -> (Raw, Head) {
    let mut raw = Raw::open(address).await;
    let body = line.starts_with("POST").then_some(&b""[..]);
    raw.request(&format!("{line} HTTP/1.1"), headers, body)
        .await;
    let head = raw.head().await;
    (raw, head)
}

/// The header that an answer has which no cache may keep.
pub(super) const NOT_CACHED: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";

/// Checks that no cache keeps this answer.
pub(super) fn assert_not_cached(head: &Head) {
    assert_eq!(head.header("cache-control"), Some(NOT_CACHED));
    assert_eq!(head.header("expires"), None);
    assert_eq!(head.header("last-modified"), None);
}

/// Checks what a page of an origin, or nobody's page, may read.
pub(super) fn assert_cors(head: &Head, origin: Option<&str>) {
    let credentials = origin.map(|_| "true");
    assert_eq!(
        head.header("access-control-allow-origin"),
        Some(origin.unwrap_or("*"))
    );
    assert_eq!(head.header("access-control-allow-credentials"), credentials);
}
