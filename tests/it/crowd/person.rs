//! One person of a crowd, and what the browser and the page do for them.
//!
//! Not here: when they do it (`crowd`). Invariant: whatever is refused fails the test; nothing is tried a second time.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::sockjs::talker::Talker;
use crate::support::api::{PASSWORD, call, post};
use crate::support::client::{Client, Frame, get};

/// One in so many signs in.
const SIGNS_IN: usize = 5;

/// One in so many of these mistypes the password the first time.
const MISTYPES: usize = 3;

/// One in so many has no WebSocket, and comes over SockJS.
const OVER_SOCKJS: usize = 10;

/// How many sign in at a time: fewer than may wait for the hash of a password.
static SIGN_INS: Semaphore = Semaphore::const_new(16);

/// What the page asks of REST once it knows who its user is, with what another tab of the page asks.
const REST: [&str; 5] = [
    "/api/v1/me/permissions",
    "/api/v1/me",
    "/api/v1/me/export",
    "/api/v1/me/permissions",
    "/api/v1/me",
];

/// Everything that the page loads: what its HTML names, and what those modules import.
pub(super) async fn files_of_the_page(at: SocketAddr) -> Vec<String> {
    let mut files = vec!["/".to_owned()];
    let mut next = 0;
    while let Some(path) = files.get(next).cloned() {
        next += 1;
        let (status, text) = get(at, &path).await;
        assert_eq!(status, 200, "{path}: {text}");
        for quoted in text.split(['"', '\'']) {
            let name = quoted
                .strip_prefix("./")
                .or(quoted.strip_prefix("/assets/"));
            let Some(name) = name.filter(|name| name.contains('.')) else {
                continue;
            };
            let file = format!("/assets/{name}");
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files
}

/// Asks for all paths on one connection, as a browser does.
async fn get_all(at: SocketAddr, paths: &[impl AsRef<str>], headers: &str) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    for (index, path) in paths.iter().enumerate() {
        let close = match index + 1 == paths.len() {
            true => "Connection: close\r\n",
            false => "",
        };
        let path = path.as_ref();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n{headers}{close}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.unwrap();
    let answers = String::from_utf8_lossy(&answers);
    let given = answers.matches("HTTP/1.1 200 OK\r\n").count();
    assert_eq!(given, paths.len(), "{answers}");
}

/// A session over one of the transports.
enum Line {
    Socket(Client),
    SockJs(Talker),
}

impl Line {
    async fn send(&mut self, frame: &str) {
        match self {
            Self::Socket(client) => client.send(frame).await,
            Self::SockJs(talker) => talker.send(&[frame]).await,
        }
    }

    async fn frame(&mut self) -> Frame {
        match self {
            Self::Socket(client) => client.frame().await,
            Self::SockJs(talker) => loop {
                let message = talker.message().await;
                // The heart-beat of SockJS.
                if message != "h" {
                    return Frame::parse(&message);
                }
            },
        }
    }
}

pub(super) struct Person {
    at: SocketAddr,
    number: usize,
    user: String,
    token: String,
    line: Option<Line>,
}

impl Person {
    pub(super) fn new(at: SocketAddr, number: usize) -> Self {
        Self {
            at,
            number,
            user: String::new(),
            token: String::new(),
            line: None,
        }
    }

    /// The address of the account of those who sign in.
    pub(super) fn account(&self) -> Option<String> {
        let signs_in = self.number.is_multiple_of(SIGNS_IN);
        signs_in.then(|| format!("crowd-{}@example.com", self.number))
    }

    /// Loads the page with its files.
    pub(super) async fn load(&self, files: &[String]) {
        get_all(self.at, files, "").await;
    }

    /// Asks for a visitor's secret.
    pub(super) async fn become_visitor(&mut self) {
        let path = "/api/v1/auth/anonymous";
        let made = call(self.at, "POST", path, &[], None).await.expect(201);
        self.user = made.text("user_id");
        self.token = made.text("visitor_token");
    }

    /// Asks for what a page needs that comes back with its cookie.
    pub(super) async fn ask_csrf(&self) {
        get_all(self.at, &["/api/v1/auth/csrf"], "").await;
    }

    /// Asks for what the page shows of its user.
    pub(super) async fn ask_rest(&self) {
        let headers = format!("Authorization: Visitor {}\r\n", self.token);
        get_all(self.at, &REST, &headers).await;
    }

    /// Registers, or signs in to the account that they have; some mistype the password.
    pub(super) async fn sign_in_first(&self, registered: usize) {
        let Some(email) = self.account() else {
            return;
        };
        let index = self.number / SIGNS_IN;
        if index < registered {
            let account = json!({"email": email, "password": PASSWORD, "name": "One"});
            let _turn = SIGN_INS.acquire().await.unwrap();
            let made = post(self.at, "/api/v1/auth/register", &[], &account).await;
            made.expect(201);
        }
        match index.is_multiple_of(MISTYPES) {
            true => drop(self.sign_in(&email, "correct horse batery", 401).await),
            false => drop(self.sign_in(&email, PASSWORD, 200).await),
        }
    }

    /// Signs in for the second time, and exchanges the refresh token, as a page does that is loaded again.
    pub(super) async fn sign_in_again(&self) {
        if let Some(email) = self.account() {
            let tokens = self.sign_in(&email, PASSWORD, 200).await;
            let refresh = json!({"refresh_token": tokens["refresh_token"]});
            let answer = post(self.at, "/api/v1/auth/refresh", &[], &refresh).await;
            answer.expect(200);
        }
    }

    async fn sign_in(&self, email: &str, password: &str, status: u16) -> Value {
        let login = json!({"email": email, "password": password});
        let _turn = SIGN_INS.acquire().await.unwrap();
        let answer = post(self.at, "/api/v1/auth/login", &[], &login).await;
        answer.expect(status).body
    }

    /// Opens a session as the visitor that they are, instead of the one that they have.
    pub(super) async fn connect(&mut self) {
        self.line = None;
        let mut line = match self.number % OVER_SOCKJS {
            1 => Line::SockJs(Talker::open(self.at, "xhr_streaming", &[]).await),
            _ => Line::Socket(Client::open(self.at).await),
        };
        let token = &self.token;
        line.send(&format!(
            "CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\nvisitor-token:{token}\n\n\0"
        ))
        .await;
        let connected = line.frame().await;
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        assert_eq!(connected.header("user-name"), self.user, "{connected:?}");
        self.line = Some(line);
        self.subscribe("/user/queue/messages").await;
    }

    /// The connection ends without a word.
    pub(super) fn is_cut_off(&mut self) {
        self.line = None;
    }

    pub(super) async fn subscribe(&mut self, to: &str) {
        let line = self.line.as_mut().unwrap();
        line.send(&format!(
            "SUBSCRIBE\nid:{to}\ndestination:{to}\nreceipt:{to}\n\n\0"
        ))
        .await;
        assert_eq!(line.frame().await.receipt(), to);
    }

    /// Writes to themselves; the message is accepted and comes.
    pub(super) async fn say(&mut self, text: &str) {
        let body = json!({"to": self.user, "message": text});
        let line = self.line.as_mut().unwrap();
        line.send(&format!(
            "SEND\ndestination:/app/chat.send\nreceipt:{text}\n\n{body}\0"
        ))
        .await;
        let mut answers = [line.frame().await, line.frame().await];
        answers.sort_by_key(|frame| frame.command.clone());
        let [message, receipt] = answers;
        assert_eq!(message.command, "MESSAGE", "{message:?}");
        assert_eq!(receipt.receipt(), text, "{receipt:?}");
    }
}
