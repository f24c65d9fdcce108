//! What a window keeps: how much of it, for how long, and of whose.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::hub::Trace;
use crate::hub::window::kept::ENTRY_BYTES;

#[test]
fn who_does_not_acknowledge_is_cut_before_too_much_waits() {
    let check = |prefetch, body: usize, windows: usize, expected: usize| {
        let session = session();
        let open = |_| session.open_window(opening(AckMode::Client, Version::V1_2, prefetch));
        let windows: Vec<_> = (0..windows).map(open).collect();
        let mut offered = 0;
        while !session.outbox.is_cut() {
            let next = Content {
                body: Bytes::from(vec![b'x'; body]),
                headers: Vec::new(),
                ..content(1)
            };
            windows[offered % windows.len()].offer(next);
            // A client that reads and does not acknowledge.
            if !session.outbox.is_cut() {
                session.outbox.try_pull();
            }
            offered += 1;
            assert!(offered < 1_000);
        }
        assert_eq!(offered, expected, "prefetch {prefetch}, {body} octets");
        let cut = Some(Pulled::Cut(CloseReason::SLOW_CONSUMER));
        assert_eq!(session.outbox.try_pull(), cut);
        assert!(windows.iter().any(|window| window.unsettled() == 0));
    };
    // What a message takes besides its body: its entry, and its id.
    let message = ENTRY_BYTES + content(1).message_id.len();
    // Two unsettled, twenty that wait, one too many.
    check(2, 1, 1, 23);
    // The windows of a session may not keep more together.
    check(1, 1, 2, 23);
    // In octets: one unsettled, and ten thousand of those that wait.
    check(1, 5_000 - message, 1, 4);
    // What is unsettled counts too: eight times as much is kept at all.
    check(100, 8_000 - message, 1, 11);
}

#[test]
fn a_message_that_is_larger_than_everything_is_delivered_by_itself() {
    let session = session();
    let window = session.open_window(opening(AckMode::Client, Version::V1_2, 1));
    let large = |number| Content {
        body: Bytes::from(vec![b'x'; 100_000]),
        ..content(number)
    };
    window.offer(large(1));
    assert_eq!(shown(&session), ["m1 1.1"]);
    session
        .settle(&named(Version::V1_2, 1, 1), Verdict::Ack)
        .unwrap();
    window.offer(large(2));
    assert_eq!(shown(&session), ["m2 1.2"]);
}

#[tokio::test]
async fn what_an_ack_lets_out_waits_for_room_in_the_outbox() {
    let session = session();
    let window = session.open_window(opening(AckMode::Client, Version::V1_2, 15));
    offer(&window, 1..=15);
    assert_eq!(shown(&session).len(), 15);
    offer(&window, 16..=30);
    let settled = session
        .settle(&named(Version::V1_2, 15, 15), Verdict::Ack)
        .unwrap();
    let releasing = settled.waiting.unwrap().release_later();
    tokio::pin!(releasing);
    assert!(futures_util::poll!(&mut releasing).is_pending());
    // What is offered meanwhile stays behind it.
    offer(&window, 31..=31);
    let mut numbers = Vec::new();
    while !futures_util::poll!(&mut releasing).is_ready() {
        let some = shown(&session);
        assert!((1..=10).contains(&some.len()), "half of the outbox at most");
        numbers.extend(some);
    }
    numbers.extend(shown(&session));
    let expected: Vec<_> = (16..=30).map(|n| format!("m{n} 1.{n}")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_conversation_goes_through_the_window_of_its_subscription() {
    let hub = Hub::default();
    let session = session();
    hub.insert(Arc::clone(&session));
    let window = session.open_window(opening(AckMode::ClientIndividual, Version::V1_2, 1));
    session.open_inbox("s", 1, subscriber(Version::V1_2), Some(window));
    session.settle_inbox(1, &[]);
    let (from, to) = (user("a"), user("b"));
    let room = RoomId::direct(&from, &to);
    let message = |seq: u64| {
        Delivery::new(StoredMessage {
            room,
            seq,
            epoch: 1,
            id: MessageId(u128::from(seq)),
            from: from.clone(),
            from_name: "A".to_owned(),
            to: to.clone(),
            client_id: None,
            text: format!("text {seq}"),
            timestamp: UnixMillis(0),
        })
    };
    (1..=2).for_each(|seq| assert_eq!(hub.offer(&message(seq)), vec![]));
    let id = |seq| MessageId(seq).to_string();
    assert_eq!(shown(&session), [format!("{} 1.1", id(1))]);
    let nack = session.settle(&Delivered::Ack("1.1".into()), Verdict::Requeue);
    assert!(nack.unwrap().is_effective);
    assert_eq!(shown(&session), [format!("{} 1.2 redelivered", id(1))]);
    // What is repaired waits until there is room in the window.
    assert!(session.raise(room, 40));
    assert!(session.has_room_for(room));
    let hole = session.hole(room).unwrap();
    let rows: Vec<_> = (3..=40).map(message).collect();
    session.fetched(room, hole, &rows, &Trace::default());
    assert!(!session.has_room_for(room) && session.hole(room).is_some());
    let mut n = 2;
    let mut seen = 1;
    while seen < 40 {
        let of = Delivered::Ack(format!("1.{n}").into());
        session.settle(&of, Verdict::Ack).unwrap();
        n += 1;
        seen += 1;
        assert_eq!(shown(&session), [format!("{} 1.{n}", id(seen))]);
        if session.has_room_for(room) {
            let hole = session.hole(room).unwrap();
            let missing = &rows[usize::try_from(hole.after).unwrap() - 2..];
            session.fetched(room, hole, missing, &Trace::default());
        }
    }
    hub.remove(session.id);
    assert!(session.outbox.is_cut());
}

#[derive(Debug, Default)]
struct Noted(Mutex<Vec<(Vec<Tag>, Verdict)>>);

#[async_trait]
impl Settler for Noted {
    async fn settle(&self, tags: &[Tag], verdict: Verdict) {
        self.0.lock().unwrap().push((tags.to_vec(), verdict));
    }
}

#[tokio::test]
async fn a_queue_is_told_by_its_tags_and_gets_the_rest_back_at_the_end() {
    let session = session();
    let window = session.open_window(Opening {
        is_fed: true,
        ..opening(AckMode::Client, Version::V1_2, 3)
    });
    let noted = Arc::new(Noted::default());
    assert!(window.feed(Arc::clone(&noted) as Arc<dyn Settler>));
    for number in 1..=3 {
        window.offer(Content {
            tag: Some(Tag(number as u64 + 10)),
            ..content(number)
        });
    }
    let place = window.place();
    tokio::pin!(place);
    assert!(futures_util::poll!(&mut place).is_pending());
    let nacked = session.settle(&Delivered::Ack("1.2".into()), Verdict::Requeue);
    let (settler, tags) = nacked.unwrap().told.unwrap();
    settler.settle(&tags, Verdict::Requeue).await;
    place.await;
    // What the engine gives again is its business.
    assert_eq!(shown(&session).len(), 3);
    assert_eq!(window.unsettled(), 1);
    let told = noted.0.lock().unwrap().clone();
    assert_eq!(told, [(vec![Tag(11), Tag(12)], Verdict::Requeue)]);
    drop(settler);
    session.close_windows("s");
    window.closed().await;
    assert_eq!(Arc::strong_count(&noted), 1, "the consumer ends");
    assert!(!window.feed(noted));
}

#[test]
fn whatever_a_client_answers_each_message_comes_in_order_and_is_settled_once() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mode = match rng.random_bool(0.5) {
            true => AckMode::Client,
            false => AckMode::ClientIndividual,
        };
        let prefetch = rng.random_range(1..=5);
        let session = session();
        let window = session.open_window(opening(mode, Version::V1_2, prefetch));
        let (mut offered, mut fresh) = (0, 0);
        // What the client holds, by the number of its `ack`, and how often it refused each message.
        let mut holds: BTreeMap<u64, usize> = BTreeMap::new();
        let mut refusals: BTreeMap<usize, u8> = BTreeMap::new();
        while fresh < 60 || !holds.is_empty() {
            let waiting = offered - fresh;
            if offered < 60 && waiting < 10 && rng.random_bool(0.5) {
                offered += 1;
                offer(&window, offered..=offered);
            }
            for frame in shown(&session) {
                let mut words = frame.split(' ');
                let number = words.next().unwrap()[1..].parse().unwrap();
                let n = words.next().unwrap()[2..].parse().unwrap();
                match words.next() {
                    None => {
                        fresh += 1;
                        assert_eq!(number, fresh, "seed {seed}: new ones in order");
                    }
                    Some(_) => assert!(refusals.contains_key(&number), "seed {seed}"),
                }
                assert_eq!(holds.insert(n, number), None);
            }
            assert_eq!(window.unsettled(), holds.len(), "seed {seed}");
            assert!(holds.len() <= prefetch as usize, "seed {seed}");
            let keys: Vec<_> = holds.keys().copied().collect();
            let Some(n) = keys.choose(&mut rng).copied() else {
                continue;
            };
            let verdicts = [Verdict::Ack, Verdict::Requeue, Verdict::Reject];
            let verdict = verdicts[rng.random_range(0..3)];
            session
                .settle(&named(Version::V1_2, n, 0), verdict)
                .unwrap();
            holds.retain(|other, number| {
                let is_meant = *other == n || (*other < n && mode == AckMode::Client);
                if is_meant && verdict == Verdict::Requeue {
                    let times = refusals.entry(*number).or_default();
                    *times += 1;
                    assert!(*times <= 3, "seed {seed}: nobody is asked a fourth time");
                }
                !is_meant
            });
        }
    }
}
