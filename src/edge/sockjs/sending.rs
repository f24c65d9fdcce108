//! Requests that bring messages: `xhr_send` and `jsonp_send`.
//!
//! Not here: who may (`endpoint`), what becomes of the messages (`session`). Invariants: the length of a body
//! is checked and leased before it is read; a long body waits for the turn of its network before its messages are
//! read from it; a body and what was read from it are together in memory for no await; one request of a session
//! waits, and no more.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;

use super::answers;
use super::handler::{Refused as Refusal, SessionHandler};
use super::owner::Caller;
use super::session::{HttpSession, Pushed, bytes_of};
use super::settings::SockJsSettings;
use crate::budget::{Lease, Memory, Refused};
use crate::edge::body::{self, Unread};
use crate::sockjs::{ReadError, form_field, read_messages};

/// A body beyond this length waits for the turn of its network before it is read, as a long message of STOMP does.
const LONG_BYTES: usize = 32 << 10;

/// Reads the messages of a request and gives them to its session. `is_form`: they may be a field of a form.
pub(super) async fn send(
    (session, caller): (&HttpSession, &Caller),
    (handler, settings): (&dyn SessionHandler, &SockJsSettings),
    head: &Parts,
    body: Body,
    is_form: bool,
) -> Result<(), Refusal> {
    if session.is_crowded() {
        return Err(busy());
    }
    let limits = body::Limits {
        bytes_max: settings.request_bytes_max(),
        stall: settings.stall,
    };
    let memory = handler.memory();
    let lease = || Some(caller.lease(memory));
    let read = body::read(body, body::announced(&head.headers), limits, lease);
    let mut read = read.await.map_err(unread)?;
    if read.bytes.len() > LONG_BYTES {
        handler.long_body(caller).await;
    }
    let messages = messages(&read.bytes, is_form && is_of_form(head)).map_err(|error| {
        session.note_broken();
        unreadable(error)
    })?;
    // From here on the messages are what is kept, not what they were read from.
    read.bytes = Bytes::new();
    let lease = covering(&messages, read.lease, || caller.lease(memory))?;
    match session.push(messages, lease).await {
        Pushed::Taken => Ok(()),
        Pushed::Closed => Err(Box::new(answers::not_found())),
        Pushed::Busy => Err(busy()),
        Pushed::NoMemory(refused) => Err(no_memory(refused)),
    }
}

fn is_of_form(head: &Parts) -> bool {
    let media = head.headers.get(CONTENT_TYPE).map(|it| it.as_bytes());
    media.is_some_and(|it| it.starts_with(b"application/x-www-form-urlencoded"))
}

/// The messages of a body. Both are in memory for as long as this takes, without an await: as often as there
/// are threads.
fn messages(body: &[u8], is_form: bool) -> Result<Vec<String>, ReadError> {
    match is_form {
        true => read_messages(form_field(body, "d").unwrap_or_default().as_bytes()),
        false => read_messages(body),
    }
}

fn unreadable(error: ReadError) -> Refusal {
    let text = match error {
        ReadError::Empty => "Payload expected.",
        ReadError::Broken => "Broken JSON encoding.",
        ReadError::TooMany => "Too many messages at once.",
    };
    Box::new(answers::text(StatusCode::INTERNAL_SERVER_ERROR, text))
}

/// A lease that covers the messages, made of the one that covered their body.
fn covering(
    messages: &[String],
    lease: Option<Lease>,
    new: impl FnOnce() -> Lease,
) -> Result<Option<Lease>, Refusal> {
    let bytes = bytes_of(messages) as u64;
    if bytes <= Memory::BASE_BUFFER_BYTES {
        return Ok(None);
    }
    let mut lease = lease.unwrap_or_else(new);
    lease.cover(bytes).map_err(no_memory)?;
    Ok(Some(lease))
}

fn unread(why: Unread) -> Refusal {
    let (status, words) = match why {
        Unread::NoMemory(refused) => return no_memory(refused),
        Unread::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The messages came too slowly."),
        // Of a body that ends early nobody waits for the answer.
        Unread::TooLarge | Unread::Broken => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "The messages are longer than they may be.",
        ),
    };
    Box::new(answers::text(status, words))
}

/// The byte account has nothing left for the client.
pub(super) fn no_memory(refused: Refused) -> Refusal {
    let (status, detail) = match refused {
        Refused::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is short of memory. Try again in a moment.",
        ),
        Refused::User | Refused::Network => (
            StatusCode::TOO_MANY_REQUESTS,
            "Your network uses as much memory of this node as it may have now. Try again in a moment.",
        ),
    };
    Box::new(answers::later(status, detail, "10"))
}

/// The client of SockJS sends one request after the other, so none of its own meets this.
fn busy() -> Refusal {
    let detail = "Another request of this session waits. Send the next one when it is answered.";
    Box::new(answers::later(StatusCode::TOO_MANY_REQUESTS, detail, "1"))
}
