//! How a connection ends: because the node does, or for any other reason.
//!
//! Not here: which ways there are (`ending`), how the goodbye travels (`socket`). Invariant: what was said before the
//! end goes out before the goodbye, as far as the peer takes it.

use tokio::time::{Instant, timeout, timeout_at};

use super::{Connection, Ending, Step, std_now};
use crate::edge::farewell::Farewell;
use crate::edge::settling::next_settled;
use crate::model::{CloseReason, Code};
use crate::session::Input;

impl Connection {
    /// The node ends: what was accepted is finished, then the client is told to come back.
    pub(super) async fn drain(&mut self) -> Step {
        // Only outcomes are waited for so long: what is being done is never cut off.
        let until = Instant::now() + self.edge.settings.linger;
        while self.unsettled.is_some()
            && let Ok(settled) = timeout_at(until, next_settled(&mut self.unsettled)).await
        {
            self.settled(settled);
            self.perform().await?;
        }
        let reason = CloseReason::RESTART;
        self.session.handle_input(
            std_now(),
            Input::End {
                problem: None,
                reason,
            },
        );
        self.perform().await?;
        Err(Ending::Ours(CloseReason::RESTART))
    }

    /// Says goodbye while the app forgets the session.
    pub(super) async fn end(&mut self, ending: Ending) {
        let (reason, code) = ending.close();
        if let Some(reason) = &reason {
            self.count_close(reason);
            if let Some(network) = self.network() {
                self.edge.meters.cut(reason, network);
            }
        }
        self.edge.meters.closed(code);
        tracing::debug!(code, "a connection ends");
        let linger = self.edge.settings.linger;
        // Whatever was begun for the session and is not settled ends now, not after the goodbye: a
        // consumer that lives on takes messages from others.
        self.unsettled = None;
        self.await_leave(&ending).await;
        // Before the app forgets the session: what it lets go of ends its outbox.
        // It covers what is left until that has gone out.
        let outbox = self.outbox.take();
        self.slow = None;
        let left = match &outbox {
            Some(outbox) => Some(outbox.take_over().await),
            None => None,
        };
        let mut farewell = Farewell::new(&self.edge.turns, self.network(), linger);
        let goodbye = async {
            if matches!(ending, Ending::Gone) {
                return;
            }
            if let Some(left) = left
                && !matches!(
                    timeout(linger, self.socket.put_back(left)).await,
                    Ok(Ok(()))
                )
            {
                tracing::debug!("a peer did not take what was left");
            }
            self.socket.close(reason.as_ref(), &mut farewell).await;
        };
        futures_util::future::join(goodbye, self.attached.detach()).await;
        drop(outbox);
    }

    /// A session whose client has gone waits for its turn to be forgotten: when a proxy, a network or the end of a
    /// lesson takes them away they all go at once, with a close or a DISCONNECT of their own or without.
    async fn await_leave(&mut self, ending: &Ending) {
        if ending.is_of_the_client()
            && self.attached.live().is_some()
            && let Some(network) = self.network()
        {
            self.edge.turns.leave(network).await;
        }
    }

    /// Counts the error that a close tells of, unless it was counted where it arose.
    fn count_close(&self, reason: &CloseReason) {
        let word = reason.text.split(';').next().unwrap_or_default();
        let code = Code::ALL.iter().copied().find(|code| code.as_str() == word);
        if let Some(code) = code
            && self.refused != Some(code)
        {
            self.edge.meters.refused(code);
        }
    }
}
