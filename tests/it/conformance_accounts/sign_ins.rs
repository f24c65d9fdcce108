//! Sign-ins and their refresh tokens.

use stompbox::model::UnixMillis;
use stompbox::store::accounts::{Exchange, Exchanged, Once, Purpose, SIGN_INS_MAX};

use super::{Both, LATER, NOW, hash, new_sign_in, register, sign_in_id, user};

/// Half a minute, in which a used token may come again.
const GRACE_MS: u64 = 30_000;

fn exchange(token: &str, successor: &str, now: u64) -> Exchange {
    Exchange {
        token: hash(token),
        successor: hash(successor),
        successor_expires_at: LATER,
        grace_ms: GRACE_MS,
        now: UnixMillis(now),
    }
}

fn done(owner: &str, device: &str) -> Exchanged {
    Exchanged::Done {
        user_id: user(owner),
        sign_in: sign_in_id(device),
    }
}

pub(super) async fn a_sign_in_stands_until_it_ends(both: &Both) {
    let [one, other] = both;
    let who = register(one.as_ref(), "devices").await;
    let stranger = register(one.as_ref(), "devices-stranger").await;
    one.sign_in(new_sign_in("devices", "phone")).await.unwrap();
    other
        .touch(sign_in_id("phone"), UnixMillis(NOW.0 + 5))
        .await
        .unwrap();
    other
        .touch(sign_in_id("phone"), UnixMillis(NOW.0 + 1))
        .await
        .unwrap();
    let found = one.sign_ins(who.clone()).await.unwrap();
    let devices: Vec<_> = found.iter().map(|it| it.device.as_str()).collect();
    assert_eq!(devices, ["phone", "devices-first"]);
    assert_eq!(
        found[0].last_seen,
        UnixMillis(NOW.0 + 5),
        "it never goes back"
    );
    let phone = sign_in_id("phone");
    assert!(
        !other.end_sign_in(stranger, phone, NOW).await.unwrap(),
        "not his"
    );
    assert!(other.end_sign_in(who.clone(), phone, NOW).await.unwrap());
    assert!(!one.end_sign_in(who.clone(), phone, NOW).await.unwrap());
    let standing = one
        .standing(who.clone(), Some(phone))
        .await
        .unwrap()
        .unwrap();
    assert!(!standing.is_signed_in);
    let exchanged = one.exchange(exchange("phone", "phone-2", NOW.0)).await;
    assert_eq!(
        exchanged.unwrap(),
        Exchanged::Unknown,
        "its tokens ended with it"
    );
    one.sign_in(new_sign_in("devices", "tablet")).await.unwrap();
    assert_eq!(other.end_all(who.clone(), NOW).await.unwrap(), 2);
    assert!(one.sign_ins(who).await.unwrap().is_empty());
}

pub(super) async fn of_too_many_sign_ins_the_least_recently_used_ends(both: &Both) {
    let [one, other] = both;
    let who = register(one.as_ref(), "collector").await;
    let at = |number: u64| UnixMillis(NOW.0 + number);
    let name = |number: u64| format!("collected-{number}");
    let sign_in = |number: u64| {
        let mut new = new_sign_in("collector", &name(number));
        new.now = at(number);
        one.sign_in(new)
    };
    let last = u64::from(SIGN_INS_MAX) + 5;
    // The last ones one after the other: each sees all before it.
    let first: Vec<_> = (1..=last - 10).map(sign_in).collect();
    for signed_in in futures_util::future::join_all(first).await {
        signed_in.unwrap();
    }
    other.touch(sign_in_id(&name(2)), at(10_000)).await.unwrap();
    for number in last - 9..=last {
        sign_in(number).await.unwrap();
    }
    let left = other.sign_ins(who).await.unwrap();
    assert_eq!(left.len(), SIGN_INS_MAX as usize);
    let stands = |name: &str| left.iter().any(|it| it.id == sign_in_id(name));
    // The first one of the account, and all of those before the seventh but the second, which was used.
    for (number, expected) in [(1, false), (2, true), (3, false), (6, false), (7, true)] {
        assert_eq!(stands(&name(number)), expected, "{number}");
    }
    assert_eq!(left[0].id, sign_in_id(&name(2)));
    let of_ended = one.sign_in_of(hash(&name(3))).await.unwrap();
    assert_eq!(of_ended, None, "its tokens ended with it");
    let of_standing = one.sign_in_of(hash(&name(7))).await.unwrap();
    assert_eq!(of_standing, Some(sign_in_id(&name(7))));
}

pub(super) async fn a_refresh_token_is_exchanged_once(both: &Both) {
    let [one, other] = both;
    register(one.as_ref(), "turns").await;
    let device = "turns-first";
    for step in 0..4 {
        let token = if step == 0 {
            device.to_owned()
        } else {
            format!("turns-{step}")
        };
        let next = format!("turns-{}", step + 1);
        let now = NOW.0 + step * 60_000;
        let outcome = both[usize::try_from(step).unwrap() % 2]
            .exchange(exchange(&token, &next, now))
            .await;
        assert_eq!(outcome.unwrap(), done("turns", device));
    }
    let seen = other.sign_ins(user("turns")).await.unwrap()[0].last_seen;
    assert_eq!(seen, UnixMillis(NOW.0 + 180_000));
    let unknown = one.exchange(exchange("nobody's", "x", NOW.0)).await;
    assert_eq!(unknown.unwrap(), Exchanged::Unknown);
    let expired = one.exchange(exchange("turns-4", "turns-5", LATER.0)).await;
    assert_eq!(expired.unwrap(), Exchanged::Unknown);
}

pub(super) async fn a_refresh_token_that_comes_twice_at_once_has_one_successor(both: &Both) {
    for round in 0..10 {
        let name = format!("twice-{round}");
        register(both[0].as_ref(), &name).await;
        let (device, next) = (format!("{name}-first"), format!("{name}-next"));
        let (first, second) = tokio::join!(
            both[0].exchange(exchange(&device, &next, NOW.0)),
            both[1].exchange(exchange(&device, &next, NOW.0 + 1))
        );
        assert_eq!(first.unwrap(), done(&name, &device));
        assert_eq!(second.unwrap(), done(&name, &device));
        // The lost answer is asked for once more, still within the grace.
        let again = both[0].exchange(exchange(&device, &next, NOW.0 + GRACE_MS));
        assert_eq!(again.await.unwrap(), done(&name, &device));
        let go_on = both[1].exchange(exchange(&next, &format!("{name}-3"), NOW.0 + 2));
        assert_eq!(go_on.await.unwrap(), done(&name, &device));
    }
}

pub(super) async fn a_stolen_refresh_token_ends_the_sign_in(both: &Both) {
    let [one, other] = both;
    // Too late; after its successor was used; with another successor (another key of the service).
    for (name, replay_at, use_successor, successor) in [
        ("stolen-late", NOW.0 + GRACE_MS + 1, false, "stolen-late-2"),
        ("stolen-used", NOW.0 + 2, true, "stolen-used-2"),
        ("stolen-other", NOW.0 + 2, false, "something-else"),
    ] {
        let who = register(one.as_ref(), name).await;
        one.sign_in(new_sign_in(name, &format!("{name}-tablet")))
            .await
            .unwrap();
        let (device, next) = (format!("{name}-first"), format!("{name}-2"));
        one.exchange(exchange(&device, &next, NOW.0)).await.unwrap();
        if use_successor {
            let third = format!("{name}-3");
            one.exchange(exchange(&next, &third, NOW.0 + 1))
                .await
                .unwrap();
        }
        let replay = other.exchange(exchange(&device, successor, replay_at));
        let reused = Exchanged::Reused {
            user_id: who.clone(),
            sign_in: sign_in_id(&device),
        };
        assert_eq!(replay.await.unwrap(), reused);
        let owner = one.exchange(exchange(&next, "anything", replay_at)).await;
        assert_eq!(owner.unwrap(), Exchanged::Unknown, "the family is gone");
        let left = one.sign_ins(who).await.unwrap();
        assert_eq!(left.len(), 1, "another sign-in stays");
    }
}

pub(super) async fn a_new_password_ends_the_other_sign_ins(both: &Both) {
    let [one, other] = both;
    let who = register(one.as_ref(), "changes").await;
    for device in ["changes-2", "changes-3"] {
        one.sign_in(new_sign_in("changes", device)).await.unwrap();
    }
    let reset = |name: &str| Once {
        token: hash(name),
        purpose: Purpose::Reset,
        user_id: who.clone(),
        expires_at: LATER,
    };
    one.put_once(reset("changes-letter")).await.unwrap();
    let keep = Some(sign_in_id("changes-2"));
    let set = other.set_password(who.clone(), "new hash".to_owned(), keep, NOW);
    assert!(set.await.unwrap());
    let left = one.sign_ins(who.clone()).await.unwrap();
    assert_eq!(
        left.iter().map(|it| it.device.as_str()).collect::<Vec<_>>(),
        ["changes-2"]
    );
    assert_eq!(
        one.account(who.clone()).await.unwrap().unwrap().password,
        "new hash"
    );
    let letter = one.use_once(hash("changes-letter"), Purpose::Reset, NOW);
    assert_eq!(
        letter.await.unwrap(),
        None,
        "what was sent before opens nothing"
    );
    let set = other.set_password(who.clone(), "newer".to_owned(), None, NOW);
    assert!(set.await.unwrap());
    assert!(one.sign_ins(who).await.unwrap().is_empty());
    let nobody = one.set_password(user("changes-nobody"), "x".to_owned(), None, NOW);
    assert!(!nobody.await.unwrap());
}
