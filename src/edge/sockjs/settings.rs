//! What an endpoint of SockJS can be told.
//!
//! Not here: where the values come from. Invariant: every limit is finite.

use std::time::Duration;

/// The settings of one endpoint.
#[derive(Clone, Debug)]
pub struct SockJsSettings {
    /// After how long without a frame `h` goes out.
    pub heartbeat: Duration,
    /// How long a session may be without a request that receives.
    pub disconnect_after: Duration,
    /// A streamed answer ends after so many octets, so that browsers forget what they have read.
    pub response_bytes_max: usize,
    /// The address of the client's script, for the page of the iframe.
    pub client_url: String,
    /// Whether clients may use WebSocket.
    pub websocket: bool,
    /// Whether a balancer knows sessions by the cookie `JSESSIONID`, which is then set.
    pub cookie_needed: bool,
    /// The longest message, in octets.
    pub message_bytes_max: usize,
    /// While so many bytes wait in one direction, nothing more is taken in it.
    pub waiting_bytes_max: usize,
    /// How long nothing of a body may come that a client sends.
    pub stall: Duration,
}

/// The limits of one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// After how long without a frame `h` goes out.
    pub(super) heartbeat: Duration,
    /// How long a session may be without a request that receives.
    pub(super) disconnect_after: Duration,
    /// A streamed answer ends after so many bytes.
    pub(super) response_bytes_max: usize,
    /// While so many bytes wait in one direction, nothing more is taken in it.
    pub(super) waiting_bytes_max: usize,
}

/// The client of SockJS writes a character beyond the basic plane, 4 bytes of UTF-8, with 12, and a quote
/// with 2. Nothing but control characters takes more, so that a frame of nothing else has to be half as
/// long, or go by WebSocket.
const JSON_GROWTH: usize = 3;

/// What may stand around the messages of a request: brackets, quotes, many short messages that waited for
/// the request before.
const AROUND_BYTES: usize = 64 << 10;

impl SockJsSettings {
    /// The body of a request that sends, and a message of WebSocket.
    pub(super) fn request_bytes_max(&self) -> usize {
        self.message_bytes_max
            .saturating_mul(JSON_GROWTH)
            .saturating_add(AROUND_BYTES)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            heartbeat: self.heartbeat,
            disconnect_after: self.disconnect_after,
            response_bytes_max: self.response_bytes_max,
            waiting_bytes_max: self.waiting_bytes_max,
        }
    }
}

impl Default for SockJsSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(25),
            disconnect_after: Duration::from_secs(5),
            response_bytes_max: 128 << 10,
            client_url: "https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js"
                .to_owned(),
            websocket: true,
            cookie_needed: false,
            message_bytes_max: 128 << 10,
            waiting_bytes_max: 64 << 10,
            stall: Duration::from_secs(10),
        }
    }
}
