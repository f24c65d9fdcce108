//! People who share an address and a browser, in every order: what each one writes is meant for
//! the person whom he knows under an address, and must reach that person or nobody.
//!
//! The model knows people; the service knows addresses and secrets only. Invariant: a failing case
//! is reproduced by its seed, interleavings included.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use stompbox::identity::{Opened, Recognition, VisitorSettings};
use stompbox::model::{Code, MessageId, Proof, UserId};
use stompbox::store::Append;

use super::members::Account;
use super::world::{Session, World, bare, from_page};

/// How a person's client treats what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Stores nothing and sends no Origin.
    Forgets,
    /// The same, and asks not to be recognised.
    OptsOut,
    /// Sends no Origin, keeps the secret and presents it.
    Keeps,
    /// A browser on our page, with its cookie.
    Browses,
    /// A tab of its own on our page: asks for a fresh visitor once and keeps that secret.
    OpensTab,
}

/// A habit and an address.
type Client = (Habit, &'static str);

/// Two who may take each other's address over, and some others. Few, because a fingerprint opens
/// nothing where several are loose.
fn cast() -> impl Strategy<Value = Vec<Client>> {
    use Habit::{Browses, Forgets, Keeps, OpensTab, OptsOut};
    const SHARED: &str = "192.0.2.7";
    const OTHER: &str = "198.51.100.1";
    let pair = prop::sample::select(vec![
        [Forgets, Forgets],
        [Forgets, Keeps],
        [Keeps, Keeps],
        [Keeps, Browses],
    ]);
    let others = vec![
        (OpensTab, SHARED),
        (Browses, SHARED),
        (OptsOut, SHARED),
        (Forgets, OTHER),
        (Keeps, OTHER),
    ];
    (pair, prop::sample::subsequence(others, 0..4)).prop_map(|(pair, others)| {
        let pair = pair.map(|habit| (habit, SHARED));
        pair.into_iter().chain(others).collect()
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Connect,
    /// With a secret that opens nothing.
    ConnectStale,
    Disconnect,
    Crash,
}

#[derive(Clone, Debug)]
enum Step {
    /// All at once, interleaved by the seed.
    Acts(Vec<(usize, Act)>, u64),
    Wait(Duration),
    /// One shows his address to the other, outside of the service.
    Tell(usize, usize),
    /// One writes to somebody whom he knows: it is checked.
    Write(usize, prop::sample::Index),
    /// Something that was checked, at this or at an earlier step, is committed and delivered.
    Commit(prop::sample::Index),
    /// A visitor makes an account of his address.
    Upgrade(usize),
    /// A visitor becomes a part of the account that he has already.
    Merge(usize),
    /// A visitor goes on in another browser.
    Carry(usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Reduced to the number of people in the case.
    let person = || 0..60_usize;
    let act = prop_oneof![
        6 => Just(Act::Connect),
        1 => Just(Act::ConnectStale),
        4 => Just(Act::Disconnect),
        1 => Just(Act::Crash),
    ];
    let wait = prop_oneof![
        0..20_u64,
        0..30_000_u64,
        0..600_000_u64,
        3_600_000..4_000_000_u64
    ];
    prop_oneof![
        8 => (prop::collection::vec((person(), act), 1..4), any::<u64>())
            .prop_map(|(acts, seed)| Step::Acts(acts, seed)),
        5 => wait.prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        3 => (person(), person()).prop_map(|(from, to)| Step::Tell(from, to)),
        8 => (person(), any::<prop::sample::Index>()).prop_map(|(from, to)| Step::Write(from, to)),
        7 => any::<prop::sample::Index>().prop_map(Step::Commit),
    ]
}

/// The same, and what people with accounts do.
fn step_with_accounts() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => step(),
        1 => (0..60_usize).prop_map(Step::Upgrade),
        1 => (0..60_usize).prop_map(Step::Merge),
        1 => (0..60_usize).prop_map(Step::Carry),
    ]
}

#[derive(Default)]
pub(super) struct Person {
    /// The secret that his client keeps.
    pub(super) kept: Option<String>,
    /// His browser's cookie.
    jar: Option<String>,
    pub(super) session: Option<Session>,
    /// Whom he knows under which address, in the order in which he learned of the addresses: ids
    /// are random, and a case must not depend on their order.
    knows: Vec<(UserId, usize)>,
    pub(super) account: Option<Account>,
}

impl Person {
    fn learn(&mut self, address: UserId, person: usize) {
        match self.knows.iter_mut().find(|(known, _)| *known == address) {
            Some((_, known)) => *known = person,
            None => self.knows.push((address, person)),
        }
    }
}

/// A message that was checked, or that waits for the holder of a firm address.
pub(super) struct Waiting {
    from: usize,
    from_address: UserId,
    meant_for: usize,
}

pub(super) struct Model {
    pub(super) world: World,
    mode: Recognition,
    cast: Vec<Client>,
    pub(super) people: Vec<Person>,
    /// Every address that there was, with its present holder.
    pub(super) holders: BTreeMap<UserId, usize>,
    /// The addresses that no fingerprint may open any more.
    pub(super) firm: BTreeSet<UserId>,
    pub(super) mailboxes: BTreeMap<UserId, Vec<Waiting>>,
    /// What was checked and is not committed yet. Many things may happen in between.
    checked: Vec<(Append, Waiting)>,
    delivered: usize,
    taken_over: usize,
    /// Messages whose writer or recipient changed hands after the check.
    late: usize,
    /// Every committed message: who wrote it, and for whom.
    pub(super) written: BTreeMap<MessageId, (usize, usize)>,
    /// How many upgrades, merges and carried visitors there were.
    pub(super) changes: [usize; 3],
}

impl Model {
    async fn new(mode: Recognition, cast: Vec<Client>) -> Self {
        Self::in_world(World::new(unlimited(mode)).await, mode, cast)
    }

    fn in_world(world: World, mode: Recognition, cast: Vec<Client>) -> Self {
        Self {
            world,
            mode,
            people: cast.iter().map(|_| Person::default()).collect(),
            cast,
            holders: BTreeMap::new(),
            firm: BTreeSet::new(),
            mailboxes: BTreeMap::new(),
            checked: Vec::new(),
            delivered: 0,
            taken_over: 0,
            late: 0,
            written: BTreeMap::new(),
            changes: [0; 3],
        }
    }

    /// Takes all steps, and commits what is left.
    async fn run(&mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step).await;
        }
        while !self.checked.is_empty() {
            self.commit(0).await;
        }
        self.check_lists().await;
    }

    async fn step(&mut self, step: Step) {
        let people = self.people.len();
        match step {
            Step::Acts(acts, seed) => self.act(acts, seed).await,
            Step::Wait(time) => self.world.wait(time).await,
            Step::Tell(from, to) => {
                let (from, to) = (from % people, to % people);
                if let Some(session) = &self.people[from].session {
                    let address = session.principal.user_id.clone();
                    self.people[to].learn(address, from);
                }
            }
            Step::Write(from, to) => self.write(from % people, to).await,
            Step::Commit(_) if self.checked.is_empty() => {}
            Step::Commit(which) => self.commit(which.index(self.checked.len())).await,
            Step::Upgrade(who) => self.upgrade(who % people).await,
            Step::Merge(who) => self.merge(who % people).await,
            Step::Carry(who) => self.carry(who % people).await,
        }
        self.check_sessions().await;
    }

    async fn act(&mut self, mut acts: Vec<(usize, Act)>, seed: u64) {
        // One thing at a time per person, and only what he can do.
        let mut busy = BTreeSet::new();
        acts.retain_mut(|(person, act)| {
            *person %= self.people.len();
            let connects = matches!(act, Act::Connect | Act::ConnectStale);
            connects == self.people[*person].session.is_none() && busy.insert(*person)
        });
        self.world.wire.seed(seed);
        let mut connecting = Vec::new();
        let mut signing_in = Vec::new();
        let mut leaving = Vec::new();
        let world = &self.world;
        for (who, act) in acts {
            let (habit, address) = self.cast[who];
            let person = &mut self.people[who];
            match (act, person.session.take()) {
                (Act::Disconnect | Act::Crash, Some(session)) => {
                    leaving.push(async move { world.disconnect(&session, act == Act::Crash).await })
                }
                (Act::Connect, _) if person.account.is_some() => {
                    let token = person.account.as_ref().map(|it| it.access.clone());
                    signing_in.push(async move {
                        let handshake = bare(address, "browser");
                        let session = world.sign_in(&handshake, &token.unwrap()).await;
                        (who, session.unwrap())
                    });
                }
                _ => {
                    let mut handshake = bare(address, "browser");
                    handshake.opted_out = habit == Habit::OptsOut;
                    if matches!(habit, Habit::Browses | Habit::OpensTab) {
                        handshake = from_page(world, handshake, &mut person.jar);
                    }
                    let token = match habit {
                        _ if act == Act::ConnectStale => Some("sbv1.stale".to_owned()),
                        Habit::Keeps => person.kept.clone(),
                        Habit::OpensTab => Some(person.kept.clone().unwrap_or("new".to_owned())),
                        Habit::Forgets | Habit::OptsOut | Habit::Browses => None,
                    };
                    connecting.push(async move {
                        let connected = world.connect(&handshake, token.as_deref()).await;
                        (who, act, token, connected.unwrap())
                    });
                }
            }
        }
        let (connected, signed_in, _) = tokio::join!(
            join_all(connecting),
            join_all(signing_in),
            join_all(leaving)
        );
        self.world.wire.seed(0);
        for (who, session) in signed_in {
            self.admit_member(who, session);
        }
        for (who, act, token, (opened, session)) in connected {
            assert_eq!(
                opened.status.is_some(),
                token.is_some_and(|token| token != "new") && opened.proof != Proof::Token,
                "a secret that opens nothing is rejected, and only that"
            );
            self.admit(who, act, &opened, session);
        }
    }

    /// Checks an opened identity against what the person may open, and notes who holds it now.
    fn admit(&mut self, who: usize, act: Act, opened: &Opened, session: Session) {
        let address = opened.principal.user_id.clone();
        let (habit, _) = self.cast[who];
        let holder = self.holders.get(&address).copied();
        match opened.proof {
            // A cookie stands for one visitor, also after an hour in which nothing was kept of them.
            Proof::New if habit == Habit::Browses && holder == Some(who) => {}
            Proof::New => assert_eq!(holder, None, "a new identity was never anybody's"),
            Proof::Token => {
                assert_eq!(holder, Some(who), "a secret opens its holder's identity");
                assert_ne!(habit, Habit::Forgets);
                self.firm.insert(address.clone());
            }
            Proof::Hint => {
                assert_eq!(self.mode, Recognition::Hint);
                assert_ne!(habit, Habit::OptsOut, "asked not to be recognised");
                assert!(!self.firm.contains(&address), "opened a firm identity");
                self.taken_over += usize::from(holder != Some(who));
            }
            Proof::Password | Proof::Jwt => panic!("nobody here has signed in"),
        }
        if opened.proof == Proof::New && matches!(habit, Habit::Browses | Habit::OpensTab) {
            self.firm.insert(address.clone());
        }
        self.holders.insert(address.clone(), who);
        let person = &mut self.people[who];
        // Somebody with an account who comes as a visitor again keeps that secret, too.
        let is_anew = act == Act::Connect || person.account.is_some();
        let keeps = matches!(habit, Habit::Keeps | Habit::OpensTab) && is_anew;
        if let Some(secret) = opened.secret_to_tell.clone().filter(|_| keeps) {
            person.kept = Some(secret);
        }
        person.session = Some(session);
        for waiting in self.mailboxes.remove(&address).unwrap_or_default() {
            self.receive(who, &waiting);
        }
    }

    async fn write(&mut self, from: usize, to: prop::sample::Index) {
        let writer = &self.people[from];
        let Some(session) = &writer.session else {
            return;
        };
        if writer.knows.is_empty() {
            return;
        }
        let (address, meant_for) = to.get(&writer.knows).clone();
        let checked = self.world.check(&session.principal, &address, "hello");
        let append = match checked.await {
            Ok(append) => append,
            Err(problem) if problem.code == Code::NotFound => {
                let reader = self.person_at(&address);
                return assert_eq!(reader, None, "who is connected can be written to");
            }
            Err(problem) => return assert_eq!(problem.code, Code::RecipientOffline),
        };
        let message = Waiting {
            from,
            from_address: session.principal.user_id.clone(),
            meant_for,
        };
        self.checked.push((append, message));
    }

    async fn commit(&mut self, which: usize) {
        let (append, message) = self.checked.remove(which);
        let (address, id) = (append.to.clone(), append.id);
        if self.world.commit(append).await.is_err() {
            self.late += 1;
            return;
        }
        self.written.insert(id, (message.from, message.meant_for));
        match self.person_at(&address) {
            Some(reader) => self.receive(reader, &message),
            None if self.firm.contains(&address) => {
                self.mailboxes.entry(address).or_default().push(message);
            }
            // A loose identity has no mailbox: whoever comes later begins above this message.
            None => {}
        }
    }

    pub(super) fn receive(&mut self, reader: usize, message: &Waiting) {
        // Who gets the address that he writes to reads his own words, which is no news to him.
        if reader != message.from {
            assert_eq!(reader, message.meant_for, "read by somebody else");
        }
        self.delivered += 1;
        let from_address = message.from_address.clone();
        self.people[reader].learn(from_address, message.from);
    }

    /// Who reads what comes to this address now.
    fn person_at(&self, address: &UserId) -> Option<usize> {
        self.people.iter().position(|person| {
            let session = person.session.as_ref();
            session.is_some_and(|session| session.principal.user_id == *address)
        })
    }

    /// Nobody shares an address with anybody else, and location agrees about who is there.
    async fn check_sessions(&self) {
        let mut addresses = BTreeSet::new();
        for session in self.people.iter().filter_map(|p| p.session.as_ref()) {
            let address = &session.principal.user_id;
            assert!(addresses.insert(address.clone()), "two people at {address}");
            assert_eq!(self.world.sessions_of(address).await, [session.id]);
        }
    }
}

fn unlimited(mode: Recognition) -> VisitorSettings {
    VisitorSettings {
        mode,
        per_network: 0,
        ..VisitorSettings::default()
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nobody_receives_what_was_meant_for_another(
        mode in prop_oneof![3 => Just(Recognition::Hint), 1 => Just(Recognition::Token)],
        cast in cast(),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        run(async {
            Model::new(mode, cast).await.run(steps).await;
        });
    }

    #[test]
    fn who_stores_nothing_and_is_alone_on_his_fingerprint_gets_his_id_back_within_the_hour(
        visits in prop::collection::vec(
            (prop_oneof![Just(0), 0..9_000_000_u64], prop_oneof![Just(0), 0..5_400_000_u64]),
            2..20,
        ),
        neighbours in prop::collection::vec(any::<bool>(), 20),
    ) {
        run(async {
            let world = World::new(unlimited(Recognition::Hint)).await;
            let mut last: Option<(UserId, Duration)> = None;
            for ((stay, away), neighbour) in visits.into_iter().zip(neighbours) {
                let (opened, session) = world.connect(&bare("192.0.2.7", "b"), None).await.unwrap();
                let user_id = opened.principal.user_id;
                if let Some((before, away)) = last {
                    let is_within = away < Duration::from_secs(3600);
                    assert_eq!(user_id == before, is_within, "after {away:?}");
                }
                world.wait(Duration::from_millis(stay)).await;
                world.disconnect(&session, false).await;
                if neighbour {
                    // Another browser behind the same address is another fingerprint.
                    world.connect(&bare("192.0.2.7", "c"), None).await.unwrap();
                }
                let away = Duration::from_millis(away);
                world.wait(away).await;
                last = Some((user_id, away));
            }
        });
    }
}

proptest! {
    // Fewer: each has a file, and passwords that cost what passwords cost.
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nobody_receives_or_lists_what_was_meant_for_another_with_accounts_merges_and_links(
        mode in prop_oneof![3 => Just(Recognition::Hint), 1 => Just(Recognition::Token)],
        cast in cast(),
        steps in prop::collection::vec(step_with_accounts(), 1..160),
    ) {
        run(async {
            let world = World::with_accounts(unlimited(mode)).await;
            Model::in_world(world, mode, cast).run(steps).await;
        });
    }
}

/// The same of the property with accounts: visitors do become members, parts of members, and go on
/// elsewhere.
#[test]
fn the_people_of_these_tests_do_become_members() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let cases = (cast(), prop::collection::vec(step_with_accounts(), 160));
    let mut changes = [0; 3];
    for _ in 0..20 {
        let (cast, steps) = cases.new_tree(&mut runner).unwrap().current();
        run(async {
            let world = World::with_accounts(unlimited(Recognition::Hint)).await;
            let mut model = Model::in_world(world, Recognition::Hint, cast);
            model.run(steps).await;
            for (all, one) in changes.iter_mut().zip(model.changes) {
                *all += one;
            }
        });
    }
    let [upgrades, merges, carried] = changes;
    assert!(upgrades > 10, "{upgrades} upgrades");
    assert!(merges > 3, "{merges} merges");
    assert!(carried > 5, "{carried} carried to another browser");
}

/// The property above means something only if people do take each other's addresses over, and do
/// reach each other.
#[test]
fn the_people_of_these_tests_do_meet() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let cases = (cast(), prop::collection::vec(step(), 160));
    let (mut delivered, mut taken_over, mut late) = (0, 0, 0);
    for _ in 0..100 {
        let (cast, steps) = cases.new_tree(&mut runner).unwrap().current();
        run(async {
            let mut model = Model::new(Recognition::Hint, cast).await;
            model.run(steps).await;
            delivered += model.delivered;
            taken_over += model.taken_over;
            late += model.late;
        });
    }
    assert!(delivered > 100, "{delivered} messages");
    assert!(taken_over > 20, "{taken_over} addresses changed hands");
    assert!(late > 5, "{late} messages came too late");
}
