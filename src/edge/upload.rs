//! How long the answer to a request is waited for while its body still comes.
//!
//! Not here: how slowly a body may come (`body`, `patience`). Invariant: a request ends at the latest one timeout after
//! the last byte that was read of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

/// When the last byte of a request was read.
#[derive(Clone, Debug)]
pub(super) struct Upload(Arc<Mutex<Instant>>);

impl Upload {
    /// The head of a request is there.
    pub(super) fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The body, whose bytes are noticed here. One that has none stays as it is.
    pub(super) fn watch(&self, body: Body) -> Body {
        match body.is_end_stream() {
            true => body,
            false => Body::new(Watched {
                body,
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

    fn read_at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

#[derive(Debug)]
struct Watched {
    body: Body,
    upload: Upload,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.upload.note();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
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
