//! The text of `/metrics`, rendered once for all requests that wait for it.
//!
//! Not here: what is measured (the `metrics` recorder), the route (`routes`). Invariants: the text of a request is
//! never older than the request; rendering takes at most a tenth of one processor, however many ask.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::Mutex;
use tokio::time::sleep_until;

use super::MetricsText;

/// After a text was rendered, the next one waits so many times as long as that took.
const REST_TIMES: u32 = 9;

/// Renders the text, and shares it.
pub(super) struct Exposition {
    render: MetricsText,
    /// How many texts were begun.
    begun: AtomicU64,
    /// A tokio mutex: held for the wait before a text is rendered, so that requests queue in order, and each that
    /// waited for another one's text takes that and wakes the next.
    last: Mutex<Rendered>,
}

/// The last text.
struct Rendered {
    /// The value of `begun` with which it was begun.
    number: u64,
    text: Bytes,
    /// Before this the next one is not rendered.
    next_at: tokio::time::Instant,
}

impl Exposition {
    /// Nothing is rendered yet.
    pub(super) fn new(render: MetricsText) -> Self {
        Self {
            render,
            begun: AtomicU64::new(0),
            last: Mutex::new(Rendered {
                number: 0,
                text: Bytes::new(),
                next_at: tokio::time::Instant::now(),
            }),
        }
    }

    /// The text as of now or a little later. A request that is alone does not wait.
    pub(super) async fn text(&self) -> Bytes {
        let before = self.begun.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        // It was begun after this request had come.
        if last.number > before {
            return last.text.clone();
        }
        sleep_until(last.next_at).await;
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let began = Instant::now();
        last.text = (self.render)().into();
        last.number = number;
        last.next_at = tokio::time::Instant::now() + rest(began.elapsed());
        last.text.clone()
    }
}

/// How long nothing is rendered after it took so long.
fn rest(took: Duration) -> Duration {
    took.saturating_mul(REST_TIMES)
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition")
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use futures_util::poll;

    use super::*;

    /// How long a text takes to render, in real time.
    const COST: Duration = Duration::from_millis(2);

    /// A page whose text is how often it was rendered.
    fn counted() -> (Arc<AtomicU64>, Exposition) {
        let count = Arc::new(AtomicU64::new(0));
        let rendered = Arc::clone(&count);
        let render = move || {
            let began = Instant::now();
            while began.elapsed() < COST {}
            (rendered.fetch_add(1, Ordering::Relaxed) + 1).to_string()
        };
        (count, Exposition::new(Box::new(render)))
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_share_one_text() {
        let (count, page) = counted();
        let first = page.text().await;
        let texts = join_all((0..1_000).map(|_| page.text())).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert!(first == "1" && texts.iter().all(|text| text == "2"));
    }

    #[tokio::test(start_paused = true)]
    async fn rendering_takes_a_tenth_of_the_time() {
        let (count, page) = counted();
        let began = tokio::time::Instant::now();
        for _ in 0..20 {
            page.text().await;
        }
        // The clock of the test stands still while a text is rendered.
        assert!(began.elapsed() >= COST * REST_TIMES * 19);
        assert_eq!(count.load(Ordering::Relaxed), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn the_text_of_a_request_is_not_older_than_the_request() {
        let (_, page) = counted();
        assert_eq!(page.text().await, "1");
        let mut earlier = Box::pin(page.text());
        assert!(poll!(&mut earlier).is_pending());
        assert_eq!(earlier.await, "2");
        assert_eq!(page.text().await, "3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_away_while_it_waits_holds_nobody_up() {
        let (_, page) = counted();
        page.text().await;
        let mut gone = Box::pin(page.text());
        assert!(poll!(&mut gone).is_pending());
        let mut next = Box::pin(page.text());
        assert!(poll!(&mut next).is_pending());
        drop(gone);
        assert_eq!(next.await, "2");
    }
}
