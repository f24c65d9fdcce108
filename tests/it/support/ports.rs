//! Free ports for private servers, below the range that the system gives to outgoing connections.
//!
//! Not a reservation: between the look and the server's own bind another process may take the port.
//! The choice is random, so tests in parallel processes seldom meet; a server that finds its port
//! taken is started again with another. Invariant: one process never gets the same port twice.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// The ports given out by this process.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port between 20000 and 31999 that nobody listens on.
pub(crate) fn free() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let port = rand::random_range(20_000..32_000_u16);
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between 20000 and 31999 in 1,000 attempts");
}
