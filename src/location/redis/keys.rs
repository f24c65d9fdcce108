//! The keys of location in Redis and what stands in them. No other key is ever written here.
//!
//! | key | value | life |
//! |---|---|---|
//! | `loc:<user id>` | hash: session id -> `node|incarnation|device|since` | 1 h, longer with every attach |
//! | `sub:<destination hash>` | hash: node -> `incarnation|generation` | 1 h, longer with every want |
//! | `sub:patterns` | hash: `pattern|node` -> `incarnation|generation`; `version` -> names this state of the hash | as above |
//! | `node:<node id>` | `incarnation|state` | the lease |
//! | `nodes` | sorted set: node -> end of its lease in Redis time, ms | with the leases |
//! | `cluster:store` | the id of the store | for ever |
//! | `anon:<user id>` | `made|seen|standing|taken|client identifier|name` of a visitor without a row | 1 h, longer with every attach |
//! | `ident:<client identifier>` | the ids of the last two loose visitors | 1 h |
//! | `visits:<network>` | sorted set: the ids of visitors without a row -> when they were noted, us | 1 h |
//! | `visits-ranks` | sorted set: network -> how many it has, divided by its multiple | 2 h |
//! | `visits-counts` | hash: network -> how many it has; `all` -> how many there are | 2 h |
//! | `visits-times` | sorted set: network -> when its last one was noted, us | 2 h |
//!
//! Not here: the commands. Invariant: what a function here writes its counterpart reads back; what
//! it cannot read counts as not there.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::location::{PeerState, SessionEntry};
use crate::model::{
    ClientIdentifier, Destination, Incarnation, NodeId, Pattern, SessionId, Standing, UnixMillis,
    Unkept, UserId,
};

/// The life of `loc:` and `sub:` keys in seconds. They end only when nobody registers any more:
/// whether an entry counts hangs on the lease of its node.
pub(super) const REGISTRATION_SECONDS: u32 = 3600;

/// The sorted set of nodes.
pub(super) const NODES: &str = "nodes";

/// The hash of interests in patterns.
pub(super) const PATTERNS: &str = "sub:patterns";

/// The field of that hash which every change gives another value.
pub(super) const VERSION: &str = "version";

/// The key of the store's claim.
pub(super) const STORE: &str = "cluster:store";

/// The prefix of a visitor without a row.
pub(super) const VISITOR_PREFIX: &str = "anon:";
/// Before a fingerprint under which loose visitors are noted.
pub(super) const FINGERPRINT_PREFIX: &str = "ident:";

/// Before a network whose visitors are listed. Networks have keyed names, never addresses.
pub(super) const VISITS_PREFIX: &str = "visits:";

/// What is known of those networks: how much they count, how many they have, and their latest times.
pub(super) const VISITS_RANKS: &str = "visits-ranks";
pub(super) const VISITS_COUNTS: &str = "visits-counts";
pub(super) const VISITS_TIMES: &str = "visits-times";

/// Before a user whose sessions are listed.
pub(super) const SESSIONS_PREFIX: &str = "loc:";

/// The prefix of a node's lease; the scripts build names with it.
pub(super) const NODE_PREFIX: &str = "node:";

pub(super) fn sessions(user: &UserId) -> String {
    format!("{SESSIONS_PREFIX}{user}")
}

/// A destination may hold anything that a client wrote, so its hash stands in the name.
pub(super) fn wants(destination: &Destination) -> String {
    let digest = Sha256::digest(destination.to_string());
    let mut key = String::with_capacity(36);
    key.push_str("sub:");
    for octet in &digest[..16] {
        // Writing to a String cannot fail.
        let _ = write!(key, "{octet:02x}");
    }
    key
}

pub(super) fn lease(node: &NodeId) -> String {
    format!("{NODE_PREFIX}{node}")
}

pub(super) fn visitor(user: &UserId) -> String {
    format!("{VISITOR_PREFIX}{user}")
}

/// What stands in `anon:<user id>`.
pub(super) fn visitor_value(visitor: &Unkept) -> String {
    let word = if visitor.standing.is_loose() {
        "loose"
    } else {
        "firm"
    };
    let taken_at = visitor.standing.taken_at();
    let taken_at = taken_at.map_or(String::new(), |at| at.0.to_string());
    format!(
        "{}|{}|{word}|{taken_at}|{}|{}",
        visitor.made_at.0,
        visitor.last_seen.0,
        visitor.client_identifier,
        escape(&visitor.name)
    )
}

pub(super) fn read_visitor(value: &str) -> Option<Unkept> {
    let mut parts = value.split('|');
    let mut time = || parts.next()?.parse().ok().map(UnixMillis);
    let (made_at, last_seen) = (time()?, time()?);
    let word = parts.next()?;
    let taken_at = match parts.next()? {
        "" => None,
        text => Some(UnixMillis(text.parse().ok()?)),
    };
    let visitor = Unkept {
        made_at,
        standing: match word {
            "loose" => Standing::Loose { taken_at },
            "firm" => Standing::Firm { taken_at },
            _ => return None,
        },
        client_identifier: parts.next()?.parse().ok()?,
        name: unescape(parts.next()?)?.into(),
        last_seen,
    };
    parts.next().is_none().then_some(visitor)
}

pub(super) fn visits_of(network: &str) -> String {
    format!("{VISITS_PREFIX}{network}")
}

pub(super) fn fingerprint(client: &ClientIdentifier) -> String {
    format!("{FINGERPRINT_PREFIX}{client}")
}

/// What stands in `node:<id>`.
pub(super) fn lease_value(incarnation: Incarnation, state: PeerState) -> String {
    format!("{incarnation}|{}", state_word(state))
}

pub(super) fn read_lease(value: &str) -> Option<(Incarnation, PeerState)> {
    let (incarnation, state) = value.split_once('|')?;
    let state = match state {
        "up" => PeerState::Up,
        "draining" => PeerState::Draining,
        _ => return None,
    };
    Some((incarnation.parse().ok()?, state))
}

pub(super) fn state_word(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        PeerState::Draining => "draining",
    }
}

/// What every session entry of one node life begins with.
pub(super) fn session_prefix(node: &NodeId, incarnation: Incarnation) -> String {
    format!("{node}|{incarnation}|")
}

/// One field's value in `loc:<user id>`; the prefix is [`session_prefix`]'s.
pub(super) fn session_value(prefix: &str, entry: &SessionEntry) -> String {
    format!("{prefix}{}|{}", escape(&entry.device), entry.since.0)
}

pub(super) fn read_session(session: &str, value: &str) -> Option<SessionEntry> {
    let mut parts = value.split('|');
    let entry = SessionEntry {
        session: session.parse::<SessionId>().ok()?,
        node: parts.next()?.parse().ok()?,
        incarnation: parts.next()?.parse().ok()?,
        device: unescape(parts.next()?)?.into(),
        since: UnixMillis(parts.next()?.parse().ok()?),
        visitor: None,
    };
    parts.next().is_none().then_some(entry)
}

pub(super) fn read_want(node: &str, value: &str) -> Option<(NodeId, Incarnation)> {
    let (incarnation, _generation) = value.split_once('|')?;
    Some((node.parse().ok()?, incarnation.parse().ok()?))
}

/// Reads a field of the hash of patterns. A pattern may hold bars, a node's name cannot.
pub(super) fn read_pattern(field: &str, value: &str) -> Option<(Pattern, NodeId, Incarnation)> {
    let (pattern, node) = field.rsplit_once('|')?;
    let (node, incarnation) = read_want(node, value)?;
    Some((Pattern::parse(pattern).ok()?, node, incarnation))
}

/// Percent signs, bars and control characters become `%` and their code point in hexadecimal,
/// closed by `;`, so that a device may be called anything.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '|') || c.is_control() {
            let _ = write!(escaped, "%{:x};", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_once(';')?;
        plain.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        plain.push_str(rest);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_the_ones_that_other_nodes_use() {
        let user: UserId = "user_a".parse().unwrap();
        let node: NodeId = "n1".parse().unwrap();
        let topic = Destination::parse("/topic/news").unwrap();
        assert_eq!(sessions(&user), "loc:user_a");
        assert_eq!(lease(&node), "node:n1");
        assert_eq!(wants(&topic).len(), "sub:".len() + 32);
        assert_ne!(
            wants(&topic),
            wants(&Destination::parse("/queue/news").unwrap())
        );
        let client = ClientIdentifier::from_mac(&[0; 32]);
        assert_eq!(fingerprint(&client), format!("ident:{}", "0".repeat(26)));
        assert_eq!(
            lease_value(Incarnation(1), PeerState::Draining),
            "0000000000000001|draining"
        );
    }

    #[test]
    fn what_cannot_be_read_counts_as_not_there() {
        let session = SessionId(1).to_string();
        for value in [
            "",
            "n1",
            "n1|1|d",
            "n1|1|d|x",
            "n1|1|%|5",
            "n1|1|d|5|6",
            "N|1|d|5",
        ] {
            assert_eq!(read_session(&session, value), None, "{value}");
        }
        assert_eq!(read_session("not a session", "n1|1|d|5"), None);
        assert_eq!(read_lease("1|asleep"), None);
        assert_eq!(read_lease(""), None);
        assert_eq!(read_want("all", "1|5"), None);
        for field in ["version", "/topic/*", "/topic/*|all", "/topic/**/x|n1"] {
            assert_eq!(read_pattern(field, "1|5"), None, "{field}");
        }
        let (pattern, node, _) = read_pattern("/topic/a|b/*|n1", "1|5").unwrap();
        assert_eq!((pattern.as_str(), node.as_str()), ("/topic/a|b/*", "n1"));
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_whatever_the_device_is_called(
            device in any::<String>(), session in any::<u128>(), since in any::<u64>(),
        ) {
            let entry = SessionEntry {
                session: SessionId(session),
                node: "n1".parse().unwrap(),
                incarnation: Incarnation(77),
                device: device.into(),
                since: UnixMillis(since),
                visitor: None,
            };
            let prefix = session_prefix(&entry.node, entry.incarnation);
            let value = session_value(&prefix, &entry);
            prop_assert_eq!(read_session(&entry.session.to_string(), &value), Some(entry));
        }
    }
}
