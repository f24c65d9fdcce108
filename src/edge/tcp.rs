//! STOMP over TCP: octets as they come, without anything around them.
//!
//! Not here: STOMP (`connection`), the socket and its options (`listener`). Invariant: what
//! is read goes to the session as it came.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::Edge;
use super::admission::Refusal;
use super::connection::{Connection, Opened};
use super::duplex::{Duplex, PlainWire};
use super::farewell::Farewell;
use super::peer::Peer;
use super::reply;
use super::socket::{Gone, Received, Socket};
use super::stream::Stream;
use crate::hub::{Unwritten, Wire};
use crate::identity::{Handshake, client_address};
use crate::model::{CloseReason, Network};
use crate::session::{Input, Output, Session};
use crate::websocket::Framed;

/// Drives a connection from its first octet to its end, or says why it does not come in.
pub(super) async fn serve(edge: Arc<Edge>, stream: Stream, peer: Arc<Peer>) {
    let address = client_address(peer.address.ip(), &[], &edge.settings.trusted_proxies);
    let shown = edge.settings.log_address.show(address);
    let permits = match edge.admit(&peer, address) {
        Ok(permits) => permits,
        Err(refusal) => {
            tracing::debug!(address = %shown, ?refusal, "a TCP connection was refused");
            let told = Box::pin(refuse(&edge, stream, address, refusal));
            if timeout(edge.settings.linger, told).await.is_err() {
                tracing::debug!("a refused client did not listen");
            }
            return;
        }
    };
    tracing::debug!(address = %shown, "a TCP connection opens");
    drop(peer);
    let opened = Opened {
        handshake: Handshake::without_page(address),
        subprotocol: None,
        permits,
    };
    let socket = Socket::Tcp(Box::new(Tcp::new(stream)));
    Connection::spawn(edge, socket, opened);
}

/// Tells somebody who does not come in why, in an ERROR frame. The caller bounds the time.
pub(super) async fn refuse(edge: &Edge, stream: Stream, client: IpAddr, refusal: Refusal) {
    let problem = reply::problem_of(refusal);
    let reason = CloseReason::from_problem(&problem);
    let now = Instant::now().into_std();
    let mut session = Session::new(now, edge.settings.session.clone());
    let problem = Some(problem);
    session.handle_input(now, Input::End { problem, reason });
    let mut socket = Tcp::new(stream);
    while let Some(output) = session.poll_output() {
        if let Output::Transmit(frame) = output
            && socket.write(&Framed::message(&frame)).await.is_err()
        {
            return;
        }
    }
    let network = Some(Network::of(client));
    let mut farewell = Farewell::new(&edge.turns, network, edge.settings.linger);
    socket.close(&mut farewell).await;
}

/// An open TCP connection.
#[derive(Debug)]
pub(super) struct Tcp(Duplex);

impl Tcp {
    pub(super) fn new(stream: Stream) -> Self {
        Self(Duplex::new(stream, false))
    }

    /// What stands for both directions.
    pub(super) fn duplex(&self) -> &Duplex {
        &self.0
    }

    /// The way past the driver.
    pub(super) fn wire(&self) -> Option<Arc<dyn Wire>> {
        self.0.wire()
    }

    /// The same with its socket.
    pub(super) fn plain_wire(&self) -> Option<Arc<PlainWire>> {
        self.0.plain_wire()
    }

    /// Takes back what a writer has left.
    pub(super) fn put_back(&mut self, unwritten: Unwritten) {
        self.0.put_back(unwritten);
    }

    /// How many bytes were read since the last call.
    pub(super) fn take_read(&mut self) -> usize {
        self.0.take_read()
    }

    /// Waits for the next octets. Safe to drop and call again.
    pub(super) async fn receive(&mut self) -> Received {
        let read = poll_fn(|context| {
            self.0
                .poll_read(context, |octets| Bytes::copy_from_slice(octets))
        });
        match read.await {
            Err(_) => Received::Gone,
            // 1005: a close that gives no code (RFC 6455 section 7.1.5), as every one here.
            Ok(octets) if octets.is_empty() => Received::Closed(1005),
            Ok(octets) => Received::octets(octets),
        }
    }

    /// Takes one STOMP frame, or one heart-beat. Waits only while the peer does not read.
    pub(super) async fn write(&mut self, frame: &Framed) -> Result<(), Gone> {
        self.0.write(frame.payload()).await
    }

    /// Writes out what was taken.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        self.0.flush().await
    }

    /// Lets the kernel find out whether the peer is still there.
    pub(super) async fn ping(&mut self) -> Result<(), Gone> {
        self.write(&Framed::BEAT).await?;
        self.flush().await
    }

    /// Writes what was taken, then the end; waits for the peer's own end as long as the farewell lasts.
    pub(super) async fn close(&mut self, farewell: &mut Farewell) {
        let linger = farewell.linger;
        let goodbye = async {
            if self.flush().await.is_ok() {
                self.0.read_away(farewell).await;
            }
        };
        if timeout(linger, goodbye).await.is_err() {
            tracing::debug!("a peer did not close in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn the_end_of_the_peer_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let mut socket = Tcp::new(Stream::Plain(accepted.unwrap().0));
        let mut client = client.unwrap();
        client.write_all(b"\n").await.unwrap();
        let received = socket.receive().await;
        assert!(matches!(received, Received::Octets { octets, empty: 1 } if octets == "\n"));
        drop(client);
        assert!(matches!(socket.receive().await, Received::Closed(1005)));
    }
}
