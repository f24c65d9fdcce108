//! Places in the order of frames: for those who wait until something has gone out, and those who ask
//! later whether it has.
//!
//! Not here: pushing and writing (`outbox`). Invariant: frames go out in their order, so whatever stands
//! before a place that has gone out has gone out too.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::Outbox;
use super::queue::Queue;

/// A place in the order of frames: behind everything that was queued when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// The place of a frame among all that were ever queued in one outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Place {
    /// Behind so many.
    pub(super) fn of(before: u64) -> Self {
        Self(before)
    }
}

impl Outbox {
    /// Whether the frame at this place has gone out.
    #[must_use]
    pub fn has_gone_out(&self, place: Place) -> bool {
        let queue = self.lock();
        queue.cut.is_none() && (place.0 + queue.held() as u64) < queue.pushed
    }

    /// Whether what waits is less than half of what may: then there is room for what is not urgent.
    pub fn has_room(&self) -> bool {
        self.lock().has_room(self.limits)
    }

    /// Waits until there is room for what is not urgent. Returns whether there is: not in an outbox
    /// that is cut.
    pub async fn room(&self) -> bool {
        let found = |queue: &mut Queue| queue.has_room(self.limits).then_some(());
        self.wait_until(found).await.is_some()
    }

    /// Waits until the session is cut. For the driver alone, which is woken by this or by
    /// [`Outbox::pull`], whichever it has asked last.
    pub async fn until_cut(&self) {
        poll_fn(|context| {
            self.driver.register(context.waker());
            match self.is_cut() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// The place behind everything that is queued now.
    pub fn mark(&self) -> Mark {
        let mut queue = self.lock();
        let queued = queue.held() as u64;
        Mark(queue.watch().pulled + queued)
    }

    /// The place behind everything that went out since [`Outbox::mark`] was first asked.
    pub fn pulled(&self) -> Mark {
        Mark(self.lock().watch().pulled)
    }

    /// Waits until everything before the mark has gone out. Returns how far it has come by now;
    /// nothing when the outbox is cut, which drops what was queued.
    pub async fn pulled_beyond(&self, mark: Mark) -> Option<Mark> {
        let found = |queue: &mut Queue| {
            let pulled = Mark(queue.watch().pulled);
            (pulled >= mark).then_some(pulled)
        };
        self.wait_until(found).await
    }

    /// Waits until something is found, looking again whenever something went out; `None` when it is
    /// cut.
    async fn wait_until<T>(&self, mut find: impl FnMut(&mut Queue) -> Option<T>) -> Option<T> {
        let moved = Arc::clone(&self.lock().watch().moved);
        loop {
            let waiting = moved.notified();
            {
                let mut queue = self.lock();
                if queue.cut.is_some() {
                    return None;
                }
                if let Some(found) = find(&mut queue) {
                    return Some(found);
                }
            }
            waiting.await;
        }
    }
}
