//! What a session of TLS buffers.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::edge::charges::TLS_BYTES;

/// The longest record of TLS, and what is around it.
const RECORD_BYTES: usize = (16 << 10) + 256;

/// A certificate of this machine, and its files.
fn certificates() -> (Certificates, CertificateDer<'static>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let (path, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&path, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let certificates = Certificates::load(&path, &key).unwrap();
    (certificates, cert.der().clone(), folder)
}

async fn dial(stream: TcpStream, certificate: CertificateDer<'static>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

/// Writes until nothing more is taken. Returns how many bytes were.
async fn fill(stream: &mut tokio_rustls::server::TlsStream<TcpStream>, at_once: &[u8]) -> usize {
    let mut taken = 0;
    loop {
        let written = poll_fn(|context| {
            let written = Pin::new(&mut *stream).poll_write(context, at_once);
            Poll::Ready(match written {
                Poll::Ready(written) => Some(written.unwrap()),
                Poll::Pending => None,
            })
        });
        match written.await {
            Some(written) => taken += written,
            None => return taken,
        }
    }
}

/// How many bytes a session keeps of those that were written to it and that the kernel did not take.
async fn buffered(write_bytes: usize) -> usize {
    let (certificates, certificate, _folder) = certificates();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap());
    let (stream, accepted) = tokio::join!(stream, listener.accept());
    let accepted = handshake(&certificates, accepted.unwrap().0);
    let (mut client, server) = tokio::join!(dial(stream.unwrap(), certificate), accepted);
    let mut server = server.unwrap();
    // What belongs to the handshake is over on both sides.
    client.write_all(b"a").await.unwrap();
    client.flush().await.unwrap();
    server.read_exact(&mut [0]).await.unwrap();
    server.write_all(b"b").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    let taken = fill(&mut server, &vec![7; write_bytes]).await;
    // What the session keeps goes with it; what the kernel has taken arrives before the end.
    drop(server);
    let mut arrived = Vec::new();
    let _no_goodbye = client.read_to_end(&mut arrived).await;
    taken - arrived.len()
}

#[tokio::test]
async fn a_session_of_tls_buffers_its_limit_and_a_record_at_most() {
    for write_bytes in [64, 1_000, 16 << 10, 1 << 20] {
        let kept = buffered(write_bytes).await;
        eprintln!("{kept} bytes are kept after writes of {write_bytes}");
        let most = TLS_BUFFER_BYTES + RECORD_BYTES;
        assert!(
            kept > 0,
            "everything was sent: writes of {write_bytes} bytes"
        );
        assert!(kept <= most, "{kept} bytes after writes of {write_bytes}");
        assert!(most as u64 <= TLS_BYTES);
    }
}
