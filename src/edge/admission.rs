//! How many may come in: in all, per second, per network, and while memory lasts.
//!
//! Not here: how a refusal is written (`reply`). Invariant: a connection is counted once, under the
//! network of its client, for exactly as long as its permit lives.
//!
//! The network is known when a socket is accepted, unless it comes from a trusted proxy: then it is
//! known at the handshake.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::EdgeSettings;

/// How many sockets beyond the WebSockets there may be: requests, keep-alive, handshakes.
const OTHER_SOCKETS_MAX: usize = 1_024;

/// For how long a reading of the memory is believed.
const MEMORY_READING_LIFE: Duration = Duration::from_secs(1);

/// Why somebody does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node is full.
    Full,
    /// The node is short of memory.
    Memory,
    /// Too many handshakes at once.
    Rate,
    /// Too many connections of one network.
    Network,
}

/// The counts of this node.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    sockets: AtomicUsize,
    sessions: AtomicUsize,
    /// A std mutex: held for one look-up, never across an await.
    networks: Mutex<HashMap<Network, u32>>,
    /// When the handshakes admitted so far are paid for (the generic cell rate algorithm).
    paid_until: Mutex<Option<Instant>>,
    memory: Mutex<Option<(Instant, u64)>>,
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

/// What is counted as one: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let prefix = v6.to_bits() & !u128::from(u64::MAX);
                Self(Ipv6Addr::from_bits(prefix).into())
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
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
    Session,
    Network(Network),
}

impl Admission {
    pub(super) fn new(settings: &EdgeSettings) -> Arc<Self> {
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
            sockets: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            networks: Mutex::default(),
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
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let count = networks.entry(network).or_default();
        let max = self.limits.per_network_max;
        if max > 0 && *count >= max {
            return Err(Refusal::Network);
        }
        *count += 1;
        drop(networks);
        Ok(self.permit(Counted::Network(network)))
    }

    /// A WebSocket is about to open.
    pub(super) fn session(self: &Arc<Self>) -> Result<Permit, Refusal> {
        if self.is_short_of_memory() {
            return Err(Refusal::Memory);
        }
        if !take(&self.sessions, self.limits.sessions_max) {
            return Err(Refusal::Full);
        }
        let permit = self.permit(Counted::Session);
        if !self.take_handshake() {
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

    fn take_handshake(&self) -> bool {
        let now = Instant::now();
        let mut paid_until = self
            .paid_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let paid = paid_until.map_or(now, |at| at.max(now)) + self.limits.handshake_cost;
        if paid - now > self.limits.burst {
            return false;
        }
        *paid_until = Some(paid);
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
        match self.counted {
            Counted::Socket => {
                self.admission.sockets.fetch_sub(1, Ordering::Relaxed);
            }
            Counted::Session => {
                self.admission.sessions.fetch_sub(1, Ordering::Relaxed);
            }
            Counted::Network(network) => {
                let networks = &self.admission.networks;
                let mut networks = networks.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(count) = networks.get_mut(&network) {
                    *count -= 1;
                    if *count == 0 {
                        networks.remove(&network);
                    }
                }
            }
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

    #[test]
    fn a_place_is_given_back_when_its_permit_is_dropped() {
        let mut settings = settings();
        settings.connections_max = 1;
        let admission = Admission::new(&settings);
        let first = admission.session().unwrap();
        assert_eq!(admission.session().unwrap_err(), Refusal::Full);
        assert_eq!(admission.sessions(), 1);
        drop(first);
        assert!(admission.session().is_ok());
    }

    #[test]
    fn a_network_is_one_ipv4_address_or_one_ipv6_64() {
        let mut settings = settings();
        settings.connections_per_net = 1;
        let admission = Admission::new(&settings);
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

    #[tokio::test(start_paused = true)]
    async fn handshakes_are_limited_by_rate_and_burst() {
        let mut settings = settings();
        settings.connection_rate = 10;
        settings.connection_burst = 3;
        let admission = Admission::new(&settings);
        let admitted = || (0..10).filter(|_| admission.session().is_ok()).count();
        assert_eq!(admitted(), 3);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(admitted(), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(admitted(), 3);
    }

    #[test]
    fn a_node_short_of_memory_takes_nobody() {
        let mut settings = settings();
        settings.memory_bytes_max = 1;
        assert_eq!(
            Admission::new(&settings).session().unwrap_err(),
            Refusal::Memory
        );
        settings.memory_bytes_max = 0;
        assert!(Admission::new(&settings).session().is_ok());
    }
}
