//! What comes before any request: the head of a proxy, then TLS.
//!
//! Not here: places (`admission`), what is spoken afterwards (`http`, `tcp`). Invariant: each of
//! the two is bounded in time and in size, and a head is believed of a trusted proxy only; of
//! everybody else it is octets like any others.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::Edge;
use super::admission::Refusal;
use super::peer::Peer;
use super::proxy_head::{self, Head};
use super::settings::ProxyHead;
use super::stream::Stream;
use super::tls::Certificates;

/// What TLS may hold of what is written and not sent, or not encrypted yet; `charges::TLS_BYTES` covers it.
const TLS_BUFFER_BYTES: usize = 16 << 10;

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
/// head names, in its own network; `cost` is what its socket is charged with beyond the base.
pub(super) async fn behind_proxy(
    edge: &Arc<Edge>,
    stream: &mut TcpStream,
    mut peer: Peer,
    cost: u64,
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
    let holder = edge.holder(client.ip(), peer.is_proxy);
    let admitted = edge.admit_again(&peer.charge, &holder, cost);
    let place = admitted.map_err(Lost::Refused)?;
    peer.place = Mutex::new(Some(place));
    Ok(peer)
}

/// Begins TLS, if this server speaks it.
pub(super) async fn secured(edge: &Edge, stream: TcpStream) -> Result<Stream, Lost> {
    let Some(certificates) = &edge.certificates else {
        return Ok(Stream::Plain(stream));
    };
    let handshake = Box::pin(handshake(certificates, stream));
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

/// The handshake. The session that follows buffers [`TLS_BUFFER_BYTES`] of what is written to it.
fn handshake(
    certificates: &Certificates,
    stream: TcpStream,
) -> impl Future<Output = io::Result<TlsStream<TcpStream>>> + use<> {
    let acceptor = certificates.acceptor();
    acceptor.accept_with(stream, |session| {
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    })
}

#[cfg(test)]
mod tests;
