//! What people know of each other, beside the service that knows addresses and secrets only; each step of a case is
//! done here and checked.
//!
//! Not here: which cases there are (`people`). Invariant: a message reaches the person it was meant for, or nobody.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use proptest::sample::Index;
use stompbox::identity::{Opened, Recognition};
use stompbox::model::{Code, MessageId, Proof, UserId};
use stompbox::store::Append;

use super::members::Account;
use super::people::{Act, Client, Habit, Step, unlimited};
use super::world::{Session, World, bare, from_page};

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
    pub(super) delivered: usize,
    pub(super) taken_over: usize,
    /// Messages whose writer or recipient changed hands after the check.
    pub(super) late: usize,
    /// Every committed message: who wrote it, and for whom.
    pub(super) written: BTreeMap<MessageId, (usize, usize)>,
    /// How many upgrades, merges and carried visitors there were.
    pub(super) changes: [usize; 3],
}

impl Model {
    pub(super) async fn new(mode: Recognition, cast: Vec<Client>) -> Self {
        Self::in_world(World::new(unlimited(mode)).await, mode, cast)
    }

    pub(super) fn in_world(world: World, mode: Recognition, cast: Vec<Client>) -> Self {
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
    pub(super) async fn run(&mut self, steps: Vec<Step>) {
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

    async fn write(&mut self, from: usize, to: Index) {
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
