//! The documents of REST: the served one, the printed one, the written one, and the page.

use std::collections::BTreeSet;

use serde_json::Value;

use super::program::run;
use crate::support::edge::ask;
use crate::support::node::Node;

/// The operations of the document: method and path.
fn operations() -> BTreeSet<(String, String)> {
    let document = stompbox::edge::openapi();
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert((method.to_uppercase(), path.clone()));
        }
    }
    operations
}

#[test]
fn the_table_of_docs_rest_md_has_every_route_and_no_other() {
    let text = std::fs::read_to_string("docs/rest.md").unwrap();
    let (_, table) = text.split_once("<!-- routes -->").unwrap();
    let (table, _) = table.split_once("<!-- /routes -->").unwrap();
    let written: BTreeSet<_> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let path = cells.next()?.trim().trim_end_matches('`');
            Some((cells.next()?.trim().to_owned(), path.to_owned()))
        })
        .collect();
    assert_eq!(written, operations());
}

#[tokio::test]
async fn every_operation_of_the_document_is_routed_and_no_other() {
    let node = Node::start("rest-routes", &super::OPEN).await;
    let operations = operations();
    let paths: BTreeSet<_> = operations.iter().map(|(_, path)| path.clone()).collect();
    for path in paths {
        let real = path.replace(['{', '}'], "");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let line = format!("{method} {real}");
            let answer = ask(node.address(), &line, &["Content-Length: 0"]).await;
            let is_routed = operations.contains(&(method.to_owned(), path.clone()));
            assert_eq!(answer.status != 405, is_routed, "{line}: {answer:?}");
            assert_ne!(answer.status, 500, "{line}");
        }
    }
}

#[tokio::test]
async fn the_served_document_is_the_printed_one_and_the_page_shows_it() {
    let node = Node::start("rest-document", &super::OPEN).await;
    let served = ask(node.address(), "GET /api/v1/openapi.json", &[]).await;
    assert_eq!(served.status, 200);
    assert_eq!(served.header("content-type"), Some("application/json"));
    let printed = run(&["openapi"], "").await;
    assert_eq!(printed.code, 0);
    let printed: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(served.json(), printed);
    assert!(printed["openapi"].as_str().unwrap().starts_with("3.1"));
    let page = ask(node.address(), "GET /docs", &[]).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(
        !page.body.contains("<script>") && !page.body.contains("https://"),
        "{}",
        page.body
    );
    for asset in ["/assets/docs.js", "/assets/docs.css"] {
        assert_eq!(
            ask(node.address(), &format!("GET {asset}"), &[])
                .await
                .status,
            200,
            "{asset}"
        );
    }
}
