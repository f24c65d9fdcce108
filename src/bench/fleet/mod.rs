//! All connections of the load generator, over one poll, in one thread.
//!
//! Not here: what happens on a connection (`reading`), what is sent when (`scenario`). Octets are read
//! into one buffer that all share; a connection keeps only what is not whole. Invariant: an
//! [`Ear`] hears of every connection that is opened either that it is ready or why it ended.

mod reading;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use tokio_rustls::rustls::ClientConfig;

use super::dialect::Introduction;
use super::link::{Ear, Heard, Link, Phase, Plan, Why};
use super::order::Order;
use super::socket::Socket;
use super::target::Target;
use super::{BenchError, Outcome, tls, websocket};

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;
/// What the generator keeps for a server that does not read.
const UNSENT_BYTES_MAX: usize = 16 << 20;
/// The token of whoever wakes the poll.
const WAKE: Token = Token(usize::MAX);

/// What the server called a user.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    /// The name by which others write to him.
    pub(super) user_name: Box<str>,
    /// With which he comes back.
    pub(super) token: Option<Box<str>>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    poll: Poll,
    events: Events,
    /// The events of a turn, copied so that the poll is free.
    turned: Vec<Turned>,
    links: Vec<Link>,
    plans: Vec<Plan>,
    targets: Vec<Target>,
    people: Vec<Person>,
    introduction: Introduction,
    is_stomp: bool,
    tls: Option<Arc<ClientConfig>>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// When which connection beats next; in order, since the interval is the same for all.
    beats: VecDeque<(u64, u32, u32)>,
    beat_ms: u32,
    began: Instant,
    dialled: u64,
    stop: &'a AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Turned {
    link: usize,
    reads: bool,
    writes: bool,
    closes: bool,
}

impl<'a> Fleet<'a> {
    /// Nobody is connected yet.
    pub(super) fn new(order: &Order, plans: Vec<Plan>, stop: &'a AtomicBool) -> Outcome<Self> {
        let targets = order.urls.iter().map(|url| Target::of(url));
        let targets: Vec<Target> = targets.collect::<Outcome<_>>()?;
        let needs_tls = targets.iter().any(|target| target.is_tls);
        let users = plans.iter().map(|plan| plan.user + 1).max().unwrap_or(0);
        let of_system = |error: io::Error| BenchError::System(error.to_string());
        Ok(Self {
            poll: Poll::new().map_err(of_system)?,
            events: Events::with_capacity(1_024),
            turned: Vec::new(),
            links: plans.iter().map(|_| Link::default()).collect(),
            people: vec![Person::default(); users as usize],
            plans,
            tls: needs_tls.then(|| tls::config(order)).transpose()?,
            targets,
            introduction: Introduction::of(order),
            is_stomp: order.dialect == super::Dialect::Stomp,
            buffer: vec![0; READ_BYTES],
            scratch: Vec::new(),
            beats: VecDeque::new(),
            beat_ms: order.heart_beat.0,
            began: Instant::now(),
            dialled: 0,
            stop,
        })
    }

    /// Nanoseconds since the run began.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the run began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Whether somebody pressed Ctrl-C.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How many connections are planned.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// How a connection stands.
    pub(super) fn phase(&self, link: usize) -> Phase {
        self.links[link].phase
    }

    /// What the server called a user.
    pub(super) fn person(&self, user: u32) -> &Person {
        &self.people[user as usize]
    }

    /// Forgets who a user was: the next CONNECT is a new visitor's.
    pub(super) fn forget(&mut self, user: u32) {
        self.people[user as usize] = Person::default();
    }

    /// The words of the dialect.
    pub(super) fn introduction(&self) -> &Introduction {
        &self.introduction
    }

    /// What wakes the poll from another thread.
    pub(super) fn waker(&self) -> Outcome<Waker> {
        Waker::new(self.poll.registry(), WAKE)
            .map_err(|error| BenchError::System(error.to_string()))
    }

    /// Begins to connect.
    pub(super) fn open<E: Ear>(&mut self, link: usize, ear: &mut E) {
        let plan = &self.plans[link];
        let target = &self.targets[usize::from(plan.target)];
        let socket = Socket::dial(target, self.tls.as_ref(), self.dialled, plan.is_slow);
        self.dialled += 1;
        let now_ns = self.now_ns();
        let state = &mut self.links[link];
        state.dialled_ns = now_ns;
        state.phase = Phase::Dialling;
        let dialled = socket.and_then(|mut socket| {
            socket.register(self.poll.registry(), Token(link))?;
            Ok(socket)
        });
        match dialled {
            Ok(socket) => state.socket = Some(socket),
            Err(error) => self.end(link, &Why::NoServer(error.to_string()), ear),
        }
    }

    /// Waits at most so long until something happens, and tells the ear.
    pub(super) fn turn<E: Ear>(&mut self, wait: Duration, ear: &mut E) -> Outcome<()> {
        self.beat(ear);
        let wait = match self.beats.front() {
            Some((due_ns, ..)) => {
                wait.min(Duration::from_nanos(due_ns.saturating_sub(self.now_ns())))
            }
            None => wait,
        };
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled.map_err(|error| BenchError::System(error.to_string()))?,
        }
        let mut turned = std::mem::take(&mut self.turned);
        let events = self.events.iter().filter(|event| event.token() != WAKE);
        turned.extend(events.map(|event| Turned {
            link: event.token().0,
            reads: event.is_readable(),
            writes: event.is_writable(),
            closes: event.is_read_closed() || event.is_error(),
        }));
        for event in turned.drain(..) {
            self.take_turn(event, ear);
        }
        self.turned = turned;
        Ok(())
    }

    fn take_turn<E: Ear>(&mut self, event: Turned, ear: &mut E) {
        if self.links[event.link].phase == Phase::Dialling && !self.has_connected(event.link, ear) {
            return;
        }
        if event.writes
            && let Err(error) = self.flush(event.link)
        {
            return self.end(event.link, &Why::Closed(error.to_string()), ear);
        }
        if event.reads || event.closes {
            self.read(event.link, event.closes, ear);
        }
    }

    /// Sends one text message.
    pub(super) fn say<E: Ear>(&mut self, link: usize, payload: &[u8], ear: &mut E) {
        self.frame(link, websocket::TEXT, payload, ear);
    }

    /// Sends WebSocket frames that are made already.
    pub(super) fn send<E: Ear>(&mut self, link: usize, octets: &[u8], ear: &mut E) {
        if let Err(error) = self.put(link, octets) {
            self.end(link, &Why::Closed(error.to_string()), ear);
        }
    }

    /// Stops reading: what comes fills the socket, and then the server.
    pub(super) fn deafen(&mut self, link: usize) {
        let state = &mut self.links[link];
        if let Some(socket) = &mut state.socket {
            // One that is gone is deaf as well.
            let _gone = socket.deregister(self.poll.registry());
            state.phase = Phase::Deaf;
        }
    }

    /// Leaves, in an orderly way or as one whose line breaks.
    pub(super) fn leave<E: Ear>(&mut self, link: usize, says_goodbye: bool, ear: &mut E) {
        if says_goodbye {
            let goodbye = self.introduction.goodbye();
            self.frame(link, websocket::TEXT, goodbye, ear);
            self.frame(link, websocket::CLOSE, &1_000_u16.to_be_bytes(), ear);
        }
        self.close(link);
    }

    /// What to tell a person about the end of a connection.
    pub(super) fn explain(&self, link: usize, why: &Why) -> BenchError {
        let target = &self.targets[usize::from(self.plans[link].target)];
        let url = target.url.clone();
        match why {
            Why::NoServer(reason) => BenchError::NoServer {
                url,
                reason: reason.clone(),
            },
            Why::Refused(words) => BenchError::Refused {
                url,
                words: words.clone(),
            },
            Why::Closed(words) => BenchError::Silent(format!("{url} ended a connection: {words}")),
        }
    }

    fn frame<E: Ear>(&mut self, link: usize, opcode: u8, payload: &[u8], ear: &mut E) {
        let mut octets = std::mem::take(&mut self.scratch);
        octets.clear();
        websocket::put_frame(&mut octets, opcode, payload);
        self.send(link, &octets, ear);
        self.scratch = octets;
    }

    fn put(&mut self, link: usize, octets: &[u8]) -> io::Result<()> {
        let state = &mut self.links[link];
        let Some(socket) = &mut state.socket else {
            return Ok(());
        };
        let mut rest = octets;
        while state.unsent.is_empty() && !rest.is_empty() {
            match socket.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if state.unsent.len() + rest.len() > UNSENT_BYTES_MAX {
            return Err(io::Error::other("the server does not read what is sent"));
        }
        state.unsent.extend_from_slice(rest);
        Ok(())
    }

    fn flush(&mut self, link: usize) -> io::Result<()> {
        let state = &mut self.links[link];
        if let Some(socket) = &mut state.socket {
            socket.flush()?;
        }
        if state.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut state.unsent);
        self.put(link, &unsent)
    }

    /// Sends the beats that are due.
    fn beat<E: Ear>(&mut self, ear: &mut E) {
        let now_ns = self.now_ns();
        while let Some(&(due_ns, link, life)) = self.beats.front() {
            if due_ns > now_ns {
                return;
            }
            self.beats.pop_front();
            let state = &self.links[link as usize];
            if state.life == life && state.phase == Phase::Ready {
                let beat = self.introduction.beat().unwrap_or_default();
                self.say(link as usize, beat, ear);
                self.beats
                    .push_back((due_ns + self.interval_ns(), link, life));
            }
        }
    }

    fn interval_ns(&self) -> u64 {
        u64::from(self.beat_ms) * 1_000_000
    }

    fn close(&mut self, link: usize) {
        let state = &mut self.links[link];
        if let Some(mut socket) = state.socket.take() {
            // Closing it takes it out of the poll, too.
            let _gone = socket.deregister(self.poll.registry());
        }
        let life = state.life.wrapping_add(1);
        *state = Link {
            life,
            ..Link::default()
        };
    }

    fn end<E: Ear>(&mut self, link: usize, why: &Why, ear: &mut E) {
        self.close(link);
        ear.hear(link, &Heard::Ended(why));
    }
}
