//! How many may come in: in all, per second, per network.
//!
//! Not here: memory (`charges`), how a refusal is written (`reply`), in which order sockets are served (`turns`).
//! Invariants: a socket has one place, under the networks of its client or, while that is not known, of the trusted
//! proxy; an open session has another one, under the networks of its client; visitors have seven eighths of the
//! places at most, and who is not known yet a thirty-second of them beyond that (`waiting`).
//!
//! What one network may hold is a part of what is free (`budget`), so a crowd behind one address comes in
//! and a newcomer from elsewhere still finds a place. How fast it may open sessions is limited by token buckets
//! (`policy::bucket`), of the node and of every network around the client.
//!
//! The network is known when a socket is accepted, unless it comes from a trusted proxy: then it is
//! known at the handshake.

mod waiting;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use smallvec::SmallVec;
use tokio::time::Instant;

use super::charges::{HTTP_BYTES, TLS_BYTES};
use super::settings::EdgeSettings;
use crate::budget::{
    Charge, Claimant, Evict, Eviction, Memory, Multiples, Parts, Pool, PoolSettings, Refused,
};
use crate::model::{Kind, Network};
use crate::policy::bucket::{self, Level, Rate, Verdict};
use crate::quota::quarters;
pub(super) use waiting::{Ticket, Waiting};

/// One IPv4 address or one IPv6 /64 gets this part of the rate of handshakes, and this part of their burst: a
/// client that opens and drops connections must not use up what all others need.
const RATE_PART: u32 = 10;
const BURST_PART: u32 = 5;

/// Fewer places than this are not shared out: one network may have them all, and none is in reserve.
const SHARED_MIN: usize = 64;

/// Visitors never get this part of the places.
const RESERVE_PART: usize = 8;

/// This part of a reserve is for clients who are not known yet.
const WAITING_PART: usize = 4;

/// So many networks are remembered before those whose bucket is full again are forgotten.
const NETWORKS_MAX: usize = 1_024;

/// Why a client does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The node is full.
    Full,
    /// The node is short of memory.
    Memory,
    /// The network holds its share of the memory.
    NetworkMemory,
    /// More handshakes than `CONNECTION_RATE` allows.
    Rate,
    /// The same from one network.
    NetworkRate,
    /// So many clients of this network connect that the node did not get round to this one in time. Networks are
    /// served in rotation, so one that does not ask for much does not wait.
    Busy,
    /// Too many connections of one network.
    Network,
    /// The node ends.
    Ending,
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
    memory: Arc<Memory>,
    /// Those in the reserve who are not known yet.
    waiting: Arc<Waiting>,
    handshakes: Handshakes,
}

/// Stands for one counted thing and gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    charge: Charge,
}

impl Admission {
    pub(super) fn new(
        settings: &EdgeSettings,
        multiples: &Arc<Multiples>,
        memory: &Arc<Memory>,
    ) -> Arc<Self> {
        let number = settings.connections_max;
        let reserve = match number < SHARED_MIN {
            true => 0,
            false => number / RESERVE_PART,
        };
        let socket_bytes = Memory::BASE_BYTES + HTTP_BYTES + TLS_BYTES;
        let by_memory = match memory.capacity() {
            0 => usize::MAX,
            _ => usize::try_from(memory.pool().reserve() / socket_bytes).unwrap_or(usize::MAX),
        };
        Arc::new(Self {
            memory: Arc::clone(memory),
            waiting: Waiting::new(reserve.min(by_memory) / WAITING_PART),
            multiples: Arc::clone(multiples),
            sockets: Pool::new(PoolSettings {
                network_max: settings.connections_per_net.into(),
                ..places("sockets", number + settings.other_sockets_max, reserve)
            }),
            sessions: Pool::new(places("sessions", number, reserve)),
            handshakes: Handshakes::new(settings),
        })
    }

    /// Sets the gauges of sockets and sessions.
    pub(super) fn publish(&self) {
        self.sockets.publish();
        self.sessions.publish();
    }

    /// The place of a socket, or of a session over requests.
    pub(super) fn socket(&self, holder: &Claimant, eviction: Eviction) -> Result<Permit, Refusal> {
        place(&self.sockets, holder, eviction)
    }

    /// Whether the rates allow a session now. Takes nothing of them: ask before anything else is taken.
    pub(super) fn may_open(&self, client: IpAddr) -> Result<(), Refusal> {
        let claimant = self.multiples.stranger(client);
        self.handshakes.allow(&claimant)
    }

    /// A WebSocket, or a session over another transport, is about to open.
    pub(super) fn session(&self, client: &Claimant, eviction: Eviction) -> Result<Permit, Refusal> {
        self.handshakes.allow(client)?;
        let permit = place(&self.sessions, client, eviction)?;
        // What is only possible uses up nothing of the rate.
        if eviction != Eviction::Possible {
            self.handshakes.take(client)?;
        }
        Ok(permit)
    }

    /// As whom a stranger takes from the reserve until it is known who they are, when visitors have all that they may
    /// have; `refusal` is what a visitor is told.
    ///
    /// # Errors
    /// The refusal, when something is left for visitors: then it is the share of a network that is used up.
    pub(super) fn unknown(
        &self,
        stranger: &Claimant,
        refusal: Refusal,
    ) -> Result<Claimant, Refusal> {
        let is_for_want_of_places = match refusal {
            Refusal::Full | Refusal::Network | Refusal::Memory | Refusal::NetworkMemory => true,
            Refusal::Rate | Refusal::NetworkRate | Refusal::Busy | Refusal::Ending => false,
        };
        let is_reserved = self.sessions.reserve() > 0;
        let pools = [&self.sockets, &self.sessions, self.memory.pool()];
        match is_for_want_of_places
            && is_reserved
            && pools.iter().any(|pool| pool.is_short_of_visitors())
        {
            true => Ok(Claimant {
                kind: Kind::Member,
                ..stranger.clone()
            }),
            false => Err(refusal),
        }
    }

    /// Those who have their places as such.
    pub(super) fn waiting(&self) -> &Arc<Waiting> {
        &self.waiting
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

    /// It is known now whose it is: a member's, or a bot's.
    pub(super) fn identify(&mut self, who: &Claimant) {
        self.charge.identify(who);
    }

    /// It is known now that it is a visitor's, who has to find it among the places of visitors.
    pub(super) fn retake(&mut self, eviction: Eviction, who: &Claimant) -> Result<(), Refusal> {
        self.charge.retake(eviction, who).map_err(of_place)
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
    fn allow(&self, claimant: &Claimant) -> Result<(), Refusal> {
        match self.of_node.is_off() {
            true => Ok(()),
            false => self.left(&self.lock(), claimant, self.now_ms()).map(drop),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What is left of the node and of every network around the client when one is taken, if that may be.
    fn left(&self, levels: &Levels, claimant: &Claimant, now_ms: u64) -> Result<Left, Refusal> {
        let (node, verdict) = bucket::take(levels.node, now_ms, self.of_node, 1);
        if matches!(verdict, Verdict::Refused { .. }) {
            return Err(Refusal::Rate);
        }
        let mut taken = SmallVec::new();
        for network in claimant.network.levels() {
            let rate = self.rate_of(network, claimant.multiple);
            let known = levels.networks.get(&network).copied();
            let level = known.unwrap_or_else(|| Level::full(now_ms, rate));
            match bucket::take(level, now_ms, rate, 1) {
                (left, Verdict::Allowed { .. }) => taken.push((network, left)),
                (_, Verdict::Refused { .. }) => return Err(Refusal::NetworkRate),
            }
        }
        Ok((node, taken))
    }

    /// Takes one from the node and from every network around the client, or from none of them.
    fn take(&self, claimant: &Claimant) -> Result<(), Refusal> {
        if self.of_node.is_off() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let mut levels = self.lock();
        let (node, taken) = self.left(&levels, claimant, now_ms)?;
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
        Ok(())
    }

    /// A wider network may have more than a narrower one, and far less than all those in it.
    fn rate_of(&self, network: Network, multiple: u32) -> Rate {
        let quarters = quarters(network.width()).saturating_mul(multiple);
        self.of_network.in_quarters(quarters)
    }
}

/// A pool of so many places.
fn places(name: &'static str, number: usize, reserve: usize) -> PoolSettings {
    let parts = match number < SHARED_MIN {
        true => Parts::ALL,
        false => Parts::DEFAULT,
    };
    PoolSettings {
        reserve: reserve as u64,
        parts,
        ..PoolSettings::new(name, number as u64)
    }
}

fn place(pool: &Arc<Pool>, claimant: &Claimant, eviction: Eviction) -> Result<Permit, Refusal> {
    let mut charge = pool.charge(claimant);
    charge.grow_with(eviction, 1).map_err(of_place)?;
    Ok(Permit { charge })
}

fn of_place(refused: Refused) -> Refusal {
    match refused {
        Refused::Full => Refusal::Full,
        Refused::User | Refused::Network => Refusal::Network,
    }
}

#[cfg(test)]
mod tests;
