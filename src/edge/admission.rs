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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::settings::EdgeSettings;
use crate::budget::{
    Charge, Claimant, Evict, Eviction, Multiples, Parts, Pool, PoolSettings, Refused,
};
use crate::model::Network;
use crate::policy::bucket::{self, Level, Rate, Verdict};
use crate::quota::quarters;
use crate::turns::Busy;

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

/// Why a client does not come in.
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

impl From<Busy> for Refusal {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// Takes two things, or neither. Others lose something for one only when the other is held or, when both are short,
/// could be taken too, so that no session ends for a client who is refused in the end.
pub(super) fn both<A, B>(
    mut first: impl FnMut(Eviction) -> Result<A, Refusal>,
    mut second: impl FnMut(Eviction) -> Result<B, Refusal>,
) -> Result<(A, B), Refusal> {
    if let Ok(first) = first(Eviction::Never) {
        return Ok((first, second(Eviction::Allowed)?));
    }
    if let Ok(second) = second(Eviction::Never) {
        return Ok((first(Eviction::Allowed)?, second));
    }
    second(Eviction::Possible)?;
    Ok((first(Eviction::Allowed)?, second(Eviction::Allowed)?))
}

/// The counts of this node.
#[derive(Debug)]
pub(super) struct Admission {
    multiples: Arc<Multiples>,
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

impl Admission {
    pub(super) fn new(settings: &EdgeSettings, multiples: &Arc<Multiples>) -> Arc<Self> {
        Arc::new(Self {
            multiples: Arc::clone(multiples),
            sockets: Pool::new(PoolSettings {
                network_max: settings.connections_per_net.into(),
                ..places("sockets", settings.connections_max + OTHER_SOCKETS_MAX)
            }),
            sessions: Pool::new(places("sessions", settings.connections_max)),
            handshakes: Handshakes::new(settings),
        })
    }

    /// The place of a socket, or of a session over requests.
    pub(super) fn socket(&self, holder: &Claimant, eviction: Eviction) -> Result<Permit, Refusal> {
        place(&self.sockets, holder, eviction)
    }

    /// Whether the rates allow a session now. Takes nothing of them: ask before anything else is taken.
    pub(super) fn may_open(&self, client: IpAddr) -> Result<(), Refusal> {
        let claimant = self.multiples.stranger(client);
        (self.handshakes.allow(&claimant).then_some(())).ok_or(Refusal::Rate)
    }

    /// A WebSocket, or a session over another transport, is about to open.
    pub(super) fn session(&self, client: IpAddr, eviction: Eviction) -> Result<Permit, Refusal> {
        self.may_open(client)?;
        let claimant = self.multiples.stranger(client);
        let permit = place(&self.sessions, &claimant, eviction)?;
        // What is only possible uses up nothing of the rate.
        match eviction == Eviction::Possible || self.handshakes.take(&claimant) {
            true => Ok(permit),
            false => Err(Refusal::Rate),
        }
    }

    /// How many sessions are open now.
    pub(super) fn sessions(&self) -> usize {
        usize::try_from(self.sessions.used()).unwrap_or(usize::MAX)
    }
}

impl Permit {
    /// The same, which may be taken away when places are scarce: then `whose` is told.
    pub(super) fn evictable(mut self, whose: Weak<dyn Evict>) -> Self {
        self.charge.set_evictable(whose);
        self
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

/// The levels of the node and of networks.
type Left = (Level, SmallVec<[(Network, Level); 3]>);

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

    /// Whether [`Handshakes::take`] would take one.
    fn allow(&self, claimant: &Claimant) -> bool {
        self.of_node.is_off() || self.left(&self.lock(), claimant, self.now_ms()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What is left of the node and of every network around the client when one is taken, if that may be.
    fn left(&self, levels: &Levels, claimant: &Claimant, now_ms: u64) -> Option<Left> {
        let (node, verdict) = bucket::take(levels.node, now_ms, self.of_node, 1);
        if matches!(verdict, Verdict::Refused { .. }) {
            return None;
        }
        let mut taken = SmallVec::new();
        for network in claimant.network.levels() {
            let rate = self.rate_of(network, claimant.multiple);
            let known = levels.networks.get(&network).copied();
            let level = known.unwrap_or_else(|| Level::full(now_ms, rate));
            match bucket::take(level, now_ms, rate, 1) {
                (left, Verdict::Allowed { .. }) => taken.push((network, left)),
                (_, Verdict::Refused { .. }) => return None,
            }
        }
        Some((node, taken))
    }

    /// Takes one from the node and from every network around the client, or from none of them.
    fn take(&self, claimant: &Claimant) -> bool {
        if self.of_node.is_off() {
            return true;
        }
        let now_ms = self.now_ms();
        let mut levels = self.lock();
        let Some((node, taken)) = self.left(&levels, claimant, now_ms) else {
            return false;
        };
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

fn place(pool: &Arc<Pool>, claimant: &Claimant, eviction: Eviction) -> Result<Permit, Refusal> {
    let mut charge = pool.charge(claimant);
    let taken = charge.grow_with(eviction, 1);
    taken.map_err(|refused| match refused {
        Refused::Full => Refusal::Full,
        Refused::User | Refused::Network => Refusal::Network,
    })?;
    Ok(Permit { charge })
}

#[cfg(test)]
mod tests;
