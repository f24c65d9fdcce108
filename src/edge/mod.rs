//! Sockets and HTTP: the accept loops, the routes, WebSocket, STOMP over TCP, and the driver of
//! each connection.
//!
//! Not here: what STOMP means (`session`), what a request does (`app`), who somebody is
//! (`identity`), where settings come from and what runs beside it (`node`). Invariant: nothing of a
//! client is taken without a limit in size and in time, and every "no" says why.
//!
//! ```text
//! listener  accept loops, socket options, places            admission  how many may come in
//! turns     arrivals, CONNECTs and SUBSCRIBEs that wait until the node has CPU for them
//! arrival   PROXY protocol and TLS, before any request      origin     which pages may talk to us
//! http      HTTP/1.1 by hyper                               handshake  RFC 6455, section 4.2
//! routes    paths, metrics, page                            wheel      the alarms of all connections
//! rest      the API: its table of routes, gate, document    health     whether the node can work (readiness)
//! websocket, tcp  octets of one client                      socket     one variant per transport
//! duplex    both directions of an open connection           scratch    memory for reading
//! body, upload, paced  requests and answers of HTTP, in bounded memory and time (patience)
//! read_turns  when bytes of HTTP are read
//! farewell  what a client sends after the goodbye
//! places    what a socket or a connection holds, from its accept to the CONNECT that tells whose it is
//! charges   what sockets and answers draw on the byte account
//! exposition  the text of `/metrics`, for all who ask at once
//! connection  one task per connection: socket, session, app, outbox
//! ```

mod address;
mod admission;
mod arrival;
mod attached;
mod body;
mod charges;
mod clock;
mod connection;
mod cors;
mod duplex;
mod ending;
mod exposition;
mod farewell;
mod forwarded;
mod handshake;
#[cfg(test)]
mod harness;
mod head_timer;
mod health;

mod http;
mod kernel_bytes;
mod listener;
mod meters;
mod old_cookie;
mod origin;
mod pace;
mod paced;
mod page;
mod patience;
mod peer;
mod places;
mod proxy_head;
mod read_turns;
mod readiness;
mod reply;
mod rest;
mod routes;
mod scratch;
mod send_buffer;
mod session_configs;
mod settings;
mod settling;
mod slow_reader;
mod socket;
mod socket_holder;
pub mod sockjs;
mod stream;
mod tcp;
mod tls;
mod upload;
mod websocket;
mod wheel;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use address::AddressLog;
pub use health::{Health, HealthSource, MemoryState, PartState};
pub use listener::{Listeners, serve};
pub use origin::{InvalidOrigin, is_origin};
pub use rest::{RestKey, RestParts, openapi};
pub use settings::{EdgeSettings, MessageKind, ProxyHead};
pub use tls::{Certificates, TlsError};

use crate::app::App;
use crate::budget::{Claimant, Lease};
use crate::hub::Flusher;
use crate::identity::Visitors;
use crate::session::SessionConfig;
use crate::stomp::Version;
use crate::turns::{Busy, Turns};
use admission::{Admission, Refusal};
use charges::SocketCharge;
use exposition::Exposition;
use forwarded::Unbelieved;
use meters::Meters;
use pace::Pace;
use readiness::Readiness;
use session_configs::SessionConfigs;
use socket_holder::SocketHolder;
use wheel::Wheel;

/// Gives the text of `/metrics`.
pub type MetricsText = Box<dyn Fn() -> String + Send + Sync>;

/// What the edge is made with.
pub struct EdgeState {
    settings: EdgeSettings,
    origins: origin::Allowed,
    app: Arc<App>,
    visitors: Arc<Visitors>,
    health: Arc<dyn HealthSource>,
    exposition: Exposition,
    rest: RestParts,
    certificates: Option<Arc<Certificates>>,
}

impl EdgeState {
    /// Puts the parts together. Make it after the metrics recorder is installed.
    ///
    /// # Errors
    /// When an allowed origin is not written as one.
    pub fn new(
        settings: EdgeSettings,
        app: Arc<App>,
        visitors: Arc<Visitors>,
        health: Arc<dyn HealthSource>,
        metrics: MetricsText,
        rest: RestParts,
    ) -> Result<Self, InvalidOrigin> {
        let origins = origin::Allowed::new(&settings.origins, settings.allow_no_origin)?;
        Ok(Self {
            settings,
            origins,
            app,
            visitors,
            health,
            exposition: Exposition::new(metrics),
            rest,
            certificates: None,
        })
    }

    /// The same with TLS on every listener.
    #[must_use]
    pub fn with_tls(mut self, certificates: Option<Arc<Certificates>>) -> Self {
        self.certificates = certificates;
        self
    }
}

impl std::fmt::Debug for EdgeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeState")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The edge while it runs: its parts, its counts, and what it needs to end.
#[derive(Debug)]
struct Edge {
    state: Arc<EdgeState>,
    admission: Arc<Admission>,
    turns: Arc<Turns>,
    unbelieved: Unbelieved,
    exports: rest::Exports,
    readiness: Readiness,
    meters: Meters,
    pace: Pace,
    wheel: Wheel,
    flusher: Flusher,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    /// The same as `shutdown`, for connections: set before their alarms ring because of it.
    is_draining: AtomicBool,
    sessions: SessionConfigs,
}

impl std::ops::Deref for Edge {
    type Target = EdgeState;

    fn deref(&self) -> &EdgeState {
        &self.state
    }
}

impl Edge {
    fn new(state: Arc<EdgeState>, tracker: TaskTracker, shutdown: CancellationToken) -> Self {
        let settings = &state.settings;
        let meters = Meters::new();
        Self {
            admission: Admission::new(settings, state.app.multiples(), state.app.memory()),
            turns: Arc::clone(state.app.turns()),
            unbelieved: Unbelieved::default(),
            exports: rest::Exports::default(),
            readiness: Readiness::new(Arc::clone(&state.health), tracker.clone()),
            pace: Pace::new(settings.drain_closes_per_second, settings.drain_spread_max),
            wheel: Wheel::new(tracker.clone()),
            flusher: Flusher::new(tracker.clone(), meters.deliveries()),
            meters,
            tracker,
            shutdown,
            is_draining: AtomicBool::new(false),
            sessions: SessionConfigs::new(&settings.session),
            state,
        }
    }

    /// What a session is made with.
    fn session_config(
        &self,
        subprotocol: Option<Version>,
        answers_pings: bool,
    ) -> Arc<SessionConfig> {
        let config = self.sessions.pick(subprotocol, answers_pings);
        config.unwrap_or_else(|| Arc::new(self.settings.session.clone()))
    }

    /// Has every connection look up when the node ends.
    async fn drain_at_shutdown(&self) {
        self.shutdown.cancelled().await;
        self.is_draining.store(true, Ordering::Relaxed);
        self.wheel.ring_all();
    }

    /// Why a client got no turn. When the node ends nobody gets one.
    fn no_turn(&self, _: Busy) -> Refusal {
        match self.shutdown.is_cancelled() {
            true => Refusal::Ending,
            false => Refusal::Busy,
        }
    }

    /// Whether this is the address of a trusted proxy.
    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let proxies = &self.settings.trusted_proxies;
        proxies.iter().any(|network| network.contains(&address))
    }

    /// A client at this address of whom nothing else is known.
    fn stranger(&self, client: IpAddr) -> Claimant {
        self.app.multiples().stranger(client)
    }

    /// Whom a socket of this address is charged to.
    fn holder(&self, address: IpAddr, is_proxy: bool) -> SocketHolder {
        match is_proxy {
            true => SocketHolder::proxy(),
            false => SocketHolder::client(self.stranger(address)),
        }
    }

    /// A lease of nothing yet for a request of a client at this address. When it is taken away the request fails
    /// with its socket.
    fn lease(&self, client: IpAddr, socket: &Arc<SocketCharge>) -> Lease {
        let mut lease = self.app.memory().lease(&self.stranger(client));
        lease.set_evictable(socket.whose());
        lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings with the defaults of the documentation.
    pub(super) fn settings() -> EdgeSettings {
        EdgeSettings::new(SessionConfig::default())
    }

    #[test]
    fn a_websocket_message_may_be_as_long_as_the_longest_frame() {
        assert!(settings().message_bytes_max() > 65_536 + (32 << 10));
        assert!(settings().message_bytes_max() < 128 << 10);
    }
}
