//! Visitors without a row, as this process remembers them for an hour.
//!
//! Not here: who is connected (the sessions). Invariant: at most [`VISITS_MAX`] are remembered, those
//! noted last; under a fingerprint at most two.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::location::TOUCH_LIFE;
use crate::model::{ClientIdentifier, Unkept, UserId};

/// How many visitors are remembered. Beyond that those noted longest ago are forgotten.
const VISITS_MAX: usize = 100_000;

/// More than one under a fingerprint is as good as any number.
const LOOSE_MAX: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Visits {
    by_user: BTreeMap<UserId, (Instant, Arc<Unkept>)>,
    /// In the order of the notes; one that was replaced by a later note has another time than its user.
    by_time: VecDeque<(Instant, UserId)>,
    /// The loose ones, those noted last at the end.
    loose: BTreeMap<ClientIdentifier, Vec<UserId>>,
}

impl Visits {
    pub(super) fn note(&mut self, user: &UserId, visitor: &Arc<Unkept>, now: Instant) {
        if visitor.standing.is_loose() {
            let client = visitor.client_identifier.clone();
            let users = self.loose.entry(client).or_default();
            users.retain(|other| other != user);
            if users.len() >= LOOSE_MAX {
                users.remove(0);
            }
            users.push(user.clone());
        }
        let noted = (now, Arc::clone(visitor));
        self.by_user.insert(user.clone(), noted);
        self.by_time.push_back((now, user.clone()));
        self.forget(now);
    }

    pub(super) fn get(&self, user: &UserId, now: Instant) -> Option<Arc<Unkept>> {
        let (noted_at, visitor) = self.by_user.get(user)?;
        (now.duration_since(*noted_at) < TOUCH_LIFE).then(|| Arc::clone(visitor))
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

    /// Forgets what is too old or too much.
    fn forget(&mut self, now: Instant) {
        while let Some((noted_at, user)) = self.by_time.front() {
            if now.duration_since(*noted_at) < TOUCH_LIFE && self.by_time.len() <= VISITS_MAX {
                return;
            }
            let is_last = self.by_user.get(user).is_some_and(|it| it.0 == *noted_at);
            if is_last && let Some((_, visitor)) = self.by_user.remove(user) {
                self.forget_loose(&visitor.client_identifier.clone(), &user.clone());
            }
            self.by_time.pop_front();
        }
    }

    fn forget_loose(&mut self, client: &ClientIdentifier, user: &UserId) {
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
            client_identifier: client.repeat(26).parse().unwrap(),
            last_seen: UnixMillis(1),
        })
    }

    #[test]
    fn visits_are_bounded_and_forgotten_after_an_hour() {
        let mut visits = Visits::default();
        let start = Instant::now();
        let user = |number: usize| format!("user_{number}").parse::<UserId>().unwrap();
        for number in 0..VISITS_MAX + 10 {
            visits.note(&user(number), &visitor("0"), start);
        }
        assert_eq!(visits.by_user.len(), VISITS_MAX);
        assert_eq!(visits.by_time.len(), VISITS_MAX);
        assert!(visits.get(&user(0), start).is_none());
        let loose = visits.loose(&visitor("0").client_identifier, start);
        let loose: Vec<UserId> = loose.into_iter().map(|(user, _)| user).collect();
        assert_eq!(loose, [user(VISITS_MAX + 8), user(VISITS_MAX + 9)]);
        let later = start + TOUCH_LIFE - Duration::from_millis(1);
        assert!(visits.get(&user(50), later).is_some());
        visits.note(&user(50), &visitor("1"), later);
        visits.note(&user(51), &visitor("1"), start + TOUCH_LIFE);
        assert_eq!((visits.by_user.len(), visits.loose.len()), (2, 1));
    }
}
