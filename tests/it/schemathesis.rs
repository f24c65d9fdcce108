//! schemathesis against the served document: thousands of requests, right and wrong, of which none may
//! get an answer that the document does not have, and none a 5xx.
//!
//! Goal: the document is true. Method: three runs with one seed, as nobody, as a visitor and as an admin.
//! What is not checked: that a value which fits its schema is taken, because a password may fit and be
//! easy to guess.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::rest::{OPEN, Visitor, admin, ask};
use crate::support::node::Node;

/// How long one run may take. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(240);

/// What may end what whoever asks shows, after which everything is 401: ids and links that were in an
/// answer are used in later requests.
const ENDING: [&str; 10] = [
    "admin/bans",
    "admin/tokens/revoke",
    "admin/users/{id}",
    "admin/users/{id}/role",
    "admin/users/{id}/sign_out",
    "auth/link/redeem",
    "auth/logout",
    "auth/upgrade",
    "me",
    "me/sessions/{id}",
];

/// Which of the paths are asked.
#[derive(Clone, Copy, Debug)]
enum Which {
    /// All but those of [`ENDING`].
    Lasting,
    /// Those alone.
    Ending,
}

impl Which {
    fn option(self) -> &'static str {
        match self {
            Self::Lasting => "--exclude-path",
            Self::Ending => "--include-path",
        }
    }
}

/// Asks everything as nobody, or one kind of paths as somebody.
async fn run(node: &Node, authorization: Option<&str>, which: Which) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/python/bin/schemathesis");
    assert!(
        program.exists(),
        "schemathesis is missing; fetch it with: python3 -m venv target/python && \
         target/python/bin/pip install -r tests/py/requirements.txt (Debian package python3-venv)"
    );
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(node.url("/api/v1/openapi.json"))
        .args(["--max-examples", "20", "--seed", "20260101", "--no-color"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--generation-database", "none", "--warnings", "off"])
        .args(["--exclude-checks", "positive_data_acceptance"])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(authorization) = authorization {
        command
            .arg("--header")
            .arg(format!("Authorization: {authorization}"));
        for path in ENDING {
            let path = format!("/api/v1/{path}");
            command.args([which.option(), &path]);
        }
        // What the header says is sent whether or not a request is to be without it.
        command.args(["--exclude-checks", "positive_data_acceptance,ignored_auth"]);
    }
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("schemathesis does not end").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "as {authorization:?}:\n{said}");
    assert!(said.contains("Test cases:"), "{said}");
}

#[tokio::test]
async fn no_request_gets_an_answer_that_the_document_does_not_have() {
    let node = Node::start("schemathesis", &OPEN).await;
    run(&node, None, Which::Lasting).await;
    let visitor = Visitor::new(&node).await;
    run(&node, Some(&visitor.proof), Which::Lasting).await;
    // Whoever asked is still who he was: the answers were not all 401.
    ask(&node, "GET /me", &visitor.proof, None)
        .await
        .expect(200);
    run(&node, Some(&visitor.proof), Which::Ending).await;
    let admin = admin(&node).await;
    let bearer = format!("Bearer {}", admin.access);
    run(&node, Some(&bearer), Which::Lasting).await;
    ask(&node, "GET /admin/users", &bearer, None)
        .await
        .expect(200);
    run(&node, Some(&bearer), Which::Ending).await;
    assert!(!node.output().contains("panicked"), "{}", node.output());
}
