//! A client of REST that says exactly what a test says, and reads what comes back.
//!
//! Not a library's: nothing is followed, repeated or guarded. Every wait ends by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// How long an answer may take. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// A password that is good enough.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// An answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    head: String,
    /// The body; null when there is none, or none in JSON.
    pub(crate) body: Value,
}

impl Answered {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// A text of the body.
    pub(crate) fn text(&self, field: &str) -> String {
        let found = self.body[field].as_str();
        found
            .unwrap_or_else(|| panic!("no {field}: {self:?}"))
            .to_owned()
    }

    /// The same answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The code of a problem with this status.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// Asks for something, with these header lines and this body.
pub(crate) async fn call(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answered {
    call_from(None, at, method, path, headers, body).await
}

/// The same from this address of this machine.
pub(crate) async fn call_from(
    from: Option<Ipv4Addr>,
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answered {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
    if !body.is_empty() {
        request.push_str("Content-Type: application/json\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let exchange = async {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(from) = from {
            socket.bind((from, 0).into()).unwrap();
        }
        let mut stream = socket.connect(at).await.unwrap();
        // A server that refuses early may not read all of it.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .expect("an answer of REST");
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer to {method} {path}: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answered {
        status: status.expect("a status"),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

/// POST with a body.
pub(crate) async fn post(
    at: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answered {
    call(at, "POST", path, headers, Some(body)).await
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) user_id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Member {
    /// Reads a pair.
    pub(crate) fn of(answer: &Answered) -> Self {
        Self {
            user_id: answer.text("user_id"),
            access: answer.text("access_token"),
            refresh: answer.text("refresh_token"),
        }
    }

    /// Registers.
    pub(crate) async fn register(at: SocketAddr, email: &str) -> Self {
        let body = json!({"email": email, "password": PASSWORD, "name": "Somebody"});
        let answer = post(at, "/api/v1/auth/register", &[], &body).await;
        Self::of(&answer.expect(201))
    }

    /// Signs in on another device.
    pub(crate) async fn login(at: SocketAddr, email: &str, device: &str) -> Self {
        let body = json!({"email": email, "password": PASSWORD, "device_name": device});
        let answer = post(at, "/api/v1/auth/login", &[], &body).await;
        Self::of(&answer.expect(200))
    }

    /// The value of `Authorization`.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.access)
    }
}
