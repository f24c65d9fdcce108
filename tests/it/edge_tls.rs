//! TLS of our own: one certificate for every door.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::Message;

use crate::costs::{all_hold, hold};
use crate::support::cpu;
use crate::support::node::Node;
use crate::support::ports;
use crate::support::stream::Wire;

/// A node with a certificate of its own.
struct Secure {
    node: Node,
    stomp: SocketAddr,
    folder: TempDir,
    certificate: CertificateDer<'static>,
}

impl Secure {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = write_pair(folder.path());
        let port = ports::free();
        let text = port.to_string();
        let cert = folder.path().join("cert.pem").display().to_string();
        let key = folder.path().join("key.pem").display().to_string();
        let own = [
            ("TLS_CERT", cert.as_str()),
            ("TLS_KEY", &key),
            ("STOMP_TCP_PORT", &text),
        ];
        let environment: Vec<_> = own.into_iter().chain(more.iter().copied()).collect();
        let node = Node::start("tls", &environment).await;
        Self {
            node,
            stomp: (Ipv4Addr::LOCALHOST, port).into(),
            folder,
            certificate,
        }
    }

    async fn dial(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        dial(address, &self.certificate, &[b"h2", b"http/1.1"]).await
    }
}

/// Makes a certificate and its key and writes them as PEM.
pub(crate) fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

async fn dial(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_handshake_costs_little() {
    const TIMES: u32 = 20;
    let secure = Secure::start().await;
    let mut least = Duration::MAX;
    for _ in 0..3 {
        let before = cpu::of_node(&secure.node);
        for _ in 0..TIMES {
            drop(secure.dial(secure.node.address()).await.unwrap());
        }
        least = least.min((cpu::of_node(&secure.node) - before) / TIMES);
    }
    all_hold([hold("a handshake of TLS", least, 0.8)]);
}

#[tokio::test]
async fn a_refused_client_is_told_why_while_there_is_memory_for_a_handshake() {
    let secure = Secure::start_with(&[("CONNECTIONS_PER_NET", "1")]).await;
    let address = secure.node.address();
    let _first = secure.dial(address).await.unwrap();
    let mut second = secure.dial(address).await.unwrap();
    let told = ask(&mut second, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 429"), "{told}");
    assert!(told.contains("retry-after: 10"), "{told}");
}

#[tokio::test]
async fn a_socket_without_memory_is_closed_before_a_handshake() {
    let secure = Secure::start_with(&[("MEMORY_LIMIT", "64MiB")]).await;
    let address = secure.node.address();
    // One address has 28 MiB of these, and each socket is charged with 74 KiB.
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let before = cpu::of_node(&secure.node);
    for _ in 0..50 {
        let began = Instant::now();
        secure.dial(address).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    let each = (cpu::of_node(&secure.node) - before) / 50;
    all_hold([hold("a TLS socket that is refused", each, 0.2)]);
    drop(silent);
    let again = async {
        while secure.dial(address).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .unwrap();
}

#[tokio::test]
async fn http_websocket_and_tcp_are_spoken_under_tls() {
    let secure = Secure::start().await;
    let at = secure.node.address();
    let node = &secure.node;
    node.output_with(&format!("Connect    wss://{at}/ws-chat"))
        .await;
    node.output_with("over TLS").await;

    let mut stream = secure.dial(at).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = ask(&mut stream, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let stream = secure.dial(at).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(
        tokio_tungstenite::tungstenite::ClientRequestBuilder::new(
            format!("wss://{at}/ws-chat").parse().unwrap(),
        )
        .with_header("Origin", format!("https://{at}")),
        stream,
    )
    .await
    .unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("Secure"), "{cookie}");
    socket
        .send(Message::text("CONNECT\naccept-version:1.2\n\n\0"))
        .await
        .unwrap();
    let connected = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(connected.starts_with("CONNECTED\n"), "{connected}");

    let stream = dial(secure.stomp, &secure.certificate, &[]).await.unwrap();
    let mut wire = Wire::over(stream);
    assert_eq!(wire.introduce().await.command, "CONNECTED");
    wire.subscribe("/topic/secret").await;
    let body = "x".repeat(60_000);
    wire.send(&format!("SEND\ndestination:/topic/secret\n\n{body}\0"))
        .await;
    assert_eq!(wire.frame().await.body, body);
    wire.send("SEND\n\n\0").await;
    let ended = wire.end().await;
    assert!(ended.is_orderly && ended.error.is_some(), "{ended:?}");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_closed_without_a_word() {
    let secure = Secure::start().await;
    for at in [secure.node.address(), secure.stomp] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // An alert of TLS, perhaps a reset, and nothing that could be read as HTTP.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_after_a_hangup_and_a_broken_one_is_not_taken() {
    let secure = Secure::start().await;
    let at = secure.node.address();
    let mut before = secure.dial(at).await.unwrap();
    let renewed = write_pair(secure.folder.path());
    secure.node.signal("HUP");
    let began = Instant::now();
    while dial(at, &renewed, &[]).await.is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "still the old one"
        );
        sleep(Duration::from_millis(20)).await;
    }
    assert!(secure.dial(at).await.is_err(), "the old one is still shown");
    let request = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = ask(&mut before, request).await;
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "an open connection goes on"
    );
    std::fs::write(secure.folder.path().join("key.pem"), "no key").unwrap();
    secure.node.signal("HUP");
    while !secure
        .node
        .output()
        .contains("the certificate stays as it was")
    {
        assert!(began.elapsed() < Duration::from_secs(40), "nothing is said");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(dial(at, &renewed, &[]).await.is_ok());
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_an_error_at_the_start_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path());
    let other = tempfile::tempdir().unwrap();
    write_pair(other.path());
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key) = (at("cert.pem"), at("key.pem"));
    let foreign = other.path().join("key.pem").display().to_string();
    for (cert, key, words) in [
        (cert.as_str(), "", "TLS_KEY is missing"),
        ("", key.as_str(), "TLS_CERT is missing"),
        (&at("absent.pem"), &key, "absent.pem"),
        (&at("empty.pem"), &key, "empty.pem"),
        (&cert, &at("empty.pem"), "empty.pem"),
        (&cert, &foreign, "does not go with"),
    ] {
        let environment = [("TLS_CERT", cert), ("TLS_KEY", key)];
        let data = folder.path().join("data");
        let ended = Node::try_start_in("tls", &data, &environment).await;
        let output = ended.unwrap_err().output;
        assert!(output.contains(words), "{words}: {output}");
    }
}
