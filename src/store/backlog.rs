//! How many octets may wait to be written: the bound beside the number of places in a queue.
//!
//! Not the queue itself. Invariant: what was admitted is given back exactly when it is answered,
//! because the permit lives and dies with the job.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Append, StoreError};

/// Octets per permit; a semaphore counts permits in 32 bits.
const GRAIN_BYTES: usize = 256;
/// What a message costs beside its texts: ids, the future, the places in queues.
const OVERHEAD_BYTES: usize = 512;

/// The room that is left for messages waiting to be written.
#[derive(Debug)]
pub(super) struct Backlog {
    room: Arc<Semaphore>,
}

impl Backlog {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new((bytes_max / GRAIN_BYTES).max(1))),
        }
    }

    /// Takes the room that this message needs, or says that there is too little.
    pub(super) fn admit(&self, append: &Append) -> Result<OwnedSemaphorePermit, StoreError> {
        let bytes = append.text.len() + append.from_name.len() + OVERHEAD_BYTES;
        u32::try_from(bytes.div_ceil(GRAIN_BYTES))
            .ok()
            .and_then(|permits| Arc::clone(&self.room).try_acquire_many_owned(permits).ok())
            .ok_or(StoreError::Overloaded)
    }
}
