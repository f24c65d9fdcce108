//! Visitors of whom nothing is stored, on real nodes: known on every one of them, written to, erased; and
//! known ones at a store that cannot write.
//!
//! Not here: which identity a client gets (`anonymous_identity`).

use serde_json::json;

use crate::support::api::call;
use crate::support::client::{Client, Frame, Opening};
use crate::support::cluster::{Cluster, HIGH_LIMITS};
use crate::support::node::Node;
use crate::support::postgres::{Postgres, connect};

/// Connects with a secret; the client and CONNECTED.
async fn back(node: &Node, secret: &str) -> (Client, Frame) {
    let opened = Client::try_open(node.address(), &Opening::default()).await;
    let mut client = opened.expect("it opens");
    let connected = client.introduce(secret).await;
    assert_eq!(connected.command, "CONNECTED", "{connected:?}");
    (client, connected)
}

async fn rows(database: &str, table: &str) -> i64 {
    let client = connect(database).await;
    let count = format!("SELECT count(*) FROM {table}");
    client.query_one(&count, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn another_node_knows_and_reaches_a_visitor_of_whom_nothing_is_stored() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let first = Client::connect(a.address()).await;
    let (secret, address) = (first.secret().to_owned(), first.user().to_owned());
    drop(first);
    let (mut reader, connected) = back(&b, &secret).await;
    assert_eq!(connected.header("user-name"), address);
    assert_eq!(connected.header("proof"), "token");
    assert_eq!(connected.header("token-expires-in"), "3600");
    reader.subscribe("/user/queue/messages").await;
    let authorization = format!("Visitor {secret}");
    let visitor = [("authorization", authorization.as_str())];
    let me = call(a.address(), "GET", "/api/v1/me", &visitor, None).await;
    assert_eq!(me.expect(200).text("user_id"), address);
    assert_eq!(rows(cluster.database(), "users").await, 0);

    let mut writer = Client::connect(a.address()).await;
    writer.say(&address, "hello").await;
    let message = reader.frame().await;
    assert_eq!(message.json()["message"], "hello", "{message:?}");
    assert_eq!(rows(cluster.database(), "users WHERE is_kept = 1").await, 2);
    let (_again, connected) = back(&a, &secret).await;
    assert_eq!(connected.header("user-name"), address);
    assert_eq!(connected.header("token-expires-in"), "2592000");
}

#[tokio::test]
async fn an_erased_visitor_of_whom_nothing_was_stored_is_nobody_on_every_node() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut client = Client::connect(a.address()).await;
    let (secret, address) = (client.secret().to_owned(), client.user().to_owned());
    let authorization = format!("Visitor {secret}");
    let visitor = [("authorization", authorization.as_str())];
    let erased = call(b.address(), "DELETE", "/api/v1/me", &visitor, None).await;
    assert_eq!(erased.status, 204, "{erased:?}");
    client.end().await;
    for node in [&a, &b] {
        let (_, connected) = back(node, &secret).await;
        assert_eq!(connected.header("visitor-token-status"), "rejected");
        assert_ne!(connected.header("user-name"), address);
        let me = call(node.address(), "GET", "/api/v1/me", &visitor, None).await;
        assert_eq!(me.problem(401), "unauthorized");
    }
    let mut writer = Client::connect(a.address()).await;
    writer.subscribe("/user/queue/errors").await;
    let body = json!({"to": address, "message": "are you there?"}).to_string();
    writer.publish("/app/chat.send", &body).await;
    let refused = writer.frame().await;
    assert_eq!(refused.json()["code"], "not_found", "{refused:?}");
}

/// From now on PostgreSQL answers every row that is written as it does when its disk is full (53100).
const FULL_DISK: &str = "
    CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %I
                FOR EACH ROW EXECUTE FUNCTION disk_is_full()', name);
        END LOOP;
    END $$";

#[tokio::test]
async fn a_store_that_cannot_write_lets_known_and_new_visitors_in() {
    let url = Postgres::shared().await.fresh_database().await;
    let mut environment = HIGH_LIMITS.to_vec();
    environment.push(("DATABASE_URL", &url));
    let node = Node::start("node", &environment).await;
    let mut kept = Client::connect(node.address()).await;
    let (secret, address) = (kept.secret().to_owned(), kept.user().to_owned());
    kept.say(&address, "a note").await;
    kept.disconnect().await;
    let (loose, _) = back(&node, "").await;
    let (loose_secret, loose_address) = (loose.secret().to_owned(), loose.user().to_owned());
    drop(loose);
    // The use of the secret was written two days ago.
    let admin = connect(&url).await;
    let aged = "UPDATE visitor_tokens SET expires_at = expires_at - 2 * 86400000";
    admin.execute(aged, &[]).await.unwrap();
    admin.batch_execute(FULL_DISK).await.unwrap();

    let (mut kept, connected) = back(&node, &secret).await;
    assert_eq!(connected.header("user-name"), address);
    assert_eq!(connected.header("proof"), "token");
    let (_loose, connected) = back(&node, &loose_secret).await;
    assert_eq!(connected.header("user-name"), loose_address);
    assert_eq!(connected.header("proof"), "token");
    Client::connect(node.address()).await;
    let (_new, connected) = back(&node, "").await;
    assert_eq!(connected.header("proof"), "new");
    // What must be stored is refused, not receipted.
    kept.subscribe("/user/queue/errors").await;
    let body = json!({"to": address, "message": "another note"}).to_string();
    kept.publish("/app/chat.send", &body).await;
    let refused = kept.frame().await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{refused:?}");
}
