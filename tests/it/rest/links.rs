//! A visitor goes on in another browser, and a site's visitor becomes its user.

use serde_json::json;

use super::{OPEN, Visitor, ask};
use crate::support::node::Node;

#[tokio::test]
async fn a_link_opens_the_visitor_elsewhere_once() {
    let node = Node::start("rest-link", &OPEN).await;
    let visitor = Visitor::new(&node).await;
    assert_eq!(
        ask(&node, "POST /auth/link", "", None).await.problem(401),
        "unauthorized"
    );
    let link = ask(&node, "POST /auth/link", &visitor.proof, None)
        .await
        .expect(201);
    let token = link.text("link_token");
    assert!(
        link.text("url").ends_with(&format!("/#link={token}")),
        "{link:?}"
    );
    assert!(link.text("qr_svg").contains("<svg "), "{link:?}");
    assert_eq!(link.body["expires_in"], 600);

    let body = json!({"link_token": token});
    let opened = ask(&node, "POST /auth/link/redeem", "", Some(&body))
        .await
        .expect(200);
    assert_eq!(opened.body["user_id"], visitor.user_id.as_str());
    assert_ne!(opened.text("visitor_token"), visitor.secret);
    assert_eq!(opened.header("set-cookie"), None, "a cookie is for pages");
    let used = ask(&node, "POST /auth/link/redeem", "", Some(&body)).await;
    assert_eq!(used.problem(410), "expired");
    assert_eq!(
        ask(&node, "GET /me", &visitor.proof, None).await.status,
        401
    );
    let proof = format!("Visitor {}", opened.text("visitor_token"));
    ask(&node, "GET /me", &proof, None).await.expect(200);
}

#[tokio::test]
async fn a_site_upgrade_needs_both_proofs() {
    let node = Node::start("rest-site", &OPEN).await;
    let visitor = Visitor::new(&node).await;
    let body = json!({"token": "eyJhbGciOiJub25lIn0.e30."});
    let nobody = ask(&node, "POST /auth/site", "", Some(&body)).await;
    assert_eq!(nobody.problem(403), "proof_required");
    let forged = ask(&node, "POST /auth/site", &visitor.proof, Some(&body)).await;
    assert_eq!(forged.problem(401), "unauthorized");
    ask(&node, "GET /me", &visitor.proof, None)
        .await
        .expect(200);
}
