//! One session as the hub knows it: its user, its outbox, its inboxes, its windows.
//!
//! Not here: the protocol (`session`), the socket (`edge`), the inboxes (`inboxes`). Invariant: what goes into the
//! outbox from an inbox is put there under the lock of the inboxes, so that the order of decisions is the order of
//! frames. A session without subscriptions keeps nothing for them.

mod inboxes;

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::inboxes::OpenInbox;
use super::outbox::Outbox;
use super::window::{Opening, Settled, Window};
use super::windows::{NeverIssued, Windows};
use crate::model::{CloseReason, SessionId, UnixMillis, Unkept, UserId, Verdict};
use crate::session::Delivered;

/// A connected session.
#[derive(Debug)]
pub struct HubSession {
    /// The session.
    pub id: SessionId,
    /// Whom it speaks for.
    pub user: UserId,
    /// What the client calls its device.
    pub device: Box<str>,
    /// When it connected.
    pub since: UnixMillis,
    /// The visitor, if nothing was kept of them when they connected.
    pub visitor: Option<Arc<Unkept>>,
    /// What is to be written to it.
    pub outbox: Arc<Outbox>,
    /// Deliveries of its messages to topics since the last turn of its network, transactions included.
    pub delivered: AtomicU16,
    /// How many conversations its inboxes keep together.
    conversations: AtomicU32,
    /// Whether its location was acknowledged. Set by the broker.
    attached: AtomicBool,
    /// It was let go: whoever waits for `attached` waits no longer. Set by the hub.
    is_gone: AtomicBool,
    /// Wakes those who wait for `attached`.
    attached_now: tokio::sync::Notify,
    /// A std mutex: decisions are short, and the frames must be queued in the order in which they
    /// were decided.
    subscribed: Mutex<Subscribed>,
}

/// What is kept for the subscriptions of a session.
#[derive(Debug, Default)]
struct Subscribed {
    /// The subscriptions to `/user/queue/messages`; nearly always one.
    inboxes: Vec<OpenInbox>,
    /// The windows of those that acknowledge; nearly always none.
    windows: Option<Box<Windows>>,
}

impl HubSession {
    /// A session without subscriptions whose location is not acknowledged yet.
    #[must_use]
    pub fn new(
        id: SessionId,
        user: UserId,
        device: Box<str>,
        since: UnixMillis,
        outbox: Arc<Outbox>,
    ) -> Arc<Self> {
        Self::of_visitor(id, user, device, since, outbox, None)
    }

    /// The same of a visitor of whom nothing is kept yet.
    #[must_use]
    pub fn of_visitor(
        id: SessionId,
        user: UserId,
        device: Box<str>,
        since: UnixMillis,
        outbox: Arc<Outbox>,
        visitor: Option<Arc<Unkept>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            user,
            device,
            since,
            visitor,
            outbox,
            delivered: AtomicU16::new(0),
            conversations: AtomicU32::new(0),
            attached: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            attached_now: tokio::sync::Notify::new(),
            subscribed: Mutex::default(),
        })
    }

    /// Whether the location of the session was acknowledged.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Acquire)
    }

    /// Its location was acknowledged.
    pub fn set_attached(&self) {
        self.attached.store(true, Ordering::Release);
        self.attached_now.notify_waiters();
    }

    /// The session was let go: its inboxes and windows are closed, and nobody waits for its location
    /// or its connection driver.
    pub(super) fn let_go(&self) {
        self.is_gone.store(true, Ordering::Release);
        let has_windows = {
            let mut subscribed = self.lock();
            subscribed.inboxes.clear();
            self.count(&subscribed);
            subscribed.windows.is_some()
        };
        if has_windows {
            // First, so that nobody takes what waits in the outbox for something that goes out.
            self.outbox.cut(CloseReason::NORMAL);
            self.close_windows_where(|_| true);
        }
        self.attached_now.notify_waiters();
    }

    /// Waits until its location is acknowledged, or until it is let go.
    pub async fn attached(&self) {
        loop {
            let waiting = self.attached_now.notified();
            if self.is_attached() || self.is_gone.load(Ordering::Acquire) {
                return;
            }
            waiting.await;
        }
    }

    /// Opens a window for a subscription. Of a session that was let go it is closed already.
    pub fn open_window(&self, opening: Opening<'_>) -> Arc<Window> {
        let window = {
            let mut subscribed = self.lock();
            let windows = subscribed
                .windows
                .get_or_insert_with(|| Box::new(Windows::new(&self.outbox)));
            windows.open(self.id, &self.outbox, opening)
        };
        if self.is_gone.load(Ordering::Acquire) {
            self.close_window(window.number);
        }
        window
    }

    /// Gives back what its outbox and its windows keep for the next burst.
    pub fn rest(&self) {
        self.outbox.rest();
        if let Some(windows) = &self.lock().windows {
            windows.rest();
        }
    }

    /// Closes the window of a subscription, if it has one: nothing of it is queued after this
    /// returns, and what a queue gave it goes back.
    pub fn close_windows(&self, id: &str) {
        self.close_windows_where(|window| &*window.id == id);
    }

    /// Closes one window, and no younger one of a subscription with the same id.
    pub fn close_window(&self, number: u64) {
        self.close_windows_where(|window| window.number == number);
    }

    /// Whether a message that is named so was sent, settled by now or not.
    pub fn is_issued(&self, of: &Delivered) -> bool {
        let subscribed = self.lock();
        let windows = subscribed.windows.as_ref();
        windows.is_some_and(|windows| windows.is_issued(of))
    }

    /// Settles what an ACK or a NACK names. One that was settled before stays as it is.
    ///
    /// # Errors
    /// When no such message was sent.
    pub fn settle(&self, of: &Delivered, verdict: Verdict) -> Result<Settled, NeverIssued> {
        let mut subscribed = self.lock();
        let windows = subscribed.windows.as_mut().ok_or(NeverIssued)?;
        windows.settle(of, verdict)
    }

    fn close_windows_where(&self, which: impl FnMut(&Window) -> bool) {
        let mut subscribed = self.lock();
        if let Some(windows) = &mut subscribed.windows {
            for window in windows.take(which) {
                windows.closed(&window);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscribed> {
        self.subscribed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
