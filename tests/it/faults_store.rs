//! PostgreSQL away: refused in clear words, nothing receipted that is not stored, nothing twice.
//!
//! Not here: what the engine does on its own (`conformance_store`, `store_postgres`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::client::get;
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Network, Proxy};
use crate::support::stompjs::{Device, ERRORS, MESSAGES, PATIENCE, StompJs, assert_whole};

/// How soon a node is ready after its store is back: the last answer is given for 250 ms.
const READY_AGAIN: Duration = Duration::from_secs(1);

/// Writes with this `client_id`.
async fn say(from: &Device, to: &Device, client_id: &str) -> Result<Value, Value> {
    let body = json!({"to": to.user(), "message": client_id, "client_id": client_id});
    from.try_send("/app/chat.send", &body.to_string()).await
}

#[tokio::test]
async fn a_node_without_its_postgres_says_so_and_goes_on_when_it_is_back() {
    let url = Postgres::shared().await.fresh_database().await;
    let port = url.split(':').nth(2).unwrap().split('/').next().unwrap();
    let proxy = Proxy::to(port.parse().unwrap()).await;
    let url = url.replace(port, &proxy.port().to_string());
    let mut environment = HIGH_LIMITS.to_vec();
    environment.push(("DATABASE_URL", &url));
    let node = Node::start("node", &environment).await;
    let js = StompJs::start();
    let alice = js.visitor("alice", &node.websocket()).await;
    let bob = js.visitor("bob", &node.websocket()).await;
    alice.subscribe(ERRORS).await;
    bob.listen().await;
    bob.subscribe("/topic/news").await;
    let mut sent = 0;
    for away in [Network::Refuse, Network::Blackhole] {
        sent += 1;
        say(&alice, &bob, &format!("before-{away:?}"))
            .await
            .unwrap();
        proxy.set(away);
        let in_doubt = format!("during-{away:?}");
        let problem = say(&alice, &bob, &in_doubt).await.unwrap_err();
        assert_eq!(problem["code"], "store_unavailable", "{away:?}: {problem}");
        assert!(problem["retry_after_ms"].as_u64().is_some(), "{problem}");
        let (status, body) = get(node.address(), "/api/v1/health/ready").await;
        assert_eq!(status, 503, "{away:?}: {body}");
        // What is not stored goes on.
        alice.send("/topic/news", &in_doubt).await;
        proxy.set(Network::Pass);
        let began = Instant::now();
        // The same client_id: whether it was stored or not, it is there once in the end.
        while let Err(problem) = say(&alice, &bob, &in_doubt).await {
            assert!(began.elapsed() < PATIENCE, "{away:?}: still {problem}");
            sleep(Duration::from_millis(200)).await;
        }
        sent += 1;
        let all = bob.messages(sent).await;
        assert_whole("bob", &all, sent);
        assert_eq!(all.last().unwrap().words(), in_doubt);
        // The answer of a moment ago is given for 250 ms.
        let began = Instant::now();
        while get(node.address(), "/api/v1/health/ready").await.0 != 200 {
            assert!(began.elapsed() < READY_AGAIN, "{away:?}: still not ready");
            sleep(Duration::from_millis(20)).await;
        }
    }
    let news = bob.received("/topic/news", 2).await;
    assert_eq!(news[1].text, "during-Blackhole");
    sleep(Duration::from_millis(500)).await;
    let all = bob.look(MESSAGES, usize::MAX, Duration::ZERO).await;
    assert_whole("bob", &all, sent);
    // Even so it ends in order and in time.
    proxy.set(Network::Blackhole);
    let (refused, ended) = tokio::join!(say(&alice, &bob, "too late"), async {
        sleep(Duration::from_millis(100)).await;
        node.stop().await
    },);
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
    assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
    drop(refused);
}
