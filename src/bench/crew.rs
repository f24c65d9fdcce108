//! Who takes part: which connection is whose, where it goes, what it hears and whom it writes to.
//!
//! Not here: connections. A group is whoever may hear each other: all of a fan-out, the members of a
//! room, a pair with its devices. Invariant: who hears whom follows from the group, the user and the
//! scenario alone, so that whatever else arrives is astray.

use super::fleet::Fleet;
use super::letter::{Letter, Wording};
use super::link::Plan;
use super::order::{Dialect, Order, Scenario};
use super::template::{Blanks, fill};
use super::{BenchError, Outcome};

/// Nobody's number among the senders of a group.
const NO_SLOT: u32 = u32::MAX;

/// Where a connection sits.
#[derive(Clone, Copy, Debug)]
struct Seat {
    group: u32,
    user: u32,
    /// Its number among the senders of the group.
    slot: u32,
    /// Whether it hears the others.
    hears: bool,
    /// Whether it never reads.
    is_slow: bool,
}

/// All connections of a scenario.
#[derive(Debug)]
pub(super) struct Crew {
    seats: Vec<Seat>,
    /// The connections that send.
    pub(super) senders: Vec<usize>,
    /// Connections in the order in which they come: all of a wave before the next.
    pub(super) waves: Vec<Vec<usize>>,
    /// How many senders a group has at most.
    pub(super) slots: usize,
    /// How many hear each message.
    pub(super) audience: u32,
    /// Whether senders hear themselves and their other devices.
    hears_itself: bool,
    subscribe: String,
    send: String,
}

impl Crew {
    /// The crew for an order, and a plan for each connection.
    pub(super) fn of(order: &Order) -> (Self, Vec<Plan>) {
        let (subscribe, send) = destinations(order);
        let mut crew = Self {
            seats: Vec::new(),
            senders: Vec::new(),
            waves: vec![Vec::new()],
            slots: 1,
            audience: 0,
            hears_itself: order.scenario != Scenario::Direct,
            subscribe: subscribe.to_owned(),
            send: send.to_owned(),
        };
        let mut plans = Vec::new();
        let clients = order.crowd();
        for number in 0..clients {
            let (seat, device) = seat(order, number);
            let target = seat.user.wrapping_add(device);
            crew.add(&mut plans, order, seat, (target, device));
        }
        match order.scenario {
            Scenario::Fanout => {
                crew.audience = clients;
                let sender = Seat {
                    group: 0,
                    user: clients,
                    slot: 0,
                    hears: false,
                    is_slow: false,
                };
                crew.add(&mut plans, order, sender, (clients, 0));
            }
            Scenario::Rooms => crew.audience = order.members,
            Scenario::Direct => crew.audience = order.devices,
            Scenario::Stored => crew.audience = order.devices * 2,
            Scenario::Idle | Scenario::Churn | Scenario::Reconnect => {}
        }
        crew.slots = match order.scenario {
            Scenario::Rooms => order.members as usize,
            Scenario::Direct | Scenario::Stored => order.devices as usize * 2,
            Scenario::Fanout | Scenario::Idle | Scenario::Churn | Scenario::Reconnect => 1,
        };
        for slow in 0..order.slow_consumers {
            let user = clients + 1 + slow;
            let seat = Seat {
                group: slow % order.rooms.max(1),
                user,
                slot: NO_SLOT,
                hears: true,
                is_slow: true,
            };
            crew.add(&mut plans, order, seat, (user, 0));
        }
        (crew, plans)
    }

    fn add(
        &mut self,
        plans: &mut Vec<Plan>,
        order: &Order,
        seat: Seat,
        (turn, device): (u32, u32),
    ) {
        let number = self.seats.len();
        let servers = u32::try_from(order.urls.len()).unwrap_or(1).max(1);
        let blanks = Blanks {
            room: seat.group,
            own: seat.user,
            peer: seat.user ^ 1,
            user: "",
        };
        plans.push(Plan {
            // There are fewer servers than u16 has numbers.
            target: u16::try_from(turn % servers).unwrap_or(0),
            user: seat.user,
            subscribe: seat.hears.then(|| fill(&self.subscribe, &blanks).into()),
            is_slow: seat.is_slow,
        });
        self.seats.push(seat);
        if seat.slot != NO_SLOT {
            self.senders.push(number);
        }
        while self.waves.len() <= device as usize {
            self.waves.push(Vec::new());
        }
        self.waves[device as usize].push(number);
    }

    /// The number of a sender among those whom this connection hears, if it hears him.
    pub(super) fn slot(&self, hearer: usize, sender: u32) -> Option<usize> {
        let by = self.seats.get(sender as usize)?;
        let to = self.seats.get(hearer)?;
        let reaches = by.slot != NO_SLOT
            && to.hears
            && by.group == to.group
            && (self.hears_itself || by.user != to.user);
        reaches.then_some(by.slot as usize)
    }

    /// Whether nobody waits for what this connection hears.
    pub(super) fn is_slow(&self, link: usize) -> bool {
        self.seats[link].is_slow
    }

    /// What a sender writes, once everybody is known by name.
    pub(super) fn letter(
        &self,
        sender: usize,
        order: &Order,
        fleet: &Fleet<'_>,
    ) -> Outcome<Letter> {
        let seat = self.seats[sender];
        let peer = seat.user ^ 1;
        let is_pair = matches!(order.scenario, Scenario::Direct | Scenario::Stored);
        let is_chat = order.scenario == Scenario::Stored && order.dialect == Dialect::Stomp;
        let user = match is_pair {
            true => &*fleet.person(peer).user_name,
            false => "",
        };
        if user.is_empty() && (is_chat || self.send.contains("{user}")) {
            return Err(BenchError::Silent(
                "the server names no user-name in CONNECTED, so nobody can be written to by it; \
                 give --subscribe and --send with {self} and {peer}"
                    .to_owned(),
            ));
        }
        let blanks = Blanks {
            room: seat.group,
            own: seat.user,
            peer,
            user,
        };
        Ok(Letter::new(&Wording {
            dialect: order.dialect,
            destination: &fill(&self.send, &blanks),
            body_bytes: order.body_bytes,
            is_receipted: order.scenario == Scenario::Stored,
            recipient: is_chat.then_some(user),
            sender: u32::try_from(sender).unwrap_or(u32::MAX),
        }))
    }

    /// What goes where, for people.
    pub(super) fn ways(&self) -> String {
        format!("SEND {} -> SUBSCRIBE {}", self.send, self.subscribe)
    }

    /// The destination to which a client sends what nobody shall hear.
    pub(super) fn nowhere(order: &Order) -> &'static str {
        match order.dialect {
            Dialect::Stomp => "/topic/nobody",
            Dialect::SocketIo => "nobody",
        }
    }
}

/// Where the so-manieth client sits, and which device of its user it is.
fn seat(order: &Order, number: u32) -> (Seat, u32) {
    let alone = Seat {
        group: 0,
        user: number,
        slot: NO_SLOT,
        hears: true,
        is_slow: false,
    };
    match order.scenario {
        Scenario::Fanout | Scenario::Idle | Scenario::Churn | Scenario::Reconnect => (alone, 0),
        Scenario::Rooms => {
            let seat = Seat {
                group: number / order.members,
                slot: number % order.members,
                ..alone
            };
            (seat, 0)
        }
        Scenario::Direct | Scenario::Stored => {
            let (group, slot) = (number / (2 * order.devices), number % (2 * order.devices));
            let seat = Seat {
                group,
                user: group * 2 + slot / order.devices,
                slot,
                ..alone
            };
            (seat, slot % order.devices)
        }
    }
}

/// What is subscribed to, and where is sent to.
fn destinations(order: &Order) -> (&str, &str) {
    let own = match (order.dialect, order.scenario) {
        (Dialect::Stomp, Scenario::Fanout) => ("/topic/bench", "/topic/bench"),
        (Dialect::Stomp, Scenario::Rooms) => ("/topic/room-{room}", "/topic/room-{room}"),
        (Dialect::Stomp, Scenario::Direct) => ("/user/queue/bench", "/user/{user}/queue/bench"),
        (Dialect::Stomp, Scenario::Stored) => ("/user/queue/messages", "/app/chat.send"),
        (Dialect::Stomp, Scenario::Idle | Scenario::Churn | Scenario::Reconnect) => {
            ("/topic/idle", "/topic/nobody")
        }
        (Dialect::SocketIo, Scenario::Fanout) => ("bench", "bench"),
        (Dialect::SocketIo, Scenario::Rooms) => ("room-{room}", "room-{room}"),
        (Dialect::SocketIo, Scenario::Direct) => ("u-{self}", "u-{peer}"),
        (Dialect::SocketIo, Scenario::Stored) => ("u-{self}", "u-{peer},u-{self}"),
        (Dialect::SocketIo, Scenario::Idle | Scenario::Churn | Scenario::Reconnect) => {
            ("idle", "nobody")
        }
    };
    (
        order.subscribe.as_deref().unwrap_or(own.0),
        order.send.as_deref().unwrap_or(own.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crew(change: impl FnOnce(&mut Order), scenario: Scenario) -> (Crew, Vec<Plan>) {
        let mut order = Order::of(scenario);
        order.urls = vec![
            "ws://127.0.0.1:1/".to_owned(),
            "ws://127.0.0.1:2/".to_owned(),
        ];
        change(&mut order);
        Crew::of(&order.checked().unwrap())
    }

    #[test]
    fn in_a_fan_out_one_sends_and_all_others_hear() {
        let change = |order: &mut Order| {
            order.clients = Some(3);
            order.slow_consumers = 1;
        };
        let (crew, plans) = crew(change, Scenario::Fanout);
        assert_eq!((crew.senders.as_slice(), crew.audience), (&[3][..], 3));
        assert_eq!(crew.slot(0, 3), Some(0));
        assert_eq!(crew.slot(3, 3), None);
        assert_eq!(crew.slot(0, 1), None);
        assert!(plans[3].subscribe.is_none() && plans[4].is_slow);
        assert_eq!(
            plans.iter().map(|plan| plan.target).collect::<Vec<_>>(),
            [0, 1, 0, 1, 0]
        );
    }

    #[test]
    fn in_rooms_everybody_hears_the_members_and_himself() {
        let change = |order: &mut Order| (order.rooms, order.members) = (2, 3);
        let (crew, plans) = crew(change, Scenario::Rooms);
        assert_eq!((crew.senders.len(), crew.audience, crew.slots), (6, 3, 3));
        assert_eq!(crew.slot(4, 4), Some(1));
        assert_eq!(crew.slot(4, 5), Some(2));
        assert_eq!(crew.slot(4, 2), None);
        assert_eq!(plans[4].subscribe.as_deref(), Some("/topic/room-1"));
    }

    #[test]
    fn in_pairs_each_device_hears_what_it_shall() {
        let change = |order: &mut Order| (order.clients, order.devices) = (Some(8), 2);
        let (direct, plans) = crew(change, Scenario::Direct);
        assert_eq!((direct.audience, direct.waves.len()), (2, 2));
        assert_eq!(direct.waves[1], [1, 3, 5, 7]);
        assert_eq!(direct.slot(0, 1), None, "an own device");
        assert_eq!(direct.slot(0, 2), Some(2));
        assert_eq!(direct.slot(0, 4), None);
        assert_eq!((plans[0].user, plans[1].user, plans[2].user), (0, 0, 1));
        assert_eq!(
            (plans[0].target, plans[1].target, plans[2].target),
            (0, 1, 1)
        );
        let (stored, _) = crew(change, Scenario::Stored);
        assert_eq!(stored.audience, 4);
        assert_eq!(stored.slot(0, 1), Some(1));
        assert_eq!(stored.slot(0, 0), Some(0));
    }
}
