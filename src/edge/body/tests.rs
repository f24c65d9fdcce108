//! Bodies with the clock in the test's hands.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream;

use super::*;
use crate::budget::{Claimant, MemorySettings};
use crate::model::Network;

const LIMITS: Limits = Limits {
    bytes_max: 100 << 10,
    stall: Duration::from_secs(10),
};

fn memory(bytes_max: u64) -> (Arc<Memory>, Claimant) {
    let memory = Memory::new(MemorySettings { bytes_max });
    let claimant = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
    (memory, claimant)
}

/// A body whose pieces come one after the other, each after so many seconds; it does not end.
fn slow(pieces: usize, bytes: usize, seconds: u64) -> Body {
    let piece = Bytes::from(vec![b'x'; bytes]);
    Body::from_stream(stream::unfold(0, move |number| {
        let piece = piece.clone();
        async move {
            if number == pieces {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Some((Ok::<_, Infallible>(piece), number + 1))
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn an_announced_body_is_leased_before_its_first_byte() {
    let (memory, claimant) = memory(1 << 20);
    let reading = read(slow(0, 0, 0), Some(50 << 10), LIMITS, || {
        Some(memory.lease(&claimant))
    });
    let mut reading = Box::pin(reading);
    assert!(timeout(Duration::from_secs(1), &mut reading).await.is_err());
    assert_eq!(memory.used(), 64 << 10);
    assert_eq!(reading.await.unwrap_err(), Unread::TooSlow);
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_length_is_leased_as_it_comes() {
    let (memory, claimant) = memory(1 << 20);
    let lease = || Some(memory.lease(&claimant));
    let body = Body::from(vec![b'x'; 3 << 10]);
    let small = read(body, None, LIMITS, lease).await.unwrap();
    assert_eq!((small.bytes.len(), memory.used()), (3 << 10, 0));
    let pieces = [vec![b'x'; 40 << 10], vec![b'y'; 30 << 10]].map(Ok::<_, Infallible>);
    let body = Body::from_stream(stream::iter(pieces));
    let large = read(body, None, LIMITS, lease).await.unwrap();
    assert_eq!(large.bytes.len(), 70 << 10);
    assert_eq!(memory.used(), 80 << 10);
    drop(large);
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_not_read_beyond_its_limit_or_the_lease() {
    let (memory, claimant) = memory(1 << 20);
    let lease = || Some(memory.lease(&claimant));
    let check = async |body: Body, announced: Option<u64>, expected: Unread| {
        let read = read(body, announced, LIMITS, lease).await;
        assert_eq!(read.unwrap_err(), expected);
    };
    check(slow(0, 0, 0), Some(101 << 10), Unread::TooLarge).await;
    check(slow(99, 50 << 10, 0), None, Unread::TooLarge).await;
    let _others = memory.pool().take(&claimant, 400 << 10).unwrap();
    let refused = Unread::NoMemory(Refused::Network);
    check(slow(0, 0, 0), Some(99 << 10), refused).await;
    check(slow(99, 30 << 10, 0), None, refused).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_ends_in_bounded_time() {
    let lease = || None;
    let began = Instant::now();
    let trickle = read(slow(10_000, 1, 9), Some(50 << 10), LIMITS, lease).await;
    assert_eq!(trickle.unwrap_err(), Unread::TooSlow);
    assert!(began.elapsed() <= Duration::from_secs(19));
    let steady = read(slow(100, 1 << 10, 1), Some(100 << 10), LIMITS, lease);
    let steady = timeout(Duration::from_secs(105), steady).await;
    assert!(
        steady.is_err(),
        "a steady body is read for as long as it comes"
    );
}
