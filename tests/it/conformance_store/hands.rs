//! Checks of appends that hold only while an identity is in certain hands.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use stompbox::model::{Holder, RoomId, UnixMillis, UserId};
use stompbox::store::{
    Append, Appended, NewVisitor, Position, Store, StoreError, TakeOver, TokenHash,
};

use super::{Both, complete, message, pair, seq, visitor};

/// When the first taker takes an identity over.
const TAKEN_AT: UnixMillis = UnixMillis(1_100);
const FIRST: Option<Holder> = Some(Holder { taken_at: None });
const SECOND: Option<Holder> = Some(Holder {
    taken_at: Some(TAKEN_AT),
});

pub(crate) async fn an_append_may_ask_in_whose_hands_its_people_are(both: &Both) {
    let [one, other] = both;
    let people = pair("hands");
    let (a, b) = &people;
    let users = [a.clone(), b.clone()];
    let held = |from_holder, to_holder, text: &str| Append {
        from_holder,
        to_holder,
        ..message(&people, text)
    };
    // Nobody is in nobody's hands.
    refused(&one.append(held(None, FIRST, "x")).await, b);
    create(one.as_ref(), a, 0).await;
    create(one.as_ref(), b, 1).await;

    // A refusal leaves no trace, not even an empty conversation.
    refused(&one.append(held(None, SECOND, "x")).await, b);
    refused(&other.append(held(SECOND, FIRST, "x")).await, a);
    refused(&other.append(held(SECOND, SECOND, "x")).await, a);
    let heads = one.heads(&users, Position::START).await.unwrap();
    assert!(heads.heads.is_empty(), "{heads:?}");

    assert_eq!(seq(&one.append(held(FIRST, FIRST, "x")).await), 1);
    let keyed = |to_holder, key: &str| Append {
        client_id: Some(key.parse().unwrap()),
        ..held(None, to_holder, key)
    };
    assert_eq!(seq(&one.append(keyed(FIRST, "k")).await), 2);
    assert!(take(other.as_ref(), b, 1).await);
    refused(&one.append(held(None, FIRST, "x")).await, b);
    let again = one.append(keyed(FIRST, "k")).await.unwrap();
    assert_eq!((again.message.seq, again.duplicate), (2, true));
    assert_eq!(seq(&one.append(held(FIRST, SECOND, "x")).await), 3);
    assert_eq!(seq(&one.append(held(None, None, "x")).await), 4);
    let back = Append {
        from_holder: FIRST,
        ..message(&(b.clone(), a.clone()), "by the former holder")
    };
    refused(&other.append(back).await, b);

    // Who becomes firm stays in the hands that he is in.
    let (until, now) = (UnixMillis(5_000), UnixMillis(1_200));
    other.confirm_token(token(1, 1), until, now).await.unwrap();
    assert_eq!(seq(&one.append(held(None, SECOND, "x")).await), 5);

    // What is refused costs what is queued with it nothing; a repetition of what is not refused is
    // none of what is.
    let queued = [
        (None, "l"),
        (FIRST, "m"),
        (SECOND, "m"),
        (FIRST, "m"),
        (FIRST, "n"),
        (None, "o"),
    ];
    let queued = queued.map(|(to_holder, key)| one.append(keyed(to_holder, key)));
    let answers = join_all(queued).await;
    let seqs: Vec<Option<u64>> = answers
        .iter()
        .map(|answer| answer.as_ref().ok().map(|appended| appended.message.seq))
        .collect();
    assert_eq!(seqs, [Some(6), None, Some(7), Some(7), None, Some(8)]);
    refused(&answers[1], b);
    refused(&answers[4], b);
    let room = RoomId::direct(a, b);
    assert_eq!(complete(other.as_ref(), room).await, 8);
}

/// Whatever is committed for the former holder is there when the taker has taken; nothing of it
/// comes later.
pub(crate) async fn a_take_over_and_an_append_never_pass_each_other(both: &Both) {
    for round in 0..24_u8 {
        let people = pair(&format!("passing{round}"));
        let room = RoomId::direct(&people.0, &people.1);
        // In turn the recipient and the writer changes hands.
        let is_writer = round % 2 == 0;
        let moving = if is_writer { &people.0 } else { &people.1 };
        create(both[0].as_ref(), moving, 10 + round).await;
        let committed = AtomicU64::new(0);
        let write = async |node: usize| {
            for _ in 0..10_000 {
                let append = Append {
                    from_holder: FIRST.filter(|_| is_writer),
                    to_holder: FIRST.filter(|_| !is_writer),
                    ..message(&people, "for the first holder")
                };
                match both[node].append(append).await {
                    Ok(_) => committed.fetch_add(1, Ordering::Relaxed),
                    answer => return refused(&answer, moving),
                };
                tokio::task::yield_now().await;
            }
            panic!("it is never refused");
        };
        let writers = join_all([0, 1, 0, 1].map(write));
        let taker = async {
            while committed.load(Ordering::Relaxed) < u64::from(round) / 2 {
                tokio::task::yield_now().await;
            }
            assert!(take(both[1].as_ref(), moving, 10 + round).await);
            complete(both[0].as_ref(), room).await
        };
        let (_, there) = tokio::join!(writers, taker);
        let head = complete(both[1].as_ref(), room).await;
        assert_eq!(head, there, "round {round}: appended after the take-over");
        assert_eq!(head, committed.into_inner());
    }
}

fn refused(answer: &Result<Appended, StoreError>, because_of: &UserId) {
    let Err(StoreError::ChangedHands(user)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(user, because_of);
}

/// A loose visitor of number `n`, seen at 1,000.
async fn create(store: &dyn Store, user_id: &UserId, n: u8) {
    let visitor = NewVisitor {
        token: token(n, 0),
        ..visitor(user_id.as_str(), 0, "3")
    };
    assert!(store.create_visitor(visitor).await.unwrap());
}

async fn take(store: &dyn Store, user_id: &UserId, n: u8) -> bool {
    let take_over = TakeOver {
        user_id: user_id.clone(),
        taken_at_before: None,
        last_seen_before: UnixMillis(1_000),
        token: token(n, 1),
        token_expires_at: UnixMillis(5_000),
        now: TAKEN_AT,
    };
    store.take_over(take_over).await.unwrap()
}

/// The secret of the visitor of this number, or of his taker.
fn token(n: u8, holder: u8) -> TokenHash {
    let mut token = [0xee; 32];
    token[..2].copy_from_slice(&[n, holder]);
    token
}
