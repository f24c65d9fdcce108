//! What is saved of a log that was deleted or shortened while the node ran.
//!
//! Not here: how that is noticed (`place`). Invariant: it happens once, and nothing is copied into a database that
//! is not whole.

use super::Writer;
use crate::store::sqlite::backup;

impl Writer {
    /// Only the log was deleted: what it holds goes into the database at once, so that what was receipted
    /// survives also a kill. Only the log was shortened: what is in memory goes into a file of its own, once.
    pub(super) fn save_the_log(&mut self) {
        let place = &self.state.place;
        if self.is_saved || !place.is_lost() {
            return;
        }
        self.is_saved = true;
        if place.has_a_short_log_only() {
            match backup::rescue(&self.conn, place.path()) {
                Ok(to) => tracing::warn!(
                    "what the shortened write-ahead log held was copied from memory to {}: end the node, and \
                     put it into the place of the database with `stompbox restore`",
                    to.display()
                ),
                Err(err) => tracing::error!(%err, "what the log held cannot be copied from memory"),
            }
            return;
        }
        if !place.has_lost_its_log_only() {
            return;
        }
        match self.checkpoint() {
            Ok(true) => tracing::warn!("the deleted write-ahead log was copied into the database"),
            Ok(false) => tracing::error!("the deleted write-ahead log was copied only in part"),
            Err(err) => tracing::error!(%err, "the deleted write-ahead log could not be copied"),
        }
    }
}
