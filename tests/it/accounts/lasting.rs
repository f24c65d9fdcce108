//! What goes on and what ends: refresh tokens, sign-ins, passwords, letters.

use std::time::Duration;

use stompbox::identity::accounts::{LoggedIn, RefreshRefused};
use stompbox::model::{Code, UserId};
use stompbox::store::AccountStore as _;
use stompbox::store::accounts::{DmPolicy, KeyedRequest, PURGE_ROWS};

use super::world::{PASSWORD, World, code, from, jwt};
use crate::conformance_accounts::hash;

const NEW: &str = "another staple entirely";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_lost_answer_locks_nobody_out() {
    let world = World::new().await;
    let first = world.register("kim@example.com").await;
    let refresh = async |token: &str| world.accounts.refresh(&from(1), token).await;
    let second = refresh(&first.refresh_token).await.unwrap();
    assert_eq!(second.sign_in, first.sign_in);
    assert_ne!(second.refresh_token, first.refresh_token);
    // The answer was lost; or two windows came at once.
    world.wait(seconds(9));
    let again = refresh(&first.refresh_token).await.unwrap();
    assert_eq!(again.refresh_token, second.refresh_token);
    assert_ne!(again.access_token, second.access_token);
    let third = refresh(&second.refresh_token).await.unwrap();
    // The grandparent comes again, within ten seconds or not: two have what one was given.
    let reused: RefreshRefused = refresh(&first.refresh_token).await.unwrap_err();
    assert_eq!(reused.problem.code, Code::TokenReused);
    assert_eq!(reused.ended, Some(first.user_id.clone()));
    for token in [&first, &second, &third] {
        let refused = refresh(&token.refresh_token).await.unwrap_err();
        assert_eq!(
            (refused.problem.code, refused.ended),
            (Code::Unauthorized, None)
        );
        assert_eq!(
            code(world.principal(&token.access_token).await),
            Code::Unauthorized
        );
    }
    assert!(
        world
            .accounts
            .sign_ins(&first.user_id)
            .await
            .unwrap()
            .is_empty()
    );
    let audit = world.accounts.audit(None, 10).await.unwrap();
    assert!(audit.iter().any(|one| one.act == "token_reused"));
}

#[tokio::test]
async fn of_many_who_refresh_at_once_all_get_the_same_successor() {
    let world = World::new().await;
    let pair = world.register("kim@example.com").await;
    let here = from(1);
    let all = (0..20).map(|_| world.accounts.refresh(&here, &pair.refresh_token));
    let all = futures_util::future::join_all(all).await;
    let tokens: Vec<_> = all
        .into_iter()
        .map(|it| it.unwrap().refresh_token)
        .collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert!(world.accounts.refresh(&here, &tokens[0]).await.is_ok());
}

#[tokio::test]
async fn a_sign_in_is_refreshed_only_so_often() {
    let world = World::new().await;
    let mut token = world.register("kim@example.com").await.refresh_token;
    for _ in 0..30 {
        let pair = world.accounts.refresh(&from(1), &token).await.unwrap();
        token = pair.refresh_token;
    }
    let refused = world.accounts.refresh(&from(1), &token).await.unwrap_err();
    assert_eq!(refused.problem.code, Code::RateLimited);
    // 20 in the 15 minutes of an access token are 14 in ten.
    let wait_ms = refused.problem.retry_after_ms.unwrap();
    assert!((41_000..=42_858).contains(&wait_ms), "{wait_ms}");
    assert_eq!(refused.ended, None, "the sign-in goes on");
    // Another sign-in of the same user has a rate of its own.
    let LoggedIn { pair, .. } = world.login("kim@example.com", PASSWORD).await.unwrap();
    assert!(
        world
            .accounts
            .refresh(&from(1), &pair.refresh_token)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn everything_that_has_expired_is_removed_and_not_only_a_first_part() {
    let world = World::new().await;
    // Each has an answer that is kept: more than one step removes.
    let count = PURGE_ROWS + 1;
    for number in 0..count {
        let request = KeyedRequest {
            key: hash(&number.to_string()),
            request: hash("what is asked"),
            expires_at: world.now(),
            now: world.now(),
        };
        world.store.begin(request).await.unwrap();
    }
    world.wait(seconds(1));
    world.accounts.purge().await;
    assert_eq!(world.store.purge_accounts(world.now()).await.unwrap(), 0);
}

#[tokio::test]
async fn refresh_tokens_end_and_are_nothing_else() {
    let world = World::new().await;
    let pair = world.register("kim@example.com").await;
    let (_, secret) = world.visitor(3).await;
    let refused = async |token: &str| {
        let refused = world.accounts.refresh(&from(1), token).await.unwrap_err();
        assert_eq!(refused.problem.code, Code::Unauthorized, "{token:.20}");
    };
    for token in [
        "",
        "sbr1.",
        &pair.access_token,
        &secret,
        &"x".repeat(100_000),
    ] {
        refused(token).await;
    }
    refused(&pair.refresh_token.replace("sbr1.", "sbl1.")).await;
    assert_eq!(
        code(world.principal(&pair.refresh_token).await),
        Code::Unauthorized
    );
    world.wait(seconds(7 * 24 * 3_600));
    refused(&pair.refresh_token).await;
}

#[tokio::test]
async fn an_access_token_ends_with_its_time_and_with_its_sign_in() {
    let world = World::new().await;
    let pair = world.register("kim@example.com").await;
    let other = world.login("kim@example.com", PASSWORD).await.unwrap().pair;
    let kim = world.principal(&pair.access_token).await.unwrap();
    world.accounts.logout(&kim, false).await.unwrap();
    assert_eq!(
        code(world.principal(&pair.access_token).await),
        Code::Unauthorized
    );
    assert!(world.principal(&other.access_token).await.is_ok());
    let third = world.login("kim@example.com", PASSWORD).await.unwrap().pair;
    let ended = world
        .accounts
        .end_sign_in(&kim.user_id, third.sign_in)
        .await;
    ended.unwrap();
    assert_eq!(
        code(world.principal(&third.access_token).await),
        Code::Unauthorized
    );
    let gone = world
        .accounts
        .end_sign_in(&kim.user_id, third.sign_in)
        .await;
    assert_eq!(code(gone), Code::NotFound);
    // Nobody ends somebody else's.
    let lee: UserId = "user_0123456789abc".parse().unwrap();
    let foreign = world.accounts.end_sign_in(&lee, other.sign_in).await;
    assert_eq!(code(foreign), Code::NotFound);
    world.accounts.logout(&kim, true).await.unwrap();
    assert_eq!(
        code(world.principal(&other.access_token).await),
        Code::Unauthorized
    );
    let last = world.login("kim@example.com", PASSWORD).await.unwrap().pair;
    world.wait(seconds(931));
    assert_eq!(
        code(world.principal(&last.access_token).await),
        Code::TokenExpired
    );
}

#[tokio::test]
async fn a_new_password_ends_every_other_sign_in() {
    let world = World::new().await;
    let here = world.register("kim@example.com").await;
    let there = world.login("kim@example.com", PASSWORD).await.unwrap().pair;
    let kim = world.principal(&here.access_token).await.unwrap();
    let change = async |old: &str, new: &str| {
        let here = from(1);
        let changed = world.accounts.change_password(&here, &kim, old, new);
        changed.await
    };
    assert_eq!(
        code(change("wrong horse battery", NEW).await),
        Code::Unauthorized
    );
    assert_eq!(
        code(change(PASSWORD, "short").await),
        Code::ValidationFailed
    );
    change(PASSWORD, NEW).await.unwrap();
    assert!(world.principal(&here.access_token).await.is_ok());
    assert_eq!(
        code(world.principal(&there.access_token).await),
        Code::Unauthorized
    );
    assert_eq!(
        code(world.login("kim@example.com", PASSWORD).await),
        Code::Unauthorized
    );
    assert!(world.login("kim@example.com", NEW).await.is_ok());
    for _ in 0..3 {
        let _wrong = change("wrong horse battery", NEW).await.unwrap_err();
    }
    assert_eq!(code(change(NEW, PASSWORD).await), Code::RateLimited);
}

#[tokio::test]
async fn a_letter_opens_a_new_password_once_within_the_hour() {
    let world = World::new().await;
    let pair = world.register("kim@example.com").await;
    let forgot = async |email: &str, language: Option<&str>| {
        world
            .accounts
            .forgot(&from(1), email, language)
            .await
            .unwrap();
        world.letters().await
    };
    assert!(forgot("nobody@example.com", None).await.is_empty());
    assert!(forgot("no address", None).await.is_empty());
    let letters = forgot("KIM@example.com", Some("ko")).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].to, "kim@example.com");
    assert!(letters[0].text.contains("비밀번호"));
    let token = token_in(&letters[0].text);
    let reset = async |token: &str, new: &str| world.accounts.reset(&from(1), token, new).await;
    assert_eq!(code(reset(&token, "short").await), Code::ValidationFailed);
    assert_eq!(
        code(reset(&token.replace("sbp1.", "sbl1."), NEW).await),
        Code::Expired
    );
    assert_eq!(reset(&token, NEW).await, Ok(pair.user_id.clone()));
    assert_eq!(code(reset(&token, NEW).await), Code::Expired);
    assert_eq!(
        code(world.principal(&pair.access_token).await),
        Code::Unauthorized
    );
    assert!(world.login("kim@example.com", NEW).await.is_ok());
    let letters = forgot("kim@example.com", None).await;
    let token = token_in(&letters[0].text);
    world.wait(seconds(3_600));
    assert_eq!(code(reset(&token, PASSWORD).await), Code::Expired);
    // Nobody is written to without end, and nobody is told.
    let mut sent = 0;
    for host in 100..110 {
        world
            .accounts
            .forgot(&from(host), "kim@example.com", None)
            .await
            .unwrap();
        sent += world.letters().await.len();
    }
    assert!(sent <= 2, "{sent}");
}

/// The token of the link in a letter.
fn token_in(text: &str) -> String {
    let (_, rest) = text.split_once("http://localhost:8080/#reset=").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn names_and_who_may_write_are_the_holders_own() {
    let world = World::new().await;
    let pair = world.register("kim@example.com").await;
    let kim = world.principal(&pair.access_token).await.unwrap();
    world.accounts.set_name(&kim, " 김민수 ").await.unwrap();
    assert_eq!(
        code(world.accounts.set_name(&kim, "\u{202e}x").await),
        Code::ValidationFailed
    );
    world
        .accounts
        .set_dm_policy(&kim, DmPolicy::Contacts)
        .await
        .unwrap();
    let kim = world.principal(&pair.access_token).await.unwrap();
    assert_eq!(kim.name, "김민수");
    let standing = world
        .accounts
        .standing(&kim.user_id, kim.sign_in)
        .await
        .unwrap();
    assert_eq!(standing.unwrap().dm_policy, DmPolicy::Contacts);
    let recipient = world
        .visitors
        .recipient(&kim.user_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(recipient.dm_policy, DmPolicy::Contacts);
    let lee = world.register("lee@example.com").await;
    let lee = world.principal(&lee.access_token).await.unwrap();
    let refused = world.visitors.check_reach(&lee, &recipient, true).await;
    assert_eq!(code(refused), Code::Forbidden);
    assert!(
        world
            .visitors
            .check_reach(&kim, &recipient, true)
            .await
            .is_ok()
    );
    let (_, secret) = world.visitor(3).await;
    let visitor = world.accounts.visitor(&from(3), &secret).await.unwrap();
    assert_eq!(
        code(world.accounts.set_name(&visitor, "x").await),
        Code::AnonymousNotAllowed
    );
    let system = world
        .principal(&jwt().system_token(world.now()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        code(world.accounts.set_name(&system, "x").await),
        Code::AnonymousNotAllowed
    );
}
