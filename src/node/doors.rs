//! Where clients come in: the ports that are listened on, and the certificate that is shown there.
//!
//! Not here: what is done with those who come (`edge`). Invariant: a node that cannot open every
//! door that it was told to open does not start, and says in one line why.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::Signal;

use super::config::Config;
use crate::edge::{Certificates, Listeners, TlsError};

/// Why a door does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    #[error(
        "SERVER_HOST, SERVER_PORT: cannot listen on {address}: {error}; {}",
        remedy(error, "choose one with --port, or --port 0 for any that is free")
    )]
    Http {
        address: SocketAddr,
        error: io::Error,
    },
    #[error(
        "SERVER_HOST, STOMP_TCP_PORT: cannot listen on {address}: {error}; {}",
        remedy(error, "choose another, or 0 for no STOMP over TCP")
    )]
    Stomp {
        address: SocketAddr,
        error: io::Error,
    },
    #[error("TLS_CERT, TLS_KEY: {0}")]
    Tls(#[from] TlsError),
}

/// Why the system refuses a port, and what to do about it.
fn remedy(error: &io::Error, other_port: &str) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        return format!("another process has the port: {other_port}");
    }
    if kind == io::ErrorKind::AddrNotAvailable {
        return "this machine has no such address: choose one that it has (`ip address` lists them), \
                127.0.0.1 for this machine alone, or 0.0.0.0 for all of its addresses"
            .to_owned();
    }
    if kind == io::ErrorKind::PermissionDenied {
        return "the system keeps this port for privileged programs, as Linux does with those below \
                1024: choose a higher one, or grant CAP_NET_BIND_SERVICE (in a systemd unit \
                AmbientCapabilities=CAP_NET_BIND_SERVICE)"
            .to_owned();
    }
    format!("choose another address with --host, or another port: {other_port}")
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

/// How many connections may wait to be accepted: as many as come back in the first moment after a network
/// was cut. Beyond it the kernel drops the first packet of a client, which tries again after 1, 3 and 7
/// seconds.
const BACKLOG: u32 = 4_096;

/// Where Linux says how long a backlog may be at most.
const BACKLOG_MAX_FILE: &str = "/proc/sys/net/core/somaxconn";

/// Listens with the backlog that the system allows.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart need not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The backlog that the system allows, where that is less than what is asked for.
fn short_backlog() -> Option<u32> {
    let text = std::fs::read_to_string(BACKLOG_MAX_FILE).ok()?;
    short_of(&text)
}

fn short_of(text: &str) -> Option<u32> {
    let allowed: u32 = text.trim().parse().ok()?;
    (allowed < BACKLOG).then_some(allowed)
}

/// Opens all doors.
pub(super) fn open(config: &Config) -> Result<Doors, DoorError> {
    let settings = &config.settings;
    if let Some(allowed) = short_backlog() {
        tracing::warn!(
            allowed,
            "clients that come back all at once are dropped beyond this many: set \
             net.core.somaxconn to {BACKLOG} (sysctl)"
        );
    }
    let certificates = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(Arc::new(Certificates::load(cert, key)?)),
        _ => None,
    };
    let address = SocketAddr::new(settings.server_host, settings.server_port);
    let refused = |error| DoorError::Http { address, error };
    let http = listen(address).map_err(refused)?;
    let bound = http.local_addr().map_err(refused)?;
    let stomp = match settings.stomp_tcp_port {
        0 => None,
        port => {
            let address = SocketAddr::new(settings.server_host, port);
            let refused = |error| DoorError::Stomp { address, error };
            Some((listen(address).map_err(refused)?, address))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_allows_less_is_noticed() {
        assert_eq!(short_of("128\n"), Some(128));
        assert_eq!(short_of("4096\n"), None);
        assert_eq!(short_of(""), None);
    }

    #[tokio::test]
    async fn each_reason_for_a_refused_port_has_its_remedy() {
        let says = |address: SocketAddr, error: io::Error, expected: &str| {
            let text = DoorError::Http { address, error }.to_string();
            assert!(text.contains(expected), "{text}");
            assert_eq!(
                text.contains("another process"),
                expected == "--port 0",
                "{text}"
            );
        };
        // An address of a network for documentation, which no machine has.
        let absent = (std::net::Ipv4Addr::new(192, 0, 2, 1), 0).into();
        says(absent, listen(absent).unwrap_err(), "has no such address");
        let first = listen((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let taken = first.local_addr().unwrap();
        says(taken, listen(taken).unwrap_err(), "--port 0");
        // The tests may run as root, who is refused no port.
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        says(taken, denied, "CAP_NET_BIND_SERVICE");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_backlog_is_what_the_system_allows() {
        let listener = listen((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown = std::process::Command::new("ss")
            .args(["-Hltn", &format!("sport = :{port}")])
            .output();
        // Send-Q of a listening socket is its backlog.
        let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
        let backlog = shown.split_whitespace().nth(2).unwrap();
        let backlog: u32 = backlog.parse().unwrap();
        assert_eq!(backlog, short_backlog().unwrap_or(BACKLOG), "{shown}");
    }
}
