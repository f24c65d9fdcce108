//! Whom a socket is charged to before its client is known.
//!
//! Not here: pools and shares (`budget`), what a socket costs (`charges`). Invariant: what comes through a trusted proxy
//! takes nothing away from anybody until its client is known.

use std::net::{IpAddr, Ipv4Addr};

use crate::budget::{Claimant, Eviction};
use crate::model::{Kind, Network};

/// The holder of one socket.
#[derive(Debug)]
pub(super) struct SocketHolder {
    /// Who has the place.
    pub(super) of_place: Claimant,
    /// Who has the memory.
    pub(super) of_memory: Claimant,
    /// Whether others may lose something for it.
    pub(super) eviction: Eviction,
    /// Whether it is a trusted proxy.
    pub(super) is_proxy: bool,
}

impl SocketHolder {
    /// A client who has the socket alone.
    pub(super) fn client(client: Claimant) -> Self {
        Self {
            of_place: client.clone(),
            of_memory: client,
            eviction: Eviction::Allowed,
            is_proxy: false,
        }
    }

    /// A trusted proxy is no network of its own: its sockets count to the node, under an address that no client has,
    /// and what they are used for to the clients behind it. So its places have no share, and its memory the share
    /// of one address, the reserve included: clients that come through it are told why they are refused.
    pub(super) fn proxy() -> Self {
        let mut holder = Claimant::stranger(Network::of(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        holder.kind = Kind::Member;
        Self {
            of_memory: holder.clone(),
            of_place: Claimant {
                multiple: u32::MAX,
                ..holder
            },
            eviction: Eviction::Never,
            is_proxy: true,
        }
    }
}
