//! Clients that are too slow, too fast, too many or silent: each is ended in bounded time, with a
//! reason, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::support::bystanders::{Bystanders, metric, metric_becomes};
use crate::support::client::{Client, Ending, Opening, Received};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;

mod limits;

/// The high limits, but for these.
async fn node(settings: &[(&'static str, &'static str)]) -> Node {
    let mut environment = HIGH_LIMITS.to_vec();
    environment.retain(|(name, _)| settings.iter().all(|(other, _)| other != name));
    environment.extend(settings);
    Node::start("node", &environment).await
}

fn assert_ended(what: &str, ending: &Ending, message: &str, code: u16, reason: &str) {
    let error = ending
        .error
        .as_ref()
        .map_or("", |frame| frame.header("message"));
    let found = (error, ending.code, ending.reason.as_str());
    assert_eq!(found, (message, code, reason), "{what}: {ending:?}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_closed() {
    let node = node(&[]).await;
    let address = node.address();
    let mut bystanders = Bystanders::on(&node).await;
    let silent = tokio::join!(
        closed_after(address, ""),
        closed_after(address, "GET /ws-chat HTTP/1.1\r\nHost: x\r\n"),
        async {
            for second in 0..8 {
                sleep(Duration::from_secs(1)).await;
                bystanders.talk(&format!("second {second}")).await;
            }
        },
    );
    for took in [silent.0, silent.1] {
        assert!(took < Duration::from_secs(25), "closed only after {took:?}");
    }
    bystanders.talk("both were closed").await;
}

/// How long the server bears a connection on which this comes, one octet in 200 ms at the end.
async fn closed_after(address: SocketAddr, beginning: &str) -> Duration {
    let began = Instant::now();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(beginning.as_bytes()).await.unwrap();
    let drip = async {
        // Slowly, but all the time: what counts is the end of the head, not the last octet.
        while !beginning.is_empty() && writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let ended = async {
        // A reset is an end as well.
        let _ = reader.read_to_end(&mut answer).await;
    };
    let within = timeout(Duration::from_secs(60), async {
        tokio::select! {
            () = drip => {}
            () = ended => {}
        }
    });
    assert!(within.await.is_ok(), "a handshake went on for a minute");
    began.elapsed()
}

#[tokio::test]
async fn a_client_that_does_not_connect_is_told_so() {
    let node = node(&[("CONNECT_TIMEOUT", "500ms")]).await;
    for beginning in ["", "\n\n\n", "CONNECT\naccept-version:1.2\n"] {
        let mut client = Client::open(node.address()).await;
        client.send(beginning).await;
        let ending = client.end().await;
        assert_ended(beginning, &ending, "Connect timeout", 1002, "bad_request");
    }
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_not_waited_for() {
    let node = node(&[("PARTIAL_FRAME_TIMEOUT", "500ms")]).await;
    let mut bystanders = Bystanders::on(&node).await;
    for part in [
        "SEND\ndestination:/topic/x\n\na body without NUL",
        "SEND\ndestination:/topic/x\ncontent-length:100\n\nnot a hundred",
        "SEND\ndestination:/topic/x\n",
        "S",
    ] {
        let mut client = Client::connect(node.address()).await;
        client.send(part).await;
        let ending = client.end().await;
        assert_ended(part, &ending, "Frame timeout", 1002, "bad_request");
        bystanders.talk(part).await;
    }
}

#[tokio::test]
async fn a_client_that_breaks_its_promise_to_beat_is_cut() {
    let node = node(&[("HEART_BEAT", "100,100")]).await;
    let mut client = Client::open(node.address()).await;
    client
        .send("CONNECT\naccept-version:1.2\nheart-beat:100,0\n\n\0")
        .await;
    assert_eq!(client.frame().await.command, "CONNECTED");
    assert_ended(
        "no beats",
        &client.end().await,
        "Heart-beat lost",
        4408,
        "heart_beat_lost",
    );
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_and_costs_no_memory() {
    let node = node(&[("OUTBOX_STALL", "1s"), ("OUTBOX_BYTES", "64KiB")]).await;
    let address = node.address();
    let mut bystanders = Bystanders::on(&node).await;
    let mut writer = Client::connect(address).await;
    let mut reader = Client::connect(address).await;
    let opening = Opening {
        receive_buffer: Some(4_096),
        ..Opening::default()
    };
    let mut sleeper = Client::connect_with(address, &opening, "new").await;
    for client in [&mut reader, &mut sleeper] {
        client.subscribe("/topic/flood").await;
    }
    let before = resident_kib(&node);
    let body = "x".repeat(32 << 10);
    let mut most = 0;
    for number in 0..600 {
        let receipt = writer.publish("/topic/flood", &body).await;
        assert_eq!(writer.frame().await.receipt(), receipt);
        assert_eq!(
            reader.frame().await.body.len(),
            body.len(),
            "the one that reads has all"
        );
        if number % 50 == 0 {
            bystanders.talk(&format!("flood {number}")).await;
            most = most.max(resident_kib(&node));
        }
    }
    // 600 times 32 KiB went through; the outbox of the sleeper holds 64 KiB, and until it is known to read nothing 2 MiB.
    assert!(
        most < before + 12 * 1024,
        "memory went from {before} to {most} KiB"
    );
    let began = Instant::now();
    while metric(&node, "ws_close_total{code=\"4490\"}").await < 1.0 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the sleeper was not cut"
        );
        sleep(Duration::from_millis(50)).await;
    }
    // It wakes up and finds what the kernel held, then the reason.
    let ending = sleeper.end().await;
    assert_eq!(
        (ending.code, ending.reason.as_str()),
        (4490, "slow_consumer"),
        "{ending:?}"
    );
    bystanders.talk("the sleeper was cut").await;
}

#[tokio::test]
async fn a_client_that_asks_and_never_listens_is_not_read_any_more_and_cut() {
    let node = node(&[("OUTBOX_STALL", "1s")]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let opening = Opening {
        receive_buffer: Some(4_096),
        ..Opening::default()
    };
    let mut deaf = Client::connect_with(node.address(), &opening, "new").await;
    let before = resident_kib(&node);
    let send = "SEND\ndestination:/topic/x\nreceipt:a-rather-long-name-for-a-receipt\n\nx\0";
    let hundred = send.repeat(100);
    let talking = async {
        // The kernel holds some of it; then the server does not read any more.
        while deaf.try_send(&hundred, Duration::from_secs(3)).await {}
    };
    assert!(
        timeout(Duration::from_secs(60), talking).await.is_ok(),
        "it is read for ever"
    );
    let after = resident_kib(&node);
    assert!(
        after < before + 12 * 1024,
        "memory went from {before} to {after} KiB"
    );
    let began = Instant::now();
    while metric(&node, "ws_close_total{code=\"4490\"}").await < 1.0 {
        assert!(began.elapsed() < Duration::from_secs(20), "it was not cut");
        sleep(Duration::from_millis(50)).await;
    }
    bystanders.talk("somebody did not listen").await;
}

/// The resident memory of a node.
fn resident_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[tokio::test]
async fn a_line_that_is_cut_takes_its_session_with_it() {
    let node = node(&[]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let connections = "chat_connections_active{transport=\"websocket\",kind=\"anonymous\"}";
    metric_becomes(&node, connections, 2.0).await;
    let clients = futures_util::future::join_all((0..20).map(|_| Client::connect(node.address())));
    drop(clients.await);
    metric_becomes(&node, connections, 2.0).await;
    bystanders.talk("twenty lines were cut").await;
    let mut client = Client::connect(node.address()).await;
    client.send("DISCONNECT\n\n\0").await;
    assert!(matches!(client.next().await, Received::Closed(1000, _)));
}

#[tokio::test]
async fn a_refused_request_with_a_long_body_gets_its_answer() {
    let node = node(&[]).await;
    for (path, expected) in [
        ("/nothing/here", "404"),
        ("/api/v1/auth/login", "413"),
        ("/ws-chat/000/nobody/xhr_send", "404"),
    ] {
        for number in 0..10 {
            let mut stream = TcpStream::connect(node.address()).await.unwrap();
            let length = 600_000;
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'x'; length]).await.unwrap();
            let mut status = [0; 12];
            let reading = timeout(Duration::from_secs(20), stream.read_exact(&mut status));
            reading.await.unwrap().unwrap();
            assert_eq!(&status[9..], expected.as_bytes(), "{path}, {number}");
        }
    }
}
