//! A TCP proxy in this process that can fail in the ways in which networks do.
//!
//! Invariant: no octet is ever lost or changed between two ends that both live; a black hole holds
//! them back, as a network that drops packets does until it heals.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ports;

/// What the network does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// It carries octets.
    Pass,
    /// It carries nothing and says nothing. New connections seem to open.
    Blackhole,
    /// Nobody listens, and what was open is closed.
    Refuse,
}

/// A proxy in front of one server.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    /// Cancelled and replaced to close what is open.
    open: watch::Sender<CancellationToken>,
    latency_ms: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    all: CancellationToken,
}

impl Proxy {
    /// Begins to listen on a free port of loopback and passes on to this port.
    pub(crate) async fn to(server_port: u16) -> Self {
        let all = CancellationToken::new();
        let proxy = Self {
            port: ports::free(),
            network: watch::Sender::new(Network::Pass),
            open: watch::Sender::new(all.child_token()),
            latency_ms: Arc::default(),
            accepted: Arc::default(),
            all,
        };
        let listening = Listening {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port)),
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, server_port)),
            network: proxy.network.subscribe(),
            open: proxy.open.subscribe(),
            latency_ms: Arc::clone(&proxy.latency_ms),
            accepted: Arc::clone(&proxy.accepted),
            tracker: TaskTracker::new(),
        };
        let listener = TcpListener::bind(listening.address).await.unwrap();
        let all = proxy.all.clone();
        let tracker = listening.tracker.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = all.cancelled() => {}
                () = listening.run(listener) => {}
            }
        });
        proxy
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections have come so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Changes the network. [`Network::Refuse`] also closes what is open.
    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
        if network == Network::Refuse {
            self.close_all();
        }
    }

    /// Closes every open connection; new ones are as the network is.
    pub(crate) fn close_all(&self) {
        let before = self.open.send_replace(self.all.child_token());
        before.cancel();
    }

    /// Every portion of octets takes this much longer, in each direction.
    pub(crate) fn set_latency(&self, latency: Duration) {
        let millis = u64::try_from(latency.as_millis()).unwrap();
        self.latency_ms.store(millis, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.all.cancel();
    }
}

/// The task behind a proxy.
struct Listening {
    address: SocketAddr,
    server: SocketAddr,
    network: watch::Receiver<Network>,
    open: watch::Receiver<CancellationToken>,
    latency_ms: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    tracker: TaskTracker,
}

impl Listening {
    async fn run(mut self, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            if *self.network.borrow_and_update() == Network::Refuse {
                drop(listener.take());
                let _ = self.network.changed().await;
                continue;
            }
            if listener.is_none() {
                listener = Some(TcpListener::bind(self.address).await.unwrap());
            }
            let accepting = listener.as_ref().expect("it was bound just now").accept();
            tokio::select! {
                _ = self.network.changed() => {}
                accepted = accepting => self.connect(accepted.unwrap().0),
            }
        }
    }

    fn connect(&self, client: TcpStream) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let closed = self.open.borrow().clone();
        let server = self.server;
        let mut network = self.network.clone();
        let latency_ms = Arc::clone(&self.latency_ms);
        self.tracker.spawn(async move {
            let carrying = async {
                wait_for_passage(&mut network).await;
                let Ok(server) = TcpStream::connect(server).await else {
                    return;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                // One direction that ends takes the other with it, as with most protocols.
                tokio::select! {
                    () = carry(client_in, server_out, network.clone(), &latency_ms) => {}
                    () = carry(server_in, client_out, network.clone(), &latency_ms) => {}
                }
            };
            tokio::select! {
                () = closed.cancelled() => {}
                () = carrying => {}
            }
        });
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    latency_ms: &AtomicU64,
) {
    let mut portion = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut portion).await {
        wait_for_passage(&mut network).await;
        let latency_ms = latency_ms.load(Ordering::Relaxed);
        if latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        }
        if to.write_all(&portion[..count]).await.is_err() {
            return;
        }
    }
    // The end of a stream does not pass a black hole either.
    wait_for_passage(&mut network).await;
}

async fn wait_for_passage(network: &mut watch::Receiver<Network>) {
    let passing = network.wait_for(|&network| network == Network::Pass);
    // Without a proxy there is nothing to wait for; its connections are being closed.
    let _ = passing.await;
}
