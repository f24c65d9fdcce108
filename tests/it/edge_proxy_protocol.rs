//! The PROXY protocol: whose address counts, and who may say it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::support::node::Node;
use crate::support::stream::Wire;
use crate::{edge_tcp, edge_tls};

const PATIENCE: Duration = Duration::from_secs(30);

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Version 2, PROXY, TCP over IPv4, from 192.0.2.9.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x09\xc6\x33\x64\x01\x9c\x40\x01\xbb";

/// Version 2, LOCAL: the proxy itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 40000 80\r\n").into_bytes()
}

async fn dial(address: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// The status of the answer to what is said; 0 when there is none.
async fn status(address: SocketAddr, from: &str, octets: &[&[u8]]) -> u16 {
    let mut stream = dial(address, from).await;
    stream.write_all(&octets.concat()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("no end in time");
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).map(str::parse);
    status.and_then(Result::ok).unwrap_or(0)
}

async fn node(word: &str, more: &[(&str, &str)]) -> (Node, SocketAddr) {
    let mut settings = vec![
        ("PROXY_PROTOCOL", word),
        ("TRUSTED_PROXIES", "127.0.0.2/32"),
    ];
    settings.extend(more);
    edge_tcp::node(&settings).await
}

const PROXY: &str = "127.0.0.2";
const STRANGER: &str = "127.0.0.3";

#[tokio::test]
async fn a_head_is_taken_of_trusted_proxies_only() {
    let health = HEALTH.as_bytes();
    let head = v1("192.0.2.7");
    for (word, without) in [("accept", 200), ("require", 0)] {
        let (node, _) = node(word, &[]).await;
        let at = node.address();
        assert_eq!(status(at, PROXY, &[&head, health]).await, 200, "{word}");
        assert_eq!(status(at, PROXY, &[V2, health]).await, 200, "{word}");
        assert_eq!(status(at, PROXY, &[LOCAL, health]).await, 200, "{word}");
        assert_eq!(status(at, PROXY, &[health]).await, without, "{word}");
        assert_eq!(status(at, STRANGER, &[health]).await, 200, "{word}");
        assert_eq!(status(at, STRANGER, &[&head, health]).await, 400, "{word}");
        let broken: &[u8] = b"PROXY TCP4 nobody\r\n";
        assert_eq!(status(at, PROXY, &[broken, health]).await, 0, "{word}");
    }
    let (node, _) = node("off", &[]).await;
    let at = node.address();
    assert_eq!(status(at, PROXY, &[&head, health]).await, 400);
}

#[tokio::test]
async fn the_client_of_the_head_counts_in_its_own_network() {
    let (_node, stomp) = node("require", &[("CONNECTIONS_PER_NET", "1")]).await;
    let open = async |client: &str| {
        let mut stream = dial(stomp, PROXY).await;
        stream.write_all(&v1(client)).await.unwrap();
        let mut wire = Wire::over(stream);
        let answer = wire.introduce().await;
        (answer.command, wire)
    };
    let (first, _held) = open("192.0.2.7").await;
    assert_eq!(first, "CONNECTED");
    let (second, _) = open("192.0.2.7").await;
    assert_eq!(second, "ERROR");
    let (other, _) = open("192.0.2.8").await;
    assert_eq!(other, "CONNECTED");
}

#[tokio::test]
async fn the_address_of_the_head_is_logged_and_not_the_proxy() {
    let more = [("LOG_LEVEL", "debug"), ("LOG_IP", "full")];
    let (node, stomp) = node("accept", &more).await;
    let mut stream = dial(stomp, PROXY).await;
    stream.write_all(V2).await.unwrap();
    let mut wire = Wire::over(stream);
    assert_eq!(wire.introduce().await.command, "CONNECTED");
    let output = node.output_with("a TCP connection opens").await;
    let line = output
        .lines()
        .find(|line| line.contains("a TCP connection opens"));
    let line = line.unwrap_or_else(|| panic!("{output}"));
    assert!(line.contains("192.0.2.9"), "{line}");
}

#[tokio::test]
async fn a_forwarded_for_is_not_believed_behind_a_head_that_names_a_stranger() {
    let more = [("LOG_LEVEL", "debug"), ("LOG_IP", "full")];
    let (node, _) = node("accept", &more).await;
    let ask = async |head: &[u8], marker: &str| {
        let mut stream = dial(node.address(), PROXY).await;
        stream.write_all(head).await.unwrap();
        let request = format!(
            "GET /ws-chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             X-Forwarded-For: {marker}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    };
    ask(&v1("192.0.2.7"), "203.0.113.1").await;
    ask(b"", "203.0.113.2").await;
    let output = node.output_with("203.0.113.2").await;
    assert!(
        output.contains("192.0.2.7") && !output.contains("203.0.113.1"),
        "{output}"
    );
}

#[tokio::test]
async fn without_trusted_proxies_the_setting_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("PROXY_PROTOCOL", "accept")];
    let ended = Node::try_start_in("proxy", &folder.path().join("data"), &environment).await;
    let output = ended.unwrap_err().output;
    assert!(output.contains("TRUSTED_PROXIES is empty"), "{output}");
}

#[tokio::test]
async fn a_head_and_a_tls_handshake_may_take_only_so_long() {
    let folder = tempfile::tempdir().unwrap();
    edge_tls::write_pair(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key) = (at("cert.pem"), at("key.pem"));
    let (node, stomp) = node("accept", &[("TLS_CERT", &cert), ("TLS_KEY", &key)]).await;
    let closed = async |address: SocketAddr, from: &str, beginning: &[u8], drip: &[u8]| {
        let began = Instant::now();
        let (mut reader, mut writer) = dial(address, from).await.into_split();
        writer.write_all(beginning).await.unwrap();
        let dripping = async {
            for octet in drip.iter().cycle() {
                sleep(Duration::from_millis(250)).await;
                if writer.write_all(&[*octet]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let ended = async {
            // A reset is an end as well.
            let _ = reader.read_to_end(&mut answer).await;
        };
        tokio::select! {
            () = dripping => {}
            () = ended => {}
            () = sleep(PATIENCE) => panic!("it is borne for {PATIENCE:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(25));
    };
    // The first of a record of 16 KiB, which never ends.
    let hello = [0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xf0];
    let after_head = [V2, &hello].concat();
    tokio::join!(
        closed(node.address(), PROXY, b"", b""),
        closed(node.address(), PROXY, b"PROXY TCP6 ", b"0"),
        closed(stomp, PROXY, &V2[..14], b""),
        closed(node.address(), STRANGER, b"", b""),
        closed(stomp, STRANGER, &hello, b"x"),
        closed(stomp, PROXY, &after_head, b"x"),
    );
}
