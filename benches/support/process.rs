//! A process that says where it listens.
//!
//! Not here: which one, and what is asked of it. Invariant: it ends with its value.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::Outcome;

/// The settings of the broker under load: everything comes from one address, so what is limited
/// per network or person is set high; nothing is switched off.
pub(crate) const SETTINGS: [(&str, &str); 10] = [
    ("SERVER_PORT", "0"),
    ("LOG_LEVEL", "warn"),
    ("ANON_RECOGNITION", "token"),
    ("NETWORK_LIMITS", "127.0.0.0/8=100"),
    ("CONNECT_PER_NET", "0"),
    // VISITORS_PER_NETWORK by the name that older builds know too.
    ("MINT_PER_NET", "1000000"),
    ("RATE_ANON_PER_MIN", "1000000"),
    ("RATE_BURST", "1000000"),
    ("RATE_NET_PER_MIN", "10000000"),
    ("RATE_NET_BURST", "10000000"),
];

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
}

impl Process {
    /// Starts it, and waits for its line `listening`.
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("there is no stdout")?);
        let mut said = String::new();
        let address = loop {
            let from = said.len();
            if lines.read_line(&mut said)? == 0 {
                return Err(format!("{command:?} does not start; it said:\n{said}").into());
            }
            if let Some(address) = said[from..].strip_prefix("listening") {
                break address.trim().parse()?;
            }
        };
        // It must never wait for a full pipe.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(Self { address, child })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is no error here.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
