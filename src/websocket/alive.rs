//! How many bytes of frames are alive in this process, each frame counted once, however many refer to it.
//!
//! Not here: who refers to them (`hub::outbox` counts that to each session). Invariant: [`alive_bytes`] is the
//! sum over all frames that are not dropped, whichever threads made and dropped them.
//!
//! A frame is counted when it is encoded and when the last reference goes, never when it is cloned or queued.
//! Each thread counts in a slot of its own, so that threads do not write to the same cache line unless there
//! are more than 32.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

/// How many threads count without meeting.
const SLOTS: usize = 32;

/// What a frame costs besides its bytes: the reference count and the vector that owns them.
const OWNER_BYTES: usize = 64;

/// The frames of this process.
static FRAMES: Counts = Counts::new();

/// Gives each thread that counts the next slot.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// How many bytes of frames are alive.
#[must_use]
pub fn alive_bytes() -> u64 {
    FRAMES.sum()
}

/// One cache line.
#[repr(align(64))]
struct Slot(AtomicI64);

struct Counts([Slot; SLOTS]);

impl Counts {
    const fn new() -> Self {
        Self([const { Slot(AtomicI64::new(0)) }; SLOTS])
    }

    /// A frame may be made on one thread and dropped on another: only the sum means something.
    fn sum(&self) -> u64 {
        let sum = self.0.iter().map(|slot| slot.0.load(Relaxed)).sum::<i64>();
        u64::try_from(sum).unwrap_or(0)
    }

    fn add(&self, bytes: i64) {
        let mut place = SLOT.get();
        if place == usize::MAX {
            place = NEXT.fetch_add(1, Relaxed) % SLOTS;
            SLOT.set(place);
        }
        if let Some(slot) = self.0.get(place) {
            slot.0.fetch_add(bytes, Relaxed);
        }
    }
}

/// The same bytes, counted as those of a frame are until the last reference to the result goes: for a body
/// that several keep. Nothing is copied.
#[must_use]
pub fn counted(octets: Bytes) -> Bytes {
    /// Keeps the count as long as the bytes.
    struct Counted(Bytes);
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            FRAMES.add(-cost(self.0.len()));
        }
    }
    FRAMES.add(cost(octets.len()));
    Bytes::from_owner(Counted(octets))
}

/// The bytes of a frame while anybody refers to them.
pub(super) struct Alive {
    octets: Vec<u8>,
    begin: usize,
    counts: &'static Counts,
}

impl Alive {
    /// These bytes from `begin` on, counted until the last reference goes.
    pub(super) fn bytes(octets: Vec<u8>, begin: usize) -> Bytes {
        Self::counted_in(&FRAMES, octets, begin)
    }

    fn counted_in(counts: &'static Counts, octets: Vec<u8>, begin: usize) -> Bytes {
        counts.add(cost(octets.capacity()));
        Bytes::from_owner(Self {
            octets,
            begin,
            counts,
        })
    }
}

impl AsRef<[u8]> for Alive {
    fn as_ref(&self) -> &[u8] {
        self.octets.get(self.begin..).unwrap_or_default()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.counts.add(-cost(self.octets.capacity()));
    }
}

fn cost(bytes: usize) -> i64 {
    i64::try_from(bytes + OWNER_BYTES).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::Framed;

    #[test]
    fn a_frame_is_counted_once_until_the_last_reference_goes() {
        static COUNTS: Counts = Counts::new();
        let frame = Alive::counted_in(&COUNTS, vec![b'x'; 10_000], 10);
        assert_eq!(frame, [b'x'; 9_990][..]);
        let one = (10_000 + OWNER_BYTES) as u64;
        assert_eq!(COUNTS.sum(), one);
        let clones = vec![frame.clone(); 200];
        let payload = frame.slice(100..);
        assert_eq!(COUNTS.sum(), one);
        drop((frame, clones));
        assert_eq!(COUNTS.sum(), one, "a payload keeps its frame");
        // On another thread, which counts in another slot.
        std::thread::spawn(move || drop(payload)).join().unwrap();
        assert_eq!(COUNTS.sum(), 0);
    }

    #[test]
    fn every_frame_that_is_encoded_is_counted() {
        let frames = [
            Framed::message(&[b'x'; 10_000]),
            Framed::filled(vec![b'x'; Framed::ROOM + 10_000]),
            Framed::message(&[b'x'; 10_000]).in_binary(),
        ];
        let body = counted(Bytes::from(vec![b'x'; 10_000]));
        assert_eq!(body.len(), 10_000);
        // Other tests count too, and never below zero.
        assert!(alive_bytes() >= 40_000);
        drop((frames, body));
    }
}
