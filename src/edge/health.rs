//! Whether this node can do its work, as orchestrators and people ask it.
//!
//! Not here: how the parts are checked; `node` implements [`HealthSource`], and how often (`readiness`). Invariant:
//! not ready only without a store, without memory or while draining; everything else is "degraded" and stays in
//! service.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::budget::Memory;
use crate::model::UnixMillis;

/// How long the check of the parts may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The state of one part that a node leans on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// The node is set up to work without it.
    NotUsed,
}

/// How much of the byte account is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryState {
    /// Enough.
    #[default]
    Enough,
    /// Only what is reserved for accounts: new visitors are refused.
    Short,
    /// Nothing: everybody is refused.
    Full,
}

impl MemoryState {
    /// What this account has left.
    pub(super) fn of(memory: &Memory) -> Self {
        match (memory.is_full(), memory.is_short()) {
            (true, _) => Self::Full,
            (false, true) => Self::Short,
            (false, false) => Self::Enough,
        }
    }

    fn shown(self) -> Option<Part> {
        match self {
            Self::Enough => None,
            Self::Short => Some(Part { status: "short" }),
            Self::Full => Some(Part { status: "full" }),
        }
    }
}

/// What a node finds when it looks at its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The store.
    pub database: PartState,
    /// Locations and quotas shared with other nodes.
    pub redis: PartState,
    /// The way to other nodes.
    pub rabbitmq: PartState,
    /// The byte account of this node.
    pub memory: MemoryState,
    /// Whether the node is ending.
    pub draining: bool,
}

/// Looks at the parts of the node.
#[async_trait]
pub trait HealthSource: Send + Sync + std::fmt::Debug {
    /// Looks now. Takes a few hundred milliseconds at most when something is away.
    async fn health(&self) -> Health;
}

impl PartState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::NotUsed => "not_used",
        }
    }
}

impl Health {
    /// No part has answered.
    pub(super) const UNKNOWN: Self = Self {
        database: PartState::Down,
        redis: PartState::Down,
        rabbitmq: PartState::Down,
        memory: MemoryState::Enough,
        draining: false,
    };

    /// Whether new work should be sent here.
    fn is_ready(self) -> bool {
        let is_full = self.memory == MemoryState::Full;
        self.database != PartState::Down && !is_full && !self.draining
    }

    fn status(self) -> &'static str {
        let is_short = self.memory == MemoryState::Short;
        let degraded = is_short || [self.redis, self.rabbitmq].contains(&PartState::Down);
        match (self.is_ready(), degraded) {
            (false, _) => "error",
            (true, true) => "degraded",
            (true, false) => "ok",
        }
    }

    fn shown(self) -> Ready {
        let part = |state: PartState| Part {
            status: state.as_str(),
        };
        Ready {
            status: self.status(),
            info: Parts {
                database: part(self.database),
                redis: part(self.redis),
                rabbitmq: part(self.rabbitmq),
                memory: self.memory.shown(),
                node: self.draining.then_some(Part { status: "draining" }),
            },
        }
    }
}

/// Whether new work should be sent to a node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ok`, `degraded` (what is stored is safe, delivery to other nodes follows), or `error`.
    status: &'static str,
    /// The parts that it leans on.
    info: Parts,
}

/// The parts that a node leans on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadyParts)]
struct Parts {
    /// The store.
    #[schema(inline)]
    database: Part,
    /// Where nodes find each other's users.
    #[schema(inline)]
    redis: Part,
    /// The way to other nodes.
    #[schema(inline)]
    rabbitmq: Part,
    /// The memory for clients, while there is too little of it.
    #[schema(inline)]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Part>,
    /// The node itself, while it is ending.
    #[schema(inline)]
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Part>,
}

/// One part.
#[derive(Debug, Serialize, ToSchema)]
struct Part {
    /// `up`, `down`, `not_used`; of the memory `short`, `full`; of the node `draining`.
    status: &'static str,
}

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Live {
    /// `ok`.
    status: &'static str,
    /// The time of this node.
    timestamp: String,
}

/// The process answers.
pub(super) fn live(now: UnixMillis) -> Live {
    Live {
        status: "ok",
        timestamp: now.to_string(),
    }
}

/// Looks at the parts.
pub(super) async fn look(source: &dyn HealthSource) -> Health {
    let looked = tokio::time::timeout(CHECK_TIMEOUT, source.health()).await;
    looked.unwrap_or(Health::UNKNOWN)
}

/// The answer for parts in this state.
pub(super) fn ready(mut health: Health, memory: &Memory, draining: bool) -> (StatusCode, Ready) {
    health.memory = MemoryState::of(memory);
    health.draining |= draining;
    let status = match health.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, health.shown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_store_the_memory_and_a_drain_take_a_node_out_of_service() {
        use PartState::{Down, NotUsed, Up};
        let look = |parts: [PartState; 3], memory, draining: bool, status: &str, ready: bool| {
            let [database, redis, rabbitmq] = parts;
            let health = Health {
                database,
                redis,
                rabbitmq,
                memory,
                draining,
            };
            assert_eq!(health.shown().status, status, "{health:?}");
            assert_eq!(health.is_ready(), ready, "{health:?}");
        };
        let check = |parts: [PartState; 3], draining: bool, status: &str, ready: bool| {
            look(parts, MemoryState::Enough, draining, status, ready);
        };
        check([Up, NotUsed, NotUsed], false, "ok", true);
        check([Up, Up, Up], false, "ok", true);
        check([Up, Down, Up], false, "degraded", true);
        check([Up, Up, Down], false, "degraded", true);
        check([Down, Up, Up], false, "error", false);
        check([Up, Up, Up], true, "error", false);
        look([Up, Up, Up], MemoryState::Short, false, "degraded", true);
        look([Up, Up, Up], MemoryState::Full, false, "error", false);
    }
}
