//! Accounts, upgrades, the site's own users.

use stompbox::model::{Kind, RoomId, Standing as Hands, UnixMillis};
use stompbox::store::accounts::{
    Admitted, Ban, BanAct, DmPolicy, External, Registered, Role, Subject,
};

use super::{Both, LATER, NOW, hash, new_account, new_visitor, register, sign_in_id, user, visit};
use crate::conformance_store::message;

pub(super) async fn a_registration_makes_an_account_that_is_found(both: &Both) {
    let [one, other] = both;
    let min = register(one.as_ref(), "min").await;
    let account = other.account(min.clone()).await.unwrap().unwrap();
    assert_eq!(account.email, "min@Example.com");
    assert_eq!(
        (account.role, account.dm_policy),
        (Role::Member, DmPolicy::Everyone)
    );
    assert_eq!(
        (account.name.as_str(), account.created_at),
        ("이름 min", NOW)
    );
    let found = other.account_by_email("MIN@exAMPLE.com".to_owned()).await;
    assert_eq!(found.unwrap(), Some(account));
    assert_eq!(
        one.account_by_email("nobody@example.com".to_owned())
            .await
            .unwrap(),
        None
    );
    let record = one.user(&min).await.unwrap().unwrap();
    assert_eq!(record.kind, Kind::Member);
    assert_eq!(record.standing, Hands::Firm { taken_at: None });
    let standing = one.standing(min.clone(), Some(sign_in_id("min-first")));
    let standing = standing.await.unwrap().unwrap();
    assert!(standing.is_signed_in && standing.kind == Kind::Member);
    assert_eq!(standing.upgraded_by, None);
    let other_sign_in = one.standing(min.clone(), Some(sign_in_id("nobody's")));
    assert!(!other_sign_in.await.unwrap().unwrap().is_signed_in);
    assert!(one.standing(min, None).await.unwrap().unwrap().is_signed_in);
    assert_eq!(one.standing(user("nobody"), None).await.unwrap(), None);
    // An account that somebody else makes has no sign-in.
    let mut made = new_account("bot-made");
    (made.sign_in, made.role) = (None, Role::Bot);
    assert_eq!(one.register(made).await.unwrap(), Registered::Done);
    assert!(other.sign_ins(user("bot-made")).await.unwrap().is_empty());
    let standing = other.standing(user("bot-made"), None).await.unwrap();
    assert_eq!(standing.unwrap().kind, Kind::Bot);
}

pub(super) async fn one_of_two_registrations_of_an_email_counts(both: &Both) {
    for round in 0..10 {
        let account = |who: &str| {
            let mut account = new_account(&format!("race-{who}-{round}"));
            account.email = format!("Race-{round}@example.com");
            account
        };
        let (first, second) = tokio::join!(
            both[0].register(account("a")),
            both[1].register(account("b"))
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        let loser = match (first, second) {
            (Registered::Done, Registered::EmailTaken) => "b",
            (Registered::EmailTaken, Registered::Done) => "a",
            other => panic!("{other:?}"),
        };
        let nobody = user(&format!("race-{loser}-{round}"));
        assert_eq!(both[0].user(&nobody).await.unwrap(), None);
        assert!(both[0].sign_ins(nobody).await.unwrap().is_empty());
    }
}

pub(super) async fn a_visitor_becomes_the_holder_of_an_account(both: &Both) {
    let [one, other] = both;
    let guest = visit(one.as_ref(), "guest-up").await;
    let peer = user("guest-up-peer");
    let room = RoomId::direct(&guest, &peer);
    for (from, to, text) in [(&guest, &peer, "mine"), (&peer, &guest, "theirs")] {
        let mut append = message(&(from.clone(), to.clone()), text);
        append.expires_at = Some(UnixMillis(3_000_000));
        one.append(append).await.unwrap();
    }
    let mut account = new_account("guest-up");
    account.name = None;
    let done = other.upgrade(account, hash("guest-up")).await.unwrap();
    assert_eq!(done, Registered::Done);
    let standing = one.standing(guest.clone(), None).await.unwrap().unwrap();
    assert_eq!(standing.kind, Kind::Member);
    assert_eq!(standing.name, "손님 guest-up");
    assert_eq!(standing.upgraded_by, Some(sign_in_id("guest-up-first")));
    let record = one.user(&guest).await.unwrap().unwrap();
    assert_eq!(
        (record.kind, record.standing),
        (Kind::Member, Hands::Firm { taken_at: None })
    );
    let opened = one.visitor_by_token(hash("guest-up"), NOW).await.unwrap();
    assert_eq!(opened, None, "his secrets end");
    one.purge(UnixMillis(3_000_000), UnixMillis(0))
        .await
        .unwrap();
    let left = one.range(room, 0, u64::MAX, 10).await.unwrap().messages;
    let left: Vec<_> = left.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(
        left,
        ["mine"],
        "what he wrote is permanent, the rest is not his"
    );
    let next = other.append(message(&(guest, peer), "next")).await.unwrap();
    assert_eq!(next.message.seq, 3);
    // Also where nothing depended on the visitor: the row is that of an account, and no purge takes it.
    let mut unkept = new_visitor("guest-unkept");
    unkept.is_kept = false;
    let seen = unkept.now;
    assert!(one.create_visitor(unkept).await.unwrap());
    let done = other.upgrade(new_account("guest-unkept"), hash("guest-unkept"));
    assert_eq!(done.await.unwrap(), Registered::Done);
    let hours_later = UnixMillis(seen.0 + 66 * 60_000);
    one.purge(hours_later, UnixMillis(0)).await.unwrap();
    let account = user("guest-unkept");
    assert!(other.user(&account).await.unwrap().is_some());
    assert!(other.account(account).await.unwrap().is_some());
}

pub(super) async fn an_upgrade_needs_a_live_secret_and_a_free_email(both: &Both) {
    let [one, other] = both;
    visit(one.as_ref(), "guest-no").await;
    register(one.as_ref(), "has-email").await;
    let wrong = other.upgrade(new_account("guest-no"), hash("another"));
    assert_eq!(wrong.await.unwrap(), Registered::NoVisitor);
    let mut late = new_account("guest-no");
    late.now = LATER;
    let late = other.upgrade(late, hash("guest-no"));
    assert_eq!(late.await.unwrap(), Registered::NoVisitor);
    let nobody = other.upgrade(new_account("nobody"), hash("guest-no"));
    assert_eq!(nobody.await.unwrap(), Registered::NoVisitor);
    let mut taken = new_account("guest-no");
    taken.email = "HAS-email@example.com".to_owned();
    let taken = other.upgrade(taken, hash("guest-no"));
    assert_eq!(taken.await.unwrap(), Registered::EmailTaken);
    let opened = one.visitor_by_token(hash("guest-no"), NOW).await.unwrap();
    assert_eq!(opened.unwrap().kind, Kind::Anonymous, "nothing was changed");
    assert!(one.sign_ins(user("guest-no")).await.unwrap().is_empty());
}

pub(super) async fn one_of_two_upgrades_counts(both: &Both) {
    for round in 0..10 {
        let name = format!("guest-race-{round}");
        visit(both[0].as_ref(), &name).await;
        let account = |who: &str| {
            let mut account = new_account(&name);
            account.email = format!("{name}-{who}@example.com");
            let sign_in = account.sign_in.as_mut().unwrap();
            sign_in.id = sign_in_id(&format!("{name}-{who}"));
            sign_in.refresh = hash(&format!("{name}-{who}"));
            account
        };
        let (first, second) = tokio::join!(
            both[0].upgrade(account("a"), hash(&name)),
            both[1].upgrade(account("b"), hash(&name))
        );
        let mut both_ends = [first.unwrap(), second.unwrap()];
        both_ends.sort_by_key(|end| *end != Registered::Done);
        assert_eq!(both_ends, [Registered::Done, Registered::NoVisitor]);
        assert_eq!(both[0].sign_ins(user(&name)).await.unwrap().len(), 1);
    }
}

pub(super) async fn a_sites_user_is_known_and_never_somebody_else(both: &Both) {
    let [one, other] = both;
    let external = |id: &str, name: &str| External {
        user_id: user(id),
        name: name.to_owned(),
        now: NOW,
    };
    let (first, second) = tokio::join!(
        one.admit_external(external("site-user", "하나")),
        other.admit_external(external("site-user", "하나"))
    );
    let mut ends = [first.unwrap(), second.unwrap()];
    ends.sort_by_key(|end| *end != Admitted::New);
    assert_eq!(ends, [Admitted::New, Admitted::Known]);
    let again = one.admit_external(external("site-user", "둘\0")).await;
    assert_eq!(again.unwrap(), Admitted::Known);
    let standing = other
        .standing(user("site-user"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (standing.kind, standing.name.as_str()),
        (Kind::Member, "둘\u{fffd}")
    );
    let record = other.user(&user("site-user")).await.unwrap().unwrap();
    assert_eq!(record.kind, Kind::Member);
    assert_eq!(one.account(user("site-user")).await.unwrap(), None);
    visit(one.as_ref(), "site-guest").await;
    register(one.as_ref(), "site-member").await;
    for name in ["site-guest", "site-member"] {
        let taken = other.admit_external(external(name, "악당")).await.unwrap();
        assert_eq!(taken, Admitted::Taken);
        let record = other.user(&user(name)).await.unwrap().unwrap();
        assert_ne!(record.name, "악당");
    }
}

pub(super) async fn what_an_account_is_can_be_changed(both: &Both) {
    let [one, other] = both;
    let who = register(one.as_ref(), "changing").await;
    assert!(
        one.set_name(who.clone(), "새 이름".to_owned())
            .await
            .unwrap()
    );
    assert!(one.set_role(who.clone(), Role::Admin).await.unwrap());
    assert!(
        one.set_dm_policy(who.clone(), DmPolicy::Contacts)
            .await
            .unwrap()
    );
    let account = other.account(who.clone()).await.unwrap().unwrap();
    assert_eq!(account.name, "새 이름");
    assert_eq!(
        (account.role, account.dm_policy),
        (Role::Admin, DmPolicy::Contacts)
    );
    let standing = other.standing(who, None).await.unwrap().unwrap();
    assert_eq!(
        (standing.kind, standing.dm_policy),
        (Kind::Admin, DmPolicy::Contacts)
    );
    let nobody = user("changing-nobody");
    assert!(!one.set_name(nobody.clone(), "x".to_owned()).await.unwrap());
    assert!(!one.set_role(nobody.clone(), Role::Bot).await.unwrap());
    assert!(!one.set_dm_policy(nobody, DmPolicy::Members).await.unwrap());
}

pub(super) async fn accounts_come_in_their_order(both: &Both) {
    for name in ["zz-2", "zz-1", "zz-3"] {
        register(both[0].as_ref(), name).await;
    }
    visit(both[0].as_ref(), "zz-0").await;
    let ids = |accounts: Vec<stompbox::store::accounts::Account>| -> Vec<String> {
        accounts.iter().map(|it| it.user_id.to_string()).collect()
    };
    let first = both[1].accounts(Some(user("zz")), 2).await.unwrap();
    assert_eq!(ids(first), ["zz-1", "zz-2"]);
    let rest = both[1].accounts(Some(user("zz-2")), 2).await.unwrap();
    assert_eq!(ids(rest), ["zz-3"]);
    assert_eq!(both[1].accounts(None, 3).await.unwrap().len(), 3);
}

pub(super) async fn an_erased_account_is_forgotten_and_its_ban_stays(both: &Both) {
    let [one, other] = both;
    let gone = register(one.as_ref(), "gone").await;
    let ban = Ban {
        subject: Subject::User(gone.clone()),
        act: BanAct::Ban,
        until: None,
        reason: "왜".to_owned(),
        by: "admin".to_owned(),
        created_at: NOW,
    };
    one.put_ban(ban.clone()).await.unwrap();
    other.erase(&gone, UnixMillis(0)).await.unwrap();
    assert_eq!(one.account(gone.clone()).await.unwrap(), None);
    assert!(one.sign_ins(gone.clone()).await.unwrap().is_empty());
    assert_eq!(one.standing(gone.clone(), None).await.unwrap(), None);
    assert!(one.bans(NOW).await.unwrap().contains(&ban));
    // The e-mail is free again.
    let mut again = new_account("gone-2");
    again.email = new_account("gone").email;
    assert_eq!(one.register(again).await.unwrap(), Registered::Done);
    assert!(other.lift(Subject::User(gone), BanAct::Ban).await.unwrap());
}
