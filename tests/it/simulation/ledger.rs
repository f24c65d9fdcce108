//! What was committed and receipted, what every subscription got, and whether that is as promised.
//!
//! Not here: how it got there. Invariant: nothing twice, nothing out of `seq` order and no hole is
//! checked with every frame; that nothing receipted is missing is asked when the faults are over.

use std::collections::BTreeMap;
use std::time::Duration;

use stompbox::model::{RoomId, StoredMessage, UserId};
use tokio::time::Instant;

use super::topics::TopicLedger;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    rooms: BTreeMap<RoomId, Room>,
    subscriptions: Vec<Subscription>,
    pub(super) topics: TopicLedger,
    pub(super) violations: Vec<String>,
    /// When the last fault ended; deliveries after it are measured from there.
    pub(super) calm_since: Option<Instant>,
    pub(super) worst_delay: Duration,
    pub(super) delivered: u64,
}

#[derive(Debug)]
struct Room {
    members: [UserId; 2],
    /// By `seq`, beginning with 1.
    messages: Vec<Committed>,
    /// The highest `seq` that was receipted.
    receipted: u64,
}

#[derive(Debug)]
struct Committed {
    text: String,
    at: Instant,
}

/// A subscription to `/user/queue/messages`; its number stands in its frames.
#[derive(Debug)]
struct Subscription {
    user: UserId,
    /// For people: which session, on which node.
    place: String,
    /// The heads when it was asked for: nothing up to there may come.
    asked: BTreeMap<RoomId, u64>,
    /// The heads when it was settled: everything above is owed.
    settled: Option<BTreeMap<RoomId, u64>>,
    is_open: bool,
    got: BTreeMap<RoomId, Got>,
}

#[derive(Clone, Copy, Debug)]
struct Got {
    first: u64,
    last: u64,
}

/// A frame, as far as it is looked at.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) subscription: usize,
    pub(super) room: RoomId,
    pub(super) seq: u64,
    pub(super) text: String,
}

impl Ledger {
    pub(super) fn committed(&mut self, message: &StoredMessage) {
        let room = self.rooms.entry(message.room).or_insert_with(|| Room {
            members: [message.from.clone(), message.to.clone()],
            messages: Vec::new(),
            receipted: 0,
        });
        let next = room.messages.len() as u64 + 1;
        if message.seq == next {
            room.messages.push(Committed {
                text: message.text.clone(),
                at: Instant::now(),
            });
        } else if message.seq > next {
            self.violations
                .push(format!("the store stepped over seq {next}"));
        }
    }

    pub(super) fn receipted(&mut self, message: &StoredMessage) {
        if let Some(room) = self.rooms.get_mut(&message.room) {
            room.receipted = room.receipted.max(message.seq);
        }
    }

    pub(super) fn asks(&mut self, user: &UserId, place: String) -> usize {
        let subscription = Subscription {
            user: user.clone(),
            place,
            asked: self.heads(user),
            settled: None,
            is_open: true,
            got: BTreeMap::new(),
        };
        self.subscriptions.push(subscription);
        self.subscriptions.len() - 1
    }

    pub(super) fn settles(&mut self, subscription: usize) {
        let heads = self.heads(&self.subscriptions[subscription].user.clone());
        self.subscriptions[subscription].settled = Some(heads);
    }

    /// The subscription is over: closed by its client, or its session or node is gone.
    pub(super) fn closes(&mut self, subscription: usize) {
        self.subscriptions[subscription].is_open = false;
    }

    /// A frame reached a client.
    pub(super) fn receives(&mut self, frame: &Frame) {
        let &Frame { room, seq, .. } = frame;
        self.delivered += 1;
        let subscription = &mut self.subscriptions[frame.subscription];
        let asked = subscription.asked.get(&room).copied().unwrap_or(0);
        let last = subscription.got.get(&room).map(|got| got.last);
        let committed = self.rooms.get(&room).and_then(|kept| {
            kept.messages
                .get(usize::try_from(seq).ok()?.checked_sub(1)?)
        });
        let wrong = match (last, committed) {
            (_, None) => Some("was never committed"),
            (_, Some(kept)) if kept.text != frame.text => Some("has another text"),
            _ if !subscription.is_open => Some("came after UNSUBSCRIBE"),
            (None, _) if seq <= asked => Some("is older than the subscription"),
            (Some(last), _) if seq <= last => Some("came twice or late"),
            (Some(last), _) if seq > last + 1 => Some("came over a hole"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.violations.push(format!(
                "{} ({}): seq {seq} of {room} {wrong}; last {last:?}",
                subscription.user, subscription.place,
            ));
        }
        let got = subscription.got.entry(room).or_insert(Got {
            first: seq,
            last: seq,
        });
        got.last = got.last.max(seq);
        if let (Some(committed), Some(calm)) = (committed, self.calm_since) {
            let since = committed.at.max(calm);
            self.worst_delay = self.worst_delay.max(Instant::now().duration_since(since));
        }
    }

    /// What was receipted and has not arrived, at the subscriptions that are open.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for subscription in self.subscriptions.iter().filter(|s| s.is_open) {
            let Some(settled) = &subscription.settled else {
                missing.push(format!("{} is not settled", subscription.place));
                continue;
            };
            for (id, room) in &self.rooms {
                let owed_from = settled.get(id).copied().unwrap_or(0) + 1;
                if room.receipted < owed_from || !room.members.contains(&subscription.user) {
                    continue;
                }
                let got = subscription.got.get(id);
                let is_complete =
                    got.is_some_and(|got| got.first <= owed_from && got.last >= room.receipted);
                if !is_complete {
                    missing.push(format!(
                        "{} ({}) is owed seq {owed_from} to {} of {id}, has {got:?}",
                        subscription.user, subscription.place, room.receipted,
                    ));
                }
            }
        }
        missing
    }

    fn heads(&self, user: &UserId) -> BTreeMap<RoomId, u64> {
        let member = |(_, room): &(&RoomId, &Room)| room.members.contains(user);
        let rooms = self.rooms.iter().filter(member);
        rooms
            .map(|(id, room)| (*id, room.messages.len() as u64))
            .collect()
    }
}

impl Frame {
    /// Reads a MESSAGE as the client would.
    pub(super) fn read(text: &str) -> Self {
        let body = text.split_once("\n\n").expect("a body").1;
        Self {
            subscription: between(text, "\nsubscription:", "\n").parse().unwrap(),
            room: between(body, "\"room_id\":\"", "\"").parse().unwrap(),
            seq: between(body, "\"seq\":", ",").parse().unwrap(),
            text: between(body, "\"message\":\"", "\"").to_owned(),
        }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).expect(before).1;
    rest.split_once(after).map_or(rest, |(found, _)| found)
}
