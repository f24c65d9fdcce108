//! A socket that never waits, with TLS or without.
//!
//! Not here: when it is read. Invariant: what was taken by [`Socket::write`] is on its way or kept for
//! [`Socket::flush`]; nothing is dropped.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

use super::target::Target;

/// From one address so many connections go to a server, fewer than the system has ports.
pub(super) const PER_ADDRESS: u64 = 20_000;
/// What the socket of a consumer holds that never reads.
const SLOW_BYTES: usize = 4 << 10;

/// One end of a connection.
#[derive(Debug)]
pub(super) enum Socket {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<Secured>),
}

/// TLS over TCP.
#[derive(Debug)]
pub(super) struct Secured {
    stream: TcpStream,
    tls: ClientConnection,
}

impl Socket {
    /// Begins to connect, the how-manieth connection of this process it is.
    pub(super) fn dial(
        target: &Target,
        tls: Option<&Arc<ClientConfig>>,
        count: u64,
        is_slow: bool,
    ) -> io::Result<Self> {
        let socket = RawSocket::new(
            Domain::for_address(target.address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if is_slow {
            socket.set_recv_buffer_size(SLOW_BYTES)?;
        }
        // All of 127.0.0.0/8 is this machine, so there are ports for any number of connections.
        let turn = u8::try_from(count / PER_ADDRESS % 250).unwrap_or(0);
        if let SocketAddr::V4(address) = target.address
            && address.ip().is_loopback()
            && turn > 0
        {
            let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1 + turn), 0);
            socket.bind(&SocketAddr::V4(source).into())?;
        }
        match socket.connect(&target.address.into()) {
            Err(error) if !is_under_way(&error) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from_std(socket.into());
        match tls {
            Some(config) if target.is_tls => {
                let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
                let tls =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Ok(Self::Tls(Box::new(Secured { stream, tls })))
            }
            _ => Ok(Self::Plain(stream)),
        }
    }

    /// Whether the connection stands by now.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        let stream = self.stream();
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a read that gives less than there was room for has taken all.
    pub(super) fn is_exhausted_by_short_reads(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(self.stream_mut(), token, interest)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(self.stream_mut())
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(room),
            Self::Tls(secured) => secured.read(room),
        }
    }

    /// Takes some of these octets.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(secured) => {
                let taken = secured.tls.writer().write(octets)?;
                secured.flush()?;
                match taken {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    taken => Ok(taken),
                }
            }
        }
    }

    /// Sends what TLS has kept.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(secured) => secured.flush(),
        }
    }

    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(secured) => &secured.stream,
        }
    }

    fn stream_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(secured) => &mut secured.stream,
        }
    }
}

impl Secured {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_under_way(error: &io::Error) -> bool {
    /// What Linux calls it; std has no stable name for it.
    const EINPROGRESS: i32 = 115;
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(EINPROGRESS)
}
