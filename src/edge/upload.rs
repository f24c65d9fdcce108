//! The body of a request beside its answer: how long the answer is waited for while the body still comes, and what
//! becomes of a body that nobody reads.
//!
//! Not here: how slowly a body may come (`body`, `patience`). Invariants: a request ends at the latest one timeout after
//! the last byte that was read of it; the rest of a body is read before the answer, as far as [`REST_MAX`] goes. A
//! socket that is closed with bytes unread is reset: the client does not see why it was refused, and nginx takes the reset
//! for a failure of the node, and the node away from all others.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::TURN_BYTES;
use crate::model::Network;
use crate::turns::Turns;

/// How much is read of a body that is not used, and for how long. Its bytes are dropped at once.
const REST_MAX: usize = 1 << 20;
pub(super) const REST_WITHIN: Duration = Duration::from_secs(3);

/// A body that is withheld is not waited for.
const REST_STALL: Duration = Duration::from_millis(200);

/// The body of one request.
#[derive(Clone, Debug)]
pub(super) struct Upload(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// When the last byte was read.
    read_at: Instant,
    /// The body, if it was dropped before its end.
    left: Option<Body>,
}

impl Upload {
    /// The head of a request is there.
    pub(super) fn begin() -> Self {
        Self(Arc::new(Mutex::new(State {
            read_at: Instant::now(),
            left: None,
        })))
    }

    /// The body, whose bytes are noticed here. One that has none stays as it is.
    pub(super) fn watch(&self, body: Body) -> Body {
        match body.is_end_stream() {
            true => body,
            false => Body::new(Watched {
                body: Some(body),
                upload: self.clone(),
            }),
        }
    }

    /// The outcome, if it comes within this time after the last byte.
    pub(super) async fn within<T>(
        &self,
        patience: Duration,
        outcome: impl Future<Output = T>,
    ) -> Option<T> {
        let mut outcome = std::pin::pin!(outcome);
        loop {
            let read_at = self.read_at();
            match timeout_at(read_at + patience, &mut outcome).await {
                Ok(outcome) => return Some(outcome),
                Err(_) if self.read_at() > read_at => {}
                Err(_) => return None,
            }
        }
    }

    /// Reads and drops what is left of the body, in turns of this network; `None` of a stream that waits for turns by itself.
    pub(super) async fn drop_rest(
        &self,
        turns: &Turns,
        network: Option<Network>,
        within: Duration,
    ) {
        let left = self.lock().left.take();
        let Some(mut left) = left else { return };
        let reading = async {
            let (mut read, mut turn_at) = (0, usize::from(TURN_BYTES));
            while read < REST_MAX {
                if read > turn_at {
                    turn_at = read + usize::from(TURN_BYTES);
                    if let Some(mut place) = network.and_then(|network| turns.read(network)) {
                        let _goes_on_without = place.turn().await;
                    }
                }
                let next = poll_fn(|context| Pin::new(&mut left).poll_frame(context));
                let Ok(Some(Ok(frame))) = timeout(REST_STALL, next).await else {
                    return;
                };
                read += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // One that does not come in time is reset.
        let _late = timeout(within, reading).await;
        // hyper looks whether the body is still wanted before it takes the answer, and ends the connection if not.
        drop(left);
        yield_now().await;
    }

    fn read_at(&self) -> Instant {
        self.lock().read_at
    }

    fn note(&self) {
        self.lock().read_at = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Watched {
    /// None once it was dropped.
    body: Option<Body>,
    upload: Upload,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        self.upload.lock().left = left;
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.upload.note();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use futures_util::{StreamExt as _, stream};

    use super::*;
    use crate::edge::body::{self, Limits, Unread};

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(30);

    /// What becomes of a request whose body comes in so many pieces of a kilobyte, one a second, and then stalls
    /// or ends; and how long it took.
    async fn upload(
        pieces: usize,
        is_whole: bool,
        work: Duration,
    ) -> (Option<Result<usize, Unread>>, u64) {
        let upload = Upload::begin();
        let began = Instant::now();
        let pieces = stream::iter(0..pieces).then(|_| async {
            tokio::time::sleep(SECOND).await;
            Ok::<_, axum::Error>(Bytes::from_static(&[b'x'; 1_024]))
        });
        let stalls = stream::iter((!is_whole).then_some(())).then(|()| std::future::pending());
        let body = upload.watch(Body::from_stream(pieces.chain(stalls)));
        let limits = Limits {
            bytes_max: 1 << 20,
            stall: 10 * SECOND,
        };
        let answer = async {
            let read = body::read(body, None, limits, || None).await;
            tokio::time::sleep(work).await;
            read.map(|read| read.bytes.len())
        };
        let outcome = upload.within(TIMEOUT, answer).await;
        (outcome, began.elapsed().as_secs())
    }

    #[tokio::test]
    async fn what_is_left_of_a_body_is_dropped_in_turns() {
        /// Of turns that are idle (`turns::BATCH_MIN`).
        const FREE: usize = 8;
        let turns = Turns::new();
        let network = Network::of([192, 0, 2, 1].into());
        // Free ones are taken first, one for as many bytes.
        let read = Arc::new(AtomicUsize::new(0));
        let body = stream::iter(0..1_024).map({
            let read = Arc::clone(&read);
            move |_| {
                read.fetch_add(1_024, Relaxed);
                Ok::<_, axum::Error>(Bytes::from_static(&[b'x'; 1_024]))
            }
        });
        let upload = Upload::begin();
        drop(upload.watch(Body::from_stream(body)));
        let mut dropping = std::pin::pin!(upload.drop_rest(&turns, Some(network), REST_WITHIN));
        let mut given = 0;
        while futures_util::poll!(&mut dropping).is_pending() {
            let turns_so_far = FREE + given + 1;
            assert!(read.load(Relaxed) <= turns_so_far * (usize::from(TURN_BYTES) + 1_024));
            given += usize::from(turns.give_one());
        }
        assert_eq!(read.load(Relaxed), REST_MAX);
        assert!((20..30).contains(&given), "{given} turns");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_steadily_is_not_cut_and_one_that_stalls_is() {
        let long = upload(350, true, SECOND).await;
        assert_eq!(long, (Some(Ok(350 << 10)), 351));
        let stalled = upload(100, false, Duration::ZERO).await;
        assert_eq!(stalled, (Some(Err(Unread::TooSlow)), 110));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_too_long_after_the_body_is_not_waited_for() {
        assert_eq!(upload(5, true, 2 * TIMEOUT).await, (None, 35));
        assert_eq!(upload(0, true, 2 * TIMEOUT).await, (None, 30));
    }
}
