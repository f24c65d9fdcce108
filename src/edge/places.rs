//! The places of sockets and connections: as a visitor's, from the reserve while it is not known whose they are, and
//! as a member's or a visitor's once that is known.
//!
//! Not here: how many places there are (`admission`), the byte account (`charges`). Invariants: a client gets all the
//! places that they need, or none; nobody loses one for a client who is refused in the end; a place from the reserve
//! is a member's, or that of a client who has sent no CONNECT and may be pushed out by the next one.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use super::Edge;
use super::admission::{Permit, Refusal, both};
use super::charges::{SocketCharge, TLS_BYTES};
use super::peer::Peer;
use super::socket_holder::SocketHolder;
use crate::budget::{Claimant, Eviction};
use crate::model::Kind;

/// What a connection holds for as long as it lives.
#[derive(Debug)]
pub(super) struct Places {
    session: Permit,
    /// Its place in its network, unless its socket has that, as most have.
    network: Option<Box<Permit>>,
    /// Its socket; none of a session over requests.
    peer: Option<Arc<Peer>>,
    /// Its part of the byte account: its socket's, unless that is a proxy's.
    pub(super) charge: Arc<SocketCharge>,
}

/// A place among the sockets, and what the socket is charged with.
type Socket = (Permit, Arc<SocketCharge>);

impl Edge {
    /// What a socket needs that is accepted.
    pub(super) fn admit_socket(&self, holder: &SocketHolder, cost: u64) -> Result<Socket, Refusal> {
        let memory = self.app.memory();
        let (place, charge, is_reserved) = self.admit_holder(holder, |eviction, who| {
            SocketCharge::take(eviction, memory, who, cost)
        })?;
        self.note_unknown(holder, is_reserved, &charge);
        Ok((charge.ends_with(place, holder.is_proxy), charge))
    }

    /// The same for the client whom a proxy has named. What the socket held for the proxy is given back.
    pub(super) fn admit_again(
        &self,
        charge: &Arc<SocketCharge>,
        holder: &SocketHolder,
        cost: u64,
    ) -> Result<Permit, Refusal> {
        let memory = self.app.memory();
        let (place, (), is_reserved) = self.admit_holder(holder, |eviction, who| {
            charge.retake(eviction, memory, who, cost)
        })?;
        self.note_unknown(holder, is_reserved, charge);
        Ok(charge.ends_with(place, holder.is_proxy))
    }

    /// A place for the holder, and what is charged: as a visitor's, or from the reserve, which is told.
    fn admit_holder<T>(
        &self,
        holder: &SocketHolder,
        mut charge: impl FnMut(Eviction, &Claimant) -> Result<T, Refusal>,
    ) -> Result<(Permit, T, bool), Refusal> {
        let taken = both(
            |eviction| (self.admission).socket(&holder.of_place, eviction.min(holder.eviction)),
            |eviction| charge(eviction.min(holder.eviction), &holder.of_memory),
        );
        let refusal = match taken {
            Err(refusal) if !holder.is_proxy => refusal,
            // It may use the reserve already. Its clients hold nothing: another node may serve them.
            Err(_) => return Err(Refusal::Memory),
            taken => return taken.map(|(place, charged)| (place, charged, false)),
        };
        let unknown = self.admission.unknown(&holder.of_place, refusal)?;
        let place = self.admission.socket(&unknown, Eviction::Never);
        let place = place.map_err(|_| refusal)?;
        let charged = charge(Eviction::Never, &unknown).map_err(|_| refusal)?;
        Ok((place, charged, true))
    }

    /// Notes that a client with a place in the reserve is not known yet.
    fn note_unknown(&self, holder: &SocketHolder, is_reserved: bool, charge: &Arc<SocketCharge>) {
        if is_reserved {
            self.wait_unknown(&holder.of_place, charge);
        }
    }

    /// The places that a connection needs: its own, and one in its network unless the socket has it.
    pub(super) fn admit(&self, peer: &Arc<Peer>, client: IpAddr) -> Result<Places, Refusal> {
        let cost = if peer.is_secure { TLS_BYTES } else { 0 };
        let own = (!peer.is_proxy).then(|| Arc::clone(&peer.charge));
        let mut places = self.admit_session(client, own, cost)?;
        if places.network.is_some() {
            // From now on the socket counts as its client's, not as the proxy's.
            peer.give_up();
        }
        places.peer = Some(Arc::clone(peer));
        Ok(places)
    }

    /// The places of a session over requests: any socket may bring many of those, and none of them
    /// needs to last as long.
    pub(super) fn admit_requests(&self, client: IpAddr) -> Result<Places, Refusal> {
        self.admit_session(client, None, 0)
    }

    /// The place of a session, and those of a socket where the client has none of their own.
    fn admit_session(
        &self,
        client: IpAddr,
        own: Option<Arc<SocketCharge>>,
        cost: u64,
    ) -> Result<Places, Refusal> {
        self.admission.may_open(client)?;
        let stranger = self.stranger(client);
        let taken = both(
            |eviction| self.admission.session(&stranger, eviction),
            |eviction| match &own {
                Some(charge) => Ok((Arc::clone(charge), None)),
                None => self.admit_client(&stranger, cost, eviction),
            },
        );
        let refusal = match taken {
            Ok((session, (charge, network))) => return Ok(Places::new(session, charge, network)),
            Err(refusal) => refusal,
        };
        let unknown = self.admission.unknown(&stranger, refusal)?;
        let session = self.admission.session(&unknown, Eviction::Never);
        let session = session.map_err(|_| refusal)?;
        let (charge, network) = match own {
            Some(charge) => (charge, None),
            None => {
                let reserved = self.admit_client(&unknown, cost, Eviction::Never);
                reserved.map_err(|_| refusal)?
            }
        };
        if !charge.is_unknown() {
            self.wait_unknown(&stranger, &charge);
        }
        Ok(Places::new(session, charge, network))
    }

    /// Memory and a place in the network of a client who has no socket alone.
    fn admit_client(
        &self,
        client: &Claimant,
        more: u64,
        eviction: Eviction,
    ) -> Result<(Arc<SocketCharge>, Option<Box<Permit>>), Refusal> {
        let memory = self.app.memory();
        let (network, charge) = both(
            |wanted| self.admission.socket(client, eviction.min(wanted)),
            |wanted| SocketCharge::take(eviction.min(wanted), memory, client, more),
        )?;
        let network = network.evictable(charge.whose());
        Ok((charge, Some(Box::new(network))))
    }

    /// Counts a client among those who are not known yet. The one who has waited for longest may go for it.
    fn wait_unknown(&self, stranger: &Claimant, charge: &Arc<SocketCharge>) {
        let ticket = self.admission.waiting().enter(stranger, charge.whose());
        charge.is_unknown_by(ticket);
    }
}

impl Places {
    fn new(session: Permit, charge: Arc<SocketCharge>, network: Option<Box<Permit>>) -> Self {
        Self {
            session: session.evictable(charge.whose()),
            network,
            peer: None,
            charge,
        }
    }

    /// The client at this address has said who they are. What a member holds counts no longer as that of a visitor. A
    /// visitor whose places are in the reserve has to find places among those of visitors.
    ///
    /// # Errors
    /// When there are none.
    pub(super) fn settle(
        &mut self,
        edge: &Edge,
        address: IpAddr,
        kind: Kind,
    ) -> Result<(), Refusal> {
        let charge = Arc::clone(&self.charge);
        if !kind.has_account() && !charge.is_unknown() {
            return Ok(());
        }
        let who = Claimant {
            kind,
            ..edge.stranger(address)
        };
        if kind.has_account() {
            charge.identify(&who);
            let identified = self.each(|place| {
                place.identify(&who);
                Ok(())
            });
            charge.is_known();
            return identified;
        }
        // First whether all of them could be had, so that nobody loses one for a client who is refused another.
        for eviction in [Eviction::Possible, Eviction::Allowed] {
            self.each(|place| place.retake(eviction, &who))?;
            charge.settle(eviction, edge.app.memory(), &who, charge.whose())?;
        }
        charge.is_known();
        Ok(())
    }

    /// Does something with each place.
    fn each(
        &mut self,
        mut act: impl FnMut(&mut Permit) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        act(&mut self.session)?;
        if let Some(network) = &mut self.network {
            act(network)?;
        }
        if let Some(peer) = &self.peer
            && let Some(place) = &mut *peer.place.lock().unwrap_or_else(PoisonError::into_inner)
        {
            act(place)?;
        }
        Ok(())
    }
}
