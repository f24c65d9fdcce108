//! Memory for reading that all connections of a thread share: what is read is looked at before anybody
//! else has his turn, so that an idle connection needs none of its own.
//!
//! Invariant: it is lent to one at a time, and not across an await.

use std::cell::RefCell;

/// What is read at once.
pub(super) const READ_BYTES: usize = 16 << 10;

thread_local! {
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Lends the memory of this thread.
pub(super) fn lend<T>(to: impl FnOnce(&mut [u8]) -> T) -> T {
    ROOM.with_borrow_mut(|room| to(room))
}
