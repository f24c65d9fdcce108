//! Looking after the service over REST: accounts, roles, tokens, bans, the audit.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::program::admin;
use super::{OPEN, Visitor, ask};
use crate::support::api::{Member, PASSWORD};
use crate::support::node::Node;

#[tokio::test]
async fn only_an_admin_looks_after_the_service() {
    let node = Node::start("rest-admin-only", &OPEN).await;
    let visitor = Visitor::new(&node).await;
    let member = Member::register(node.address(), "kim@example.com").await;
    let bearer = format!("Bearer {}", member.access);
    let admin = format!("Bearer {}", admin(&node).await.access);
    let own = format!("/admin/users/{}", member.user_id);
    for line in [
        "GET /admin/users",
        "GET /admin/bans",
        "GET /admin/audit",
        "GET /admin/policy",
        &format!("GET {own}"),
        &format!("GET /admin/routing/{}", member.user_id),
        "GET /admin/trace/01j9zzzzzzzzzzzzzzzzzzzzzz",
    ] {
        assert_eq!(
            ask(&node, line, "", None).await.problem(401),
            "unauthorized",
            "{line}"
        );
        assert_eq!(
            ask(&node, line, &visitor.proof, None).await.status,
            401,
            "{line}"
        );
        assert_eq!(
            ask(&node, line, &bearer, None).await.problem(403),
            "forbidden",
            "{line}"
        );
        ask(&node, line, &admin, None).await.expect(200);
    }
    let role = json!({"role": "admin"});
    let line = format!("PUT {own}/role");
    assert_eq!(
        ask(&node, &line, &bearer, Some(&role)).await.problem(403),
        "forbidden"
    );
}

#[tokio::test]
async fn accounts_are_made_and_listed_page_by_page() {
    let node = Node::start("rest-admin-users", &OPEN).await;
    let root = admin(&node).await;
    let bearer = format!("Bearer {}", root.access);
    for number in 0..3 {
        let new = json!({
            "email": format!("u{number}@example.com"), "password": PASSWORD, "name": "U",
            "role": if number == 0 { "bot" } else { "member" },
        });
        let made = ask(&node, "POST /admin/users", &bearer, Some(&new))
            .await
            .expect(201);
        let at = made.header("location").unwrap().to_owned();
        assert!(at.ends_with(&made.text("user_id")), "{at}");
        assert!(made.body.get("password").is_none());
    }
    let mut seen = Vec::new();
    let mut line = "GET /admin/users?limit=2".to_owned();
    loop {
        let page = ask(&node, &line, &bearer, None).await.expect(200);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(
            items
                .iter()
                .map(|item| item["user_id"].as_str().unwrap().to_owned()),
        );
        if page.body["has_more"] == false {
            break;
        }
        line = format!(
            "GET /admin/users?limit=2&cursor={}",
            page.text("next_cursor")
        );
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.is_sorted());
    for bad in ["0", "101", "x"] {
        let line = format!("GET /admin/users?limit={bad}");
        assert_eq!(
            ask(&node, &line, &bearer, None).await.problem(422),
            "validation_failed"
        );
    }
}

#[tokio::test]
async fn accounts_are_changed_and_forgotten_and_that_is_noted() {
    let node = Node::start("rest-admin-changes", &OPEN).await;
    let bearer = format!("Bearer {}", admin(&node).await.access);
    let new = json!({"email": "u@example.com", "password": PASSWORD, "name": "U"});
    let made = ask(&node, "POST /admin/users", &bearer, Some(&new)).await;
    let path = format!("/admin/users/{}", made.expect(201).text("user_id"));
    let role = json!({"role": "admin"});
    let changed = ask(&node, &format!("PUT {path}/role"), &bearer, Some(&role))
        .await
        .expect(200);
    assert_eq!(changed.body["role"], "admin");
    let nonsense = json!({"role": "king"});
    assert_eq!(
        ask(&node, &format!("PUT {path}/role"), &bearer, Some(&nonsense))
            .await
            .status,
        422
    );
    let ended = ask(&node, &format!("POST {path}/sign_out"), &bearer, None)
        .await
        .expect(200);
    assert_eq!(ended.body["ended"], 0);
    ask(&node, &format!("DELETE {path}"), &bearer, None)
        .await
        .expect(204);
    assert_eq!(
        ask(&node, &format!("GET {path}"), &bearer, None)
            .await
            .problem(404),
        "not_found"
    );
    assert_eq!(
        ask(&node, &format!("DELETE {path}"), &bearer, None)
            .await
            .status,
        404
    );

    let audit = ask(&node, "GET /admin/audit?limit=100", &bearer, None)
        .await
        .expect(200);
    let acts: Vec<_> = audit.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|act| act["act"].clone())
        .collect();
    for act in ["create", "role", "erase"] {
        assert!(acts.contains(&json!(act)), "{act} is not in {acts:?}");
    }
}

#[tokio::test]
async fn tokens_are_made_for_programs_and_end() {
    let node = Node::start("rest-admin-tokens", &OPEN).await;
    let bearer = format!("Bearer {}", admin(&node).await.access);
    let member = Member::register(node.address(), "bot@example.com").await;
    let mint = json!({"user_id": member.user_id, "seconds": 60});
    let minted = ask(&node, "POST /admin/tokens", &bearer, Some(&mint))
        .await
        .expect(201);
    let token = minted.text("access_token");
    let program = format!("Bearer {token}");
    ask(&node, "GET /me", &program, None).await.expect(200);
    let revoke = json!({"token": token});
    ask(&node, "POST /admin/tokens/revoke", &bearer, Some(&revoke))
        .await
        .expect(204);
    assert_eq!(ask(&node, "GET /me", &program, None).await.status, 401);
    let again = ask(&node, "POST /admin/tokens/revoke", &bearer, Some(&revoke)).await;
    assert_eq!(again.problem(404), "not_found");
    let nothing = json!({});
    assert_eq!(
        ask(&node, "POST /admin/tokens/revoke", &bearer, Some(&nothing))
            .await
            .status,
        422
    );
    let nobody = json!({"user_id": "user_0000000000000"});
    assert_eq!(
        ask(&node, "POST /admin/tokens", &bearer, Some(&nobody))
            .await
            .problem(404),
        "not_found"
    );
    let long = json!({"user_id": member.user_id, "seconds": u64::MAX});
    assert_eq!(
        ask(&node, "POST /admin/tokens", &bearer, Some(&long))
            .await
            .status,
        422
    );
}

#[tokio::test]
async fn a_ban_keeps_somebody_out_until_it_is_lifted() {
    let node = Node::start("rest-admin-bans", &OPEN).await;
    let bearer = format!("Bearer {}", admin(&node).await.access);
    let member = Member::register(node.address(), "kim@example.com").await;
    let his = format!("Bearer {}", member.access);
    let ban = json!({"user_id": member.user_id, "seconds": 3600, "reason": "spam"});
    let made = ask(&node, "POST /admin/bans", &bearer, Some(&ban))
        .await
        .expect(201);
    assert_eq!(
        (&made.body["kind"], &made.body["act"]),
        (&json!("user"), &json!("ban"))
    );
    let out = ask(&node, "GET /me", &his, None).await;
    assert_eq!(out.problem(403), "banned");
    assert!(out.body["until"].as_str().is_some());
    let listed = ask(&node, "GET /admin/bans", &bearer, None)
        .await
        .expect(200);
    assert_eq!(listed.body["items"][0]["subject"], member.user_id.as_str());
    let line = format!("DELETE /admin/bans/user/{}/ban", member.user_id);
    ask(&node, &line, &bearer, None).await.expect(204);
    ask(&node, "GET /me", &his, None).await.expect(200);
    assert_eq!(
        ask(&node, &line, &bearer, None).await.problem(404),
        "not_found"
    );

    // A network is kept by its keyed name: no list shows the address.
    let ban = json!({"network": "192.0.2.77", "act": "mute", "reason": "flood"});
    let made = ask(&node, "POST /admin/bans", &bearer, Some(&ban))
        .await
        .expect(201);
    let keyed = made.text("subject");
    assert!(!keyed.contains("192"), "{keyed}");
    let line = "DELETE /admin/bans/network/192.0.2.77/mute";
    ask(&node, line, &bearer, None).await.expect(204);
    for bad in [
        json!({"reason": "nobody"}),
        json!({"user_id": "user_0000000000000", "network": "192.0.2.1", "reason": "two"}),
        json!({"network": "somewhere", "reason": "x"}),
        json!({"client_identifier": "x", "reason": "x"}),
        json!({"user_id": member.user_id, "act": "kick", "reason": "x"}),
        json!({"user_id": member.user_id, "seconds": 0, "reason": "x"}),
        json!({"user_id": member.user_id, "until": "tomorrow", "reason": "x"}),
        json!({"user_id": member.user_id, "until": "2001-01-01T00:00:00Z", "reason": "x"}),
        json!({"user_id": member.user_id}),
    ] {
        let refused = ask(&node, "POST /admin/bans", &bearer, Some(&bad)).await;
        assert_eq!(refused.problem(422), "validation_failed", "{bad}");
    }
}

#[tokio::test]
async fn an_erasure_is_noted_although_its_client_does_not_wait() {
    let node = Node::start("rest-erased", &OPEN).await;
    let bearer = format!("Bearer {}", admin(&node).await.access);
    let mut visitors = Vec::new();
    for step in 0..20 {
        let visitor = Visitor::new(&node).await;
        let request = format!(
            "DELETE /api/v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\r\n",
            visitor.proof
        );
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // Some go before the request is read, some while it is done.
        sleep(Duration::from_micros(500 * step)).await;
        drop(stream);
        visitors.push(visitor);
    }
    // A request whose client has gone may not be begun; what is begun is noted.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut erased = Vec::new();
        for visitor in &visitors {
            if ask(&node, "GET /me", &visitor.proof, None).await.status == 401 {
                erased.push(visitor.user_id.as_str());
            }
        }
        let audit = ask(&node, "GET /admin/audit?limit=100", &bearer, None).await;
        let audit = audit.expect(200).body.to_string();
        erased.retain(|user| !audit.contains(user));
        if erased.is_empty() && audit.contains("\"erase\"") {
            break;
        }
        assert!(Instant::now() < deadline, "{erased:?} are not noted");
        sleep(Duration::from_millis(100)).await;
    }
}
