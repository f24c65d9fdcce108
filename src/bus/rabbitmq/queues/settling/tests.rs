//! Settling without a server: what is counted, and what is given back. Not here: RabbitMQ itself
//! (`tests/it/conformance_queues`). Invariant: each tag is settled once.

use lapin::message::Delivery;

use super::*;
use crate::budget::MemorySettings;
use crate::model::Network;

#[test]
fn a_refusal_counts_also_when_the_queue_has_no_room_for_its_copy() {
    let unsettled = Unsettled::default();
    let count = |octets: &[u8]| unsettled.lock().uncopied.of(octets);
    let away = Err(QueueError::Unavailable(String::new()));
    for expected in 1..NACKS_MAX {
        unsettled.note(b"a", &Err(QueueError::Full));
        unsettled.note(b"a", &away);
        assert_eq!((count(b"a"), count(b"b")), (expected, 0));
    }
    unsettled.note(b"a", &Ok(()));
    assert_eq!(count(b"a"), 0);
}

fn acker() -> Acker {
    Delivery::mock(1, "".into(), "".into(), false, Vec::new()).acker
}

#[test]
fn what_a_consumer_has_taken_is_leased_and_refused_beyond_the_share_of_its_client() {
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
    let by = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
    let unsettled = Arc::new(Unsettled::default());
    let message = Bytes::from(vec![b'x'; 60_000]);
    let take = || {
        let taken = TakenMessage::new(acker(), message.clone(), 0);
        unsettled.take(Some(&memory), &by, &taken).is_some()
    };
    assert_eq!((0..100).filter(|_| take()).count(), 8);
    assert!(unsettled.refused.is_cancelled());
    // As much as was free before the last one.
    assert_eq!(memory.used(), 30 << 14);
    unsettled.clear();
    assert_eq!(memory.used(), 0);
    let evicted = Unsettled::default();
    evicted.evict();
    assert!(evicted.refused.is_cancelled());
}

#[test]
fn the_lease_of_a_consumer_lasts_from_one_message_to_the_next() {
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
    let by = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
    let unsettled = Arc::new(Unsettled::default());
    for _ in 0..3 {
        let taken = TakenMessage::new(acker(), Bytes::from_static(b"x"), 0);
        let tag = unsettled.take(Some(&memory), &by, &taken).unwrap();
        unsettled.end([&tag.0]);
        assert_eq!((unsettled.lock().bytes, memory.used()), (0, 16 << 10));
    }
    unsettled.clear();
    assert_eq!(memory.used(), 0);
}

#[test]
fn what_is_counted_here_is_bounded_and_the_oldest_goes() {
    let mut uncopied = Uncopied::default();
    for n in 0..=UNCOPIED_MAX {
        uncopied.count(&n.to_be_bytes());
    }
    assert_eq!(uncopied.0.len(), UNCOPIED_MAX);
    assert_eq!(uncopied.of(&0_usize.to_be_bytes()), 0);
    assert_eq!(uncopied.of(&1_usize.to_be_bytes()), 1);
}
