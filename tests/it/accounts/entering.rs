//! Registering and signing in: what is taken, what is refused, and what a refusal tells.

use std::net::IpAddr;
use std::time::Duration;

use stompbox::identity::Handshake;
use stompbox::identity::accounts::{AccountSettings, Registration};
use stompbox::model::{Code, Kind, Problem};

use super::world::{PASSWORD, World, code, from};

fn registration(email: &str, password: &str, name: &str) -> Registration {
    Registration {
        email: email.to_owned(),
        password: password.to_owned(),
        name: name.to_owned(),
        device: String::new(),
    }
}

#[tokio::test]
async fn whoever_registers_is_signed_in_and_can_sign_in_again() {
    let world = World::new().await;
    let pair = world.register("Kim@Example.com").await;
    assert_eq!((pair.expires_in, pair.refresh_expires_in), (900, 604_800));
    let kim = world.principal(&pair.access_token).await.unwrap();
    assert_eq!(
        (kim.user_id.clone(), kim.kind),
        (pair.user_id.clone(), Kind::Member)
    );
    assert_eq!(kim.sign_in, Some(pair.sign_in));
    assert_eq!(
        kim.expires_at,
        Some(world.now().after(Duration::from_secs(900)))
    );
    let again = world.login("kim@EXAMPLE.com", PASSWORD).await.unwrap().pair;
    assert_eq!(again.user_id, pair.user_id);
    assert_ne!(again.sign_in, pair.sign_in);
    let devices = world.accounts.sign_ins(&kim.user_id).await.unwrap();
    assert_eq!(devices.len(), 2);
    let account = world.accounts.profile(&kim.user_id).await.unwrap().unwrap();
    assert_eq!(account.email, "Kim@Example.com");
    assert!(!format!("{account:?} {pair:?}").contains("sbr1."));
}

#[tokio::test]
async fn what_cannot_be_an_account_is_refused_with_the_field() {
    let world = World::new().await;
    world.register("kim@example.com").await;
    let check = async |email: &str, password: &str, name: &str, code: Code, field: &str| {
        let registered = world
            .accounts
            .register(&from(2), registration(email, password, name))
            .await;
        let problem = registered.unwrap_err();
        assert_eq!(
            (problem.code, problem.field.as_deref()),
            (code, Some(field)),
            "{email}"
        );
    };
    let failed = Code::ValidationFailed;
    check(
        "KIM@example.com",
        PASSWORD,
        "Kim",
        Code::EmailTaken,
        "email",
    )
    .await;
    check("kim", PASSWORD, "Kim", failed, "email").await;
    check("lee@example.com", "short", "Lee", failed, "password").await;
    check(
        "lee@example.com",
        "passwordpassword",
        "Lee",
        failed,
        "password",
    )
    .await;
    check(
        "lee@example.com",
        "lee@example.com",
        "Lee",
        failed,
        "password",
    )
    .await;
    check(
        "lee@example.com",
        &"x".repeat(10_000_000),
        "Lee",
        failed,
        "password",
    )
    .await;
    check("lee@example.com", PASSWORD, "\n", failed, "name").await;
}

#[tokio::test]
async fn registrations_from_one_network_are_limited() {
    let settings = AccountSettings {
        registrations_per_net: 2,
        ..AccountSettings::default()
    };
    let world = World::with(settings).await;
    let register = async |host: u8, number: u8| {
        let email = format!("kim{number}@example.com");
        let registration = registration(&email, PASSWORD, "Kim");
        world.accounts.register(&from(host), registration).await
    };
    assert!(register(1, 1).await.is_ok() && register(1, 2).await.is_ok());
    let problem = register(1, 3).await.unwrap_err();
    assert_eq!(problem.code, Code::RateLimited);
    assert!(problem.retry_after_ms.is_some());
    assert!(register(2, 3).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_words() {
    let world = World::new().await;
    let pair = world.register("kim@example.com").await;
    let wrong = world.login("kim@example.com", "wrong horse battery").await;
    let wrong: Problem = wrong.unwrap_err();
    assert_eq!(wrong.code, Code::Unauthorized);
    for login in [
        "nobody@example.com",
        "no address",
        "",
        "user_0123456789abc",
        "\0",
        &"x".repeat(100_000),
    ] {
        let from = from(u8::try_from(100 + login.len() % 100).unwrap());
        let unknown = world.login_from(&from, login, PASSWORD, None).await;
        assert_eq!(unknown.unwrap_err(), wrong, "{login:.40}");
    }
    let by_stomp = world
        .accounts
        .password(&from(9), "nobody@example.com", PASSWORD, "")
        .await;
    assert_eq!(by_stomp.unwrap_err(), wrong);
    let long = world
        .login_from(&from(8), "kim@example.com", &"x".repeat(10_000_000), None)
        .await;
    assert_eq!(long.unwrap_err(), wrong);
    // A program signs in with its id as well.
    let by_id = world
        .accounts
        .password(&from(7), pair.user_id.as_str(), PASSWORD, "bot")
        .await;
    let by_id = by_id.unwrap();
    assert_eq!(by_id.user_id, pair.user_id);
    assert!(by_id.sign_in.is_some() && by_id.expires_at.is_some());
}

#[tokio::test]
async fn five_wrong_passwords_shut_an_account_for_that_network_for_a_while() {
    let world = World::new().await;
    world.register("kim@example.com").await;
    let login = async |host: u8, email: &str, password: &str| {
        let from = from(host);
        world.login_from(&from, email, password, None).await
    };
    for _ in 0..5 {
        let wrong = login(10, "KIM@example.com", "wrong horse").await;
        assert_eq!(code(wrong), Code::Unauthorized);
    }
    let problem = login(10, "kim@example.com", PASSWORD).await.unwrap_err();
    assert_eq!(problem.code, Code::RateLimited);
    let wait = problem.retry_after_ms.unwrap();
    assert!((800_000..=900_000).contains(&wait), "{wait}");
    // STOMP is no way around, and a stranger locks nobody out.
    let by_stomp = world
        .accounts
        .password(&from(10), "kim@example.com", PASSWORD, "")
        .await;
    assert_eq!(code(by_stomp), Code::RateLimited);
    assert!(login(20, "kim@example.com", PASSWORD).await.is_ok());
    // One who does not exist is shut in the same way.
    for _ in 0..5 {
        let wrong = login(10, "nobody@example.com", "wrong horse").await;
        assert_eq!(code(wrong), Code::Unauthorized);
    }
    let nobody = login(10, "nobody@example.com", PASSWORD).await;
    assert_eq!(nobody.unwrap_err(), problem);
    world.wait(Duration::from_secs(15 * 60));
    assert!(login(10, "kim@example.com", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn an_ipv6_48_shuts_an_account_for_itself_alone() {
    let world = World::new().await;
    world.register("kim@example.com").await;
    let login = async |net: u16, password: &str| {
        let address = [0x2001, 0xdb8, 7, net, 0, 0, 0, 1];
        let from = Handshake::without_page(IpAddr::from(address));
        world
            .login_from(&from, "kim@example.com", password, None)
            .await
    };
    // Each from a /64 and a /56 of its own.
    for number in 0..10 {
        let wrong = login(number << 8, "wrong horse").await;
        assert_eq!(code(wrong), Code::Unauthorized, "{number}");
    }
    assert_eq!(code(login(0xff00, PASSWORD).await), Code::RateLimited);
    let elsewhere = from(20);
    let right = world.login_from(&elsewhere, "kim@example.com", PASSWORD, None);
    assert!(right.await.is_ok());
}

#[tokio::test]
async fn many_networks_against_one_account_and_one_against_many_are_shut_too() {
    let settings = AccountSettings {
        failures: 1,
        failures_per_net: 3,
        ..AccountSettings::default()
    };
    let world = World::with(settings).await;
    world.register("kim@example.com").await;
    let login = async |host: u8, email: &str, password: &str| {
        let from = from(host);
        world.login_from(&from, email, password, None).await
    };
    for host in 10..20 {
        let wrong = login(host, "kim@example.com", "wrong horse").await;
        assert_eq!(code(wrong), Code::Unauthorized);
    }
    let shut = login(30, "kim@example.com", PASSWORD).await;
    assert_eq!(code(shut), Code::RateLimited);
    world.register("lee@example.com").await;
    for number in 0..3 {
        let wrong = login(40, &format!("nobody{number}@example.com"), "wrong horse").await;
        assert_eq!(code(wrong), Code::Unauthorized);
    }
    let shut = login(40, "lee@example.com", PASSWORD).await;
    assert_eq!(code(shut), Code::RateLimited);
    assert!(login(41, "lee@example.com", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn right_passwords_are_not_counted_as_wrong_ones() {
    let world = World::new().await;
    world.register("kim@example.com").await;
    for _ in 0..12 {
        world.login("kim@example.com", PASSWORD).await.unwrap();
    }
    let settings = AccountSettings {
        logins_per_net: 2,
        ..AccountSettings::default()
    };
    let world = World::with(settings).await;
    world.register("kim@example.com").await;
    for _ in 0..2 {
        world.login("kim@example.com", PASSWORD).await.unwrap();
    }
    assert_eq!(
        code(world.login("kim@example.com", PASSWORD).await),
        Code::RateLimited
    );
}
