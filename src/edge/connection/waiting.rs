//! A connection whose CONNECT, SUBSCRIBE, large message or message for many waits for its turn: it reads nothing
//! meanwhile, and does everything else.
//!
//! Not here: when the turn comes (`turns`). Invariants: heart-beats, pings, deliveries and answers go out while a
//! connection waits, over every transport; the place in the queue is looked at even while a peer does not read,
//! because the next batch waits for that.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::outgoing::pull;
use super::{Connection, Ending, Happened, Step, std_now};
use crate::edge::reply;
use crate::edge::settling::next_settled;
use crate::hub::Outbox;
use crate::model::Network;
use crate::session::{Event, Input, Output};
use crate::turns::{Busy, Place};
use crate::websocket::Framed;

/// What the session asked for and what waits with it.
struct Held {
    outputs: VecDeque<Output>,
    /// Whether a frame is among them, which later ones must not overtake.
    has_frame: bool,
}

impl Held {
    fn new(outputs: VecDeque<Output>) -> Self {
        let is_frame = |output: &Output| matches!(output, Output::Transmit(_));
        let has_frame = outputs.iter().any(is_frame);
        Self { outputs, has_frame }
    }

    fn push(&mut self, output: Output) {
        self.has_frame |= matches!(output, Output::Transmit(_));
        self.outputs.push_back(output);
    }
}

impl Connection {
    /// Counts a SUBSCRIBE in the rate of its session before it waits for anything. Returns the refusal, if it is
    /// one too many.
    pub(super) fn count_opening(&mut self, event: &Event) -> Option<Input<'static>> {
        let (Event::Subscribe(it), Some(live)) = (event, self.attached.live()) else {
            return None;
        };
        let problem = self.edge.app.count_subscribe(live).err()?;
        self.count_refusal(problem.code);
        Some(Input::Settled {
            ticket: it.ticket,
            outcome: Err(problem),
        })
    }

    /// Whether what one read opens may be done at once.
    pub(super) fn take_turn(&mut self) -> bool {
        self.has_turn = self.edge.turns.may_go_on();
        self.has_turn
    }

    /// Waits until the node has time for what opens things: CONNECT, or the SUBSCRIBEs of one read. Returns the
    /// refusal of a CONNECT that has waited too long.
    pub(super) async fn await_turn(
        &mut self,
        event: &Event,
    ) -> Result<Option<Input<'static>>, Ending> {
        self.has_turn = true;
        let Some(network) = self.network() else {
            return Ok(None);
        };
        let place = match matches!(event, Event::Connect(_)) {
            true => self.edge.turns.connect(network),
            false => self.edge.turns.read(network),
        };
        let Some(place) = place else {
            return Ok(None);
        };
        Ok(self.take(place).await?.err().map(|busy| {
            let problem = reply::problem_of(self.edge.no_turn(busy));
            self.count_refusal(problem.code);
            Input::Refused(problem)
        }))
    }

    /// The network of the client, as turns count it.
    pub(super) fn network(&self) -> Option<Network> {
        self.claimant().map(|claimant| claimant.network.widest())
    }

    /// Waits for the turn of the network, after others have been served, because this client sends much at once.
    pub(super) async fn await_others(&mut self) -> Step {
        let network = self.network();
        match network.and_then(|network| self.edge.turns.read(network)) {
            // There is no refusal: the session is open, and keeps its place.
            Some(place) => self.take(place).await.map(drop),
            None => {
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    /// Does work that may wait for its turn: a message for many. What is done at once costs nothing here. What was
    /// begun is done to its end before the session ends, so that a transaction is whole: what covers its bytes and
    /// the windows that its ACKs mean are still there.
    pub(super) async fn do_beside<T>(
        &mut self,
        work: impl Future<Output = T> + Send,
    ) -> Result<T, Ending> {
        let mut work = Box::pin(work);
        if let Some(done) = (&mut work).now_or_never() {
            return Ok(done);
        }
        let waited = Box::pin(self.wait(&mut work)).await;
        if waited.is_err() {
            let _nobody_is_told = work.await;
        }
        waited
    }

    /// Waits for the turn of a place.
    async fn take(&mut self, mut place: Place) -> Result<Result<(), Busy>, Ending> {
        self.wait(Box::pin(place.turn())).await
    }

    async fn wait<T>(
        &mut self,
        mut until: impl Future<Output = T> + Send + Unpin,
    ) -> Result<T, Ending> {
        let mut held = Held::new(self.session.pause());
        let set_aside = self.clock.set_aside();
        let outcome = self.wait_beside(&mut until, &mut held).await;
        self.clock.put_back(set_aside);
        // What was due meanwhile is looked at now.
        self.clock.session_at = Some(Instant::now());
        self.session.resume(std_now(), held.outputs);
        outcome
    }

    /// Waits, and does what happens meanwhile.
    async fn wait_beside<T>(
        &mut self,
        until: &mut (impl Future<Output = T> + Send + Unpin),
        held: &mut Held,
    ) -> Result<T, Ending> {
        loop {
            self.clock.session_at = self.session.beat_at().map(Instant::from_std);
            self.clock.arm(self.edge.settings.ping_after);
            let happened = tokio::select! {
                biased;
                done = &mut *until => return Ok(done),
                pulled = pull(self.outbox.as_deref(), &mut self.slow), if self.outbox.is_some() => {
                    Happened::Pulled(pulled)
                }
                settled = next_settled(&mut self.unsettled), if self.unsettled.is_some() => {
                    Happened::Settled(settled)
                }
                () = &mut self.clock.alarm => Happened::Rang,
            };
            let mut work = pin!(self.go_on_beside(happened, held));
            tokio::select! {
                biased;
                done = &mut *until => {
                    work.await?;
                    return Ok(done);
                }
                step = &mut work => step?,
            }
        }
    }

    async fn go_on_beside(&mut self, happened: Happened, held: &mut Held) -> Step {
        match happened {
            Happened::Pulled(pulled) => self.pulled(pulled).await?,
            Happened::Settled(settled) => self.settled(settled),
            Happened::Rang => {
                self.clock.rang();
                if let Some(written) = self.outbox.as_deref().and_then(Outbox::written) {
                    self.session.handle_input(written, Input::Transmitted);
                }
                if self.session.take_beat(std_now()) {
                    self.say(Framed::BEAT).await?;
                }
                self.ping_if_silent(Instant::now()).await?;
            }
            Happened::Received(_) => {}
        }
        self.perform_beside(held).await
    }

    /// What the session says now goes out at once; what it asks for is held back with the rest.
    async fn perform_beside(&mut self, held: &mut Held) -> Step {
        while let Some(output) = self.session.poll_output() {
            // Nothing that was held back is done for a session that has ended.
            let may_overtake = !held.has_frame || self.session.is_closed();
            match output {
                Output::Transmit(frame) if may_overtake => {
                    self.say(Framed::message(&frame)).await?
                }
                Output::Close(reason) => return Err(Ending::Ours(reason)),
                Output::Timeout(_) => {}
                output @ (Output::Transmit(_) | Output::Event(_)) => held.push(output),
            }
        }
        match std::mem::take(&mut self.is_unflushed) {
            true => self.flush().await,
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
