//! What waits for its turn, in order: networks in rotation, and within a network by the step that is waited for.
//!
//! Not here: how many may go at a time and how long they wait (`turns`). Invariants: a network is served once before
//! any network that waits is served twice; in a network that always has work of every step, each step gets at
//! least a fifth of the turns that are not needed for lost connections.

use std::collections::{HashMap, VecDeque};

use crate::model::Network;

/// What a connection waits to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Forget the session of a lost connection. First in its network, so that a client that comes back does not
    /// meet its own old session.
    Leave,
    /// CONNECT.
    Connect,
    /// What one read of an open session asks for: its SUBSCRIBEs, or the rest of a large message.
    Read,
    /// Go on with messages for many subscribers.
    Send,
    /// Serve an accepted socket, or a request.
    Arrive,
}

/// Which step is served first in each of five turns of a network. What has begun comes before what arrives,
/// so that a herd is let in as fast as it can be served to the end, and CONNECT comes before what is read. But each
/// other step comes first once, so that none waits for ever.
const FIRST: [Step; 5] = [
    Step::Connect,
    Step::Arrive,
    Step::Send,
    Step::Connect,
    Step::Read,
];

/// The queues of all networks. A network is of the widest level, because a customer with an IPv6 /48 has many
/// narrower ones.
#[derive(Debug)]
pub(super) struct Queues<T> {
    /// Networks that wait, in the order of their turns.
    order: VecDeque<Network>,
    /// What each of them waits for; no network that waits for nothing.
    waiting: HashMap<Network, Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    leaving: VecDeque<T>,
    connecting: VecDeque<T>,
    reading: VecDeque<T>,
    sending: VecDeque<T>,
    arriving: VecDeque<T>,
    /// The index in [`FIRST`] of the next turn.
    turn: usize,
}

impl<T> Queues<T> {
    pub(super) fn new() -> Self {
        Self {
            order: VecDeque::new(),
            waiting: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Appends to the queue of a step of the network.
    pub(super) fn push(&mut self, network: Network, step: Step, item: T) {
        let network = network.widest();
        let waiting = self.waiting.entry(network).or_insert_with(|| {
            self.order.push_back(network);
            Waiting::new()
        });
        waiting.queue(step).push_back(item);
    }

    /// The next item of the network whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let network = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&network)?;
        let item = waiting.pop();
        if waiting.is_empty() {
            self.waiting.remove(&network);
        } else {
            self.order.push_back(network);
        }
        item
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let lengths = self.order.iter().filter_map(|network| {
            let it = self.waiting.get(network)?;
            let begun = it.connecting.len() + it.reading.len() + it.sending.len();
            Some(it.leaving.len() + begun + it.arriving.len())
        });
        lengths.sum()
    }

    pub(super) fn clear(&mut self) {
        self.order.clear();
        self.waiting.clear();
    }
}

impl<T> Waiting<T> {
    fn new() -> Self {
        Self {
            leaving: VecDeque::new(),
            connecting: VecDeque::new(),
            reading: VecDeque::new(),
            sending: VecDeque::new(),
            arriving: VecDeque::new(),
            turn: 0,
        }
    }

    fn queue(&mut self, step: Step) -> &mut VecDeque<T> {
        match step {
            Step::Leave => &mut self.leaving,
            Step::Connect => &mut self.connecting,
            Step::Read => &mut self.reading,
            Step::Send => &mut self.sending,
            Step::Arrive => &mut self.arriving,
        }
    }

    fn pop(&mut self) -> Option<T> {
        if let Some(item) = self.leaving.pop_front() {
            return Some(item);
        }
        let first = FIRST[self.turn];
        self.turn = (self.turn + 1) % FIRST.len();
        let then = [Step::Connect, Step::Read, Step::Send, Step::Arrive];
        let mut steps = std::iter::once(first).chain(then);
        steps.find_map(|step| self.queue(step).pop_front())
    }

    fn is_empty(&self) -> bool {
        self.leaving.is_empty()
            && self.connecting.is_empty()
            && self.reading.is_empty()
            && self.sending.is_empty()
            && self.arriving.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn at(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    /// The order in which these are served, by index.
    fn order(items: &[(Network, Step)]) -> Vec<usize> {
        let mut queues = Queues::new();
        for (index, (network, step)) in items.iter().enumerate() {
            queues.push(*network, *step, index);
        }
        let order: Vec<_> = std::iter::from_fn(|| queues.pop()).collect();
        assert!(queues.is_empty() && queues.waiting.is_empty());
        order
    }

    const ALL: [Step; 5] = [
        Step::Leave,
        Step::Connect,
        Step::Read,
        Step::Send,
        Step::Arrive,
    ];

    #[test]
    fn networks_are_served_in_turn_whatever_they_wait_for() {
        for herd in ALL {
            for other in ALL {
                let items = [
                    (at(1), herd),
                    (at(1), herd),
                    (at(1), herd),
                    (at(2), other),
                    (at(1), herd),
                    (at(3), other),
                ];
                assert_eq!(order(&items), [0, 3, 5, 1, 2, 4], "{herd:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_rented_48_is_one_network() {
        let rented = |n: u16| Network::of(IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]));
        let clients = [rented(1), rented(2), rented(0x300), at(9)];
        assert_eq!(order(&clients.map(|it| (it, Step::Connect))), [0, 3, 1, 2]);
    }

    #[test]
    fn lost_connections_go_first_in_their_own_network_only() {
        let items = [
            (at(1), Step::Arrive),
            (at(2), Step::Arrive),
            (at(1), Step::Leave),
            (at(1), Step::Leave),
            (at(1), Step::Leave),
        ];
        assert_eq!(order(&items), [2, 1, 3, 4, 0]);
    }

    #[test]
    fn connect_comes_before_what_is_read_and_no_step_starves() {
        let steps = [Step::Read, Step::Send, Step::Arrive, Step::Connect];
        let items: Vec<_> = (0..40).map(|index| (at(1), steps[index % 4])).collect();
        let served: Vec<_> = order(&items).into_iter().map(|index| index % 4).collect();
        assert_eq!(served[..10], [3, 2, 1, 3, 0, 3, 2, 1, 3, 0]);
        // Without CONNECTs their turns are those of what is read.
        assert_eq!(served[25..30], [0, 2, 1, 0, 0]);
    }
}
