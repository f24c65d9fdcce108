//! How many may come in: in all, per second, per network.
//!
//! Not here: memory (`charges`), how a refusal is written (`reply`). Invariant: a connection is counted once, under the
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

/// One network gets this part of the rate of handshakes, and this part of their burst: whoever opens
/// and drops WebSockets for fun must not use up what everybody lives on.
const RATE_PART: u32 = 10;
const BURST_PART: u32 = 5;

/// So many networks are remembered before those that owe nothing are forgotten.
const PAYERS_MAX: usize = 1_024;

/// Why somebody does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node is full.
    Full,
    /// The node is short of memory, or the network holds its share.
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
    paid_until: Mutex<Paid>,
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
    /// What one handshake costs; zero for no limit.
    handshake_cost: Duration,
    burst: Duration,
}

/// What is counted as one: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
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
                handshake_cost,
                burst: handshake_cost * settings.connection_burst.max(1),
            },
            sockets: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            networks: Mutex::default(),
            paid_until: Mutex::default(),
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
    pub(super) fn session(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Refusal> {
        if !take(&self.sessions, self.limits.sessions_max) {
            return Err(Refusal::Full);
        }
        let permit = self.permit(Counted::Session);
        if !self.take_handshake(Network::of(client)) {
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

    fn take_handshake(&self, network: Network) -> bool {
        let limits = &self.limits;
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
        // Who wants no limit per network wants none here either: one proxy may stand for all.
        if limits.per_network_max > 0 && !limits.handshake_cost.is_zero() {
            let cost = limits.handshake_cost * RATE_PART;
            let burst = limits.burst * RATE_PART / BURST_PART;
            let Some(until) = pay(paid.networks.get(&network), cost, burst) else {
                return false;
            };
            if paid.networks.len() >= PAYERS_MAX {
                paid.networks.retain(|_, until| *until > now);
            }
            paid.networks.insert(network, until);
        }
        paid.node = Some(node);
        true
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

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    const SOMEBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test(start_paused = true)]
    async fn one_network_does_not_use_up_the_handshakes_of_all() {
        let mut settings = settings();
        settings.connection_rate = 100;
        settings.connection_burst = 50;
        let admission = Admission::new(&settings);
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
        let admission = Admission::new(&settings);
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
        settings.connections_per_net = 0;
        let admission = Admission::new(&settings);
        let admitted = || {
            let one = |_: &u32| admission.session(SOMEBODY).is_ok();
            (0..10).filter(one).count()
        };
        assert_eq!(admitted(), 3);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(admitted(), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(admitted(), 3);
    }
}
