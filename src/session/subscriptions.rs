//! The subscriptions of a session: their ids, and what SUBSCRIBE and UNSUBSCRIBE must say.
//!
//! Not here: who may subscribe where (`app` asks `policy`), deliveries (`hub`). Invariant: an id
//! names at most one subscription, and there are never more than the limit.

use std::collections::BTreeMap;

use super::problems::Fatal;
use super::send;
use crate::model::{Destination, UserQueue};
use crate::stomp::{Headers, Version};

/// The longest id, in octets.
const ID_BYTES_MAX: usize = 128;

/// How many subscriptions a session may have to its own errors and replies. What is told there is
/// written once for each of them, so that many would make much of little.
const OWN_MAX: usize = 8;

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Its id; of a 1.0 client that gave none, the destination.
    pub(super) id: Box<str>,
    /// Whether the client gave an id.
    pub(super) named: bool,
    /// Where from.
    pub(super) destination: Destination,
}

/// The subscriptions of a session.
#[derive(Debug)]
pub(super) struct Subscriptions {
    max: usize,
    /// Boxed, because the map keeps room for eleven, and most sessions have one or two.
    by_id: BTreeMap<Box<str>, Box<Subscription>>,
}

impl Subscriptions {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            by_id: BTreeMap::new(),
        }
    }

    /// Adds what a SUBSCRIBE asks for.
    pub(super) fn add(
        &mut self,
        headers: &Headers,
        version: Version,
    ) -> Result<Subscription, Fatal> {
        let destination = send::destination(headers)?;
        let id = given_id(headers, version)?;
        if id.is_some_and(|id| id.len() > ID_BYTES_MAX) {
            let body = format!("A subscription identifier has at most {ID_BYTES_MAX} octets.\n");
            return Err(Fatal::protocol("Bad subscription identifier", body));
        }
        match headers.get("ack") {
            None | Some("auto") => {}
            Some(mode @ ("client" | "client-individual")) => {
                let body = format!("ack:{mode} is not supported, only ack:auto is.\n");
                return Err(Fatal::protocol("Not supported", body));
            }
            Some(_) => {
                let body = "ack is auto, client or client-individual.\n";
                return Err(Fatal::protocol("Bad ack", body));
            }
        }
        if headers.get("selector").is_some() {
            let body = "selector is not supported.\n";
            return Err(Fatal::protocol("Not supported", body));
        }
        let subscription = Subscription {
            id: id.map_or_else(|| destination.to_string().into(), Into::into),
            named: id.is_some(),
            destination,
        };
        if self.by_id.contains_key(&subscription.id) {
            let id = &subscription.id;
            let body = format!("A subscription identified by 'T_{id}' already exists.\n");
            return Err(Fatal::protocol("Duplicated subscription identifier", body));
        }
        if self.by_id.len() >= self.max {
            let max = self.max;
            let detail = format!("A session has at most {max} subscriptions.");
            return Err(Fatal::limit(detail));
        }
        if is_own(&subscription.destination) && self.own() >= OWN_MAX {
            let detail =
                format!("A session has at most {OWN_MAX} subscriptions to its errors and replies.");
            return Err(Fatal::limit(detail));
        }
        self.by_id
            .insert(subscription.id.clone(), Box::new(subscription.clone()));
        Ok(subscription)
    }

    /// Removes what an UNSUBSCRIBE names.
    pub(super) fn remove(
        &mut self,
        headers: &Headers,
        version: Version,
    ) -> Result<Subscription, Fatal> {
        let unknown =
            || Fatal::protocol("Subscription not found", "There is no such subscription.\n");
        if let Some(id) = given_id(headers, version)? {
            return self.by_id.remove(id).map(|one| *one).ok_or_else(unknown);
        }
        // 1.0 without id: the destination names the subscription, even one that has an id.
        let destination = send::destination(headers)?;
        let mut all = self.by_id.values();
        let named = all.find(|one| one.destination == destination);
        let id = named.map(|one| one.id.clone());
        let removed = id.and_then(|id| self.by_id.remove(&id));
        removed.map(|one| *one).ok_or_else(unknown)
    }

    fn own(&self) -> usize {
        let destinations = self.by_id.values().map(|one| &one.destination);
        destinations.filter(|to| is_own(to)).count()
    }

    /// The subscriptions to this queue of the session itself, in the order of their ids.
    pub(super) fn to_queue(&self, queue: UserQueue) -> impl Iterator<Item = &Subscription> {
        self.by_id
            .values()
            .map(|one| &**one)
            .filter(move |one| one.destination == Destination::UserQueue(queue))
    }
}

/// Whether the session answers for this destination itself.
pub(super) fn is_own(destination: &Destination) -> bool {
    matches!(
        destination,
        Destination::UserQueue(UserQueue::Errors | UserQueue::Replies)
    )
}

/// The header `id`. Only 1.0 may leave it out.
fn given_id(headers: &Headers, version: Version) -> Result<Option<&str>, Fatal> {
    match headers.get("id") {
        Some("") => Err(Fatal::protocol("Missing id", "id is not empty.\n")),
        Some(id) => Ok(Some(id)),
        None if version == Version::V1_0 => Ok(None),
        None => {
            let body = format!("STOMP {version} needs the header id.\n");
            Err(Fatal::protocol("Missing id", body))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::{Command, Frame};

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        let mut frame = Frame::new(Command::Subscribe);
        for (name, value) in pairs {
            frame = frame.header(name, value);
        }
        frame.headers
    }

    fn message(fatal: &Fatal) -> String {
        let headers = fatal.frame().headers;
        headers.get("message").unwrap_or_default().to_owned()
    }

    #[test]
    fn a_subscribe_must_say_what_it_needs() {
        let check = |version, pairs: &[(&str, &str)], expected: &str| {
            let mut subscriptions = Subscriptions::new(2);
            let taken = headers(&[("id", "taken"), ("destination", "/topic/x")]);
            assert!(subscriptions.add(&taken, version).is_ok());
            let outcome = subscriptions.add(&headers(pairs), version);
            let found = outcome
                .err()
                .map_or_else(|| "ok".to_owned(), |no| message(&no));
            assert_eq!(found, expected, "{version} {pairs:?}");
        };
        let a = ("destination", "/topic/a");
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for version in Version::ALL {
            check(version, &[("id", "1"), a], "ok");
            check(version, &[("id", "1"), a, ("ack", "auto")], "ok");
            check(version, &[("id", &long[1..]), a], "ok");
            check(version, &[("id", &long), a], "Bad subscription identifier");
            check(version, &[("id", "1")], "Missing destination");
            check(
                version,
                &[("id", "1"), ("destination", "/nowhere/a")],
                "Invalid destination",
            );
            check(
                version,
                &[("id", "taken"), a],
                "Duplicated subscription identifier",
            );
            check(version, &[("id", ""), a], "Missing id");
            check(version, &[("id", "1"), a, ("ack", "never")], "Bad ack");
            check(
                version,
                &[("id", "1"), a, ("ack", "client")],
                "Not supported",
            );
            let individual = ("ack", "client-individual");
            check(version, &[("id", "1"), a, individual], "Not supported");
            check(
                version,
                &[("id", "1"), a, ("selector", "x = 1")],
                "Not supported",
            );
        }
        check(Version::V1_0, &[a], "ok");
        check(Version::V1_1, &[a], "Missing id");
        check(Version::V1_2, &[a], "Missing id");
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let mut subscriptions = Subscriptions::new(2);
        let mut add = |id| {
            let headers = headers(&[("id", id), ("destination", "/topic/a")]);
            subscriptions
                .add(&headers, Version::V1_2)
                .map_err(|no| message(&no))
        };
        assert!(add("1").is_ok());
        assert!(add("2").is_ok());
        assert_eq!(add("3"), Err("limit_exceeded".to_owned()));
    }

    #[test]
    fn a_session_listens_to_itself_a_few_times_at_most() {
        let mut subscriptions = Subscriptions::new(100);
        let mut add = |id: usize, to: &str| {
            let headers = headers(&[("id", &id.to_string()), ("destination", to)]);
            subscriptions
                .add(&headers, Version::V1_2)
                .map_err(|no| message(&no))
        };
        for id in 0..OWN_MAX {
            let to = ["/user/queue/errors", "/user/queue/replies"][id % 2];
            assert!(add(id, to).is_ok(), "{id}");
        }
        for to in ["/user/queue/errors", "/user/queue/replies"] {
            assert_eq!(add(OWN_MAX, to), Err("limit_exceeded".to_owned()));
        }
        assert!(add(OWN_MAX, "/user/queue/messages").is_ok());
    }

    #[test]
    fn an_unsubscribe_names_a_subscription_that_exists() {
        let mut subscriptions = Subscriptions::new(9);
        for pairs in [
            &[("destination", "/topic/a")][..],
            &[("id", "1"), ("destination", "/topic/b")],
            &[("id", "2"), ("destination", "/topic/c")],
        ] {
            assert!(subscriptions.add(&headers(pairs), Version::V1_0).is_ok());
        }
        let mut check = |version, pairs: &[(&str, &str)], expected: &str| {
            let found = match subscriptions.remove(&headers(pairs), version) {
                Ok(found) => found.destination.to_string(),
                Err(fatal) => message(&fatal),
            };
            assert_eq!(found, expected, "{pairs:?}");
        };
        check(Version::V1_0, &[("destination", "/topic/a")], "/topic/a");
        check(Version::V1_0, &[("destination", "/topic/b")], "/topic/b");
        check(
            Version::V1_0,
            &[("destination", "/topic/b")],
            "Subscription not found",
        );
        check(Version::V1_2, &[("destination", "/topic/c")], "Missing id");
        check(Version::V1_2, &[("id", "2")], "/topic/c");
        check(Version::V1_2, &[("id", "2")], "Subscription not found");
        check(Version::V1_0, &[], "Missing destination");
    }
}
