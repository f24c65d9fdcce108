//! What those do who look after the service, and who may not.

use std::time::Duration;

use stompbox::model::{Code, Kind};
use stompbox::store::accounts::{BanAct, Role, Subject};

use super::world::{PASSWORD, World, code, from};

#[tokio::test]
async fn accounts_are_made_and_their_roles_changed_by_admins_only() {
    let world = World::new().await;
    let admin = world.admin().await;
    assert_eq!(
        (admin.user_id.as_str(), admin.kind),
        ("system", Kind::Admin)
    );
    let lee = world
        .member_made_by_admin("lee@example.com", Role::Member)
        .await;
    let kim = world.register("kim@example.com").await;
    let member = world.principal(&kim.access_token).await.unwrap();
    let accounts = &world.accounts;
    let made = accounts
        .create(&member, "x@example.com", PASSWORD, "X", Role::Admin)
        .await;
    assert_eq!(code(made), Code::Forbidden);
    let set = accounts
        .set_role(&member, &member.user_id, Role::Admin)
        .await;
    assert_eq!(code(set), Code::Forbidden);
    let minted = accounts.mint(&member, &lee, Duration::from_secs(60)).await;
    assert_eq!(code(minted), Code::Forbidden);
    assert_eq!(code(accounts.end_all(&member, &lee).await), Code::Forbidden);
    let banned = accounts
        .put_ban(&member, Subject::User(lee.clone()), BanAct::Ban, None, "")
        .await;
    assert_eq!(code(banned), Code::Forbidden);
    let lifted = accounts
        .lift(&member, Subject::User(lee.clone()), BanAct::Ban)
        .await;
    assert_eq!(code(lifted), Code::Forbidden);

    accounts
        .set_role(&admin, &member.user_id, Role::Admin)
        .await
        .unwrap();
    // At once, by the token that he has.
    let promoted = world.principal(&kim.access_token).await.unwrap();
    assert_eq!(promoted.kind, Kind::Admin);
    let own = accounts
        .set_role(&promoted, &promoted.user_id, Role::Member)
        .await;
    assert_eq!(code(own), Code::Forbidden);
    accounts.set_role(&promoted, &lee, Role::Bot).await.unwrap();
    let page = accounts.accounts(None, 10).await.unwrap();
    assert_eq!(page.len(), 2);
    let audit = accounts.audit(None, 10).await.unwrap();
    // All in one millisecond of the world's clock: their order says nothing.
    let mut acts: Vec<_> = audit
        .iter()
        .map(|one| (one.act.as_str(), one.actor.as_str()))
        .collect();
    acts.sort_unstable();
    let (by_admin, by_promoted) = (admin.user_id.as_str(), promoted.user_id.as_str());
    let mut expected = [
        ("create", by_admin),
        ("role", by_admin),
        ("role", by_promoted),
    ];
    expected.sort_unstable();
    assert_eq!(acts, expected);
}

#[tokio::test]
async fn a_token_that_was_made_for_a_bot_ends_with_its_sign_in() {
    let world = World::new().await;
    let admin = world.admin().await;
    let bot = world
        .member_made_by_admin("bot@example.com", Role::Bot)
        .await;
    let day = Duration::from_secs(24 * 3_600);
    let token = world.accounts.mint(&admin, &bot, day).await.unwrap();
    world.wait(Duration::from_secs(3_600));
    let principal = world.principal(&token).await.unwrap();
    assert_eq!(
        (principal.user_id.clone(), principal.kind),
        (bot.clone(), Kind::Bot)
    );
    let admin = world.admin().await;
    assert_eq!(world.accounts.end_all(&admin, &bot).await, Ok(1));
    assert_eq!(code(world.principal(&token).await), Code::Unauthorized);
    for wrong in [Duration::ZERO, 400 * day] {
        let minted = world.accounts.mint(&admin, &bot, wrong).await;
        assert_eq!(code(minted), Code::ValidationFailed);
    }
    let nobody = "user_0123456789abc".parse().unwrap();
    assert_eq!(
        code(world.accounts.mint(&admin, &nobody, day).await),
        Code::NotFound
    );
}

#[tokio::test]
async fn who_is_banned_is_let_in_by_nothing_until_it_ends() {
    let world = World::new().await;
    let (admin, pair) = (world.admin().await, world.register("kim@example.com").await);
    let kim = world.principal(&pair.access_token).await.unwrap();
    let until = world.now().after(Duration::from_secs(60));
    let subject = Subject::User(kim.user_id.clone());
    let ban = async |subject: Subject, until| {
        world
            .accounts
            .put_ban(&admin, subject, BanAct::Ban, until, "spam")
            .await
    };
    assert_eq!(
        code(ban(subject.clone(), Some(world.now())).await),
        Code::ValidationFailed
    );
    let own = Subject::User(admin.user_id.clone());
    assert_eq!(code(ban(own, None).await), Code::Forbidden);
    ban(subject.clone(), Some(until)).await.unwrap();
    assert!(world.accounts.verdict(&kim).ban.is_some());
    let refused = world.principal(&pair.access_token).await.unwrap_err();
    assert_eq!((refused.code, refused.until), (Code::Banned, Some(until)));
    assert_eq!(
        code(world.login("kim@example.com", PASSWORD).await),
        Code::Banned
    );
    // A wrong password does not tell that he is banned.
    assert_eq!(
        code(world.login("kim@example.com", "wrong horse").await),
        Code::Unauthorized
    );
    let refresh = world.accounts.refresh(&from(1), &pair.refresh_token).await;
    assert_eq!(refresh.unwrap_err().problem.code, Code::Banned);
    world.wait(Duration::from_secs(60));
    assert!(world.principal(&pair.access_token).await.is_ok());

    let (_, secret) = world.visitor(9).await;
    ban(Subject::Network(kim.network.clone()), None)
        .await
        .unwrap();
    assert_eq!(
        code(world.principal(&pair.access_token).await),
        Code::Banned
    );
    assert!(
        world
            .accounts
            .authenticate(&from(2), &pair.access_token)
            .await
            .is_ok()
    );
    assert_eq!(
        code(world.accounts.visitor(&from(1), &secret).await),
        Code::Banned
    );
    assert!(world.accounts.visitor(&from(9), &secret).await.is_ok());
    world
        .accounts
        .lift(&admin, Subject::Network(kim.network.clone()), BanAct::Ban)
        .await
        .unwrap();
    assert!(world.principal(&pair.access_token).await.is_ok());
    let twice = world
        .accounts
        .lift(&admin, Subject::Network(kim.network.clone()), BanAct::Ban);
    assert_eq!(code(twice.await), Code::NotFound);
    let mute = world
        .accounts
        .put_ban(&admin, subject, BanAct::Mute, None, "loud")
        .await;
    mute.unwrap();
    assert!(world.principal(&pair.access_token).await.is_ok());
    assert!(world.accounts.verdict(&kim).mute.is_some());
}
