//! Clients that go on sending after the goodbye, on turns that the test gives.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;
use crate::edge::harness::PATIENCE;
use crate::edge::settings::MessageKind;
use crate::edge::socket::Socket;
use crate::edge::stream::Stream;
use crate::edge::tcp::Tcp;
use crate::edge::websocket::{Messages, WebSocket};
use crate::model::CloseReason;

const LINGER: Duration = Duration::from_secs(5);

/// What one read takes at most.
const READ_BYTES: usize = 16 << 10;

/// A binary message of 4,096 bytes.
fn message() -> Vec<u8> {
    let mut message = vec![0x82, 0xfe, 0x10, 0, 0, 0, 0, 0];
    message.resize(8 + 4_096, b'x');
    message
}

async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    (client.unwrap(), Stream::Plain(accepted.unwrap().0))
}

fn tcp(stream: Stream) -> Socket {
    Socket::Tcp(Box::new(Tcp::new(stream)))
}

fn websocket(stream: Stream) -> Socket {
    let socket = WebSocket::new(stream, &[], 64 << 10, MessageKind::Auto, Messages::Pieces);
    Socket::WebSocket(Box::new(socket))
}

/// Turns of a node that has no time for anybody.
fn busy_node() -> Arc<Turns> {
    let turns = Turns::new();
    while turns.may_go_on() {}
    turns
}

fn farewell(turns: &Arc<Turns>) -> Farewell {
    let network = Network::of(IpAddr::from([127, 0, 0, 1]));
    Farewell::new(turns, Some(network), LINGER)
}

/// Sends for as long as the node reads.
async fn flood(mut client: TcpStream) {
    let message = message();
    while client.write_all(&message).await.is_ok() {}
}

/// Gives turns to those who wait for them; how many.
async fn give_turns(turns: &Turns, given: &mut usize) {
    loop {
        *given += usize::from(turns.give_one());
        sleep(Duration::from_millis(1)).await;
    }
}

/// Time is advanced only while nobody can go on.
#[tokio::test(start_paused = true)]
async fn bytes_after_the_goodbye_are_read_in_turns_and_slowly() {
    let kinds: [fn(Stream) -> Socket; 2] = [tcp, websocket];
    for (kind, socket) in kinds.into_iter().enumerate() {
        let (client, stream) = pair().await;
        let (turns, mut socket, mut given) = (busy_node(), socket(stream), 0);
        let mut farewell = farewell(&turns);
        let closed = async {
            tokio::join!(flood(client), async {
                let reason = CloseReason::of(1009, "payload_too_large");
                socket.close(Some(&reason), &mut farewell).await;
                // Closes the socket, so that the flood ends.
                drop(socket);
            });
        };
        tokio::select! {
            () = closed => {}
            () = give_turns(&turns, &mut given) => {}
        }
        let turn = usize::from(TURN_BYTES) + READ_BYTES;
        let pauses = usize::try_from(LINGER.as_millis() / PAUSE.as_millis()).unwrap();
        let dropped = farewell.dropped;
        assert!(dropped > AT_ONCE_BYTES * 4, "{kind}: {dropped} bytes");
        let most = AT_ONCE_BYTES + (pauses + 2) * turn;
        assert!(dropped <= most, "{kind}: {dropped} bytes");
        assert!((dropped / turn - 1..=dropped / usize::from(TURN_BYTES)).contains(&given));
    }
}

#[tokio::test(start_paused = true)]
async fn a_farewell_that_gets_no_turn_ends_when_its_time_is_over() {
    let kinds: [fn(Stream) -> Socket; 2] = [tcp, websocket];
    for socket in kinds {
        let (mut client, stream) = pair().await;
        let (turns, mut socket, began) = (busy_node(), socket(stream), Instant::now());
        client.write_all(&message().repeat(16)).await.unwrap();
        socket.close(None, &mut farewell(&turns)).await;
        assert!(began.elapsed() >= LINGER && began.elapsed() < LINGER * 2);
        assert!(!turns.give_one(), "its place is given up");
    }
}

#[tokio::test]
async fn a_client_that_closes_in_time_needs_no_turn() {
    let (mut client, stream) = pair().await;
    let (turns, mut socket) = (busy_node(), tcp(stream));
    client.write_all(&[b'x'; 20_000]).await.unwrap();
    let mut goodbye = Vec::new();
    let closing = async {
        client.read_to_end(&mut goodbye).await.unwrap();
        drop(client);
    };
    let mut farewell = farewell(&turns);
    let closed = async { tokio::join!(closing, socket.close(None, &mut farewell)) };
    timeout(PATIENCE, closed).await.unwrap();
    assert_eq!(turns.waiting(), 0);
}
