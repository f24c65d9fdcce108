//! The hint: a keyed fingerprint of a client's network and browser, and whose address that is.
//!
//! Not a proof: whoever shares a network and a browser version shares the fingerprint, and a user
//! agent is free text. Invariant: addresses and user agents leave this file only as MACs under the
//! fingerprint key, so a table of fingerprints cannot be turned back by trying all addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::model::{ClientIdentifier, Network};
use crate::quota::Networks;

/// HMAC pads its key to one block of the hash.
const KEY_BYTES: usize = 64;

/// The key under which fingerprints and visitors' cookies are made. Every node of a cluster has the
/// same one, or a visitor would be somebody else on each node. Its `Debug` shows nothing.
///
/// Holds the state after both blocks of the key, so that a MAC hashes what is authenticated only.
#[derive(Clone)]
pub struct FingerprintKey(Hmac<Sha256>);

impl FingerprintKey {
    /// The key that follows from the signing secret of the cluster (HKDF-SHA256, RFC 5869).
    #[must_use]
    pub fn derive(secret: &[u8]) -> Self {
        let mut key = [0; KEY_BYTES];
        // 64 octets are far below what HKDF can expand to, so this does not fail; a key of zeros
        // would be seen by the first test vector.
        let expanded =
            Hkdf::<Sha256>::new(None, secret).expand(b"stompbox fingerprint key v1", &mut key);
        debug_assert!(expanded.is_ok());
        Self(Hmac::new(&key.into()))
    }

    /// A key that was configured, of any length; 32 random octets are a good one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut key = [0; KEY_BYTES];
        if bytes.len() <= KEY_BYTES {
            key[..bytes.len()].copy_from_slice(bytes);
        } else {
            key[..32].copy_from_slice(&Sha256::digest(bytes));
        }
        Self(Hmac::new(&key.into()))
    }

    /// The fingerprint of a client: its network and its user agent.
    #[must_use]
    pub fn client(&self, address: IpAddr, user_agent: &str) -> ClientIdentifier {
        let prefix = Network::of(address).to_string();
        self.identifier(&[prefix.as_bytes(), b"\0", user_agent.as_bytes()])
    }

    /// The key of a client's network alone, for limits that all its neighbours share.
    #[must_use]
    pub fn network(&self, address: IpAddr) -> ClientIdentifier {
        self.level(Network::of(address))
    }

    /// The key of a network of any width.
    fn level(&self, network: Network) -> ClientIdentifier {
        self.identifier(&[network.to_string().as_bytes()])
    }

    /// The names of a client's network and of the wider ones around it; the first is
    /// [`FingerprintKey::network`].
    #[must_use]
    pub fn networks(&self, address: IpAddr, multiple: u32) -> Networks {
        let name = |network: Network| (self.level(network), network.width());
        Networks::new(Network::of(address).levels().map(name), multiple)
    }

    /// The same when the name of the narrowest is known, which spares its MAC.
    pub(super) fn networks_known(
        &self,
        narrowest: &ClientIdentifier,
        address: IpAddr,
        multiple: u32,
    ) -> Networks {
        let mut levels = Network::of(address).levels();
        let known = levels.next().map(|it| (narrowest.clone(), it.width()));
        let wider = levels.map(|network| (self.level(network), network.width()));
        Networks::new(known.into_iter().chain(wider), multiple)
    }

    /// The key under which wrong passwords of an account are counted.
    #[must_use]
    pub fn account(&self, login: &str) -> ClientIdentifier {
        self.identifier(&[b"login\0", login.as_bytes()])
    }

    /// A MAC over the parts in a row. What is authenticated for different purposes must differ in
    /// its first octets: networks begin with a digit or a letter up to `f` and have no NUL, client
    /// fingerprints have one after the network, cookies begin with `sb_vid`, accounts with `login`,
    /// visitors' secrets with `sbv2`, the address that follows on another with `next`.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }

    fn identifier(&self, parts: &[&[u8]]) -> ClientIdentifier {
        ClientIdentifier::from_mac(&self.mac(parts).finalize().into_bytes().into())
    }
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// The address of the client behind trusted proxies: the right-most hop that is not trusted.
///
/// `forwarded` has the values of the `X-Forwarded-For` headers in the order in which they came. The
/// header is read from the right, because everything left of the first untrusted hop was written by
/// the client. An unreadable hop ends the search: what is left of it is nobody's word.
#[must_use]
pub fn client_address(peer: IpAddr, forwarded: &[&str], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let hops = forwarded.iter().rev().flat_map(|value| value.rsplit(','));
    for hop in hops {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = hop_address(hop.trim()) else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

/// One entry of `X-Forwarded-For`, as proxies write it: an address, with brackets or a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = hop.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let inner = hop.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_fingerprint_is_the_mac_of_network_and_user_agent() {
        let key = FingerprintKey::from_bytes(b"key");
        // HMAC-SHA256("key", "192.0.2.7" 00 "Mozilla/5.0"), its first 130 bits in base32.
        assert_eq!(
            key.client(ip("192.0.2.7"), "Mozilla/5.0").as_str(),
            "re8mbty3e6nneawav4rf4a7a6m"
        );
        assert_eq!(
            key.network(ip("192.0.2.7")).as_str(),
            "4pwe0wbcqk4a11mzhx0p4zbp36"
        );
    }

    #[test]
    fn a_fingerprint_tells_networks_and_browsers_apart_and_nothing_else() {
        let key = FingerprintKey::derive(b"a secret of the cluster, 32 octets");
        let check = |one: (&str, &str), other: (&str, &str), same: bool| {
            let one = key.client(ip(one.0), one.1);
            let other = key.client(ip(other.0), other.1);
            assert_eq!(one == other, same, "{one} {other}");
        };
        check(("192.0.2.7", "a"), ("192.0.2.7", "a"), true);
        check(("192.0.2.7", "a"), ("192.0.2.8", "a"), false);
        check(("192.0.2.7", "a"), ("192.0.2.7", "b"), false);
        check(("192.0.2.7", ""), ("192.0.2.7", "a"), false);
        check(("::ffff:192.0.2.7", "a"), ("192.0.2.7", "a"), true);
        check(
            ("2001:db8:1:2::1", "a"),
            ("2001:db8:1:2:ffff::9", "a"),
            true,
        );
        check(("2001:db8:1:2::1", "a"), ("2001:db8:1:3::1", "a"), false);
        let network = key.network(ip("192.0.2.7"));
        assert_ne!(network, key.client(ip("192.0.2.7"), ""));
        assert_eq!(network, key.network(ip("::ffff:192.0.2.7")));
        for address in ["192.0.2.7", "2001:db8:1:2:3::4"] {
            let narrowest = key.networks(ip(address), 1).buckets("x");
            let expected = format!("x:{}", key.network(ip(address)));
            assert_eq!(narrowest.limits(1).next(), Some((&*expected, 1)));
        }
        assert_eq!(
            key.networks(ip("2001:db8::1"), 1)
                .buckets("x")
                .limits(4)
                .count(),
            3
        );
    }

    #[test]
    fn keys_differ_by_their_secret_and_show_nothing() {
        let client = |key: FingerprintKey| key.client(ip("192.0.2.7"), "a");
        let long = [7_u8; 65];
        let keys = [
            FingerprintKey::derive(b"one"),
            FingerprintKey::derive(b"two"),
            FingerprintKey::from_bytes(b"one"),
            FingerprintKey::from_bytes(&long),
            FingerprintKey::from_bytes(&long[..64]),
        ];
        for (i, one) in keys.iter().enumerate() {
            for other in &keys[i + 1..] {
                assert_ne!(client(one.clone()), client(other.clone()));
            }
            assert_eq!(format!("{one:?}"), "FingerprintKey(..)");
        }
    }

    #[test]
    fn the_client_is_the_right_most_hop_that_is_not_trusted() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"]
            .map(|net| net.parse().unwrap())
            .into();
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            assert_eq!(
                client_address(ip(peer), forwarded, &trusted),
                ip(expected),
                "{peer} {forwarded:?}"
            );
        };
        // Nobody trusted: the header is the client's own invention.
        check("198.51.100.1", &[], "198.51.100.1");
        check("198.51.100.1", &["203.0.113.9"], "198.51.100.1");
        check("::ffff:198.51.100.1", &["203.0.113.9"], "198.51.100.1");
        // One proxy, two proxies, and what the client wrote before them.
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        check("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["1.2.3.4, 203.0.113.9"], "203.0.113.9");
        check(
            "10.0.0.1",
            &["1.2.3.4,203.0.113.9 , 10.0.0.2"],
            "203.0.113.9",
        );
        check(
            "10.0.0.1",
            &["10.9.9.9, 203.0.113.9, 10.0.0.2"],
            "203.0.113.9",
        );
        // Several headers are one list, in order.
        check("10.0.0.1", &["1.2.3.4", "203.0.113.9"], "203.0.113.9");
        check("10.0.0.1", &["203.0.113.9", "10.0.0.2"], "203.0.113.9");
        // All trusted: the furthest of them.
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        // Ports and brackets, in all the ways in which proxies write them.
        check("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9");
        check("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1");
        check("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1");
        check("10.0.0.1", &["2001:db8::1"], "2001:db8::1");
        check("fd00::1", &["2001:db8::1, ::ffff:10.0.0.2"], "2001:db8::1");
        // Garbage ends the search at the proxy that passed it on.
        check("10.0.0.1", &["unknown"], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9, "], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["203.0.113.9, [10.0.0.2]"], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.9, 10.0.0.2:x"], "10.0.0.1");
        check("10.0.0.1", &["203.0.113.256"], "10.0.0.1");
        check("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1");
        check("10.0.0.1", &[""], "10.0.0.1");
    }
}
