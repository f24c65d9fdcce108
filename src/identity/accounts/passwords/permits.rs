//! The permits of hashes and the queue for them, with a turn for each network.
//!
//! Not here: what is computed under a permit (`passwords`), how often a network may sign in (`LOGIN_PER_NET`). Invariants:
//! permits in use are never more than there are; the networks that wait are served in rotation, so a client waits behind
//! one sign-in of each network and never behind all of another one; a network that asks for more than its places pushes
//! out its own oldest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::model::{ClientIdentifier, NamedNetworks};

/// How many may wait, for how long, and how many of one network. In that time one thread gets some hundred done.
pub(super) const WAITING_MAX: usize = 128;
const WAIT_MAX: Duration = Duration::from_secs(2);
pub(super) const NETWORK_WAITING_MAX: usize = 16;

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client's own network asks for more than its part.
    Network,
    /// The node cannot do more.
    Node,
}

/// A fixed number of permits.
#[derive(Debug)]
pub(super) struct Permits(Arc<Mutex<State>>);

/// So many permits, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    number: u32,
    /// A std mutex: held for some look-ups.
    state: Arc<Mutex<State>>,
}

type Answer = Result<Permit, Refusal>;

#[derive(Debug)]
struct State {
    free: u32,
    /// Who waits, by network; none is empty.
    queues: BTreeMap<ClientIdentifier, VecDeque<Waiter>>,
    /// The order in which networks have their turn.
    rotation: VecDeque<ClientIdentifier>,
    waiting: usize,
    numbers: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    permits: u32,
    tell: oneshot::Sender<Answer>,
}

/// The place of a client in the queue, given up when this is dropped.
struct Place<'a> {
    permits: &'a Permits,
    network: ClientIdentifier,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Permits {
    pub(super) fn new(count: u32) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: count,
            queues: BTreeMap::new(),
            rotation: VecDeque::new(),
            waiting: 0,
            numbers: 0,
        })))
    }

    /// Takes so many permits, at most as many as there are, when it is the turn of the client's network.
    pub(super) async fn take(&self, from: &NamedNetworks, number: u32) -> Answer {
        let mut place = self.enter(from, number)?;
        match timeout(WAIT_MAX, &mut place.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Refusal::Node),
        }
    }

    fn enter(&self, from: &NamedNetworks, permits: u32) -> Result<Place<'_>, Refusal> {
        let widest = from.levels.last().map(|(name, _)| name.clone());
        let network = widest.ok_or(Refusal::Node)?;
        let (tell, answer) = oneshot::channel();
        let mut state = self.lock();
        state.make_room(&network, from.multiple)?;
        state.numbers += 1;
        let number = state.numbers;
        let waiter = Waiter {
            number,
            permits,
            tell,
        };
        state.push(network.clone(), waiter);
        state.hand_out(&self.0);
        drop(state);
        Ok(Place {
            permits: self,
            network,
            number,
            answer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> u32 {
        self.lock().free
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }
}

impl State {
    /// Pushes out the oldest of this network when it has its part, or of the network with most when all places are taken.
    fn make_room(&mut self, network: &ClientIdentifier, multiple: u32) -> Result<(), Refusal> {
        let part = NETWORK_WAITING_MAX.saturating_mul(multiple.max(1) as usize);
        let own = self.queues.get(network).map_or(0, VecDeque::len);
        if own >= part {
            self.push_out(network, Refusal::Network);
        } else if self.waiting >= WAITING_MAX {
            let most = self.queues.iter().max_by_key(|(_, queue)| queue.len());
            let most = most.map(|(name, queue)| (name.clone(), queue.len()));
            match most.filter(|(_, length)| *length > own + 1) {
                Some((most, _)) => self.push_out(&most, Refusal::Node),
                None if own > 0 => self.push_out(network, Refusal::Network),
                None => return Err(Refusal::Node),
            }
        }
        Ok(())
    }

    fn push_out(&mut self, network: &ClientIdentifier, why: Refusal) {
        if let Some(oldest) = self.pop(network) {
            let _has_left = oldest.tell.send(Err(why));
        }
    }

    fn push(&mut self, network: ClientIdentifier, waiter: Waiter) {
        let queue = self.queues.entry(network.clone()).or_default();
        if queue.is_empty() {
            self.rotation.push_back(network);
        }
        queue.push_back(waiter);
        self.waiting += 1;
    }

    /// Takes out the oldest of a network.
    fn pop(&mut self, network: &ClientIdentifier) -> Option<Waiter> {
        let number = self.queues.get(network)?.front()?.number;
        self.remove(network, number)
    }

    fn remove(&mut self, network: &ClientIdentifier, number: u64) -> Option<Waiter> {
        let queue = self.queues.get_mut(network)?;
        let place = queue.iter().position(|waiter| waiter.number == number)?;
        let waiter = queue.remove(place)?;
        if queue.is_empty() {
            self.queues.remove(network);
            self.rotation.retain(|name| name != network);
        }
        self.waiting -= 1;
        Some(waiter)
    }

    /// Gives the permits that are free to the networks in turn.
    fn hand_out(&mut self, shared: &Arc<Mutex<Self>>) {
        while let Some(network) = self.rotation.front().cloned() {
            let next = self.queues.get(&network).and_then(VecDeque::front);
            if next.is_none_or(|waiter| waiter.permits > self.free) {
                return;
            }
            let Some(waiter) = self.pop(&network) else {
                return;
            };
            if self.rotation.front() == Some(&network) {
                self.rotation.rotate_left(1);
            }
            self.free -= waiter.permits;
            let permit = Permit {
                number: waiter.permits,
                state: Arc::clone(shared),
            };
            if let Err(Ok(mut unwanted)) = waiter.tell.send(Ok(permit)) {
                // The client has left. Dropping it as it is would lock what is locked.
                self.free += std::mem::take(&mut unwanted.number);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.number > 0 {
            let mut state = lock(&self.state);
            state.free += self.number;
            state.hand_out(&self.state);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.permits.lock();
        if let Some(waiter) = state.remove(&self.network, self.number) {
            // The next one may need fewer permits.
            state.hand_out(&self.permits.0);
            drop(state);
            drop(waiter);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::task::coop::unconstrained;

    use super::super::tests::from;
    use super::*;

    /// Forty networks, each of which asks for 16 at once and again, and one client of another network.
    #[tokio::test(start_paused = true)]
    async fn a_client_waits_behind_one_sign_in_of_each_network() {
        let permits = Permits::new(1);
        let networks: Vec<_> = (0..=40).map(from).collect();
        let held = permits.take(&networks[0], 1).await.unwrap();
        let mut flood: Vec<_> = (0..8)
            .flat_map(|_| &networks[..40])
            // Otherwise tokio makes one task wait that polls so much.
            .map(|network| Box::pin(unconstrained(permits.take(network, 1))))
            .collect();
        flood.retain_mut(|asked| asked.now_or_never().is_none());
        let honest = &networks[40];
        let mut honest = Box::pin(unconstrained(permits.take(honest, 1)));
        assert!(
            (&mut honest).now_or_never().is_none(),
            "a place in the queue"
        );
        assert_eq!(permits.waiting(), WAITING_MAX);
        drop(held);
        let mut before = 0;
        let permit = loop {
            if let Some(permit) = (&mut honest).now_or_never() {
                break permit;
            }
            let served = flood.iter_mut().enumerate().find_map(|(place, asked)| {
                let answer = asked.now_or_never()?;
                Some((place, answer))
            });
            let (place, answer) = served.expect("the permit is in use");
            before += u32::from(answer.is_ok());
            drop(flood.swap_remove(place));
        };
        assert!(permit.is_ok());
        assert!(before <= 41, "{before}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_pushes_out_its_own_oldest_and_a_full_queue_the_network_with_most() {
        let permits = Permits::new(1);
        let (one, two) = (from(1), from(2));
        let held = permits.take(&one, 1).await.unwrap();
        let mut waiting: Vec<_> = (0..=NETWORK_WAITING_MAX)
            .map(|_| Box::pin(permits.take(&one, 1)))
            .collect();
        for asked in &mut waiting {
            assert!(asked.now_or_never().is_none());
        }
        assert_eq!(permits.waiting(), NETWORK_WAITING_MAX);
        let oldest = waiting.remove(0).now_or_never().unwrap();
        assert_eq!(oldest.unwrap_err(), Refusal::Network);
        let others: Vec<_> = (10..250).map(from).collect();
        let mut others: Vec<_> = others
            .iter()
            .map(|network| Box::pin(unconstrained(permits.take(network, 1))))
            .collect();
        let refused: Vec<_> = others
            .iter_mut()
            .filter_map(|asked| asked.now_or_never())
            .map(Result::unwrap_err)
            .collect();
        // 112 places are free, and the network with most gives up places while it has more than one.
        assert_eq!(refused.len(), 240 - 112 - 15);
        assert!(refused.iter().all(|why| *why == Refusal::Node));
        let newcomer = Box::pin(permits.take(&two, 1)).now_or_never();
        assert_eq!(newcomer.unwrap().unwrap_err(), Refusal::Node);
        drop((waiting, others, held));
        assert_eq!((permits.waiting(), permits.free()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_or_waits_too_long_gives_everything_back() {
        let permits = Permits::new(2);
        let one = from(1);
        let held = permits.take(&one, 1).await.unwrap();
        let mut both = Box::pin(permits.take(&one, 2));
        assert!((&mut both).now_or_never().is_none());
        drop(both);
        assert_eq!((permits.waiting(), permits.free()), (0, 1));
        assert_eq!(permits.take(&one, 2).await.unwrap_err(), Refusal::Node);
        // One that was given a permit and does not look at it any more.
        let mut late = Box::pin(permits.take(&one, 2));
        assert!((&mut late).now_or_never().is_none());
        drop(held);
        drop(late);
        assert_eq!((permits.waiting(), permits.free()), (0, 2));
    }
}
