//! Fan-outs in pieces, while subscriptions come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::hub::{Outbox, OutboxLimits, Pulled, Shown, Subscriber};
use crate::model::SessionId;
use crate::stomp::Version;

/// One list by name and two of patterns that match it; the last list gets nothing.
const LISTS: [&str; 4] = ["/topic/a.b", "/topic/a.*", "/topic/**", "/topic/other"];

/// Sessions that have one subscription each.
#[derive(Default)]
struct Crowd {
    outboxes: BTreeMap<SessionId, Arc<Outbox>>,
    /// Those that subscribe now, and where.
    now: BTreeMap<SessionId, &'static str>,
}

impl Crowd {
    fn add(&mut self, topics: &Topics, list: &'static str) {
        let session = SessionId(self.outboxes.len() as u128);
        let outbox = Arc::new(Outbox::new(OutboxLimits {
            frames_max: 10,
            bytes_max: 10_000,
        }));
        let subscriber = Subscriber {
            version: Version::V1_2,
            id: Some("s".into()),
            shown: Shown::Canonical,
        };
        let sink = Sink::Outbox(Arc::clone(&outbox));
        topics.add(list, session, "s", subscriber, sink);
        self.outboxes.insert(session, outbox);
        self.now.insert(session, list);
    }

    /// Removes any one. Returns which, and what it has got until now.
    fn remove(&mut self, topics: &Topics, rng: &mut StdRng) -> Option<(SessionId, usize)> {
        let at = rng.random_range(0..self.now.len().max(1));
        let session = *self.now.keys().nth(at)?;
        let list = self.now.remove(&session)?;
        match rng.random() {
            true => drop(topics.remove(list, session, "s")),
            false => drop(topics.remove_session(session)),
        }
        Some((session, self.got(session)))
    }

    /// How many messages a session got since this was asked before.
    fn got(&self, session: SessionId) -> usize {
        match self.outboxes[&session].try_pull() {
            Some(Pulled::Frames(frames)) => frames.iter().count(),
            _ => 0,
        }
    }
}

fn message() -> TopicMessage {
    TopicMessage {
        destination: "/topic/a.b".into(),
        headers: Vec::new(),
        body: Bytes::from_static(b"hi"),
        network: None,
    }
}

#[test]
fn the_pieces_of_a_message_are_no_larger_than_allowed_and_reach_everybody_once() {
    let (topics, mut crowd, message) = (Topics::default(), Crowd::default(), message());
    for list in LISTS {
        (0..10).for_each(|_| crowd.add(&topics, list));
    }
    for most in 1..=31 {
        let mut fan_out = topics.fan_out(&message, "m1".to_owned());
        let mut pieces = Vec::new();
        loop {
            let before = fan_out.reached();
            let is_all = fan_out.go_on(most);
            pieces.push(fan_out.reached() - before);
            if is_all {
                break;
            }
        }
        drop(fan_out);
        assert!(pieces.iter().all(|piece| *piece <= most), "{pieces:?}");
        assert!(pieces.len() <= 30_usize.div_ceil(most) + 1, "{pieces:?}");
        for (session, list) in &crowd.now {
            let expected = usize::from(*list != "/topic/other");
            assert_eq!(crowd.got(*session), expected, "{list} in pieces of {most}");
        }
    }
}

#[test]
fn subscriptions_that_come_and_go_between_pieces_change_nothing_for_the_others() {
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (topics, mut crowd, message) = (Topics::default(), Crowd::default(), message());
        for _ in 0..rng.random_range(0..40) {
            crowd.add(&topics, LISTS[rng.random_range(0..LISTS.len())]);
        }
        let before: BTreeSet<_> = crowd.now.keys().copied().collect();
        let mut fan_outs: Vec<_> = ["m1", "m2"]
            .map(|id| topics.fan_out(&message, id.to_owned()))
            .into();
        let mut removed = Vec::new();
        while !fan_outs.is_empty() {
            let at = rng.random_range(0..fan_outs.len());
            if fan_outs[at].go_on(rng.random_range(1..8)) {
                drop(fan_outs.swap_remove(at));
            }
            for _ in 0..rng.random_range(0..6) {
                match rng.random() {
                    true => crowd.add(&topics, LISTS[rng.random_range(0..LISTS.len())]),
                    false => removed.extend(crowd.remove(&topics, &mut rng)),
                }
            }
        }
        assert!(topics.read().cursors.is_empty(), "seed {seed}");
        for (session, list) in &crowd.now {
            let got = crowd.got(*session);
            let is_right = match *list {
                "/topic/other" => got == 0,
                _ if before.contains(session) => got == 2,
                _ => got <= 2,
            };
            assert!(
                is_right,
                "seed {seed}: {got} messages for {session:?} of {list}"
            );
        }
        for (session, got) in removed {
            assert!(got <= 2, "seed {seed}: {got} messages for {session:?}");
            assert_eq!(crowd.got(session), 0, "seed {seed}: after its removal");
        }
    }
}

#[test]
fn a_message_whose_list_goes_meanwhile_reaches_the_other_lists() {
    for gone in &LISTS[..3] {
        let (topics, mut crowd, message) = (Topics::default(), Crowd::default(), message());
        for list in LISTS {
            (0..2).for_each(|_| crowd.add(&topics, list));
        }
        let of_gone: Vec<_> = (crowd.now.iter())
            .filter_map(|(session, list)| (list == gone).then_some(*session))
            .collect();
        let mut fan_out = topics.fan_out(&message, "m1".to_owned());
        while crowd.got(of_gone[0]) == 0 {
            assert!(!fan_out.go_on(1), "{gone}");
        }
        for session in &of_gone {
            topics.remove_session(*session);
        }
        while !fan_out.go_on(1) {}
        // Four in the two other lists.
        assert_eq!(fan_out.reached(), 5, "{gone}");
        assert_eq!(crowd.got(of_gone[1]), 0, "{gone}");
    }
}

#[test]
fn a_message_to_more_than_32_has_low_priority() {
    for (count, expected) in [(HIGH_PRIORITY_MAX, Priority::High), (33, Priority::Low)] {
        let (topics, mut crowd, message) = (Topics::default(), Crowd::default(), message());
        (0..count).for_each(|_| crowd.add(&topics, LISTS[0]));
        topics.fan_out(&message, "m1".to_owned()).finish();
        let listed: Vec<_> = crowd.outboxes.values().map(|it| it.listed()).collect();
        assert_eq!(listed, vec![expected; count]);
    }
}

#[test]
fn a_message_that_is_given_up_leaves_no_cursor() {
    let (topics, mut crowd, message) = (Topics::default(), Crowd::default(), message());
    (0..3).for_each(|_| crowd.add(&topics, LISTS[0]));
    let mut fan_out = topics.fan_out(&message, "m1".to_owned());
    assert!(!fan_out.go_on(2));
    assert!(!topics.read().cursors.is_empty());
    drop(fan_out);
    assert!(topics.read().cursors.is_empty());
}
