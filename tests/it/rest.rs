//! REST as its clients meet it: a real node, requests octet by octet, and the command line beside it.
//!
//! Goal: every route does what the document says in the good case and refuses in the bad one, and
//! what stands before all of them (limits, keys, origins, cookies) cannot be walked around. Method: a
//! node of its own for each test, so that no bucket is another's.

mod accounts;
mod admin;
mod bodies;
mod command_line;
mod csrf;
mod documents;
mod idempotency;
mod limits;
mod links;
mod program;

pub(crate) use program::admin;

use serde_json::Value;

use crate::support::api::{Answered, call};
use crate::support::node::Node;

/// Limits that no test meets by accident.
pub(crate) const OPEN: [(&str, &str); 8] = [
    ("HTTP_PER_MIN", "0"),
    ("HTTP_AUTH_PER_MIN", "0"),
    ("HTTP_AUTH_PER_NET", "0"),
    ("LOGIN_PER_NET", "0"),
    ("REGISTER_PER_NET", "0"),
    ("VISITORS_PER_NETWORK", "0"),
    ("LOGIN_FAILURES_PER_NET", "0"),
    ("LOG_LEVEL", "info"),
];

/// A visitor who was made by REST.
#[derive(Debug)]
pub(crate) struct Visitor {
    user_id: String,
    secret: String,
    /// The whole header.
    pub(crate) proof: String,
}

impl Visitor {
    pub(crate) async fn new(node: &Node) -> Self {
        let made = call(node.address(), "POST", "/api/v1/auth/anonymous", &[], None).await;
        let made = made.expect(201);
        let secret = made.text("visitor_token");
        Self {
            user_id: made.text("user_id"),
            proof: format!("Visitor {secret}"),
            secret,
        }
    }
}

/// Asks for something below `/api/v1`, with what stands in `Authorization`.
pub(crate) async fn ask(
    node: &Node,
    line: &str,
    authorization: &str,
    body: Option<&Value>,
) -> Answered {
    let (method, path) = line.split_once(' ').unwrap();
    let headers = [("Authorization", authorization)];
    let headers = if authorization.is_empty() {
        &headers[..0]
    } else {
        &headers[..]
    };
    call(
        node.address(),
        method,
        &format!("/api/v1{path}"),
        headers,
        body,
    )
    .await
}
