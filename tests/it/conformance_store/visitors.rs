//! Checks of visitors: secrets, fingerprints, take-overs.

use stompbox::model::{Holder, Kind, Standing, UnixMillis, UserId};
use stompbox::store::{Append, Found, Keep, NewVisitor, StoreError, TakeOver};

use super::{Both, fingerprint, message, visitor};

pub(crate) async fn a_visitor_is_opened_by_his_secret(both: &Both) {
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
    let expected = both[1].user(&id).await.unwrap().unwrap();
    assert_eq!(expected.kind, Kind::Anonymous);
    assert_eq!(expected.standing, Standing::Loose { taken_at: None });
    assert_eq!(expected.name, visitor.name);
    assert_eq!(expected.client_identifier, visitor.client_identifier);
    assert_eq!(
        (expected.created_at, expected.last_seen),
        (visitor.now, visitor.now)
    );
    assert_eq!(by_token(1_999).await, Some(expected));
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
    assert!(!both[1].create_visitor(same_secret).await.unwrap());
    assert_eq!(both[0].user(&other).await.unwrap(), None);
}

pub(crate) async fn a_secret_lives_as_long_as_it_is_used(both: &Both) {
    let visitor = visitor("used", 2, "0");
    let (id, token) = (visitor.user_id.clone(), visitor.token);
    let by_token = async |now| {
        both[1]
            .visitor_by_token(token, UnixMillis(now))
            .await
            .unwrap()
    };
    assert!(both[0].create_visitor(visitor.clone()).await.unwrap());
    let mut expected = both[1].user(&id).await.unwrap().unwrap();
    // Presented back: firm from now on, and it lives longer.
    both[1]
        .confirm_token(token, UnixMillis(9_000), UnixMillis(1_500))
        .await
        .unwrap();
    expected.standing = Standing::FIRM;
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
        user_id: "used.again".parse().unwrap(),
        ..visitor
    };
    assert!(both[0].create_visitor(reused).await.unwrap());
    assert_eq!(
        by_token(9_000).await.unwrap().user_id.as_str(),
        "used.again"
    );
    both[0]
        .confirm_token([77; 32], UnixMillis(1), UnixMillis(0))
        .await
        .unwrap();
}

pub(crate) async fn one_secret_opens_one_visitor(both: &Both) {
    for round in 0..10_u8 {
        let racer = |n: u8| NewVisitor {
            user_id: format!("secret.race{round}.{n}").parse().unwrap(),
            token: [100 + round; 32],
            ..visitor("secret.race", 0, "0")
        };
        let (one, two) = tokio::join!(
            both[0].create_visitor(racer(0)),
            both[1].create_visitor(racer(1)),
        );
        assert_ne!(one.unwrap(), two.unwrap(), "one secret, one visitor");
    }
}

pub(crate) async fn loose_visitors_are_found_by_fingerprint(both: &Both) {
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

pub(crate) async fn one_of_two_takers_wins(both: &Both) {
    for round in 0..20 {
        let first = taken_visitor(round);
        assert!(both[0].create_visitor(first.clone()).await.unwrap());
        let take = async |node: usize, taker| both[node].take_over(taker).await.unwrap();
        let taker = |n, before, now| taker(&first, n, (before, 1_000), now);
        // In the same millisecond in which it was created, as fast clocks may have it.
        let (one, two) = tokio::join!(
            take(0, taker(201, None, 1_000)),
            take(1, taker(202, None, 1_000)),
        );
        assert_ne!(one, two, "round {round}: exactly one wins");
        let user = both[0].user(&first.user_id).await.unwrap().unwrap();
        let taken_at = Some(UnixMillis(1_000));
        assert_eq!(user.standing, Standing::Loose { taken_at });
        let by_token = async |token| {
            let now = UnixMillis(1_001);
            both[1].visitor_by_token(token, now).await.unwrap()
        };
        assert_eq!(by_token(first.token).await, None, "older secrets end");
        let won = taker(if one { 201 } else { 202 }, None, 0).token;
        assert_eq!(by_token(won).await, Some(user));

        // What was read before is stale now; who reads again wins, once, and within the same
        // millisecond as well.
        assert!(!take(0, taker(203, None, 1_100)).await);
        assert!(take(0, taker(203, Some(1_000), 1_000)).await);
        assert!(!take(1, taker(204, Some(1_000), 1_000)).await);
        assert!(take(1, taker(204, Some(1_001), 1_300)).await);
        assert_eq!(by_token(won).await, None);
    }
}

pub(crate) async fn a_taker_who_is_wrong_about_anything_loses(both: &Both) {
    let first = taken_visitor(20);
    assert!(both[0].create_visitor(first.clone()).await.unwrap());
    let take = async |taker| both[1].take_over(taker).await.unwrap();
    assert!(!take(taker(&first, 1, (None, 999), 1_100)).await);
    assert!(!take(taker(&first, 1, (Some(1_000), 1_000), 1_100)).await);
    let live = TakeOver {
        token: visitor_token_of("loose.a"),
        ..taker(&first, 1, (None, 1_000), 1_100)
    };
    assert!(!take(live).await, "somebody's live secret");
    let nobody = TakeOver {
        user_id: "taken.nobody".parse().unwrap(),
        ..taker(&first, 1, (None, 1_000), 1_100)
    };
    assert!(!take(nobody).await);
    // A firm identity is never taken.
    let (until, now) = (UnixMillis(6_000), UnixMillis(1_000));
    both[0]
        .confirm_token(first.token, until, now)
        .await
        .unwrap();
    assert!(!take(taker(&first, 1, (None, 1_000), 1_100)).await);
    let owner = both[0].visitor_by_token(first.token, now).await.unwrap();
    assert_eq!(owner.unwrap().user_id, first.user_id, "it kept its secret");
}

fn taken_visitor(round: u8) -> NewVisitor {
    NewVisitor {
        token: [round ^ 0xf0; 32],
        ..visitor(&format!("taken{round}"), 0, "3")
    }
}

/// The `n`th who wants it, with what he read (`taken_at` and `last_seen`).
fn taker(
    first: &NewVisitor,
    n: u8,
    (taken_at, last_seen): (Option<u64>, u64),
    now: u64,
) -> TakeOver {
    TakeOver {
        user_id: first.user_id.clone(),
        taken_at_before: taken_at.map(UnixMillis),
        last_seen_before: UnixMillis(last_seen),
        token: [first.token[0], n].repeat(16).try_into().unwrap(),
        token_expires_at: UnixMillis(5_000),
        now: UnixMillis(now),
    }
}

/// The secret that `loose.a` was given.
fn visitor_token_of(name: &str) -> [u8; 32] {
    assert_eq!(name, "loose.a");
    [22; 32]
}

pub(crate) async fn a_row_is_written_with_the_message_that_needs_it(both: &Both) {
    let one = visitor("first.from", 80, "8");
    let two = NewVisitor {
        loose: false,
        taken_at: Some(UnixMillis(900)),
        ..visitor("first.to", 81, "8")
    };
    let pair = (one.user_id.clone(), two.user_id.clone());
    let first = Append {
        from_holder: Some(Holder { taken_at: None }),
        to_holder: Some(Holder {
            taken_at: Some(UnixMillis(900)),
        }),
        visitors: vec![Keep::New(one.clone()), Keep::New(two.clone())],
        ..message(&pair, "hello")
    };
    both[0].append(first.clone()).await.unwrap();
    for visitor in [&one, &two] {
        let found = both[1]
            .visitor(visitor.token, None, UnixMillis(1_500))
            .await;
        let Found::Open { record, expires_at } = found.unwrap() else {
            panic!("the row of {} opens", visitor.user_id);
        };
        assert_eq!(
            (record.user_id, record.is_kept),
            (visitor.user_id.clone(), true)
        );
        assert_eq!(record.standing.taken_at(), visitor.taken_at);
        assert_eq!(record.standing.is_loose(), visitor.loose);
        assert_eq!(expires_at, visitor.token_expires_at);
    }
    // A row that is there stays as it is, and is checked as it is.
    let late = NewVisitor {
        taken_at: None,
        ..two.clone()
    };
    let stale = Append {
        to_holder: Some(Holder { taken_at: None }),
        visitors: vec![Keep::New(late)],
        ..message(&pair, "for the former holder")
    };
    let refused = both[1].append(stale).await.unwrap_err();
    assert!(matches!(refused, StoreError::ChangedHands(user) if user == two.user_id));
    // Many at once on both nodes, in both orders.
    let fresh = |n: u8| visitor(&format!("first.{n}"), 90 + n, "8");
    let append = |from: u8, to: u8| Append {
        visitors: vec![Keep::New(fresh(from)), Keep::New(fresh(to))],
        ..message(&(fresh(from).user_id, fresh(to).user_id), "at once")
    };
    let appends = (0..8_u8).flat_map(|n| {
        let other = (n + 3) % 8;
        [
            both[0].append(append(n, other)),
            both[1].append(append(other, n)),
        ]
    });
    for appended in futures_util::future::join_all(appends).await {
        appended.unwrap();
    }
}

pub(crate) async fn a_secret_without_a_row_is_told_from_one_that_has_ended(both: &Both) {
    let ghost = visitor("ended.ghost", 110, "9");
    let now = UnixMillis(1_500);
    let find = async |token, user: &str| {
        let user = user.parse().unwrap();
        both[0].visitor(token, Some(&user), now).await.unwrap()
    };
    assert_eq!(find(ghost.token, "ended.ghost").await, Found::Nobody);
    let row = NewVisitor {
        user_id: "ended.row".parse().unwrap(),
        token: [111; 32],
        ..ghost.clone()
    };
    assert!(both[1].create_visitor(row).await.unwrap());
    assert_eq!(
        find([112; 32], "ended.row").await,
        Found::Ended,
        "another secret's"
    );
    assert_ne!(find([111; 32], "ended.row").await, Found::Ended);
    // Erased without a row: it is noted for as long as a secret may be presented.
    both[0]
        .erase(&ghost.user_id, UnixMillis(5_000))
        .await
        .unwrap();
    both[1]
        .erase(&ghost.user_id, UnixMillis(4_000))
        .await
        .unwrap();
    assert_eq!(find(ghost.token, "ended.ghost").await, Found::Ended);
    assert!(!both[1].create_visitor(ghost.clone()).await.unwrap());
    both[1]
        .keep_visitor(Keep::New(ghost.clone()))
        .await
        .unwrap();
    let late = Append {
        from_holder: Some(Holder { taken_at: None }),
        visitors: vec![Keep::New(ghost.clone())],
        ..message(&(ghost.user_id.clone(), ghost.user_id.clone()), "late")
    };
    let refused = both[0].append(late).await.unwrap_err();
    assert!(matches!(refused, StoreError::ChangedHands(user) if user == ghost.user_id));
    assert_eq!(both[0].user(&ghost.user_id).await.unwrap(), None);
    both[0]
        .purge(UnixMillis(4_999), UnixMillis(0))
        .await
        .unwrap();
    assert_eq!(find(ghost.token, "ended.ghost").await, Found::Ended);
    both[0]
        .purge(UnixMillis(5_000), UnixMillis(0))
        .await
        .unwrap();
    assert_eq!(find(ghost.token, "ended.ghost").await, Found::Nobody);
}

/// A message and the secret of its recipient may come at once, on two nodes.
pub(crate) async fn a_row_that_is_being_written_has_not_ended(both: &Both) {
    for number in 0..150_u8 {
        let mut token = [201; 32];
        token[0] = number;
        let row = NewVisitor {
            token,
            ..visitor(&format!("written.{number}"), 1, "9")
        };
        let user = row.user_id.clone();
        let look = async || {
            loop {
                match both[1].visitor(token, Some(&user), UnixMillis(1_500)).await {
                    Ok(Found::Open { .. }) => return,
                    found => assert_eq!(found.unwrap(), Found::Nobody, "{user}"),
                }
            }
        };
        let write = async {
            let written = both[0].keep_visitor(Keep::New(row)).await;
            written.unwrap();
        };
        tokio::join!(write, look(), look(), look());
    }
}
