//! Everything that the edge can be told, as one record.
//!
//! Not here: where the values come from (`node`). Invariant: every limit is finite; what may be
//! switched off says so, and its zero means off.

use std::time::Duration;

use ipnet::IpNet;

use super::address::AddressLog;
use super::sockjs::SockJsSettings;
use crate::session::SessionConfig;

/// How a frame is put into a WebSocket message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageKind {
    /// Text when it is UTF-8, else binary.
    #[default]
    Auto,
    /// The same: a text message holds nothing but UTF-8 (RFC 6455 section 5.6), and a client that
    /// asks for text gets other octets rather than nothing.
    Text,
    /// Binary, for clients that cut a text at its NUL.
    Binary,
}

/// What is done with the head of the PROXY protocol that a trusted proxy may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHead {
    /// It is not looked for.
    #[default]
    Off,
    /// It may come.
    Accept,
    /// A trusted proxy that sends none is closed.
    Require,
}

/// The settings of the sockets and of HTTP.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// The paths at which a WebSocket opens, such as `/ws-chat`.
    pub websocket_paths: Vec<String>,
    /// The pages of other origins that may connect, each `scheme://host[:port]`, or `*` alone.
    pub origins: Vec<String>,
    /// How much of a client's address is logged.
    pub log_address: AddressLog,
    /// Whether a client that sends no Origin (so no browser) may connect.
    pub allow_no_origin: bool,
    /// The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether those proxies speak the PROXY protocol.
    pub proxy_head: ProxyHead,
    /// How frames are sent to a WebSocket that does not ask for anything else.
    pub message_kind: MessageKind,
    /// How many WebSockets this node holds.
    pub connections_max: usize,
    /// How many sockets beyond those: requests, keep-alive, handshakes.
    pub other_sockets_max: usize,
    /// How many sockets at once are told why they are refused; others are just closed.
    pub refusals_max: usize,
    /// WebSocket handshakes per second; zero for no limit.
    pub connection_rate: u32,
    /// WebSocket handshakes at once, after a quiet time.
    pub connection_burst: u32,
    /// Connections of one network (an IPv4 address or an IPv6 /64); zero for no limit.
    pub connections_per_net: u32,
    /// How long the head of an HTTP request may take.
    pub header_read_timeout: Duration,
    /// How long the answer to an HTTP request may take, its body included.
    pub request_timeout: Duration,
    /// The body of an HTTP request, in octets.
    pub request_body_bytes_max: usize,
    /// Requests of one principal to REST in a minute; zero for no limit.
    pub http_per_min: u32,
    /// Requests of one network to REST in a minute; zero for no limit.
    pub http_per_net: u32,
    /// Requests to `/auth/*` of one principal or with one token in a minute; zero for no limit.
    pub http_auth_per_min: u32,
    /// Requests of one network to `/auth/*`, and of clients there that are not authenticated, in a
    /// minute; zero for no limit.
    pub http_auth_per_net: u32,
    /// Whether requests that rely on a cookie need the header `X-CSRF-Token`.
    pub csrf_enabled: bool,
    /// How long one frame may wait for a peer that does not read.
    pub outbox_stall: Duration,
    /// After how long without an octet a WebSocket ping goes out.
    pub ping_after: Duration,
    /// How long a closed connection waits for the peer's own close.
    pub linger: Duration,
    /// WebSocket messages without any STOMP frame (pings, empty ones) per ten seconds.
    pub idle_messages_per_10_s: u32,
    /// How many connections are closed per second when the node drains.
    pub drain_closes_per_second: u32,
    /// The longest time over which those closes are spread; it wins over their number.
    pub drain_spread_max: Duration,
    /// SockJS; the longest message of it is that of WebSocket.
    pub sockjs: SockJsSettings,
    /// What a STOMP session is made with; the subprotocol is filled in for each.
    pub session: SessionConfig,
}

impl EdgeSettings {
    /// The defaults of everything but the session's own part.
    #[must_use]
    pub fn new(session: SessionConfig) -> Self {
        Self {
            websocket_paths: ["/ws-chat", "/ws-stomp", "/ws"].map(str::to_owned).to_vec(),
            origins: Vec::new(),
            log_address: AddressLog::default(),
            allow_no_origin: true,
            trusted_proxies: Vec::new(),
            proxy_head: ProxyHead::default(),
            message_kind: MessageKind::default(),
            connections_max: 100_000,
            other_sockets_max: 1_024,
            refusals_max: 256,
            connection_rate: 0,
            connection_burst: 5_000,
            connections_per_net: 0,
            header_read_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            request_body_bytes_max: 64 << 10,
            http_per_min: 120,
            http_per_net: 60_000,
            http_auth_per_min: 10,
            http_auth_per_net: 2_000,
            csrf_enabled: true,
            outbox_stall: Duration::from_secs(10),
            ping_after: Duration::from_secs(25),
            linger: Duration::from_secs(5),
            idle_messages_per_10_s: 100,
            drain_closes_per_second: 1_000,
            drain_spread_max: Duration::from_secs(15),
            sockjs: SockJsSettings::default(),
            session,
        }
    }

    /// What an endpoint of STOMP over SockJS is made with.
    pub(super) fn sockjs_of_stomp(&self) -> SockJsSettings {
        SockJsSettings {
            message_bytes_max: self.message_bytes_max(),
            stall: self.outbox_stall,
            ..self.sockjs.clone()
        }
    }

    /// The longest WebSocket message: a whole STOMP frame and some line ends around it. A frame
    /// that comes in several messages is bounded by the session.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        const AROUND: usize = 1024;
        let limits = &self.session.limits;
        limits.head_bytes_max() + limits.body_bytes_max() + AROUND
    }
}
