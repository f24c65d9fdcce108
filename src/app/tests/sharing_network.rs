//! What a sender and a network may send in a time, by messages and by bytes.

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, Shape};
use crate::app::AppSettings;
use crate::model::Code;
use crate::policy::bucket::Rate;
use crate::session::{Reply, Step};

/// 100 messages at once, and one a second.
const SENDER: Rate = Rate {
    capacity: 100,
    per_10_min: 600,
};

/// 20 messages at once, and one a second.
const NETWORK: Rate = Rate {
    capacity: 20,
    per_10_min: 600,
};

async fn rig_with(rate_visitor: Rate, rate_network: Rate) -> Rig {
    let settings = AppSettings {
        rate_visitor,
        rate_network,
        ..AppSettings::default()
    };
    let shape = Shape {
        settings,
        ..Shape::default()
    };
    Rig::new(shape).await
}

/// An app where a network may send little.
async fn rig() -> Rig {
    rig_with(AppSettings::default().rate_visitor, NETWORK).await
}

#[tokio::test(start_paused = true)]
async fn a_message_counts_to_its_network_once_for_each_kib() {
    let rig = rig().await;
    let client = rig.neighbour("192.0.2.1").await;
    let says = async |destination: &str, bytes: usize| {
        let body = json!({
            "to": client.live.hub.user.as_str(),
            "message": "\u{1d54f}".repeat(bytes / 4),
        });
        client.send(destination, &body.to_string()).await.map(drop)
    };
    says("/topic/large", 500).await.unwrap();
    says("/app/chat.send", 15_500).await.unwrap();
    let problem = says("/topic/large", 15_500).await.unwrap_err();
    assert_eq!(problem.code, Code::RateLimited);
    let problem = says("/app/chat.send", 15_500).await.unwrap_err();
    assert_eq!(problem.code, Code::RateLimited);
    let wait_ms = problem.retry_after_ms.unwrap();
    assert!(
        (12_001..=13_000).contains(&wait_ms),
        "{wait_ms}: 16, of which 3 are left"
    );
    for _ in 0..3 {
        says("/app/chat.send", 10).await.unwrap();
    }
    assert!(says("/app/chat.send", 10).await.is_err());
    let neighbour = rig.neighbour("198.51.100.1").await;
    let body = json!({ "to": client.live.hub.user.as_str(), "message": "hello" });
    neighbour
        .send("/app/chat.send", &body.to_string())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_stores_more_than_its_network_may_at_once_needs_a_full_bucket() {
    let rig = rig().await;
    let client = rig.neighbour("192.0.2.1").await;
    let body = json!({
        "to": client.live.hub.user.as_str(),
        "message": "\u{1d54f}".repeat(3_000),
    });
    let steps = || {
        let step = |_| Step::Send(client.sending("/app/chat.send", &[], &body.to_string()));
        (0..3).map(step).collect()
    };
    client.commit(steps()).await.unwrap();
    let problem = client.commit(steps()).await.unwrap_err();
    assert_eq!(problem.code, Code::RateLimited);
    // A bucket that is refused keeps what it has.
    let wait_ms = problem.retry_after_ms.unwrap();
    assert!((19_000..=20_000).contains(&wait_ms), "{wait_ms}");
    tokio::time::advance(Duration::from_millis(wait_ms)).await;
    // The node of this rig is cut off from the others after that time; the quota is asked before.
    let refused = client
        .commit(steps())
        .await
        .err()
        .map(|problem| problem.code);
    assert_ne!(refused, Some(Code::RateLimited));
}

/// 100 messages at once, or 400 KiB: less than what may wait for one reader.
#[tokio::test(start_paused = true)]
async fn a_message_counts_to_its_sender_once_for_each_four_kib() {
    let rig = rig_with(SENDER, AppSettings::default().rate_network).await;
    // Headers travel too.
    let client = rig.neighbour("192.0.2.1").await;
    let header = "x".repeat(60_000);
    let mut sent = 0;
    while (client
        .send_with("/topic/large", &[("x-large", &header)], "x")
        .await)
        .is_ok()
    {
        sent += 1;
    }
    assert_eq!(sent, 6, "headers");
    for (destination, bytes, expected) in [
        ("/topic/large", 60_000, 6),
        ("/queue/large", 60_000, 6),
        ("/topic/large", 4_096, 100),
    ] {
        let client = rig.neighbour("192.0.2.1").await;
        let body = "x".repeat(bytes);
        let mut sent = 0;
        while client.send(destination, &body).await.is_ok() {
            sent += 1;
        }
        assert_eq!(sent, expected, "{destination} {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_pays_nothing_for_what_their_network_refuses() {
    let rig = rig().await;
    let client = rig.neighbour("192.0.2.1").await;
    let large = "x".repeat(15_500);
    let left = |reply: Reply| {
        let named = |(name, _): &&(&str, String)| *name == "x-rate-remaining";
        let (_, left) = reply.headers.iter().find(named).unwrap();
        left.parse::<u32>().unwrap()
    };
    let before = left(client.send("/topic/large", &large).await.unwrap());
    assert!(client.send("/topic/large", &large).await.is_err());
    let after = left(client.send("/topic/large", "small").await.unwrap());
    assert_eq!(after, before - 1);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_costs_its_sender_as_much_as_its_messages() {
    let rig = rig_with(SENDER, AppSettings::default().rate_network).await;
    let client = rig.neighbour("192.0.2.1").await;
    let steps = |count: usize, bytes: usize| {
        let body = "x".repeat(bytes);
        let step = |_| Step::Send(client.sending("/topic/large", &[], &body));
        (0..count).map(step).collect::<Vec<_>>()
    };
    for too_much in [steps(101, 1), steps(26, 16_000), steps(2, 300_000)] {
        let problem = client.commit(too_much).await.unwrap_err();
        assert_eq!(problem.code, Code::LimitExceeded);
    }
    client.commit(steps(25, 16_000)).await.unwrap();
    let problem = client.commit(steps(1, 1)).await.unwrap_err();
    assert_eq!(problem.code, Code::RateLimited);
    // One message may always take a full bucket.
    let other = rig.neighbour("192.0.2.2").await;
    let body = "x".repeat(600_000);
    let step = Step::Send(other.sending("/topic/large", &[], &body));
    other.commit(vec![step]).await.unwrap();
}
