//! How many may come in: in all, per second, per network.
//!
//! Not here: memory (`charges`), how a refusal is written (`reply`), in which order sockets are served (`turns`).
//! Invariant: a socket has one place, under the networks of its client or, while that is not known, of the trusted
//! proxy; an open session has another one, under the networks of its client.
//!
//! What one network may hold is a part of what is free (`budget`), so a crowd behind one address comes in
//! and a newcomer from elsewhere still finds a place. How fast it may open sessions is limited by token buckets
//! (`policy::bucket`), of the node and of every network around the client.
//!
//! The network is known when a socket is accepted, unless it comes from a trusted proxy: then it is
//! known at the handshake.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::settings::EdgeSettings;
use crate::budget::{Charge, Claimant, Evict, Multiples, Parts, Pool, PoolSettings, Refused};
use crate::model::Network;
use crate::policy::bucket::{self, Level, Rate, Verdict};
use crate::quota::quarters;

/// How many sockets beyond the WebSockets there may be: requests, keep-alive, handshakes.
const OTHER_SOCKETS_MAX: usize = 1_024;

/// One IPv4 address or one IPv6 /64 gets this part of the rate of handshakes, and this part of their burst: a
/// client that opens and drops connections must not use up what all others need.
const RATE_PART: u32 = 10;
const BURST_PART: u32 = 5;

/// Fewer places than this are not shared out: one network may have them all.
const SHARED_MIN: usize = 64;

/// So many networks are remembered before those whose bucket is full again are forgotten.
const NETWORKS_MAX: usize = 1_024;

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
    multiples: Arc<Multiples>,
    /// What one IPv4 address or one IPv6 /64 may have, however much is free; zero for no such limit.
    sockets_of_network_max: u64,
    /// Sockets, and sessions over requests.
    sockets: Arc<Pool>,
    /// Open sessions.
    sessions: Arc<Pool>,
    handshakes: Handshakes,
}

/// Stands for one counted thing and gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    charge: Charge,
}

impl Permit {
    /// The same, which may be taken away when places are scarce: then `whose` is told.
    pub(super) fn evictable(mut self, whose: Weak<dyn Evict>) -> Self {
        self.charge.set_evictable(whose);
        self
    }
}

impl Admission {
    pub(super) fn new(settings: &EdgeSettings, multiples: &Arc<Multiples>) -> Arc<Self> {
        Arc::new(Self {
            multiples: Arc::clone(multiples),
            sockets_of_network_max: settings.connections_per_net.into(),
            sockets: Pool::new(places(
                "sockets",
                settings.connections_max + OTHER_SOCKETS_MAX,
            )),
            sessions: Pool::new(places("sessions", settings.connections_max)),
            handshakes: Handshakes::new(settings),
        })
    }

    /// The place of a socket, or of a session over requests.
    pub(super) fn socket(&self, holder: &Claimant) -> Result<Permit, Refusal> {
        let permit = place(&self.sockets, holder)?;
        let most = self.sockets_of_network_max;
        let is_beyond = |network: Network| {
            let quarters = u64::from(quarters(network.width())) * u64::from(holder.multiple);
            self.sockets.held_by_network(network) > most.saturating_mul(quarters).div_ceil(4)
        };
        match most > 0 && holder.network.levels().any(is_beyond) {
            true => Err(Refusal::Network),
            false => Ok(permit),
        }
    }

    /// A WebSocket, or a session over another transport, is about to open.
    pub(super) fn session(&self, client: IpAddr) -> Result<Permit, Refusal> {
        let claimant = self.multiples.stranger(client);
        let permit = place(&self.sessions, &claimant)?;
        match self.handshakes.take(&claimant) {
            true => Ok(permit),
            false => Err(Refusal::Rate),
        }
    }

    /// How many sessions are open now.
    pub(super) fn sessions(&self) -> usize {
        usize::try_from(self.sessions.used()).unwrap_or(usize::MAX)
    }
}

/// How fast sessions may open (`CONNECTION_RATE`), if that is limited.
#[derive(Debug)]
struct Handshakes {
    of_node: Rate,
    /// That of one IPv4 address with a multiple of 1.
    of_network: Rate,
    since: Instant,
    levels: Mutex<Levels>,
}

#[derive(Debug)]
struct Levels {
    node: Level,
    networks: HashMap<Network, Level>,
    /// At so many networks those with a full bucket are forgotten.
    sweep_at: usize,
}

impl Handshakes {
    fn new(settings: &EdgeSettings) -> Self {
        let rate = |rate_part: u32, burst_part: u32| Rate {
            capacity: match settings.connection_rate {
                0 => 0,
                _ => (settings.connection_burst / burst_part).max(1),
            },
            per_10_min: settings.connection_rate.saturating_mul(600 / rate_part),
        };
        let of_node = rate(1, 1);
        Self {
            of_node,
            of_network: rate(RATE_PART, BURST_PART),
            since: Instant::now(),
            levels: Mutex::new(Levels {
                node: Level::full(0, of_node),
                networks: HashMap::new(),
                sweep_at: NETWORKS_MAX,
            }),
        }
    }

    /// Takes one from the node and from every network around the client, or from none of them.
    fn take(&self, claimant: &Claimant) -> bool {
        if self.of_node.is_off() {
            return true;
        }
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let (node, verdict) = bucket::take(levels.node, now_ms, self.of_node, 1);
        if matches!(verdict, Verdict::Refused { .. }) {
            return false;
        }
        let mut taken = SmallVec::<[(Network, Level); 3]>::new();
        for network in claimant.network.levels() {
            let rate = self.rate_of(network, claimant.multiple);
            let known = levels.networks.get(&network).copied();
            let level = known.unwrap_or_else(|| Level::full(now_ms, rate));
            match bucket::take(level, now_ms, rate, 1) {
                (left, Verdict::Allowed { .. }) => taken.push((network, left)),
                (_, Verdict::Refused { .. }) => return false,
            }
        }
        levels.node = node;
        levels.networks.extend(taken);
        if levels.networks.len() >= levels.sweep_at {
            let rate = self.of_network;
            let fills_ms = rate
                .in_quarters(quarters(crate::model::Width::Net48))
                .fill_ms();
            levels
                .networks
                .retain(|_, level| now_ms - level.at_ms < fills_ms);
            levels.sweep_at = NETWORKS_MAX.max(levels.networks.len() * 2);
        }
        true
    }

    /// A wider network may have more than a narrower one, and far less than all those in it.
    fn rate_of(&self, network: Network, multiple: u32) -> Rate {
        let quarters = quarters(network.width()).saturating_mul(multiple);
        self.of_network.in_quarters(quarters)
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
    Ok(Permit { charge })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

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

    /// How many sessions a client opens until one is refused.
    fn admitted(admission: &Admission, client: &str) -> usize {
        let client = client.parse().unwrap();
        (0..1_000)
            .take_while(|_| admission.session(client).is_ok())
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_of_a_56_and_a_48_are_limited_too() {
        let mut settings = settings();
        settings.connection_rate = 1_000;
        settings.connection_burst = 500;
        let admission = admission(&settings);
        assert_eq!(admitted(&admission, "2001:db8::1"), 100, "a /64");
        assert_eq!(
            admitted(&admission, "2001:db8:0:1::1"),
            50,
            "the rest of its /56"
        );
        assert_eq!(
            admitted(&admission, "2001:db8:0:2::1"),
            0,
            "nothing of its /56 is left"
        );
        assert_eq!(
            admitted(&admission, "2001:db8:0:100::1"),
            50,
            "the rest of its /48"
        );
        assert_eq!(admitted(&admission, "2001:db8:0:200::1"), 0);
        assert_eq!(admitted(&admission, "192.0.2.1"), 100, "others");
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_network_has_a_multiple_up_to_what_the_node_has() {
        let mut settings = settings();
        settings.connection_rate = 1_000;
        settings.connection_burst = 500;
        let check = |multiple: u32, expected: usize| {
            let named = vec![("192.0.2.0/24".parse().unwrap(), multiple)];
            let admission = Admission::new(&settings, &Arc::new(Multiples::new(named)));
            assert_eq!(admitted(&admission, "192.0.2.1"), expected, "{multiple}");
        };
        check(1, 100);
        check(3, 300);
        check(20, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn networks_with_a_full_bucket_are_forgotten() {
        let mut settings = settings();
        settings.connection_rate = 100_000;
        settings.connection_burst = 100_000;
        let admission = admission(&settings);
        for n in 0..5_000_u32 {
            let client = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            admission.session(client.into()).unwrap();
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let levels = admission.handshakes.levels.lock().unwrap();
        assert!(
            levels.networks.len() <= NETWORKS_MAX,
            "{}",
            levels.networks.len()
        );
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
        let count = |text: &str| {
            let network = Network::of(text.parse().unwrap());
            admission.socket(&Claimant::stranger(network))
        };
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
    fn a_fixed_number_counts_at_every_level() {
        let mut settings = settings();
        settings.connections_per_net = 10;
        let admission = admission(&settings);
        let fill = |client: &str| -> Vec<Permit> {
            let holder = Claimant::stranger(Network::of(client.parse().unwrap()));
            std::iter::from_fn(|| admission.socket(&holder).ok()).collect()
        };
        let clients = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:100::1"];
        let held = clients.map(fill);
        assert_eq!(held.each_ref().map(Vec::len), [10, 5, 5]);
        assert!(fill("2001:db8:0:200::1").is_empty());
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
