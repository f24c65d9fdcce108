//! One-use tokens, secrets, bans, notes, keyed requests, and the end of what has expired.

use stompbox::model::{ClientIdentifier, MessageId, Standing, UnixMillis};
use stompbox::store::StoreError;
use stompbox::store::accounts::{
    Audit, Ban, BanAct, Begun, KeyedRequest, Once, Purpose, Registered, Subject,
};

use super::{Both, LATER, NOW, hash, new_account, new_sign_in, register, sign_in_id, user, visit};
use crate::conformance_store::{message, pair};

pub(super) async fn a_one_use_token_is_used_once(both: &Both) {
    let who = register(both[0].as_ref(), "once").await;
    for round in 0..10 {
        let token = hash(&format!("once-{round}"));
        let once = Once {
            token,
            purpose: Purpose::Link,
            user_id: who.clone(),
            expires_at: LATER,
        };
        both[0].put_once(once).await.unwrap();
        let wrong = both[1].use_once(token, Purpose::Reset, NOW).await.unwrap();
        assert_eq!(wrong, None, "for something else");
        let (first, second) = tokio::join!(
            both[0].use_once(token, Purpose::Link, NOW),
            both[1].use_once(token, Purpose::Link, NOW)
        );
        let used = [first.unwrap(), second.unwrap()];
        assert_eq!(used.iter().flatten().collect::<Vec<_>>(), [&who]);
    }
    let late = Once {
        token: hash("once-late"),
        purpose: Purpose::Link,
        user_id: who,
        expires_at: NOW,
    };
    both[0].put_once(late).await.unwrap();
    let used = both[1]
        .use_once(hash("once-late"), Purpose::Link, NOW)
        .await;
    assert_eq!(used.unwrap(), None);
}

pub(super) async fn a_new_secret_ends_the_older_ones(both: &Both) {
    let [one, other] = both;
    let guest = visit(one.as_ref(), "carried").await;
    let replaced = other.replace_secret(guest.clone(), hash("carried-2"), LATER);
    assert!(replaced.await.unwrap());
    assert_eq!(
        one.visitor_by_token(hash("carried"), NOW).await.unwrap(),
        None
    );
    let opened = one
        .visitor_by_token(hash("carried-2"), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(opened.user_id, guest);
    assert_eq!(opened.standing, Standing::Firm { taken_at: None });
    let member = register(one.as_ref(), "carried-member").await;
    assert!(!one.replace_secret(member, hash("x"), LATER).await.unwrap());
    assert!(
        !one.replace_secret(user("nobody"), hash("x"), LATER)
            .await
            .unwrap()
    );
}

fn ban(subject: Subject, act: BanAct, until: Option<u64>) -> Ban {
    Ban {
        subject,
        act,
        until: until.map(UnixMillis),
        reason: "이유".to_owned(),
        by: "admin".to_owned(),
        created_at: NOW,
    }
}

pub(super) async fn a_ban_stands_until_it_ends_or_is_lifted(both: &Both) {
    let [one, other] = both;
    let print: ClientIdentifier = "9".repeat(26).parse().unwrap();
    let subjects = [
        Subject::User(user("banned")),
        Subject::Client(print.clone()),
        Subject::Network(print),
    ];
    let ours = async |now: u64| -> Vec<Ban> {
        let bans = other.bans(UnixMillis(now)).await.unwrap();
        bans.into_iter()
            .filter(|ban| subjects.contains(&ban.subject))
            .collect()
    };
    for subject in &subjects {
        let mute = ban(subject.clone(), BanAct::Mute, Some(NOW.0 + 10));
        one.put_ban(mute).await.unwrap();
        one.put_ban(ban(subject.clone(), BanAct::Ban, None))
            .await
            .unwrap();
    }
    assert_eq!(ours(NOW.0 + 9).await.len(), 6);
    assert_eq!(ours(NOW.0 + 10).await.len(), 3, "a mute ends");
    let longer = ban(subjects[0].clone(), BanAct::Mute, Some(NOW.0 + 99));
    other.put_ban(longer.clone()).await.unwrap();
    assert!(
        ours(NOW.0 + 50).await.contains(&longer),
        "it replaces the one before"
    );
    for subject in &subjects {
        assert!(one.lift(subject.clone(), BanAct::Ban).await.unwrap());
        assert!(!other.lift(subject.clone(), BanAct::Ban).await.unwrap());
    }
    assert_eq!(ours(NOW.0 + 50).await, [longer]);
}

pub(super) async fn notes_come_latest_first(both: &Both) {
    let note = |number: u128| Audit {
        id: MessageId(u128::MAX - 10 + number),
        at: UnixMillis(NOW.0),
        actor: "admin".to_owned(),
        act: "ban".to_owned(),
        subject: "누구".to_owned(),
        detail: number.to_string(),
    };
    for number in 0..5 {
        both[0].note(note(number)).await.unwrap();
    }
    let latest = both[1].audit(None, 2).await.unwrap();
    assert_eq!(latest, [note(4), note(3)]);
    let before = both[1].audit(Some(latest[1].id), 2).await.unwrap();
    assert_eq!(before, [note(2), note(1)]);
}

pub(super) async fn a_keyed_request_is_done_once(both: &Both) {
    let [one, other] = both;
    let request = |key: &str, body: &str, now: u64| KeyedRequest {
        key: hash(key),
        request: hash(body),
        expires_at: UnixMillis(now + 1_000_000),
        now: UnixMillis(now),
    };
    for round in 0..10 {
        let key = format!("key-{round}");
        let (first, second) = tokio::join!(
            one.begin(request(&key, "body", NOW.0)),
            other.begin(request(&key, "body", NOW.0))
        );
        let mut begun = [first.unwrap(), second.unwrap()];
        begun.sort_by_key(|it| *it != Begun::New);
        assert_eq!(begun, [Begun::New, Begun::InProgress]);
    }
    let key = "key-0";
    let mismatch = one.begin(request(key, "another body", NOW.0)).await;
    assert_eq!(mismatch.unwrap(), Begun::Mismatch);
    one.finish(hash(key), 201, b"{\"a\":1}".to_vec())
        .await
        .unwrap();
    other.abandon(hash(key)).await.unwrap();
    let done = other
        .begin(request(key, "body", NOW.0 + 999_999))
        .await
        .unwrap();
    let expected = Begun::Done {
        status: 201,
        answer: b"{\"a\":1}".to_vec(),
    };
    assert_eq!(done, expected, "what is done is not given up");
    let over = other.begin(request(key, "another body", NOW.0 + 1_000_000));
    assert_eq!(over.await.unwrap(), Begun::New, "a key ends");
    one.abandon(hash("key-1")).await.unwrap();
    let again = one.begin(request("key-1", "body", NOW.0)).await;
    assert_eq!(again.unwrap(), Begun::New);
    // A node that ended in the middle of it never answers.
    let waits = other.begin(request("key-2", "body", NOW.0 + 59_999)).await;
    assert_eq!(waits.unwrap(), Begun::InProgress);
    let taken = other.begin(request("key-2", "body", NOW.0 + 60_000)).await;
    assert_eq!(taken.unwrap(), Begun::New);
}

pub(super) async fn a_question_that_fails_leaves_nothing_behind(both: &Both) {
    let [one, other] = both;
    register(one.as_ref(), "fails").await;
    // Its sign-in is another's already.
    let mut clash = new_account("fails-2");
    clash.sign_in = Some(new_sign_in("fails-2", "fails-first"));
    let neighbours = pair("fails.neighbours");
    let (failed, neighbour) = tokio::join!(
        one.register(clash),
        other.append(message(&neighbours, "goes through"))
    );
    assert!(
        matches!(failed, Err(StoreError::Unavailable(_))),
        "{failed:?}"
    );
    assert_eq!(neighbour.unwrap().message.seq, 1);
    assert_eq!(other.user(&user("fails-2")).await.unwrap(), None);
    let again = other.register(new_account("fails-2")).await.unwrap();
    assert_eq!(again, Registered::Done);
    let nobodys = one.sign_in(new_sign_in("fails-nobody", "fails-x")).await;
    assert!(
        matches!(nobodys, Err(StoreError::Unavailable(_))),
        "{nobodys:?}"
    );
}

pub(super) async fn what_has_expired_goes(both: &Both) {
    let [one, other] = both;
    let who = register(one.as_ref(), "stale").await;
    let week_ms = 7 * 24 * 60 * 60 * 1_000;
    let end = UnixMillis(LATER.0 + week_ms + 1);
    let mut kept = new_sign_in("stale", "stale-kept");
    kept.refresh_expires_at = UnixMillis(end.0 + 1);
    one.sign_in(kept).await.unwrap();
    let once = Once {
        token: hash("stale-once"),
        purpose: Purpose::Reset,
        user_id: who.clone(),
        expires_at: LATER,
    };
    one.put_once(once).await.unwrap();
    let subject = Subject::User(who.clone());
    let mute = ban(subject.clone(), BanAct::Mute, Some(LATER.0));
    one.put_ban(mute).await.unwrap();
    one.put_ban(ban(subject.clone(), BanAct::Ban, None))
        .await
        .unwrap();
    let mut removed = 0;
    loop {
        let rows = other.purge_accounts(end).await.unwrap();
        removed += rows;
        if rows == 0 {
            break;
        }
    }
    assert!(removed >= 4, "{removed}");
    let left = one.sign_ins(who.clone()).await.unwrap();
    let left: Vec<_> = left.iter().map(|it| it.id).collect();
    assert_eq!(left, [sign_in_id("stale-kept")]);
    let used = one.use_once(hash("stale-once"), Purpose::Reset, NOW).await;
    assert_eq!(used.unwrap(), None);
    assert!(!one.lift(subject.clone(), BanAct::Mute).await.unwrap());
    assert!(one.lift(subject, BanAct::Ban).await.unwrap());
    assert!(one.account(who).await.unwrap().is_some());
}
