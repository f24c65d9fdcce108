//! A client's address in a log line: whole, truncated, or not at all.
//!
//! Not here: fingerprints (`identity`). Invariant: an address reaches the log through here only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How much of an address is logged (`LOG_IP`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressLog {
    /// The network: an IPv4 /24, an IPv6 /48. Enough to see where trouble comes from.
    #[default]
    Truncated,
    /// The whole address.
    Full,
    /// Nothing.
    Nothing,
}

impl AddressLog {
    /// The address as it may be logged.
    #[must_use]
    pub fn show(self, address: IpAddr) -> impl fmt::Display {
        match (self, address.to_canonical()) {
            (Self::Full, address) => address.to_string(),
            (Self::Nothing, _) => "-".to_owned(),
            (Self::Truncated, IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                format!("{}/24", Ipv4Addr::new(a, b, c, 0))
            }
            (Self::Truncated, IpAddr::V6(address)) => {
                let [a, b, c, ..] = address.segments();
                format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_logged_as_far_as_it_may_be() {
        let check = |log: AddressLog, address: &str, expected: &str| {
            assert_eq!(log.show(address.parse().unwrap()).to_string(), expected);
        };
        check(AddressLog::Truncated, "192.0.2.77", "192.0.2.0/24");
        check(AddressLog::Truncated, "::ffff:192.0.2.77", "192.0.2.0/24");
        check(
            AddressLog::Truncated,
            "2001:db8:1:2:3::4",
            "2001:db8:1::/48",
        );
        check(AddressLog::Full, "2001:db8:1:2:3::4", "2001:db8:1:2:3::4");
        check(AddressLog::Nothing, "192.0.2.77", "-");
    }
}
