//! `Idempotency-Key`: the same answer again, one of two at once, and nothing readable at rest.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{OPEN, Visitor, ask};
use crate::support::api::{Answered, PASSWORD, call};
use crate::support::node::Node;

async fn keyed(node: &Node, path: &str, who: &str, key: &str, body: &Value) -> Answered {
    let headers = [("Idempotency-Key", key), ("Authorization", who)];
    let headers = if who.is_empty() {
        &headers[..1]
    } else {
        &headers[..]
    };
    call(node.address(), "POST", path, headers, Some(body)).await
}

fn account(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "name": "Kim"})
}

const REGISTER: &str = "/api/v1/auth/register";

#[tokio::test]
async fn a_refusal_of_a_stranger_is_not_kept() {
    let node = Node::start("rest-refused", &OPEN).await;
    let taken = account("kim@example.com");
    keyed(&node, REGISTER, "", "k1", &taken).await.expect(201);
    for _ in 0..2 {
        let refused = keyed(&node, REGISTER, "", "k2", &taken).await;
        assert_eq!(refused.problem(409), "email_taken");
        assert_eq!(refused.header("idempotent-replay"), None);
    }
    // So the key is as good as new.
    let other = account("lee@example.com");
    keyed(&node, REGISTER, "", "k2", &other).await.expect(201);
    // A refusal of a user whose account is known is kept.
    let member = keyed(&node, REGISTER, "", "k3", &account("may@example.com"))
        .await
        .expect(201);
    let who = format!("Bearer {}", member.body["access_token"].as_str().unwrap());
    let wrong = json!({"current_password": "not it", "password": PASSWORD});
    let path = "/api/v1/auth/password";
    let first = keyed(&node, path, &who, "k4", &wrong).await;
    let again = keyed(&node, path, &who, "k4", &wrong).await;
    assert!((400..429).contains(&first.status), "{}", first.status);
    assert_eq!(again.status, first.status);
    assert_eq!(again.header("idempotent-replay"), Some("true"));
}

#[tokio::test]
async fn a_request_that_comes_again_gets_the_same_answer() {
    let node = Node::start("rest-keyed", &OPEN).await;
    let first = keyed(&node, REGISTER, "", "k1", &account("kim@example.com"))
        .await
        .expect(201);
    assert_eq!(first.header("idempotent-replay"), None);
    let again = keyed(&node, REGISTER, "", "k1", &account("kim@example.com"))
        .await
        .expect(201);
    assert_eq!(again.header("idempotent-replay"), Some("true"));
    assert_eq!(again.body, first.body);
    let other = keyed(&node, REGISTER, "", "k1", &account("lee@example.com")).await;
    assert_eq!(other.problem(422), "idempotency_mismatch");
    let other = keyed(&node, REGISTER, "", "k2", &account("kim@example.com")).await;
    assert_eq!(other.problem(409), "email_taken");
    for bad in ["a b", &"k".repeat(256), ""] {
        let refused = keyed(&node, REGISTER, "", bad, &account("lee@example.com")).await;
        assert_eq!(refused.problem(400), "bad_request", "{bad}");
    }
    // The key of one caller is nothing to another.
    let (one, two) = (Visitor::new(&node).await, Visitor::new(&node).await);
    let link = "/api/v1/auth/link";
    let mine = keyed(&node, link, &one.proof, "k3", &json!({}))
        .await
        .expect(201);
    let his = keyed(&node, link, &two.proof, "k3", &json!({}))
        .await
        .expect(201);
    assert_ne!(mine.body["link_token"], his.body["link_token"]);
    let again = keyed(&node, link, &one.proof, "k3", &json!({}))
        .await
        .expect(201);
    assert_eq!(mine.body, again.body);
}

#[tokio::test]
async fn an_upgrade_whose_answer_was_lost_is_answered_again_though_the_secret_has_ended() {
    let node = Node::start("rest-keyed-upgrade", &OPEN).await;
    let visitor = Visitor::new(&node).await;
    let body = json!({"email": "kim@example.com", "password": PASSWORD});
    let path = "/api/v1/auth/upgrade";
    let first = keyed(&node, path, &visitor.proof, "k", &body)
        .await
        .expect(200);
    let again = keyed(&node, path, &visitor.proof, "k", &body)
        .await
        .expect(200);
    assert_eq!(first.body, again.body);
    let without = ask(&node, "POST /auth/upgrade", &visitor.proof, Some(&body)).await;
    assert_eq!(without.problem(403), "proof_required");
    let logout = "/api/v1/auth/logout";
    let other = Visitor::new(&node).await;
    keyed(&node, logout, &other.proof, "k", &json!({}))
        .await
        .expect(204);
    keyed(&node, logout, &other.proof, "k", &json!({}))
        .await
        .expect(204);
    assert_eq!(
        keyed(&node, logout, &other.proof, "k9", &json!({}))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn of_many_at_once_one_is_done() {
    let node = Node::start("rest-keyed-parallel", &OPEN).await;
    let body = account("kim@example.com");
    let answers = join_all((0..8).map(|_| keyed(&node, REGISTER, "", "k", &body))).await;
    let mut made = 0;
    for answer in &answers {
        match answer.status {
            201 if answer.header("idempotent-replay").is_none() => made += 1,
            201 => {}
            _ => assert_eq!(answer.problem(409), "idempotency_in_progress"),
        }
    }
    assert_eq!(made, 1, "{answers:?}");
    let last = keyed(&node, REGISTER, "", "k", &body).await.expect(201);
    assert_eq!(last.header("idempotent-replay"), Some("true"));
}

#[tokio::test]
async fn nobody_reads_a_token_in_what_is_kept() {
    let node = Node::start("rest-keyed-rest", &OPEN).await;
    let made = keyed(&node, REGISTER, "", "k", &account("kim@example.com"))
        .await
        .expect(201);
    let secrets = [
        made.text("access_token"),
        made.text("refresh_token"),
        PASSWORD.to_owned(),
    ];
    let mut read = 0;
    for entry in std::fs::read_dir(node.data_dir()).unwrap().flatten() {
        let octets = std::fs::read(entry.path()).unwrap();
        read += octets.len();
        for secret in &secrets {
            let found = octets
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "a secret stands in {:?}", entry.path());
        }
    }
    assert!(read > 1_000);
    let output = node.output();
    assert!(
        secrets
            .iter()
            .all(|secret| !output.contains(secret.as_str()))
    );
}

#[tokio::test]
async fn a_full_share_refuses_no_retry_and_no_stranger() {
    let limits: Vec<_> = OPEN
        .into_iter()
        .chain([("VISITOR_STORE_BYTES", "16KiB")])
        .collect();
    let node = Node::start("rest-share", &limits).await;
    let register = async |number: usize| {
        let (key, email) = (format!("k{number}"), format!("kim{number}@example.com"));
        keyed(&node, REGISTER, "", &key, &account(&email)).await
    };
    // All of them are done, although the share of this network holds only some of the answers.
    for number in 0..16 {
        let made = register(number).await.expect(201);
        assert_eq!(made.header("idempotent-replay"), None);
    }
    let first = register(0).await.expect(201);
    assert_eq!(first.header("idempotent-replay"), Some("true"));
    // The answer of the last was not kept, nor that it was begun: it is done again.
    assert_eq!(register(15).await.problem(409), "email_taken");
    // A visitor is told whose share is used up, and the key is as good as new.
    let visitor = Visitor::new(&node).await;
    let link = "/api/v1/auth/link";
    for _ in 0..2 {
        let refused = keyed(&node, link, &visitor.proof, "k", &json!({})).await;
        assert_eq!(refused.problem(409), "limit_exceeded");
    }
}
