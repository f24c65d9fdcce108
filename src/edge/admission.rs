//! How many may come in: in all, per second, per network, and while memory lasts.
//!
//! Not here: how a refusal is written (`reply`), in which order sockets are served (`turns`). Invariant: a
//! connection is counted once, under the networks of its client, for exactly as long as its permit lives.
//!
//! What one network may hold is a part of what is free (`budget`), so a crowd behind one address comes in
//! and a newcomer from elsewhere still finds a place.
//!
//! The network is known when a socket is accepted, unless it comes from a trusted proxy: then it is
//! known at the handshake.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::EdgeSettings;
use super::shares::Shares;
use crate::budget::Multiples;
use crate::model::Network;

/// How many sockets beyond the WebSockets there may be: requests, keep-alive, handshakes.
const OTHER_SOCKETS_MAX: usize = 1_024;

/// One network gets this part of the rate of handshakes, and this part of their burst: whoever opens
/// and drops WebSockets for fun must not use up what everybody lives on.
const RATE_PART: u32 = 10;
const BURST_PART: u32 = 5;

/// So many networks are remembered before those that owe nothing are forgotten.
const PAYERS_MAX: usize = 1_024;

/// For how long a reading of the memory is believed.
const MEMORY_READING_LIFE: Duration = Duration::from_secs(1);

/// Why somebody does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node is full.
    Full,
    /// The node is short of memory.
    Memory,
    /// More handshakes than `CONNECTION_RATE` allows.
    Rate,
    /// The node did not get round to this socket in time.
    Busy,
    /// Too many connections of one network.
    Network,
}

/// The counts of this node.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    multiples: Arc<Multiples>,
    sockets: AtomicUsize,
    sessions: AtomicUsize,
    /// Sockets whose client is known, by network.
    clients: Shares,
    /// Open sessions, by network.
    places: Shares,
    /// When the handshakes admitted so far are paid for (the generic cell rate algorithm).
    paid_until: Mutex<Paid>,
    memory: Mutex<Option<(Instant, u64)>>,
}

/// The times until which handshakes are paid for.
#[derive(Debug, Default)]
struct Paid {
    node: Option<Instant>,
    /// By network, none that owes nothing beyond [`PAYERS_MAX`].
    networks: HashMap<Network, Instant>,
}

#[derive(Debug)]
struct Limits {
    sessions_max: usize,
    per_network_max: u32,
    memory_bytes_max: u64,
    /// What one handshake costs; zero for no limit.
    handshake_cost: Duration,
    burst: Duration,
}

/// Stands for one counted thing and gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    counted: Counted,
}

#[derive(Debug)]
enum Counted {
    Socket,
    Session(Network),
    Client(Network),
}

impl Admission {
    pub(super) fn new(settings: &EdgeSettings, multiples: &Arc<Multiples>) -> Arc<Self> {
        let handshake_cost = match settings.connection_rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) / rate,
        };
        Arc::new(Self {
            limits: Limits {
                sessions_max: settings.connections_max,
                per_network_max: settings.connections_per_net,
                memory_bytes_max: settings.memory_bytes_max,
                handshake_cost,
                burst: handshake_cost * settings.connection_burst.max(1),
            },
            multiples: Arc::clone(multiples),
            sockets: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            clients: Shares::new(settings.connections_max.saturating_add(OTHER_SOCKETS_MAX)),
            places: Shares::new(settings.connections_max),
            paid_until: Mutex::default(),
            memory: Mutex::default(),
        })
    }

    /// A socket was accepted.
    pub(super) fn socket(self: &Arc<Self>) -> Result<Permit, Refusal> {
        let max = self.limits.sessions_max.saturating_add(OTHER_SOCKETS_MAX);
        take(&self.sockets, max)
            .then(|| self.permit(Counted::Socket))
            .ok_or(Refusal::Full)
    }

    /// The network of a client became known.
    pub(super) fn network(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refusal> {
        let network = Network::of(address);
        let multiple = self.multiples.of(address);
        let fixed_max = self.limits.per_network_max.saturating_mul(multiple);
        if !self.clients.take(network, multiple, fixed_max) {
            return Err(Refusal::Network);
        }
        Ok(self.permit(Counted::Client(network)))
    }

    /// A WebSocket is about to open.
    pub(super) fn session(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Refusal> {
        if self.is_short_of_memory() {
            return Err(Refusal::Memory);
        }
        let (network, multiple) = (Network::of(client), self.multiples.of(client));
        if !take(&self.sessions, self.limits.sessions_max) {
            return Err(Refusal::Full);
        }
        if !self.places.take(network, multiple, 0) {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Network);
        }
        let permit = self.permit(Counted::Session(network));
        if !self.take_handshake(network, multiple) {
            return Err(Refusal::Rate);
        }
        Ok(permit)
    }

    /// How many WebSockets are open now.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    fn permit(self: &Arc<Self>, counted: Counted) -> Permit {
        Permit {
            admission: Arc::clone(self),
            counted,
        }
    }

    fn take_handshake(&self, network: Network, multiple: u32) -> bool {
        let limits = &self.limits;
        if limits.handshake_cost.is_zero() {
            return true;
        }
        let now = Instant::now();
        let pay = |until: Option<&Instant>, cost: Duration, burst: Duration| {
            let paid = until.map_or(now, |at| now.max(*at)) + cost;
            (paid - now <= burst.max(cost)).then_some(paid)
        };
        let mut paid = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(node) = pay(paid.node.as_ref(), limits.handshake_cost, limits.burst) else {
            return false;
        };
        let cost = limits.handshake_cost * RATE_PART / multiple.clamp(1, RATE_PART);
        let burst = limits.burst * RATE_PART / BURST_PART;
        let Some(until) = pay(paid.networks.get(&network), cost, burst) else {
            return false;
        };
        if paid.networks.len() >= PAYERS_MAX {
            paid.networks.retain(|_, until| *until > now);
        }
        paid.networks.insert(network, until);
        paid.node = Some(node);
        true
    }

    fn is_short_of_memory(&self) -> bool {
        if self.limits.memory_bytes_max == 0 {
            return false;
        }
        let now = Instant::now();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match *memory {
            Some((at, bytes)) if now - at < MEMORY_READING_LIFE => bytes,
            _ => {
                let bytes = resident_bytes().unwrap_or(0);
                *memory = Some((now, bytes));
                bytes
            }
        };
        bytes > self.limits.memory_bytes_max
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let admission = &self.admission;
        match self.counted {
            Counted::Socket => {
                admission.sockets.fetch_sub(1, Ordering::Relaxed);
            }
            Counted::Session(network) => {
                admission.sessions.fetch_sub(1, Ordering::Relaxed);
                admission.places.give_back(network);
            }
            Counted::Client(network) => admission.clients.give_back(network),
        }
    }
}

/// Counts one more unless that would be more than `max`.
fn take(count: &AtomicUsize, max: usize) -> bool {
    let more = |n| (n < max).then_some(n + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}

/// The resident memory of this process, where the system tells it (Linux).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn admission(settings: &EdgeSettings) -> Arc<Admission> {
        Admission::new(settings, &Arc::default())
    }

    const SOMEBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test(start_paused = true)]
    async fn one_network_does_not_use_up_the_handshakes_of_all() {
        let mut settings = settings();
        settings.connection_rate = 100;
        settings.connection_burst = 50;
        let admission = admission(&settings);
        let admitted = |client: IpAddr| {
            let one = |_: &u32| admission.session(client).is_ok();
            (0..100).filter(one).count()
        };
        assert_eq!(admitted(SOMEBODY), 10);
        assert_eq!(admitted([192, 0, 2, 2].into()), 10);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(admitted(SOMEBODY), 5);
        for last in 3..=200 {
            admission.session([198, 51, 100, last].into()).ok();
        }
        assert_eq!(admitted(SOMEBODY), 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(admitted(SOMEBODY), 10);
    }

    #[test]
    fn a_place_is_given_back_when_its_permit_is_dropped() {
        let mut settings = settings();
        settings.connections_max = 1;
        let admission = admission(&settings);
        let first = admission.session(SOMEBODY).unwrap();
        assert_eq!(admission.session(SOMEBODY).unwrap_err(), Refusal::Full);
        assert_eq!(admission.sessions(), 1);
        drop(first);
        assert!(admission.session(SOMEBODY).is_ok());
    }

    #[test]
    fn a_network_is_one_ipv4_address_or_one_ipv6_64() {
        let mut settings = settings();
        settings.connections_per_net = 1;
        let admission = admission(&settings);
        let count = |text: &str| admission.network(text.parse().unwrap());
        let _a = count("192.0.2.1").unwrap();
        let _b = count("192.0.2.2").unwrap();
        assert!(count("::ffff:192.0.2.1").is_err());
        let c = count("2001:db8::1").unwrap();
        assert!(count("2001:db8::ffff:1").is_err());
        assert!(count("2001:db8:0:1::1").is_ok());
        drop(c);
        assert!(count("2001:db8::2").is_ok());
    }

    #[test]
    fn a_network_holds_a_part_of_what_is_free() {
        let mut settings = settings();
        settings.connections_max = 1_000;
        let admission = admission(&settings);
        let fill = |client: &str| -> Vec<Permit> {
            let client = client.parse().unwrap();
            std::iter::from_fn(|| admission.session(client).ok()).collect()
        };
        let crowd = fill("192.0.2.1");
        assert_eq!(crowd.len(), 889);
        let another = fill("192.0.2.2");
        assert_eq!(another.len(), 99, "another address");
        let rented: Vec<_> = (0..200)
            .flat_map(|n| fill(&format!("2001:db8:0:{n:x}00::1")))
            .collect();
        assert_eq!(rented.len(), 11, "a whole /48");
        drop((crowd, another, rented));
        assert_eq!(admission.sessions(), 0);
        assert_eq!(fill("192.0.2.3").len(), 889);
    }

    #[test]
    fn a_handful_of_places_is_not_shared_out() {
        let mut settings = settings();
        settings.connections_max = 2;
        let admission = admission(&settings);
        let held: Vec<_> = (0..3).map(|_| admission.session(SOMEBODY)).collect();
        assert_eq!(held.iter().filter(|one| one.is_ok()).count(), 2);
        assert_eq!(held[2].as_ref().unwrap_err(), &Refusal::Full);
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_limit() {
        let admission = admission(&settings());
        let held: Vec<_> = (0..10_000)
            .map_while(|_| admission.session(SOMEBODY).ok())
            .collect();
        assert_eq!(held.len(), 10_000);
    }

    #[test]
    fn a_node_short_of_memory_takes_nobody() {
        let mut settings = settings();
        settings.memory_bytes_max = 1;
        assert_eq!(
            admission(&settings).session(SOMEBODY).unwrap_err(),
            Refusal::Memory
        );
        settings.memory_bytes_max = 0;
        assert!(admission(&settings).session(SOMEBODY).is_ok());
    }
}
