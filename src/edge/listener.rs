//! The accept loops: one for HTTP, one for STOMP over TCP when it is wanted.
//!
//! Not here: what comes before a request (`arrival`), what is spoken (`http`, `tcp`). Invariant: an
//! error of `accept` never ends a loop and never spins; every socket has a place, or is told in
//! bounded time that there is none.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Refusal;
use super::arrival::{Lost, behind_proxy, secured};
use super::charges::{End, HTTP_BYTES, SocketCharge, TLS_BYTES};
use super::peer::{Peer, SocketTurn};
use super::proxy_head;
use super::send_buffer::SEND_BUFFER_BYTES;
#[cfg(target_os = "linux")]
use super::send_buffer::UNACKNOWLEDGED_MAX;
use super::settings::ProxyHead;
use super::{Edge, EdgeState, http, routes, tcp};

/// The pause after an error of `accept`, doubled while it goes on.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What the kernel keeps of what a client has sent and is not read, which Linux counts twice. Otherwise it gives
/// a client that has sent fast for a while 6 MiB, and what waits for a turn waits there.
const RECEIVE_BUFFER_BYTES: usize = 32 << 10;

/// How long a refused client has for its request.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the head of the PROXY protocol, if the peer is one that sends it, was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HasHead {
    Unread,
    Read,
}

/// Where clients come in.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP and WebSocket.
    pub http: TcpListener,
    /// STOMP over TCP; not at all without it.
    pub stomp: Option<TcpListener>,
}

/// Serves until `shutdown`. Connections run on the tracker and end by themselves after that, at a
/// bounded pace, WebSockets with 1012: wait for the tracker.
pub async fn serve(
    listeners: Listeners,
    state: Arc<EdgeState>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
) {
    let edge = Arc::new(Edge::new(state, tracker, shutdown));
    let refusals = Arc::new(Semaphore::new(edge.settings.refusals_max));
    let door = |language| Door {
        edge: Arc::clone(&edge),
        language,
        refusals: Arc::clone(&refusals),
    };
    let http = door(Language::Http(routes::router(&edge))).serve(listeners.http);
    let stomp = async {
        if let Some(listener) = listeners.stomp {
            door(Language::Stomp).serve(listener).await;
        }
    };
    edge.tracker.spawn({
        let edge = Arc::clone(&edge);
        async move { edge.drain_at_shutdown().await }
    });
    edge.tracker.spawn({
        let (turns, shutdown) = (Arc::clone(&edge.turns), edge.shutdown.clone());
        async move { turns.give(&shutdown).await }
    });
    futures_util::future::join(http, stomp).await;
}

/// What is spoken at a door.
#[derive(Clone, Debug)]
enum Language {
    Http(Router),
    Stomp,
}

/// A listener and what becomes of those who come to it.
#[derive(Clone, Debug)]
struct Door {
    edge: Arc<Edge>,
    language: Language,
    refusals: Arc<Semaphore>,
}

impl Door {
    async fn serve(self, tcp: TcpListener) {
        let shutdown = self.edge.shutdown.clone();
        let mut pause = PAUSE_MIN;
        loop {
            let accepted = tokio::select! {
                accepted = tcp.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    pause = PAUSE_MIN;
                    self.take(stream, address);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shutdown.cancelled() => return,
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Gives a socket its place and its task, or tells it why there is none.
    fn take(&self, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a socket was gone before it was served");
            return;
        }
        let ip = address.ip().to_canonical();
        let is_proxy = self.edge.trusts(ip);
        let holder = self.edge.holder(ip, is_proxy);
        match self.edge.admit_socket(&holder, self.cost()) {
            Ok((place, charge)) => {
                let peer = Peer {
                    address,
                    is_proxy,
                    is_secure: false,
                    turn: Mutex::default(),
                    waits_for_turn: AtomicBool::new(false),
                    place: Mutex::new(Some(place)),
                    charge: Arc::clone(&charge),
                };
                let task = self.edge.tracker.spawn(self.clone().open(stream, peer));
                charge.ends_by(End::Task(task.abort_handle()));
            }
            Err(refusal) => self.refuse((stream, HasHead::Unread), ip, refusal),
        }
    }

    /// What a socket of this door costs beyond the base.
    fn cost(&self) -> u64 {
        let tls = match &self.edge.certificates {
            Some(_) => TLS_BYTES,
            None => 0,
        };
        match self.language {
            Language::Http(_) => HTTP_BYTES + tls,
            Language::Stomp => tls,
        }
    }

    /// From the accepted socket to the first request.
    async fn open(self, mut stream: TcpStream, peer: Peer) {
        let cost = self.cost();
        let address = peer.address.ip();
        // Boxed: the task of a request needs no room for what came before it.
        let mut peer = match Box::pin(behind_proxy(&self.edge, &mut stream, peer, cost)).await {
            Ok(peer) => peer,
            Err(Lost::Silently) => return,
            Err(Lost::Refused(refusal)) => {
                return self.refuse((stream, HasHead::Read), address, refusal);
            }
        };
        // Of a proxy the client is known later, at its request.
        if !peer.is_proxy {
            if let Err(busy) = self.edge.turns.arrive(peer.address.ip()).await {
                let refusal = self.edge.no_turn(busy);
                return self.refuse((stream, HasHead::Read), peer.address.ip(), refusal);
            }
            peer.turn = Mutex::new(SocketTurn::now());
        }
        let Ok(stream) = Box::pin(secured(&self.edge, stream)).await else {
            return;
        };
        let is_secure = stream.is_secure();
        let peer = Arc::new(Peer { is_secure, ..peer });
        match self.language {
            Language::Http(router) => http::serve(self.edge, router, stream, peer).await,
            // A task of its own: this one has room for HTTP, and these live for long.
            Language::Stomp => {
                let edge = Arc::clone(&self.edge);
                self.edge.tracker.spawn(tcp::serve(edge, stream, peer));
            }
        }
    }

    /// Tells a client why it does not come in, unless too many are being told.
    fn refuse(&self, stream: (TcpStream, HasHead), client: IpAddr, refusal: Refusal) {
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        if let Some(charge) = self.afford_refusal(client) {
            let told = self.clone().tell(stream, client, refusal, (permit, charge));
            self.edge.tracker.spawn(told);
        }
    }

    /// What a refusal costs. In the clear that is little, and bounded by `refusals_max`. Under TLS it is a
    /// handshake: that needs a turn for which no client waits, and free memory in the share of the client. No
    /// other client loses anything for it. Without them, the socket is closed before the handshake.
    fn afford_refusal(&self, client: IpAddr) -> Option<Option<Arc<SocketCharge>>> {
        if self.edge.certificates.is_none() {
            return Some(None);
        }
        if !self.edge.turns.may_go_on() {
            return None;
        }
        let (memory, holder) = (self.edge.app.memory(), self.edge.stranger(client));
        let charge = SocketCharge::take_of_free(memory, &holder, self.cost());
        charge.ok().map(Some)
    }

    async fn tell(
        self,
        (mut stream, head): (TcpStream, HasHead),
        client: IpAddr,
        refusal: Refusal,
        _held: (OwnedSemaphorePermit, Option<Arc<SocketCharge>>),
    ) {
        let told = async {
            // What follows is no language that is spoken here before the head of a proxy has been taken off.
            let expects_head = self.edge.settings.proxy_head != ProxyHead::Off
                && head == HasHead::Unread
                && self.edge.trusts(client);
            if expects_head && proxy_head::read(&mut stream).await.is_err() {
                return;
            }
            let Ok(stream) = secured(&self.edge, stream).await else {
                return;
            };
            match self.language {
                Language::Http(_) => {
                    let turns = &self.edge.turns;
                    http::refuse(turns, stream, client, refusal, REFUSAL_TIMEOUT).await;
                }
                Language::Stomp => tcp::refuse(&self.edge, stream, client, refusal).await,
            }
        };
        if tokio::time::timeout(REFUSAL_TIMEOUT, told).await.is_err() {
            tracing::debug!("a refused client did not listen");
        }
    }
}

/// Whether the error is of the connection that was to be accepted, not of the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Socket options: see the constants for why.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn what_a_client_sends_unread_stays_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (mut client, mut socket) = (client.unwrap(), accepted.unwrap().0);
        tune(&socket).unwrap();
        // What is read fast makes the kernel generous, unless it was told a size.
        let mut bytes = vec![0; 64 << 10];
        for _ in 0..200 {
            let sent = bytes.clone();
            let (sent, read) = tokio::join!(client.write_all(&sent), socket.read_exact(&mut bytes));
            assert!(sent.is_ok() && read.is_ok());
        }
        SockRef::from(&client)
            .set_send_buffer_size(4 << 10)
            .unwrap();
        let (mut unread, mut quiet) = (0, 0);
        while quiet < 20 {
            match client.try_write(&bytes[..1_000]) {
                Ok(more) => (unread, quiet) = (unread + more, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    quiet += 1;
                    sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let most = 2 * RECEIVE_BUFFER_BYTES + (32 << 10);
        assert!(unread <= most, "{unread} bytes are unread");
    }
}
