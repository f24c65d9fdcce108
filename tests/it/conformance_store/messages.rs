//! Checks of appending and reading: `seq`, repetitions, heads, ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use stompbox::model::{RoomId, UnixMillis, UserId};
use stompbox::store::{Append, Head, Position, Store};
use tokio::task::JoinSet;

use super::{Both, message, pair};

pub(crate) async fn one_id_for_everybody(both: &Both) {
    let id = both[0].store_id().await.unwrap();
    assert!(!id.is_empty());
    assert_eq!(id, both[1].store_id().await.unwrap());
    both[0].check().await.unwrap();
}

pub(crate) async fn seq_runs_without_holes(both: &Both) {
    let pairs: Vec<(UserId, UserId)> = (0..8).map(|n| pair(&format!("hole{n}"))).collect();
    let mut writers = JoinSet::new();
    for writer in 0..8_usize {
        let (store, pairs) = (Arc::clone(&both[writer % 2]), pairs.clone());
        writers.spawn(async move {
            let mut got: Vec<(RoomId, u64, u32)> = Vec::new();
            for round in 0..12_usize {
                let commits: Vec<_> = pairs
                    .iter()
                    .map(|pair| store.append(message(pair, &format!("{writer} {round}"))))
                    .collect();
                for commit in commits {
                    let appended = commit.await.unwrap();
                    assert!(!appended.duplicate);
                    let message = appended.message;
                    got.push((message.room, message.seq, message.epoch));
                }
            }
            got
        });
    }
    let mut by_room: BTreeMap<RoomId, BTreeSet<u64>> = BTreeMap::new();
    let mut epochs: BTreeSet<(RoomId, u32)> = BTreeSet::new();
    for (room, seq, epoch) in writers.join_all().await.into_iter().flatten() {
        assert!(by_room.entry(room).or_default().insert(seq), "{seq} twice");
        epochs.insert((room, epoch));
    }
    for (room, seqs) in &by_room {
        assert_eq!(*seqs, (1..=96).collect(), "{room}");
        let range = both[0].range(*room, 0, u64::MAX, 1_000).await.unwrap();
        assert_eq!(range.messages.len(), 96);
        assert_eq!(range.through, 96);
    }
    assert_eq!(epochs.len(), pairs.len(), "one epoch per conversation");
}

pub(crate) async fn the_order_of_calls_is_the_order_of_seq(both: &Both) {
    let pair = pair("calls");
    // Nobody waits between the calls, so the place in the queue alone makes the order.
    let commits: Vec<_> = (0..300)
        .map(|n| both[0].append(message(&pair, &n.to_string())))
        .collect();
    for (n, commit) in commits.into_iter().enumerate() {
        let appended = commit.await.unwrap();
        assert_eq!(appended.message.seq, n as u64 + 1);
        assert_eq!(appended.message.text, n.to_string());
    }
    // Also when nobody waits for the commits at all.
    for n in 300..320 {
        drop(both[0].append(message(&pair, &n.to_string())));
    }
    let last = both[0].append(message(&pair, "last")).await.unwrap();
    assert_eq!(last.message.seq, 321);
}

pub(crate) async fn a_repetition_is_found(both: &Both) {
    let pair = pair("again");
    let keyed = |text: &str, key: &str| Append {
        client_id: Some(key.parse().unwrap()),
        ..message(&pair, text)
    };
    let first = both[0].append(keyed("first", "k1")).await.unwrap();
    assert!(!first.duplicate);
    // Another attempt has another id and time, and may even have another text.
    for store in both {
        let again = store.append(keyed("second", "k1")).await.unwrap();
        assert!(again.duplicate);
        assert_eq!(again.message, first.message);
    }
    // Twice in one batch: both wait in the queue before either is written.
    let (one, two) = (
        both[0].append(keyed("one", "k2")),
        both[0].append(keyed("two", "k2")),
    );
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert_eq!((one.duplicate, two.duplicate), (false, true));
    assert_eq!(one.message, two.message);
    // At once, on both nodes, the first message of a conversation included.
    for round in 0..20 {
        let pair = self::pair(&format!("race{round}"));
        let racing = |store: &Arc<dyn Store>| {
            store.append(Append {
                client_id: Some("same".parse().unwrap()),
                ..message(&pair, "race")
            })
        };
        let (one, two) = tokio::join!(racing(&both[0]), racing(&both[1]));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_ne!(one.duplicate, two.duplicate, "round {round}");
        assert_eq!((&one.message, one.message.seq), (&two.message, 1));
    }
    // The key is the writer's own: the other one may use the same.
    let answer = Append {
        client_id: Some("k1".parse().unwrap()),
        ..message(&(pair.1.clone(), pair.0.clone()), "answer")
    };
    let answer = both[0].append(answer).await.unwrap();
    assert_eq!((answer.duplicate, answer.message.seq), (false, 3));
    let range = both[1].range(answer.message.room, 0, 9, 9).await.unwrap();
    let texts: Vec<&str> = range.messages.iter().map(|m| m.text.as_str()).collect();
    assert_eq!(texts, ["first", "one", "answer"]);
}

pub(crate) async fn no_reader_sees_a_hole(both: &Both) {
    let pair = pair("reader");
    let room = RoomId::direct(&pair.0, &pair.1);
    let mut writers = JoinSet::new();
    for writer in 0..4_usize {
        let (store, pair) = (Arc::clone(&both[writer % 2]), pair.clone());
        writers.spawn(async move {
            for round in 0..25 {
                let commits: Vec<_> = (0..8)
                    .map(|n| store.append(message(&pair, &format!("{round} {n}"))))
                    .collect();
                for commit in commits {
                    commit.await.unwrap();
                }
            }
        });
    }
    let mut seen = 0;
    while seen < 800 {
        let reader = &both[usize::try_from(seen % 2).unwrap()];
        let range = reader.range(room, seen, u64::MAX, 1_000).await.unwrap();
        for message in &range.messages {
            assert_eq!(
                message.seq,
                seen + 1,
                "a reader saw {} too early",
                message.seq
            );
            seen += 1;
        }
        assert_eq!(range.through, seen);
        if range.messages.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    writers.join_all().await;
}

pub(crate) async fn heads_since_a_position_miss_nothing(both: &Both) {
    let hub: UserId = "heads.hub".parse().unwrap();
    let spokes: Vec<UserId> = (0..20)
        .map(|n| format!("heads.spoke{n:02}").parse().unwrap())
        .collect();
    let mut writers = JoinSet::new();
    for writer in 0..4_usize {
        let (store, hub, spokes) = (Arc::clone(&both[writer % 2]), hub.clone(), spokes.clone());
        writers.spawn(async move {
            for round in 0..60_usize {
                let to = spokes[(round * 7 + writer * 3) % spokes.len()].clone();
                store
                    .append(message(&(hub.clone(), to), "x"))
                    .await
                    .unwrap();
            }
        });
    }
    // What the followers put together from differences is what one question finds in the end.
    let users = [hub.clone(), spokes[3].clone(), hub.clone()];
    let mut known: [BTreeMap<(UserId, RoomId), u64>; 2] = Default::default();
    let mut since = [Position::START; 2];
    let mut is_over = false;
    loop {
        for (n, store) in both.iter().enumerate() {
            let answer = store.heads(&users, since[n]).await.unwrap();
            assert!(answer.position >= since[n], "a position never goes back");
            let sorted = answer
                .heads
                .is_sorted_by_key(|head| (head.user.clone(), head.room));
            assert!(sorted, "{:?}", answer.heads);
            since[n] = answer.position;
            for Head { user, room, seq } in answer.heads {
                let before = known[n].insert((user, room), seq);
                assert!(before <= Some(seq), "a head never goes back");
            }
        }
        if is_over {
            break;
        }
        while writers.try_join_next().is_some() {}
        is_over = writers.is_empty();
    }
    let all = both[0].heads(&users, Position::START).await.unwrap();
    let all: BTreeMap<(UserId, RoomId), u64> = all
        .heads
        .into_iter()
        .map(|head| ((head.user, head.room), head.seq))
        .collect();
    assert_eq!(all.len(), 21, "20 of the hub and one of the spoke");
    assert_eq!(
        all.values().sum::<u64>(),
        240 + all[&(spokes[3].clone(), RoomId::direct(&hub, &spokes[3]),)]
    );
    assert_eq!(known, [all.clone(), all]);
    let stranger = ["heads.nobody".parse().unwrap()];
    let nothing = both[0].heads(&stranger, Position::START).await.unwrap();
    assert!(nothing.heads.is_empty());
    assert!(nothing.position > Position::START);
    assert!(
        both[0]
            .heads(&[], Position::START)
            .await
            .unwrap()
            .heads
            .is_empty()
    );
}

pub(crate) async fn a_range_keeps_its_limits(both: &Both) {
    let pair = pair("range");
    let room = RoomId::direct(&pair.0, &pair.1);
    let empty = both[0].range(room, 0, 10, 10).await.unwrap();
    assert_eq!((empty.messages.len(), empty.through), (0, 0));
    for n in 1..=10 {
        both[0]
            .append(message(&pair, &n.to_string()))
            .await
            .unwrap();
    }
    const NONE: RangeInclusive<u64> = RangeInclusive::new(1, 0);
    for ((after, through, limit), (seqs, complete)) in [
        ((0, 10, 100), (1..=10, 10)),
        ((0, 99, 100), (1..=10, 10)),
        ((0, u64::MAX, 10), (1..=10, 10)),
        ((0, 10, 3), (1..=3, 3)),
        ((4, 6, 100), (5..=6, 6)),
        ((9, 10, 1), (10..=10, 10)),
        ((10, 99, 5), (NONE, 10)),
        ((50, 99, 5), (NONE, 50)),
        ((6, 4, 5), (NONE, 6)),
        ((2, 5, 0), (NONE, 2)),
    ] {
        let range = both[1].range(room, after, through, limit).await.unwrap();
        let found: Vec<u64> = range.messages.iter().map(|m| m.seq).collect();
        let asked = format!("({after}, {through}], at most {limit}");
        assert_eq!(found, seqs.collect::<Vec<u64>>(), "{asked}");
        assert_eq!(range.through, complete, "{asked}");
    }
}

pub(crate) async fn a_text_comes_back_as_it_was(both: &Both) {
    let (from, to) = pair("text");
    for (written, stored) in [
        ("", ""),
        ("안녕하세요 👋🏽 'quoted' \"double\" \\ {a,b} NULL", ""),
        ("a\0b\0", "a\u{fffd}b\u{fffd}"),
        ("\u{1}\u{7f}\r\n\t\u{10ffff}", ""),
        (&"가".repeat(20_000), ""),
    ] {
        let stored = if stored.is_empty() { written } else { stored };
        let append = Append {
            from_name: "손님\0 7k2m".to_owned(),
            client_id: Some(format!("t{}", written.len()).parse().unwrap()),
            ..message(&(from.clone(), to.clone()), written)
        };
        let appended = both[0].append(append.clone()).await.unwrap().message;
        assert_eq!(appended.text, stored);
        assert_eq!(appended.from_name, "손님\u{fffd} 7k2m");
        let seq = appended.seq;
        let range = both[1].range(append.room, seq - 1, seq, 1).await.unwrap();
        assert_eq!(range.messages, std::slice::from_ref(&appended));
        assert_eq!(appended.id, append.id);
        assert_eq!(appended.timestamp, append.timestamp);
        assert_eq!(appended.client_id, append.client_id);
        assert_eq!((&appended.from, &appended.to), (&from, &to));
    }
}

pub(crate) async fn who_wrote_is_remembered(both: &Both) {
    let (writer, reader) = pair("wrote");
    let room = RoomId::direct(&writer, &reader);
    let at = |millis| UnixMillis(millis);
    let since =
        async |user: &UserId, millis| both[1].wrote_since(room, user, at(millis)).await.unwrap();
    assert!(!since(&writer, 0).await);
    // The second one carries an earlier time, as another node's clock may.
    for millis in [500, 400] {
        let append = Append {
            timestamp: at(millis),
            ..message(&(writer.clone(), reader.clone()), "x")
        };
        both[0].append(append).await.unwrap();
    }
    assert!(since(&writer, 0).await);
    assert!(since(&writer, 500).await);
    assert!(!since(&writer, 501).await);
    assert!(
        !since(&reader, 0).await,
        "who only received has not written"
    );
    // To oneself.
    let own = Append {
        timestamp: at(7),
        ..message(&(writer.clone(), writer.clone()), "x")
    };
    let own = both[0].append(own).await.unwrap().message;
    assert!(both[0].wrote_since(own.room, &writer, at(7)).await.unwrap());
    let users = [writer];
    let heads = both[0].heads(&users, Position::START).await.unwrap().heads;
    assert_eq!(heads.len(), 2);
}
