//! The order in which accepted sockets are served: as many at a time as the node gets done.
//!
//! Not here: how many there may be (`admission`). Invariant: a socket waits at most [`WAIT_MAX`], and the
//! networks that wait are served in turn, one socket each, so that a newcomer is not behind a crowd.
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
//! sockets. SENDs wait only behind a CONNECT or SUBSCRIBE of their session; those wait in one line for all networks.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::admission::Refusal;
use crate::model::Network;

/// How long a socket may wait; then its client is told to come again.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// How many sockets are let go at a time. The smallest number keeps a node that is busy with other things
/// open for newcomers.
const BATCH_MIN: usize = 8;
const BATCH_MAX: usize = 128;

/// Below this scheduling delay the batch doubles, above [`DELAY_MAX`] it is halved.
const DELAY_MIN: Duration = Duration::from_millis(3);
const DELAY_MAX: Duration = Duration::from_millis(10);

/// The sockets that wait, and the connections that were lost and whose sessions are still to be forgotten.
#[derive(Debug)]
pub(super) struct Turns {
    /// A std mutex: held for a push or a pop, never across an await.
    state: Mutex<State>,
    /// Wakes [`Turns::give`].
    asked: Notify,
}

#[derive(Debug)]
struct State {
    /// So many may go at once while nobody waits.
    free: usize,
    /// Lost connections. They go first, so that a client that comes back does not find its own session.
    leaving: VecDeque<oneshot::Sender<Turn>>,
    /// Connections that are open and have sent CONNECT or SUBSCRIBE. They alternate with those that come, so
    /// that neither starves the other.
    begun: VecDeque<oneshot::Sender<Turn>>,
    is_turn_of_begun: bool,
    /// Networks that wait, in the order of their turns; each of the widest level, because who rents a /48
    /// has many narrower ones.
    order: VecDeque<Network>,
    waiting: HashMap<Network, VecDeque<oneshot::Sender<Turn>>>,
    is_closed: bool,
}

/// Counts the tasks of a batch that have not run yet.
#[derive(Debug)]
struct Batch {
    left: AtomicUsize,
    is_done: Notify,
}

/// A socket of a batch; dropped when its task runs, or finds that it is not wanted any more.
#[derive(Debug)]
struct Turn(Arc<Batch>);

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.is_done.notify_one();
        }
    }
}

impl Turns {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: BATCH_MIN,
                leaving: VecDeque::new(),
                begun: VecDeque::new(),
                is_turn_of_begun: false,
                order: VecDeque::new(),
                waiting: HashMap::new(),
                is_closed: false,
            }),
            asked: Notify::new(),
        })
    }

    /// Waits until the node has time for a socket of this client.
    ///
    /// # Errors
    /// [`Refusal::Busy`] after [`WAIT_MAX`], or when the node ends.
    pub(super) async fn wait(&self, client: IpAddr) -> Result<(), Refusal> {
        let turn = {
            let mut state = self.lock();
            if state.take_free() {
                return Ok(());
            }
            if state.is_closed {
                return Err(Refusal::Busy);
            }
            state.push(Network::of(client).widest())
        };
        self.asked.notify_one();
        match timeout(WAIT_MAX, turn).await {
            Ok(Ok(_turn)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                metrics::counter!("connections_refused_busy_total").increment(1);
                Err(Refusal::Busy)
            }
        }
    }

    /// Waits until the node has time to forget the session of a lost connection. Without this the tasks of a
    /// herd that is cut off would all be ready in the same moment.
    pub(super) async fn leave(&self) {
        self.pass(|state| &mut state.leaving).await;
    }

    /// Whether a connection may do at once what opens things: CONNECT, SUBSCRIBE. If not, [`Turns::go_on`].
    pub(super) fn may_go_on(&self) -> bool {
        let mut state = self.lock();
        state.is_closed || state.take_free()
    }

    /// Waits until the node has time for the CONNECT or the SUBSCRIBEs of a connection that is open.
    pub(super) async fn go_on(&self) {
        self.pass(|state| &mut state.begun).await;
    }

    /// Waits in one of the queues of what is done in any case.
    async fn pass(&self, queue: fn(&mut State) -> &mut VecDeque<oneshot::Sender<Turn>>) {
        let turn = {
            let mut state = self.lock();
            if state.is_closed || state.take_free() {
                return;
            }
            let (turn, taken) = oneshot::channel();
            queue(&mut state).push_back(turn);
            taken
        };
        self.asked.notify_one();
        let _in_time = timeout(WAIT_MAX, turn).await;
    }

    /// Lets sockets go until `shutdown`.
    pub(super) async fn give(&self, shutdown: &CancellationToken) {
        let mut size = BATCH_MIN;
        loop {
            tokio::select! {
                () = self.asked.notified() => {}
                () = shutdown.cancelled() => return self.close(),
            }
            while let Some(batch) = self.let_go(size) {
                let began = Instant::now();
                batch.is_done.notified().await;
                size = next_size(size, began.elapsed());
            }
        }
    }

    /// Lets a batch go; `None` when nobody waits, and then as many may go without waiting.
    fn let_go(&self, size: usize) -> Option<Arc<Batch>> {
        let mut state = self.lock();
        let mut going = Vec::with_capacity(size);
        while going.len() < size {
            match state.pop() {
                // A socket whose client was told to come again, or whose task has ended.
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
        let batch = Arc::new(Batch {
            left: AtomicUsize::new(going.len()),
            is_done: Notify::new(),
        });
        for turn in going {
            // One that is not taken is dropped, and counted by that.
            let _not_wanted = turn.send(Turn(Arc::clone(&batch)));
        }
        Some(batch)
    }

    /// Nobody has to wait any more for a turn that does not come.
    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.free = 0;
        state.leaving.clear();
        state.begun.clear();
        state.order.clear();
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one may go at once: nobody waits, and not too many went since somebody looked.
    fn take_free(&mut self) -> bool {
        let is_quiet = self.order.is_empty() && self.leaving.is_empty() && self.begun.is_empty();
        let may_go = self.free > 0 && is_quiet;
        self.free -= usize::from(may_go);
        may_go
    }

    fn push(&mut self, network: Network) -> oneshot::Receiver<Turn> {
        let (turn, taken) = oneshot::channel();
        let waiting = self.waiting.entry(network).or_default();
        if waiting.is_empty() {
            self.order.push_back(network);
        }
        waiting.push_back(turn);
        taken
    }

    /// The next lost connection, else by turns one that is open and the next socket that comes.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        if let Some(leaving) = self.leaving.pop_front() {
            return Some(leaving);
        }
        self.is_turn_of_begun = !self.is_turn_of_begun;
        match self.is_turn_of_begun {
            true => self.begun.pop_front().or_else(|| self.pop_coming()),
            false => self.pop_coming().or_else(|| self.begun.pop_front()),
        }
    }

    /// The next socket of the network whose turn it is.
    fn pop_coming(&mut self) -> Option<oneshot::Sender<Turn>> {
        let network = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&network)?;
        let turn = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&network);
        } else {
            self.order.push_back(network);
        }
        turn
    }
}

/// How large the next batch is when the last one had to wait so long for the runtime.
fn next_size(size: usize, delay: Duration) -> usize {
    if delay < DELAY_MIN {
        (size * 2).min(BATCH_MAX)
    } else if delay > DELAY_MAX {
        (size / 2).max(BATCH_MIN)
    } else {
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// The order in which clients that wait are let go, one at a time.
    fn order(clients: &[IpAddr]) -> Vec<usize> {
        let turns = Turns::new();
        let mut state = turns.lock();
        let mut taken: Vec<_> = clients
            .iter()
            .map(|client| state.push(Network::of(*client).widest()))
            .collect();
        let mut order = Vec::new();
        while let Some(turn) = state.pop() {
            let batch = Batch {
                left: AtomicUsize::new(1),
                is_done: Notify::new(),
            };
            turn.send(Turn(Arc::new(batch))).unwrap();
            order.extend(taken.iter_mut().position(|taken| taken.try_recv().is_ok()));
        }
        assert!(state.waiting.is_empty() && state.order.is_empty());
        order
    }

    #[test]
    fn networks_are_served_in_turn() {
        let herd = at(1);
        assert_eq!(
            order(&[herd, herd, herd, at(2), herd, at(3)]),
            [0, 3, 5, 1, 2, 4]
        );
    }

    #[test]
    fn a_rented_48_is_one_network() {
        let rented = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]);
        let clients = [rented(1), rented(2), rented(0x300), at(9)];
        assert_eq!(order(&clients), [0, 3, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn lost_connections_go_before_those_that_come() {
        let turns = Turns::new();
        turns.lock().free = 0;
        let (mut coming, mut leaving) = (Box::pin(turns.wait(at(1))), Box::pin(turns.leave()));
        assert!(futures_util::poll!(&mut coming).is_pending());
        assert!(futures_util::poll!(&mut leaving).is_pending());
        let batch = turns.let_go(1).unwrap();
        assert!(futures_util::poll!(&mut coming).is_pending());
        leaving.await;
        batch.is_done.notified().await;
        let _next = turns.let_go(1).unwrap();
        assert_eq!(coming.await, Ok(()));
        turns.close();
        turns.leave().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_begun_and_what_comes_alternate() {
        let turns = Turns::new();
        turns.lock().free = 0;
        assert!(!turns.may_go_on());
        let mut coming: Vec<_> = (0..2).map(|_| Box::pin(turns.wait(at(1)))).collect();
        let mut begun: Vec<_> = (0..2).map(|_| Box::pin(turns.go_on())).collect();
        for (one, other) in coming.iter_mut().zip(&mut begun) {
            assert!(futures_util::poll!(one).is_pending());
            assert!(futures_util::poll!(other).is_pending());
        }
        let _batch = turns.let_go(2).unwrap();
        assert!(futures_util::poll!(&mut coming[0]).is_ready());
        assert!(futures_util::poll!(&mut begun[0]).is_ready());
        assert!(futures_util::poll!(&mut coming[1]).is_pending());
        assert!(futures_util::poll!(&mut begun[1]).is_pending());
        turns.close();
        assert!(turns.may_go_on());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_while_there_is_time_for_all() {
        let turns = Turns::new();
        let shutdown = CancellationToken::new();
        let giving = turns.give(&shutdown);
        let began = Instant::now();
        let all = async {
            for _ in 0..1_000 {
                turns.wait(at(1)).await.unwrap();
            }
        };
        tokio::select! {
            () = giving => unreachable!("it is not told to end"),
            () = all => assert_eq!(began.elapsed(), Duration::ZERO),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_too_long_is_told_to_come_again() {
        let turns = Turns::new();
        for _ in 0..BATCH_MIN {
            turns.wait(at(1)).await.unwrap();
        }
        let began = Instant::now();
        assert_eq!(turns.wait(at(1)).await, Err(Refusal::Busy));
        assert_eq!(began.elapsed(), WAIT_MAX);
        let (waits, closes) = tokio::join!(turns.wait(at(1)), async { turns.close() });
        assert_eq!((waits, closes), (Err(Refusal::Busy), ()));
        assert_eq!(turns.wait(at(1)).await, Err(Refusal::Busy));
    }

    #[test]
    fn the_batch_follows_the_scheduling_delay() {
        let grown = (0..10).fold(BATCH_MIN, |size, _| {
            next_size(size, Duration::from_millis(1))
        });
        assert_eq!(grown, BATCH_MAX);
        let shrunk = (0..10).fold(grown, |size, _| next_size(size, Duration::from_millis(50)));
        assert_eq!(shrunk, BATCH_MIN);
        assert_eq!(next_size(32, Duration::from_millis(5)), 32);
    }
}
