//! The timer by which hyper closes a connection whose next head is not there.
//!
//! Not here: how long that is (`http`), turns (`read_turns`). Invariant: the time during which the bytes of a client wait
//! for their turn is not held against the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

use super::peer::Peer;

/// How long a head may still take that was read after its turn, when its time was over before.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// The timer of one connection.
#[derive(Debug)]
pub(super) struct HeadTimer(Arc<Peer>);

struct HeadSleep {
    peer: Arc<Peer>,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl HeadTimer {
    pub(super) fn new(peer: &Arc<Peer>) -> Self {
        Self(Arc::clone(peer))
    }

    fn until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadSleep {
            peer: Arc::clone(&self.0),
            sleep: Box::pin(tokio::time::sleep_until(deadline)),
        })
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.until(deadline.into())
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: std::time::Instant) {
        match sleep.as_mut().downcast_mut_pin::<HeadSleep>() {
            Some(mut known) => known.sleep.as_mut().reset(deadline.into()),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if !self.peer.waits_for_turn() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(Instant::now() + READ_WITHIN);
        }
    }
}
