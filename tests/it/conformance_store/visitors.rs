//! Checks of visitors: secrets, fingerprints, take-overs.

use stompbox::model::{Kind, Standing, UnixMillis, UserId};
use stompbox::store::{NewVisitor, TakeOver};

use super::{Both, fingerprint, visitor};

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
