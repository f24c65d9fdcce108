//! How many may come in: in all, per second, per network.
//!
//! Not here: memory (`charges`), how a refusal is written (`reply`), in which order sockets are served (`turns`). Invariant: a
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
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::EdgeSettings;
use crate::budget::{Charge, Claimant, Evict, Multiples, Parts, Pool, PoolSettings, Refused};
use crate::model::Network;

/// How many sockets beyond the WebSockets there may be: requests, keep-alive, handshakes.
const OTHER_SOCKETS_MAX: usize = 1_024;

/// One network gets this part of the rate of handshakes, and this part of their burst: whoever opens
/// and drops WebSockets for fun must not use up what everybody lives on.
const RATE_PART: u32 = 10;
const BURST_PART: u32 = 5;

/// Fewer places than this are not shared out: one network may have them all.
const SHARED_MIN: usize = 64;

/// So many networks are remembered before those that owe nothing are forgotten.
const PAYERS_MAX: usize = 1_024;

/// Why somebody does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node is full.
    Full,
    /// The node is short of memory, or the network holds its share.
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
    /// Sockets whose client is known.
    clients: Arc<Pool>,
    /// Open sessions.
    sessions: Arc<Pool>,
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
    /// What one network may have, however much is free; zero for no such limit.
    sockets_of_network_max: u64,
    /// What one handshake costs; zero for no limit.
    handshake_cost: Duration,
    burst: Duration,
}

/// Stands for one counted thing and gives its place back when it is dropped.
#[derive(Debug)]
pub(super) enum Permit {
    /// A socket, whoever its client is.
    Socket(Arc<Admission>),
    /// A place in a pool.
    Place { charge: Charge },
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
                sockets_of_network_max: settings.connections_per_net.into(),
                handshake_cost,
                burst: handshake_cost * settings.connection_burst.max(1),
            },
            multiples: Arc::clone(multiples),
            sockets: AtomicUsize::new(0),
            clients: Pool::new(places(
                "sockets",
                settings.connections_max + OTHER_SOCKETS_MAX,
            )),
            sessions: Pool::new(places("sessions", settings.connections_max)),
            paid_until: Mutex::default(),
        })
    }

    /// A socket was accepted.
    pub(super) fn socket(self: &Arc<Self>) -> Result<Permit, Refusal> {
        let max = self.limits.sessions_max.saturating_add(OTHER_SOCKETS_MAX);
        take(&self.sockets, max)
            .then(|| Permit::Socket(Arc::clone(self)))
            .ok_or(Refusal::Full)
    }

    /// The network of a client became known.
    pub(super) fn network(&self, address: IpAddr) -> Result<Permit, Refusal> {
        let claimant = self.multiples.stranger(address);
        let permit = place(&self.clients, &claimant)?;
        let most = self.limits.sockets_of_network_max;
        let held = || self.clients.held_by_network(claimant.network);
        match most > 0 && held() > most.saturating_mul(claimant.multiple.into()) {
            true => Err(Refusal::Network),
            false => Ok(permit),
        }
    }

    /// A WebSocket is about to open.
    pub(super) fn session(&self, client: IpAddr) -> Result<Permit, Refusal> {
        let claimant = self.multiples.stranger(client);
        let permit = place(&self.sessions, &claimant)?;
        match self.take_handshake(claimant.network, claimant.multiple) {
            true => Ok(permit),
            false => Err(Refusal::Rate),
        }
    }

    /// How many WebSockets are open now.
    pub(super) fn sessions(&self) -> usize {
        usize::try_from(self.sessions.used()).unwrap_or(usize::MAX)
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
}

impl Permit {
    /// The same, which may be taken away when places are scarce: then `whose` is told.
    pub(super) fn evictable(mut self, whose: Weak<dyn Evict>) -> Self {
        if let Self::Place { charge } = &mut self {
            charge.set_evictable(whose);
        }
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Self::Socket(admission) = self {
            admission.sockets.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A pool of so many places. None is in reserve: before CONNECT everyone is a stranger.
fn places(name: &'static str, number: usize) -> PoolSettings {
    let parts = match number < SHARED_MIN {
        true => Parts::ALL,
        false => Parts::DEFAULT,
    };
    PoolSettings {
        reserve: 0,
        parts,
        ..PoolSettings::new(name, number as u64)
    }
}

fn place(pool: &Arc<Pool>, claimant: &Claimant) -> Result<Permit, Refusal> {
    let charge = pool.take(claimant, 1).map_err(|refused| match refused {
        Refused::Full => Refusal::Full,
        Refused::User | Refused::Network => Refusal::Network,
    })?;
    Ok(Permit::Place { charge })
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
        assert_eq!(crowd.len(), 500);
        assert_eq!(fill("192.0.2.2").len(), 250, "another address");
        let rented: Vec<_> = (0..200)
            .flat_map(|n| fill(&format!("2001:db8:0:{n:x}00::1")))
            .collect();
        assert_eq!(rented.len(), 250, "a whole /48");
        drop((crowd, rented));
        assert_eq!(admission.sessions(), 0);
        assert_eq!(fill("192.0.2.3").len(), 500);
    }

    #[derive(Debug, Default)]
    struct Told(AtomicUsize);

    impl Evict for Told {
        fn evict(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_newcomer_gets_a_place_of_the_largest_network_when_few_are_left() {
        let mut settings = settings();
        settings.connections_max = 1_000;
        let admission = admission(&settings);
        let told: [Arc<Told>; 5] = std::array::from_fn(|_| Arc::default());
        let mut held = Vec::new();
        for (last, told) in (1..).zip(&told) {
            let whose: Arc<dyn Evict> = Arc::<Told>::clone(told);
            let permits = std::iter::from_fn(|| admission.session([192, 0, 2, last].into()).ok());
            // 500, 250, 125, 62 and 31 of a thousand.
            held.extend(
                permits
                    .take(500 >> (last - 1))
                    .map(|it| it.evictable(Arc::downgrade(&whose))),
            );
        }
        assert_eq!(admission.sessions(), 968);
        let newcomer: IpAddr = [198, 51, 100, 1].into();
        let places: Vec<_> = (0..60).map(|_| admission.session(newcomer)).collect();
        assert!(places.iter().all(Result::is_ok));
        let lost: Vec<_> = told
            .iter()
            .map(|told| told.0.load(Ordering::Relaxed))
            .collect();
        assert!(lost[0] >= 28 && lost[1..] == [0; 4], "{lost:?}");
        // A member of the crowd itself gets nothing of the others.
        assert!(admission.session(SOMEBODY).is_err());
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
}
