//! Networks that may have more, or less, than others (`NETWORK_LIMITS`).
//!
//! Not here: what they may have more of. Invariant: the longest matching prefix decides, and a network that
//! is not named has a multiple of 1.

use std::net::IpAddr;

use ipnet::IpNet;

use super::claimant::Claimant;
use crate::model::Network;

/// The multiples of named networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multiples(Vec<(IpNet, u32)>);

impl Multiples {
    /// These networks with their multiples.
    #[must_use]
    pub fn new(named: Vec<(IpNet, u32)>) -> Self {
        Self(named)
    }

    /// By how much the limits of this address's network are multiplied.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> u32 {
        let address = address.to_canonical();
        let named = self.0.iter().filter(|(net, _)| net.contains(&address));
        named
            .max_by_key(|(net, _)| net.prefix_len())
            .map_or(1, |(_, multiple)| *multiple)
    }

    /// A client at this address of whom nothing else is known.
    #[must_use]
    pub fn stranger(&self, address: IpAddr) -> Claimant {
        Claimant {
            multiple: self.of(address),
            ..Claimant::stranger(Network::of(address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let named = [("10.0.0.0/8", 20), ("10.1.0.0/16", 3), ("2001:db8::/32", 5)];
        let named = named.map(|(net, multiple)| (net.parse().unwrap(), multiple));
        let multiples = Multiples::new(named.to_vec());
        let of = |address: &str| multiples.of(address.parse().unwrap());
        assert_eq!(of("10.9.9.9"), 20);
        assert_eq!(of("::ffff:10.1.0.1"), 3);
        assert_eq!(of("2001:db8::1"), 5);
        assert_eq!(of("192.0.2.1"), 1);
    }
}
