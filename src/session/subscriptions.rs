//! The subscriptions of a session: which there are, by which names.
//!
//! Not here: what a SUBSCRIBE says (`subscribe`), who may subscribe where (`app` asks `policy`),
//! deliveries (`hub`). Invariant: an id names at most one subscription, and there are never more
//! than the limit.

use super::contract::Ticket;
use super::fatal::{Fatal, Violation};
use super::send::{self, TEMP_QUEUE};
use super::subscribe::{Asked, given_id, is_own};
use crate::model::{Destination, Prefixes, UserQueue};
use crate::stomp::{Command, Headers, Version};

/// How many subscriptions a session may have to one destination. What is sent there is delivered once for each of
/// them, so that many would make much of little. A message in a queue goes to one of them only.
const SAME_MAX: usize = 8;

/// About how much a subscription takes besides its texts, here and where its messages are routed: maps that are
/// filled in order are half empty.
const ENTRY_BYTES: u32 = 512;

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Its id; of a 1.0 client that gave none, the destination.
    pub(super) id: Box<str>,
    /// Whether the client gave an id.
    pub(super) named: bool,
    /// Where from.
    pub(super) destination: Destination,
    /// What MESSAGE shows, of a destination that the session answers for itself and that the client
    /// wrote in another way.
    pub(super) written: Option<Box<str>>,
    /// That of its SUBSCRIBE: a later one may have the same id.
    pub(super) ticket: Ticket,
}

impl Subscription {
    /// Its id stands here and in the table of topics; its destination here, there, twice among what this node
    /// tells the others, and in the location of a node alone.
    fn bytes(&self) -> u32 {
        let texts = 2 * self.id.len() + 6 * self.destination.text_bytes();
        u32::try_from(texts).map_or(u32::MAX, |texts| ENTRY_BYTES.saturating_add(texts))
    }
}

/// The subscriptions of a session.
#[derive(Debug)]
pub(super) struct Subscriptions {
    max: u32,
    /// About how many bytes they take.
    bytes: u32,
    /// In the order of their ids. A list, because most sessions have one or two, and a map keeps room
    /// for eleven.
    by_id: Vec<Subscription>,
}

impl Subscriptions {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: u32::try_from(max).unwrap_or(u32::MAX),
            bytes: 0,
            by_id: Vec::new(),
        }
    }

    /// About how many bytes they take, here and where their messages are routed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whether what is counted is the sum of what is there.
    #[cfg(test)]
    pub(super) fn check_bytes(&self) {
        let sum: u32 = self.by_id.iter().map(Subscription::bytes).sum();
        assert_eq!(self.bytes, sum);
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.by_id.len()).unwrap_or(u32::MAX)
    }

    /// Adds what a SUBSCRIBE asks for.
    pub(super) fn add(&mut self, asked: &Asked, ticket: Ticket) -> Result<(), Fatal> {
        let Err(place) = self.position(&asked.id) else {
            let violation = Violation::DuplicatedSubscriptionId;
            return Err(Fatal::about(violation, &asked.id));
        };
        if self.by_id.len() >= self.max as usize {
            return Err(Fatal::about(Violation::ManySubscriptions, self.max));
        }
        if self.alike(&asked.destination) >= SAME_MAX {
            return Err(Fatal::about(Violation::ManyAlikeSubscriptions, SAME_MAX));
        }
        let is_shown =
            is_own(&asked.destination) && asked.destination.to_string() != *asked.written;
        let subscription = Subscription {
            id: asked.id.clone(),
            named: asked.named,
            destination: asked.destination.clone(),
            written: is_shown.then(|| asked.written.clone()),
            ticket,
        };
        if self.by_id.is_empty() {
            // A list that grows by itself has places for four.
            self.by_id.reserve_exact(1);
        }
        self.bytes = self.bytes.saturating_add(subscription.bytes());
        self.by_id.insert(place, subscription);
        Ok(())
    }

    /// Whether there is one with this id.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.position(id).is_ok()
    }

    /// Where the one with this id is, or would be.
    fn position(&self, id: &str) -> Result<usize, usize> {
        self.by_id.binary_search_by(|one| (*one.id).cmp(id))
    }

    fn take(&mut self, id: &str) -> Option<Subscription> {
        let place = self.position(id).ok()?;
        Some(self.remove_at(place))
    }

    fn remove_at(&mut self, place: usize) -> Subscription {
        let removed = self.by_id.remove(place);
        self.bytes = self.bytes.saturating_sub(removed.bytes());
        removed
    }

    /// Removes what an UNSUBSCRIBE names.
    pub(super) fn remove(
        &mut self,
        headers: &Headers,
        version: Version,
        prefixes: &Prefixes,
    ) -> Result<Subscription, Fatal> {
        let id = match given_id(headers, version, Command::Unsubscribe)? {
            Some(id) => Some(id.into()),
            None => self.id_of(headers, prefixes)?,
        };
        let removed = id.and_then(|id: Box<str>| self.take(&id));
        removed.ok_or_else(|| Fatal::of(Violation::SubscriptionNotFound))
    }

    /// 1.0 without id: the destination names the subscription, even one that has an id.
    fn id_of(&self, headers: &Headers, prefixes: &Prefixes) -> Result<Option<Box<str>>, Fatal> {
        let written = headers.get("destination").unwrap_or_default();
        if written.is_empty() {
            return Err(Fatal::missing(Command::Unsubscribe, "destination"));
        }
        if written.starts_with(TEMP_QUEUE) {
            return Ok(Some(written.into()));
        }
        let destination = send::destination(written, prefixes)?;
        let mut all = self.by_id.iter();
        let named = all.find(|one| one.destination == destination);
        Ok(named.map(|one| one.id.clone()))
    }

    /// Removes the one that the SUBSCRIBE with this ticket added, if it is still there.
    pub(super) fn forget(&mut self, id: &str, ticket: Ticket) {
        if let Ok(place) = self.position(id)
            && self
                .by_id
                .get(place)
                .is_some_and(|one| one.ticket == ticket)
        {
            self.remove_at(place);
        }
    }

    /// How many get each message that is sent there.
    fn alike(&self, to: &Destination) -> usize {
        let destinations = self.by_id.iter().map(|one| &one.destination);
        match matches!(to, Destination::Queue(_)) {
            true => 0,
            false => destinations.filter(|other| *other == to).count(),
        }
    }

    /// The subscriptions to this queue of the session itself, in the order of their ids.
    pub(super) fn to_queue(&self, queue: UserQueue) -> impl Iterator<Item = &Subscription> {
        self.by_id
            .iter()
            .filter(move |one| one.destination == Destination::UserQueue(queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionConfig;
    use crate::session::subscribe;
    use crate::session::tests::subscribing;

    fn message(fatal: &Fatal) -> String {
        let headers = fatal.frame().headers;
        headers.get("message").unwrap_or_default().to_owned()
    }

    fn add(
        to: &mut Subscriptions,
        ticket: u64,
        version: Version,
        pairs: &[(&str, &str)],
    ) -> Result<(), String> {
        let asked = subscribe::read(&subscribing(pairs), version, &SessionConfig::default());
        to.add(&asked.unwrap(), Ticket(ticket))
            .map_err(|no| message(&no))
    }

    #[test]
    fn an_id_names_one_subscription() {
        let mut subscriptions = Subscriptions::new(9);
        let mut add = |pairs: &[(&str, &str)]| add(&mut subscriptions, 1, Version::V1_0, pairs);
        let (a, b) = (("destination", "/topic/a"), ("destination", "/topic/b"));
        let duplicated = Err("Duplicated subscription identifier".to_owned());
        assert_eq!(add(&[("id", "1"), a]), Ok(()));
        assert_eq!(add(&[("id", "1"), b]), duplicated);
        assert_eq!(add(&[("id", "2"), a]), Ok(()));
        assert_eq!(add(&[b]), Ok(()));
        assert_eq!(add(&[b]), duplicated);
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let mut subscriptions = Subscriptions::new(2);
        let mut add = |id| {
            let pairs = [("id", id), ("destination", "/topic/a")];
            add(&mut subscriptions, 1, Version::V1_2, &pairs)
        };
        assert_eq!(add("1"), Ok(()));
        assert_eq!(add("2"), Ok(()));
        assert_eq!(add("3"), Err("limit_exceeded".to_owned()));
    }

    #[test]
    fn bytes_are_counted_in_and_out() {
        let mut subscriptions = Subscriptions::new(9);
        let headers = |id: &str, to: &str| subscribing(&[("id", id), ("destination", to)]);
        let long = format!("/topic/{}", "x".repeat(200));
        let config = SessionConfig::default();
        let mut add = |id: &str, to: &str, ticket| {
            let asked = subscribe::read(&headers(id, to), Version::V1_2, &config).ok();
            let added = subscriptions.add(&asked.unwrap(), Ticket(ticket));
            (added.is_ok(), subscriptions.bytes())
        };
        let (_, one) = add("1", "/topic/a", 1);
        assert!((512..600).contains(&one), "{one}");
        assert_eq!(add("1", "/topic/a", 2), (false, one));
        let (_, two) = add("2", &long, 3);
        assert!(two > one + 512 + 1_200, "{two}");
        subscriptions.forget("2", Ticket(3));
        assert_eq!(subscriptions.bytes(), one);
        let removed = headers("1", "/topic/a");
        let removed = subscriptions.remove(&removed, Version::V1_2, &config.prefixes);
        assert!(removed.is_ok());
        assert_eq!(subscriptions.bytes(), 0);
    }

    #[test]
    fn a_session_subscribes_to_one_destination_eight_times_at_most() {
        let mut subscriptions = Subscriptions::new(100);
        let mut add = |id: usize, to: &str| {
            let pairs = [("id", &*id.to_string()), ("destination", to)];
            add(&mut subscriptions, 1, Version::V1_2, &pairs)
        };
        let all = [
            "/topic/a",
            "/topic/a/*",
            "/user/queue/messages",
            "/user/queue/errors",
            "/user/queue/x",
        ];
        for (place, to) in all.iter().enumerate() {
            for id in 0..SAME_MAX {
                assert!(add(10 * place + id, to).is_ok(), "{to} {id}");
            }
            assert_eq!(add(99, to), Err("limit_exceeded".to_owned()), "{to}");
        }
        for id in 0..=SAME_MAX {
            assert!(add(100 + id, "/queue/work").is_ok(), "{id}");
        }
    }

    #[test]
    fn an_unsubscribe_names_a_subscription_that_exists() {
        let mut subscriptions = Subscriptions::new(9);
        for pairs in [
            &[("destination", "/topic/a")][..],
            &[("id", "1"), ("destination", "/topic/b")],
            &[("id", "2"), ("destination", "/topic/c")],
        ] {
            assert!(add(&mut subscriptions, 1, Version::V1_0, pairs).is_ok());
        }
        let config = SessionConfig::default();
        let reply = subscribe::of_reply_to("/temp-queue/x", &config);
        assert!(subscriptions.add(&reply, Ticket(2)).is_ok());
        let mut check = |version, pairs: &[(&str, &str)], expected: &str| {
            let headers = subscribing(pairs);
            let found = match subscriptions.remove(&headers, version, &config.prefixes) {
                Ok(found) => found.destination.to_string(),
                Err(fatal) => message(&fatal),
            };
            assert_eq!(found, expected, "{pairs:?}");
        };
        let nothing = "Subscription not found";
        check(Version::V1_0, &[("destination", "/topic/a")], "/topic/a");
        check(Version::V1_0, &[("destination", "/topic/b")], "/topic/b");
        check(Version::V1_0, &[("destination", "/topic/b")], nothing);
        let reply = ("destination", "/temp-queue/x");
        check(Version::V1_0, &[reply], "/temp-queue/x");
        check(Version::V1_0, &[reply], nothing);
        check(Version::V1_2, &[("destination", "/topic/c")], "Missing id");
        check(Version::V1_2, &[("id", "2")], "/topic/c");
        check(Version::V1_2, &[("id", "2")], nothing);
        check(Version::V1_0, &[], "Missing destination");
    }

    #[test]
    fn only_the_subscription_that_was_refused_is_forgotten() {
        let mut subscriptions = Subscriptions::new(9);
        let pairs = [("id", "1"), ("destination", "/topic/a")];
        assert!(add(&mut subscriptions, 1, Version::V1_2, &pairs).is_ok());
        subscriptions.forget("1", Ticket(2));
        assert!(subscriptions.contains("1"), "a later one with the same id");
        subscriptions.forget("1", Ticket(1));
        assert!(!subscriptions.contains("1"));
    }
}
