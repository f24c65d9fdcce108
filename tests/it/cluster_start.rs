//! A node of a cluster as a process: what it needs at its start, and how it ends.
//!
//! What nodes do together is tested elsewhere; here each word that a person reads is.

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::ports;
use crate::support::postgres::Postgres;

#[tokio::test]
async fn nodes_of_a_cluster_agree_on_their_store_and_on_who_is_who_and_end_in_order() {
    let cluster = Cluster::start().await;
    let a = cluster.node("node-a").await;
    for words in ["PostgreSQL", "Redis", "RabbitMQ", "node-a"] {
        a.output_with(words).await;
    }
    assert!(!a.output().contains("guest:guest"), "{}", a.output());

    // Another store under the same Redis would split the conversations: it is refused.
    let other = Postgres::shared().await.fresh_database().await;
    let refused = cluster
        .try_node("node-b", &[("DATABASE_URL", &other)])
        .await;
    let ended = refused.expect_err("two stores in one cluster");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    for words in ["DATABASE_URL", "share one store", "cluster:store"] {
        assert!(ended.output.contains(words), "{}", ended.output);
    }

    // A second process under the same name takes over; the first finds out and ends.
    let second = cluster.node("node-a").await;
    let first = a.wait().await;
    assert_eq!(first.status.code(), Some(1), "{}", first.output);
    assert!(first.output.contains("SERVER_ID"), "{}", first.output);

    let ended = second.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
    let took = ended.took;
    assert!(took < Duration::from_secs(10), "{took:?}: {}", ended.output);

    an_engine_that_is_not_there_is_named_in_one_line(&cluster).await;
}

/// A part of the test above, since the servers take seconds to boot.
async fn an_engine_that_is_not_there_is_named_in_one_line(cluster: &Cluster) {
    let nobody = ports::free();
    for (setting, scheme) in [
        ("DATABASE_URL", "postgres"),
        ("REDIS_URL", "redis"),
        ("RABBITMQ_URL", "amqp"),
    ] {
        let url = format!("{scheme}://u:do-not-show@127.0.0.1:{nobody}/x");
        let url = url.replace("/x", if setting == "REDIS_URL" { "/0" } else { "/x" });
        let refused = cluster.try_node("node-c", &[(setting, &url)]).await;
        let ended = refused.expect_err(setting);
        assert_eq!(ended.status.code(), Some(1), "{setting}: {}", ended.output);
        let last = ended.output.lines().last().unwrap_or_default();
        assert!(
            last.contains(setting),
            "{setting} is not named: {}",
            ended.output
        );
        assert!(!ended.output.contains("do-not-show"), "{}", ended.output);
        let took = ended.took;
        assert!(took < Duration::from_secs(40), "{setting}: {took:?}");
    }
}
