//! Bytes that are set aside for something to be stored.
//!
//! Not here: how much that is (`app::stored`), whose share it is (`aging`). Invariant: a reservation travels
//! with what is to be stored, not with the request that waits for it, so that what is stored counts even
//! when its client has gone; it is given back unless it is kept.

use std::sync::Arc;

use super::aging::AgingAccount;
use super::pool::Refused;

/// What a stored message occupies beside its text: its row and its index entries. A conversation costs as much.
pub const MESSAGE_COST_BYTES: u64 = 512;

/// Bytes that were set aside for something to be stored. They are given back unless it is stored.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<AgingAccount>,
    bytes: u64,
    /// How much of it is rows, which stay longer.
    rows: u64,
    /// The slots in which the rest and the rows come back.
    slots: (u64, u64),
}

impl Reservation {
    /// Sets bytes and rows aside, which come back in these slots once they are stored.
    ///
    /// # Errors
    /// When the client, or one of the networks around it, holds as much as it may.
    pub fn take(
        account: Arc<AgingAccount>,
        (bytes, rows): (u64, u64),
        slots: (u64, u64),
    ) -> Result<Self, Refused> {
        account.take(bytes + rows)?;
        Ok(Self {
            account,
            bytes,
            rows,
            slots,
        })
    }

    /// It was stored, with so many bytes more than were set aside: it is given back when it is removed.
    pub fn keep_with(mut self, more: u64) {
        self.bytes += more;
        self.account.add(more);
        self.keep();
    }

    /// It was stored: it is given back when it is removed.
    pub fn keep(mut self) {
        let (bytes, rows) = (
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.rows),
        );
        self.account
            .keep((self.slots.0, bytes), (self.slots.1, rows));
    }

    /// A message was stored, which began a conversation.
    pub fn keep_with_conversation(mut self) {
        self.rows += MESSAGE_COST_BYTES;
        self.account.add(MESSAGE_COST_BYTES);
        self.keep();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.give_back(self.bytes + self.rows);
    }
}
