//! Both directions of an open connection, after its protocol is agreed on.
//!
//! Not here: what the octets mean (`websocket`, `tcp`), what was before (`stream`). Invariants: an idle
//! connection keeps no buffer in either direction; what is written goes out as the very octets that
//! were given, never copied together, in order, and whoever waits for that may be dropped.
//!
//! A plain connection can be written past its driver, through its [`Wire`]. One under TLS cannot: its
//! records are numbered, so one hand writes them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Result};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

use super::charges::SocketCharge;
use super::farewell::Farewell;
use super::kernel_bytes::KernelBytes;
use super::scratch;
use super::socket::Gone;
use super::stream::Stream;
use crate::hub::{Unwritten, Wire};

/// What is given is gathered up to here before it is written, and always written at the flush.
const WRITE_BYTES: usize = 4 << 10;
const WRITE_SLICES: usize = 16;

/// Whether the peer is still there.
type Taken = std::result::Result<(), Gone>;

/// The two directions.
#[derive(Debug)]
pub(super) struct Duplex {
    ways: Ways,
    is_framed: bool,
    /// How many bytes were read since [`Duplex::take_read`].
    read_bytes: u32,
    /// What is given and not written, the first perhaps in part.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

#[derive(Debug)]
enum Ways {
    Plain(OwnedReadHalf, Arc<PlainWire>),
    Tls(Box<TlsStream<TcpStream>>, Box<KernelBytes>),
}

/// The writing direction of a plain connection, for whoever has its turn.
#[derive(Debug)]
pub(super) struct PlainWire {
    half: OwnedWriteHalf,
    is_framed: bool,
    kernel: KernelBytes,
}

impl PlainWire {
    /// The socket.
    pub(super) fn socket(&self) -> &TcpStream {
        self.half.as_ref()
    }
}

impl Wire for PlainWire {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let written = match slices {
            [slice] => self.half.try_write(slice),
            _ => self.half.try_write_vectored(slices),
        };
        if let Ok(bytes) = written {
            self.kernel.wrote(self.socket(), bytes);
        }
        written
    }

    fn is_framed(&self) -> bool {
        self.is_framed
    }
}

impl Duplex {
    /// Of this stream. `is_framed`: whether frames go out with the head of WebSocket.
    pub(super) fn new(stream: Stream, is_framed: bool) -> Self {
        let ways = match stream {
            Stream::Plain(stream) => {
                let (read, half) = stream.into_split();
                let kernel = KernelBytes::default();
                let wire = PlainWire {
                    half,
                    is_framed,
                    kernel,
                };
                Ways::Plain(read, Arc::new(wire))
            }
            Stream::Tls(stream) => Ways::Tls(stream, Box::default()),
        };
        Self {
            ways,
            is_framed,
            read_bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// What the kernel holds is charged here from now on.
    pub(super) fn charge_to(&self, charge: &Arc<SocketCharge>) {
        match &self.ways {
            Ways::Plain(_, wire) => wire.kernel.charge_to(charge),
            Ways::Tls(_, kernel) => kernel.charge_to(charge),
        }
    }

    /// Gives back what was charged and is sent.
    pub(super) fn rest(&self) {
        match &self.ways {
            Ways::Plain(_, wire) => wire.kernel.rest(wire.socket()),
            Ways::Tls(stream, kernel) => kernel.rest(stream.get_ref().0),
        }
    }

    /// The way past the driver, where there is one.
    pub(super) fn wire(&self) -> Option<Arc<dyn Wire>> {
        match &self.ways {
            Ways::Plain(_, wire) => Some(Arc::clone(wire) as Arc<dyn Wire>),
            Ways::Tls(..) => None,
        }
    }

    /// The same with its socket.
    pub(super) fn plain_wire(&self) -> Option<Arc<PlainWire>> {
        match &self.ways {
            Ways::Plain(_, wire) => Some(Arc::clone(wire)),
            Ways::Tls(..) => None,
        }
    }

    /// Reads what is there, and gives it to `take`: none of it at the end of the stream. The octets lie
    /// in memory that all connections of the thread share.
    pub(super) fn poll_read<T>(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut [u8]) -> T,
    ) -> Poll<Result<T>> {
        scratch::lend(|room| {
            let mut buffer = ReadBuf::new(room);
            let read = match &mut self.ways {
                Ways::Plain(read, _) => Pin::new(read).poll_read(context, &mut buffer),
                Ways::Tls(stream, _) => Pin::new(&mut **stream).poll_read(context, &mut buffer),
            };
            ready!(read)?;
            let bytes = u32::try_from(buffer.filled().len()).unwrap_or(u32::MAX);
            self.read_bytes = self.read_bytes.saturating_add(bytes);
            Poll::Ready(Ok(take(buffer.filled_mut())))
        })
    }

    /// How many bytes were read since the last call of [`Duplex::take_read`].
    pub(super) fn read_bytes(&self) -> usize {
        self.read_bytes as usize
    }

    /// The same; counts from 0 again.
    pub(super) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read_bytes) as usize
    }

    /// Takes what a writer has left, before everything else.
    pub(super) fn put_back(&mut self, unwritten: Unwritten) {
        let (frames, begun) = unwritten.into_parts();
        let is_framed = self.is_framed;
        let octets = frames.into_iter().map(|frame| match is_framed {
            true => frame.on_wire().clone(),
            false => frame.payload(),
        });
        self.waiting.extend(octets);
        self.waiting_bytes = self.waiting.iter().map(Bytes::len).sum();
        self.written(begun);
    }

    /// Takes octets. Waits only while the peer does not read.
    pub(super) async fn write(&mut self, octets: Bytes) -> Taken {
        self.take(octets);
        if self.waiting_bytes >= WRITE_BYTES || self.waiting.len() >= WRITE_SLICES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Takes octets that go out at the next flush.
    pub(super) fn take(&mut self, octets: Bytes) {
        self.waiting_bytes += octets.len();
        self.waiting.push_back(octets);
    }

    /// Whether everything that was taken is written.
    pub(super) fn is_written(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes out what was taken.
    pub(super) async fn flush(&mut self) -> Taken {
        let flushed = poll_fn(|context| self.poll_flush(context)).await;
        flushed.map_err(|_| Gone)
    }

    /// The same. What was written is noted at once, so that nothing is lost with whoever polls.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.waiting.is_empty() {
            let octets = ready!(self.poll_write(context))?;
            if octets == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.written(octets);
        }
        // It is mostly empty, and then keeps nothing.
        self.waiting = VecDeque::new();
        match &mut self.ways {
            Ways::Plain(..) => Poll::Ready(Ok(())),
            Ways::Tls(stream, _) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<usize>> {
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
        let mut count = 0;
        for (slice, octets) in slices.iter_mut().zip(&self.waiting) {
            *slice = IoSlice::new(octets);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        match &mut self.ways {
            Ways::Tls(stream, kernel) => {
                let tls = Pin::new(&mut **stream);
                let written = ready!(tls.poll_write_vectored(context, slices));
                if let Ok(bytes) = written {
                    kernel.wrote(stream.get_ref().0, bytes);
                }
                Poll::Ready(written)
            }
            Ways::Plain(_, wire) => loop {
                match wire.try_write(slices) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        ready!(wire.half.as_ref().poll_write_ready(context))?;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    outcome => return Poll::Ready(outcome),
                }
            },
        }
    }

    fn written(&mut self, mut octets: usize) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(octets);
        while let Some(first) = self.waiting.front_mut() {
            if octets < first.len() {
                first.advance(octets);
                return;
            }
            octets -= first.len();
            self.waiting.pop_front();
        }
    }

    /// Shuts this direction down, and reads and drops what the peer still sends, as far as the farewell goes. The
    /// caller bounds the time.
    pub(super) async fn read_away(&mut self, farewell: &mut Farewell) {
        let ended = match &mut self.ways {
            Ways::Plain(_, wire) => SockRef::from(wire.half.as_ref()).shutdown(Shutdown::Write),
            Ways::Tls(stream, _) => stream.shutdown().await,
        };
        if ended.is_err() {
            return;
        }
        while let Ok(bytes) = poll_fn(|context| self.poll_read(context, |bytes| bytes.len())).await
            && bytes > 0
        {
            farewell.dropped(bytes).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::websocket::Framed;

    async fn pair(is_framed: bool) -> (Duplex, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let stream = Stream::Plain(accepted.unwrap().0);
        (Duplex::new(stream, is_framed), client.unwrap())
    }

    #[tokio::test]
    async fn octets_go_out_in_order_whatever_their_number_and_size() {
        let (mut duplex, mut client) = pair(false).await;
        let given: Vec<Bytes> = (0..200_usize)
            .map(|n| Bytes::from(vec![u8::try_from(n).unwrap(); n * n]))
            .collect();
        let expected: Vec<u8> = given.iter().flatten().copied().collect();
        let writing = async {
            for octets in given {
                duplex.write(octets).await.unwrap();
            }
            duplex.flush().await.unwrap();
            let mut farewell = Farewell::without_turns(Duration::ZERO);
            duplex.read_away(&mut farewell).await;
        };
        let reading = async {
            let mut octets = Vec::new();
            client.read_to_end(&mut octets).await.unwrap();
            drop(client);
            octets
        };
        let ((), octets) = tokio::join!(writing, reading);
        assert!(octets == expected);
        assert!(duplex.is_written());
        assert_eq!((duplex.waiting.capacity(), duplex.waiting_bytes), (0, 0));
    }

    #[tokio::test]
    async fn what_a_writer_has_left_goes_out_first() {
        for (is_framed, expected) in [(false, &b"bcdx"[..]), (true, b"\x02bc\x81\x01dx")] {
            let (mut duplex, mut client) = pair(is_framed).await;
            let mut unwritten = Unwritten::default();
            unwritten.extend([Framed::message(b"bc"), Framed::message(b"d")]);
            unwritten.begin(usize::from(is_framed));
            duplex.put_back(unwritten);
            duplex.write(Bytes::from_static(b"x")).await.unwrap();
            duplex.flush().await.unwrap();
            drop(duplex);
            let mut octets = Vec::new();
            client.read_to_end(&mut octets).await.unwrap();
            assert_eq!(octets, expected);
        }
    }

    #[tokio::test]
    async fn a_wire_says_when_it_takes_no_more() {
        let (duplex, mut client) = pair(false).await;
        let wire = duplex.wire().unwrap();
        let octets = vec![b'x'; 64 << 10];
        let mut written = 0;
        let error = loop {
            match wire.try_write(&[IoSlice::new(&octets), IoSlice::new(&octets)]) {
                Ok(octets) => written += octets,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let mut away = vec![0; written];
        client.read_exact(&mut away).await.unwrap();
        let wire = duplex.plain_wire().unwrap();
        wire.socket().writable().await.unwrap();
        assert!(wire.try_write(&[IoSlice::new(b"x")]).is_ok());
    }
}
