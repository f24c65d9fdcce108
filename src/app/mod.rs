//! The features of the service: what a CONNECT, a SUBSCRIBE and a SEND do.
//!
//! Not here: frames and sockets (`session`, `edge`), engines (`broker` knows them by contract).
//! Invariant: a RECEIPT says committed for what is stored, handed over for what is not.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::hub::Outbox;
use crate::identity::Handshake;
use crate::model::{Principal, Problem, SessionId};
use crate::session::{Accepted, Connect, Reply, Send, Subscribe, Unsubscribe};

/// What becomes of a request, once it is known. Dropping it does not undo the request.
pub type Pending = BoxFuture<'static, Result<Reply, Problem>>;

/// A connected session, as the connection driver holds it.
#[derive(Clone, Debug)]
pub struct Live {
    /// The session.
    pub session: SessionId,
    /// Who it speaks for.
    pub principal: Arc<Principal>,
    /// What is to be written to it.
    pub outbox: Arc<Outbox>,
}

/// The service of one node.
#[derive(Debug)]
pub struct App {}

impl App {
    /// Opens an identity and attaches a session: location is written when this returns.
    ///
    /// # Errors
    /// The refusal to be told in an ERROR frame.
    pub async fn connect(
        &self,
        _handshake: &Handshake,
        _connect: Connect,
    ) -> Result<(Live, Accepted), Problem> {
        unimplemented!()
    }

    /// Takes a SEND. Await the call before the next request of the session, so that order is kept;
    /// the outcome comes later.
    pub async fn send(&self, _live: &Live, _send: Send) -> Pending {
        unimplemented!()
    }

    /// Takes a SUBSCRIBE. Await as with [`App::send`]; the outcome says that it is settled.
    pub async fn subscribe(&self, _live: &Live, _subscribe: Subscribe) -> Pending {
        unimplemented!()
    }

    /// Takes an UNSUBSCRIBE: no MESSAGE is queued for it after this returns.
    pub async fn unsubscribe(&self, _live: &Live, _unsubscribe: Unsubscribe) -> Pending {
        unimplemented!()
    }

    /// The connection is gone, in whatever way: everything of the session is forgotten.
    pub async fn disconnect(&self, _live: &Live) {
        unimplemented!()
    }
}
