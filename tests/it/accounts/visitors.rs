//! Visitors who become somebody: upgrades, merges, links, and users of a site.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use stompbox::model::{Code, Kind};

use super::world::{PASSWORD, SITE_SECRET, World, code, from};

#[tokio::test]
async fn an_upgrade_keeps_the_address_and_needs_the_secret() {
    let world = World::new().await;
    let (visitor, secret) = world.visitor(1).await;
    let upgrade = async |secret: &str, email: &str| {
        world
            .accounts
            .upgrade(&from(1), secret, World::upgrade(email))
            .await
    };
    for wrong in ["", "sbv1.", "new", visitor.as_str(), &secret[..47]] {
        let refused = upgrade(wrong, "kim@example.com").await;
        assert_eq!(code(refused), Code::ProofRequired, "{wrong}");
    }
    world.register("lee@example.com").await;
    assert_eq!(
        code(upgrade(&secret, "lee@example.com").await),
        Code::EmailTaken
    );
    let pair = upgrade(&secret, "kim@example.com").await.unwrap();
    assert_eq!(
        (pair.user_id.clone(), pair.kind),
        (visitor.clone(), Kind::Member)
    );
    assert!(pair.name.starts_with("Guest "));
    let kim = world.principal(&pair.access_token).await.unwrap();
    assert_eq!(kim.user_id, visitor);
    // The secret has ended, and an upgrade happens once.
    assert_eq!(
        code(world.accounts.visitor(&from(1), &secret).await),
        Code::Unauthorized
    );
    assert_eq!(
        code(upgrade(&secret, "kim2@example.com").await),
        Code::ProofRequired
    );
    let standing = world
        .accounts
        .standing(&visitor, kim.sign_in)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(standing.upgraded_by, Some(pair.sign_in));
    assert!(world.login("kim@example.com", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_merge_needs_both_proofs_and_happens_once() {
    let world = World::new().await;
    let account = world.register("kim@example.com").await.user_id;
    let (visitor, secret) = world.visitor(1).await;
    let login = async |password: &str, merge: &str| {
        world
            .login_from(&from(1), "kim@example.com", password, Some(merge))
            .await
    };
    // Without the password the visitor is not touched; without a visitor nobody is signed in.
    assert_eq!(
        code(login("wrong horse battery", &secret).await),
        Code::Unauthorized
    );
    assert!(world.accounts.visitor(&from(1), &secret).await.is_ok());
    let before = world.accounts.sign_ins(&account).await.unwrap().len();
    for wrong in ["", "sbv1.", "new", visitor.as_str()] {
        assert_eq!(code(login(PASSWORD, wrong).await), Code::ProofRequired);
    }
    let after = world.accounts.sign_ins(&account).await.unwrap().len();
    assert_eq!(before, after);
    let merged = login(PASSWORD, &secret).await.unwrap();
    assert_eq!(
        (merged.pair.user_id, merged.merged),
        (account.clone(), Some(visitor.clone()))
    );
    // The same again is fine; into another account it is not.
    assert_eq!(
        login(PASSWORD, &secret).await.unwrap().merged,
        Some(visitor.clone())
    );
    world.register("lee@example.com").await;
    let stolen = world
        .login_from(&from(1), "lee@example.com", PASSWORD, Some(&secret))
        .await;
    assert_eq!(code(stolen), Code::ProofRequired);
    assert_eq!(
        code(world.accounts.visitor(&from(1), &secret).await),
        Code::IdentityMoved
    );
    // What is written to the visitor's address goes to the account.
    let recipient = world.visitors.recipient(&visitor).await.unwrap().unwrap();
    assert_eq!((recipient.user_id, recipient.kind), (account, Kind::Member));
    let audit = world.accounts.audit(None, 10).await.unwrap();
    assert_eq!(audit.iter().filter(|one| one.act == "merge").count(), 1);
}

#[tokio::test]
async fn a_link_carries_a_visitor_once_within_ten_minutes() {
    let world = World::new().await;
    let (visitor, secret) = world.visitor(1).await;
    let link = async |secret: &str| world.accounts.link(&from(1), secret).await;
    let redeem = async |link: &str| world.accounts.redeem(&from(2), link).await;
    assert_eq!(code(link("sbv1.x").await), Code::Unauthorized);
    for wrong in ["", "sbl1.", &secret, &"x".repeat(100_000)] {
        assert_eq!(code(redeem(wrong).await), Code::Expired);
    }
    let token = link(&secret).await.unwrap();
    let opened = redeem(&token).await.unwrap();
    assert_eq!(opened.principal.user_id, visitor);
    assert_eq!(code(redeem(&token).await), Code::Expired);
    let fresh = opened.secret_to_tell.unwrap();
    assert_ne!(fresh, secret);
    assert_eq!(
        code(world.accounts.visitor(&from(1), &secret).await),
        Code::Unauthorized
    );
    let there = world.accounts.visitor(&from(2), &fresh).await.unwrap();
    assert_eq!(there.user_id, visitor);
    let late = link(&fresh).await.unwrap();
    world.wait(Duration::from_secs(600));
    assert_eq!(code(redeem(&late).await), Code::Expired);
    // Whoever has an account is not carried as a visitor.
    let early = link(&fresh).await.unwrap();
    let upgrade = world
        .accounts
        .upgrade(&from(2), &fresh, World::upgrade("kim@example.com"))
        .await;
    upgrade.unwrap();
    assert_eq!(code(redeem(&early).await), Code::Expired);
}

#[tokio::test]
async fn a_visitor_who_signs_out_has_no_secret_any_more() {
    let world = World::new().await;
    let (_, secret) = world.visitor(1).await;
    let visitor = world.accounts.visitor(&from(1), &secret).await.unwrap();
    world.accounts.logout(&visitor, false).await.unwrap();
    assert_eq!(
        code(world.accounts.visitor(&from(1), &secret).await),
        Code::Unauthorized
    );
}

#[tokio::test]
async fn a_sites_user_is_known_by_its_token_and_takes_his_visitor_along() {
    let world = World::new().await;
    let now = world.now().0 / 1_000;
    let site = |sub: &str| {
        by_site(
            &json!({"iss": "https://shop.example", "aud": "chat", "sub": sub, "jti": "1",
                        "iat": now, "exp": now + 900, "name": "Kim of the shop"}),
        )
    };
    let kim = world.principal(&site("kim.42")).await.unwrap();
    assert_eq!((kim.user_id.as_str(), kim.kind), ("kim.42", Kind::Member));
    assert_eq!((kim.name.as_str(), kim.sign_in), ("Kim of the shop", None));
    // A site speaks for no account and no visitor of ours, whatever it says.
    let ours = world.register("kim@example.com").await.user_id;
    let (visitor, secret) = world.visitor(1).await;
    for address in [&ours, &visitor] {
        let found = world.principal(&site(address.as_str())).await.unwrap();
        assert_eq!(found.user_id.as_str(), format!("shop.{address}"));
    }
    let admin = world.principal(&site("system")).await.unwrap();
    assert_eq!(
        (admin.user_id.as_str(), admin.kind),
        ("shop.system", Kind::Member)
    );
    let merge = async |secret: &str, token: &str| {
        world.accounts.site_upgrade(&from(1), secret, token).await
    };
    assert_eq!(
        code(merge("sbv1.x", &site("kim.42")).await),
        Code::ProofRequired
    );
    assert_eq!(code(merge(&secret, "x").await), Code::Unauthorized);
    let both = merge(&secret, &site("kim.42")).await.unwrap();
    assert_eq!(both, (kim.user_id.clone(), visitor.clone()));
    assert_eq!(
        code(world.accounts.visitor(&from(1), &secret).await),
        Code::IdentityMoved
    );
    let recipient = world.visitors.recipient(&visitor).await.unwrap().unwrap();
    assert_eq!(recipient.user_id, kim.user_id);
    assert_eq!(
        code(world.accounts.logout(&kim, true).await),
        Code::Forbidden
    );
    world.wait(Duration::from_secs(931));
    let late = by_site(
        &json!({"iss": "https://shop.example", "aud": "chat", "sub": "kim.42",
                               "jti": "1", "iat": now, "exp": now + 900}),
    );
    assert_eq!(code(world.principal(&late).await), Code::TokenExpired);
}

fn by_site(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!(
        "{}.{}",
        part(&json!({"alg": "HS256", "typ": "JWT"})),
        part(claims)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(SITE_SECRET).unwrap();
    mac.update(text.as_bytes());
    format!(
        "{text}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}
