//! What the kernel holds of what is written to a STOMP connection, as a charge of its socket.
//!
//! Not here: answers of HTTP (`paced`), how the kernel is asked (`send_buffer`). Invariant: of what was written and is
//! not sent, no more than [`UNASKED_BYTES`] beyond what is charged, and a slice; a connection whose client has no
//! memory left for it ends.
//!
//! Without this a client who reads nothing keeps a full buffer of the kernel, 128 KiB, for each of their connections.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::net::TcpStream;

use super::charges::{KERNEL_BYTES, SocketCharge};
use super::send_buffer::{Narrowness, is_nearly_sent, wait_for_slow_reader};
use crate::budget::Evict as _;

/// How much is written before the kernel is asked whether it is sent, which takes three system calls.
const UNASKED_BYTES: u32 = 16 << 10;

/// Linux counts a buffer as twice what it was given room for.
const COUNTED: u32 = 2;

/// How much the kernel takes at most, as it was written.
const WRITTEN_MAX: u32 = KERNEL_BYTES as u32 / COUNTED;

/// The charge of one connection for this. It charges nothing until it knows what to charge.
#[derive(Debug)]
pub(super) struct KernelBytes {
    charge: OnceLock<Arc<SocketCharge>>,
    /// So many bytes may be written before the kernel is asked.
    left: AtomicU32,
    /// A std mutex: held while the kernel is asked, by one of the writers or by the driver.
    held: Mutex<InKernel>,
}

/// What was found when the kernel was asked last.
#[derive(Debug, Default)]
struct InKernel {
    /// Bytes that were written since the kernel had sent nearly everything.
    written: u32,
    /// So many are charged.
    charged: u32,
}

impl Default for KernelBytes {
    fn default() -> Self {
        Self {
            charge: OnceLock::new(),
            left: AtomicU32::new(UNASKED_BYTES),
            held: Mutex::default(),
        }
    }
}

impl KernelBytes {
    /// From now on it is charged here.
    pub(super) fn charge_to(&self, charge: &Arc<SocketCharge>) {
        // A connection has one socket, so the second would be the same.
        let _known_already = self.charge.set(Arc::clone(charge));
    }

    /// So many bytes more were written. There is one writer at a time.
    #[inline]
    pub(super) fn wrote(&self, socket: &TcpStream, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.left.load(Relaxed).checked_sub(bytes) {
            Some(left) => self.left.store(left, Relaxed),
            None => self.look(socket, bytes),
        }
    }

    /// Gives back what is charged and was sent meanwhile.
    pub(super) fn rest(&self, socket: &TcpStream) {
        if self.lock().charged > 0 {
            self.look(socket, 0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, InKernel> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the kernel, after so many bytes that are not counted yet.
    #[cold]
    fn look(&self, socket: &TcpStream, bytes: u32) {
        let mut held = self.lock();
        let uncounted = UNASKED_BYTES - self.left.swap(UNASKED_BYTES, Relaxed).min(UNASKED_BYTES);
        let Some(charge) = self.charge.get() else {
            return;
        };
        let written = held.written.saturating_add(uncounted).saturating_add(bytes);
        let written = match is_nearly_sent(socket, Narrowness::Wide) {
            true => 0,
            false => written.min(WRITTEN_MAX),
        };
        if written > 0 || held.charged > 0 {
            wait_for_slow_reader(socket, written > 0);
        }
        held.written = written;
        let wanted = written * COUNTED;
        charge.shrink(held.charged.saturating_sub(wanted).into());
        let more = wanted.saturating_sub(held.charged);
        if charge.grow(more.into()).is_ok() {
            held.charged = wanted;
        } else {
            drop(held);
            charge.evict();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;
    use crate::budget::{Claimant, Eviction, Memory, MemorySettings};
    use crate::edge::charges::End;
    use crate::edge::send_buffer::SEND_BUFFER_BYTES;
    use crate::hub::{Outbox, OutboxLimits};
    use crate::model::Network;

    struct Written {
        memory: Arc<Memory>,
        charge: Arc<SocketCharge>,
        kernel: KernelBytes,
        socket: TcpStream,
        client: TcpStream,
    }

    impl Written {
        async fn new(bytes_max: u64) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap());
            let (client, accepted) = tokio::join!(client, listener.accept());
            let socket = accepted.unwrap().0;
            let options = socket2::SockRef::from(&socket);
            options.set_send_buffer_size(SEND_BUFFER_BYTES).unwrap();
            let memory = Memory::new(MemorySettings { bytes_max });
            let who = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
            let charge = SocketCharge::take(Eviction::Possible, &memory, &who, 0).unwrap();
            let kernel = KernelBytes::default();
            kernel.charge_to(&charge);
            Self {
                memory,
                charge,
                kernel,
                socket,
                client: client.unwrap(),
            }
        }

        /// Writes until the kernel takes no more.
        fn fill(&self) -> usize {
            let mut written = 0;
            loop {
                match self.socket.try_write(&[b'x'; 1_000]) {
                    Ok(bytes) => {
                        self.kernel.wrote(&self.socket, bytes);
                        written += bytes;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return written,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn what_the_kernel_holds_for_a_client_who_does_not_read_is_charged_until_it_is_sent() {
        let mut written = Written::new(0).await;
        let base = written.memory.used();
        let bytes = written.fill();
        assert_eq!(
            written.memory.used(),
            base + KERNEL_BYTES,
            "{bytes} written"
        );
        written.kernel.rest(&written.socket);
        assert_eq!(
            written.memory.used(),
            base + KERNEL_BYTES,
            "nothing is sent"
        );
        let mut away = vec![0; bytes];
        written.client.read_exact(&mut away).await.unwrap();
        while written.memory.used() > base {
            // The acknowledgement of the client's kernel is on its way.
            sleep(Duration::from_millis(5)).await;
            written.kernel.rest(&written.socket);
        }
    }

    #[tokio::test]
    async fn what_a_client_reads_is_not_charged() {
        let mut written = Written::new(0).await;
        let base = written.memory.used();
        let mut away = [0; 1_000];
        for _ in 0..1_000 {
            let bytes = written.socket.try_write(&away).unwrap();
            written.kernel.wrote(&written.socket, bytes);
            written.client.read_exact(&mut away[..bytes]).await.unwrap();
            assert_eq!(written.memory.used(), base);
        }
    }

    #[tokio::test]
    async fn a_client_without_memory_for_it_is_cut() {
        let written = Written::new(96 << 10).await;
        let limits = OutboxLimits {
            frames_max: 10,
            bytes_max: 1_000,
        };
        let outbox = Arc::new(Outbox::new(limits));
        written
            .charge
            .ends_by(End::Session(Arc::downgrade(&outbox)));
        written.fill();
        assert!(outbox.is_cut());
        assert!(written.memory.used() <= 96 << 10, "{:?}", written.memory);
    }
}
