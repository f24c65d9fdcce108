//! What a network may store in a time.

use serde_json::json;

use super::rig::{Rig, Shape};
use crate::app::AppSettings;
use crate::model::Code;
use crate::policy::bucket::Rate;

#[tokio::test(start_paused = true)]
async fn a_stored_message_counts_to_its_network_once_for_each_kib() {
    let settings = AppSettings {
        rate_network: Rate {
            capacity: 20,
            per_10_min: 600,
        },
        ..AppSettings::default()
    };
    let rig = Rig::new(Shape {
        settings,
        ..Shape::default()
    })
    .await;
    let client = rig.neighbour("192.0.2.1").await;
    let says = async |destination: &str, bytes: usize| {
        let body = json!({
            "to": client.live.hub.user.as_str(),
            "message": "\u{1d54f}".repeat(bytes / 4),
        });
        client.send(destination, &body.to_string()).await.map(drop)
    };
    // What is not stored is one, whatever its size.
    says("/topic/large", 15_000).await.unwrap();
    says("/app/chat.send", 15_500).await.unwrap();
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
