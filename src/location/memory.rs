//! Location in this process.
//!
//! [`MemoryCluster`] is the shared state, what Redis is to the other engine; [`MemoryLocation`] is
//! one node life's handle on it. Not here: anything that outlives the process. Invariant: the same
//! calls in the same order give the same answers; leases end by tokio's clock, which tests advance.

mod visits;
mod wants;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use self::visits::Visits;
use self::wants::{Want, Wants};
use super::{
    Located, Location, LocationError, LocationSettings, Peer, PeerState, Renewal, SessionEntry,
    StoreClaim, VISITS_MAX, counts_for_patterns,
};
use crate::model::{
    ClientIdentifier, Destination, Incarnation, NamedNetworks, NodeId, SessionId, Unkept, UserId,
};

/// What the nodes of one process share.
#[derive(Debug)]
pub struct MemoryCluster {
    /// How long a lease lives after a claim or a renewal; `None` for a lone node, whose lease needs
    /// nobody to renew it.
    lease: Option<Duration>,
    patterns_max: usize,
    visits_max: usize,
    /// A plain mutex: held for one call's work, never across an await.
    state: Mutex<State>,
}

/// The handle of one life of one node.
#[derive(Debug)]
pub struct MemoryLocation {
    cluster: Arc<MemoryCluster>,
    node: NodeId,
    incarnation: Incarnation,
}

#[derive(Debug)]
struct State {
    /// In the order of their sessions. A list, because most users have one, and a map keeps room for
    /// eleven.
    sessions: BTreeMap<UserId, Vec<SessionEntry>>,
    wants: Wants,
    leases: Leases,
    store_id: Option<String>,
    visits: Visits,
    /// How often [`MemoryCluster::fail_over`] was called.
    reconnects: u64,
}

#[derive(Debug, Default)]
struct Leases(BTreeMap<NodeId, Lease>);

#[derive(Clone, Copy, Debug)]
struct Lease {
    incarnation: Incarnation,
    state: PeerState,
    /// `None`: it never ends.
    ends: Option<Instant>,
}

impl MemoryCluster {
    /// A cluster of several nodes in one process: leases end as the settings say.
    #[must_use]
    pub fn new(settings: LocationSettings) -> Arc<Self> {
        Self::with(
            Some(settings.lease),
            settings.patterns_max,
            settings.visits_max,
        )
    }

    /// The cluster of a single embedded node: its lease never ends by itself, and how many patterns
    /// it may want it knows itself.
    #[must_use]
    pub fn lone() -> Arc<Self> {
        Self::with(None, usize::MAX, VISITS_MAX)
    }

    fn with(lease: Option<Duration>, patterns_max: usize, visits_max: usize) -> Arc<Self> {
        Arc::new(Self {
            lease,
            patterns_max,
            visits_max,
            state: Mutex::new(State::new(visits_max)),
        })
    }

    /// The handle of one life of a node. Nothing is registered before [`Location::claim`].
    #[must_use]
    pub fn node(self: &Arc<Self>, node: NodeId, incarnation: Incarnation) -> Arc<MemoryLocation> {
        Arc::new(MemoryLocation {
            cluster: Arc::clone(self),
            node,
            incarnation,
        })
    }

    /// Everything is gone, as after `FLUSHALL` or a restart without persistence.
    pub fn flush(&self) {
        let mut state = self.state();
        *state = State {
            reconnects: state.reconnects,
            ..State::new(self.visits_max)
        };
    }

    /// What was registered lately is lost, the leases survive, and every handle has connected again:
    /// as when a replica takes over that had not received the last writes.
    pub fn fail_over(&self) {
        let mut state = self.state();
        state.sessions.clear();
        state.wants = Wants::default();
        state.reconnects += 1;
    }

    /// The lease of this node ends now, whoever holds it. What it registered stays.
    pub fn expire(&self, node: &NodeId) {
        self.state().leases.0.remove(node);
    }

    /// How many session entries are stored, those of dead lives included: for tests of the janitor.
    #[must_use]
    pub fn stored_sessions(&self) -> usize {
        self.state().sessions.values().map(Vec::len).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves no half-done call behind: each is a few map operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease_end(&self) -> Option<Instant> {
        self.lease.map(|lease| Instant::now() + lease)
    }
}

impl Lease {
    fn lives(&self) -> bool {
        self.ends.is_none_or(|ends| Instant::now() < ends)
    }
}

impl Leases {
    /// The lease of a node, if it lives.
    fn of(&mut self, node: &NodeId) -> Option<&mut Lease> {
        self.0.get_mut(node).filter(|lease| lease.lives())
    }

    fn is_alive(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        let lease = self.0.get(node);
        lease.is_some_and(|lease| lease.lives() && lease.incarnation == incarnation)
    }
}

impl State {
    fn new(visits_max: usize) -> Self {
        Self {
            sessions: BTreeMap::new(),
            wants: Wants::default(),
            leases: Leases::default(),
            store_id: None,
            visits: Visits::new(visits_max),
            reconnects: 0,
        }
    }

    /// The live sessions of a user; the entries of dead lives are removed on the way.
    fn sessions_of(&mut self, user: &UserId) -> Vec<SessionEntry> {
        let Some(mut entries) = self.sessions.remove(user) else {
            return Vec::new();
        };
        entries.retain(|entry| self.leases.is_alive(&entry.node, entry.incarnation));
        let live = entries.clone();
        if !entries.is_empty() {
            self.sessions.insert(user.clone(), entries);
        }
        live
    }

    /// The live nodes that want a destination.
    fn wanted_by(&mut self, destination: &Destination) -> Vec<NodeId> {
        let by_patterns = counts_for_patterns(destination);
        self.wants
            .wanted_by(destination, by_patterns, |node, incarnation| {
                self.leases.is_alive(node, incarnation)
            })
    }
}

impl MemoryLocation {
    fn interest(&self, generation: u64) -> Want {
        let incarnation = self.incarnation;
        Want {
            incarnation,
            generation,
        }
    }
}

#[async_trait]
impl Location for MemoryLocation {
    async fn attach(&self, entries: &[(UserId, SessionEntry)]) -> Result<(), LocationError> {
        let mut state = self.cluster.state();
        for (user, entry) in entries {
            let entry = SessionEntry {
                node: self.node.clone(),
                incarnation: self.incarnation,
                ..entry.clone()
            };
            let entries = state.sessions.entry(user.clone()).or_default();
            match entries.binary_search_by_key(&entry.session, |other| other.session) {
                Ok(place) => entries[place] = entry,
                Err(place) => {
                    entries.reserve_exact(1);
                    entries.insert(place, entry);
                }
            }
        }
        Ok(())
    }

    async fn detach(&self, sessions: &[(UserId, SessionId)]) -> Result<(), LocationError> {
        let mut state = self.cluster.state();
        for (user, session) in sessions {
            let Some(entries) = state.sessions.get_mut(user) else {
                continue;
            };
            let is_ours = |entry: &SessionEntry| {
                entry.node == self.node && entry.incarnation == self.incarnation
            };
            entries.retain(|entry| entry.session != *session || !is_ours(entry));
            if entries.is_empty() {
                state.sessions.remove(user);
            }
        }
        Ok(())
    }

    async fn want(&self, wants: &[(Destination, u64)]) -> Result<Vec<Destination>, LocationError> {
        let mut state = self.cluster.state();
        if let Some(lease) = state.leases.of(&self.node)
            && lease.incarnation != self.incarnation
        {
            return Err(LocationError::superseded(&self.node));
        }
        let State {
            wants: all, leases, ..
        } = &mut *state;
        let is_alive = |node: &NodeId, incarnation| leases.is_alive(node, incarnation);
        let patterns_max = self.cluster.patterns_max;
        let is_refused = |(destination, generation): &&(Destination, u64)| {
            let want = self.interest(*generation);
            !all.want(destination, &self.node, want, patterns_max, is_alive)
        };
        let refused = wants.iter().filter(is_refused);
        Ok(refused
            .map(|(destination, _)| destination.clone())
            .collect())
    }

    async fn unwant(&self, wants: &[(Destination, u64)]) -> Result<(), LocationError> {
        let mut state = self.cluster.state();
        for (destination, generation) in wants {
            let want = self.interest(*generation);
            state.wants.unwant(destination, &self.node, want);
        }
        Ok(())
    }

    async fn locate(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> Result<Located, LocationError> {
        let mut state = self.cluster.state();
        Ok(Located {
            users: users.iter().map(|user| state.sessions_of(user)).collect(),
            destinations: destinations
                .iter()
                .map(|destination| state.wanted_by(destination))
                .collect(),
        })
    }

    async fn claim(&self) -> Result<(), LocationError> {
        let lease = Lease {
            incarnation: self.incarnation,
            state: PeerState::Up,
            ends: self.cluster.lease_end(),
        };
        self.cluster
            .state()
            .leases
            .0
            .insert(self.node.clone(), lease);
        Ok(())
    }

    async fn renew(&self) -> Result<Renewal, LocationError> {
        let mut state = self.cluster.state();
        Ok(match state.leases.of(&self.node) {
            None => Renewal::Missing,
            Some(lease) if lease.incarnation != self.incarnation => {
                Renewal::Foreign(lease.incarnation)
            }
            Some(lease) => {
                lease.ends = self.cluster.lease_end();
                Renewal::Extended
            }
        })
    }

    async fn drain(&self) -> Result<(), LocationError> {
        let mut state = self.cluster.state();
        if let Some(lease) = state.leases.of(&self.node)
            && lease.incarnation == self.incarnation
        {
            lease.state = PeerState::Draining;
        }
        Ok(())
    }

    async fn release(&self) -> Result<(), LocationError> {
        let mut state = self.cluster.state();
        if state.leases.is_alive(&self.node, self.incarnation) {
            state.leases.0.remove(&self.node);
        }
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<Peer>, LocationError> {
        let mut state = self.cluster.state();
        state.leases.0.retain(|_, lease| lease.lives());
        let peer = |(node, lease): (&NodeId, &Lease)| Peer {
            node: node.clone(),
            incarnation: lease.incarnation,
            state: lease.state,
        };
        Ok(state.leases.0.iter().map(peer).collect())
    }

    async fn claim_store(&self, store_id: &str) -> Result<StoreClaim, LocationError> {
        let mut state = self.cluster.state();
        let claimed = state
            .store_id
            .get_or_insert_with(|| store_id.to_owned())
            .clone();
        Ok(if claimed == store_id {
            StoreClaim::Same
        } else {
            StoreClaim::Other(claimed)
        })
    }

    async fn introduce(
        &self,
        user: &UserId,
        visitor: &Arc<Unkept>,
        from: &NamedNetworks,
    ) -> Result<(), LocationError> {
        let mut state = self.cluster.state();
        state.visits.note(user, visitor, from, Instant::now());
        Ok(())
    }

    async fn introduced(&self, user: &UserId) -> Result<Option<Arc<Unkept>>, LocationError> {
        let mut state = self.cluster.state();
        let noted = state.visits.get(user, Instant::now());
        Ok(noted.or_else(|| {
            let mut sessions = state.sessions_of(user).into_iter();
            sessions.find_map(|entry| entry.visitor)
        }))
    }

    async fn loose(
        &self,
        client: &ClientIdentifier,
    ) -> Result<Vec<(UserId, Arc<Unkept>)>, LocationError> {
        Ok(self.cluster.state().visits.loose(client, Instant::now()))
    }

    fn reconnects(&self) -> u64 {
        self.cluster.state().reconnects
    }
}
