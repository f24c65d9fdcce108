//! Nobody loses a place for a SUBSCRIBE that is refused for something else.

use super::rig::{Client, Rig, Shape};
use crate::app::{AppSettings, PoolSizes, Pools};
use crate::bus::queue::QueueSettings;
use crate::model::{AckMode, Problem, QueueArguments};

async fn tries(client: &Client, to: &str, arguments: QueueArguments) -> Result<(), Problem> {
    let subscribed = client.try_subscribe(to, AckMode::Auto, 1, arguments).await;
    subscribed.await.map(drop)
}

/// A node without a free place for a consumer of a visitor. One address has four of nine.
async fn short_of_consumers(queues_max: usize) -> (Rig, Vec<Client>) {
    let shape = Shape {
        settings: AppSettings {
            pools: Pools::new(PoolSizes {
                consumers: 12,
                ..PoolSizes::default()
            }),
            ..AppSettings::default()
        },
        queues: QueueSettings {
            queues_max,
            ..QueueSettings::default()
        },
        ..Shape::default()
    };
    let rig = Rig::new(shape).await;
    let plain = QueueArguments::default();
    let mut clients = Vec::new();
    for number in 0..9 {
        let address = match number {
            0..4 => "192.0.2.1".to_owned(),
            _ => format!("198.51.100.{number}"),
        };
        let client = rig.neighbour(&address).await;
        tries(&client, "/queue/all", plain).await.unwrap();
        clients.push(client);
    }
    (rig, clients)
}

#[tokio::test(start_paused = true)]
async fn no_consumer_is_taken_away_for_one_whose_queue_is_refused() {
    let plain = QueueArguments::default();
    // The only queue that visitors may have is there already.
    let (rig, clients) = short_of_consumers(1).await;
    let consumers = &rig.nodes[0].settings.pools.consumers;
    let newcomer = rig.neighbour("203.0.113.1").await;
    let refused = tries(&newcomer, "/queue/new", plain).await.unwrap_err();
    assert!(
        refused.detail.contains("more queues to give"),
        "{refused:?}"
    );
    let too_long = QueueArguments {
        length_max: Some(u32::MAX),
        ..plain
    };
    assert!(tries(&newcomer, "/queue/all", too_long).await.is_err());
    assert_eq!(consumers.used(), 9);
    for client in &clients {
        assert!(client.pull().is_ok(), "nobody is cut off");
    }
    // The queue that is there takes a consumer, and the largest holder loses one.
    tries(&newcomer, "/queue/all", plain).await.unwrap();
    assert_eq!(consumers.used(), 9);
    let cut = clients.iter().filter(|client| client.pull().is_err());
    assert_eq!(cut.count(), 1);
}
