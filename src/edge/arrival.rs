//! What comes before any request: the head of a proxy, then TLS.
//!
//! Not here: places (`admission`), what is spoken afterwards (`http`, `tcp`). Invariant: each of
//! the two is bounded in time and in size, and a head is believed of a trusted proxy only; of
//! everybody else it is octets like any others.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Edge;
use super::admission::Refusal;
use super::peer::Peer;
use super::proxy_head::{self, Head};
use super::settings::ProxyHead;
use super::stream::Stream;
use crate::budget::Charge;

/// How many encrypted bytes may wait for a peer that does not read: one record. More is left in the outbox.
const TLS_BUFFER_BYTES: usize = 16 << 10;

/// What TLS costs beside a plain socket: its state, and room for reading and for writing while it is idle.
const TLS_BYTES: u64 = 16 << 10;

/// By how much the limits of a trusted proxy's address are multiplied.
const PROXY_MULTIPLE: u32 = 1_000;

/// Why a connection is not served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nobody can be told anything: it broke the rules before there was a language, was too slow,
    /// or the node ends.
    Silently,
    /// There is no place in the network of its client.
    Refused(Refusal),
}

/// Reads the head of a trusted proxy, if it is to send one. The peer is then the client that the
/// head names, in its own network.
pub(super) async fn behind_proxy(
    edge: &Arc<Edge>,
    stream: &mut TcpStream,
    mut peer: Peer,
) -> Result<Peer, Lost> {
    let wanted = edge.settings.proxy_head;
    if wanted == ProxyHead::Off || !peer.is_proxy {
        return Ok(peer);
    }
    let patience = edge.settings.header_read_timeout;
    let head = tokio::select! {
        head = timeout(patience, proxy_head::read(stream)) => head,
        () = edge.shutdown.cancelled() => return Err(Lost::Silently),
    };
    let client = match head {
        Ok(Ok(Head::Client(client))) => client,
        Ok(Ok(Head::Local)) => return Ok(peer),
        Ok(Ok(Head::Absent)) if wanted == ProxyHead::Accept => return Ok(peer),
        Ok(Ok(Head::Absent)) => {
            tracing::debug!("a trusted proxy sent no head of the PROXY protocol");
            return Err(Lost::Silently);
        }
        Ok(Err(proxy_head::Broken)) | Err(_) => {
            tracing::debug!("a trusted proxy sent a broken head of the PROXY protocol");
            return Err(Lost::Silently);
        }
    };
    peer.address = client;
    // A proxy of proxies goes on being one: then X-Forwarded-For tells the client.
    peer.is_proxy = edge.trusts(client.ip());
    if !peer.is_proxy {
        let network = edge.admission.network(client.ip());
        peer.permits.1 = Some(network.map_err(Lost::Refused)?);
    }
    Ok(peer)
}

/// What TLS takes of the byte account while the socket lives. `None` when that is not granted.
pub(super) fn tls_charge(edge: &Edge, peer: &Peer) -> Option<Option<Charge>> {
    if edge.certificates.is_none() {
        return Some(None);
    }
    let mut claimant = edge.app.multiples().stranger(peer.address.ip());
    if peer.is_proxy {
        // It brings the sockets of many networks.
        claimant.multiple = claimant.multiple.max(PROXY_MULTIPLE);
    }
    let charge = edge.app.memory().pool().take(&claimant, TLS_BYTES);
    charge.map(Some).ok()
}

/// Begins TLS, if this server speaks it.
pub(super) async fn secured(edge: &Edge, stream: TcpStream) -> Result<Stream, Lost> {
    let Some(certificates) = &edge.certificates else {
        return Ok(Stream::Plain(stream));
    };
    let handshake = certificates.acceptor().accept_with(stream, |connection| {
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    });
    let handshake = Box::pin(handshake);
    let patience = edge.settings.header_read_timeout;
    let secured = tokio::select! {
        secured = timeout(patience, handshake) => secured,
        () = edge.shutdown.cancelled() => return Err(Lost::Silently),
    };
    match secured {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            Err(Lost::Silently)
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            Err(Lost::Silently)
        }
    }
}
