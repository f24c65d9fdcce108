//! A server's address, as a URL says it.
//!
//! Not here: connecting. Invariant: a target has been resolved, so that no connection waits for a
//! name server.

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::{BenchError, Outcome};

/// Where to connect.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As it was written.
    pub(super) url: String,
    /// The name of the host, for `Host` and for the certificate.
    pub(super) host: String,
    /// What is asked for, with its query.
    pub(super) path: String,
    /// The socket's other end.
    pub(super) address: SocketAddr,
    /// Whether it is `wss`.
    pub(super) is_tls: bool,
}

impl Target {
    /// Reads a URL and looks its host up.
    pub(super) fn of(url: &str) -> Outcome<Self> {
        let wrong = |what: &str| {
            BenchError::Order(format!(
                "{url}: {what}; such as ws://127.0.0.1:8080/ws-chat"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no URL"))?;
        let (is_tls, default_port) = match scheme {
            "ws" | "http" => (false, 80),
            "wss" | "https" => (true, 443),
            _ => return Err(wrong("the scheme is ws or wss")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        let (host, port) = split_port(authority, default_port).ok_or_else(|| wrong("no port"))?;
        if host.is_empty() || path.contains([' ', '\r', '\n']) {
            return Err(wrong("no host or a strange path"));
        }
        let found = (host, port).to_socket_addrs();
        let mut found = found.map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            address: found
                .next()
                .ok_or_else(|| wrong("the host has no address"))?,
            is_tls,
        })
    }
}

/// `host:port`, `[::1]:port` or either without the port.
fn split_port(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => Some((host, default_port)),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, default_port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let check = |url: &str, address: &str, path: &str, is_tls: bool| {
            let target = Target::of(url).unwrap();
            assert_eq!(target.address.to_string(), address);
            assert_eq!((target.path.as_str(), target.is_tls), (path, is_tls));
        };
        check(
            "ws://127.0.0.1:81/ws-chat",
            "127.0.0.1:81",
            "/ws-chat",
            false,
        );
        check("wss://127.0.0.1/a?b=c", "127.0.0.1:443", "/a?b=c", true);
        check("ws://[::1]:8080", "[::1]:8080", "/", false);
        for wrong in [
            "127.0.0.1",
            "ftp://127.0.0.1/",
            "ws://127.0.0.1:x/",
            "ws:///x",
        ] {
            assert!(Target::of(wrong).is_err(), "{wrong}");
        }
    }
}
