//! `GET /me/export`: the user's own copy, written as it is read.
//!
//! Not here: what belongs to it (`identity`). Invariants: an export has in memory what `LEASE_BYTES` says
//! and no more, however long it is and however slowly it is read; a user has one export at a time.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::call::{Call, Reply};
use super::cursor::List;
use super::gate::no_memory;
use crate::budget::Lease;
use crate::edge::Edge;
use crate::model::{Code, MessageId, Principal, Problem, StoredMessage, UserId};

/// A page ends behind so many messages, or so many bytes of them.
const PAGE_MESSAGES: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;

/// What an export is leased with: a part as it comes from the store, as it is rendered, and the two parts
/// before it, which the connection may not have written to their end.
const LEASE_BYTES: u64 = 576 << 10;

/// How soon a user may ask again who has an export already.
const AGAIN_MS: u64 = 1_000;

/// A page of the user's own copy.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "the items are rendered as they were sent, by hand"
)]
pub(super) struct Export {
    /// The user's address.
    user_id: String,
    /// `anonymous`, `member`, `bot`, `admin`.
    kind: String,
    /// The name that is shown.
    name: String,
    /// The messages, as the user received or wrote them.
    #[schema(value_type = Vec<Object>)]
    items: Vec<serde_json::Value>,
    /// Whether there may be another page.
    has_more: bool,
    /// Where it goes on.
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    cursor: Option<String>,
}

/// The users who have an export now.
#[derive(Debug, Default)]
pub(in crate::edge) struct Exports(Mutex<HashSet<UserId>>);

/// Stands for the export of one user.
#[derive(Debug)]
struct Running {
    edge: Arc<Edge>,
    user_id: UserId,
}

impl Running {
    /// None while the user has another one.
    fn begin(edge: &Arc<Edge>, user_id: &UserId) -> Option<Self> {
        let running = edge.exports.0.lock();
        let mut running = running.unwrap_or_else(PoisonError::into_inner);
        running.insert(user_id.clone()).then(|| Self {
            edge: Arc::clone(edge),
            user_id: user_id.clone(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let running = self.edge.exports.0.lock();
        let mut running = running.unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.user_id);
    }
}

/// The route.
pub(super) async fn export(call: Call) -> Result<Reply, Problem> {
    let (edge, principal) = (&call.edge, call.caller.principal()?);
    let page: Page = call.query()?;
    let list = list(principal);
    let now = edge.visitors.now();
    let after: Option<MessageId> = list.place(&edge.rest.key, now, page.cursor.as_deref())?;
    let running = Running::begin(edge, &principal.user_id).ok_or_else(|| {
        let detail = "Another export of yours is being read. Read it to its end first.";
        Problem::new(Code::RateLimited, detail).retry_after_ms(AGAIN_MS)
    })?;
    let mut lease = edge.lease(call.caller.handshake.address, &call.caller.socket);
    lease.cover(LEASE_BYTES).map_err(no_memory)?;
    let mut copying = Copying {
        running,
        principal: principal.clone(),
        lease,
        after,
        messages: 0,
        bytes: 0,
        next: None,
        is_over: false,
    };
    // Before the head of the answer goes out, so that a store that is away has a status of its own, and a
    // short copy has a length.
    let mut first = copying.head();
    first.extend(copying.part().await?);
    if !copying.is_over {
        first.extend(copying.part().await?);
    }
    if copying.is_over {
        return Ok(Reply::raw(StatusCode::OK, first.into()));
    }
    copying.next = Some(first.into());
    let parts = stream::unfold(copying, |mut copying| async {
        let part = copying.next().await?;
        Some((part, copying))
    });
    Ok(Reply::streamed(StatusCode::OK, Body::from_stream(parts)))
}

fn list(principal: &Principal) -> List<'_> {
    List {
        name: "export",
        of: principal.user_id.as_str(),
    }
}

/// An export on its way.
struct Copying {
    running: Running,
    principal: Principal,
    lease: Lease,
    after: Option<MessageId>,
    /// How many messages of this page were rendered, and their bytes.
    messages: usize,
    bytes: usize,
    /// What was made before anybody asked for it.
    next: Option<Bytes>,
    is_over: bool,
}

impl Copying {
    /// The next part of the body. Asked for when the part before it has nearly been written.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(part) = self.next.take() {
            return Some(Ok(part));
        }
        if self.is_over {
            return None;
        }
        let part = self.part().await;
        // An answer that is cut off is seen to be: its last chunk is missing.
        self.is_over |= part.is_err();
        let ended = |problem: Problem| io::Error::other(problem.detail);
        Some(part.map(Bytes::from).map_err(ended))
    }

    fn head(&self) -> Vec<u8> {
        let head = json!({
            "user_id": self.principal.user_id.as_str(),
            "kind": self.principal.kind.as_str(),
            "name": self.principal.name,
        });
        let mut head = head.to_string().into_bytes();
        head.pop();
        head.extend_from_slice(b",\"items\":[");
        head
    }

    /// More messages, or the end of the page.
    async fn part(&mut self) -> Result<Vec<u8>, Problem> {
        let is_full = self.messages >= PAGE_MESSAGES || self.bytes >= PAGE_BYTES;
        if is_full {
            return Ok(self.end(true));
        }
        let visitors = &self.running.edge.visitors;
        let messages = visitors.export(&self.principal, self.after).await?;
        let Some(last) = messages.last() else {
            return Ok(self.end(false));
        };
        self.after = Some(last.id);
        let texts: usize = messages.iter().map(|message| message.text.len()).sum();
        // One message may be longer than all that a part has otherwise.
        let bytes = LEASE_BYTES.max(4 * texts as u64);
        self.lease.cover(bytes).map_err(no_memory)?;
        Ok(self.render(&messages))
    }

    /// The messages are put in as they are rendered, so that their fields keep their order.
    fn render(&mut self, messages: &[StoredMessage]) -> Vec<u8> {
        let mut part = Vec::new();
        for message in messages {
            if self.messages > 0 {
                part.push(b',');
            }
            self.messages += 1;
            part.extend_from_slice(&message.render(&self.principal.user_id));
        }
        self.bytes += part.len();
        part
    }

    fn end(&mut self, has_more: bool) -> Vec<u8> {
        self.is_over = true;
        let edge = &self.running.edge;
        let last = self.after.filter(|_| has_more).map(|id| id.to_string());
        let cursor = |id: String| {
            let now = edge.visitors.now();
            list(&self.principal).cursor(&edge.rest.key, now, &id)
        };
        let end = json!({ "has_more": has_more, "next_cursor": last.map(cursor) });
        let mut part = b"],".to_vec();
        part.extend(end.to_string().into_bytes().get(1..).unwrap_or_default());
        part
    }
}
