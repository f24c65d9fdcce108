//! One suite for the contract of the store, run on every engine, a real PostgreSQL included.
//!
//! Not here: what only one engine has to show (`store_sqlite`, `store_postgres`). Invariant: a check
//! knows its store only as `Arc<dyn Store>`, and uses names of its own, so that all checks share one
//! store; what touches everybody (`purge`) runs last, with times that only its own rows have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stompbox::model::{ClientIdentifier, Kind, MessageId, RoomId, Standing, UnixMillis, UserId};
use stompbox::store::{
    Append, Appended, Head, MemoryStore, NewVisitor, Position, PostgresSettings, PostgresStore,
    SqliteSettings, SqliteStore, Store, StoreError, TakeOver,
};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::support::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_keeps_the_contract() {
    let store = Arc::new(MemoryStore::default());
    keeps_the_contract(store.clone(), store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_sqlite_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
    keeps_the_contract(store.clone(), store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_postgresql_keeps_the_contract_on_two_nodes() {
    let url = Postgres::shared().await.fresh_database().await;
    let tracker = TaskTracker::new();
    // At once, so that they also meet at the schema and at the id of the store.
    let settings = PostgresSettings::default();
    let (one, other) = tokio::join!(
        PostgresStore::connect(&url, &settings, &tracker),
        PostgresStore::connect(&url, &settings, &tracker),
    );
    keeps_the_contract(one.unwrap(), other.unwrap()).await;
    tracker.close();
    tracker.wait().await;
}

/// Every check, on two handles of one store: two nodes, or twice the same where there is only one.
async fn keeps_the_contract(one: Arc<dyn Store>, other: Arc<dyn Store>) {
    let both = [one, other];
    one_id_for_everybody(&both).await;
    seq_runs_without_holes(&both).await;
    the_order_of_calls_is_the_order_of_seq(&both).await;
    a_repetition_is_found(&both).await;
    no_reader_sees_a_hole(&both).await;
    heads_since_a_position_miss_nothing(&both).await;
    a_range_keeps_its_limits(&both).await;
    a_text_comes_back_as_it_was(&both).await;
    who_wrote_is_remembered(&both).await;
    a_visitor_is_opened_by_his_secret(&both).await;
    loose_visitors_are_found_by_fingerprint(&both).await;
    one_of_two_takers_wins(&both).await;
    everybody_gets_his_own_copy(&both).await;
    an_erased_user_is_forgotten(&both).await;
    what_has_expired_goes(&both).await;
    a_closed_store_refuses(&both).await;
}

type Both = [Arc<dyn Store>; 2];

async fn one_id_for_everybody(both: &Both) {
    let id = both[0].store_id().await.unwrap();
    assert!(!id.is_empty());
    assert_eq!(id, both[1].store_id().await.unwrap());
    both[0].check().await.unwrap();
}

async fn seq_runs_without_holes(both: &Both) {
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

async fn the_order_of_calls_is_the_order_of_seq(both: &Both) {
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

async fn a_repetition_is_found(both: &Both) {
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

async fn no_reader_sees_a_hole(both: &Both) {
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

async fn heads_since_a_position_miss_nothing(both: &Both) {
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

async fn a_range_keeps_its_limits(both: &Both) {
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
    for ((after, through, limit), (seqs, complete)) in [
        ((0, 10, 100), (1..=10, 10)),
        ((0, 99, 100), (1..=10, 10)),
        ((0, u64::MAX, 10), (1..=10, 10)),
        ((0, 10, 3), (1..=3, 3)),
        ((4, 6, 100), (5..=6, 6)),
        ((9, 10, 1), (10..=10, 10)),
        ((10, 99, 5), (1..=0, 10)),
        ((50, 99, 5), (1..=0, 50)),
        ((6, 4, 5), (1..=0, 6)),
        ((2, 5, 0), (1..=0, 2)),
    ] {
        let range = both[1].range(room, after, through, limit).await.unwrap();
        let found: Vec<u64> = range.messages.iter().map(|m| m.seq).collect();
        let asked = format!("({after}, {through}], at most {limit}");
        assert_eq!(found, seqs.collect::<Vec<u64>>(), "{asked}");
        assert_eq!(range.through, complete, "{asked}");
    }
}

async fn a_text_comes_back_as_it_was(both: &Both) {
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
        assert_eq!(range.messages, [appended.clone()]);
        assert_eq!(appended.id, append.id);
        assert_eq!(appended.timestamp, append.timestamp);
        assert_eq!(appended.client_id, append.client_id);
        assert_eq!((&appended.from, &appended.to), (&from, &to));
    }
}

async fn who_wrote_is_remembered(both: &Both) {
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

async fn a_visitor_is_opened_by_his_secret(both: &Both) {
    let visitor = visitor("secret", 1, "0");
    let (id, token) = (visitor.user_id.clone(), visitor.token);
    let by_token = async |now| {
        both[1]
            .visitor_by_token(token, UnixMillis(now))
            .await
            .unwrap()
    };
    assert_eq!(both[0].user(&id).await.unwrap(), None);
    assert_eq!(by_token(1_000).await, None);
    assert!(both[0].create_visitor(visitor.clone()).await.unwrap());
    let mut expected = both[1].user(&id).await.unwrap().unwrap();
    assert_eq!(expected.kind, Kind::Anonymous);
    assert_eq!(expected.standing, Standing::Loose { taken_at: None });
    assert_eq!(expected.name, visitor.name);
    assert_eq!(expected.client_identifier, visitor.client_identifier);
    assert_eq!(
        (expected.created_at, expected.last_seen),
        (visitor.now, visitor.now)
    );
    assert_eq!(by_token(1_999).await, Some(expected.clone()));
    assert_eq!(by_token(2_000).await, None, "its life ended");

    // The address is taken, the secret is taken.
    let same_address = NewVisitor {
        token: [9; 32],
        ..visitor.clone()
    };
    assert!(!both[1].create_visitor(same_address).await.unwrap());
    assert_eq!(
        both[1]
            .visitor_by_token([9; 32], visitor.now)
            .await
            .unwrap(),
        None
    );
    let other: UserId = "secret.other".parse().unwrap();
    let same_secret = NewVisitor {
        user_id: other.clone(),
        ..visitor.clone()
    };
    assert!(!both[1].create_visitor(same_secret.clone()).await.unwrap());
    assert_eq!(both[0].user(&other).await.unwrap(), None);

    // Presented back: firm from now on, and it lives longer.
    both[1]
        .confirm_token(token, UnixMillis(9_000), UnixMillis(1_500))
        .await
        .unwrap();
    expected.standing = Standing::Firm;
    expected.last_seen = UnixMillis(1_500);
    assert_eq!(by_token(8_999).await, Some(expected.clone()));
    both[0].seen(&id, UnixMillis(1_700)).await.unwrap();
    both[0].seen(&id, UnixMillis(1_600)).await.unwrap();
    expected.last_seen = UnixMillis(1_700);
    assert_eq!(both[0].user(&id).await.unwrap(), Some(expected));
    // An expired one confirms nothing, and may begin anew with somebody else.
    both[0]
        .confirm_token(token, UnixMillis(99_000), UnixMillis(9_000))
        .await
        .unwrap();
    assert_eq!(by_token(9_000).await, None);
    let reused = NewVisitor {
        now: UnixMillis(9_000),
        token_expires_at: UnixMillis(9_900),
        ..same_secret
    };
    assert!(both[0].create_visitor(reused).await.unwrap());
    assert_eq!(by_token(9_000).await.unwrap().user_id, other);
    both[0]
        .confirm_token([77; 32], UnixMillis(1), UnixMillis(0))
        .await
        .unwrap();

    for round in 0..10_u8 {
        let racer = |n: u8| NewVisitor {
            user_id: format!("secret.race{round}.{n}").parse().unwrap(),
            token: [100 + round; 32],
            ..visitor.clone()
        };
        let (one, two) = tokio::join!(
            both[0].create_visitor(racer(0)),
            both[1].create_visitor(racer(1)),
        );
        assert_ne!(one.unwrap(), two.unwrap(), "one secret, one visitor");
    }
}

async fn loose_visitors_are_found_by_fingerprint(both: &Both) {
    let client = fingerprint("1");
    let found = async |seen_after| {
        let found = both[1]
            .loose_visitors(&client, UnixMillis(seen_after))
            .await
            .unwrap();
        found
            .into_iter()
            .map(|user| user.user_id.to_string())
            .collect::<Vec<_>>()
    };
    assert!(found(0).await.is_empty());
    let firm = NewVisitor {
        loose: false,
        ..visitor("loose.firm", 20, "1")
    };
    both[0].create_visitor(firm).await.unwrap();
    both[0]
        .create_visitor(visitor("loose.elsewhere", 21, "2"))
        .await
        .unwrap();
    assert!(found(0).await.is_empty());
    for (n, name) in ["loose.a", "loose.b", "loose.c"].into_iter().enumerate() {
        let token = 22 + u8::try_from(n).unwrap();
        both[0]
            .create_visitor(visitor(name, token, "1"))
            .await
            .unwrap();
    }
    assert_eq!(
        found(1_000).await,
        ["loose.a", "loose.b"],
        "two are as good as any number"
    );
    assert!(found(1_001).await.is_empty());
    both[0]
        .seen(&"loose.b".parse().unwrap(), UnixMillis(1_200))
        .await
        .unwrap();
    assert_eq!(found(1_001).await, ["loose.b"]);
}

async fn one_of_two_takers_wins(both: &Both) {
    for round in 0..20_u8 {
        let name = format!("taken{round}");
        let first = NewVisitor {
            token: [round; 32].map(|b| b ^ 0xf0),
            ..visitor(&name, 0, "3")
        };
        assert!(both[0].create_visitor(first.clone()).await.unwrap());
        let taker = |n: u8, before: Option<u64>, seen: u64, now| TakeOver {
            user_id: first.user_id.clone(),
            taken_at_before: before.map(UnixMillis),
            last_seen_before: UnixMillis(seen),
            token: [round, n].repeat(16).try_into().unwrap(),
            token_expires_at: UnixMillis(5_000),
            now: UnixMillis(now),
        };
        // In the same millisecond in which it was created, as fast clocks may have it.
        let (one, two) = tokio::join!(
            both[0].take_over(taker(201, None, 1_000, 1_000)),
            both[1].take_over(taker(202, None, 1_000, 1_000)),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_ne!(one, two, "round {round}: exactly one wins");
        let winner = if one { 201 } else { 202 };
        let user = both[0].user(&first.user_id).await.unwrap().unwrap();
        let Standing::Loose {
            taken_at: Some(taken_at),
        } = user.standing
        else {
            panic!("{user:?}");
        };
        assert_eq!(taken_at, UnixMillis(1_000));
        let now = UnixMillis(1_001);
        let old = both[1].visitor_by_token(first.token, now).await.unwrap();
        assert_eq!(old, None, "every older secret ends");
        let token = taker(winner, None, 0, 0).token;
        assert_eq!(
            both[1].visitor_by_token(token, now).await.unwrap(),
            Some(user.clone())
        );

        // What was read before is stale now; who reads again wins, once, and within the same
        // millisecond as well.
        assert!(
            !both[0]
                .take_over(taker(203, None, 1_000, 1_100))
                .await
                .unwrap()
        );
        assert!(
            !both[0]
                .take_over(taker(203, Some(1_000), 999, 1_100))
                .await
                .unwrap()
        );
        let again = taker(203, Some(1_000), 1_000, 1_000);
        assert!(both[0].take_over(again).await.unwrap());
        let stale = taker(204, Some(1_000), 1_000, 1_000);
        assert!(!both[1].take_over(stale).await.unwrap());
        let fresh = taker(204, Some(1_001), 1_000, 1_300);
        assert!(both[1].take_over(fresh).await.unwrap());
        let live = TakeOver {
            token: visitor_token_of("loose.a"),
            ..taker(0, Some(1_300), 1_300, 1_400)
        };
        assert!(
            !both[0].take_over(live).await.unwrap(),
            "somebody's live secret"
        );
        // A firm identity is never taken.
        let token = taker(204, None, 0, 0).token;
        both[0]
            .confirm_token(token, UnixMillis(6_000), UnixMillis(1_301))
            .await
            .unwrap();
        assert!(
            !both[0]
                .take_over(taker(205, Some(1_300), 1_301, 1_500))
                .await
                .unwrap()
        );
        assert!(
            !both[0]
                .take_over(taker(205, None, 1_301, 1_500))
                .await
                .unwrap()
        );
    }
    let nobody = TakeOver {
        user_id: "taken.nobody".parse().unwrap(),
        taken_at_before: None,
        last_seen_before: UnixMillis(0),
        token: [0xee; 32],
        token_expires_at: UnixMillis(9),
        now: UnixMillis(1),
    };
    assert!(!both[0].take_over(nobody).await.unwrap());
}

async fn everybody_gets_his_own_copy(both: &Both) {
    let (a, b) = pair("copy");
    let c: UserId = "copy.c".parse().unwrap();
    let mut expected = Vec::new();
    for (from, to) in [(&a, &b), (&b, &a), (&a, &c), (&a, &a), (&b, &c)] {
        let appended = both[0]
            .append(message(&(from.clone(), to.clone()), "x"))
            .await
            .unwrap();
        expected.push(appended.message);
    }
    expected.pop();
    let all = both[1].export(&a, None, 100).await.unwrap();
    assert_eq!(all, expected, "oldest first, and nothing of others");
    let mut paged = Vec::new();
    while let page = both[0]
        .export(
            &a,
            paged.last().map(|m: &stompbox::model::StoredMessage| m.id),
            3,
        )
        .await
        .unwrap()
        && !page.is_empty()
    {
        assert!(page.len() <= 3);
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

async fn an_erased_user_is_forgotten(both: &Both) {
    let gone = visitor("erased.a", 50, "5");
    both[0].create_visitor(gone.clone()).await.unwrap();
    let (a, b) = (gone.user_id.clone(), "erased.b".parse::<UserId>().unwrap());
    for (from, to) in [(&a, &b), (&b, &a), (&a, &a)] {
        both[0]
            .append(message(&(from.clone(), to.clone()), "words"))
            .await
            .unwrap();
    }
    both[1].erase(&a).await.unwrap();
    both[1].erase(&a).await.unwrap();
    assert_eq!(both[0].user(&a).await.unwrap(), None);
    assert_eq!(
        both[0]
            .visitor_by_token(gone.token, gone.now)
            .await
            .unwrap(),
        None
    );
    assert!(both[0].export(&a, None, 9).await.unwrap().is_empty());
    let heads = both[0]
        .heads(&[a.clone(), b.clone()], Position::START)
        .await
        .unwrap()
        .heads;
    let room = RoomId::direct(&a, &b);
    assert_eq!(
        heads,
        [Head {
            user: b.clone(),
            room,
            seq: 2
        }],
        "the other still has his"
    );
    let range = both[0].range(room, 0, 9, 9).await.unwrap();
    let left: Vec<(&str, &str)> = range
        .messages
        .iter()
        .map(|m| (m.text.as_str(), m.from_name.as_str()))
        .collect();
    assert_eq!(left, [("", ""), ("words", "name")]);
    let own = RoomId::direct(&a, &a);
    assert_eq!(
        both[0].range(own, 0, 9, 9).await.unwrap().through,
        0,
        "nobody was left there"
    );
    // Who writes on finds the conversation as it was; a new one has a new epoch.
    let next = both[0]
        .append(message(&(b.clone(), a.clone()), "x"))
        .await
        .unwrap();
    assert_eq!(
        (next.message.seq, next.message.epoch),
        (3, range.messages[0].epoch)
    );
}

async fn what_has_expired_goes(both: &Both) {
    let (a, b) = pair("expired");
    let keyed = |n: u64, expires_at: Option<u64>| Append {
        client_id: Some(format!("e{n}").parse().unwrap()),
        expires_at: expires_at.map(UnixMillis),
        ..message(&(a.clone(), b.clone()), "x")
    };
    for n in 1..=5 {
        let expires_at = [None, Some(10), Some(20)][usize::try_from(n).unwrap() % 3];
        both[0].append(keyed(n, expires_at)).await.unwrap();
    }
    // Secrets and visitors of the other checks live long enough for the times used here.
    let short = NewVisitor {
        token_expires_at: UnixMillis(15),
        ..visitor("expired.short", 60, "6")
    };
    let idle = NewVisitor {
        now: UnixMillis(5),
        ..visitor("expired.idle", 61, "6")
    };
    let kept = NewVisitor {
        now: UnixMillis(6),
        ..visitor("expired.kept", 62, "6")
    };
    for visitor in [&short, &idle, &kept] {
        assert!(both[0].create_visitor((*visitor).clone()).await.unwrap());
    }
    both[0]
        .append(message(&(idle.user_id.clone(), a.clone()), "x"))
        .await
        .unwrap();
    both[0]
        .append(message(&(idle.user_id.clone(), idle.user_id.clone()), "x"))
        .await
        .unwrap();

    let room = RoomId::direct(&a, &b);
    assert_eq!(
        both[1].purge(UnixMillis(9), UnixMillis(5)).await.unwrap(),
        0
    );
    // Two messages that end at 10, one secret at 15, one visitor with his secret.
    assert_eq!(
        both[1].purge(UnixMillis(15), UnixMillis(6)).await.unwrap(),
        5
    );
    assert_eq!(
        both[1].purge(UnixMillis(15), UnixMillis(6)).await.unwrap(),
        0
    );
    let range = both[0].range(room, 0, 9, 9).await.unwrap();
    let seqs: Vec<u64> = range.messages.iter().map(|m| m.seq).collect();
    assert_eq!((seqs.as_slice(), range.through), ([2, 3, 5].as_slice(), 5));
    assert!(both[0].user(&short.user_id).await.unwrap().is_some());
    assert!(both[0].user(&idle.user_id).await.unwrap().is_none());
    assert!(both[0].user(&kept.user_id).await.unwrap().is_some());
    assert!(
        both[0]
            .visitor_by_token(idle.token, UnixMillis(5))
            .await
            .unwrap()
            .is_none()
    );
    let theirs = both[0]
        .heads(std::slice::from_ref(&idle.user_id), Position::START)
        .await
        .unwrap();
    assert!(theirs.heads.is_empty());
    // A key goes with its message, and `seq` never goes back.
    let again = both[0].append(keyed(1, None)).await.unwrap();
    assert_eq!((again.duplicate, again.message.seq), (false, 6));
    let known = both[0].append(keyed(2, None)).await.unwrap();
    assert_eq!((known.duplicate, known.message.seq), (true, 2));
}

async fn a_closed_store_refuses(both: &Both) {
    let pair = pair("closing");
    let queued: Vec<_> = (0..50)
        .map(|n| both[0].append(message(&pair, &n.to_string())))
        .collect();
    both[0].close().await;
    both[1].close().await;
    for commit in queued {
        commit.await.expect("what was queued is committed");
    }
    let late = both[0].append(message(&pair, "late")).await;
    // The store in memory has nothing to close.
    if !format!("{:?}", both[0]).starts_with("MemoryStore") {
        assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    }
}

/// Two people that only one check knows.
pub(crate) fn pair(name: &str) -> (UserId, UserId) {
    let person = |role: &str| format!("{name}.{role}").parse().unwrap();
    (person("a"), person("b"))
}

/// A message of the first to the second, with an id above all before it.
pub(crate) fn message((from, to): &(UserId, UserId), text: &str) -> Append {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    Append {
        room: RoomId::direct(from, to),
        id: MessageId::from_parts(1_000_000 + number, u128::from(number)),
        from: from.clone(),
        from_name: "name".to_owned(),
        to: to.clone(),
        client_id: None,
        text: text.to_owned(),
        timestamp: UnixMillis(1_000_000),
        expires_at: None,
    }
}

/// Whether all of it is there, in order and without holes; yields the highest `seq`.
pub(crate) async fn complete(store: &dyn Store, room: RoomId) -> u64 {
    let mut head = 0;
    loop {
        let range = store.range(room, head, u64::MAX, 1_000).await.unwrap();
        for message in &range.messages {
            head += 1;
            assert_eq!(message.seq, head, "a hole");
        }
        if range.messages.is_empty() {
            return head;
        }
    }
}

/// The `seq` of an answer that must be there.
pub(crate) fn seq(answer: &Result<Appended, StoreError>) -> u64 {
    answer.as_ref().unwrap().message.seq
}

/// A loose visitor, seen at 1,000, whose secret ends at 2,000.
fn visitor(name: &str, token: u8, client: &str) -> NewVisitor {
    NewVisitor {
        user_id: name.parse().unwrap(),
        name: format!("손님 {name}"),
        loose: true,
        client_identifier: fingerprint(client),
        token: [token; 32],
        token_expires_at: UnixMillis(2_000),
        now: UnixMillis(1_000),
    }
}

/// The secret that `loose.a` was given.
fn visitor_token_of(name: &str) -> [u8; 32] {
    assert_eq!(name, "loose.a");
    [22; 32]
}

fn fingerprint(digit: &str) -> ClientIdentifier {
    digit.repeat(26).parse().unwrap()
}
