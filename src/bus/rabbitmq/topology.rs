//! What stands in RabbitMQ: names, arguments, and how they are declared and bound.
//!
//! Not here: connections, publishing, consuming. `rabbitmq/definitions.json` holds the static part
//! and a test keeps the two equal. Invariant: a node's queue has two bindings and never another,
//! because each costs the broker 1 ms and 4 KB.

use std::fmt::Write as _;

use lapin::options::{
    BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use sha2::{Digest as _, Sha256};

use super::RabbitSettings;
use crate::model::{Incarnation, NodeId};

/// The exchange through which everything goes.
pub const EXCHANGE: &str = "chat.exchange";

/// Its type, as definitions write it.
pub const EXCHANGE_TYPE: &str = "topic";

/// It survives a restart of the broker; queues and messages do not.
pub const EXCHANGE_IS_DURABLE: bool = true;

/// The routing key that reaches every node.
pub const KEY_ALL: &str = "chat.all";

/// The routing key that reaches one node.
#[must_use]
pub fn key_of(node: &NodeId) -> String {
    format!("chat.{node}")
}

/// The queue of the `number`th consuming connection in this life of the node. A new connection
/// takes a new name: after a cut the broker may hold the old exclusive queue for a while.
#[must_use]
pub fn queue_of(node: &NodeId, incarnation: Incarnation, number: u64) -> String {
    format!("chat.queue.{node}.{incarnation}.{number}")
}

/// What the name of every queue for `/queue/**` begins with.
pub const STOMP_QUEUE: &str = "stomp.queue.";

/// The queue behind a destination: a hash, because a destination may hold what no name should, and
/// because permissions need a pattern.
#[must_use]
pub fn stomp_queue_of(destination: &str) -> String {
    let mut name = STOMP_QUEUE.to_owned();
    for octet in &Sha256::digest(destination.as_bytes())[..16] {
        // Writing to a string does not fail.
        let _ = write!(name, "{octet:02x}");
    }
    name
}

/// Declares the exchange. With other arguments than it has, the broker closes the channel (406).
pub(super) async fn declare_exchange(channel: &Channel) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions {
        durable: EXCHANGE_IS_DURABLE,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            EXCHANGE.into(),
            ExchangeKind::Custom(EXCHANGE_TYPE.to_owned()),
            options,
            FieldTable::default(),
        )
        .await
}

/// Declares this connection's queue, bound, with the prefetch set: all that consuming needs.
pub(super) async fn declare_queue(
    channel: &Channel,
    queue: &str,
    node: &NodeId,
    settings: &RabbitSettings,
) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), options, queue_arguments(settings))
        .await?;
    bind(channel, queue, node).await?;
    channel
        .basic_qos(settings.prefetch, BasicQosOptions::default())
        .await
}

/// Makes the two bindings; nothing happens when they are there.
pub(super) async fn bind(channel: &Channel, queue: &str, node: &NodeId) -> lapin::Result<()> {
    for key in [&key_of(node), KEY_ALL] {
        channel
            .queue_bind(
                queue.into(),
                EXCHANGE.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    Ok(())
}

/// Makes the bindings anew if somebody has taken them away with the exchange. Fails when the
/// exchange is missing now.
pub(super) async fn refresh(channel: &Channel, queue: &str, node: &NodeId) -> lapin::Result<()> {
    let look_only = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(
            EXCHANGE.into(),
            ExchangeKind::Custom(EXCHANGE_TYPE.to_owned()),
            look_only,
            FieldTable::default(),
        )
        .await?;
    bind(channel, queue, node).await
}

/// Bounded, and refusing what is too much: the publisher learns of it by a nack.
fn queue_arguments(settings: &RabbitSettings) -> FieldTable {
    let mut arguments = FieldTable::default();
    let length_max = i64::from(settings.queue_length_max);
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(length_max));
    let bytes_max = i64::try_from(settings.queue_bytes_max).unwrap_or(i64::MAX);
    arguments.insert(
        "x-max-length-bytes".into(),
        AMQPValue::LongLongInt(bytes_max),
    );
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_the_node_and_its_life() {
        let node: NodeId = "a-1".parse().unwrap();
        assert_eq!(key_of(&node), "chat.a-1");
        assert_eq!(
            queue_of(&node, Incarnation(17), 2),
            "chat.queue.a-1.0000000000000011.2"
        );
    }

    #[test]
    fn the_queue_of_a_destination_is_the_same_for_ever() {
        let name = stomp_queue_of("/queue/jobs");
        assert_eq!(name, "stomp.queue.54170fa11744354a6060310a0ea0b5cd");
        assert_ne!(name, stomp_queue_of("/queue/Jobs"));
    }
}
