//! When bytes of HTTP are read: in the turns of the client's network.
//!
//! Not here: when a turn comes (`turns`), what is read (`http`, `body`). Invariants: what a silent client sends lies
//! in the kernel until its network has a turn, so that thousands of requests in one moment cost a look at each
//! socket and not a parsed head; after every [`TURN_BYTES`] of one client others are served; a turn that has come is
//! taken whatever the connection does meanwhile, because the next batch waits for that.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;

use super::connection::TURN_BYTES;
use super::peer::{Peer, SocketTurn};
use crate::model::Network;
use crate::turns::{Busy, Place, Turns};

/// The turns of one connection.
#[derive(Debug)]
pub(super) struct ReadTurns {
    turns: Arc<Turns>,
    peer: Arc<Peer>,
    /// Bytes that were read since the last turn.
    read: usize,
    /// Whether the last read found nothing.
    is_silent: bool,
    /// Whether it waits, or has done so and has not read since.
    wait: Wait,
}

#[derive(Debug)]
enum Wait {
    No,
    For(Place),
    Over,
    TooLong,
}

impl ReadTurns {
    /// The turns of this client; none of a trusted proxy, whose client is known once a head is read.
    pub(super) fn of(turns: &Arc<Turns>, peer: &Arc<Peer>) -> Option<Self> {
        (!peer.is_proxy).then(|| Self {
            turns: Arc::clone(turns),
            peer: Arc::clone(peer),
            read: 0,
            is_silent: false,
            wait: Wait::No,
        })
    }

    /// Whether the connection may read now.
    pub(super) fn poll_read(&mut self, socket: &TcpStream, context: &mut Context<'_>) -> Poll<()> {
        if matches!(self.wait, Wait::No) {
            let is_new = self.is_silent && !self.peer.has_turn();
            if is_new {
                // Silence needs no turn. An error is found by the read. TLS holds nothing back either: it was read
                // until it had nothing.
                let _found_by_the_read = ready!(socket.poll_read_ready(context));
            } else if self.read <= usize::from(TURN_BYTES) {
                return Poll::Ready(());
            }
            let network = Network::of(self.peer.address.ip());
            let place = match is_new {
                true => self.turns.request(network),
                false => self.turns.read(network),
            };
            self.peer
                .waits_for_turn
                .store(is_new && place.is_some(), Relaxed);
            self.wait = place.map_or(Wait::Over, Wait::For);
        }
        ready!(self.poll_turn(context));
        if self.is_silent {
            // The request that comes now needs no other turn. One that waited for too long is read, but only to be
            // refused.
            self.peer.note_turn(match self.wait {
                Wait::TooLong => SocketTurn::TooLate,
                Wait::No | Wait::For(_) | Wait::Over => SocketTurn::now(),
            });
        }
        (self.wait, self.read, self.is_silent) = (Wait::No, 0, false);
        self.peer.waits_for_turn.store(false, Relaxed);
        Poll::Ready(())
    }

    /// Takes the turn if it has come. To be called whenever the connection is polled.
    pub(super) fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Wait::For(place) = &mut self.wait {
            self.wait = match ready!(place.poll_turn(context)) {
                Ok(()) => Wait::Over,
                Err(Busy) => Wait::TooLong,
            };
        }
        Poll::Ready(())
    }

    /// Notes what a read has found.
    pub(super) fn note(&mut self, bytes: usize, is_silent: bool) {
        self.read = self.read.saturating_add(bytes);
        self.is_silent = is_silent;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;
    use crate::app::AppSettings;
    use crate::edge::harness::{Node, PATIENCE};
    use crate::edge::paced::Paced;
    use crate::edge::settings::EdgeSettings;
    use crate::session::SessionConfig;

    async fn node() -> Node {
        let settings = EdgeSettings::new(SessionConfig::default());
        Node::start(AppSettings::default(), settings).await
    }

    /// A client whose socket had its turn long ago, and the node's end of it.
    async fn open(node: &Node, is_proxy: bool) -> (TcpStream, Paced, Arc<Peer>) {
        let (client, stream, peer) = node.socket(is_proxy).await;
        peer.note_turn(SocketTurn::No);
        let turns = ReadTurns::of(&node.edge.turns, &peer);
        let stream = Paced::new(stream, Duration::from_secs(10), Some(Arc::clone(&peer)));
        (client, stream.read_in(turns), peer)
    }

    /// The same, and the bytes of a request wait for their turn.
    async fn waiting(node: &Node) -> (TcpStream, Paced, Arc<Peer>) {
        let (mut client, mut stream, peer) = open(node, false).await;
        let mut bytes = [0; 16];
        assert!(stream.read(&mut bytes).now_or_never().is_none());
        client.write_all(b"GET").await.unwrap();
        tokio::select! {
            _ = stream.read(&mut bytes) => panic!("without a turn"),
            () = node.wait_for(1) => {}
        }
        (client, stream, peer)
    }

    #[tokio::test]
    async fn what_a_silent_client_sends_is_read_in_its_turn() {
        let node = node().await;
        let (mut client, mut stream, peer) = open(&node, false).await;
        let mut bytes = [0; 16];
        assert!(stream.read(&mut bytes).now_or_never().is_none());
        assert_eq!(node.edge.turns.waiting(), 0, "silence waits for no turn");
        let reading = async {
            let read = stream.read(&mut bytes).await.unwrap();
            bytes[..read].to_vec()
        };
        let mut reading = std::pin::pin!(reading);
        client.write_all(b"GET").await.unwrap();
        tokio::select! {
            read = &mut reading => panic!("{read:?} without a turn"),
            () = node.wait_for(1) => {}
        }
        assert!(!peer.has_turn());
        node.give_turn().await;
        assert_eq!(timeout(PATIENCE, reading).await.unwrap(), b"GET");
        assert!(peer.take_turn().unwrap(), "its request has the same turn");
    }

    #[tokio::test]
    async fn a_request_that_waits_for_too_long_is_refused_and_not_cut_off() {
        let node = node().await;
        let (_client, mut stream, peer) = waiting(&node).await;
        let mut bytes = [0; 16];
        tokio::time::pause();
        assert_eq!(stream.read(&mut bytes).await.unwrap(), 3);
        assert_eq!(peer.take_turn(), Err(Busy));
        assert_eq!(peer.take_turn(), Ok(false), "the next one waits anew");
    }

    #[tokio::test]
    async fn after_many_bytes_a_client_waits_for_its_next_turn() {
        let node = node().await;
        let (mut client, mut stream, _peer) = open(&node, false).await;
        let writing = tokio_util::task::TaskTracker::new().spawn(async move {
            client.write_all(&[b'x'; 200 << 10]).await.unwrap();
            client
        });
        let mut read = 0;
        let mut bytes = [0; 8 << 10];
        while read < 200 << 10 {
            let more = tokio::select! {
                more = stream.read(&mut bytes) => more.unwrap(),
                () = node.wait_for(1) => {
                    let most = usize::from(TURN_BYTES) + bytes.len();
                    let turns = 1 + read / usize::from(TURN_BYTES);
                    assert!(read <= turns * most, "{read} bytes");
                    node.give_turn().await;
                    continue;
                }
            };
            read += more;
        }
        assert!(node.edge.turns.waiting() == 0 && writing.await.is_ok());
    }

    #[tokio::test]
    async fn a_turn_is_taken_by_a_connection_that_does_not_read() {
        let node = node().await;
        let (_client, mut stream, peer) = waiting(&node).await;
        let mut bytes = [0; 16];
        // The same batch serves another client, and the next batch waits for this connection.
        let network = Network::of([192, 0, 2, 1].into());
        let mut other = node.edge.turns.read(network).unwrap();
        node.give_turns();
        other.turn().await.unwrap();
        let mut next = node.edge.turns.read(network).unwrap();
        stream.flush().await.unwrap();
        assert!(
            timeout(Duration::from_millis(500), next.turn())
                .await
                .is_ok()
        );
        assert!(!peer.has_turn(), "it has not read yet");
        assert_eq!(stream.read(&mut bytes).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_trusted_proxy_is_read_at_once() {
        let node = node().await;
        let (mut client, mut stream, _peer) = open(&node, true).await;
        let mut bytes = [0; 16];
        assert!(stream.read(&mut bytes).now_or_never().is_none());
        client.write_all(b"GET").await.unwrap();
        let read = timeout(PATIENCE, stream.read(&mut bytes)).await;
        assert_eq!(read.unwrap().unwrap(), 3);
    }
}
