//! What every engine does alike, so that it is decided once.
//!
//! Not here: anything that asks a store. Invariant: apart from the random id of a new store these
//! are pure functions of their arguments.

use sha2::{Digest, Sha256};

use super::{Append, Range, StoreError, TakeOver};
use crate::model::{MessageId, RoomId, StoredMessage, UnixMillis};

/// The epoch of a conversation that begins with the message `first`. It follows from the store and
/// from that message, so no engine needs a random source, and a conversation that was forgotten
/// and begins again has another one.
pub(super) fn epoch(store_id: &str, room: RoomId, first: MessageId) -> u32 {
    let mut hash = Sha256::new();
    hash.update(b"stompbox epoch v1\0");
    hash.update(store_id);
    hash.update(room.0.to_be_bytes());
    hash.update(first.0.to_be_bytes());
    let digest = hash.finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// The append as every engine can hold it: PostgreSQL's text has no NUL, which therefore becomes
/// U+FFFD in all of them. Otherwise one message could make a batch fail for its neighbours.
pub(super) fn storable(mut append: Append) -> Append {
    for text in [&mut append.text, &mut append.from_name] {
        if text.contains('\0') {
            *text = text.replace('\0', "\u{fffd}");
        }
    }
    append
}

/// The message that this append becomes at its place.
pub(super) fn placed(append: &Append, seq: u64, epoch: u32) -> StoredMessage {
    StoredMessage {
        room: append.room,
        seq,
        epoch,
        id: append.id,
        from: append.from.clone(),
        from_name: append.from_name.clone(),
        to: append.to.clone(),
        client_id: append.client_id.clone(),
        text: append.text.clone(),
        timestamp: append.timestamp,
    }
}

/// When a take-over happened: always later than the one before, or a second taker within the same
/// millisecond would find everything as he read it.
pub(super) fn taken_at(wanted: &TakeOver) -> UnixMillis {
    wanted.taken_at_before.map_or(wanted.now, |before| {
        UnixMillis(before.0 + 1).max(wanted.now)
    })
}

/// An id for a store that has none: 128 random bits.
pub(super) fn fresh_store_id() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|err| StoreError::Unavailable(format!("no randomness: {err}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// The answer to a question for a stretch: `found` in `seq` order, at most `limit`, out of a
/// conversation whose head was `head` at that moment.
pub(super) fn stretch(
    found: Vec<StoredMessage>,
    (after, through): (u64, u64),
    limit: u32,
    head: u64,
) -> Range {
    let is_cut = found.len() >= limit as usize;
    let through = if is_cut {
        found.last().map_or(after, |last| last.seq)
    } else {
        through.min(head).max(after)
    };
    Range {
        messages: found,
        through,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_differs_by_store_by_room_and_by_the_first_message() {
        let one = epoch("a", RoomId(1), MessageId(1));
        assert_eq!(one, epoch("a", RoomId(1), MessageId(1)));
        for other in [
            epoch("b", RoomId(1), MessageId(1)),
            epoch("a", RoomId(2), MessageId(1)),
            epoch("a", RoomId(1), MessageId(2)),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_stretch_is_complete_no_further_than_the_head() {
        let check = |asked, limit, head, expected| {
            assert_eq!(stretch(Vec::new(), asked, limit, head).through, expected);
        };
        check((0, 10), 5, 4, 4);
        check((0, 3), 5, 4, 3);
        check((9, 20), 5, 4, 9);
        check((2, 3), 0, 4, 2);
    }
}
