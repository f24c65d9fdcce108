//! Accounts over REST: coming in, oneself, devices, passwords, and the way out.

use serde_json::{Value, json};

use super::{OPEN, Visitor, ask};
use crate::support::api::{Member, PASSWORD};
use crate::support::node::Node;

fn login(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

#[tokio::test]
async fn an_account_is_made_once_and_with_a_good_password() {
    let node = Node::start("rest-accounts", &OPEN).await;
    let new = json!({"email": "Kim@example.com", "password": PASSWORD, "name": "Kim", "more": 1});
    let made = ask(&node, "POST /auth/register", "", Some(&new))
        .await
        .expect(201);
    assert_eq!(
        (&made.body["kind"], &made.body["token_type"]),
        (&json!("member"), &json!("Bearer"))
    );
    assert_eq!(
        (&made.body["expires_in"], &made.body["refresh_expires_in"]),
        (&json!(900), &json!(604_800))
    );
    let again = json!({"email": "kim@EXAMPLE.com", "password": PASSWORD, "name": "Kim"});
    let taken = ask(&node, "POST /auth/register", "", Some(&again)).await;
    assert_eq!(taken.problem(409), "email_taken");
    let weak = json!({"email": "lee@example.com", "password": "password12", "name": "Lee"});
    let weak = ask(&node, "POST /auth/register", "", Some(&weak)).await;
    assert_eq!(weak.problem(422), "validation_failed");
    assert_eq!(weak.body["errors"][0]["field"], "password");
    // An account of ten million letters is refused by its length, before any of it is looked at.
    let long = json!({"email": "lee@example.com", "password": "x".repeat(10 << 20), "name": "Lee"});
    let long = ask(&node, "POST /auth/register", "", Some(&long)).await;
    assert_eq!(long.problem(413), "payload_too_large");
    let long = login("kim@example.com", &"x".repeat(10 << 20));
    let long = ask(&node, "POST /auth/login", "", Some(&long)).await;
    assert_eq!(long.problem(413), "payload_too_large");
}

#[tokio::test]
async fn its_holder_signs_in_and_out() {
    let node = Node::start("rest-accounts", &OPEN).await;
    let new = json!({"email": "Kim@example.com", "password": PASSWORD, "name": "Kim"});
    ask(&node, "POST /auth/register", "", Some(&new))
        .await
        .expect(201);
    let unknown = ask(
        &node,
        "POST /auth/login",
        "",
        Some(&login("no@example.com", PASSWORD)),
    )
    .await;
    let wrong = ask(
        &node,
        "POST /auth/login",
        "",
        Some(&login("kim@example.com", "not this one")),
    )
    .await;
    assert_eq!(
        (unknown.problem(401), wrong.problem(401)),
        ("unauthorized", "unauthorized")
    );
    assert_eq!(unknown.body["detail"], wrong.body["detail"]);

    let signed_in = ask(
        &node,
        "POST /auth/login",
        "",
        Some(&login("kim@example.com", PASSWORD)),
    )
    .await;
    let signed_in = Member::of(&signed_in.expect(200));
    let bearer = format!("Bearer {}", signed_in.access);
    let me = ask(&node, "GET /me", &bearer, None).await.expect(200);
    assert_eq!(
        (&me.body["email"], &me.body["kind"]),
        (&json!("Kim@example.com"), &json!("member"))
    );
    let refresh = json!({"refresh_token": signed_in.refresh});
    let next = ask(&node, "POST /auth/refresh", "", Some(&refresh))
        .await
        .expect(200);
    assert_ne!(next.body["refresh_token"], refresh["refresh_token"]);
    let none = json!({"refresh_token": "sbr1.nonsense"});
    assert_eq!(
        ask(&node, "POST /auth/refresh", "", Some(&none))
            .await
            .problem(401),
        "unauthorized"
    );

    assert_eq!(
        ask(&node, "POST /auth/logout", "", None).await.problem(401),
        "unauthorized"
    );
    ask(&node, "POST /auth/logout", &bearer, None)
        .await
        .expect(204);
    assert_eq!(
        ask(&node, "GET /me", &bearer, None).await.problem(401),
        "unauthorized"
    );
    let forged = format!("{bearer}x");
    assert_eq!(
        ask(&node, "GET /me", &forged, None).await.problem(401),
        "unauthorized"
    );
}

#[tokio::test]
async fn a_visitor_becomes_the_holder_of_an_account_by_his_secret_alone() {
    let node = Node::start("rest-upgrade", &OPEN).await;
    let visitor = Visitor::new(&node).await;
    let wanted = json!({"email": "kim@example.com", "password": PASSWORD, "name": "Kim"});
    for nobody in ["", "Visitor sbv1.nonsense"] {
        let refused = ask(&node, "POST /auth/upgrade", nobody, Some(&wanted)).await;
        assert_eq!(refused.problem(403), "proof_required", "{nobody}");
    }
    let upgraded = ask(&node, "POST /auth/upgrade", &visitor.proof, Some(&wanted))
        .await
        .expect(200);
    assert_eq!(upgraded.body["user_id"], visitor.user_id.as_str());
    assert_eq!(
        ask(&node, "GET /me", &visitor.proof, None).await.status,
        401
    );

    let other = Visitor::new(&node).await;
    let merge = json!({"email": "kim@example.com", "password": PASSWORD, "merge_visitor": true});
    let refused = ask(&node, "POST /auth/login", "", Some(&merge)).await;
    assert_eq!(refused.problem(403), "proof_required");
    let wrong =
        json!({"email": "kim@example.com", "password": "not this one", "merge_visitor": true});
    assert_eq!(
        ask(&node, "POST /auth/login", &other.proof, Some(&wrong))
            .await
            .status,
        401
    );
    let merged = ask(&node, "POST /auth/login", &other.proof, Some(&merge))
        .await
        .expect(200);
    assert_eq!(merged.body["user_id"], visitor.user_id.as_str());
    assert_eq!(merged.body["merged"], other.user_id.as_str());
    let moved = ask(&node, "GET /me", &other.proof, None).await;
    assert_eq!(moved.problem(410), "identity_moved");
}

#[tokio::test]
async fn everybody_sees_and_changes_what_is_his_own() {
    let node = Node::start("rest-me", &OPEN).await;
    let (visitor, member) = (
        Visitor::new(&node).await,
        Member::register(node.address(), "kim@example.com").await,
    );
    let bearer = format!("Bearer {}", member.access);
    for (who, kind, upload) in [
        (&visitor.proof, "anonymous", "no"),
        (&bearer, "member", "yes"),
    ] {
        let may = ask(&node, "GET /me/permissions", who, None)
            .await
            .expect(200);
        assert_eq!(may.body["kind"], kind);
        let all = may.body["permissions"].as_array().unwrap().clone();
        let found = all.iter().find(|one| one["action"] == "upload").unwrap();
        assert_eq!(found["grant"], upload);
        assert!(all.iter().all(|one| one["about"].as_str().is_some()));
    }
    let change = json!({"name": "Kim Lee", "dm_policy": "contacts"});
    let refused = ask(&node, "PUT /me", &visitor.proof, Some(&change)).await;
    assert_eq!(refused.problem(401), "unauthorized");
    let changed = ask(&node, "PUT /me", &bearer, Some(&change))
        .await
        .expect(200);
    assert_eq!(
        (&changed.body["name"], &changed.body["dm_policy"]),
        (&json!("Kim Lee"), &json!("contacts"))
    );
    let bad = json!({"dm_policy": "nobody"});
    assert_eq!(
        ask(&node, "PUT /me", &bearer, Some(&bad)).await.body["errors"][0]["field"],
        "dm_policy"
    );
    let bad = json!({"name": "a\u{0}b"});
    assert_eq!(
        ask(&node, "PUT /me", &bearer, Some(&bad))
            .await
            .problem(422),
        "validation_failed"
    );

    let export = ask(&node, "GET /me/export", &bearer, None)
        .await
        .expect(200);
    assert_eq!(
        (&export.body["items"], &export.body["has_more"]),
        (&json!([]), &json!(false))
    );
    let other = ask(&node, "GET /me/export?cursor=AAAA", &bearer, None).await;
    assert_eq!(other.body["errors"][0]["field"], "cursor");
}

#[tokio::test]
async fn who_wants_to_go_is_forgotten_an_account_by_its_password() {
    let node = Node::start("rest-gone", &OPEN).await;
    let (visitor, member) = (
        Visitor::new(&node).await,
        Member::register(node.address(), "kim@example.com").await,
    );
    let bearer = format!("Bearer {}", member.access);
    ask(&node, "DELETE /me", &visitor.proof, None)
        .await
        .expect(204);
    assert_eq!(
        ask(&node, "GET /me", &visitor.proof, None).await.status,
        401
    );
    let silent = ask(&node, "DELETE /me", &bearer, None).await;
    assert_eq!(silent.body["errors"][0]["field"], "password");
    let wrong = json!({"password": "not this one"});
    assert_eq!(
        ask(&node, "DELETE /me", &bearer, Some(&wrong)).await.status,
        401
    );
    let right = json!({"password": PASSWORD});
    ask(&node, "DELETE /me", &bearer, Some(&right))
        .await
        .expect(204);
    assert_eq!(ask(&node, "GET /me", &bearer, None).await.status, 401);
    let gone = ask(
        &node,
        "POST /auth/login",
        "",
        Some(&login("kim@example.com", PASSWORD)),
    )
    .await;
    assert_eq!(gone.status, 401);
}

#[tokio::test]
async fn devices_are_listed_and_signed_out_one_by_one() {
    let node = Node::start("rest-devices", &OPEN).await;
    let first = Member::register(node.address(), "kim@example.com").await;
    let second = Member::login(node.address(), "kim@example.com", "phone").await;
    let bearer = |member: &Member| format!("Bearer {}", member.access);
    let listed = ask(&node, "GET /me/sessions", &bearer(&first), None)
        .await
        .expect(200);
    let items = listed.body["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 2);
    assert_eq!(
        items.iter().filter(|item| item["current"] == true).count(),
        1
    );
    let phone = items.iter().find(|item| item["device"] == "phone").unwrap();
    let line = format!("DELETE /me/sessions/{}", phone["id"].as_str().unwrap());
    let stranger = Member::register(node.address(), "lee@example.com").await;
    assert_eq!(
        ask(&node, &line, &bearer(&stranger), None)
            .await
            .problem(404),
        "not_found"
    );
    ask(&node, &line, &bearer(&first), None).await.expect(204);
    assert_eq!(
        ask(&node, &line, &bearer(&first), None).await.problem(404),
        "not_found"
    );
    assert_eq!(
        ask(&node, "GET /me", &bearer(&second), None).await.status,
        401
    );
    assert_eq!(
        ask(&node, "DELETE /me/sessions/x", &bearer(&first), None)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_new_password_ends_the_other_sign_ins_and_a_letter_tells_nobody_anything() {
    let node = Node::start("rest-passwords", &OPEN).await;
    let first = Member::register(node.address(), "kim@example.com").await;
    let bearer = |member: &Member| format!("Bearer {}", member.access);
    let third = Member::login(node.address(), "kim@example.com", "tablet").await;
    let change = json!({"old": "not this one", "new": "another horse battery"});
    assert_eq!(
        ask(&node, "POST /auth/password", &bearer(&first), Some(&change))
            .await
            .status,
        401
    );
    let change = json!({"old": PASSWORD, "new": "another horse battery"});
    ask(&node, "POST /auth/password", &bearer(&first), Some(&change))
        .await
        .expect(204);
    assert_eq!(
        ask(&node, "GET /me", &bearer(&third), None).await.status,
        401
    );
    ask(&node, "GET /me", &bearer(&first), None)
        .await
        .expect(200);

    for email in ["kim@example.com", "nobody@example.com", "nonsense"] {
        let body = json!({"email": email});
        ask(&node, "POST /auth/password/forgot", "", Some(&body))
            .await
            .expect(204);
    }
    let reset = json!({"token": "sbp1.nonsense", "new": "one more horse battery"});
    let reset = ask(&node, "POST /auth/password/reset", "", Some(&reset)).await;
    assert_eq!(reset.problem(410), "expired");
    let short = json!({"token": "sbp1.nonsense", "new": "too short"});
    let short = ask(&node, "POST /auth/password/reset", "", Some(&short)).await;
    assert_eq!(short.problem(422), "validation_failed");
    for path in ["GET /auth/jwks", "GET /../../.well-known/jwks.json"] {
        let path = path.replace("/../..", "");
        let keys = match path.contains("well-known") {
            true => {
                crate::support::api::call(
                    node.address(),
                    "GET",
                    "/.well-known/jwks.json",
                    &[],
                    None,
                )
                .await
            }
            false => ask(&node, &path, "", None).await,
        };
        assert_eq!(keys.expect(200).body["keys"], json!([]));
    }
}
