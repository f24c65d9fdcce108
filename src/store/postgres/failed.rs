//! Why an attempt of a lane did not commit, and what is done about it.
//!
//! Not here: trying again (`lane`). Invariant: what may have been committed is never tried again.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Why an attempt did not commit.
pub(super) enum Failed {
    /// Nothing was changed, and it may go better the next time.
    Again(StoreError),
    /// PostgreSQL refuses what is in the batch; nothing was changed.
    Refused(StoreError),
    /// It is over for now. Whether it was committed may be unknown.
    Ended(StoreError),
}

/// A failure before COMMIT was sent: nothing can be committed, so a lost connection is tried again.
pub(super) fn before(err: Error) -> Failed {
    if err.is_closed() || is_shutdown(&err) {
        return Failed::Again(err.into());
    }
    during(err)
}

/// A failure of a statement that was sent together with COMMIT.
pub(super) fn during(err: Error) -> Failed {
    let Some(code) = err.code().cloned() else {
        return Failed::Ended(err.into());
    };
    let class = code.code().get(..2).unwrap_or_default().to_owned();
    if code == SqlState::T_R_DEADLOCK_DETECTED || code == SqlState::T_R_SERIALIZATION_FAILURE {
        Failed::Again(err.into())
    } else if matches!(class.as_str(), "22" | "23") {
        // A value or a constraint: PostgreSQL rolled back because of one of the messages.
        Failed::Refused(err.into())
    } else {
        Failed::Ended(err.into())
    }
}

fn is_shutdown(err: &Error) -> bool {
    err.code()
        .is_some_and(|code| *code == SqlState::ADMIN_SHUTDOWN || *code == SqlState::CRASH_SHUTDOWN)
}
