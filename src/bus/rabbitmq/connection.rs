//! One connection to RabbitMQ with one channel, opened within a deadline and never recovered.
//!
//! Not here: what the channel is for. The client library's own recovery took 12 to 15 s after a
//! two-second cut, so a connection that is lost is thrown away and another one is opened.
//! Invariant: dropping a [`Link`] ends its socket, whatever state the library thinks it is in.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream};
use lapin::types::LongString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use socket2::{SockRef, Socket};
use tokio_util::sync::CancellationToken;

use super::{RabbitConnectError, RabbitSettings};
use crate::model::NodeId;

/// The first wait before connecting again; it doubles up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// Where the broker is and how to speak to it.
pub(super) struct Endpoint {
    /// Holds a password: never shown.
    uri: AMQPUri,
    node: NodeId,
    attempt_within: Duration,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum LinkError {
    /// The broker said no, and will until somebody changes a configuration.
    Refused(String),
    /// It is not there, or not reachable, or too slow.
    Down(String),
}

/// An open connection and its channel.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    /// Ends the socket when this link is dropped.
    socket: Arc<SocketSlot>,
}

impl Endpoint {
    pub(super) fn parse(
        url: &str,
        node: &NodeId,
        settings: &RabbitSettings,
    ) -> Result<Self, RabbitConnectError> {
        // The parser's own words repeat the text, and with it the password.
        let mut uri: AMQPUri = url.parse().map_err(|_| RabbitConnectError::Url)?;
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(RabbitConnectError::Tls);
        }
        // The parser puts `localhost` where it finds no name, as in `[::1]`.
        if uri.authority.host == "localhost" && !url.contains("localhost") {
            return Err(RabbitConnectError::Url);
        }
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        uri.query.heartbeat.get_or_insert(settings.heartbeat_secs);
        Ok(Self {
            uri,
            node: node.clone(),
            attempt_within: settings.attempt_within,
        })
    }

    /// What is asked of the broker right after opening, with the deadline of an attempt.
    pub(super) async fn within<T>(
        &self,
        asking: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, LinkError> {
        match tokio::time::timeout(self.attempt_within, asking).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(LinkError::Down("no answer in time".to_owned())),
        }
    }

    /// Opens a connection and a channel on it.
    pub(super) async fn open(&self, purpose: &str) -> Result<Link, LinkError> {
        let slot = Arc::new(SocketSlot::default());
        let opening = self.open_unbounded(purpose, Arc::clone(&slot));
        match tokio::time::timeout(self.attempt_within, opening).await {
            Ok(opened) => opened,
            Err(_) => {
                // The library goes on by itself with what it has begun; without a socket it ends.
                slot.end();
                Err(LinkError::Down("no answer in time".to_owned()))
            }
        }
    }

    async fn open_unbounded(
        &self,
        purpose: &str,
        socket: Arc<SocketSlot>,
    ) -> Result<Link, LinkError> {
        let name: LongString = format!("stompbox {} {purpose}", self.node).into();
        let properties = ConnectionProperties::default().with_connection_name(name);
        let attempt_within = self.attempt_within;
        let heartbeat_secs = self.uri.query.heartbeat.unwrap_or_default();
        let slot = Arc::clone(&socket);
        let runtime = lapin::runtime::default_runtime()?;
        let connection = Connection::connector(
            self.uri.clone(),
            runtime,
            async move |uri, runtime| {
                let connecting = uri.connect_async(&runtime);
                let stream = tokio::time::timeout(attempt_within, connecting)
                    .await
                    .map_err(std::io::Error::other)??;
                let AsyncTcpStream::Plain(plain) = &stream else {
                    return Err(std::io::Error::from(std::io::ErrorKind::Unsupported).into());
                };
                slot.keep(&SockRef::from(plain.get_ref()), heartbeat_secs)?;
                Ok(stream)
            },
            properties,
        )
        .await?;
        let channel = connection.create_channel().await?;
        Ok(Link {
            connection,
            channel,
            socket,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "{}:{}", authority.host, authority.port)
    }
}

impl Link {
    pub(super) fn is_connected(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Takes the socket away; whoever uses the link finds it lost.
    pub(super) fn cut(&self) {
        self.socket.end();
    }

    /// Says good-bye, for at most a second.
    pub(super) async fn close(&self) {
        let closing = self.connection.close(200, "bye".into());
        // A broker that does not answer loses the socket all the same.
        let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
    }
}

impl From<lapin::Error> for LinkError {
    fn from(error: lapin::Error) -> Self {
        let ErrorKind::ProtocolError(reply) = error.kind() else {
            return Self::Down(error.to_string());
        };
        let words = format!("{} ({})", reply.get_message(), reply.get_id());
        match reply.kind() {
            AMQPErrorKind::Soft(
                AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED,
            )
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH) => {
                Self::Refused(words)
            }
            AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => Self::Down(words),
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(words) | Self::Down(words)) = self;
        f.write_str(words)
    }
}

/// A second handle on the socket of a connection. The library runs each connection on a thread of
/// its own that nothing but the end of the socket stops for certain.
#[derive(Default)]
struct SocketSlot(Mutex<SocketState>);

#[derive(Default)]
enum SocketState {
    #[default]
    Awaited,
    Open(Socket),
    Ended,
}

impl SocketSlot {
    /// Sets what the socket needs and keeps a handle on it. Fails when nobody waits any more.
    fn keep(&self, socket: &SockRef<'_>, heartbeat_secs: u16) -> std::io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        if heartbeat_secs > 0 {
            let timeout = Duration::from_secs(2 * u64::from(heartbeat_secs));
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, SocketState::Ended) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        *state = SocketState::Open(socket.try_clone()?);
        Ok(())
    }

    fn end(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let SocketState::Open(socket) = std::mem::replace(&mut *state, SocketState::Ended) {
            // It fails only when the other side was faster.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for SocketSlot {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tries again and again until it is open: at once, then after 50 to 500 ms with jitter, so that
/// the nodes of a cluster do not come all at the same moment. `None` when told to stop.
pub(super) async fn reopen<T, F>(
    what: &'static str,
    stop: &CancellationToken,
    mut open: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T, LinkError>>,
{
    let mut wait = RECONNECT_MIN;
    loop {
        let attempt = tokio::select! {
            () = stop.cancelled() => return None,
            attempt = open() => attempt,
        };
        match attempt {
            Ok(opened) => return Some(opened),
            Err(LinkError::Refused(words)) => {
                tracing::error!(what, %words, "RabbitMQ refuses this node; it tries again");
            }
            Err(LinkError::Down(words)) => tracing::debug!(what, %words, "no RabbitMQ"),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))) => {}
        }
        wait = (wait * 2).min(RECONNECT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, RabbitConnectError> {
        let node = "a".parse().unwrap();
        Endpoint::parse(url, &node, &RabbitSettings::default())
    }

    #[test]
    fn an_address_says_where_and_never_who() {
        let endpoint = parse("amqp://bob:geheim@rabbit:5673/chat?heartbeat=7").unwrap();
        assert_eq!(endpoint.to_string(), "rabbit:5673");
        assert_eq!(endpoint.uri.query.heartbeat, Some(7));
        assert_eq!(endpoint.uri.vhost, "chat");
        for url in ["amqp://rabbit", "amqp://rabbit/", "amqp://rabbit/%2f"] {
            let endpoint = parse(url).unwrap();
            assert_eq!(endpoint.uri.vhost, "/", "{url}");
            assert_eq!(endpoint.uri.query.heartbeat, Some(5), "{url}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_without_being_repeated() {
        let check = |url: &str, expected: &str| {
            let words = parse(url).err().map(|error| error.to_string()).unwrap();
            assert!(words.contains(expected), "{url}: {words}");
            assert!(!words.contains("geheim"), "{url}: {words}");
        };
        check("geheim", "amqp://user:password@host:port/vhost");
        check(
            "redis://:geheim@host",
            "amqp://user:password@host:port/vhost",
        );
        check("amqp://bob:geheim@[::1]:5672", "host is a name or IPv4");
        check("amqps://bob:geheim@host", "without TLS");
    }
}
