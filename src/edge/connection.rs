//! The driver of one connection: moves octets between a socket and a session, requests between the
//! session and the app, deliveries from the outbox to the socket.
//!
//! Not here: what STOMP means (`session`), what a request does (`app`), how octets travel
//! (`socket`). Invariant: whatever becomes of the task (end, cancellation, panic), the app hears
//! of the end of a session that it has attached.
//!
//! One task owns everything of a connection, so nothing here is locked. It stops reading while 64
//! requests are not settled, and it never buffers for a peer that does not read: a write that
//! stalls ends the connection.
//!
//! What a session says goes through its outbox as soon as there is one, as what others say does: so
//! the order of decisions is the order of frames, and where the socket has a wire nobody wakes this
//! task to write.

mod incoming;
mod leaving;
mod memory;
mod outgoing;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::FutureExt as _;
use tokio::time::Instant;

pub(super) use self::incoming::TURN_BYTES;
use self::outgoing::pull;
use super::attached::Attached;
use super::charges::End;
use super::clock::{Clock, IdleMessages};
use super::ending::Ending;
use super::meters::Active;
use super::places::Places;
use super::settling::{Settled, Settling, Unsettled, next_settled};
use super::slow_reader::SlowReader;
use super::socket::{Received, Socket};
use super::{Edge, reply};
use crate::app::{Live, Pending};
use crate::hub::{Outbox, Pulled};
use crate::identity::Handshake;
use crate::model::{Code, Problem};
use crate::session::{Accepted, Connect, Event, Input, Output, Session, Ticket};
use crate::stomp::Version;
use crate::websocket::Framed;

/// How many SENDs of one session may be unsettled; beyond it nothing is read.
const UNSETTLED_MAX: u16 = 64;

/// What the handshake hands to the driver.
#[derive(Debug)]
pub(super) struct Opened {
    /// What is known of the client; dropped when its identity is.
    pub(super) handshake: Handshake,
    /// The version that the subprotocol named.
    pub(super) subprotocol: Option<Version>,
    /// The connection's places, given back when it ends.
    pub(super) permits: Places,
}

type Step = Result<(), Ending>;

/// What a connection waits for.
enum Happened {
    Received(Received),
    Pulled(Pulled),
    Settled(Settled),
    Rang,
}

/// A connection and everything that belongs to it.
pub(super) struct Connection {
    /// First, so that it goes before the socket: who sees the line end is not counted any more.
    active: Active,
    edge: Arc<Edge>,
    socket: Socket,
    session: Session,
    handshake: Option<Box<Handshake>>,
    attached: Attached,
    outbox: Option<Arc<Outbox>>,
    /// Whether the outbox is written past this task.
    has_wire: bool,
    /// There while the peer takes no more of the wire.
    slow: Option<Box<SlowReader>>,
    /// Whether something was given to the socket itself and is not flushed.
    is_unflushed: bool,
    /// Whether it waited for its turn since something happened.
    has_turn: bool,
    /// Requests whose outcome is not known; there only while there are any.
    unsettled: Option<Box<Unsettled>>,
    /// What covers the bytes that this task keeps for its client, once those are many.
    lease: Option<Box<memory::DriverLease>>,
    /// How many of the requests are SENDs.
    sends: u16,
    clock: Clock,
    idle: IdleMessages,
    /// Bytes that were read since others had their turn.
    taken: u16,
    /// The code of the last refusal that was counted, so that its close is not counted again.
    refused: Option<Code>,
    places: Places,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("attached", &self.attached)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(edge: Arc<Edge>, socket: Socket, opened: Opened) -> Self {
        let now = Instant::now();
        let config = edge.session_config(opened.subprotocol, socket.answers_pings());
        socket.charge_to(&opened.permits.charge);
        Self {
            session: Session::new(now.into_std(), config),
            handshake: Some(Box::new(opened.handshake)),
            attached: Attached::new(Arc::clone(&edge)),
            outbox: None,
            has_wire: false,
            slow: None,
            is_unflushed: false,
            has_turn: false,
            unsettled: None,
            lease: None,
            sends: 0,
            clock: Clock::new(&edge.wheel, now, edge.settings.ping_after),
            idle: IdleMessages::new(now, edge.settings.idle_messages_per_10_s),
            taken: 0,
            refused: None,
            active: edge.meters.active(socket.transport(), None),
            places: opened.permits,
            socket,
            edge,
        }
    }

    /// Drives a connection to its end, in a task of its own: it lives for long, and has no room for
    /// what came before it.
    pub(super) fn spawn(edge: Arc<Edge>, socket: Socket, opened: Opened) {
        let (tracker, charge) = (edge.tracker.clone(), Arc::clone(&opened.permits.charge));
        let task = tracker.spawn(Box::new(Self::new(edge, socket, opened)).run());
        charge.ends_by(End::Task(task.abort_handle()));
    }

    /// Drives the connection to its end.
    ///
    /// What is done is boxed, so that a connection that waits has room for waiting only.
    pub(super) async fn run(mut self: Box<Self>) {
        let mut step = Box::pin(self.perform()).await;
        let ending = loop {
            if let Err(ending) = step {
                break ending;
            }
            let happened = self.next().await;
            step = Box::pin(self.react(happened)).await;
        };
        Box::pin(self.end(ending)).await;
    }

    /// Waits for one thing to happen.
    async fn next(&mut self) -> Happened {
        if self.clock.drain_at.is_none() && self.edge.is_draining.load(Relaxed) {
            let turn = self.edge.pace.next_close(self.edge.admission.sessions());
            // Who needs requests hears of it now, or never.
            let now = self.socket.needs_requests().then(Instant::now);
            self.clock.drain_at = Some(now.unwrap_or(turn));
        }
        self.clock.arm(self.edge.settings.ping_after);
        let outbox = self.outbox.as_deref();
        let may_read = self.sends < UNSETTLED_MAX
            && (self.slow.as_ref()).is_none_or(|slow| slow.may_read(outbox));
        tokio::select! {
            received = self.socket.receive(), if may_read => Happened::Received(received),
            pulled = pull(outbox, &mut self.slow), if outbox.is_some() => {
                Happened::Pulled(pulled)
            }
            settled = next_settled(&mut self.unsettled), if self.unsettled.is_some() => {
                Happened::Settled(settled)
            }
            () = &mut self.clock.alarm => Happened::Rang,
        }
    }

    /// Does what is due now, and what the session asks for because of it.
    async fn react(&mut self, happened: Happened) -> Step {
        self.has_turn = false;
        match happened {
            Happened::Received(received) => {
                self.received(received).await?;
                return self.perform_covered(0).await;
            }
            Happened::Pulled(pulled) => self.pulled(pulled).await?,
            Happened::Settled(settled) => self.settled(settled),
            Happened::Rang => self.rang().await?,
        }
        self.perform().await
    }

    /// Everything that the session has to say, in order, and one flush.
    async fn perform(&mut self) -> Step {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Transmit(frame) if frame.len() == 1 => self.say(Framed::BEAT).await?,
                Output::Transmit(frame) => self.say(Framed::message(&frame)).await?,
                Output::Event(event) => self.handle(event).await?,
                Output::Timeout(at) => self.clock.session_at = Some(Instant::from_std(at)),
                Output::Close(reason) => return Err(Ending::Ours(reason)),
            }
        }
        match std::mem::take(&mut self.is_unflushed) {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Hands a request to the app. What it says comes later, except for CONNECT.
    async fn handle(&mut self, event: Event) -> Step {
        self.edge.meters.received(&event);
        if matches!(event, Event::Connect(_) | Event::Subscribe(_)) {
            let refused = match self.count_opening(&event) {
                Some(refused) => Some(refused),
                None if self.has_turn || self.take_turn() => None,
                None => Box::pin(self.await_turn(&event)).await?,
            };
            if let Some(refused) = refused {
                self.session.handle_input(std_now(), refused);
                return Ok(());
            }
        }
        while self.sends >= UNSETTLED_MAX && self.unsettled.is_some() {
            let settled = next_settled(&mut self.unsettled).await;
            self.settled(settled);
        }
        if let Event::Connect(connect) = event {
            Box::pin(self.connect(connect)).await;
            return Ok(());
        }
        let is_send = matches!(event, Event::Send(_) | Event::Commit(_));
        let bytes = event.bytes();
        let (ticket, pending) = self.begin(event).await?;
        self.sends += u16::from(is_send);
        let mut settling = Settling {
            ticket,
            is_send,
            bytes,
            pending,
        };
        // Much is settled as soon as it is asked.
        match (&mut settling).now_or_never() {
            Some(settled) => self.settled(settled),
            None => self.unsettled.get_or_insert_default().push(settling),
        }
        Ok(())
    }

    /// Begins a request of an accepted session. Its outcome comes later.
    #[expect(clippy::async_yields_async, reason = "the unsettled await it")]
    async fn begin(&mut self, event: Event) -> Result<(Ticket, Pending), Ending> {
        let app = Arc::clone(&self.edge.app);
        let Some(live) = self.attached.live().cloned() else {
            debug_assert!(false, "a session asks for something before it is accepted");
            return Err(Ending::Gone);
        };
        // Boxed, so that the futures of requests take no room in idle connections.
        Ok(match event {
            Event::Send(it) => {
                let (ticket, sent) = (it.ticket, async move { app.send(&live, it).await });
                (ticket, self.do_beside(sent).await?)
            }
            Event::Subscribe(it) => (it.ticket, Box::pin(app.subscribe(&live, &it)).await),
            Event::Unsubscribe(it) => (it.ticket, app.unsubscribe(&live, &it)),
            Event::Acknowledge(it) => {
                let (ticket, told) = (it.ticket, async move { app.acknowledge(&live, it).await });
                (ticket, self.do_beside(told).await?)
            }
            Event::Commit(it) => {
                let (ticket, done) = (it.ticket, async move { app.commit(&live, it).await });
                (ticket, self.do_beside(done).await?)
            }
            Event::Connect(_) => return Err(Ending::Gone),
        })
    }

    async fn connect(&mut self, connect: Connect) {
        let verdict = match self.handshake.take() {
            Some(handshake) => self.settle(&handshake, &connect).await,
            None => Err(Problem::new(
                Code::Internal,
                "A second CONNECT was let through.",
            )),
        };
        let input = match verdict {
            Ok((live, accepted)) => {
                self.active = self
                    .edge
                    .meters
                    .active(self.socket.transport(), Some(accepted.kind));
                if let Some(wire) = self.socket.wire() {
                    live.outbox.attach(wire, &self.edge.flusher);
                    self.has_wire = true;
                }
                let session = End::Session(Arc::downgrade(&live.outbox));
                self.places.charge.ends_by(session);
                self.outbox = Some(Arc::clone(&live.outbox));
                self.attached.set(live);
                Input::Accepted(accepted)
            }
            Err(problem) => {
                self.count_refusal(problem.code);
                Input::Refused(problem)
            }
        };
        self.session.handle_input(std_now(), input);
        self.socket
            .set_beats(self.session.agreed_beats().0.is_some());
    }

    /// Finds out who the client is, and has their places count as theirs.
    async fn settle(
        &mut self,
        handshake: &Handshake,
        connect: &Connect,
    ) -> Result<(Live, Accepted), Problem> {
        let app = Arc::clone(&self.edge.app);
        let (live, accepted) = Box::pin(app.connect(handshake, connect)).await?;
        let settled = (self.places).settle(&self.edge, handshake.address, accepted.kind);
        if let Err(refusal) = settled {
            app.disconnect(&live).await;
            return Err(reply::problem_of(refusal));
        }
        Ok((live, accepted))
    }

    fn settled(&mut self, settled: Settled) {
        let (ticket, outcome) = (settled.ticket, settled.outcome);
        self.sends -= u16::from(settled.is_send);
        if let Err(problem) = &outcome {
            self.count_refusal(problem.code);
        }
        self.session
            .handle_input(std_now(), Input::Settled { ticket, outcome });
    }

    /// The alarm rang: does what is due.
    async fn rang(&mut self) -> Step {
        let now = Instant::now();
        self.clock.rang();
        self.rest();
        if self.clock.drain_at.is_some_and(|at| at <= now) {
            return Box::pin(self.drain()).await;
        }
        if self.clock.session_at.is_some_and(|at| at <= now) {
            self.clock.session_at = None;
            if let Some(written) = self.outbox.as_deref().and_then(Outbox::written) {
                self.session.handle_input(written, Input::Transmitted);
            }
            self.session.handle_input(now.into_std(), Input::Timeout);
        }
        if self.clock.unfinished_at.is_some_and(|at| at <= now) {
            self.clock.unfinished_at = None;
            self.session.handle_input(now.into_std(), Input::Unfinished);
        }
        self.ping_if_silent(now).await
    }

    fn count_refusal(&mut self, code: Code) {
        self.refused = Some(code);
        self.edge.meters.refused(code);
    }
}

fn std_now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that an async function of this argument gives.
    fn future_bytes<A, F: Future>(_function: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_a_small_task() {
        let task = future_bytes(Connection::run);
        assert!(task <= 320, "{task} octets");
        let connection = size_of::<Connection>();
        assert!(connection <= 768, "{connection} octets");
    }
}
