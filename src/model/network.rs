//! Networks as limits count them: one IPv4 address, or an IPv6 /64 and the wider ones around it.
//!
//! Not here: what a network may have (`budget`, `policy::bucket`). Invariant: two addresses have the same
//! network of a width exactly when they share that prefix; an IPv4 address mapped into IPv6 is IPv4.

use std::fmt;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::ids::ClientIdentifier;

/// How much of an address is compared.
///
/// An IPv4 address stands alone, because a crowd may share one and its neighbours belong to others. Whoever
/// has an IPv6 address has the whole /64 around it, most have a /56, and anyone can rent a /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// One IPv4 address.
    Address,
    /// An IPv6 /64: one host, or one local network.
    Net64,
    /// An IPv6 /56: one household or office.
    Net56,
    /// An IPv6 /48: one site, or one customer of a hosting company.
    Net48,
}

impl Width {
    /// Every width, for tables and documentation.
    pub const ALL: [Self; 4] = [Self::Address, Self::Net64, Self::Net56, Self::Net48];

    fn prefix_bits(self) -> u32 {
        match self {
            Self::Address => 128,
            Self::Net64 => 64,
            Self::Net56 => 56,
            Self::Net48 => 48,
        }
    }
}

/// A network of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The address with everything behind the prefix set to zero; IPv4 in its mapped form. Bytes, because
    /// a number of their size would double what each connection keeps.
    prefix: [u8; 16],
    width: Width,
}

impl Network {
    /// The narrowest network of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self {
                prefix: v4.to_ipv6_mapped().octets(),
                width: Width::Address,
            },
            IpAddr::V6(v6) => Self::cut(v6.to_bits(), Width::Net64),
        }
    }

    /// The next wider network around this one.
    #[must_use]
    pub fn wider(self) -> Option<Self> {
        match self.width {
            Width::Address | Width::Net48 => None,
            Width::Net64 => Some(Self::cut(self.bits(), Width::Net56)),
            Width::Net56 => Some(Self::cut(self.bits(), Width::Net48)),
        }
    }

    /// This network and all wider ones, the narrowest first: one of IPv4, three of IPv6.
    pub fn levels(self) -> impl Iterator<Item = Self> {
        iter::successors(Some(self), |network| network.wider())
    }

    /// The widest network around this one: the address itself of IPv4, a /48 of IPv6.
    #[must_use]
    pub fn widest(self) -> Self {
        self.levels().last().unwrap_or(self)
    }

    /// How much of an address it compares.
    #[must_use]
    pub fn width(self) -> Width {
        self.width
    }

    /// The first address in it.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.prefix().to_canonical()
    }

    /// The same as IPv6, an IPv4 address in its mapped form.
    #[must_use]
    pub fn prefix(self) -> Ipv6Addr {
        Ipv6Addr::from(self.prefix)
    }

    /// As much of it as the log may show: a /24 of IPv4, the /48 of IPv6.
    #[must_use]
    pub fn truncated(self) -> impl fmt::Display {
        let address = self.widest().address();
        fmt::from_fn(move |f| match address {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                write!(f, "{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(v6) => write!(f, "{v6}/48"),
        })
    }

    fn cut(bits: u128, width: Width) -> Self {
        let rest = 128 - width.prefix_bits();
        Self {
            prefix: (bits >> rest << rest).to_be_bytes(),
            width,
        }
    }

    fn bits(self) -> u128 {
        u128::from_be_bytes(self.prefix)
    }
}

/// The networks around a client under names from which no address can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNetworks {
    /// The narrowest first: one of IPv4, three of IPv6.
    pub levels: SmallVec<[(ClientIdentifier, Width); 1]>,
    /// By how much their limits are multiplied (`NETWORK_LIMITS`).
    pub multiple: u32,
}

impl From<Ipv4Addr> for Network {
    fn from(address: Ipv4Addr) -> Self {
        Self::of(address.into())
    }
}

/// CIDR notation; an IPv4 address without its /32.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.width {
            Width::Address => write!(f, "{}", self.address()),
            wide @ (Width::Net64 | Width::Net56 | Width::Net48) => {
                write!(f, "{}/{}", self.address(), wide.prefix_bits())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(address: &str) -> Vec<String> {
        let network = Network::of(address.parse().unwrap());
        network.levels().map(|level| level.to_string()).collect()
    }

    #[test]
    fn an_ipv4_address_has_one_level_and_an_ipv6_address_three() {
        assert_eq!(levels("192.0.2.7"), ["192.0.2.7"]);
        assert_eq!(levels("::ffff:192.0.2.7"), ["192.0.2.7"]);
        assert_eq!(
            levels("2001:db8:aaaa:bbcc:1:2:3:4"),
            [
                "2001:db8:aaaa:bbcc::/64",
                "2001:db8:aaaa:bb00::/56",
                "2001:db8:aaaa::/48"
            ]
        );
    }

    #[test]
    fn neighbours_share_the_levels_of_their_common_prefix() {
        let shared = |a: &str, b: &str| {
            let (a, b) = (levels(a), levels(b));
            a.iter().filter(|level| b.contains(level)).count()
        };
        assert_eq!(shared("2001:db8::1", "2001:db8::2"), 3);
        assert_eq!(shared("2001:db8:0:1::1", "2001:db8:0:2::1"), 2);
        assert_eq!(shared("2001:db8:0:100::1", "2001:db8:0:200::1"), 1);
        assert_eq!(shared("2001:db8:1::1", "2001:db8:2::1"), 0);
        assert_eq!(shared("192.0.2.1", "192.0.2.2"), 0);
    }
}
