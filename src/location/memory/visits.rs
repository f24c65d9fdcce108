//! Visitors without a row, as this process remembers them for an hour.
//!
//! Not here: who is connected (the sessions), which network loses (`budget::PushOut`). Invariants: at most so many
//! users are remembered as the table was made for, and of one network at most its share of what is free; a user
//! counts once, however often they are noted, to the network that they came from last, and stands under one
//! fingerprint at most; under a fingerprint there are at most two.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::budget::{Parts, PushOut};
use crate::location::TOUCH_LIFE;
use crate::model::{ClientIdentifier, NamedNetworks, Unkept, UserId};

/// More than one under a fingerprint is as good as any number.
const LOOSE_MAX: usize = 2;

#[derive(Debug)]
pub(super) struct Visits {
    by_user: BTreeMap<UserId, Noted>,
    /// The users, those noted last at the end, with the networks that they count to.
    order: PushOut<ClientIdentifier, UserId>,
    /// The loose ones, those noted last at the end.
    loose: BTreeMap<ClientIdentifier, Vec<UserId>>,
}

#[derive(Debug)]
struct Noted {
    at: Instant,
    number: u64,
    visitor: Arc<Unkept>,
}

impl Visits {
    /// No visitors yet, and room for so many.
    pub(super) fn new(max: usize) -> Self {
        Self {
            by_user: BTreeMap::new(),
            order: PushOut::new(max, Parts::DEFAULT),
            loose: BTreeMap::new(),
        }
    }

    /// Notes that a visitor was here just now. Those who are too old go, and those for whom there is no room with them.
    pub(super) fn note(
        &mut self,
        user: &UserId,
        visitor: &Arc<Unkept>,
        from: &NamedNetworks,
        now: Instant,
    ) {
        self.expire(now);
        let known = self.unlist(user);
        let renewed = known.and_then(|number| self.order.renew(number, &from.levels));
        let number = renewed.unwrap_or_else(|| {
            // They have come from another network since.
            if let Some(number) = known {
                self.order.remove(number);
            }
            let (levels, multiple) = (from.levels.clone(), from.multiple);
            let (number, pushed_out) = self.order.insert(levels, multiple, user.clone());
            for other in pushed_out {
                self.unlist(&other);
            }
            number
        });
        let noted = Noted {
            at: now,
            number,
            visitor: Arc::clone(visitor),
        };
        self.by_user.insert(user.clone(), noted);
        if visitor.standing.is_loose() {
            let client = visitor.client_identifier.clone();
            let users = self.loose.entry(client).or_default();
            if users.len() >= LOOSE_MAX {
                users.remove(0);
            }
            users.push(user.clone());
        }
    }

    pub(super) fn get(&self, user: &UserId, now: Instant) -> Option<Arc<Unkept>> {
        let noted = self.by_user.get(user)?;
        (now.duration_since(noted.at) < TOUCH_LIFE).then(|| Arc::clone(&noted.visitor))
    }

    pub(super) fn loose(
        &self,
        client: &ClientIdentifier,
        now: Instant,
    ) -> Vec<(UserId, Arc<Unkept>)> {
        let users = self.loose.get(client).into_iter().flatten();
        users
            .filter_map(|user| Some((user.clone(), self.get(user, now)?)))
            .collect()
    }

    /// Forgets those that are too old.
    fn expire(&mut self, now: Instant) {
        while let Some((number, user)) = self.order.oldest() {
            let noted = self.by_user.get(user);
            if noted.is_some_and(|noted| now.duration_since(noted.at) < TOUCH_LIFE) {
                return;
            }
            if let Some(user) = self.order.remove(number) {
                self.unlist(&user);
            }
        }
    }

    /// Forgets everything of one user but their place in the order, and returns that.
    fn unlist(&mut self, user: &UserId) -> Option<u64> {
        let noted = self.by_user.remove(user)?;
        let client = &noted.visitor.client_identifier;
        if let Some(users) = self.loose.get_mut(client) {
            users.retain(|other| other != user);
            if users.is_empty() {
                self.loose.remove(client);
            }
        }
        Some(noted.number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::location::VISITS_MAX;
    use crate::model::{Standing, UnixMillis, Width};

    fn visitor(client: &str) -> Arc<Unkept> {
        Arc::new(Unkept {
            made_at: UnixMillis(1),
            standing: Standing::Loose { taken_at: None },
            name: "Guest".into(),
            client_identifier: client.parse().unwrap(),
            last_seen: UnixMillis(1),
        })
    }

    fn client(digit: &str) -> String {
        digit.repeat(26)
    }

    fn user(number: usize) -> UserId {
        format!("user_{number}").parse().unwrap()
    }

    /// The name of a network: of an IPv4 address unless a width is given.
    fn name(width: &str, number: usize) -> ClientIdentifier {
        format!("{width}{number:022}").parse().unwrap()
    }

    fn address(number: usize) -> NamedNetworks {
        NamedNetworks {
            levels: [(name("0000", number), Width::Address)]
                .into_iter()
                .collect(),
            multiple: 1,
        }
    }

    /// A /64 in the /56 and the /48 of these numbers.
    fn net64(net48: usize, net56: usize, number: usize) -> NamedNetworks {
        let levels = [
            (name("0064", number), Width::Net64),
            (name("0056", net56), Width::Net56),
            (name("0048", net48), Width::Net48),
        ];
        NamedNetworks {
            levels: levels.into_iter().collect(),
            multiple: 1,
        }
    }

    fn sizes(visits: &Visits) -> (usize, usize, usize) {
        let (users, ordered) = (visits.by_user.len(), visits.order.len());
        (users, ordered, visits.loose.len())
    }

    #[test]
    fn visits_are_bounded_and_forgotten_after_an_hour() {
        let mut visits = Visits::new(VISITS_MAX);
        let start = Instant::now();
        let here = visitor(&client("0"));
        // One address has half of an empty table, however many come from it.
        let half = VISITS_MAX / 2;
        for number in 0..VISITS_MAX + half {
            visits.note(&user(number), &here, &address(0), start);
        }
        assert_eq!(sizes(&visits), (half, half, 1));
        assert!(visits.get(&user(VISITS_MAX - 1), start).is_none());
        assert!(visits.get(&user(VISITS_MAX), start).is_some());
        let loose = visits.loose(&here.client_identifier, start);
        let loose: Vec<UserId> = loose.into_iter().map(|(user, _)| user).collect();
        let last = VISITS_MAX + half - 1;
        assert_eq!(loose, [user(last - 1), user(last)]);
        let later = start + TOUCH_LIFE - Duration::from_millis(1);
        assert!(visits.get(&user(last), later).is_some());
        visits.note(&user(last), &visitor(&client("1")), &address(0), later);
        let over = start + TOUCH_LIFE;
        visits.note(&user(0), &visitor(&client("1")), &address(0), over);
        assert_eq!(sizes(&visits), (2, 2, 1));
    }

    #[test]
    fn one_network_makes_nobody_else_forgotten() {
        let mut visits = Visits::new(VISITS_MAX);
        let (now, here) = (Instant::now(), visitor(&client("0")));
        for number in 0..1_000 {
            visits.note(&user(number), &here, &address(number % 100), now);
        }
        // A /48 in which each visitor has a /64 of their own brings as many as it may in its first hour with the
        // default of `VISITORS_PER_NETWORK`, 10,000 at once and 120,000 over the hour: more than there are places.
        for number in 1_000..131_000 {
            let from = net64(0, number % 256, number % 65_536);
            visits.note(&user(number), &here, &from, now);
        }
        let alone = visits.order.len() - 1_000;
        assert!(alone.abs_diff((VISITS_MAX - 1_000) / 2) <= 1, "{alone}");
        // And 50 addresses after it twice as many as there are places.
        for number in 500_000..500_000 + 2 * VISITS_MAX {
            visits.note(&user(number), &here, &address(200 + number % 50), now);
        }
        assert!(visits.order.len() <= VISITS_MAX, "{}", visits.order.len());
        let forgotten = (0..1_000).filter(|number| visits.get(&user(*number), now).is_none());
        assert_eq!(forgotten.count(), 0);
        // A newcomer from elsewhere is remembered, and so are all those who come with them.
        for number in 2_000_000..2_000_100 {
            visits.note(&user(number), &here, &address(1_000), now);
        }
        let known = (2_000_000..2_000_100).filter(|at| visits.get(&user(*at), now).is_some());
        assert_eq!(known.count(), 100);
    }

    #[test]
    fn one_visitor_who_comes_back_without_end_is_one() {
        let mut visits = Visits::new(VISITS_MAX);
        let now = Instant::now();
        visits.note(&user(0), &visitor(&client("0")), &address(0), now);
        for number in 0..2 * VISITS_MAX {
            let digits = format!("{number:026}");
            let from = address(number % 7);
            visits.note(&user(1), &visitor(&digits), &from, now);
        }
        assert_eq!(sizes(&visits), (2, 2, 2));
        assert!(visits.get(&user(0), now).is_some());
        let firm = Arc::new(Unkept {
            standing: Standing::FIRM,
            ..(*visitor(&client("0"))).clone()
        });
        visits.note(&user(0), &firm, &address(0), now);
        assert_eq!(sizes(&visits), (2, 2, 1));
    }
}
