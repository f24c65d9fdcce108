//! Where clients come in: the ports that are listened on, and the certificate that is shown there.
//!
//! Not here: what is done with those who come (`edge`). Invariant: a node that cannot open every
//! door that it was told to open does not start, and says in one line why.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::Signal;

use super::config::Config;
use crate::edge::{Certificates, Listeners, TlsError};

/// Why a door does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    #[error(
        "SERVER_HOST, SERVER_PORT: cannot listen on {address}: {error}; another process may have \
         the port: choose one with --port, or --port 0 for any that is free"
    )]
    Http {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error(
        "SERVER_HOST, STOMP_TCP_PORT: cannot listen on {address}: {error}; another process may \
         have the port: choose another, or 0 for no STOMP over TCP"
    )]
    Stomp {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("TLS_CERT, TLS_KEY: {0}")]
    Tls(#[from] TlsError),
}

/// The open doors.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) listeners: Listeners,
    pub(super) addresses: Addresses,
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// What is listened on, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) stomp: Option<SocketAddr>,
    pub(super) is_secure: bool,
}

/// Opens all doors.
pub(super) async fn open(config: &Config) -> Result<Doors, DoorError> {
    let settings = &config.settings;
    let certificates = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(Arc::new(Certificates::load(cert, key)?)),
        _ => None,
    };
    let address = SocketAddr::new(settings.server_host, settings.server_port);
    let refused = |error| DoorError::Http { address, error };
    let http = TcpListener::bind(address).await.map_err(refused)?;
    let bound = http.local_addr().map_err(refused)?;
    let stomp = match settings.stomp_tcp_port {
        0 => None,
        port => {
            let address = SocketAddr::new(settings.server_host, port);
            let refused = |error| DoorError::Stomp { address, error };
            Some((TcpListener::bind(address).await.map_err(refused)?, address))
        }
    };
    let addresses = Addresses {
        http: bound,
        stomp: stomp.as_ref().map(|(_, address)| *address),
        is_secure: certificates.is_some(),
    };
    let stomp = stomp.map(|(listener, _)| listener);
    Ok(Doors {
        listeners: Listeners { http, stomp },
        addresses,
        certificates,
    })
}

/// Reads the certificate again whenever it is told to (SIGHUP).
pub(super) async fn keep_certificates(certificates: Arc<Certificates>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        match certificates.reload() {
            Ok(()) => tracing::info!("TLS_CERT and TLS_KEY were read again"),
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }
}
