//! A STOMP client over plain octets: TCP, or TLS.
//!
//! As `client` it does exactly what a test says, and every wait ends by itself.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::Frame;

/// How long anything may take. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
    /// How many octets came, heart-beats included.
    pub(crate) heard: usize,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The last ERROR frame.
    pub(crate) error: Option<Frame>,
    /// Whether the end came in order (FIN), not as a reset.
    pub(crate) is_orderly: bool,
}

impl Ended {
    /// `message` of the ERROR frame.
    pub(crate) fn message(&self) -> &str {
        let error = self.error.as_ref();
        error.map_or("", |frame| frame.header("message"))
    }
}

impl Wire<TcpStream> {
    /// Opens a TCP connection.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// The same with a kernel that holds little of what is not read.
    pub(crate) async fn open_deaf(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        Self::over(socket.connect(address).await.unwrap())
    }

    /// Opens a TCP connection and connects a new visitor.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut wire = Self::open(address).await;
        let connected = wire.introduce().await;
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        wire
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// STOMP over this.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            read: Vec::new(),
            heard: 0,
        }
    }

    /// Sends CONNECT; the answer.
    pub(crate) async fn introduce(&mut self) -> Frame {
        let connect = "CONNECT\naccept-version:1.2\nhost:x\nvisitor-token:new\n\n\0";
        self.send(connect).await;
        self.frame().await
    }

    /// Writes octets. Whether the server still takes them is not looked at.
    pub(crate) async fn send(&mut self, text: &str) {
        let sent = timeout(PATIENCE, async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        });
        let _may_be_closed = sent.await.expect("the server does not read");
    }

    /// The next frame; heart-beats are passed over.
    pub(crate) async fn frame(&mut self) -> Frame {
        match self.next().await {
            Ok(frame) => frame,
            Err(is_orderly) => panic!("a frame was awaited; the end came, orderly: {is_orderly}"),
        }
    }

    /// Subscribes with the destination as id, and waits for the RECEIPT.
    pub(crate) async fn subscribe(&mut self, destination: &str) {
        self.send(&format!(
            "SUBSCRIBE\nid:{destination}\ndestination:{destination}\nreceipt:{destination}\n\n\0"
        ))
        .await;
        assert_eq!(self.frame().await.receipt(), destination);
    }

    /// Reads to the end, which must come.
    pub(crate) async fn end(&mut self) -> Ended {
        let mut error = None;
        loop {
            match self.next().await {
                Ok(frame) if frame.command == "ERROR" => error = Some(frame),
                Ok(_) => {}
                Err(is_orderly) => return Ended { error, is_orderly },
            }
        }
    }

    /// The next frame, or whether the end was in order.
    async fn next(&mut self) -> Result<Frame, bool> {
        loop {
            let begins = self.read.iter().position(|octet| *octet != b'\n');
            self.read.drain(..begins.unwrap_or(self.read.len()));
            if let Some(length) = self.frame_length() {
                let frame: Vec<u8> = self.read.drain(..length).collect();
                return Ok(Frame::parse(&String::from_utf8(frame).unwrap()));
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read));
            match read.await.expect("nothing comes from the server") {
                Ok(0) => return Err(true),
                Ok(octets) => self.heard += octets,
                Err(_) => return Err(false),
            }
        }
    }

    /// The length of the first frame, its NUL included, when all of it is there.
    fn frame_length(&self) -> Option<usize> {
        let head = self.read.windows(2).position(|two| two == b"\n\n")? + 2;
        let lines = std::str::from_utf8(&self.read[..head]).unwrap().lines();
        let mut lengths = lines.filter_map(|line| line.strip_prefix("content-length:"));
        let end = match lengths.next() {
            Some(length) => head + length.parse::<usize>().unwrap(),
            None => head + self.read[head..].iter().position(|octet| *octet == 0)?,
        };
        (end < self.read.len()).then_some(end + 1)
    }
}
