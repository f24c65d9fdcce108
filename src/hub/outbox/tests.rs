//! The queue alone, and the queue with a wire that takes what it is told to take.

use std::io::{Error, ErrorKind, IoSlice};
use std::time::Duration;

use metrics::Counter;
use tokio_util::task::TaskTracker;

use super::lease::READING_TIMES;
use super::*;

fn outbox() -> Arc<Outbox> {
    Arc::new(Outbox::new(OutboxLimits {
        frames_max: 2,
        bytes_max: 10,
    }))
}

fn framed(payload: &str) -> Framed {
    Framed::message(payload.as_bytes())
}

#[test]
fn frames_come_out_in_order_and_all_at_once() {
    let outbox = outbox();
    assert_eq!(outbox.try_pull(), None);
    assert!(outbox.push(framed("a")));
    assert!(outbox.push(framed("b")));
    let frames = [framed("a"), framed("b")].into_iter().collect();
    assert_eq!(outbox.try_pull(), Some(Pulled::Frames(frames)));
    assert_eq!(outbox.try_pull(), None);
}

#[test]
fn a_full_outbox_is_cut_and_stays_cut() {
    let outbox = outbox();
    assert!(outbox.push(framed("123456")));
    assert!(!outbox.push(framed("12345")));
    assert!(!outbox.push(framed("")));
    assert_eq!(
        outbox.try_pull(),
        Some(Pulled::Cut(CloseReason::SLOW_CONSUMER))
    );
    outbox.cut(CloseReason::NORMAL);
    assert_eq!(
        outbox.try_pull(),
        Some(Pulled::Cut(CloseReason::SLOW_CONSUMER))
    );
}

#[test]
fn one_frame_larger_than_the_limit_passes_an_empty_outbox() {
    let outbox = outbox();
    assert!(outbox.push(framed("12345678901")));
}

#[tokio::test]
async fn a_waiting_driver_is_woken_by_a_push() {
    let outbox = outbox();
    let waiting = outbox.pull();
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    outbox.push(framed("a"));
    assert_eq!(
        waiting.await,
        Pulled::Frames([framed("a")].into_iter().collect())
    );
}

#[tokio::test]
async fn who_waits_is_woken_when_everything_before_his_mark_is_pulled() {
    let outbox = outbox();
    assert!(outbox.push(framed("a")));
    let first = outbox.mark();
    let waiting = outbox.pulled_beyond(first);
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    outbox.push(framed("b"));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let second = outbox.mark();
    outbox.try_pull();
    assert_eq!(waiting.await, Some(second));
    assert_eq!(outbox.pulled_beyond(first).await, Some(second));
}

#[tokio::test]
async fn room_comes_with_a_pull_and_never_after_a_cut() {
    let outbox = outbox();
    assert!(outbox.room().await);
    outbox.push(framed("123456"));
    let waiting = outbox.room();
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    outbox.try_pull();
    assert!(waiting.await);
    outbox.push(framed("123456"));
    let mark = outbox.mark();
    let (room, pulled) = (outbox.room(), outbox.pulled_beyond(mark));
    tokio::pin!(room, pulled);
    assert!(futures_util::poll!(&mut room).is_pending());
    assert!(futures_util::poll!(&mut pulled).is_pending());
    outbox.cut(CloseReason::NORMAL);
    assert!(!room.await);
    assert_eq!(pulled.await, None);
}

/// A wire that takes so many octets, then none until it is told.
#[derive(Debug, Default)]
struct Tap {
    taken: Mutex<Vec<u8>>,
    room: Mutex<usize>,
    is_dead: AtomicBool,
    is_framed: bool,
}

impl Tap {
    fn open(octets: usize) -> Arc<Self> {
        let tap = Self::default();
        *tap.room.lock().unwrap() = octets;
        Arc::new(tap)
    }

    fn taken(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.taken.lock().unwrap())).unwrap()
    }
}

impl Wire for Tap {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
        if self.is_dead.load(Acquire) {
            return Err(Error::from(ErrorKind::BrokenPipe));
        }
        let mut room = self.room.lock().unwrap();
        let octets: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let written = octets.len().min(*room);
        if written == 0 {
            return Err(Error::from(ErrorKind::WouldBlock));
        }
        *room -= written;
        self.taken.lock().unwrap().extend(&octets[..written]);
        Ok(written)
    }

    fn is_framed(&self) -> bool {
        self.is_framed
    }
}

fn attached(tap: &Arc<Tap>) -> (Arc<Outbox>, TaskTracker) {
    let tracker = TaskTracker::new();
    let outbox = outbox();
    let flusher = Flusher::new(tracker.clone(), Counter::noop());
    outbox.attach(Arc::clone(tap) as Arc<dyn Wire>, &flusher);
    (outbox, tracker)
}

/// Lets the flushers have their turn.
async fn flushed() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_pushed_is_written_without_the_driver() {
    let tap = Tap::open(100);
    let (outbox, _tracker) = attached(&tap);
    outbox.push(framed("ab"));
    outbox.push_own(framed("c"));
    assert_eq!(outbox.try_pull(), None);
    flushed().await;
    assert_eq!(tap.taken(), "abc");
    assert_eq!(outbox.try_pull(), None);
    assert!(outbox.written().is_some());
    let mark = outbox.mark();
    outbox.push(framed("d"));
    let waiting = outbox.pulled_beyond(outbox.mark());
    assert!(waiting.await > Some(mark));
    assert_eq!(tap.taken(), "d");
}

impl Outbox {
    /// As if the wire had taken something for the last time so long ago.
    fn wrote_ago(&self, ago: Duration) {
        self.lock().written = Instant::now().checked_sub(ago);
    }

    /// The priority with which it is listed.
    pub(in crate::hub) fn listed(&self) -> Priority {
        self.lock().listed
    }
}

/// So many outboxes of one flusher that all write to one wire, which shows the order.
fn crowd(tap: &Arc<Tap>, flusher: &Flusher, count: usize) -> Vec<Arc<Outbox>> {
    let outbox = |_| {
        let limits = OutboxLimits {
            frames_max: 8,
            bytes_max: 100,
        };
        let outbox = Arc::new(Outbox::new(limits));
        outbox.attach(Arc::clone(tap) as Arc<dyn Wire>, flusher);
        outbox
    };
    (0..count).map(outbox).collect()
}

#[tokio::test]
async fn a_fan_out_gets_at_least_half_of_the_writes() {
    let tap = Tap::open(10_000);
    let flusher = Flusher::new(TaskTracker::new(), Counter::noop());
    let (fan_out, others) = (crowd(&tap, &flusher, 500), crowd(&tap, &flusher, 400));
    for outbox in &fan_out {
        outbox.push_with(Priority::Low, framed("m"));
    }
    let (first, later) = others.split_at(200);
    for outbox in first {
        outbox.push(framed("p"));
    }
    let mut written = String::new();
    while written.is_empty() {
        tokio::task::yield_now().await;
        written = tap.taken();
    }
    for outbox in later {
        outbox.push(framed("q"));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    written.push_str(&tap.taken());
    assert_eq!(written.len(), 900, "{written}");
    let (before, _) = written.split_at(written.find('q').unwrap());
    let count = |letter| before.matches(letter).count();
    assert!(count('m') >= count('p'), "{written}");
    assert!(count('m') < 300, "{written}");
}

#[tokio::test]
async fn a_frame_of_high_priority_overtakes_the_rest_of_a_fan_out() {
    let tap = Tap::open(10_000);
    let flusher = Flusher::new(TaskTracker::new(), Counter::noop());
    let (crowd, person) = (crowd(&tap, &flusher, 500), crowd(&tap, &flusher, 1));
    for outbox in &crowd {
        outbox.push_with(Priority::Low, framed("m"));
    }
    let mut written = String::new();
    while written.is_empty() {
        tokio::task::yield_now().await;
        written = tap.taken();
    }
    let before = written.len();
    let last = crowd.last().unwrap();
    person[0].push(framed("p"));
    last.push(framed("q"));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    written.push_str(&tap.taken());
    assert_eq!(written.len(), 502, "{written}");
    let at = |letter| written.find(letter).unwrap();
    assert!(
        at('p') <= before + 32,
        "at most a block is written first: {written}"
    );
    assert!(at('p') < 100, "{written}");
    assert!(
        written.contains("pmq"),
        "in the order of its pushes: {written}"
    );
}

#[tokio::test]
async fn a_wire_that_takes_no_more_wakes_the_driver_who_goes_on() {
    let tap = Tap::open(3);
    let (outbox, _tracker) = attached(&tap);
    outbox.push(framed("abcd"));
    outbox.push(framed("ef"));
    assert_eq!(outbox.pull().await, Pulled::Blocked);
    assert_eq!(tap.taken(), "abc");
    assert!(!outbox.has_room(), "what is in hand counts");
    assert!(!outbox.go_on());
    *tap.room.lock().unwrap() = 100;
    outbox.push_own(framed("g"));
    assert!(outbox.go_on());
    assert_eq!(tap.taken(), "defg");
    assert_eq!(outbox.try_pull(), None);
    assert!(outbox.has_room());
    outbox.push(framed("h"));
    flushed().await;
    assert_eq!(tap.taken(), "h");
}

#[tokio::test]
async fn a_blocked_outbox_is_cut_when_it_is_full_and_a_frame_that_has_begun_is_kept() {
    let tap = Tap::open(1);
    let (outbox, _tracker) = attached(&tap);
    outbox.push(framed("abcd"));
    outbox.push(framed("ef"));
    assert_eq!(outbox.pull().await, Pulled::Blocked);
    outbox.wrote_ago(Duration::from_secs(2));
    assert!(!outbox.push(framed("g")), "two frames are the limit");
    assert_eq!(outbox.pull().await, Pulled::Cut(CloseReason::SLOW_CONSUMER));
    let (left, begun) = outbox.take_over().await.into_parts();
    assert_eq!((left.into(), begun), (vec![framed("abcd")], 1));
    assert!(!outbox.push(framed("h")));
}

#[tokio::test]
async fn a_burst_beyond_the_limits_does_not_cut_a_client_that_reads() {
    let tap = Tap::open(1);
    let (outbox, _tracker) = attached(&tap);
    outbox.push(framed("abcd"));
    assert_eq!(outbox.pull().await, Pulled::Blocked);
    outbox.wrote_ago(Duration::from_secs(1));
    // One is in hand; the limits are two frames and ten bytes.
    for number in 1..2 * READING_TIMES {
        assert!(outbox.push(framed("x")), "{number}");
    }
    assert!(!outbox.push(framed("x")), "so many times the limit");
    assert_eq!(outbox.pull().await, Pulled::Cut(CloseReason::SLOW_CONSUMER));
}

#[tokio::test]
async fn a_cut_drops_what_a_blocked_wire_has_not_begun() {
    let tap = Tap::open(1);
    let (outbox, _tracker) = attached(&tap);
    outbox.push(framed("abcd"));
    outbox.push(framed("ef"));
    assert_eq!(outbox.pull().await, Pulled::Blocked);
    assert_eq!(outbox.lock().held(), 2);
    let cut = outbox.until_cut();
    tokio::pin!(cut);
    assert!(futures_util::poll!(&mut cut).is_pending());
    outbox.cut(CloseReason::REPLACED);
    assert_eq!(outbox.lock().held(), 1, "only what has begun is left");
    assert!(
        futures_util::poll!(&mut cut).is_ready(),
        "the driver is woken"
    );
}

#[tokio::test]
async fn whoever_takes_over_gets_everything_that_has_not_gone_out() {
    let tap = Tap::open(0);
    let (outbox, tracker) = attached(&tap);
    outbox.push(framed("a"));
    outbox.push_own(framed("b"));
    let (left, begun) = outbox.take_over().await.into_parts();
    assert_eq!((left.into(), begun), (vec![framed("a"), framed("b")], 0));
    assert!(!outbox.push(framed("c")));
    outbox.push_own(framed("c"));
    assert_eq!(tap.taken(), "");
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn a_dead_wire_is_told_to_the_driver_and_keeps_nothing() {
    let tap = Tap::open(100);
    tap.is_dead.store(true, Release);
    let (outbox, _tracker) = attached(&tap);
    outbox.push(framed("a"));
    assert_eq!(outbox.pull().await, Pulled::Gone);
    assert!(!outbox.push(framed("b")));
    assert!(outbox.has_room());
}

#[tokio::test]
async fn a_websocket_is_written_with_its_heads() {
    let tap = Arc::new(Tap {
        is_framed: true,
        room: Mutex::new(4),
        ..Tap::default()
    });
    let (outbox, _tracker) = attached(&tap);
    outbox.push(framed("ab"));
    outbox.push(framed("c"));
    assert_eq!(outbox.pull().await, Pulled::Blocked);
    *tap.room.lock().unwrap() = 100;
    assert!(outbox.go_on());
    let taken = std::mem::take(&mut *tap.taken.lock().unwrap());
    assert_eq!(taken, b"\x81\x02ab\x81\x01c");
}

#[tokio::test]
async fn a_burst_larger_than_the_outbox_does_not_cut_a_peer_that_takes_everything() {
    let tap = Tap::open(1_000);
    let (outbox, _tracker) = attached(&tap);
    for number in 0..100 {
        assert!(outbox.push(framed("ab")), "{number}");
    }
    flushed().await;
    assert_eq!(tap.taken(), "ab".repeat(100));
    assert_eq!(outbox.try_pull(), None);
}
