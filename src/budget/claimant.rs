//! Who asks for a part of a pool: a network of every width around an address, and a user once they are known.
//!
//! Not here: what they may have (`pool`). Invariant: before CONNECT everyone is a visitor.

use smallvec::SmallVec;

use crate::model::{Kind, Network, UserId};

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Where they come from.
    pub network: Network,
    /// The multiple of that network (`NETWORK_LIMITS`); 1 unless it is named there.
    pub multiple: u32,
    /// Who they are; none before CONNECT.
    pub user: Option<UserId>,
    /// What they are. Before CONNECT everyone is a visitor.
    pub kind: Kind,
}

impl Claimant {
    /// A client who is not known yet.
    #[must_use]
    pub fn stranger(network: Network) -> Self {
        Self {
            network,
            multiple: 1,
            user: None,
            kind: Kind::Anonymous,
        }
    }

    /// Nothing is known of them, not even where they are.
    pub(super) fn unknown() -> Self {
        Self::stranger(Network::from(std::net::Ipv4Addr::UNSPECIFIED))
    }

    pub(super) fn keys(&self) -> Keys {
        let networks = self.network.levels().map(Key::Network);
        networks.chain(self.user.clone().map(Key::User)).collect()
    }
}

/// What something is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    User(UserId),
    Network(Network),
}

/// Every key of one claimant.
pub(super) type Keys = SmallVec<[Key; 4]>;
