//! The order in which the steps of arrivals are served: as many at a time as the node gets done.
//!
//! Not here: how many there may be (`admission`), which network is next (`queues`), how large a batch is (`batch`).
//! Invariants: the networks that wait are served in rotation, whatever each of them waits for, so a client waits
//! behind one step of each network and never behind the herd of another one; nobody goes without a turn because
//! they have waited for long.
//!
//! When thousands of clients are cut off at once, they all come back in the same second. Accepting them is
//! cheap; reading their requests, opening sessions and subscribing is not, and a runtime that has all of
//! them to do at once serves nobody else for as long. So accepted sockets queue here, and a small batch at
//! a time is let go. The next batch follows when every task of the last one has run: the time between is
//! how long the runtime takes to get round to a task that is ready (its scheduling delay). While that is
//! short the batch grows, and when it is long the batch shrinks. There is no rate to configure, and a node
//! with spare CPU lets everybody in at once.
//!
//! The later steps of an arrival (CONNECT, the SUBSCRIBEs of one read) and the end of a lost connection wait here
//! too: clients answer in bursts, and thousands of such tasks that are ready at once are as bad as thousands of
//! sockets. So do the requests of HTTP, clients that send more at once than is taken in one go, and messages for more
//! subscribers than are served in one go (`deliveries`).
//!
//! What becomes of a wait that is long depends on the step. An arrival and a CONNECT hold nothing that is worth
//! keeping: after [`WAIT_MAX`] their client is told to come again. A session that is open keeps its place for
//! its SUBSCRIBE, and so does a lost connection: their number is that of the connections, and each of them waits
//! once at a time.

mod batch;
mod deliveries;
mod queues;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::model::Network;
use batch::{BATCH_MIN, Batch, Turn, next_size};
pub use deliveries::{Deliveries, PIECE};
use queues::{Queues, Step};

/// How long an arrival or a CONNECT may wait; then its client is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// How long the first bytes of a silent client may wait. Below the time within which a head has to be there, so that
/// there is time to read it and to answer.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(5);

/// The node did not get round to a client within [`WAIT_MAX`], or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Everything that waits for its turn.
#[derive(Debug)]
pub struct Turns {
    /// A std mutex: held for a push or a pop, never across an await.
    state: Mutex<State>,
    /// Wakes [`Turns::give`].
    asked: Notify,
}

#[derive(Debug)]
struct State {
    /// So many may go at once while nobody waits.
    free: usize,
    queues: Queues<oneshot::Sender<Turn>>,
    is_closed: bool,
}

/// The place of one task in the queues. Dropping it gives the place up.
#[derive(Debug)]
pub struct Place {
    turn: oneshot::Receiver<Turn>,
    /// When it is given up; none for a step that keeps its place.
    until: Option<Pin<Box<Sleep>>>,
}

impl Place {
    /// Waits for the turn. Poll it until it is ready: the next batch waits for that. Safe to drop and call again.
    ///
    /// # Errors
    /// [`Busy`] after the time that this step may wait. When the node ends nobody waits any more.
    pub async fn turn(&mut self) -> Result<(), Busy> {
        poll_fn(|context| self.poll_turn(context)).await
    }

    /// The same, polled. Poll it until it is ready: the next batch waits for that.
    pub fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Busy>> {
        if Pin::new(&mut self.turn).poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.until {
            Some(until) => until.as_mut().poll(context).map(|()| Err(busy())),
            None => Poll::Pending,
        }
    }
}

impl Turns {
    /// Turns of a node that is idle.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: BATCH_MIN,
                queues: Queues::new(),
                is_closed: false,
            }),
            asked: Notify::new(),
        })
    }

    /// Waits until the node has time for a socket, or a request, of this client.
    ///
    /// # Errors
    /// [`Busy`] after [`WAIT_MAX`], or when the node ends.
    pub async fn arrive(&self, client: IpAddr) -> Result<(), Busy> {
        let turn = {
            let mut state = self.lock();
            if state.take_free() {
                return Ok(());
            }
            if state.is_closed {
                return Err(Busy);
            }
            state.push(Network::of(client), Step::Arrive)
        };
        self.asked.notify_one();
        match timeout_at(Instant::now() + WAIT_MAX, turn).await {
            Ok(Ok(_turn)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    /// Waits until the node has time to forget the session of a lost connection. Without this the tasks of a
    /// herd that is cut off would all be ready in the same moment.
    pub async fn leave(&self, network: Network) {
        if let Some(place) = self.place(network, Step::Leave) {
            let _closed = place.await;
        }
    }

    /// Waits for the turn of a session whose messages reach many.
    async fn send(&self, network: Network) {
        if let Some(turn) = self.place(network, Step::Send) {
            let _closed = turn.await;
        }
    }

    /// Whether a connection may do at once what opens things: CONNECT, SUBSCRIBE. If not, take a place.
    pub fn may_go_on(&self) -> bool {
        let mut state = self.lock();
        let may_go = state.is_closed || state.take_free();
        drop(state);
        if !may_go {
            // Looks how many may go again, if nobody waits.
            self.asked.notify_one();
        }
        may_go
    }

    /// A place for the CONNECT of this network; none if it may go at once.
    pub fn connect(&self, network: Network) -> Option<Place> {
        let turn = self.place(network, Step::Connect)?;
        let until = Some(Box::pin(sleep(WAIT_MAX)));
        Some(Place { turn, until })
    }

    /// A place for what a session of this network has sent at once: its SUBSCRIBEs, or more bytes than are taken in
    /// one go. None if they may go at once.
    pub fn read(&self, network: Network) -> Option<Place> {
        let turn = self.place(network, Step::Read)?;
        Some(Place { turn, until: None })
    }

    /// A place for what a silent client of this network has begun to send, for 5 s. None if it may be read at once.
    pub fn request(&self, network: Network) -> Option<Place> {
        let turn = self.place(network, Step::Arrive)?;
        let until = Some(Box::pin(sleep(REQUEST_WAIT_MAX)));
        Some(Place { turn, until })
    }

    fn place(&self, network: Network, step: Step) -> Option<oneshot::Receiver<Turn>> {
        let turn = {
            let mut state = self.lock();
            if state.is_closed || state.take_free() {
                return None;
            }
            state.push(network, step)
        };
        self.asked.notify_one();
        Some(turn)
    }

    /// Gives turns until `shutdown`.
    pub async fn give(&self, shutdown: &CancellationToken) {
        let mut size = BATCH_MIN;
        loop {
            tokio::select! {
                () = self.asked.notified() => {}
                () = shutdown.cancelled() => return self.close(),
            }
            while let Some(batch) = self.let_go(size) {
                size = next_size(size, batch.ran().await);
                // Those who wait may be so many that there is always a next batch.
                if shutdown.is_cancelled() {
                    return self.close();
                }
            }
        }
    }

    /// Lets a batch go; `None` when nobody waits, and then as many may go without waiting.
    fn let_go(&self, size: usize) -> Option<Arc<Batch>> {
        let mut state = self.lock();
        let mut going = Vec::with_capacity(size);
        while going.len() < size {
            match state.queues.pop() {
                // Its client was told to come again, or its task has ended.
                Some(turn) if turn.is_closed() => {}
                Some(turn) => going.push(turn),
                None => break,
            }
        }
        if going.is_empty() {
            state.free = size;
            return None;
        }
        drop(state);
        let batch = Batch::new(going.len());
        for turn in going {
            // One that is not taken is dropped, and counted by that.
            let _not_wanted = turn.send(batch.turn());
        }
        Some(batch)
    }

    /// Gives one turn. Returns whether a client waited for it.
    #[cfg(test)]
    pub fn give_one(&self) -> bool {
        self.let_go(1).is_some() || {
            self.lock().free = 0;
            false
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.lock().queues.len()
    }

    /// Nobody has to wait any more for a turn that does not come.
    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.free = 0;
        state.queues.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one may go at once: nobody waits, and not too many went since [`Turns::give`] looked.
    fn take_free(&mut self) -> bool {
        let may_go = self.free > 0 && self.queues.is_empty();
        self.free -= usize::from(may_go);
        may_go
    }

    fn push(&mut self, network: Network, step: Step) -> oneshot::Receiver<Turn> {
        let (turn, taken) = oneshot::channel();
        self.queues.push(network, step, turn);
        taken
    }
}

fn busy() -> Busy {
    metrics::counter!("connections_refused_busy_total").increment(1);
    Busy
}
