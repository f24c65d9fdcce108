//! The body of a request, read into memory that is leased before it is used.
//!
//! Not here: what the body means. Invariants: no byte of a body lies in memory that is not leased, beyond
//! what the socket is charged with anyway; a body that comes too slowly ends in bounded time.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout};

use super::charges::with_lease;
use super::patience::Patience;
use crate::budget::{Lease, Memory, Refused};

/// Why a body is not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is longer than it may be.
    TooLarge,
    /// It came too slowly.
    TooSlow,
    /// The client, or the node, has no memory left for it.
    NoMemory(Refused),
    /// The connection ended in it, or it breaks HTTP.
    Broken,
}

/// A body whose memory stays leased for as long as this lives.
#[derive(Debug)]
pub(super) struct Read {
    /// The body.
    pub(super) bytes: Bytes,
    /// Covers at least the length of the body.
    pub(super) lease: Option<Lease>,
}

impl Read {
    /// The body as bytes that keep the lease for as long as any part of them is alive.
    pub(super) fn held(self) -> Bytes {
        match self.lease {
            None => self.bytes,
            Some(lease) => with_lease(self.bytes, lease),
        }
    }
}

/// Limits of one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Its length.
    pub(super) bytes_max: usize,
    /// How long nothing of it may come.
    pub(super) stall: Duration,
}

/// The length that a request announces, if it announces one.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Reads a body. One whose length is announced is leased whole before its first byte is read, so that what
/// has begun can end; any other grows its lease as it comes. `lease` is called when the body is longer than
/// what the base of a socket covers. Safe to drop.
pub(super) async fn read(
    body: Body,
    announced: Option<u64>,
    limits: Limits,
    lease: impl FnOnce() -> Option<Lease>,
) -> Result<Read, Unread> {
    let bytes_max = limits.bytes_max as u64;
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(Unread::TooLarge);
    }
    let mut buffer = Buffer::new(lease);
    let length = usize::try_from(announced.unwrap_or(0)).unwrap_or(usize::MAX);
    buffer.reserve(length)?;
    let mut patience = Patience::new(limits.stall);
    let mut pieces = body.into_data_stream();
    loop {
        let began = Instant::now();
        let piece = timeout(patience.left(), pieces.next()).await;
        let bytes = match piece.map_err(|_| Unread::TooSlow)? {
            None => return Ok(buffer.done()),
            Some(bytes) => bytes.map_err(|_| Unread::Broken)?,
        };
        patience.moved(began.elapsed(), bytes.len());
        let length = buffer.bytes.len() + bytes.len();
        if length > limits.bytes_max {
            return Err(Unread::TooLarge);
        }
        buffer.reserve_within(length, limits.bytes_max)?;
        buffer.bytes.extend_from_slice(&bytes);
    }
}

/// A buffer that never has more room than is leased.
struct Buffer<F> {
    bytes: Vec<u8>,
    lease: Option<Lease>,
    make: Option<F>,
}

impl<F: FnOnce() -> Option<Lease>> Buffer<F> {
    fn new(make: F) -> Self {
        Self {
            bytes: Vec::new(),
            lease: None,
            make: Some(make),
        }
    }

    /// Makes room for a body of this length, exactly.
    fn reserve(&mut self, length: usize) -> Result<(), Unread> {
        if length <= self.bytes.capacity() {
            return Ok(());
        }
        if length as u64 > Memory::BASE_BUFFER_BYTES {
            if let Some(make) = self.make.take() {
                self.lease = make();
            }
            if let Some(lease) = &mut self.lease {
                lease.cover(length as u64).map_err(Unread::NoMemory)?;
            }
        }
        self.bytes.reserve_exact(length - self.bytes.len());
        Ok(())
    }

    /// The same with some room for what may follow: at least twice what there was.
    fn reserve_within(&mut self, length: usize, bytes_max: usize) -> Result<(), Unread> {
        if length <= self.bytes.capacity() {
            return Ok(());
        }
        let double = self.bytes.capacity().saturating_mul(2);
        self.reserve(length.max(double).min(bytes_max.max(length)))
    }

    fn done(self) -> Read {
        Read {
            bytes: self.bytes.into(),
            lease: self.lease,
        }
    }
}

#[cfg(test)]
mod tests;
