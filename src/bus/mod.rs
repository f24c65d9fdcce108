//! The contract of the bus: octets from this node to a named node, to several, or to all.
//!
//! Not here: what the octets mean (`model::Parcel`), flow numbers (`broker`), local delivery (the
//! bus never sees it). Invariant: ordered per (sender, target); it may lose or repeat, and whoever
//! needs more repairs from the store.

pub mod memory;
pub mod queue;
pub mod rabbitmq;

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::NodeId;

/// What became of a publication. Resolves when the bus has confirmed it, or has given up.
pub type Confirm = Pin<Box<dyn Future<Output = Result<Confirmed, BusError>> + Send>>;

/// How the bus confirmed a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It is in the queue of the target. For several targets: in those that exist.
    Routed,
    /// The one target has no queue: the node is gone. Look its users up again.
    NoRoute,
}

/// The bus did not take it, or it is not known whether it did. The number stays used: the target
/// finds the gap and repairs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// There is no connection now. The engine is connecting again by itself.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
    /// It was refused (a full queue), or the confirm did not come in time.
    #[error("a publication was not confirmed: {0}")]
    NotConfirmed(String),
}

/// What comes out of the bus at this node, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A payload that some node (this one included, for [`Bus::publish_all`]) has published.
    Payload(Bytes),
    /// The consuming connection was down and is up again: something may have been lost.
    Interrupted,
}

/// This node's access to the bus. The constructor of an engine also gives the bounded receiver of
/// [`Incoming`]; a payload is acknowledged to the engine when it is in there.
#[async_trait]
pub trait Bus: Send + Sync + std::fmt::Debug {
    /// Hands a payload over for each of the targets. Returning is fast and fixes the order; the
    /// confirm resolves later. Waits while too many publications are unconfirmed.
    /// `id` names the publication uniquely for this sender (flow and number).
    ///
    /// # Errors
    /// [`BusError::Unavailable`] at once while there is no connection; nothing is buffered.
    async fn publish(
        &self,
        targets: &[NodeId],
        id: String,
        payload: Bytes,
    ) -> Result<Confirm, BusError>;

    /// Hands a payload over for every node, this one included, on the same channel and so in
    /// order with [`Bus::publish`].
    ///
    /// # Errors
    /// As [`Bus::publish`].
    async fn publish_all(&self, id: String, payload: Bytes) -> Result<Confirm, BusError>;

    /// Whether publications are being taken now.
    fn is_up(&self) -> bool;

    /// Stops consuming: this node's queue is gone when it returns.
    async fn stop_consuming(&self);

    /// Waits for outstanding confirms (a few seconds at most) and closes.
    async fn close(&self);
}
