//! Readers of answers over real sockets: the buffers of the kernel are part of what is tested.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::budget::{Claimant, Eviction, MemorySettings};
use crate::edge::charges::{HTTP_BYTES, SocketCharge};
use crate::edge::send_buffer::SEND_BUFFER_BYTES;
use crate::model::Network;

/// A stream with the buffer of an accepted socket, and its client with a receive buffer of this size.
async fn pair(
    stall: Duration,
    receive_bytes: Option<u32>,
    peer: Option<Arc<Peer>>,
) -> (Paced, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = receive_bytes {
        client.set_recv_buffer_size(bytes).unwrap();
    }
    let client = client.connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let accepted = accepted.unwrap().0;
    SockRef::from(&accepted)
        .set_send_buffer_size(SEND_BUFFER_BYTES)
        .unwrap();
    let stream = Stream::Plain(accepted);
    (Paced::new(stream, stall, peer), client.unwrap())
}

async fn write_all(paced: &mut Paced, bytes: usize) -> Result<()> {
    for _ in 0..bytes / (64 << 10) {
        paced.write_all(&[b'x'; 64 << 10]).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_ends_the_stream() {
    let (mut paced, _client) = pair(Duration::from_secs(10), None, None).await;
    let began = Instant::now();
    let error = write_all(&mut paced, 8 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        began.elapsed() <= Duration::from_secs(80),
        "{:?}",
        began.elapsed()
    );
}

/// With a tenth of the time for everything: one silence is 400 ms, and the reader takes 1 KiB in 100 ms. Time
/// cannot be advanced here, because the kernel has timers of its own.
#[tokio::test]
async fn a_reader_that_is_slow_is_not_cut_and_one_that_reads_nothing_is() {
    const STALL: Duration = Duration::from_millis(400);
    let (mut paced, mut client) = pair(STALL, Some(4 << 10), None).await;
    let reading = async {
        let mut bytes = [0; 1 << 10];
        for _ in 0..50 {
            sleep(Duration::from_millis(100)).await;
            client.read_exact(&mut bytes).await.unwrap();
        }
    };
    tokio::select! {
        written = write_all(&mut paced, 8 << 20) => panic!("{written:?}"),
        () = reading => {}
    }
    let stopped = Instant::now();
    let error = write_all(&mut paced, 8 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(stopped.elapsed() < STALL * 10, "{:?}", stopped.elapsed());
    drop(client);
}

async fn read_whole(mut paced: Paced, mut client: TcpStream) -> (usize, Paced) {
    const BYTES: usize = 8 << 20;
    let writing = async {
        write_all(&mut paced, BYTES).await.unwrap();
        paced.shutdown().await.unwrap();
    };
    let reading = async {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        bytes.len()
    };
    let ((), bytes) = tokio::join!(writing, reading);
    assert_eq!(bytes, BYTES);
    (bytes, paced)
}

#[tokio::test]
async fn a_reader_that_goes_on_gets_everything() {
    let (paced, client) = pair(Duration::from_secs(10), None, None).await;
    read_whole(paced, client).await;
}

#[tokio::test]
async fn an_answer_goes_on_with_less_buffer_when_its_charge_is_refused() {
    let base = Memory::BASE_BYTES + HTTP_BYTES;
    let memory = Memory::new(MemorySettings {
        bytes_max: base + STEP_BYTES + 1,
    });
    let peer = peer_with(&memory);
    let (paced, client) = pair(Duration::from_secs(10), None, Some(peer)).await;
    let (_, paced) = read_whole(paced, client).await;
    assert_eq!(paced.socket.buffer.narrowness(), Narrowness::Minimal);
    assert!(memory.used() <= base + STEP_BYTES);
    drop(paced);
    assert_eq!(memory.used(), 0);
}

/// A peer with an account of so many bytes, in which the shares are not in the way.
fn peer_with(memory: &Memory) -> Arc<Peer> {
    let mut claimant = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
    claimant.multiple = 1_000;
    claimant.kind = crate::model::Kind::Member;
    Arc::new(Peer {
        address: ([192, 0, 2, 1], 1).into(),
        is_proxy: false,
        is_secure: false,
        turn: Mutex::default(),
        waits_for_turn: AtomicBool::new(false),
        place: Mutex::new(None),
        charge: SocketCharge::take(Eviction::Allowed, memory, &claimant, HTTP_BYTES).unwrap(),
    })
}

#[tokio::test]
async fn a_client_that_asks_on_and_takes_nothing_pays_for_what_the_kernel_holds() {
    const FILE_BYTES: usize = 3 << 10;
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 30 });
    let peer = peer_with(&memory);
    let (mut paced, mut client) = pair(Duration::from_secs(10), Some(4 << 10), Some(peer)).await;
    let base = memory.used();
    let mut written = 0;
    let asking = async {
        for _ in 0..16 {
            client.write_all(b"GET").await.unwrap();
            paced.read_exact(&mut [0; 3]).await.unwrap();
            paced.write_all(&[b'x'; FILE_BYTES]).await.unwrap();
            written += FILE_BYTES;
        }
    };
    let asked = tokio::time::timeout(Duration::from_millis(500), asking).await;
    assert!(asked.is_err(), "{written} bytes were written for nothing");
    assert_eq!(memory.used(), base + KERNEL_BYTES);
    // The same client takes everything and asks again.
    let mut bytes = vec![0; written];
    client.read_exact(&mut bytes).await.unwrap();
    let again = async {
        paced.flush().await.unwrap();
        client.write_all(b"GET").await.unwrap();
        paced.read_exact(&mut [0; 3]).await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .unwrap();
    assert_eq!(memory.used(), base);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_is_left_with_the_time_after_which_the_kernel_gives_it_up() {
    use crate::edge::send_buffer::UNACKNOWLEDGED_MAX;
    let (mut paced, mut client) = pair(Duration::from_secs(10), None, None).await;
    let stream = paced.socket.stream.as_ref().unwrap();
    let socket = SockRef::from(stream.socket()).try_clone().unwrap();
    let mut bytes = vec![0; 1 << 20];
    let (written, read) = tokio::join!(
        write_all(&mut paced, 1 << 20),
        client.read_exact(&mut bytes)
    );
    written.unwrap();
    read.unwrap();
    assert_eq!(socket.tcp_user_timeout().unwrap(), None, "while it answers");
    client.write_all(b"GET").await.unwrap();
    paced.read_exact(&mut [0; 3]).await.unwrap();
    let given_up = Some(UNACKNOWLEDGED_MAX);
    assert_eq!(
        socket.tcp_user_timeout().unwrap(),
        given_up,
        "between answers"
    );
    let mut bytes = vec![0; 1 << 20];
    let (written, read) = tokio::join!(
        write_all(&mut paced, 1 << 20),
        client.read_exact(&mut bytes)
    );
    written.unwrap();
    read.unwrap();
    drop(paced);
    assert_eq!(
        socket.tcp_user_timeout().unwrap(),
        given_up,
        "after its end"
    );
}

#[test]
fn written_bytes_are_charged_in_steps_up_to_what_the_kernel_holds() {
    let steps = [0, 4 << 10, 5 << 10, 17 << 10, 1 << 20].map(charge_for);
    assert_eq!(steps, [0, 0, 16 << 10, 32 << 10, KERNEL_BYTES]);
}

#[test]
fn slices_are_cut_at_the_room_there_is() {
    let slices = [&b"head"[..], b"", b"body", b"rest"].map(IoSlice::new);
    let cut = |room| {
        let cut = first_bytes(&slices, room);
        cut.iter()
            .flat_map(|slice| slice.to_vec())
            .collect::<Vec<u8>>()
    };
    assert_eq!(cut(6), b"headbo");
    assert_eq!(cut(4), b"head");
    assert_eq!(cut(100), b"headbodyrest");
}
