//! `stompbox bench` as people run it: against a real node, against nobody, and against a server that
//! loses, doubles and mixes up what it was given.

use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::support::node::{Node, signal};

/// Everything here is told to be done within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Limits that a load generator on one address does not meet.
const OPEN: [(&str, &str); 6] = [
    ("VISITORS_PER_NETWORK", "1000000"),
    ("RATE_ANON_PER_MIN", "1000000"),
    ("RATE_BURST", "1000000"),
    ("RATE_NET_PER_MIN", "10000000"),
    ("RATE_NET_BURST", "10000000"),
    (
        "DESTINATION_RULES",
        "all /topic/** anyone; send /user/*/queue/bench anyone; send /user/** member",
    ),
];

/// Runs `stompbox bench` with these words; they are split at spaces.
async fn bench(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
    command
        .arg("bench")
        .args(words.split(' '))
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    timeout(PATIENCE, command.output())
        .await
        .expect("it does not end")
        .unwrap()
}

/// The same with JSON; returns its figures.
async fn figures(words: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let (json, svg) = (
        folder.path().join("out.json"),
        folder.path().join("out.svg"),
    );
    let words = format!("{words} --json {} --svg {}", json.display(), svg.display());
    let output = bench(&words).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {said}");
    let whole: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(whole["verdict"], "clean");
    assert!(std::fs::read_to_string(svg).unwrap().contains("<svg"));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.starts_with("figure"), "{table}");
    whole["figures"].clone()
}

#[tokio::test]
async fn every_scenario_runs_against_a_node_and_finds_nothing_wrong() {
    let node = Node::start("node", &OPEN).await;
    let at = format!("--url {} --pid {}", node.websocket(), node.pid());
    let brief = format!("{at} --duration 300ms --warm-up 100ms");
    let check = |scenario: String, expected: &'static [(&'static str, u64)]| async move {
        let figures = figures(&scenario).await;
        for (name, least) in expected {
            let found = figures[name].as_f64().unwrap_or(-1.0);
            assert!(found >= *least as f64, "{scenario}: {name} is {found}");
        }
        for fault in ["lost", "duplicated", "reordered", "astray", "unreceipted"] {
            assert_eq!(
                figures[fault].as_u64().unwrap_or(0),
                0,
                "{scenario}: {fault}"
            );
        }
        figures
    };
    let fan_out = format!("fanout {brief} --clients 20 --slow-consumers 1");
    let found = check(fan_out, &[("messages", 100), ("deliveries", 2_000)]).await;
    assert!(found["cpu_us_per_delivery"].as_f64().unwrap() > 0.0);
    assert!(found["latency"]["p99_ms"].as_f64().unwrap() > 0.0);
    check(
        format!("fanout {brief} --clients 20 --rate 100"),
        &[("messages", 30)],
    )
    .await;
    check(
        format!("rooms {brief} --rooms 4 --members 5"),
        &[("deliveries", 100)],
    )
    .await;
    check(
        format!("direct {brief} --clients 10"),
        &[("deliveries", 100)],
    )
    .await;
    check(
        format!("direct {brief} --clients 10 --rate 200"),
        &[("messages", 60)],
    )
    .await;
    let stored = check(format!("stored {brief} --clients 8"), &[("messages", 8)]).await;
    assert_eq!(stored["receipt"]["count"], stored["messages"]);
    let devices = format!("stored {brief} --clients 8 --devices 2 --messages 20");
    let devices = check(devices, &[("deliveries", 80)]).await;
    assert_eq!(devices["messages"], 20);
    check(format!("churn {brief} --clients 4"), &[("arrivals", 8)]).await;
    let back = check(format!("reconnect {at} --clients 30"), &[("clients", 30)]).await;
    assert_eq!(back["strangers"], 0);
}

#[tokio::test]
async fn idle_connections_are_counted_in_steps() {
    let node = Node::start("node", &OPEN).await;
    let words = format!(
        "idle --url {} --pid {} --steps 20,60 --after-bytes 30000 --duration 200ms",
        node.websocket(),
        node.pid()
    );
    let figures = figures(&words).await;
    let steps = figures["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[1]["connections"], 60);
    assert!(steps[1]["rss_kib"].as_u64().unwrap() > 1_000);
    assert!(figures["kib_after_bytes"].is_number());
}

#[tokio::test]
async fn a_dead_url_an_impossible_order_and_a_refusal_are_told_apart() {
    let node = Node::start("node", &[("VISITORS_PER_NETWORK", "3")]).await;
    let check = |words: String, code: i32, expected: &'static [&'static str]| async move {
        let output = bench(&words).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {said}");
        for expected in expected {
            assert!(said.contains(expected), "{words}: {said}");
        }
    };
    let dead = "fanout --url ws://127.0.0.1:9/ws-chat".to_owned();
    check(dead, 1, &["nobody listens at ws://127.0.0.1:9", "stompbox"]).await;
    check("stored --clients 3".to_owned(), 2, &["multiple of 2"]).await;
    check("fanout --url nonsense".to_owned(), 2, &["no URL"]).await;
    check("fanout --heart-beat 5".to_owned(), 2, &["two numbers"]).await;
    let refused = format!("fanout --clients 10 --url {}", node.websocket());
    check(refused, 1, &["ERROR", "try_later", "docs/bench.md"]).await;
    let wrong_path = format!("fanout --clients 1 --url {}", node.url("/nothing"));
    check(wrong_path, 1, &["refuses", "404"]).await;
}

#[tokio::test]
async fn ctrl_c_ends_it_with_what_was_measured_so_far() {
    let node = Node::start("node", &OPEN).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
    let words = format!(
        "bench fanout --clients 5 --warm-up 0s --duration 10m --url {}",
        node.websocket()
    );
    command
        .args(words.split(' '))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let running = command.spawn().unwrap();
    let pid = running.id().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    signal(pid, "INT");
    let output = timeout(PATIENCE, running.wait_with_output()).await;
    let output = output.expect("it does not end").unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}");
    assert!(table.contains("deliveries/s"), "{table}");
}

#[tokio::test]
async fn what_a_server_loses_doubles_or_mixes_up_is_found() {
    let check = |lie: Lie, expected: &'static str| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let serving = serve(listener, lie);
        let words = format!(
            "direct --clients 2 --window 8 --warm-up 0s --messages 40 --patience 1s --url {url} \
             --subscribe /topic/{{self}} --send /topic/{{peer}}"
        );
        let output = tokio::select! {
            output = bench(&words) => output,
            () = serving => unreachable!("the server serves until the end"),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let table = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{lie:?}: {said}{table}");
        assert!(said.contains(expected), "{lie:?}: {said}{table}");
    };
    check(Lie::Lose, "never came").await;
    check(Lie::Double, "came more than once").await;
    check(Lie::Swap, "came out of order").await;
    check(Lie::Mute, "nothing that was sent came back").await;
}

/// What a server does to every seventh message.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Lose,
    Double,
    Swap,
    /// To every message.
    Mute,
}

/// A server for two clients that gives the one what the other sends, but for its lie.
async fn serve(listener: TcpListener, lie: Lie) {
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let (stream, _) = listener.accept().await.unwrap();
        sockets.push(welcome(stream).await);
    }
    let [(mut to_a, mut from_a), (mut to_b, mut from_b)] = <[_; 2]>::try_from(sockets).unwrap();
    tokio::join!(
        pass(&mut from_a, &mut to_b, lie),
        pass(&mut from_b, &mut to_a, lie)
    );
    std::future::pending::<()>().await;
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;
type Sink = futures_util::stream::SplitSink<Socket, Message>;
type Stream = futures_util::stream::SplitStream<Socket>;

#[expect(
    clippy::result_large_err,
    reason = "the type of the callback is that of the library"
)]
async fn welcome(stream: TcpStream) -> (Sink, Stream) {
    let choose = |_: &Request, mut answer: Response| {
        let chosen = "v12.stomp".parse().unwrap();
        answer
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", chosen);
        Ok(answer)
    };
    let socket = accept_hdr_async(stream, choose).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let connect = stream.next().await.unwrap().unwrap();
    assert!(connect.to_text().unwrap().starts_with("CONNECT\n"));
    let connected = "CONNECTED\nversion:1.2\n\n\0";
    sink.send(Message::text(connected)).await.unwrap();
    let subscribe = stream.next().await.unwrap().unwrap();
    assert!(subscribe.to_text().unwrap().starts_with("SUBSCRIBE\n"));
    let receipt = "RECEIPT\nreceipt-id:sub\n\n\0";
    sink.send(Message::text(receipt)).await.unwrap();
    (sink, stream)
}

async fn pass(from: &mut Stream, to: &mut Sink, lie: Lie) {
    let (mut count, mut held) = (0, None);
    while let Some(Ok(message)) = from.next().await {
        let Some(body) = message.to_text().unwrap().split("\n\n").nth(1) else {
            continue;
        };
        let frame = Message::text(format!(
            "MESSAGE\nsubscription:sub-0\nmessage-id:x\n\n{body}"
        ));
        count += 1;
        let copies = match (lie, count % 7) {
            (Lie::Mute, _) | (Lie::Lose, 3) => 0,
            (Lie::Double, 3) => 2,
            (Lie::Swap, 3) => {
                held = Some(frame);
                continue;
            }
            _ => 1,
        };
        for _ in 0..copies {
            // The client may have gone by then.
            let _gone = to.send(frame.clone()).await;
        }
        if let Some(held) = held.take() {
            let _gone = to.send(held).await;
        }
    }
}
