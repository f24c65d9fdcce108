//! What a connection keeps while its requests are not settled.

use std::pin::pin;
use std::sync::Arc;

use futures_util::poll;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;

use super::super::{Connection, Happened, Opened, UNSETTLED_MAX};
use crate::app::AppSettings;
use crate::edge::charges::TLS_BYTES;
use crate::edge::harness::Node;
use crate::edge::peer::Peer;
use crate::edge::scratch::READ_BYTES;
use crate::edge::settings::EdgeSettings;
use crate::edge::settling::Settling;
use crate::edge::socket::{Received, Socket};
use crate::edge::tcp::Tcp;
use crate::identity::Handshake;
use crate::session::{Reply, SessionConfig, Ticket};

/// How often something is looked at that must not happen.
const LOOKS: usize = 100;

/// A SEND whose outcome is told by the test.
fn unsettled(connection: &mut Connection, number: u64) -> oneshot::Sender<()> {
    let (settle, told) = oneshot::channel::<()>();
    let pending = Box::pin(async move {
        let _told = told.await;
        Ok(Reply::default())
    });
    connection.sends += 1;
    let all = connection.unsettled.get_or_insert_default();
    all.push(Settling {
        ticket: Ticket(u64::MAX - number),
        is_send: true,
        bytes: 0,
        pending,
    });
    settle
}

#[tokio::test]
async fn behind_64_unsettled_sends_one_read_waits_and_is_counted() {
    let settings = EdgeSettings::new(SessionConfig::default());
    let node = Node::start(AppSettings::default(), settings).await;
    let (mut client, accepted, peer) = node.socket(false).await;
    let address = peer.address.ip();
    let opened = Opened {
        handshake: Handshake::without_page(address),
        subprotocol: None,
        permits: node.edge.admit(&peer, address).unwrap(),
    };
    let socket = Socket::Tcp(Box::new(Tcp::new(accepted)));
    let mut connection = Connection::new(Arc::clone(&node.edge), socket, opened);
    let connect = b"CONNECT\naccept-version:1.2\n\n\0";
    client.write_all(connect).await.unwrap();
    let happened = connection.next().await;
    let (connected, ()) = tokio::join!(connection.react(happened), node.give_turn());
    assert!(connected.is_ok() && connection.attached.live().is_some());
    let memory = Arc::clone(node.edge.app.memory());
    let before = memory.used();

    let mut settle: Vec<_> = (0..u64::from(UNSETTLED_MAX))
        .map(|number| unsettled(&mut connection, number))
        .collect();
    // A frame of three pieces and a half, and many small ones.
    let long = format!("SEND\ndestination:/topic/a\n\n{}\0", "x".repeat(14_000));
    let small = format!("SEND\ndestination:/topic/a\n\n{}\0", "y".repeat(500)).repeat(50);
    let frames = format!("{long}{small}");
    assert!(frames.len() > 2 * READ_BYTES);
    client.write_all(frames.as_bytes()).await.unwrap();
    {
        let mut next = pin!(connection.next());
        for _ in 0..LOOKS {
            assert!(poll!(&mut next).is_pending(), "nothing is read");
            tokio::task::yield_now().await;
        }
    }

    settle.remove(0).send(()).unwrap();
    let settled = connection.next().await;
    assert!(matches!(settled, Happened::Settled(_)));
    assert!(connection.react(settled).await.is_ok());
    let received = connection.next().await;
    let Happened::Received(Received::Octets { octets, .. }) = &received else {
        panic!("nothing is read behind 63 SENDs");
    };
    assert_eq!(octets.len(), READ_BYTES);
    // As many as before are not settled, so the first frame that was read waits, and the rest behind it.
    settle.push(unsettled(&mut connection, u64::from(UNSETTLED_MAX)));
    {
        let mut reacting = pin!(connection.react(received));
        for _ in 0..LOOKS {
            assert!(poll!(&mut reacting).is_pending(), "the SEND waits");
            tokio::task::yield_now().await;
        }
        // But for what the base of a socket covers.
        let covered = memory.used() - before;
        let read = READ_BYTES as u64;
        assert!(
            (read - super::BASE_BYTES as u64..=2 * read).contains(&covered),
            "{covered}"
        );
        drop(settle);
        assert!(reacting.await.is_ok());
    }
    while connection.unsettled.is_some() {
        let happened = connection.next().await;
        assert!(connection.react(happened).await.is_ok());
    }
    drop(connection);
    assert!(memory.used() <= before, "what was covered is given back");
}

#[tokio::test]
async fn a_client_behind_a_proxy_is_charged_for_the_tls_of_its_socket() {
    let settings = EdgeSettings::new(SessionConfig::default());
    let node = Node::start(AppSettings::default(), settings).await;
    let memory = Arc::clone(node.edge.app.memory());
    for (is_secure, expected) in [(false, 0), (true, TLS_BYTES)] {
        let (_client, _stream, peer) = node.socket(true).await;
        let peer = Peer {
            is_secure,
            ..Arc::into_inner(peer).unwrap()
        };
        let before = memory.used();
        // What the proxy was charged for its socket is given back.
        let places = node.edge.admit(&Arc::new(peer), [192, 0, 2, 7].into());
        assert!(places.is_ok());
        assert_eq!(memory.used() - before, expected, "{is_secure}");
    }
}
