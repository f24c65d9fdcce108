//! Visitors without a row, as this process remembers them for an hour.
//!
//! Not here: who is connected (the sessions). Invariants: at most [`VISITS_MAX`] users are remembered, those
//! noted last; a user counts once, however often they are noted, and stands under one fingerprint at most;
//! under a fingerprint there are at most two.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::location::TOUCH_LIFE;
use crate::model::{ClientIdentifier, Unkept, UserId};

/// How many visitors are remembered. Beyond that those noted longest ago are forgotten. A network may bring
/// `VISITORS_PER_NETWORK` new ones in ten minutes.
const VISITS_MAX: usize = 100_000;

/// More than one under a fingerprint is as good as any number.
const LOOSE_MAX: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Visits {
    by_user: BTreeMap<UserId, Noted>,
    /// The users by the number of their last note, which is its order in time.
    by_number: BTreeMap<u64, UserId>,
    next: u64,
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
    pub(super) fn note(&mut self, user: &UserId, visitor: &Arc<Unkept>, now: Instant) {
        self.forget(user);
        self.next += 1;
        let noted = Noted {
            at: now,
            number: self.next,
            visitor: Arc::clone(visitor),
        };
        self.by_number.insert(noted.number, user.clone());
        self.by_user.insert(user.clone(), noted);
        if visitor.standing.is_loose() {
            let client = visitor.client_identifier.clone();
            let users = self.loose.entry(client).or_default();
            if users.len() >= LOOSE_MAX {
                users.remove(0);
            }
            users.push(user.clone());
        }
        self.shrink(now);
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

    /// Forgets those that are too old or too many.
    fn shrink(&mut self, now: Instant) {
        while let Some((_, user)) = self.by_number.first_key_value() {
            let user = user.clone();
            let is_young = self
                .by_user
                .get(&user)
                .is_some_and(|noted| now.duration_since(noted.at) < TOUCH_LIFE);
            if is_young && self.by_user.len() <= VISITS_MAX {
                return;
            }
            self.forget(&user);
        }
    }

    /// Forgets everything of one user.
    fn forget(&mut self, user: &UserId) {
        let Some(noted) = self.by_user.remove(user) else {
            return;
        };
        self.by_number.remove(&noted.number);
        let client = &noted.visitor.client_identifier;
        let Some(users) = self.loose.get_mut(client) else {
            return;
        };
        users.retain(|other| other != user);
        if users.is_empty() {
            self.loose.remove(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Standing, UnixMillis};

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

    fn sizes(visits: &Visits) -> (usize, usize, usize) {
        let (users, numbers) = (visits.by_user.len(), visits.by_number.len());
        (users, numbers, visits.loose.len())
    }

    #[test]
    fn visits_are_bounded_and_forgotten_after_an_hour() {
        let mut visits = Visits::default();
        let start = Instant::now();
        let here = visitor(&client("0"));
        for number in 0..VISITS_MAX + 10 {
            visits.note(&user(number), &here, start);
        }
        assert_eq!(sizes(&visits), (VISITS_MAX, VISITS_MAX, 1));
        assert!(visits.get(&user(0), start).is_none());
        let loose = visits.loose(&here.client_identifier, start);
        let loose: Vec<UserId> = loose.into_iter().map(|(user, _)| user).collect();
        assert_eq!(loose, [user(VISITS_MAX + 8), user(VISITS_MAX + 9)]);
        let later = start + TOUCH_LIFE - Duration::from_millis(1);
        assert!(visits.get(&user(50), later).is_some());
        visits.note(&user(50), &visitor(&client("1")), later);
        visits.note(&user(51), &visitor(&client("1")), start + TOUCH_LIFE);
        assert_eq!(sizes(&visits), (2, 2, 1));
    }

    #[test]
    fn one_visitor_who_comes_back_without_end_is_one() {
        let mut visits = Visits::default();
        let now = Instant::now();
        visits.note(&user(0), &visitor(&client("0")), now);
        for number in 0..2 * VISITS_MAX {
            let digits = format!("{number:026}");
            visits.note(&user(1), &visitor(&digits), now);
        }
        assert_eq!(sizes(&visits), (2, 2, 2));
        assert!(visits.get(&user(0), now).is_some());
        let firm = Arc::new(Unkept {
            standing: Standing::FIRM,
            ..(*visitor(&client("0"))).clone()
        });
        visits.note(&user(0), &firm, now);
        assert_eq!(sizes(&visits), (2, 2, 1));
    }
}
