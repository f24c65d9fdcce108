//! What the attackers have done so far, counted in their process and reported on its stdout.
//!
//! A line of JSON is written four times a second, by a thread of its own, for the process that measures. Not here: how
//! much an attack has to do at least (`catalogue`, `bounds`). Invariant: every socket of an attacker is a [`Socket`],
//! so that none is opened, written to, or closed without being counted.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How often the counts are reported.
const EVERY: Duration = Duration::from_millis(250);

/// A number that only the attackers of this process change.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Ordering::Relaxed) + more
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What all attackers of this process have done.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Connections that were tried.
    pub(crate) attempts: Count,
    /// Connections that the kernel made.
    opened: Count,
    /// Sockets held now, and at most at any time.
    held: Count,
    held_most: Count,
    /// STOMP sessions that were answered CONNECTED.
    pub(crate) sessions: Count,
    /// Requests and frames, or batches of frames, that were written whole.
    pub(crate) requests: Count,
    bytes_written: Count,
    bytes_read: Count,
    /// Attempts that ended before the attacker had what they wanted, and requests that were answered 429 or 503.
    pub(crate) refused: Count,
    /// Sockets that the other side closed.
    closed: Count,
}

/// The counts of this process.
pub(crate) static COUNTS: Counts = Counts {
    attempts: Count::new(),
    opened: Count::new(),
    held: Count::new(),
    held_most: Count::new(),
    sessions: Count::new(),
    requests: Count::new(),
    bytes_written: Count::new(),
    bytes_read: Count::new(),
    refused: Count::new(),
    closed: Count::new(),
};

impl Counts {
    fn json(&self, seconds: f64) -> Value {
        json!({
            "seconds": seconds,
            "attempts": self.attempts.get(),
            "opened": self.opened.get(),
            "held": self.held.get(),
            "held_most": self.held_most.get(),
            "sessions": self.sessions.get(),
            "requests": self.requests.get(),
            "bytes_written": self.bytes_written.get(),
            "bytes_read": self.bytes_read.get(),
            "refused": self.refused.get(),
            "closed": self.closed.get(),
        })
    }
}

/// Reports the counts until the process ends. It ends the process when nobody reads them any more.
pub(crate) fn report() {
    std::thread::spawn(|| {
        let began = Instant::now();
        loop {
            let line = COUNTS.json(began.elapsed().as_secs_f64());
            let mut out = io::stdout().lock();
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                std::process::exit(1);
            }
            drop(out);
            std::thread::park_timeout(EVERY);
        }
    });
}

/// A socket of an attacker.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    is_closed: bool,
}

impl Socket {
    /// Counts a connection that was made.
    pub(crate) fn new(stream: TcpStream) -> Self {
        COUNTS.opened.add(1);
        let held = COUNTS.held.add(1);
        COUNTS.held_most.0.fetch_max(held, Ordering::Relaxed);
        Self {
            stream,
            is_closed: false,
        }
    }

    fn close(&mut self) {
        if !self.is_closed {
            self.is_closed = true;
            COUNTS.closed.add(1);
        }
    }

    /// Counts what was written, or that the other side has closed the connection.
    fn wrote(&mut self, written: io::Result<usize>) -> io::Result<usize> {
        match &written {
            Ok(bytes) => {
                COUNTS.bytes_written.add(*bytes as u64);
            }
            Err(_) => self.close(),
        }
        written
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        COUNTS.held.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        COUNTS.bytes_read.add(read as u64);
        if result.is_err() || read == 0 {
            self.close();
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(self.wrote(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
