//! Engines in memory that count what is asked of them.
//!
//! Not here: faults. Invariant: a look-up takes exactly as long as is said; everything else is done at
//! once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stompbox::bus::memory::MemoryBus;
use stompbox::bus::{Bus, BusError, Confirm};
use stompbox::location::{
    Located, Location, LocationError, MemoryLocation, Peer, Renewal, SessionEntry, StoreClaim,
};
use stompbox::model::{
    ClientIdentifier, Destination, Envelope, NamedNetworks, NodeId, Parcel, ParcelBody, SessionId,
    Unkept, UserId,
};

/// What was asked of the engines, and what people did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Messages to people and to rooms.
    pub(super) direct: u64,
    pub(super) room: u64,
    /// Questions to location, each for a batch.
    pub(super) lookups: u64,
    pub(super) users_asked: u64,
    pub(super) destinations_asked: u64,
    /// Publications, the envelopes in them, and the nodes that they went to.
    pub(super) parcels: u64,
    pub(super) envelopes: u64,
    pub(super) parcel_arrivals: u64,
    /// Envelopes that arrived somewhere, by what they are.
    pub(super) direct_arrivals: u64,
    pub(super) room_arrivals: u64,
    /// Publications of heads, and what arrived of them.
    pub(super) heads: u64,
    pub(super) head_arrivals: u64,
}

impl Counts {
    /// What came on top of `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            direct: self.direct - before.direct,
            room: self.room - before.room,
            lookups: self.lookups - before.lookups,
            users_asked: self.users_asked - before.users_asked,
            destinations_asked: self.destinations_asked - before.destinations_asked,
            parcels: self.parcels - before.parcels,
            envelopes: self.envelopes - before.envelopes,
            parcel_arrivals: self.parcel_arrivals - before.parcel_arrivals,
            direct_arrivals: self.direct_arrivals - before.direct_arrivals,
            room_arrivals: self.room_arrivals - before.room_arrivals,
            heads: self.heads - before.heads,
            head_arrivals: self.head_arrivals - before.head_arrivals,
        }
    }
}

/// The counts of a whole cluster.
pub(super) type Shared = Arc<Mutex<Counts>>;

#[derive(Debug)]
pub(super) struct CountingBus {
    pub(super) inner: Arc<MemoryBus>,
    pub(super) nodes: u64,
    pub(super) counts: Shared,
}

#[async_trait]
impl Bus for CountingBus {
    async fn publish(
        &self,
        targets: &[NodeId],
        id: String,
        payload: Bytes,
    ) -> Result<Confirm, BusError> {
        {
            let mut counts = self.counts.lock().unwrap();
            let arrivals = targets.len() as u64;
            counts.parcels += 1;
            counts.parcel_arrivals += arrivals;
            let parcel = Parcel::decode(payload.clone()).unwrap();
            let ParcelBody::Envelopes(envelopes) = parcel.body else {
                panic!("heads go to all");
            };
            for envelope in envelopes {
                counts.envelopes += 1;
                match envelope {
                    Envelope::Message(_) => counts.direct_arrivals += arrivals,
                    Envelope::Topic(_) => counts.room_arrivals += arrivals,
                    Envelope::Control(_) => panic!("nobody commands here"),
                }
            }
        }
        self.inner.publish(targets, id, payload).await
    }

    async fn publish_all(&self, id: String, payload: Bytes) -> Result<Confirm, BusError> {
        {
            let mut counts = self.counts.lock().unwrap();
            counts.heads += 1;
            counts.head_arrivals += self.nodes;
        }
        self.inner.publish_all(id, payload).await
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    async fn stop_consuming(&self) {
        self.inner.stop_consuming().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[derive(Debug)]
pub(super) struct CountingLocation {
    pub(super) inner: Arc<MemoryLocation>,
    pub(super) lookup: Duration,
    pub(super) counts: Shared,
}

#[async_trait]
impl Location for CountingLocation {
    async fn attach(&self, entries: &[(UserId, SessionEntry)]) -> Result<(), LocationError> {
        self.inner.attach(entries).await
    }

    async fn detach(&self, sessions: &[(UserId, SessionId)]) -> Result<(), LocationError> {
        self.inner.detach(sessions).await
    }

    async fn want(&self, wants: &[(Destination, u64)]) -> Result<Vec<Destination>, LocationError> {
        self.inner.want(wants).await
    }

    async fn unwant(&self, wants: &[(Destination, u64)]) -> Result<(), LocationError> {
        self.inner.unwant(wants).await
    }

    async fn locate(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> Result<Located, LocationError> {
        {
            let mut counts = self.counts.lock().unwrap();
            counts.lookups += 1;
            counts.users_asked += users.len() as u64;
            counts.destinations_asked += destinations.len() as u64;
        }
        if !self.lookup.is_zero() {
            tokio::time::sleep(self.lookup).await;
        }
        self.inner.locate(users, destinations).await
    }

    async fn claim(&self) -> Result<(), LocationError> {
        self.inner.claim().await
    }

    async fn renew(&self) -> Result<Renewal, LocationError> {
        self.inner.renew().await
    }

    async fn drain(&self) -> Result<(), LocationError> {
        self.inner.drain().await
    }

    async fn release(&self) -> Result<(), LocationError> {
        self.inner.release().await
    }

    async fn peers(&self) -> Result<Vec<Peer>, LocationError> {
        self.inner.peers().await
    }

    async fn claim_store(&self, store_id: &str) -> Result<StoreClaim, LocationError> {
        self.inner.claim_store(store_id).await
    }

    async fn introduce(
        &self,
        user: &UserId,
        visitor: &Arc<Unkept>,
        from: &NamedNetworks,
    ) -> Result<(), LocationError> {
        self.inner.introduce(user, visitor, from).await
    }

    async fn introduced(&self, user: &UserId) -> Result<Option<Arc<Unkept>>, LocationError> {
        self.inner.introduced(user).await
    }

    async fn loose(
        &self,
        client: &ClientIdentifier,
    ) -> Result<Vec<(UserId, Arc<Unkept>)>, LocationError> {
        self.inner.loose(client).await
    }

    fn reconnects(&self) -> u64 {
        self.inner.reconnects()
    }
}
