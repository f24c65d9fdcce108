//! How much the kernel holds of what is written to a socket and not sent.
//!
//! Not here: who waits for a reader and who is charged (`paced`). Invariant: a socket whose buffer is narrow gets no
//! more than one slice while a slice is not sent.
//!
//! Linux tells that a socket can be written again only when a third of its buffer is free. A reader of 1 kB/s needs
//! 43 s to free that of a wide buffer, and looks like one that reads nothing meanwhile. With `TCP_NOTSENT_LOWAT`
//! the socket can be written as soon as little is left to be sent, so each slice that is taken is noticed. Linux
//! does not count what it appends to a segment that is not full, so the option alone does not hold a writer
//! back: each slice asks first.

use std::io::ErrorKind;
use std::task::{Context, Poll};
#[cfg(target_os = "linux")]
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What the kernel may hold for a peer that does not read.
pub(super) const SEND_BUFFER_BYTES: usize = 64 << 10;

/// How long written bytes may stay unacknowledged before the kernel gives the peer up.
#[cfg(target_os = "linux")]
pub(super) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// The same of a connection for which the kernel holds much: as long as a client may take for all of it at the pace
/// below which it counts as one that takes nothing.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_SLOWLY_MAX: Duration = Duration::from_secs(260);

/// How much is written at once, and how much may be left to be sent before the next slice.
pub(super) const SLICE_BYTES: usize = 8 << 10;

/// The same, and the buffer, of a socket whose client has no memory left: what the base of a socket covers.
const MINIMAL_BYTES: usize = 2 << 10;

/// How much the kernel may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Narrowness {
    /// As much as the buffer of the socket holds.
    #[default]
    Wide,
    /// A slice or two beyond what is on its way.
    Narrow,
    /// Hardly anything, also of what is on its way.
    Minimal,
}

/// What was set for a socket.
#[derive(Debug, Default)]
pub(super) struct SendBuffer(Narrowness);

impl SendBuffer {
    pub(super) fn narrowness(&self) -> Narrowness {
        self.0
    }

    /// How much to write at once.
    pub(super) fn slice_bytes(&self) -> usize {
        match self.0 {
            Narrowness::Wide | Narrowness::Narrow => SLICE_BYTES,
            Narrowness::Minimal => MINIMAL_BYTES,
        }
    }

    /// Sets the options of the socket, if they are to be others.
    pub(super) fn set(&mut self, socket: &TcpStream, to: Narrowness) {
        if self.0 == to {
            return;
        }
        if let Err(error) = set(socket, self.0, to) {
            tracing::debug!(%error, "the options of a socket cannot be set");
        }
        self.0 = to;
    }

    /// Waits until what was written is sent but for little. Errors are left to the write that follows.
    pub(super) fn poll_room(socket: &TcpStream, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match socket.poll_write_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let asked = socket.try_io(Interest::WRITABLE, || match has_room(socket) {
                true => Ok(()),
                false => Err(ErrorKind::WouldBlock.into()),
            });
            match asked {
                // It is known now that it is not writable, and the next look waits for the kernel.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

/// Whether no more than a slice of what was written to a socket is left to be sent. The peer acknowledges the rest, or
/// the kernel gives it up.
#[cfg(target_os = "linux")]
pub(super) fn is_nearly_sent(socket: &TcpStream, narrowness: Narrowness) -> bool {
    if narrowness > Narrowness::Wide {
        return has_room(socket);
    }
    let options = SockRef::from(socket);
    if options.set_tcp_notsent_lowat(SLICE_BYTES as u32).is_err() {
        return true;
    }
    let is_sent = has_room(socket);
    if let Err(error) = options.set_tcp_notsent_lowat(u32::MAX) {
        tracing::debug!(%error, "the options of a socket cannot be set");
    }
    is_sent
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_nearly_sent(socket: &TcpStream, _: Narrowness) -> bool {
    has_room(socket)
}

/// Whether the kernel calls the socket writable now.
fn has_room(socket: &TcpStream) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut sockets = [PollFd::new(socket, PollFlags::OUT)];
    match poll(&mut sockets, Some(&now)) {
        Ok(_) => !sockets[0].revents().is_empty(),
        Err(_) => true,
    }
}

/// About how many bytes the kernel holds for the peer of a socket whose buffer is wide, those on their way
/// included; their bookkeeping counts too. The system does not say how many without an `ioctl`, but it says whether
/// less than two thirds of the buffer are in use, and the buffer can be given any size for a moment. So nobody may
/// write to the socket meanwhile. Costs some fifteen system calls. Tasks that wait for the socket may wake for nothing.
#[cfg(target_os = "linux")]
pub(super) fn held_for_peer(socket: &TcpStream) -> usize {
    const STEPS: u32 = 7;
    // Linux doubles what is set: three quarters of a number give a buffer of which that number is two thirds.
    let is_at_most = |bytes: usize| {
        let set = SockRef::from(socket).set_send_buffer_size(bytes / 4 * 3);
        set.is_err() || has_room(socket)
    };
    let (mut least, mut most) = (0, 2 * SEND_BUFFER_BYTES);
    for _ in 0..STEPS {
        let middle = usize::midpoint(least, most);
        match is_at_most(middle) {
            true => most = middle,
            false => least = middle,
        }
    }
    if let Err(error) = SockRef::from(socket).set_send_buffer_size(SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "the options of a socket cannot be set");
    }
    most
}

#[cfg(not(target_os = "linux"))]
pub(super) fn held_for_peer(_: &TcpStream) -> usize {
    usize::MAX
}

/// Whether the kernel waits longer for a peer that reads slowly, and shuts its window meanwhile.
pub(super) fn wait_for_slow_reader(socket: &TcpStream, waits: bool) {
    #[cfg(target_os = "linux")]
    {
        let after = match waits {
            true => UNACKNOWLEDGED_SLOWLY_MAX,
            false => UNACKNOWLEDGED_MAX,
        };
        if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(Some(after)) {
            tracing::debug!(%error, "the options of a socket cannot be set");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _nothing_to_set = (socket, waits);
}

/// Whether the kernel gives up a peer whose window stays shut for some time, as it does unless it is told not to.
pub(super) fn give_up_shut_windows(socket: &TcpStream, gives_up: bool) {
    #[cfg(target_os = "linux")]
    {
        let after = gives_up.then_some(UNACKNOWLEDGED_MAX);
        if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(after) {
            tracing::debug!(%error, "the options of a socket cannot be set");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _nothing_to_set = (socket, gives_up);
}

#[cfg(target_os = "linux")]
fn set(socket: &TcpStream, from: Narrowness, to: Narrowness) -> std::io::Result<()> {
    let socket = SockRef::from(socket);
    let (unsent, unacknowledged) = match to {
        Narrowness::Wide => (u32::MAX, Some(UNACKNOWLEDGED_MAX)),
        // With a time here the kernel also ends connections whose window stays shut for so long. A slow reader
        // shuts it, and is waited for by `paced`.
        Narrowness::Narrow => (SLICE_BYTES as u32, None),
        Narrowness::Minimal => (MINIMAL_BYTES as u32, None),
    };
    socket.set_tcp_notsent_lowat(unsent)?;
    socket.set_tcp_user_timeout(unacknowledged)?;
    match (from, to) {
        (_, Narrowness::Minimal) => socket.set_send_buffer_size(MINIMAL_BYTES),
        (Narrowness::Minimal, _) => socket.set_send_buffer_size(SEND_BUFFER_BYTES),
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn set(socket: &TcpStream, _: Narrowness, to: Narrowness) -> std::io::Result<()> {
    SockRef::from(socket).set_send_buffer_size(match to {
        Narrowness::Wide | Narrowness::Narrow => SEND_BUFFER_BYTES,
        Narrowness::Minimal => MINIMAL_BYTES,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn what_is_held_for_a_peer_is_found_by_sizes_of_the_buffer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4 << 10).unwrap();
        let client = client.connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (mut client, socket) = (client.unwrap(), accepted.unwrap().0);
        SockRef::from(&socket)
            .set_send_buffer_size(SEND_BUFFER_BYTES)
            .unwrap();
        assert!(held_for_peer(&socket) <= 4 << 10);
        while socket.try_write(&[b'x'; 4 << 10]).is_ok() {}
        let full = held_for_peer(&socket);
        assert!(full > 80 << 10, "{full}");
        // Too little for the kernel to call the socket writable.
        let mut bytes = vec![0; 20 << 10];
        client.read_exact(&mut bytes).await.unwrap();
        assert!(!has_room(&socket));
        let less = held_for_peer(&socket);
        assert!(less + (12 << 10) <= full, "{less} of {full}");
    }
}
