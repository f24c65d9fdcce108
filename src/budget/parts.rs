//! How much of what is free one user and one network may hold.
//!
//! Not here: what is free (`pool`). Invariant: a part of nothing is nothing.

use crate::model::Width;

/// A part of what is free, in quarters: 4 is as much as is free, so one holder alone ends at half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part(u32);

impl Part {
    /// So many quarters of what is free.
    #[must_use]
    pub const fn quarters(number: u32) -> Self {
        Self(number)
    }

    /// The limit while so much is free, for a network with this multiple.
    #[must_use]
    pub fn of(self, free: u64, multiple: u32) -> u64 {
        let quarters = u128::from(self.0) * u128::from(multiple);
        u64::try_from(u128::from(free) * quarters / 4).unwrap_or(u64::MAX)
    }
}

/// The parts of each kind of holder.
///
/// An IPv4 address may be a school or a carrier, and so may a /48, so each may hold as much as is free. The
/// parts do not grow with the number of addresses: a /48 has 65,536 times the addresses of a /64 and twice
/// its part, so that renting a wider network wins little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// One user.
    pub user: Part,
    /// One IPv4 address.
    pub address: Part,
    /// One IPv6 /64.
    pub net64: Part,
    /// One IPv6 /56.
    pub net56: Part,
    /// One IPv6 /48.
    pub net48: Part,
}

impl Parts {
    /// The parts unless a pool has others.
    pub const DEFAULT: Self = Self {
        user: Part::quarters(1),
        address: Part::quarters(4),
        net64: Part::quarters(2),
        net56: Part::quarters(3),
        net48: Part::quarters(4),
    };

    /// No shares: each may hold all that is free. For pools of a handful, where a part would be nothing.
    pub const ALL: Self = {
        let all = Part::quarters(4 << 16);
        Self {
            user: all,
            address: all,
            net64: all,
            net56: all,
            net48: all,
        }
    };

    /// The part of a network of this width.
    #[must_use]
    pub fn of_network(&self, width: Width) -> Part {
        match width {
            Width::Address => self.address,
            Width::Net64 => self.net64,
            Width::Net56 => self.net56,
            Width::Net48 => self.net48,
        }
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self::DEFAULT
    }
}
