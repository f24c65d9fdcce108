//! What the engines' refusals mean for somebody who asks for an identity.
//!
//! Not a table of codes (that is `model::problem`). Invariant: no word of an engine's error reaches
//! a client; it is logged here, once.

use std::time::Instant;

use crate::location::LocationError;
use crate::model::{Code, EveryMinute, Problem};
use crate::store::StoreError;

use super::random::RandomUnavailable;

/// What clients can make fail as often as they ask is logged once a minute.
static LOCATION_AWAY: EveryMinute = EveryMinute::new();
static STORE_AWAY: EveryMinute = EveryMinute::new();

/// How long a new visitor waits when location is away, in milliseconds.
const LOCATION_RETRY_MS: u64 = 5_000;

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
pub(super) fn location_away(error: LocationError) -> Problem {
    if let Some(number) = LOCATION_AWAY.due(Instant::now()) {
        tracing::warn!(%error, number, "identities could not be opened");
    }
    try_later(
        LOCATION_RETRY_MS,
        "New visitors cannot be let in at the moment.",
    )
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
pub(super) fn store_away(error: StoreError) -> Problem {
    if let Some(number) = STORE_AWAY.due(Instant::now()) {
        tracing::warn!(%error, number, "identities could not be read or written");
    }
    match error {
        // Nothing but an append is refused because of hands.
        StoreError::Unavailable(_) | StoreError::ChangedHands(_) => Problem::new(
            Code::StoreUnavailable,
            "The store does not answer at the moment.",
        )
        .retry_after_ms(1_000),
        StoreError::Overloaded => try_later(1_000, "The store is busy."),
    }
}

pub(super) fn no_random(error: RandomUnavailable) -> Problem {
    tracing::error!(%error, "an identity could not be created");
    Problem::new(Code::Internal, "An identity could not be created.")
}

/// Visitors are switched off: whoever came with a visitor's secret is told so, whoever came with
/// nothing is asked to sign in.
pub(super) fn switched_off(is_visitor: bool) -> Problem {
    if is_visitor {
        Problem::new(
            Code::AnonymousNotAllowed,
            "Visitors are not let in here; sign in with an account.",
        )
    } else {
        Problem::new(Code::Unauthorized, "Sign in with an account.")
    }
}

pub(super) fn try_later(retry_after_ms: u64, detail: &'static str) -> Problem {
    Problem::new(Code::TryLater, detail).retry_after_ms(retry_after_ms)
}
