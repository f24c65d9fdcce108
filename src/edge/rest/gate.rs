//! What every request of REST passes before its handler: its size, how often, and who asks.
//!
//! Not here: the Origin of pages (`cors`), names of requests (`trace`). Invariant: the order is
//! network, body, caller, class, handler; what costs more stands behind what costs less. A network
//! over its limit is refused without a byte of the body being read.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response};
use bytes::Bytes;

use super::call::{Call, Reply, is_json, not_found};
use super::caller::{Caller, peer};
use super::idempotency::Keyed;
use super::limits::{self, Counted};
use super::route::{Class, SharedRoute};
use crate::budget::{Lease, Refused};
use crate::edge::body::{self, Unread};
use crate::edge::{Edge, reply};
use crate::model::{Code, Problem};

/// How soon a request may come again that was refused for want of memory.
const NO_MEMORY_AGAIN_MS: u64 = 10_000;

/// Answers a request to this route.
pub(super) async fn pass(edge: Arc<Edge>, route: SharedRoute, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut counted = None;
    let answered = answer(edge, route, parts, body, &mut counted).await;
    let mut response = match answered {
        Ok(reply) => reply.into_response(),
        Err(problem) => reply::problem(&problem),
    };
    if let Some(counted) = counted {
        counted.write(response.headers_mut());
    }
    response
}

async fn answer(
    edge: Arc<Edge>,
    route: SharedRoute,
    mut parts: Parts,
    body: Body,
    counted: &mut Option<Counted>,
) -> Result<Reply, Problem> {
    let peer = peer(&parts.extensions)?;
    let mut caller = Caller::read(&edge, &peer, &parts, route.who);
    let (address, socket) = (caller.handshake.address, Arc::clone(&caller.socket));
    count_network(&edge, &route, &caller, counted).await?;
    let body = match route.takes {
        Some(_) => read(body, &parts.headers, || edge.lease(address, &socket), &edge).await?,
        None => Bytes::new(),
    };
    let admitted = count(&edge, &route, &mut caller, &body, counted).await;
    let asked = (&parts.method, &parts.uri, &*body);
    let keyed = Keyed::of(
        &edge.rest.kept,
        &edge.rest.key,
        &caller,
        asked,
        &parts.headers,
    );
    let leasing = Arc::clone(&edge);
    let parameters = RawPathParams::from_request_parts(&mut parts, &()).await;
    let parameters = parameters.map_err(|_| not_found())?;
    let parameters = parameters.iter();
    let call = Call {
        caller,
        is_json: is_json(&parts.headers),
        body,
        parameters: parameters
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        uri: parts.uri,
        edge,
    };
    if call
        .parameters
        .iter()
        .any(|(_, value)| value.contains('\0'))
    {
        return Err(not_found());
    }
    let reply = match (keyed?, admitted) {
        (None, Ok(())) => (route.handler)(call).await,
        (Some(keyed), Ok(())) => keyed.run(route, call).await,
        // The secret may have ended by the very request that is asked for again.
        (Some(keyed), Err(problem)) if problem.code.status() == 401 => {
            keyed.replay(call, problem).await
        }
        (_, Err(problem)) => Err(problem),
    };
    reply?
        .leased(|| leasing.lease(address, &socket))
        .map_err(no_memory)
}

/// Takes a token from the bucket of the network.
async fn count_network(
    edge: &Edge,
    route: &SharedRoute,
    caller: &Caller,
    counted: &mut Option<Counted>,
) -> Result<(), Problem> {
    if route.class == Class::Free {
        return Ok(());
    }
    let taken = limits::of_network(edge, caller).await;
    taken.map_err(|(problem, refused)| {
        *counted = Some(refused);
        problem
    })
}

/// Takes a token from each further bucket that the request is counted in, and authenticates the
/// caller. The bucket of class token is chosen by the body.
async fn count(
    edge: &Edge,
    route: &SharedRoute,
    caller: &mut Caller,
    body: &[u8],
    counted: &mut Option<Counted>,
) -> Result<(), Problem> {
    if route.class == Class::Free {
        return Ok(());
    }
    let mut note = |refused: (Problem, Counted)| {
        *counted = Some(refused.1);
        refused.0
    };
    if let Err(problem) = caller.authenticate(edge, route).await {
        // Whoever was authenticated and may not do this is no stranger.
        if problem.code.status() == 401 {
            let strangers = limits::of_strangers(edge, caller).await;
            *counted = Some(strangers.map_err(&mut note)?);
        }
        return Err(problem);
    }
    let class = limits::of_class(edge, caller, route.class, body).await;
    *counted = Some(class.map_err(&mut note)?);
    Ok(())
}

/// The body, up to its limit, in memory that is leased. What is longer is not read to its end.
async fn read(
    body: Body,
    headers: &HeaderMap,
    lease: impl FnOnce() -> Lease,
    edge: &Edge,
) -> Result<Bytes, Problem> {
    let limits = body::Limits {
        bytes_max: edge.settings.request_body_bytes_max,
        stall: edge.settings.outbox_stall,
    };
    let read = body::read(body, body::announced(headers), limits, || Some(lease())).await;
    match read {
        Ok(read) => Ok(read.held()),
        Err(Unread::NoMemory(refused)) => Err(no_memory(refused)),
        Err(Unread::TooSlow) => {
            let detail = "The body came too slowly. Send it again.";
            Err(Problem::new(Code::BadRequest, detail))
        }
        // Of a body that ends early nobody waits for the answer any more.
        Err(Unread::TooLarge | Unread::Broken) => {
            let detail = format!("The body may have {} bytes.", limits.bytes_max);
            Err(Problem::new(Code::PayloadTooLarge, detail))
        }
    }
}

/// The client's network, or the node, holds as much memory as it may.
pub(super) fn no_memory(refused: Refused) -> Problem {
    let problem = match refused {
        Refused::Full => {
            let detail = "This node is short of memory. Try again in a moment.";
            Problem::new(Code::Overloaded, detail)
        }
        Refused::User | Refused::Network => {
            let detail = "Your network uses as much memory of this node as it may have now. Try again in a moment.";
            Problem::new(Code::RateLimited, detail)
        }
    };
    problem.retry_after_ms(NO_MEMORY_AGAIN_MS)
}
